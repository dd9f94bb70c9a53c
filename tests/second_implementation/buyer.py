"""A downloader that pays one seller, as SPEC.md says, and takes no block before its channel is confirmed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.second_implementation.connection import (
    BITFIELD,
    CHOKE,
    INTERESTED,
    PIECE,
    REQUEST,
    UNCHOKE,
    Connection,
    Torrent,
    Wire,
)
from tests.second_implementation.messages import Message, Refused, body_of
from tests.second_implementation.prices import MIB, Bids, whole_utok
from tests.second_implementation.signatures import Statement, public_of, voucher_body

BLOCK = 16 * 1024
SMALLEST_UNIT = 64 * 1024
#: Requests under way at a time.
AHEAD = 16
LATEST_S = 0.25

#: (payer key, payee key, µtok to lock) → statement, the ledger's signature
Lock = Callable[[bytes, bytes, int], Awaitable[tuple[bytes, bytes]]]


@dataclass
class Block:
    asked_after: int
    due: int = 0  # bytes × price, when it was billed


@dataclass
class Buyer:
    connection: Connection
    torrent: Torrent
    price: int  # µtok per MiB
    allowance: int  # µtok
    lock: Lock
    now: Callable[[], float]

    channel_key: bytes = field(default_factory=lambda: os.urandom(32))
    ask: Message | None = None
    bids: Bids = field(default_factory=Bids)
    statement: Statement | None = None
    window: int = 0
    is_open: bool = False
    is_billed: bool = False
    is_over: bool = False
    is_unchoked: bool = False
    #: In the order of arrival, by (piece, offset).
    asked: dict[tuple[int, int], Block] = field(default_factory=dict)
    blocks: dict[tuple[int, int], tuple[Block, bytes]] = field(default_factory=dict)
    content: dict[int, bytes] = field(default_factory=dict)
    due: int = 0
    billed_bytes: int = 0
    refused_bytes: int = 0
    signed: int = 0
    acknowledged: int = 0
    voucher: bytes = b""
    unpaid_bytes: int = 0
    told_refused: int = 0
    heard: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Until the content is complete and the seller has acknowledged all that is due, or the seller
        stops or goes away."""
        payer = asyncio.create_task(self._pay_in_time())
        try:
            async for said in self.connection.hear():
                if isinstance(said, Wire):
                    self._on_wire(said)
                else:
                    self.heard.append(said.name)
                    await self._on_message(said)
                if self._is_settled():
                    break
        finally:
            payer.cancel()
        if self.statement and not self.is_over:
            self._say_standing("stop")
        with contextlib.suppress(ConnectionError):
            await self.connection.writer.drain()
        self.connection.writer.close()

    def _is_settled(self) -> bool:
        whole = len(self.content) == len(self.torrent.hashes)
        if whole and self.is_open:
            self._pay()
        return self.is_over or (
            whole and self.is_open and self.acknowledged >= whole_utok(self.due)
        )

    # --- money ---

    async def _on_message(self, said: Message) -> None:
        match said.name:
            case "ask":
                self._on_ask(said)
            case "quote" if self.statement is None:
                await self._on_quote(said)
            case "ack":
                self._on_ack(said)
            case "pause":
                self.is_billed = False
            case "resume":
                self.is_billed = not self.is_over
            case "stop":
                self.is_billed, self.is_over = False, True
            case "error":
                raise Refused(said["c"].decode(), said["t"])

    def _on_ask(self, ask: Message) -> None:
        session, ledger = self.connection.session, self.connection.ledger
        assert session is not None
        body = body_of({key: value for key, value in ask.keys.items() if key not in "sx"})
        binding = session.binding_body(0)
        if not ledger.is_signed(ask["k"], b"session", binding, ask["x"]):
            raise Refused("bad_signature", 1)
        if not ledger.is_signed(ask["k"], b"ask", body, ask["s"]):
            raise Refused("bad_signature", 1)
        if ask["t"] < self.now() - 120:
            raise Refused("stale", 1)
        if self.ask and self.ask["k"] != ask["k"]:
            raise Refused("wrong_channel", 1)
        first, self.ask = self.ask is None, ask
        if first and ask["p"] <= self.price:
            self.connection.say("bid", i=1, p=self.price, w=_bucket(self.torrent.length), t=300)
            self.bids.add(self.connection.sent, self.price)

    async def _on_quote(self, quote: Message) -> None:
        assert self.ask is not None
        escrow = max(self.allowance // 20, -(-self.price * SMALLEST_UNIT // MIB))
        if quote["p"] != self.price or self.ask["e"] > escrow:
            return
        public = public_of(self.channel_key)
        data, signature = await self.lock(public, self.ask["k"], escrow)
        self.statement = Statement.read(data)
        session, ledger = self.connection.session, self.connection.ledger
        assert session is not None
        binding = ledger.sign(self.channel_key, b"session", session.binding_body(1))
        self.connection.say("open", b=data, s=signature, n=0, x=binding)

    def _on_ack(self, ack: Message) -> None:
        assert self.statement is not None
        if ack["c"] != self.statement.channel or ack["n"] > self.signed:
            raise Refused("wrong_channel", 7)
        self.acknowledged = max(self.acknowledged, ack["n"])
        self.window = ack["w"]
        if not self.is_open:
            self.is_open = self.is_billed = True
            self._request()
        self._pay_units()

    def _unit(self) -> int:
        return max(BLOCK, min(max(SMALLEST_UNIT, self.window // 8), self.window // 4))

    def _pay_units(self) -> None:
        if self.unpaid_bytes >= self._unit():
            self._pay()

    def _pay(self) -> None:
        """A voucher for all that is due, or the newest again when only refused bytes are new."""
        assert self.statement is not None
        self.unpaid_bytes = 0
        total = min(whole_utok(self.due), self.statement.escrow)
        news = self.refused_bytes > self.told_refused and self.voucher
        if self.is_over or (total <= self.signed and not news):
            return
        if total > self.signed:
            body = voucher_body(self.statement.channel, total)
            self.voucher = self.connection.ledger.sign(self.channel_key, b"voucher", body)
            self.signed = total
        self.told_refused = self.refused_bytes
        self.connection.say(
            "voucher", c=self.statement.channel, n=self.signed, s=self.voucher,
            v=sum(map(len, self.content.values())), r=self.refused_bytes,
        )  # fmt: skip

    async def _pay_in_time(self) -> None:
        while True:
            await asyncio.sleep(LATEST_S)
            if self.unpaid_bytes:
                self._pay()

    def _say_standing(self, name: str) -> None:
        assert self.statement is not None
        self.connection.say(name, c=self.statement.channel, n=self.signed, b=self.billed_bytes)

    # --- blocks ---

    def _on_wire(self, said: Wire) -> None:
        match said.kind:
            case k if k == BITFIELD:
                self.connection.wire(INTERESTED)
            case k if k == UNCHOKE:
                self.is_unchoked = True
                self._request()
            case k if k == CHOKE:
                self.is_unchoked = False
                self.asked.clear()
            case k if k == PIECE:
                piece, start = struct.unpack(">II", said.body[:8])
                self._on_block(piece, start, said.body[8:])
                self._request()

    def _request(self) -> None:
        """Piece by piece, so that no more than two pieces are ever unverified."""
        if not self.is_unchoked or not self.is_open:
            return
        for piece, start, length in self._missing():
            if len(self.asked) >= AHEAD:
                return
            self.asked[piece, start] = Block(self.connection.sent)
            self.connection.wire(REQUEST, struct.pack(">III", piece, start, length))

    def _missing(self) -> list[tuple[int, int, int]]:
        found = []
        for piece in range(len(self.torrent.hashes)):
            if piece in self.content:
                continue
            size = self.torrent.size_of(piece)
            for start in range(0, size, BLOCK):
                if (piece, start) not in self.asked and (piece, start) not in self.blocks:
                    found.append((piece, start, min(BLOCK, size - start)))
            if len(found) >= AHEAD:
                break
        return found

    def _on_block(self, piece: int, start: int, data: bytes) -> None:
        block = self.asked.pop((piece, start), None)
        if self.is_billed:
            self.billed_bytes += len(data)
            if block is None:
                self.refused_bytes += len(data)
                return
            block.due = len(data) * self.bids.price_of(block.asked_after)
            self.due += block.due
            self.unpaid_bytes += len(data)
        if block is None:
            return
        self.blocks[piece, start] = block, data
        self._verify(piece)
        if self.statement:
            self._pay_units()

    def _verify(self, piece: int) -> None:
        starts = range(0, self.torrent.size_of(piece), BLOCK)
        if any((piece, start) not in self.blocks for start in starts):
            return
        arrived = [self.blocks.pop((piece, start)) for start in starts]
        data = b"".join(part for _, part in arrived)
        if hashlib.sha1(data).digest() == self.torrent.hashes[piece]:
            self.content[piece] = data
            return
        for block, part in arrived:
            if block.due:
                self.due -= block.due
                self.refused_bytes += len(part)


def _bucket(length: int) -> int:
    """KB, rounded up to a power of two."""
    return 1 << (-(-length // 1024) - 1).bit_length()
