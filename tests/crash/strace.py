"""A workload in a process of its own under strace: what it asks of the kernel, and dying there.

Starting Python and importing costs half a second, so the processes are forked from this one, which has
everything imported, and strace is attached before they begin.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import shutil
import signal
import socket
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.crash.workload import Course, at_a_fixed_time

#: The calls by which anything leaves the process: to the disk, or to somebody else.
CALLS = (
    "write", "pwrite64", "writev", "fsync", "fdatasync", "ftruncate", "rename", "renameat",
    "renameat2", "link", "linkat", "unlink", "unlinkat", "sendto", "sendmsg",
)  # fmt: skip
_WAIT_S = 60.0
_LIBC = ctypes.CDLL(None)
_PR_SET_PTRACER = 0x59616D61
_LINE = re.compile(r"^(?:\[pid +\d+\] )?(\w+)\(")


@dataclass(frozen=True)
class Point:
    """The process is killed when it makes this call for the ``number``-th time: instead of it."""

    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.call}:{self.number}"


def strace() -> str:
    found = shutil.which("strace")
    assert found, "strace is not installed: ./scripts/setup"
    return found


class Attached:
    """A forked process that does the course's work in ``place`` under strace with ``options``."""

    def __init__(self, course: Course, place: Path, options: list[str]) -> None:
        ours, theirs = socket.socketpair()
        self.words = ours
        self.pid = os.fork()
        if self.pid == 0:
            _child(course, place, ours, theirs)
        theirs.close()
        assert ours.recv(1) == b"."
        self.tracer = subprocess.Popen(
            [strace(), "-p", str(self.pid), *options], stderr=subprocess.PIPE
        )
        assert self.tracer.stderr
        said = self.tracer.stderr.readline()
        assert b"attached" in said, said.decode()

    def run(self) -> tuple[int, int]:
        """How it ended, as ``waitpid`` says it, and how many words were heard before."""
        self.words.sendall(b"!")
        heard = 0
        while True:
            assert select.select([self.words], [], [], _WAIT_S)[0], "the process hangs"
            found = self.words.recv(4096)
            if not found:
                break
            heard += found.count(b"\n")
        self.words.close()
        status = os.waitpid(self.pid, 0)[1]
        assert self.tracer.stderr
        self.tracer.stderr.close()
        self.tracer.wait(_WAIT_S)
        return status, heard


def _child(course: Course, place: Path, ours: socket.socket, words: socket.socket) -> None:
    """Never returns. It waits until the tracer is there, and speaks by ``send``: a call of its own."""
    status = 1
    try:
        ours.close()
        # Where Yama is on, only a parent may trace; the tracer is a sibling.
        _LIBC.prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
        words.sendall(b".")
        assert words.recv(1) == b"!"
        with at_a_fixed_time():
            course.workload.work(place, lambda word: words.sendall(word.encode() + b"\n"))
        status = 0
    finally:
        os._exit(status)


def calls_of(course: Course, place: Path) -> list[Point]:
    """Every call of ``CALLS`` that the undisturbed work makes, in order."""
    log = place.with_name(f"{place.name}.calls")
    options = ["-e", f"trace={','.join(CALLS)}", "-e", "signal=none", "-s", "0", "-o", str(log)]
    status, heard = Attached(course, course.fresh(place), options).run()
    assert (status, heard) == (0, len(course.heard_at))
    counts: Counter[str] = Counter()
    found = []
    for line in log.read_text().splitlines():
        if match := _LINE.match(line):
            counts[match[1]] += 1
            found.append(Point(match[1], counts[match[1]]))
    return found


def killed_at(course: Course, point: Point, place: Path) -> int:
    """The work is killed at ``point``; how many words were heard. Raises AssertionError if it was not."""
    options = [
        "-e", f"trace={point.call}", "-o", os.devnull,
        "-e", f"inject={point.call}:signal=KILL:when={point.number}",
    ]  # fmt: skip
    status, heard = Attached(course, course.fresh(place), options).run()
    assert os.WIFSIGNALED(status), f"{point} was never reached"
    assert os.WTERMSIG(status) == signal.SIGKILL
    return heard
