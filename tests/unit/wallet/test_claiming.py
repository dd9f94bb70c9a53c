"""The vault pays a proof, without any ledger: by anybody, once, and after a freeze all that is owed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from speedpay.errors import ChainRefused, NotFound, ProofBroken
from speedpay.proof.balance import BalanceProof
from speedpay.proof.leaf import NO_PAYOUT
from speedpay.units import Amount
from speedpay.wallet.claiming import Claiming, proofs_for
from speedpay.wallet.proofs import Proofs
from tests.unit.wallet.onchain import DELAY, RESPONSE, SUN, World, changed, key, world

ALICE, BOB = b"account of alice", b"account of bob.."
PAYOUT = key("payout of alice").address


@pytest.fixture
def chain() -> Iterator[World]:
    """Epoch 1: 30 tok deposited, alice has 8 released and 12 left, bob 10."""
    with world() as made:
        made.deposit(made.rich("depositor", tok=100), ALICE, 30)
        made.anchor(
            [
                made.leaf(ALICE, PAYOUT, 8 * SUN, 12 * SUN),
                made.leaf(BOB, NO_PAYOUT, 0, 10 * SUN),
            ],
            1,
        )
        yield made


@pytest.fixture
def kept(chain: World, tmp_path: Path) -> Proofs:
    proofs = Proofs(tmp_path, "alice")
    proofs.keep(chain.evidence(1))
    return proofs


def _claiming(chain: World, folder: Path, name: str = "a stranger") -> Claiming:
    who = chain.rich(name)
    return Claiming(chain.vault, chain.outbox(folder, who), who.address)


def test_what_was_released_is_paid_once_its_anchor_is_old_enough(
    chain: World, kept: Proofs, tmp_path: Path
) -> None:
    claiming = _claiming(chain, tmp_path)
    proof_of = proofs_for(ALICE, RESPONSE, None, kept)
    due = claiming.due(ALICE, proof_of)
    assert (due.amount, due.frozen) == (Amount(8 * SUN), False)
    assert due.from_time == (chain.vault.anchor_of(1).time or 0) + DELAY
    chain.devnet.advance(DELAY)
    chain.devnet.mine()
    due = claiming.due(ALICE, proof_of)
    assert due.from_time is None
    told_sun = claiming.fee_sun(due)
    paid = claiming.claim(due)
    assert (paid.amount, paid.to, paid.epoch) == (Amount(8 * SUN), PAYOUT, 1)
    assert 0 < paid.fee_sun <= told_sun < 10 * SUN
    assert chain.token.balance_of(PAYOUT) == 8 * SUN
    with pytest.raises(NotFound, match="8 tok were paid"):
        claiming.due(ALICE, proof_of)
    with pytest.raises(ChainRefused):
        claiming.claim(due)
    assert chain.token.balance_of(PAYOUT) == 8 * SUN


def test_the_newest_epoch_that_pays_is_taken_and_paid_is_only_the_difference(
    chain: World, kept: Proofs, tmp_path: Path
) -> None:
    claiming = _claiming(chain, tmp_path)
    proof_of = proofs_for(ALICE, RESPONSE, None, kept)
    chain.devnet.advance(DELAY)
    chain.devnet.mine()
    claiming.claim(claiming.due(ALICE, proof_of))
    for released in (9, 14):
        chain.anchor([chain.leaf(ALICE, PAYOUT, released * SUN, 0)], 1)
        kept.keep(chain.evidence(len(chain.heads)))
    assert claiming.due(ALICE, proof_of).proof.epoch == 2, "the soonest"
    chain.devnet.advance(DELAY)
    chain.devnet.mine()
    due = claiming.due(ALICE, proof_of)
    assert (due.proof.epoch, due.amount) == (3, Amount(6 * SUN))
    claiming.claim(due)
    assert chain.token.balance_of(PAYOUT) == 14 * SUN


def test_after_a_freeze_the_owner_leaves_with_the_whole_balance_and_no_operator(
    chain: World, kept: Proofs, tmp_path: Path
) -> None:
    """The exit: the ledger is gone, there are the words, the kept proof and the chain."""
    chain.devnet.advance(DELAY)
    chain.devnet.mine()
    late = chain.rich("late depositor", tok=7)
    chain.deposit(late, BOB, 7)
    chain.freeze()
    claiming = _claiming(chain, tmp_path)
    due = claiming.due(ALICE, proofs_for(ALICE, RESPONSE, None, kept))
    assert (due.amount, due.frozen) == (Amount(20 * SUN), True)
    assert claiming.claim(due).amount == Amount(20 * SUN)
    assert chain.token.balance_of(PAYOUT) == 20 * SUN

    assert claiming.to_give_back() == []
    own = Claiming(chain.vault, chain.outbox(tmp_path, late, "late"), late.address)
    assert own.to_give_back() == [2]
    back = own.give_back(2)
    assert (back.seq, back.amount) == (2, Amount(7 * SUN))
    assert chain.token.balance_of(late.address) == 7 * SUN
    assert own.to_give_back() == []


def test_the_published_leaves_are_enough_for_whoever_was_away(
    chain: World, kept: Proofs, tmp_path: Path
) -> None:
    """Alice kept epoch 1's proof; the vault is frozen at epoch 2, and nobody shows her a path there."""
    mine = chain.trees[1][0]
    chain.anchor([mine, chain.leaf(BOB, NO_PAYOUT, 0, 9 * SUN)], 1)
    chain.devnet.advance(DELAY)
    chain.devnet.mine()
    chain.freeze()
    claiming = _claiming(chain, tmp_path)
    with pytest.raises(NotFound):
        claiming.due(BOB, proofs_for(BOB, RESPONSE, None, kept))
    published = [one.node() for one in chain.trees[2]]
    proof = claiming.proof_from_leaves(published, ALICE, kept)
    due = claiming.due(ALICE, lambda epoch: proof if epoch == 2 else None)
    assert (due.amount, due.frozen) == (Amount(20 * SUN), True)
    assert claiming.claim(due).amount == Amount(20 * SUN)

    with pytest.raises(ProofBroken, match="not the leaves of an epoch"):
        claiming.proof_from_leaves(published[::-1], ALICE, kept)
    with pytest.raises(NotFound, match="it changed since"):
        claiming.proof_from_leaves(published, BOB, kept)


def test_a_claim_killed_after_it_was_sent_is_paid_once(
    chain: World, kept: Proofs, tmp_path: Path
) -> None:
    chain.devnet.advance(DELAY)
    chain.devnet.mine()
    who = chain.rich("killed")

    def killed(_step: str, news: str, *_: object) -> None:
        if news == "sent":
            raise KeyboardInterrupt

    claiming = Claiming(chain.vault, chain.outbox(tmp_path, who, report=killed), who.address)
    due = claiming.due(ALICE, proofs_for(ALICE, RESPONSE, None, kept))
    with pytest.raises(KeyboardInterrupt):
        claiming.claim(due)
    again = Claiming(chain.vault, chain.outbox(tmp_path, who), who.address)
    assert again.claim(due).amount == Amount(8 * SUN)
    assert chain.token.balance_of(PAYOUT) == 8 * SUN


def test_without_a_payout_address_or_a_proof_nothing_is_due(
    chain: World, kept: Proofs, tmp_path: Path
) -> None:
    chain.devnet.advance(DELAY)
    chain.devnet.mine()
    claiming = _claiming(chain, tmp_path)
    none = Proofs(tmp_path, "nobody")
    with pytest.raises(NotFound):
        claiming.due(ALICE, proofs_for(ALICE, RESPONSE, None, none))
    bobs = Proofs(tmp_path, "bob")
    bobs.keep(chain.evidence(1, 1))
    with pytest.raises(NotFound):
        claiming.due(BOB, proofs_for(BOB, RESPONSE, None, bobs))


def test_a_proof_that_the_chain_does_not_hold_is_never_claimed(
    chain: World, kept: Proofs, tmp_path: Path
) -> None:
    chain.devnet.advance(DELAY)
    chain.devnet.mine()
    claiming, good = _claiming(chain, tmp_path), chain.evidence(1)
    richer = changed(good, withdrawable=Amount(9 * SUN))

    def lies(_epoch: int) -> BalanceProof | None:
        return richer.proof

    with pytest.raises(NotFound):
        claiming.due(ALICE, lies)
    assert claiming.check(good) == good.proof
    for bad, field in (
        (richer, "proof.root"),
        (replace(good, vault=bytes(20)), "vault"),
        (replace(good, chain_id=1), "vault"),
        (replace(good, proof=None), "proof"),
    ):
        with pytest.raises(ProofBroken) as caught:
            claiming.check(bad)
        assert caught.value.field == field
