"""What reads a stranger's bytes in Python, on the kept corpus and on some thousand new inputs.

``./scripts/fuzz`` runs each target for longer.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from speedpay.errors import Malformed
from speedpay.peer import bencode, messages, sealing
from speedpay.swarm import content
from tests.fuzz.__main__ import atheris
from tests.fuzz.native_targets import CORPUS
from tests.fuzz.python_names import PYTHON_TARGETS
from tests.fuzz.python_targets import SLOW, TARGETS

RUNS = 1500

#: ``tests/simulation/test_actions.py`` has the corpus of the other.
QUICK = [name for name in TARGETS if name not in SLOW]


def corpus(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def replay(name: str) -> int:
    inputs = corpus(name)
    for data in inputs:
        TARGETS[name](data)
    return len(inputs)


def test_the_names_are_those_of_the_targets() -> None:
    assert tuple(TARGETS) == PYTHON_TARGETS


@pytest.mark.parametrize("name", QUICK)
def test_the_kept_corpus_breaks_nothing(name: str) -> None:
    assert replay(name) > 5


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this Python"
)
@pytest.mark.timeout(300)
def test_new_inputs_break_nothing(tmp_path: Path) -> None:
    """All targets in one process, which takes its time to begin."""
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    for number, name in enumerate(QUICK):
        for position, data in enumerate(corpus(name)):
            (seeds / f"{name}-{position}").write_bytes(bytes([number]) + data)
    known = len(list(seeds.iterdir()))
    done = atheris("everything", tmp_path, f"-runs={known + RUNS}", "-seed=1", str(seeds))
    assert not done.broken, done.broken
    assert done.executions >= RUNS
    print(f"fuzz: {len(QUICK)} Python targets, {done.executions} executions, 0 broken")


# ------------------------------------------------------------------------------------- planted bugs


def _escapes(patch: pytest.MonkeyPatch) -> None:
    def careless(text: bytes, at: int, end: bytes, signed: bool) -> tuple[int, int]:
        stop = text.index(end, at)
        return int(text[at:stop]), stop + 1

    patch.setattr(bencode, "_integer", careless)


def _two_spellings(patch: pytest.MonkeyPatch) -> None:
    was = messages.bencode.decode

    def lenient(text: bytes) -> bencode.Value:
        try:
            return was(text)
        except Malformed:
            return was(text[: text.rindex(b"e") + 1])

    patch.setattr(messages.bencode, "decode", lenient)


def _any_padding(patch: pytest.MonkeyPatch) -> None:
    def careless(plaintext: bytes) -> bytes:
        return plaintext[2 : 2 + plaintext.index(b"e")]

    patch.setattr(sealing, "unpad", careless)


def _parent_folders(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(content, "path_element", lambda value, field: (value or b"x").decode())


PLANTED = {
    "an error that has no name": ("messages", _escapes),
    "two spellings of one message": ("messages", _two_spellings),
    "padding that is not checked": ("sealed", _any_padding),
    "a path that leaves its folder": ("torrent", _parent_folders),
}


@pytest.mark.parametrize(("name", "plant"), PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_bug_is_shown_by_the_corpus(
    name: str, plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, ValueError, AttributeError, IndexError)):
        replay(name)
