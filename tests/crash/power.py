"""What a disk may hold after a power cut: every state that the calls of a recorded run allow.

Until a file is fsynced, each write to it since the last time may have reached the disk or not, whole or
torn between sectors, in any order; a name is there, renamed or gone once its folder was fsynced, and until
then such changes have come to the disk in their order, but for the last few. Nothing else is assumed: an
fsync of a file does not bring its name.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

from tests.crash.recording import Event, Files, Name, Recording, Word, Write

_DATABASE = re.compile(r"\.(db|sqlite)")
SECTORS = (512, 4096)
#: Which pending writes arrive, each whole (None) or in some of its sectors, and how many pending names.
Choice = tuple[dict[int, list[range] | None], int]


def folder_of(name: str) -> str:
    return name.rpartition("/")[0]


class Disk:
    """What has surely arrived, and what may have, as the events of a recording go by."""

    def __init__(self, recording: Recording) -> None:
        self.heard = 0
        self._content = dict(enumerate(recording.files.values()))
        self._names = {name: number for number, name in enumerate(recording.files)}
        self.writes: list[Write] = []
        self.names: list[Name] = []

    def happen(self, event: Event) -> None:
        if isinstance(event, Write):
            self.writes.append(event)
        elif isinstance(event, Name):
            self.names.append(event)
        elif isinstance(event, Word):
            self.heard += 1
        elif event.file is not None:
            content = bytearray(self._content.get(event.file, b""))
            for write in self.writes:
                if write.file == event.file:
                    write.on(content)
            self._content[event.file] = bytes(content)
            self.writes = [write for write in self.writes if write.file != event.file]
        else:
            self._names = self._named([n for n in self.names if folder_of(n.name) == event.folder])
            self.names = [n for n in self.names if folder_of(n.name) != event.folder]

    def after(self, choice: Choice) -> Files:
        """What is found when the power is back, had just that arrived which ``choice`` says."""
        arrived, named = choice
        changed: dict[int, bytearray] = {}
        for number, write in enumerate(self.writes):
            if number in arrived:
                if write.file not in changed:
                    changed[write.file] = bytearray(self._content.get(write.file, b""))
                write.on(changed[write.file], arrived[number])
        # What has not changed is the same object each time: its hash is known.
        content = self._content | {file: bytes(body) for file, body in changed.items()}
        names = self._named(self.names[:named])
        return {name: content.get(file, b"") for name, file in names.items()}

    def _named(self, changes: list[Name]) -> dict[str, int]:
        names = dict(self._names)
        for change in changes:
            if change.before is not None:
                names.pop(change.before, None)
            if change.file is None:
                names.pop(change.name, None)
            else:
                names[change.name] = change.file
        return names

    def choices(self, draw: random.Random, more: int) -> Iterator[Choice]:
        """Nothing, everything, all but one, one alone, each torn; then ``more`` at random."""
        whole = dict.fromkeys(range(len(self.writes)))
        ends = sorted({0, len(self.names)})
        for named in ends:
            yield {}, named
            yield dict(whole), named
        if not self.writes:
            return
        last = len(self.writes) - 1
        for number in {0, last}:
            yield {n: None for n in whole if n != number}, len(self.names)
            yield {number: None}, len(self.names)
        for size in SECTORS:
            parts = self.writes[last].sectors(size)
            for kept in (parts[:1], parts[1:], parts[::2]) if len(parts) > 1 else ():
                yield whole | {last: kept}, len(self.names)
        for _ in range(more):
            yield self._random(draw), draw.choice(ends)

    def _random(self, draw: random.Random) -> dict[int, list[range] | None]:
        likely = draw.choice((0.1, 0.5, 0.9))
        arrived: dict[int, list[range] | None] = {}
        for number, write in enumerate(self.writes):
            if draw.random() < likely:
                arrived[number] = None
            elif draw.random() < 0.2:
                parts = write.sectors(draw.choice(SECTORS))
                arrived[number] = [part for part in parts if draw.random() < 0.5]
        return arrived


def states(recording: Recording, seed: int, more: int) -> Iterator[tuple[int, Files]]:
    """(words heard, files found) of every cut; each once. ``more``: random choices at each cut."""
    draw, disk = random.Random(seed), Disk(recording)
    seen: set[int] = set()
    for event in recording.events:
        disk.happen(event)
        for choice in disk.choices(draw, more):
            found = disk.after(choice)
            key = hash((disk.heard, frozenset(found.items())))
            if key not in seen:
                seen.add(key)
                yield disk.heard, found


class Place:
    """A folder in which one state after another is laid. What nobody changes stays from one to the next."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._laid: Files = {}

    def lay(self, files: Files) -> None:
        for name in self._laid.keys() - files.keys():
            (self.folder / name).unlink()
            del self._laid[name]
        for name, body in files.items():
            if self._laid.get(name) is not body:
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(body)
                path.chmod(0o600)
                self._laid[name] = body

    def clear(self, everything: bool) -> None:
        """After somebody looked, which changes databases, or worked, which changes all."""
        for top, _, names in os.walk(self.folder):
            for path in (Path(top, name) for name in names):
                name = str(path.relative_to(self.folder))
                if everything or name not in self._laid or _DATABASE.search(name):
                    path.unlink()
        kept = {} if everything else self._laid
        self._laid = {name: body for name, body in kept.items() if not _DATABASE.search(name)}
