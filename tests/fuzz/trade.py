"""One buyer and one seller, each with a stranger at its ear who has the right seal: any sequence of honest
steps and of messages that nobody meant, at either end."""

from __future__ import annotations

from typing import Any

from speedpay.channel.voucher import Voucher
from speedpay.errors import Refused
from speedpay.peer.binding import Bound
from speedpay.peer.messages import MAX_MESSAGE_BYTES, Message, Open, VoucherMessage
from speedpay.signing import SigningKey
from speedpay.units import KIB, Amount
from tests.unit.peer.pair import Pair, statement
from tests.vectors.generate import DOMAIN, MESSAGES, PAYEE, key
from tests.vectors.session import OTHER

_BLOCKS, _PIECE = 16, 256 * KIB
_KINDS = list(MESSAGES.values())
_MAX_STEPS = 100
_EXPIRY = 1_800_080_000


class Strangers(Pair):
    """A pair whose messages go over the wire, and into which others are slipped."""

    def say(self, side: str, message: Message, by: SigningKey | None = None) -> None:
        payload = self.ends[side].send(message, by)
        number = self.ends[side].sent_count
        if side == "buyer":
            self.buyer.bid_left(self.connection, number)
        else:
            self.seller.left(self.connection, number, message)
        self._queue.append((side, payload, number))
        if len(self._queue) > 1:
            return  # what is being delivered comes first
        while self._queue:
            self.deliver(*self._queue[0])
            self._queue.popleft()

    def slip_in(self, side: str, message: Message) -> None:
        """In the place of ``side``, and bound to this connection as only ``side`` could."""
        by = PAYEE if side == "seller" else key("channel 100")
        end = self.ends[side]
        self.deliver(
            side, end.send(message, by if isinstance(message, Bound) else None), end.sent_count
        )

    def slip_in_bytes(self, side: str, plaintext: bytes) -> None:
        end = self.ends[side]
        assert end._session is not None
        end.sent_count += 1
        payload = end._session.seal(end.sent_count, plaintext[:MAX_MESSAGE_BYTES])
        self.deliver(side, payload, end.sent_count)

    def deliver(self, side: str, payload: bytes, number: int) -> None:
        listener = OTHER[side]
        before = self.state(listener)
        try:
            heard = self.ends[listener].receive(number, payload, self.now)
            if listener == "seller":
                made = self.seller.message(self.connection, number, heard, self.now, self.utc)
            else:
                made = self.buyer.message(self.connection, heard, self.now, self.utc)
        except Refused:
            assert self.state(listener) == before, f"a refusal changed the {listener}"
            return
        self.perform(listener, made)

    def state(self, side: str) -> str:
        """All that a refusal must leave alone; the rate counters are meant to move."""
        if side == "buyer":
            return repr((self.buyer.sales, self.buyer.remaining_bytes))
        seller = self.seller
        parts: list[Any] = [seller._channels, seller._idle, seller._closed, seller._past]
        for buying in seller._buying.values():
            names = buying.__dataclass_fields__.keys() - {"inquiries", "receipts", "key"}
            parts += [getattr(buying, name) for name in sorted(names)]
        return repr(parts)


def _open(number: int) -> Open:
    """A channel that the ledger did confirm: of another size each time that it is a multiple of 8."""
    made = statement(100, Amount(1 + number * 7), _EXPIRY)
    return Open(made.statement, made.signature, Amount(0))


def _voucher(number: int) -> VoucherMessage:
    channel = statement(100, Amount(1), _EXPIRY).statement.channel
    made = Voucher.sign(key("channel 100"), DOMAIN, channel, Amount(number * 3))
    return VoucherMessage(channel, made.cumulative, made.signature, 0, number % 5 * KIB)


def trade(data: bytes) -> None:
    """Each step is a byte and two of number, then perhaps a message of that length."""
    pair = Strangers(size=_BLOCKS * _PIECE, piece_bytes=_PIECE)
    pair.meet()
    accepted: dict[bytes, int] = {}
    at, block = 0, 0
    for _ in range(_MAX_STEPS):
        if at >= len(data):
            break
        step, number = data[at] % 10, int.from_bytes(data[at + 1 : at + 3].ljust(2, b"\0"))
        at += 3
        pair.now += 0.02
        side = "buyer" if step % 2 else "seller"
        if step in (0, 1):
            pair.slip_in_bytes(side, data[at : at + number % 1024])
            at += number % 1024
        elif step in (2, 3):
            pair.slip_in(side, _KINDS[number % len(_KINDS)])
        elif step == 4:
            pair.slip_in("buyer", _open(number))
        elif step == 5:
            pair.slip_in("buyer", _voucher(number))
        elif step == 6:
            pair.tick(number / 100)
        elif step == 7:
            for _ in range(number % _BLOCKS):
                if not pair.withheld and block < _BLOCKS * _BLOCKS:
                    pair.block(*divmod(block, _BLOCKS))
                    block += 1
        elif step == 8:
            pair.ledger = bool(number & 1)
            if pair.ledger:
                pair.answer()
        elif number % 8 == 0:
            pair.reconnect(notice=True)
        for identity, held in pair.seller._channels.items():
            assert held.accepted <= held.statement.escrow, "more accepted than was locked"
            assert accepted.get(identity, 0) <= held.accepted.utok, "what was accepted has shrunk"
            accepted[identity] = held.accepted.utok
