"""Epochs in real processes: killed at every step, closed by two at once, asked for over HTTP."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from speedpay.chain import address
from speedpay.ledger import durable, epochs
from speedpay.ledger.http import LedgerServer
from speedpay.ledger.keeper import Keeper
from speedpay.ledger.service import Service, Settings
from speedpay.ledger_api.client import AsyncLedgerClient, LedgerClient
from speedpay.ledger_api.epochs import EpochState, NamePayout
from speedpay.proof import journal
from speedpay.units import Amount
from tests.unit.ledger.closing import Closing
from tests.unit.ledger.desk import Clock, Person, fresh, new_key

FORK = multiprocessing.get_context("fork")  # no database is open when it happens
SPAWN = multiprocessing.get_context("spawn")
WAIT_S = 60
EPOCHS = 4


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Closing]:
    made = Closing(tmp_path / "ledger")
    yield made
    assert made.broken() == []
    made.service.close()


# --- kill -9 at every step of closing and publishing -----------------------------------------------


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_statement(begins: str) -> Callable[[Keeper], None]:
    def arm(keeper: Keeper) -> None:
        def before(_: object, __: object, statement: str, *___: object) -> None:
            if statement.startswith(begins):
                die()

        sa.event.listen(keeper._database._engine, "before_cursor_execute", before)

    return arm


def at_commit(number: int) -> Callable[[Keeper], None]:
    """Before the writer's transaction ``number`` is committed."""

    def arm(keeper: Keeper) -> None:
        left = [number]

        def before(connection: sa.Connection) -> None:
            if connection.get_execution_options().get("speedpay_writer"):
                left[0] -= 1
                if not left[0]:
                    die()

        sa.event.listen(keeper._database._engine, "commit", before)

    return arm


def around(step: str, suffix: str) -> Callable[[Keeper], None]:
    """``before`` a file is written, with its ``neighbour`` written, or ``after`` it is in place."""

    def arm(_: Keeper) -> None:
        write, rename = durable.replace, os.replace

        def written(path: Path, content: bytes) -> None:
            if path.name.endswith(suffix) and step == "before":
                die()
            write(path, content)
            if path.name.endswith(suffix) and step == "after":
                die()

        def renamed(source: Path, target: Path) -> None:
            if target.name.endswith(suffix) and step == "neighbour":
                die()
            rename(source, target)

        durable.replace = written  # type: ignore[assignment]
        os.replace = renamed  # type: ignore[assignment]

    return arm


POINTS: dict[str, Callable[[Keeper], None]] = {
    "a leaf is changed": at_statement("UPDATE leaves"),
    "rows of the tree are added": at_statement("INSERT INTO tree_nodes"),
    "the journal is extended": at_statement("INSERT INTO journal_nodes"),
    "the head is entered": at_statement("INSERT INTO epochs"),
    "the close is committed": at_commit(1),
    "the head is noted": around("before", "last"),
    "the note is renamed": around("neighbour", "last"),
    "after the head is noted": around("after", "last"),
    "the file is renamed": around("neighbour", ".leaves"),
    "after the file": around("after", ".leaves"),
    "the torrent is renamed": around("neighbour", ".torrent"),
    "after the torrent": around("after", ".torrent"),
    "it is called published": at_statement("UPDATE epochs"),
    "that is committed": at_commit(2),
}


def close_and_die(folder: Path, arm: Callable[[Keeper], None]) -> None:
    service = Service(folder, Settings(unlimited_loopback=True), Clock())
    keeper = Keeper(folder, service.database, service.keys, service.now)
    arm(keeper)
    keeper.publish(keeper.close(2).number)


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_any_step_of_an_epoch_is_only_a_pause(desk: Closing, point: str) -> None:
    ann, ben = desk.person(tokens=500), desk.person(tokens=30)
    first = desk.close()
    desk.send(ann, ben, 70)
    desk.service.close()
    process = FORK.Process(target=close_and_die, args=(desk.folder, POINTS[point]))
    process.start()
    process.join(WAIT_S)
    assert process.exitcode == -signal.SIGKILL

    desk.restart()
    with desk.service.database.read() as connection:
        found = epochs.latest(connection)
    assert found
    noted = desk.keeper.last_head.read()
    assert noted
    assert noted.head.epoch <= found.number
    desk.keeper.resume()
    desk.send(ann, ben, 1)
    second = found if found.number == 2 else desk.close()
    third = desk.close()
    with desk.service.database.read() as connection:
        assert epochs.load(connection, second.number).signed == second.signed
    assert second.head.prev == first.hash
    assert third.head.prev == second.hash
    assert third.number == second.number + 1
    assert desk.verified(ben, third.number).balance == Amount(101)
    names = {path.name for path in desk.keeper.folder.iterdir() if path.name != ".lock"}
    expected = [desk.keeper.name_of(number) for number in range(1, third.number + 1)]
    assert names == {name + suffix for name in expected for suffix in ("", ".torrent")}


# --- two processes -----------------------------------------------------------------------------------


def close_some(folder: Path, barrier: Barrier, results: Any) -> None:
    service = Service(folder, Settings(unlimited_loopback=True), Clock())
    keeper, made = Keeper(folder, service.database, service.keys, service.now), []
    for number in range(1, EPOCHS + 1):
        barrier.wait(WAIT_S)
        made.append(keeper.publish(keeper.close(number).number).signed)
    service.close()
    results.put([(one.head.to_bytes(), one.signature) for one in made])


def test_of_two_processes_that_close_an_epoch_at_once_one_does(desk: Closing) -> None:
    people = [desk.person(tokens=9) for _ in range(30)]
    barrier, results = SPAWN.Barrier(2), SPAWN.Queue()
    both = [
        SPAWN.Process(target=close_some, args=(desk.folder, barrier, results)) for _ in range(2)
    ]
    for process in both:
        process.start()
    told = [results.get(timeout=WAIT_S) for _ in both]
    for process in both:
        process.join(WAIT_S)
    assert told[0] == told[1]
    assert [row[0] for row in desk.everything()["epochs"]] == list(range(1, EPOCHS + 1))
    assert {row[15] for row in desk.everything()["epochs"]} == {"published"}
    desk.verified(people[3], EPOCHS)


# --- over HTTP ---------------------------------------------------------------------------------------


def test_an_owner_fetches_all_that_he_needs_to_verify(desk: Closing) -> None:
    ann, ben = desk.person(tokens=500), desk.person()
    desk.send(ann, ben, 7)
    before = desk.close().head
    server = LedgerServer(desk.service, "127.0.0.1", 0)
    with server.running() as url, LedgerClient(url, clock=desk.clock) as ledger:
        assert ledger.identify().chain
        payout = new_key()
        own = address.of_public_key(payout.public)
        order = NamePayout.sign(payout, own, fresh() * 2, desk.service.domain, ann.account)
        ledger.name_payout(ann.key, ann.account, order, fresh())
        desk.send(ann, ben, 3)
        desk.close()
        view = ledger.epoch()
        head = view.head.check(desk.service.domain)
        assert (head.epoch, view.state) == (2, EpochState.PUBLISHED)
        proof = ledger.proof(ann.key, ann.account, 2)
        assert proof
        assert (proof.payout, proof.balance) == (own, Amount(490))
        shown = ledger.inclusion(ben.key, ben.account, head.journal_size, head.journal_size)
        leaf = journal.leaf_of(shown.salt, shown.entry)
        at = head.journal_size - 1
        journal.verify_inclusion(leaf, at, head.journal_size, shown.path, head.journal_root)
        path = ledger.consistency(before.journal_size, head.journal_size)
        journal.verify_consistency(
            before.journal_size, head.journal_size, before.journal_root, head.journal_root, path
        )
        assert asyncio.run(asked_by_the_other_client(url, ann, head.journal_size)) == proof
    shutil.rmtree(desk.keeper.folder)  # the files are for others: proofs come from the database
    desk.verified(ann, 2)


async def asked_by_the_other_client(url: str, who: Person, size: int) -> object:
    async with AsyncLedgerClient(url, clock=Clock()) as ledger:
        assert (await ledger.epoch(1)).head.signed.head.epoch == 1
        assert await ledger.consistency(size, size) == ()
        return await ledger.proof(who.key, who.account, 2)
