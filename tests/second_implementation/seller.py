"""An uploader that sells to one buyer, as SPEC.md says. It has the whole content, withholds while nothing is
paid, and serves nothing for free but what the buyer asks not to be billed."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.second_implementation.connection import (
    BITFIELD,
    CANCEL,
    INTERESTED,
    PIECE,
    REQUEST,
    UNCHOKE,
    Connection,
    Torrent,
    Wire,
)
from tests.second_implementation.messages import TYPES, Message, Refused, body_of
from tests.second_implementation.prices import MIB, Bids
from tests.second_implementation.signatures import Statement, public_of, sha256, voucher_body

SMALLEST_WINDOW = 64 * 1024
LARGEST_WINDOW = 4 * MIB
LEAST_S = 300


@dataclass
class Seller:
    connection: Connection
    torrent: Torrent
    content: bytes
    price: int  # µtok per MiB
    now: Callable[[], float]
    #: The ledger's response keys, as their certificates show them.
    response_keys: frozenset[bytes]

    key: bytes = field(default_factory=lambda: os.urandom(32))
    bids: Bids = field(default_factory=Bids)
    statement: Statement | None = None
    #: Requests, each with the number of the buyer's messages before it.
    wanted: list[tuple[int, int, int, int]] = field(default_factory=list)
    wants_pause: bool = False
    is_billed: bool = False
    is_over: bool = False
    due: int = 0
    billed_bytes: int = 0
    refused_bytes: int = 0
    held: int = 0
    voucher: bytes = b""
    window: int = SMALLEST_WINDOW
    #: The total at which the window has been paid for once more.
    next_doubling: int = 0
    heard: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Until the buyer stops or goes away."""
        async for said in self.connection.hear():
            if isinstance(said, Wire):
                self._on_wire(said)
            else:
                self.heard.append(said.name)
                try:
                    self._on_message(said)
                except Refused as refused:
                    self.connection.say("error", c=refused.code.encode(), t=refused.about)
            if self.is_over:
                return
            self._serve()

    # --- money ---

    def _on_message(self, said: Message) -> None:
        match said.name:
            case "hello":
                self._ask()
            case "bid":
                self._on_bid(said)
            case "open":
                self._on_open(said)
            case "topup":
                self._on_top_up(said)
            case "voucher":
                self._on_voucher(said)
            case "inquiry":
                # Our uplink is not known.
                rates = [0] * len(said["p"])
                self.connection.say("prospect", i=said["i"], r=rates, o=1, u=0)
            case "demand":
                self._on_demand(said)
            case "pause":
                self._pause(True)
            case "resume":
                self._pause(False)
            case "stop":
                self.is_over, self.is_billed = True, False

    def _ask(self) -> None:
        session, ledger = self.connection.session, self.connection.ledger
        assert session is not None
        terms = {
            "i": 1, "k": public_of(self.key), "p": self.price, "c": 3, "e": 0, "f": 100_000,
            "t": int(self.now()) + 600,
        }  # fmt: skip
        self.connection.say(
            "ask",
            **terms,
            s=ledger.sign(self.key, b"ask", body_of(terms)),
            x=ledger.sign(self.key, b"session", session.binding_body(0)),
        )

    def _on_bid(self, bid: Message) -> None:
        self.bids.add(self.connection.received, bid["p"])
        quoted = max(bid["p"], self.price)
        self.connection.say("quote", i=bid["i"], p=quoted, h=bid["w"], e=1_000_000, o=1)

    def _on_open(self, opening: Message) -> None:
        session, ledger = self.connection.session, self.connection.ledger
        assert session is not None
        shown = Statement.read(opening["b"])
        binding = session.binding_body(1)
        if not ledger.is_signed(shown.payer, b"session", binding, opening["x"]):
            raise Refused("bad_signature", 4)
        if shown.payee != public_of(self.key):
            raise Refused("wrong_channel", 4)
        if shown.expiry - self.now() < LEAST_S:
            raise Refused("channel_closed", 4)
        if opening["n"] > shown.escrow:
            raise Refused("above_escrow", 4)
        if self.statement or not self.bids.made:
            raise Refused("out_of_order", 4)
        if shown.channel != ledger.channel_id(shown.payer, shown.payee, shown.nonce):
            raise Refused("wrong_channel", 4)
        self._check_signature(opening)
        self.statement, self.is_billed = shown, True
        self.next_doubling = self._value_of(self.window)
        self._ack()

    def _on_top_up(self, said: Message) -> None:
        """A newer statement: more escrow, a later expiry, and all else as it was."""
        if self.statement is None:
            raise Refused("channel_unknown", 5)
        newer = Statement.read(said["b"])
        escrow, expiry = newer.escrow, newer.expiry
        if newer != replace(self.statement, escrow=escrow, expiry=expiry):
            raise Refused("wrong_channel", 5)
        self._check_signature(said)
        if escrow >= self.statement.escrow and expiry >= self.statement.expiry:
            self.statement = newer

    def _check_signature(self, said: Message) -> None:
        ledger = self.connection.ledger
        if not any(
            ledger.is_signed(key, b"statement", said["b"], said["s"]) for key in self.response_keys
        ):
            raise Refused("bad_signature", TYPES[said.name])

    def _on_voucher(self, voucher: Message) -> None:
        if self.statement is None or voucher["c"] != self.statement.channel:
            raise Refused("wrong_channel" if self.statement else "channel_unknown", 6)
        self.refused_bytes = max(self.refused_bytes, voucher["r"])
        if voucher["n"] > self.held:
            if voucher["n"] > self.statement.escrow:
                raise Refused("above_escrow", 6)
            body = voucher_body(voucher["c"], voucher["n"])
            ledger = self.connection.ledger
            if not ledger.is_signed(self.statement.payer, b"voucher", body, voucher["s"]):
                raise Refused("bad_signature", 6)
            self.held, self.voucher = voucher["n"], voucher["s"]
            if self.held >= self.next_doubling:
                self.window = min(2 * self.window, max(LARGEST_WINDOW, self.billed_bytes // 8))
                self.next_doubling = self.held + self._value_of(self.window)
        self._ack()

    def _on_demand(self, demand: Message) -> None:
        if self.statement is None or demand["c"] != self.statement.channel:
            raise Refused("channel_unknown", 16)
        content = sha256(b"speedpay/v1/content\0", demand["y"], self.torrent.infohash)
        if content != demand["z"]:
            raise Refused("wrong_channel", 16)
        told = {"c": demand["c"], "n": self.held, "b": self.billed_bytes}
        at = int(self.now())
        body = told["c"] + b"".join(told[name].to_bytes(8, "big") for name in "nb") + content
        signature = self.connection.ledger.sign(self.key, b"receipt", body + at.to_bytes(8, "big"))
        self.connection.say("receipt", **told, h=content, t=at, s=signature)

    def _ack(self) -> None:
        assert self.statement is not None
        if not self.is_over:
            self.connection.say("ack", c=self.statement.channel, n=self.held, w=self.window)

    def _pause(self, wanted: bool) -> None:
        """The buyer asks for it; it is ours to say from where on nothing is billed."""
        if self.statement is None or wanted == self.wants_pause or self.is_over:
            return
        self.wants_pause, self.is_billed = wanted, not wanted
        self.connection.say(
            "pause" if wanted else "resume",
            c=self.statement.channel,
            n=self.held,
            b=self.billed_bytes,
        )

    def _value_of(self, byte_count: int) -> int:
        return max(1, byte_count * self.bids.newest // MIB)

    @property
    def _unpaid(self) -> int:
        """bytes × price."""
        forgiven = min(self.refused_bytes, max(MIB, self.billed_bytes // 16))
        return self.due - self.held * MIB - forgiven * self.bids.newest

    def _is_withheld(self) -> bool:
        """Before a channel is open, after the sale, and while the window is full."""
        if self.statement is None or self.is_over:
            return True
        rest = self.statement.escrow - self.held
        allowed = min(rest, self._value_of(self.window))
        return self.is_billed and self._unpaid >= allowed * MIB

    # --- blocks ---

    def _on_wire(self, said: Wire) -> None:
        if said.kind == INTERESTED:
            self.connection.wire(UNCHOKE)
        elif said.kind in (REQUEST, CANCEL) and len(said.body) == 12:
            asked = struct.unpack(">III", said.body)
            if said.kind == CANCEL:
                self.wanted = [one for one in self.wanted if one[:3] != asked]
            elif asked[2] <= 1 << 17:
                self.wanted.append((*asked, self.connection.received))

    def show(self) -> None:
        """To be said right after the handshake."""
        pieces = len(self.torrent.hashes)
        bits = (1 << pieces) - 1 << -pieces % 8
        self.connection.wire(BITFIELD, bits.to_bytes(-(-pieces // 8), "big"))

    def _serve(self) -> None:
        while self.wanted and not self._is_withheld():
            piece, start, length, asked_after = self.wanted.pop(0)
            at = piece * self.torrent.piece_length + start
            data = self.content[at : at + length]
            self.connection.wire(PIECE, struct.pack(">II", piece, start) + data)
            if self.is_billed:
                self.due += len(data) * self.bids.price_of(asked_after)
                self.billed_bytes += len(data)
