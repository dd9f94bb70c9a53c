"""A small piece of real work on real files, and every state in which it may be found after a crash.

A workload does its steps in one order from fixed keys at a fixed time, and says after each what a peer, a
user or the ledger's caller would be told. Done once without a fault, it is known which states its files
pass through, and between which two of them each word is said. After a crash they must be in one that is
not older than the last word that was heard (nothing acknowledged is lost) and not newer than the next
one allows (nothing is done that nobody was told of, or done twice).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import sqlalchemy as sa

NOW = 1_800_000_000
State = dict[str, Any]
#: What the work tells somebody outside: it cannot be taken back.
Say = Callable[[str], None]


@dataclass(frozen=True)
class Workload:
    """``prepare`` makes what is there before; ``work`` may begin anew on whatever a crash left, and ends in
    the same state; ``state`` reads what counts; ``examine``, told the words that were heard, raises when a
    promise is broken.

    ``durable``: (module, name) of the functions after which the state may be another.
    """

    name: str
    prepare: Callable[[Path], None]
    work: Callable[[Path, Say], None]
    state: Callable[[Path], State]
    examine: Callable[[Path, list[str]], None]
    durable: tuple[tuple[Any, str], ...]


@dataclass
class Course:
    """What happened when nothing went wrong. ``heard_at[k]``: states seen when word k was said."""

    workload: Workload
    template: Path
    states: list[State] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    heard_at: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, workload: Workload, folder: Path) -> Course:
        made = cls(workload, folder / f"{workload.name} before")
        made.template.mkdir()
        with at_a_fixed_time():
            workload.prepare(made.template)
            place = made.fresh(folder / f"{workload.name} undisturbed")
            made.states.append(workload.state(place))
            with contextlib.ExitStack() as patches:
                for module, name in workload.durable:
                    patches.enter_context(made._watched(module, name, place))
                workload.work(place, made._hear)
            made._look(place)
            workload.examine(place, made.words)
        return made

    def fresh(self, place: Path) -> Path:
        shutil.copytree(self.template, place)
        return place

    def allowed(self, heard: int) -> list[State]:
        """The states in which the files may be when so many words were heard, and no more."""
        first = self.heard_at[heard - 1] - 1 if heard else 0
        last = self.heard_at[heard] if heard < len(self.heard_at) else len(self.states)
        return self.states[first:last]

    def recovers(self, place: Path, heard: int) -> None:
        """A restart after a crash: the state is an allowed one, every promise holds, and the same work
        ends as if nothing had happened. Raises AssertionError."""
        with at_a_fixed_time():
            found = self.workload.state(place)
            assert found in self.allowed(heard), self.explained(found, heard)
            self.workload.examine(place, self.words[:heard])
            self.workload.work(place, lambda word: None)
            end = self.workload.state(place)
        assert end == self.states[-1], f"another end: {differences(end, self.states[-1])}"

    def _hear(self, word: str) -> None:
        self.words.append(word)
        self.heard_at.append(len(self.states))

    def _look(self, place: Path) -> None:
        found = self.workload.state(place)
        if found != self.states[-1]:
            self.states.append(found)

    def _watched(self, module: Any, name: str, place: Path) -> Any:
        function = getattr(module, name)

        def then_look(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            if hasattr(result, "__enter__"):
                return self._looking_after(result, place)
            self._look(place)
            return result

        return mock.patch.object(module, name, then_look)

    @contextlib.contextmanager
    def _looking_after(self, manager: Any, place: Path) -> Iterator[Any]:
        with manager as value:
            yield value
        self._look(place)

    def explained(self, found: State, heard: int) -> str:
        if found in self.states:
            number = self.states.index(found)
            first = self.heard_at[heard - 1] - 1 if heard else 0
            return f"{'lost' if number < first else 'ahead'}: state {number} after {heard} words"
        return f"in no state that ever was: {differences(found, self.allowed(heard)[0])}"


_create_engine = sa.create_engine
_first: list[sa.Engine] = []


def _engine(*arguments: Any, **named: Any) -> sa.Engine:
    """What SQLAlchemy makes of a statement it remembers by engine and dialect; here all files share that,
    or a third of the time would go into making it again."""
    made = _create_engine(*arguments, **named)
    if not _first:
        _first.append(made)
    elif _first[0].dialect.server_version_info:  # it has connected once
        made.dialect, made._compiled_cache = _first[0].dialect, _first[0]._compiled_cache
    return made


@contextlib.contextmanager
def at_a_fixed_time() -> Iterator[None]:
    """As it is for a workload and all that looks at it."""
    with (
        mock.patch("time.time", return_value=float(NOW)),
        mock.patch.object(sa, "create_engine", _engine),
    ):
        yield


def differences(one: State, other: State) -> str:
    names = [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]
    return "; ".join(f"{name}: {one.get(name)!r:.300} / {other.get(name)!r:.300}" for name in names)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """For looking: what this connection itself would make durable nobody asks for."""
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as db:
        db.execute("PRAGMA synchronous = OFF")
        yield db


def rows(path: Path, leaving_out: tuple[str, ...] = ()) -> State:
    """Every row of every table of a database, by table; nothing while there is none."""
    if not path.exists():
        return {}
    with _opened(path) as db:
        names = [
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        return {
            f"{path.name}:{name}": sorted(db.execute(f"SELECT * FROM {name}"), key=repr)
            for name in names
            if name not in leaving_out
        }


def whole_and_sound(path: Path) -> None:
    """Raises AssertionError unless SQLite finds nothing wrong with the file."""
    if path.exists():
        with _opened(path) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)], path.name


def hidden(path: Path) -> bool:
    """Names under which nobody looks for anything: locks, and what is not yet in its place."""
    return path.name.endswith((".lock", ".new", "-wal", "-shm", "-journal")) or path.name[0] == "."


def contents(folder: Path) -> State:
    """Every file that somebody would look for, by name."""
    found = {}
    for top, _, names in os.walk(folder):
        for path in (Path(top, name) for name in names):
            if not hidden(path):
                found[str(path.relative_to(folder))] = path.read_bytes()
    return found


@contextlib.contextmanager
def in_memory(folder: Path) -> Iterator[Path]:
    """A place for what only has to be written and read again; on the disk where there is no other."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield folder
        return
    place = Path(tempfile.mkdtemp(prefix="speedpay-crash-", dir=shared))
    try:
        yield place
    finally:
        shutil.rmtree(place)
