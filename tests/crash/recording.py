"""What a workload did to its files and whom it told, call by call, as strace saw it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.strace import Attached
from tests.crash.workload import Course

_CALLS = (
    "open", "openat", "write", "pwrite64", "writev", "pwritev", "ftruncate", "fallocate", "fsync",
    "fdatasync", "rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "sendto",
)  # fmt: skip
_FD = r"\d+<((?:\\x..)*)>"
_TEXT = r'"((?:\\x..)*)"'
_OPENED = re.compile(rf"openat\(AT_FDCWD(?:<[^>]*>)?, {_TEXT}, ([A-Z_|]+).*\) = (\d+)<")
_WRITTEN = re.compile(
    rf"(p?write(?:64)?)\((\d+)<((?:\\x..)*)>, {_TEXT}, \d+(?:, (\d+))?\) = (\d+)$"
)
_SIZED = re.compile(rf"ftruncate\({_FD}, (\d+)\) = 0$")
_SYNCED = re.compile(rf"f(?:data)?sync\({_FD}\) = 0$")
_RENAMED = re.compile(rf"rename\({_TEXT}, {_TEXT}\) = 0$")
_LINKED = re.compile(rf"link\({_TEXT}, {_TEXT}\) = 0$")
_REMOVED = re.compile(rf"unlink\({_TEXT}\) = 0$")
_SAID = re.compile(rf"sendto\(\d+<[^>]*>, {_TEXT}, ")


@dataclass(frozen=True)
class Write:
    """``offset`` None: the file's length becomes that of ``data``'s place in ``length``."""

    file: int
    offset: int | None
    data: bytes = b""
    length: int = 0

    def on(self, content: bytearray, sectors: list[range] | None = None) -> None:
        """``sectors``: the parts of the data that arrive; None for all of it."""
        if self.offset is None:
            del content[self.length :]
            content.extend(bytes(self.length - len(content)))
            return
        for part in [range(len(self.data))] if sectors is None else sectors:
            begin, end = self.offset + part.start, self.offset + part.stop
            content.extend(bytes(max(0, end - len(content))))
            content[begin:end] = self.data[part.start : part.stop]

    def sectors(self, size: int) -> list[range]:
        """The pieces into which sectors of ``size`` bytes cut the data."""
        if self.offset is None:
            return []
        edges = range(self.offset - self.offset % size, self.offset + len(self.data), size)
        cut = [
            (max(0, at - self.offset), min(len(self.data), at - self.offset + size)) for at in edges
        ]
        return [range(*pair) for pair in cut]


@dataclass(frozen=True)
class Name:
    """From here on ``name`` is this file's; None: nobody's. ``before``: a name that it gives up."""

    name: str
    file: int | None
    before: str | None = None


@dataclass(frozen=True)
class Sync:
    """A file, or a folder's names."""

    file: int | None
    folder: str | None = None


@dataclass(frozen=True)
class Word:
    pass


Event = Write | Name | Sync | Word
Files = dict[str, bytes]


@dataclass
class Recording:
    """``files``: what is there at the beginning, by name; file numbers count from there on."""

    files: Files
    events: list[Event] = field(default_factory=list)

    @classmethod
    def of(cls, course: Course, place: Path) -> Recording:
        """One undisturbed run of the course's work in ``place``."""
        log = place.with_name(f"{place.name}.log")
        options = ["-e", f"trace={','.join(_CALLS)}", "-e", "signal=none", "-y", "-xx"]
        course.fresh(place)
        begin = {
            str(path.relative_to(place)): path.read_bytes()
            for path in sorted(place.rglob("*"))
            if path.is_file()
        }
        attached = Attached(course, place, [*options, "-s", "4194304", "-o", str(log)])
        status, heard = attached.run()
        assert (status, heard) == (0, len(course.words))
        made = cls(begin)
        _Reader(made, place).read(log)
        log.unlink()
        return made


class _Reader:
    """Follows descriptors and names through the log of strace."""

    def __init__(self, recording: Recording, place: Path) -> None:
        self._events = recording.events
        self._place = f"{place}/"
        self._file_of = {name: number for number, name in enumerate(recording.files)}
        self._size = {n: len(body) for n, body in enumerate(recording.files.values())}
        self._next = len(self._file_of)
        self._at: dict[int, int] = {}  # where the next ``write`` of a descriptor goes

    def read(self, log: Path) -> None:
        for line in log.read_text().splitlines():
            if " = -1 " not in line:
                self._line(line)

    def _line(self, line: str) -> None:
        if found := _OPENED.match(line):
            self._opened(self._name(found[1]), found[2].split("|"), int(found[3]))
        elif found := _WRITTEN.match(line):
            self._written(found)
        elif found := _SIZED.match(line):
            file = self._file_of.get(self._name(found[1]) or "")
            if file is not None:
                self._events.append(Write(file, None, length=int(found[2])))
        elif found := _SYNCED.match(line):
            self._synced(_text(found[1]).decode())
        elif found := _RENAMED.match(line):
            before, name = self._name(found[1]), self._name(found[2])
            assert before
            assert name
            self._file_of[name] = self._file_of.pop(before)
            self._events.append(Name(name, self._file_of[name], before))
        elif found := _LINKED.match(line):
            before, name = self._name(found[1]), self._name(found[2])
            assert before
            assert name
            self._file_of[name] = self._file_of[before]
            self._events.append(Name(name, self._file_of[name]))
        elif found := _REMOVED.match(line):
            if (name := self._name(found[1])) in self._file_of:
                del self._file_of[name]
                self._events.append(Name(name, None))
        elif found := _SAID.match(line):
            self._events.extend([Word()] * _text(found[1]).count(b"\n"))
        else:
            assert not line.startswith(("pwritev", "writev", "fallocate", "rename")), line

    def _opened(self, name: str | None, flags: list[str], descriptor: int) -> None:
        self._at[descriptor] = 0
        if name is None or name.endswith("-shm"):
            return
        if name not in self._file_of and "O_CREAT" in flags:
            self._file_of[name] = self._next
            self._next += 1
            self._events.append(Name(name, self._file_of[name]))
        if "O_TRUNC" in flags and name in self._file_of:
            self._events.append(Write(self._file_of[name], None))

    def _written(self, found: re.Match[str]) -> None:
        call, descriptor, path, text, offset, count = found.groups()
        file = self._file_of.get(self._name(path) or "")
        if file is None:
            return
        at = int(offset) if call == "pwrite64" else self._at[int(descriptor)]
        if call == "write":
            self._at[int(descriptor)] = at + int(count)
        self._events.append(Write(file, at, _text(text)[: int(count)]))

    def _synced(self, path: str) -> None:
        name = path.removeprefix(self._place)
        if f"{path}/" == self._place:
            self._events.append(Sync(None, ""))
        elif name in self._file_of:
            self._events.append(Sync(self._file_of[name]))
        elif name != path and not name.endswith("-shm"):
            self._events.append(Sync(None, name))

    def _name(self, text: str) -> str | None:
        """Relative to the place; None for what lies elsewhere."""
        path = _text(text).decode()
        return path.removeprefix(self._place) if path.startswith(self._place) else None


def _text(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))
