"""What a node keeps back without saying so, a root that is not ours, a clock that was wrong once: the
ledger finds each out, and no epoch is ever closed that the vault would refuse for good.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from speedpay.chain import scan
from speedpay.chain.vault import Vault
from speedpay.errors import LedgerFailed
from speedpay.ledger import epochs
from speedpay.ledger.anchoring import FIRST_PAUSE_S
from speedpay.ledger.schema import epochs as epoch_table
from speedpay.ledger_api.epochs import EpochState as State
from tests.unit.ledger.desk import Desk, Person
from tests.unit.ledger.vaulted import INTERVAL, SILENCE, Vaulted, vaulted

YEAR_S = 365 * 86_400


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Vaulted]:
    """Epoch 1 is settled."""
    with vaulted(tmp_path / "ledger") as made:
        made.round()
        made.solidify()
        made.round()
        yield made
        assert made.desk.broken() == []


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Every block seems empty until ``undo``, as from a node that does not have it yet."""
    with monkeypatch.context() as patch:
        patch.setattr(scan, "block_events", lambda *_: [])
        yield patch


def tokens(desk: Desk, who: Person) -> int:
    return desk.balance(who).token.utok


def test_a_deposit_that_was_passed_over_is_found_by_the_one_after_it(
    one: Vaulted, blind: pytest.MonkeyPatch
) -> None:
    ann = one.desk.person()
    one.deposit(ann.account, 5)
    one.solidify()
    one.round()
    blind.undo()
    one.deposit(ann.account, 7)
    one.solidify()
    assert not one.worker.round()
    assert "not of all between" in one.health().alarms[0]
    one.round()
    assert tokens(one.desk, ann) == 12


def test_no_epoch_is_closed_that_leaves_out_a_deposit_which_the_vault_wants_covered(
    one: Vaulted, blind: pytest.MonkeyPatch
) -> None:
    """There is one content for each epoch: closed without it, nothing could ever be anchored again."""
    ann = one.desk.person()
    one.deposit(ann.account, 5)
    one.solidify()
    one.round()
    blind.undo()
    one.settle_epoch()
    one.pass_time(INTERVAL + 1)
    assert not one.worker.round()
    assert one.health().alarms == ("deposits: deposit 1 was passed over, its block is read again",)
    assert one.health().closed == 2
    assert one.settle_epoch() == 3
    assert tokens(one.desk, ann) == 5
    assert one.settle_epoch() == 4


def test_an_anchor_whose_event_was_passed_over_is_read_again(
    one: Vaulted, blind: pytest.MonkeyPatch
) -> None:
    one.pass_time(INTERVAL + 1)
    one.round()
    one.solidify()
    one.round()
    assert one.state(2) == State.SEEN
    blind.undo()
    one.round()  # goes back
    one.round()
    assert one.state(2) == State.SOLID


def test_a_freeze_that_was_passed_over_is_found_before_an_epoch_is_closed(
    one: Vaulted, blind: pytest.MonkeyPatch
) -> None:
    """Or tokens that no vault pays any more would be taken for an upload, for ever."""
    one.send(one.vault.prepare_freeze(one.guardian.address), one.guardian)
    one.solidify()
    one.round()
    blind.undo()
    one.pass_time(INTERVAL + 1)
    assert not one.worker.round()
    assert "the freeze of the vault was passed over" in one.health().alarms[0]
    assert one.health().closed == 1
    one.worker.round()
    assert one.health().frozen_epoch == 0
    assert one.health().alarms == ("the vault is frozen for good, at epoch 0",)


def test_a_freeze_that_was_passed_over_is_found_when_the_vault_takes_no_anchor(
    one: Vaulted, blind: pytest.MonkeyPatch
) -> None:
    one.pass_time(INTERVAL + 1)
    one.node.nodes[0].fault("accepted_never_mined")
    one.round()
    one.send(one.vault.prepare_freeze(one.guardian.address), one.guardian)
    one.pass_time(15)
    one.round()  # the same bytes again, mined after the freeze
    one.solidify()
    assert not one.worker.round()
    assert one.state(2) == State.PUBLISHED
    one.pass_time(FIRST_PAUSE_S)
    one.solidify()
    assert one.health().frozen_epoch is None
    assert not one.worker.round()
    assert one.health().alarms == ("anchor: the vault is frozen",)
    blind.undo()
    assert not one.worker.round()
    assert one.health().frozen_epoch == 0


def test_one_node_that_tells_of_a_freeze_ends_nothing(
    one: Vaulted, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Vault.state
    one.pass_time(INTERVAL + 1)
    with monkeypatch.context() as patch:
        patch.setattr(Vault, "state", lambda vault: replace(honest(vault), frozen=True))
        assert not one.worker.round()
    assert one.health().next_block == one.tron.solid().number + 1  # it did not go back
    one.round()
    assert one.health().frozen_epoch is None


def test_our_head_over_a_root_of_somebody_else_stops_the_ledger(one: Vaulted) -> None:
    """The vault cannot look into a head; claims go by the root."""
    one.node.nodes[0].fault("accepted_never_mined")
    one.pass_time(INTERVAL + 1)
    one.round()
    one.node.nodes[0].heal()
    with one.desk.service.database.read() as connection:
        ours = epochs.load(connection, 2)
    false = replace(ours.head, root=b"\x66" * 32)
    one.send(one.vault.prepare_anchor(one.operator.address, false, ours.hash), one.operator)
    one.solidify()
    with pytest.raises(LedgerFailed, match="not this ledger's"):
        one.worker.round()


def test_a_clock_that_is_a_year_ahead_closes_nothing_and_puts_nothing_off(
    one: Vaulted, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(one.desk.service, "_clock", lambda: one.clock() + YEAR_S)
        patch.setattr(one.tron._nodes, "clock", lambda: one.clock() + YEAR_S)
        assert not one.worker.round()
        assert one.rows(epoch_table.c.state, epoch_table.c.number == 2) == []
        # Without the chain's own time to tell, as when all nodes lie:
        one.worker._keeper.close(2)
    one.worker._keeper.resume()
    one.pass_time(INTERVAL + 1)
    one.round()
    one.solidify()
    one.round()
    assert one.state(2) == State.SOLID
    assert one.settle_epoch() == 3


def test_one_node_that_tells_of_an_epoch_too_many_does_not_stop_the_ledger(
    one: Vaulted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a start an epoch on chain that the books lack is an old backup: if it is final, by two nodes."""
    one.worker = one.another_worker()
    honest = Vault.state
    with monkeypatch.context() as patch:
        patch.setattr(Vault, "state", lambda vault: replace(honest(vault), last_epoch=9))
        assert not one.worker.round()
        assert "which no final block holds" in one.health().alarms[0]
    one.round()
    assert one.desk.service.database.stopped is None


def test_epochs_so_rare_that_anybody_may_freeze_the_vault_are_an_alarm(tmp_path: Path) -> None:
    with vaulted(tmp_path / "ledger", epoch_interval_s=SILENCE // 2) as rare:
        assert not rare.worker.round()
        assert any("freeze it for good" in alarm for alarm in rare.health().alarms)
