"""One BitTorrent connection over plain TCP (BEP 3) with the extension in it (BEP 10): framing, the two
handshakes, hello, and the counting and sealing of our messages. Who buys or sells stands in other files."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from tests.second_implementation import bencoding
from tests.second_implementation.messages import Message, Refused, read
from tests.second_implementation.sealing import Session, Side, ephemeral_of
from tests.second_implementation.signatures import Ledger

CHOKE, UNCHOKE, INTERESTED, NOT_INTERESTED, HAVE, BITFIELD, REQUEST, PIECE, CANCEL = range(9)
EXTENDED = 20
PROTOCOL = b"\x13BitTorrent protocol"
MAX_WIRE_BYTES = 1 << 20
#: The number under which we want the other side's messages of the extension.
OURS = 7


@dataclass(frozen=True)
class Torrent:
    """Of a .torrent file with one file in it (version 1)."""

    infohash: bytes
    hashes: tuple[bytes, ...]
    piece_length: int
    length: int

    def size_of(self, piece: int) -> int:
        return min(self.piece_length, self.length - piece * self.piece_length)


@dataclass(frozen=True)
class Wire:
    """An ordinary message of the peer protocol."""

    kind: int
    body: bytes = b""


@dataclass
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ledger: Ledger
    own_id: bytes
    peer_id: bytes
    infohash: bytes
    secret: bytes = field(default_factory=lambda: os.urandom(32))
    session: Session | None = None
    #: Messages of the extension so far, in each direction; hello is the first.
    sent: int = 0
    received: int = 0
    hello: bytes = b""
    #: What the peer calls us by in ``m``; 0 until its BEP 10 handshake, and without the extension.
    theirs: int = 0

    @classmethod
    async def shake_hands(
        cls,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        ledger: Ledger,
        infohash: bytes,
        *,
        called: bool = False,
    ) -> Connection:
        """BEP 3's handshake, which the caller begins, then BEP 10's from us. Raises ConnectionError, also
        for an encrypted connection: who tries that first calls again without."""
        own_id = b"-2I0001-" + os.urandom(12)
        greeting = PROTOCOL + bytes([0, 0, 0, 0, 0, 0x10, 0, 0]) + infohash + own_id
        if not called:
            writer.write(greeting)
        try:
            answer = await reader.readexactly(68)
        except asyncio.IncompleteReadError:
            raise ConnectionError("hung up") from None
        if answer[:20] != PROTOCOL or answer[28:48] != infohash:
            raise ConnectionError("not BitTorrent, or another torrent")
        if called:
            writer.write(greeting)
        self = cls(reader, writer, ledger, own_id, answer[48:], infohash)
        if answer[25] & 0x10:
            self.wire(EXTENDED, b"\0" + bencoding.encode({b"m": {b"sp_pay": OURS}}))
        return self

    def wire(self, kind: int, body: bytes = b"") -> None:
        self.writer.write(struct.pack(">IB", len(body) + 1, kind) + body)

    def say(self, name: str, **keys: Any) -> None:
        """A message of the extension, sealed unless it is hello."""
        message = Message(name, keys).encoded()
        self.sent += 1
        if name == "hello":
            self.hello = message
        else:
            assert self.session is not None
            message = self.session.seal(self.sent, message)
        self.wire(EXTENDED, bytes([self.theirs]) + message)

    async def hear(self) -> AsyncIterator[Wire | Message]:
        """Everything that comes, in its order, until the connection ends."""
        while True:
            try:
                (length,) = struct.unpack(">I", await self.reader.readexactly(4))
                if length > MAX_WIRE_BYTES:
                    raise ConnectionError("a message too long")
                data = await self.reader.readexactly(length)
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            if not data:
                continue
            if data[0] != EXTENDED:
                yield Wire(data[0], data[1:])
            elif data[1:2] == b"\0":
                self._handshake(data[2:])
            elif data[1:2] == bytes([OURS]):
                message = self.on_payload(data[2:])
                if message is not None:
                    yield message

    def _handshake(self, data: bytes) -> None:
        found = bencoding.decode(data, canonical=False, containers=8)
        names = found.get(b"m") if isinstance(found, dict) else None
        number = names.get(b"sp_pay", 0) if isinstance(names, dict) else 0
        if not self.theirs and isinstance(number, int) and 0 < number < 256:
            self.theirs = number
            self.say(
                "hello", v=[1], l=self.ledger.id, n=self.ledger.network, x=ephemeral_of(self.secret)
            )

    def on_payload(self, payload: bytes) -> Message | None:
        """The message in it, None when the peer is an ordinary one. Raises Refused."""
        self.received += 1
        if self.session is not None:
            message = read(self.session.open(self.received, payload))
            if message.name == "hello":
                raise Refused("out_of_order", 0)
            return message
        hello = read(payload)
        if hello.name != "hello" or self.received > 1 or not self.hello:
            raise Refused("out_of_order", 0)
        if (hello["l"], hello["n"]) != (self.ledger.id, self.ledger.network) or 1 not in hello["v"]:
            return None
        mine, peer = Side(self.own_id, self.hello), Side(self.peer_id, payload)
        self.session = Session.agree(self.ledger, self.infohash, mine, peer, self.secret)
        return hello
