"""The C++ that a peer's bytes reach, on the kept corpus and on a few thousand new inputs.

``./scripts/fuzz`` runs each target for longer.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.native_targets import CORPUS, TARGETS, build, is_possible, run

RUNS = 2000

pytestmark = [
    pytest.mark.skipif(bool(is_possible()), reason=f"{is_possible()}: ./scripts/setup installs it"),
    pytest.mark.timeout(300),
]


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_what_reads_a_peer(tmp_path: Path, name: str) -> None:
    done = run(name, build(name, tmp_path), tmp_path, runs=RUNS)
    assert not done.broken, done.broken
    assert done.executions >= RUNS
    print(f"fuzz: {name}: {done.executions} executions, 0 broken")


def shows_its_planted_bug(name: str, folder: Path) -> str:
    """By the kept corpus alone."""
    return run(name, build(name, folder, planted=True), folder, runs=0, timeout_s=5).broken


def test_the_reject_that_stopped_the_client_is_in_the_corpus(tmp_path: Path) -> None:
    assert "runtime error: signed integer overflow" in shows_its_planted_bug("peer", tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_shows_each_planted_bug(tmp_path: Path, name: str) -> None:
    assert shows_its_planted_bug(name, tmp_path)


def test_the_corpora_are_small() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert all(len(list((CORPUS / name).iterdir())) > 10 for name in TARGETS)
    assert sum(path.stat().st_size for path in files) <= 200_000
