"""Killed by the kernel's own hand at writes, fsyncs, renames, unlinks and sends, then started again.

Each point is a real process under strace, which kills it on entering one call. Whatever it had told
anybody is there, nothing is there twice, every promise holds, and the same work then ends as if nothing
had happened.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import sqlalchemy as sa

from speedpay.client.store import Store
from speedpay.ledger import database as ledger_database
from speedpay.wallet import files
from tests.crash.client import CLIENT
from tests.crash.ledger import LEDGER
from tests.crash.strace import Point, calls_of, killed_at
from tests.crash.wallet import WALLET
from tests.crash.workload import Course, Workload, in_memory

#: Of each workload in the suite: 300 in all. The wallet's are fewer than its share.
IN_SUITE = {"client": 140, "ledger": 90, "wallet": 70}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """kill -9 takes nothing from the kernel's memory: a disk would add nothing but time."""
    with in_memory(tmp_path) as folder:
        yield folder


def spread(points: list[Point], count: int) -> list[Point]:
    """``count`` of them: of each call its fair part, over the whole course."""
    kinds = Counter(point.call for point in points)
    taken: list[Point] = []
    for left, (call, _) in zip(
        range(len(kinds), 0, -1), reversed(kinds.most_common()), strict=True
    ):
        mine = [point for point in points if point.call == call]
        share = min(len(mine), (count - len(taken)) // left)
        taken += [mine[number * len(mine) // share] for number in range(share)]
    return taken


def try_points(course: Course, points: list[Point], folder: Path) -> Counter[str]:
    """Kills at each of ``points``; how many of which call. Raises AssertionError at the first that hurts."""
    tried: Counter[str] = Counter()
    for point in points:
        place = folder / "killed"
        heard = killed_at(course, point, place)
        try:
            course.recovers(place, heard)
        except Exception as error:
            raise AssertionError(f"{course.workload.name} killed at {point}: {error}") from error
        shutil.rmtree(place)
        tried[point.call] += 1
    return tried


@pytest.mark.timeout(900)  # with --all
@pytest.mark.parametrize("workload", [CLIENT, LEDGER, WALLET], ids=lambda workload: workload.name)
def test_killed_at_any_call_nothing_told_is_lost_and_nothing_is_done_twice(
    workload: Workload,
    place: Path,
    request: pytest.FixtureRequest,
    closing_line: Callable[[str], None],
) -> None:
    course = Course.of(workload, place)
    points = calls_of(course, place / "undisturbed calls")
    every = "not long" not in str(request.config.option.markexpr)
    chosen = points if every else spread(points, IN_SUITE[workload.name])
    tried = try_points(course, chosen, place)
    assert sum(tried.values()) == (len(points) if every else IN_SUITE[workload.name])
    kinds = ", ".join(f"{count} {call}" for call, count in tried.most_common())
    closing_line(
        f"strace, {workload.name}: {sum(tried.values())} of {len(points)} kill points"
        f" ({kinds}), 0 lost, 0 doubled"
    )


# ------------------------------------------------------------------------------------ planted bugs


def caught(workload: Workload, place: Path, word: int = 0) -> str:
    """Tried at the calls that follow a word, from this one on: there is what came too late."""
    course = Course.of(workload, place)
    points = calls_of(course, place / "undisturbed calls")
    said = [number for number, point in enumerate(points) if point.call == "sendto"]
    after = [point for number in said[word:] for point in points[number + 1 : number + 12 : 3]]
    try:
        try_points(course, after, place)
    except AssertionError as error:
        return str(error)
    return "nothing was noticed"


def test_a_wallet_that_overwrites_its_files_is_noticed(place: Path) -> None:
    def overwrite(path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(files.FILE_MODE)
        path.write_bytes(content)

    with mock.patch.object(files, "write", overwrite):
        assert "is damaged" in caught(WALLET, place)


def test_a_client_that_sends_a_voucher_before_it_is_saved_is_noticed(place: Path) -> None:
    late: list[tuple[Any, ...]] = []
    save = Store.save_channels

    def later(self: Store, *arguments: Any) -> None:
        flush(self)
        late.append((self, *arguments))

    def flush(self: Store) -> None:
        while late:
            save(*late.pop(0))

    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch.object(Store, "save_channels", later))
        for name in ("open_paying", "earned", "redeemed", "close"):
            patches.enter_context(
                mock.patch.object(Store, name, _first(flush, getattr(Store, name)))
            )
        assert "that was sent is not saved" in caught(CLIENT, place)


def _first(before: Any, method: Any) -> Any:
    def both(self: Any, *arguments: Any, **named: Any) -> Any:
        before(self)
        return method(self, *arguments, **named)

    return both


def test_a_ledger_that_commits_each_statement_by_itself_is_noticed(place: Path) -> None:
    def no_transaction(connection: sa.Connection) -> None:
        """Every statement is its own."""

    with mock.patch.object(ledger_database, "_begin", no_transaction):
        # Requests have a savepoint, which is a transaction where there is none; closing an epoch has not.
        assert "in no state that ever was" in caught(LEDGER, place, word=-2)
