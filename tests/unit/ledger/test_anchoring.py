"""An epoch's way to the chain: every state of its life, and every way in which a node can hinder it.

All of it on a real development chain. What happens when the process dies in between is in
``tests/scenarios/test_ledger_anchors.py``.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from speedpay.errors import LedgerFailed, OutOfOrder
from speedpay.ledger.anchor_life import Attempt, Step, after
from speedpay.ledger_api.epochs import EpochState as State
from tests.unit.ledger.vaulted import INTERVAL, SOLID, TRX, Vaulted, chain_key, vaulted

LIFETIME_S = 61


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Vaulted]:
    with vaulted(tmp_path / "ledger") as made:
        yield made
        assert made.desk.broken() == []


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Vaulted]:
    """With two nodes, both of which the worker asks."""
    with vaulted(tmp_path / "ledger", nodes=2) as made:
        made.worker = made.another_worker(made.connect([node.url for node in made.node.nodes]))
        yield made
        assert made.desk.broken() == []


def sounding(vault: Vaulted) -> str:
    """What is wrong, after a round that must not have gone well."""
    assert not vault.worker.round()
    return "; ".join(vault.health().alarms)


# --- the table ------------------------------------------------------------------------------------


def test_every_state_leads_to_the_chain_and_none_leads_away_from_it() -> None:
    allowed = {}
    for state, step in product(State, Step):
        try:
            allowed[state, step] = after(state, step)
        except OutOfOrder:
            continue
    assert not [step for state, step in allowed if state is State.SOLID]
    for state in State:
        if state is not State.SOLID:
            assert allowed[state, Step.SETTLE] is State.SOLID
    # Another transaction may be signed only out of PUBLISHED, and only giving up leads back there.
    assert [at for at, to in allowed.items() if to is State.SIGNED] == [
        (State.PUBLISHED, Step.STORE)
    ]
    back = {step for (state, step), to in allowed.items() if to is State.PUBLISHED}
    assert back == {Step.PUBLISH, Step.GIVE_UP}


# --- when all is well -----------------------------------------------------------------------------


def test_an_epoch_is_closed_anchored_and_settled_by_its_event(one: Vaulted) -> None:
    one.round()
    assert one.state(1) == State.SENT
    one.node.mine()
    one.round()
    assert one.state(1) == State.SEEN
    one.solidify()
    one.round()
    assert one.state(1) == State.SOLID
    (attempt,) = one.attempts(1)
    (anchored,) = one.anchored()
    assert (attempt.state, attempt.txid) == (Attempt.SETTLED, anchored.txid)
    health = one.health()
    assert health.anchor is not None
    assert (health.anchor.epoch, health.anchor.txid) == (1, anchored.txid)
    assert (health.age_s, health.alarms) == (health.age_s or 0, ())


def test_no_epoch_is_closed_before_its_time_nor_before_the_last_one_is_settled(
    one: Vaulted,
) -> None:
    one.round()
    one.node.mine()
    one.pass_time(INTERVAL + 1)
    one.round()
    assert one.health().closed == 1  # in a block, not solid
    one.solidify()
    one.round()
    assert one.health().closed == 2
    one.solidify()
    one.round()
    one.round()
    assert one.health().closed == 2  # too early


def test_epochs_that_wait_are_caught_up_in_order_and_no_faster_than_the_vault_allows(
    one: Vaulted,
) -> None:
    one.settle_epoch()
    keeper = one.worker._keeper
    for number in (2, 3, 4):
        keeper.publish(keeper.close(number).number)
    for number in (2, 3, 4):
        one.pass_time(INTERVAL + 1)
        one.round()
        assert one.state(number) == State.SENT
        assert all(one.state(later) == State.PUBLISHED for later in range(number + 1, 5))
        one.solidify()
        one.round()
        assert one.state(number) == State.SOLID
        assert not one.attempts(number + 1)  # the minimum interval has not passed
    found = one.anchored()
    assert [anchored.epoch for anchored in found] == [1, 2, 3, 4]


# --- answers that are lost or wrong ---------------------------------------------------------------


def lose_the_answer(one: Vaulted) -> None:
    """The node takes the transaction, cuts the connection, and then says nothing about it."""
    one.node.nodes[0].fault("lost_but_mined")
    for path in ("wallet/broadcast*", "wallet/gettransactionbyid"):
        one.node.nodes[0].fault("http500", count=100, path=path)


def test_a_lost_answer_to_the_broadcast_is_found_out_and_nothing_is_signed_again(
    one: Vaulted,
) -> None:
    lose_the_answer(one)
    sounding(one)
    assert one.state(1) == State.SIGNED
    one.node.nodes[0].heal()
    one.solidify()
    one.round()
    assert one.state(1) == State.SOLID
    assert len(one.attempts(1)) == len(one.anchored()) == 1


def test_a_transaction_that_the_network_has_already_is_a_success(one: Vaulted) -> None:
    lose_the_answer(one)
    sounding(one)
    one.node.nodes[0].heal()
    one.worker = one.another_worker()  # it does not remember that it has just sent
    one.round()
    assert one.state(1) == State.SENT
    one.solidify()
    one.round()
    assert len(one.attempts(1)) == len(one.anchored()) == 1


def test_an_anchor_that_was_accepted_and_never_mined_is_signed_anew_only_when_it_is_dead(
    one: Vaulted,
) -> None:
    one.node.nodes[0].fault("accepted_never_mined")
    one.round()
    assert one.state(1) == State.SENT
    first = one.attempts(1)[0]
    one.node.nodes[0].fault("accepted_never_mined", count=100)  # and every repetition
    one.pass_time(LIFETIME_S)  # expired, but no solid block says so
    one.round()
    assert [row.txid for row in one.attempts(1)] == [first.txid]
    one.node.nodes[0].heal()
    one.solidify()
    one.round()
    assert [row.state for row in one.attempts(1)] == [Attempt.EXPIRED, Attempt.ALIVE]
    one.solidify()
    one.round()
    assert one.state(1) == State.SOLID
    (anchored,) = one.anchored()
    assert anchored.txid == one.attempts(1)[1].txid != first.txid


def test_an_anchor_is_repeated_byte_by_byte_while_it_lives(one: Vaulted) -> None:
    one.node.nodes[0].fault("accepted_never_mined")
    one.round()
    one.pass_time(15)
    one.round()  # the same bytes again; this time they stay
    one.solidify()
    one.round()
    assert one.state(1) == State.SOLID
    assert len(one.attempts(1)) == 1


def test_an_anchor_whose_block_vanishes_is_sent_again(one: Vaulted) -> None:
    one.round()
    one.node.mine()
    one.round()
    assert one.state(1) == State.SEEN
    one.node.reorg(1, drop=True)
    one.round()
    assert one.state(1) == State.SENT
    one.pass_time(15)
    one.round()
    one.solidify()
    one.round()
    assert one.state(1) == State.SOLID
    assert len(one.attempts(1)) == 1


def test_a_node_that_gives_another_transaction_to_sign_gets_no_signature(one: Vaulted) -> None:
    one.node.nodes[0].fault("lie_txid", path="wallet/getsignweight")
    assert "another id" in sounding(one)
    assert (one.state(1), one.attempts(1)) == (State.PUBLISHED, [])
    one.round()
    one.solidify()
    one.round()
    assert one.state(1) == State.SOLID


@pytest.mark.parametrize("kind", ["timeout", "429", "http500"])
def test_a_node_that_does_not_answer_delays_the_anchor_and_says_so(one: Vaulted, kind: str) -> None:
    one.round()
    one.node.nodes[0].fault(kind, count=100, seconds=0)
    assert one.node.url in sounding(one)
    one.node.nodes[0].heal()
    one.solidify()
    one.round()
    assert (one.state(1), one.health().alarms) == (State.SOLID, ())


def test_with_a_second_node_a_dead_one_delays_nothing_but_what_two_must_agree_on(
    two: Vaulted,
) -> None:
    two.round()
    two.solidify()
    two.node.nodes[0].fault("http500", count=1000)
    assert "two nodes must agree" in sounding(two)
    assert two.state(1) != State.SOLID
    two.node.nodes[0].heal()
    two.round()
    assert two.state(1) == State.SOLID


def test_a_node_on_another_network_is_never_used(one: Vaulted) -> None:
    one.node.nodes[0].fault("wrong_genesis", genesis=bytes(28) + bytes.fromhex("2b6653dc"))
    assert "mainnet" in sounding(one)
    assert one.health().closed == 0


def test_a_node_an_hour_behind_is_not_believed(two: Vaulted) -> None:
    two.settle_epoch()
    two.pass_time(3600)
    two.node.mine(SOLID)
    for late, other in (two.node.nodes, reversed(two.node.nodes)):
        late.fault("behind", blocks=2 * SOLID)
        assert f"only {other.url} answers, and two nodes must agree" in sounding(two)
        late.heal()
    two.worker = two.another_worker()
    two.node.nodes[0].fault("behind", blocks=2 * SOLID)
    assert "61 minutes behind" in sounding(two)
    two.node.nodes[0].heal()
    assert "no epoch for more than 3 minutes" in sounding(two)  # but the next is on its way
    assert two.state(2) == State.SENT


# --- what an anchor costs -------------------------------------------------------------------------


def test_without_trx_nothing_is_signed_and_the_alarm_says_why(one: Vaulted) -> None:
    poor = chain_key()
    held = one.tron.trx_balance(one.operator.address)
    made = one.tron.prepare_transfer(one.operator.address, poor.address, held - 3 * TRX)
    one.send(made, one.operator)
    said = sounding(one)
    assert "holds" in said
    assert "needs" in said
    assert one.attempts(1) == []
    assert one.health().low_trx
    one.node.faucet(one.operator.address, 1_000 * TRX)
    one.pass_time(30)
    one.round()
    assert not one.health().low_trx


def test_an_anchor_that_is_mined_and_reverts_is_an_alarm_and_not_a_loop(one: Vaulted) -> None:
    one.settle_epoch()
    one.pass_time(INTERVAL + 1)
    one.node.nodes[0].fault("accepted_never_mined")
    one.round()
    one.send(one.vault.prepare_freeze(one.guardian.address), one.guardian)
    one.pass_time(15)
    one.round()  # repeated, and mined after the freeze
    one.solidify()
    assert "reverted" in sounding(one)
    held = one.tron.trx_balance(one.operator.address)
    for _ in range(2):
        one.pass_time(3600)
        one.solidify()
        assert "frozen" in sounding(one)
    assert [row.state for row in one.attempts(2)] == [Attempt.REVERTED]
    assert "sun burned" in str(one.attempts(2)[0].reason)
    assert one.tron.trx_balance(one.operator.address) == held
    assert one.health().frozen_epoch == 0


# --- somebody else --------------------------------------------------------------------------------


def test_an_anchor_by_a_stolen_key_stops_the_ledger(one: Vaulted) -> None:
    one.settle_epoch()
    one.pass_time(INTERVAL + 1)
    signature = "anchor(uint64,bytes32,bytes32,uint64,uint64,uint64,bytes20)"
    fields = [2, b"\x01" * 32, b"\x02" * 32, 0, 9, 0, b"\x03" * 20]
    thief = one.tron.prepare_call(
        one.operator.address, one.vault.address, signature, fields, 100 * TRX
    )  # fmt: skip
    one.send(thief, one.operator)
    one.solidify()
    with pytest.raises(LedgerFailed, match="epoch 2"):
        one.worker.round()
    assert one.desk.service.database.stopped


def test_a_backup_older_than_the_last_anchor_stops_the_ledger(one: Vaulted, tmp_path: Path) -> None:
    one.settle_epoch()
    one.desk.service.close()
    shutil.copytree(one.folder, tmp_path / "backup")
    one.settle_epoch()
    one.desk.service.close()
    shutil.copy(tmp_path / "backup/ledger.sqlite", one.folder / "ledger.sqlite")
    for leftover in ("ledger.sqlite-wal", "ledger.sqlite-shm"):
        (one.folder / leftover).unlink(missing_ok=True)
    restored = one.another_worker()
    with pytest.raises(LedgerFailed, match="epoch 2"):
        restored.round()
    one.desk.service.database.stopped = None  # the fixture looks at the books once more


def test_an_alarm_is_logged_when_it_comes_and_when_it_goes(
    one: Vaulted, caplog: pytest.LogCaptureFixture
) -> None:
    one.settle_epoch()
    one.pass_time(10 * INTERVAL)
    one.node.nodes[0].fault("http500", count=1000)
    with caplog.at_level(logging.WARNING, "speedpay.ledger.chain"):
        for _ in range(3):
            sounding(one)
        late = [record for record in caplog.records if record.message.startswith("late: the chain")]
        assert len(late) == 1
        one.node.nodes[0].heal()
        one.solidify()
        one.worker.round()
        one.solidify()
        one.round()
    assert "late: over" in caplog.messages
    assert one.health().alarms == ()
