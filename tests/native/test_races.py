"""Network thread and Python's threads at once on the native core, under the race detector.

On the core alone: libtorrent itself is not built for the detector, which would report its own locks.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.native.building import NATIVE, Edit, compiled

HERE = Path(__file__).parent
LOCK = "\t\tLock lock(m_mutex);\n"
CORE = (NATIVE / "core.hpp").read_text()
#: What the detector makes of a programme in which it saw a race (its default).
SAW_A_RACE = 66


def run(folder: Path, rounds: int, seed: int, planted: Edit | None = None) -> tuple[int, str]:
    program = compiled(
        "g++", HERE / "race.cpp", folder, ["-O1", "-fsanitize=thread", "-pthread"], planted
    )
    said = subprocess.run(
        [program, str(rounds), str(seed)], capture_output=True, text=True, check=False,
        env={"TSAN_OPTIONS": f"halt_on_error=1 exitcode={SAW_A_RACE}"},
    )  # fmt: skip
    return said.returncode, said.stdout + said.stderr


def without_lock(number: int) -> Edit:
    """The core whose ``number``-th function does not lock."""
    start = [found.start() for found in re.finditer(re.escape(LOCK), CORE)][number]
    # From the function's name on, so that the edit is found once.
    before = CORE[CORE.rindex("\n\t{\n", 0, start) - 60 : start + len(LOCK)]
    return Edit("core.hpp", before, before.removesuffix(LOCK))


LOCKS = CORE.count(LOCK)


@pytest.mark.timeout(300)
def test_threads_that_share_the_core_never_race(tmp_path: Path) -> None:
    code, said = run(tmp_path, 60, 1)
    assert code == 0, said[-3000:]
    print(said.strip())


@pytest.mark.timeout(300)
def test_a_function_that_forgets_to_lock_is_caught(tmp_path: Path) -> None:
    code, said = run(tmp_path, 60, 1, Edit("core.hpp", LOCK, ""))
    assert code == SAW_A_RACE
    assert "data race" in said


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", range(LOCKS))
def test_each_lock_of_the_core_is_needed(tmp_path: Path, number: int) -> None:
    code, said = run(tmp_path, 200, 1, without_lock(number))
    assert code == SAW_A_RACE, said
    assert "data race" in said


@pytest.mark.long
@pytest.mark.timeout(600)
def test_many_rounds_have_no_race(tmp_path: Path) -> None:
    code, said = run(tmp_path, 5000, 2)
    assert code == 0, said[-3000:]
    print(said.strip())
