"""What deluged and the payer tell each other: frames on a pipe, four bytes of length and a pickled message.

Both ends are one program of one user, started by one another; nobody else can write to the pipe.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple

from speedpay.swarm.events import BlocksSent, Event, PeerEvent, PeerGone
from speedpay.swarm.guest import Sight

_LENGTH = struct.Struct(">I")
#: The pipe on which the payer speaks; it hears on its standard input.
SPEAKS = 3


class Start(NamedTuple):
    """The first message. ``version``: of the program that runs in deluged; ``asks``: by infohash, of torrents
    that have one of their own; the rest as in ``options.py`` and ``Uplink``."""

    version: str
    options: Mapping[str, str]
    asks: Mapping[bytes, str]
    uplink: int | None
    free_slots: int


class Uplink(NamedTuple):
    """As ``Swarm.uplink`` and ``Swarm.free_slots``."""

    uplink: int | None
    free_slots: int


class Happened(NamedTuple):
    events: list[PeerEvent]


class Seen(NamedTuple):
    """A torrent of deluged's that is to be paid for by ``options``, as it looks now. ``options`` is None:
    no longer; ``sight`` is None: it has been removed. Its description comes once."""

    infohash: bytes
    options: Mapping[str, str] | None
    sight: Sight | None


class Question(NamedTuple):
    """``name`` is a method's of ``payer.py``."""

    number: int
    name: str


class Stop(NamedTuple):
    """Pay what is owed, redeem what was earned, and end."""


class Saying(Enum):
    RUNNING = "running"
    FAILED = "failed"


class Told(NamedTuple):
    """``why``: a sentence, for a failure."""

    what: Saying
    why: str = ""


class Send(NamedTuple):
    connection: int
    payload: bytes


class Weigh(NamedTuple):
    connection: int
    weight: int


class Withhold(NamedTuple):
    connection: int
    on: bool


class Serve(NamedTuple):
    connection: int
    on: bool


class Competing(NamedTuple):
    on: bool


class Allow(NamedTuple):
    """``more`` beyond the ``heard`` bytes of payload of which the payer knew when it said so."""

    connection: int
    more: int | None
    heard: int


class Ban(NamedTuple):
    connection: int


class Noted(NamedTuple):
    """A sentence for the user."""

    text: str


class Answer(NamedTuple):
    """``refused``: a sentence; then there is no ``result``."""

    number: int
    result: Any
    refused: str = ""


def tally(sent: dict[int, int], events: Iterable[Event]) -> None:
    """Add up the payload that left, by connection."""
    for event in events:
        if isinstance(event, BlocksSent):
            sent[event.connection] = sent.get(event.connection, 0) + event.byte_count
        elif isinstance(event, PeerGone):
            sent.pop(event.connection, None)


def packed(message: NamedTuple) -> bytes:
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body


class Unpacker:
    """Messages from bytes as they come."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        self._waiting += data
        while len(self._waiting) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._waiting)[0]
            if len(self._waiting) < end:
                return
            body = bytes(self._waiting[_LENGTH.size : end])
            del self._waiting[:end]
            yield pickle.loads(body)
