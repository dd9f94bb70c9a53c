"""A withdrawal all the way to the chain: released, anchored, old enough, paid by proof, seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from speedpay.chain.keys import ChainKey
from speedpay.errors import ChainRefused, NotAllowed
from speedpay.ledger import withdrawals
from speedpay.ledger.schema import idempotency, transfers
from speedpay.ledger.schema import withdrawals as table
from speedpay.ledger_api import chain, epochs
from speedpay.ledger_api.chain import Withdraw, Withdrawal, Withdrawals
from speedpay.ledger_api.chain import WithdrawalState as State
from speedpay.proof.balance import BalanceProof
from speedpay.units import Amount
from tests.unit.ledger.desk import Person, fresh
from tests.unit.ledger.vaulted import DELAY, Vaulted, vaulted


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Vaulted]:
    with vaulted(tmp_path / "ledger") as made:
        made.settle_epoch()
        yield made
        assert made.desk.broken() == []


def ask(one: Vaulted, who: Person, utok: int) -> int:
    order = Withdraw(Amount(utok))
    return one.desk.ask(chain.withdraw(who.key, who.account, order, fresh())).number


def shown(one: Vaulted, who: Person) -> Withdrawals:
    return one.desk.ask(chain.withdrawals(who.key, who.account))


def state_of(one: Vaulted, who: Person, number: int) -> Withdrawal:
    return next(one for one in shown(one, who).withdrawals if one.number == number)


def proof_of(one: Vaulted, who: Person, epoch: int) -> BalanceProof:
    found = one.desk.ask(epochs.proof(who.key, who.account, epoch))
    assert found is not None
    return found


def claim(one: Vaulted, proof: BalanceProof, relay: ChainKey) -> bytes:
    return one.send(one.vault.prepare_claim(relay.address, proof), relay)


def test_a_withdrawal_is_followed_from_the_queue_to_the_claim(one: Vaulted) -> None:
    ann, payout = one.payee(5_000)
    number = ask(one, ann, 2_000)
    assert state_of(one, ann, number).state is State.QUEUED

    one.pass_time(one.epoch_interval_s)
    one.round()
    now = state_of(one, ann, number)
    assert (now.state, now.epoch) == (State.RELEASED, 2)

    one.solidify()
    one.round()
    now = state_of(one, ann, number)
    assert now.state is State.ANCHORED
    anchor = one.health().anchor
    assert anchor is not None
    assert now.expected == anchor.time + DELAY

    one.pass_time(DELAY)
    assert state_of(one, ann, number).state is State.CLAIMABLE
    claim(one, proof_of(one, ann, 2), one.user)  # a relay pays the fee, not the tokens' owner
    assert one.token.balance_of(payout.address) == 2_000

    one.solidify()
    one.worker.round()
    assert state_of(one, ann, number).state is State.CLAIMED
    assert (shown(one, ann).withdrawable, shown(one, ann).claimed) == (Amount(2_000), Amount(2_000))
    with pytest.raises(ChainRefused, match="NothingDue"):
        one.vault.prepare_claim(one.user.address, proof_of(one, ann, 2))


def test_what_is_queued_or_released_stays_in_the_leaf_to_the_base_unit(one: Vaulted) -> None:
    ann, _ = one.payee(2_000_000)
    ask(one, ann, 1_500_000)  # one and a half of what an epoch releases
    number = one.settle_epoch()
    leaf = proof_of(one, ann, number)
    assert (leaf.withdrawable, leaf.balance) == (Amount(1_000_000), Amount(1_000_000))
    number = one.settle_epoch()
    leaf = proof_of(one, ann, number)
    assert (leaf.withdrawable, leaf.balance) == (Amount(1_500_000), Amount(500_000))


def test_an_old_proof_cannot_be_claimed_again_after_a_newer_one(one: Vaulted) -> None:
    ann, payout = one.payee(5_000)
    old, new = [], []
    for proofs, utok in ((old, 1_000), (new, 500)):
        ask(one, ann, utok)
        proofs.append(proof_of(one, ann, one.settle_epoch()))
    one.pass_time(DELAY)
    claim(one, new[0], one.user)
    with pytest.raises(ChainRefused, match="NothingDue"):
        one.vault.prepare_claim(one.user.address, old[0])
    assert one.token.balance_of(payout.address) == 1_500


def test_a_withdrawal_that_is_interrupted_has_not_happened_and_repeated_it_happens_once(
    one: Vaulted, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, _ = one.payee(5_000)
    order, key = Withdraw(Amount(2_000)), fresh()

    class PulledPlug(BaseException):
        pass

    def pull(*_: object) -> None:
        raise PulledPlug

    before = one.desk.everything()
    with monkeypatch.context() as patch:
        patch.setattr(idempotency, "insert", pull)  # the balance and the queue have moved already
        with pytest.raises(PulledPlug):
            one.desk.ask(chain.withdraw(ann.key, ann.account, order, key))
    assert one.desk.everything() == before
    for _ in range(2):
        one.desk.ask(chain.withdraw(ann.key, ann.account, order, key))
    assert one.desk.balance(ann).token == Amount(3_000)
    assert len(shown(one, ann).withdrawals) == 1


def test_an_epoch_whose_closing_is_interrupted_has_released_nothing(
    one: Vaulted, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, _ = one.payee(5_000)
    number = ask(one, ann, 2_000)
    one.pass_time(one.epoch_interval_s)

    class PulledPlug(BaseException):
        pass

    real = withdrawals.release

    def release_and_die(*given: object) -> None:
        real(*given)  # type: ignore[arg-type]
        raise PulledPlug

    with monkeypatch.context() as patch:
        patch.setattr(withdrawals, "release", release_and_die)
        with pytest.raises(PulledPlug):
            one.worker.round()
    assert state_of(one, ann, number).released == Amount(0)
    one.round()
    assert state_of(one, ann, number).released == Amount(2_000)


def test_a_withdrawal_is_one_transfer_and_one_place_in_the_queue(one: Vaulted) -> None:
    ann, _ = one.payee(5_000)
    ask(one, ann, 2_000)
    (row,) = one.rows(table, sa.true())
    (posted,) = one.rows(transfers, transfers.c.kind == "withdraw")
    assert (posted.debit, posted.credit) == (f"user:{ann.account.hex()}", "withdrawals")
    assert (posted.amount, posted.reference) == (row.amount, row.key)


def test_with_the_chain_down_or_the_vault_frozen_a_withdrawal_says_so(one: Vaulted) -> None:
    ann, _ = one.payee(5_000)
    ask(one, ann, 2_000)
    one.node.nodes[0].fault("http500", count=100)
    assert not one.worker.round()
    assert one.node.url in str(shown(one, ann).trouble)
    one.node.nodes[0].heal()
    one.send(one.vault.prepare_freeze(one.guardian.address), one.guardian)
    one.solidify()
    assert not one.worker.round()
    assert "frozen for good" in str(shown(one, ann).trouble)
    with pytest.raises(NotAllowed, match="frozen"):
        ask(one, ann, 1)
