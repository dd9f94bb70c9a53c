"""What is given out of an epoch, what is kept of it, and what an old backup may not undo."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from speedpay.errors import AlreadyExists, BooksBroken, LedgerFailed, NotFound
from speedpay.ledger import durable, keeper
from speedpay.ledger.epochs import Epoch
from speedpay.ledger.keeper import KEPT, RING
from speedpay.ledger_api import calls, epochs
from speedpay.ledger_api.epochs import EpochState
from tests.unit.ledger.closing import Closing
from tests.unit.ledger.desk import fresh, new_key


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Closing]:
    made = Closing(tmp_path / "ledger")
    yield made
    assert made.broken() == []
    made.service.close()


def backup(desk: Closing, to: Path) -> Path:
    with sqlite3.connect(desk.service.database.path) as source, sqlite3.connect(to) as copy:
        source.backup(copy)
    return to


def restore(desk: Closing, source: Path) -> None:
    desk.service.close()
    for path in desk.folder.glob("ledger.sqlite*"):
        path.unlink()
    shutil.copy(source, desk.folder / "ledger.sqlite")


def solid(desk: Closing, *numbers: int) -> None:
    for change in (
        "UPDATE epochs SET state = 'solid', txid = zeroblob(32), block = 1 WHERE number = ?",
        "INSERT INTO anchors (epoch, time) VALUES (?, 1)",
    ):
        with desk.service.database.write() as connection:
            connection.exec_driver_sql(change, [(one,) for one in numbers])


def test_an_older_backup_is_refused_below_the_last_signed_head(
    desk: Closing, tmp_path: Path
) -> None:
    desk.person(tokens=7)
    desk.close()
    old = backup(desk, tmp_path / "old")
    desk.person(tokens=7)
    given_out = desk.close()
    new = backup(desk, tmp_path / "new")
    restore(desk, old)
    with pytest.raises(BooksBroken, match="older than epoch 2") as caught:
        desk.restart()
    assert caught.value.field == "heads/last"
    with sqlite3.connect(desk.folder / "ledger.sqlite") as restored:
        assert restored.execute("SELECT max(number) FROM epochs").fetchone() == (1,)
    restore(desk, new)
    desk.restart()
    assert desk.close().head.prev == given_out.hash


def test_a_process_that_was_already_running_closes_nothing_below_the_last_signed_head(
    desk: Closing,
) -> None:
    desk.close()
    with desk.service.database.write() as connection:
        kept = connection.exec_driver_sql("SELECT * FROM epochs").all()
        connection.exec_driver_sql("DELETE FROM epochs")
    with desk.refused(BooksBroken, "heads/last"):
        desk.keeper.close(1)
    with desk.service.database.write() as connection:
        marks = ", ".join("?" * len(kept[0]))
        connection.exec_driver_sql(f"INSERT INTO epochs VALUES ({marks})", [tuple(kept[0])])


def test_another_head_of_the_last_epoch_is_refused(desk: Closing) -> None:
    desk.person(tokens=7)
    closed = desk.close_only()
    other = desk.keeper.last_head
    with desk.service.database.read() as connection:
        other.check(connection)
    desk.keeper.publish(1)
    changed = type(closed.head).from_bytes(
        closed.head.to_bytes()[:8] + (5).to_bytes(8) + closed.head.to_bytes()[16:]
    )
    with pytest.raises(BooksBroken, match="another head of epoch 1"):
        other.advance(type(closed.signed)(changed, closed.signed.signature))


def test_a_damaged_note_of_the_last_head_is_refused(desk: Closing) -> None:
    desk.close()
    path = desk.folder / "heads/last"
    content = path.read_bytes()
    for damage in (b"", content[:-10], content.replace(b"0", b"1", 1), b"\xff" * 300):
        path.write_bytes(damage)
        with pytest.raises(BooksBroken, match="heads/last"):
            desk.keeper.check()
    path.write_bytes(content)
    desk.keeper.check()


def test_a_head_is_noted_outside_the_database_before_anybody_sees_it(desk: Closing) -> None:
    ann = desk.person(tokens=7)
    desk.close_only()
    assert desk.keeper.last_head.read() is None
    for call in (epochs.epoch(), epochs.epoch(1), epochs.proof(ann.key, ann.account, 1)):
        with desk.refused(NotFound, "epoch"):
            desk.ask(call)  # type: ignore[arg-type]
    published = desk.keeper.publish(1)
    assert desk.keeper.last_head.read() == published.signed
    assert desk.ask(epochs.epoch()).state is EpochState.PUBLISHED


def stop_at(desk: Closing, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    class PulledPlugError(Exception):
        pass

    real: Callable[..., None] = durable.replace

    def pull(path: Path, content: bytes) -> None:
        if path.name.endswith(what):
            raise PulledPlugError
        real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "replace", pull)
        with pytest.raises(PulledPlugError):
            desk.keeper.publish(1)


@pytest.mark.parametrize("step", ["last", ".leaves", ".torrent"])
def test_publishing_goes_on_where_it_was_stopped(
    desk: Closing, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    ann = desk.person(tokens=7)
    head = desk.close_only().head
    stop_at(desk, monkeypatch, step)
    desk.restart()
    (published,) = desk.keeper.resume()
    assert published.head == head
    assert desk.keeper.resume() == []
    desk.verified(ann, 1)
    name = desk.keeper.name_of(1)
    assert {path.name for path in desk.keeper.folder.iterdir()} == {
        ".lock", name, f"{name}.torrent"
    }  # fmt: skip


@pytest.mark.parametrize("suffix", ["", ".torrent"])
def test_a_file_with_other_content_in_the_place_of_an_epochs_is_named(
    desk: Closing, suffix: str
) -> None:
    desk.close_only()
    desk.keeper.folder.mkdir()
    path = desk.keeper.folder / (desk.keeper.name_of(1) + suffix)
    path.write_bytes(b"something else")
    with desk.refused(AlreadyExists, str(path)):
        desk.keeper.publish(1)
    assert path.read_bytes() == b"something else"
    path.unlink()
    desk.keeper.publish(1)


def test_a_folder_that_cannot_be_written_leaves_the_epoch_closed(desk: Closing) -> None:
    desk.close_only()
    desk.keeper.folder.write_bytes(b"no folder")
    with pytest.raises(LedgerFailed):
        desk.keeper.publish(1)
    desk.keeper.folder.unlink()
    assert [one.number for one in desk.keeper.resume()] == [1]


def test_closed_epochs_are_published_in_order(desk: Closing) -> None:
    made = [desk.close_only() for _ in range(3)]
    assert [one.head for one in desk.keeper.resume()] == [one.head for one in made]


def rows(desk: Closing) -> tuple[int, int]:
    found = desk.everything()
    return len(found["tree_nodes"]), len(found["former_leaves"])


def test_what_the_vault_may_still_ask_for_is_kept_and_the_rest_is_not(desk: Closing) -> None:
    people = [desk.person(tokens=100) for _ in range(20)]
    made: list[Epoch] = []
    for turn in range(KEPT + 6):
        desk.send(people[turn % 20], people[(turn + 7) % 20], 1)
        made.append(desk.close())
        desk.keeper.prune()
    last = len(made)
    assert rows(desk)[1] == 2 * (last - 1)  # nothing has reached the chain: all is kept
    solid(desk, *range(1, last + 1))
    for _ in range(2):
        desk.keeper.prune()
    first = last - KEPT + 1
    assert first <= last - RING
    assert rows(desk)[1] == 2 * (KEPT - 1)
    held = {path.name for path in desk.keeper.folder.glob("*.leaves")}
    assert held == {desk.keeper.name_of(number) for number in range(first, last + 1)}
    for number in range(first, last + 1):
        for who in (people[0], people[13]):
            desk.verified(who, number)
    with desk.refused(NotFound, "epoch"):
        desk.proof(people[0], first - 1)
    head = desk.ask(epochs.epoch(1)).head.signed.head  # heads stay
    assert head == made[0].head


def test_an_epoch_that_waits_for_the_chain_keeps_its_proofs(desk: Closing) -> None:
    ann = desk.person(tokens=100)
    for _ in range(KEPT + 4):
        desk.send(ann, desk.person(), 1)
        desk.close()
    solid(desk, 1, 2, 3)
    desk.keeper.prune()
    with desk.service.database.read() as connection:
        assert keeper.first_kept(connection) == 1
    assert desk.verified(ann, 1).balance.utok == 99


def test_throwing_away_goes_on_where_it_was_stopped(
    desk: Closing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_PRUNED_AT_ONCE", 3)
    people = [desk.person(tokens=100) for _ in range(20)]
    for turn in range(KEPT + 6):
        desk.send(people[turn % 20], people[(turn + 7) % 20], 1)
        desk.close()
    solid(desk, *range(1, KEPT + 7))
    before, times = rows(desk), []

    class PulledPlugError(Exception):
        pass

    real = keeper._prune_some

    def once_more(*arguments: object) -> bool:
        times.append(1)
        if len(times) == 3:
            raise PulledPlugError
        return real(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(keeper, "_prune_some", once_more)
        with pytest.raises(PulledPlugError):
            desk.keeper.prune()
    assert rows(desk) < before
    assert desk.broken() == []
    desk.keeper.prune()
    assert rows(desk)[1] == 2 * (KEPT - 1)
    desk.verified(people[0], KEPT + 6)


def test_an_account_opened_after_an_epoch_has_no_leaf_in_it(desk: Closing) -> None:
    for _ in range(4):
        desk.person(tokens=1)
    desk.close()
    late = desk.person(tokens=5)
    poor = desk.person()
    desk.close()
    assert desk.proof(late, 1) is None
    assert desk.verified(late, 2).balance.utok == 5
    assert desk.proof(poor, 2) is None
    key = new_key()
    opened = desk.ask(calls.open_account(key, fresh()))
    assert desk.ask(epochs.proof(key, opened.account, 2)) is None
    assert os.listdir(desk.keeper.folder)
