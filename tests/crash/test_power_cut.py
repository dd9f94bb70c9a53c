"""Every state that a power cut may leave of a recorded run, opened again: what was told is there."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from speedpay import wal
from speedpay.wallet import files
from tests.crash.client import CLIENT
from tests.crash.ledger import LEDGER
from tests.crash.power import Place, states
from tests.crash.recording import Files, Recording
from tests.crash.wallet import WALLET
from tests.crash.workload import Course, Workload, at_a_fixed_time, in_memory

SEED = 5
#: One of so many states is not only looked at: the program is started on it and does its work again.
STARTED = 50


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path) as folder:
        yield folder


def look(course: Course, heard: int, found: Files, place: Place, start: bool) -> str | None:
    """What is wrong with this state, if anything is."""
    place.lay(found)
    try:
        if start:
            course.recovers(place.folder, heard)
        else:
            with at_a_fixed_time():
                state = course.workload.state(place.folder)
            if state not in course.allowed(heard):
                return course.explained(state, heard)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        place.clear(everything=start)
    return None


def replay(workload: Workload, place: Path, more: int, every: int = 1) -> tuple[int, list[str]]:
    """How many states there were, and what was wrong. Of ``every`` so many one is tried."""
    course = Course.of(workload, place)
    recording = Recording.of(course, place / "recorded")
    after = Place(place / "after")
    count, wrong = 0, []
    for heard, found in itertools.islice(states(recording, SEED, more), 0, None, every):
        count += 1
        what = look(course, heard, found, after, count % STARTED == 0)
        if what is not None:
            wrong.append(f"{workload.name}, state {count} after {heard} words: {what}")
    return count, wrong


#: Random choices at each call, with which the suite has its 5,000 states.
@pytest.mark.parametrize(
    ("workload", "more", "at_least"),
    [(CLIENT, 6, 2_400), (LEDGER, 12, 2_400), (WALLET, 30, 100)],
    ids=lambda value: getattr(value, "name", None),
)
def test_after_a_power_cut_all_that_was_told_is_there(
    workload: Workload,
    more: int,
    at_least: int,
    place: Path,
    closing_line: Callable[[str], None],
) -> None:
    count, wrong = replay(workload, place, more)
    assert wrong == []
    assert count >= at_least
    closing_line(f"power cut, {workload.name}: {count} states, 0 lost, 0 torn")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("workload", [CLIENT, LEDGER, WALLET], ids=lambda workload: workload.name)
def test_after_a_power_cut_at_many_more_states_all_that_was_told_is_there(
    workload: Workload, place: Path, closing_line: Callable[[str], None]
) -> None:
    count, wrong = replay(workload, place, 60)
    assert wrong == []
    closing_line(f"power cut, {workload.name}: {count} states, 0 lost, 0 torn")


# ------------------------------------------------------------------------------------ planted bugs


@pytest.mark.parametrize("workload", [CLIENT, LEDGER], ids=lambda workload: workload.name)
def test_with_synchronous_normal_acknowledged_writes_are_lost_and_that_is_noticed(
    workload: Workload, place: Path, closing_line: Callable[[str], None]
) -> None:
    switch_on = wal.switch_on

    def normal(connection: Any, wait_s: float) -> None:
        switch_on(connection, wait_s)
        connection.execute("PRAGMA synchronous = NORMAL")

    with mock.patch.object(wal, "switch_on", normal):
        count, wrong = replay(workload, place, 0, every=4)
    lost = [one for one in wrong if "lost: " in one]
    assert len(lost) > count // 50
    closing_line(
        f"power cut, {workload.name} with synchronous=NORMAL: {len(lost)} of {count} states lost"
    )


def test_a_wallet_that_renames_before_it_syncs_is_noticed(place: Path) -> None:
    def hasty(path: Path, content: bytes) -> None:
        neighbour = path.with_name(path.name + ".new")
        path.parent.mkdir(parents=True, exist_ok=True)
        neighbour.write_bytes(content)
        neighbour.chmod(0o600)
        neighbour.replace(path)
        files.sync_folder(path.parent)

    with mock.patch.object(files, "write", hasty):
        _, wrong = replay(WALLET, place, 0)
    assert any("damaged" in one for one in wrong)
