"""What counts as delivered: which bytes a buyer owes for, to whom, at which price.

Blocks are paid *on account* as they arrive, and trust is settled when their piece verifies. A block that
was not asked for, or that was had already (end game), is refused and never paid. Bytes of a piece
that failed its hash are taken back: what was paid for them counts towards later ones.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from speedpay.units import MIB, Amount, Price, Value

BLOCK_BYTES = 16 * 1024
UNIT_MIN_BYTES = 64 * 1024
UNIT_MAX_BYTES = MIB
UNIT_S = 0.25
UNVERIFIED_MAX_BYTES = 4 * MIB
TRUST_DIVISOR = 4


def unit_bytes(rate_bytes_s: int, window: int = 4 * UNIT_MAX_BYTES) -> int:
    """Bytes per voucher: 250 ms of traffic as a power of two from 64 KiB on.

    At most 1 MiB, or an eighth of the seller's ``window`` of unpaid bytes where trust has grown beyond
    that: each voucher costs both sides a write to disk. Never more than a quarter of the window, down to
    one block: small windows would otherwise be full while a voucher is still being saved up for.
    """
    unit, most = UNIT_MIN_BYTES, max(UNIT_MAX_BYTES, window // 8)
    while unit * 2 <= min(most, int(rate_bytes_s * UNIT_S)):
        unit *= 2
    return min(unit, max(BLOCK_BYTES, window // 4))


def on_account_limit(piece_bytes: int, verified_bytes: int = 0) -> int:
    """Unverified bytes that may be paid to one seller: two pieces, at least 1 MiB, and up to 4 MiB where
    four times as much of this seller's has verified.

    With two whole pieces the seller's window (4 MiB at most) and this limit can never block each
    other: a piece from one seller always completes within what may be paid. A disk that is busy verifies
    late, and with 1 MiB a fast seller stood still for a third of a second whenever it did.
    """
    return max(2 * piece_bytes, MIB, min(UNVERIFIED_MAX_BYTES, verified_bytes // TRUST_DIVISOR))


@dataclass(slots=True)
class _Run:
    """Consecutive blocks of one piece from one seller, in arrival order."""

    piece: int
    byte_count: int
    price: Price


@dataclass(slots=True)
class Delivery:
    """One seller's account. ``verified_value`` and the runs hold billed bytes only (price above 0)."""

    verified_bytes: int = 0
    verified_value: Value = field(default_factory=Value)
    refused_bytes: int = 0
    unverified: deque[_Run] = field(default_factory=deque)

    def payable(self, limit_bytes: int) -> Amount:
        """What may be paid by now: all that verified, and unverified bytes up to ``limit_bytes``."""
        value, room = self.verified_value, limit_bytes
        for run in self.unverified:
            if room <= 0:
                break
            part = min(room, run.byte_count)
            value, room = value.plus(part, run.price), room - part
        return value.floor()


class Meter:
    """Everything that arrives for one torrent. Sellers are any hashable key (one per connection)."""

    def __init__(self) -> None:
        self._had: dict[int, int] = {}
        self._from: dict[int, dict[int, int]] = {}
        self._short: dict[int, int] = {}
        self._passed: set[int] = set()
        self.deliveries: dict[int, Delivery] = {}

    def delivery(self, seller: int) -> Delivery:
        return self.deliveries.setdefault(seller, Delivery())

    def restart(self, seller: int) -> None:
        """A new account for this seller (another channel); what was owed on the old one is settled."""
        self.deliveries[seller] = Delivery()

    def move(self, old: int, new: int) -> None:
        """The seller ``old`` is back as ``new``: its account goes on, its unverified bytes included.

        Otherwise each reconnect would bring a fresh on-account limit. Refused bytes are counted for
        each connection, as the seller's window is.
        """
        delivery = self.deliveries.pop(old, None) or Delivery()
        delivery.refused_bytes = 0
        self.deliveries[new] = delivery
        for sources in self._from.values():
            if old in sources:
                sources[new] = sources.get(new, 0) + sources.pop(old)

    def received(
        self, seller: int, piece: int, start: int, byte_count: int, asked: bool, price: Price
    ) -> int:
        """Blocks arrived; returns how many of their bytes count as delivered.

        ``start`` is a multiple of 16 KiB. A zero ``price`` is the free lane: recorded for the sake
        of duplicates and of blame, owed nothing.
        """
        delivery = self.delivery(seller)
        if not asked or piece in self._passed:
            delivery.refused_bytes += byte_count if price else 0
            return 0
        if byte_count % BLOCK_BYTES:
            self._short[piece] = start + byte_count
        first, count = start // BLOCK_BYTES, -(-byte_count // BLOCK_BYTES)
        mask = ((1 << count) - 1) << first
        had = self._had.get(piece, 0)
        new_blocks = (mask & ~had).bit_count()
        self._had[piece] = had | mask
        # Only the last block of a torrent is short, and it counts as whole blocks do unless refused.
        new_bytes = byte_count if new_blocks == count else min(byte_count, new_blocks * BLOCK_BYTES)
        delivery.refused_bytes += byte_count - new_bytes if price else 0
        if new_bytes:
            sources = self._from.setdefault(piece, {})
            sources[seller] = sources.get(seller, 0) + new_bytes
            if price:
                delivery.unverified.append(_Run(piece, new_bytes, price))
        return new_bytes

    def passed(self, piece: int) -> None:
        """The piece's hash is right: its bytes are verified for good."""
        self._passed.add(piece)
        self._had.pop(piece, None)
        for seller in self._from.pop(piece, {}):
            delivery = self.deliveries.get(seller)
            if delivery is None:
                continue  # gone, and its channel is closed
            kept: deque[_Run] = deque()
            for run in delivery.unverified:
                if run.piece != piece:
                    kept.append(run)
                    continue
                delivery.verified_bytes += run.byte_count
                delivery.verified_value = delivery.verified_value.plus(run.byte_count, run.price)
            delivery.unverified = kept

    def failed(self, piece: int, piece_bytes: int) -> int | None:
        """The piece's hash is wrong: nothing of it is owed. Returns its sender if it was only one.

        A piece of several senders blames nobody: an honest one may be among them. Nor does a piece
        of which a part was here before, from an earlier run: ``piece_bytes`` is the torrent's piece
        length, and a short block shows where its last piece ends.
        """
        self._had.pop(piece, None)
        whole = self._short.pop(piece, piece_bytes)
        sources = self._from.pop(piece, {})
        for seller in sources:
            delivery = self.deliveries.get(seller)
            if delivery is None:
                continue
            bad = [run for run in delivery.unverified if run.piece == piece]
            delivery.refused_bytes += sum(run.byte_count for run in bad)
            delivery.unverified = deque(r for r in delivery.unverified if r.piece != piece)
        return next((s for s, sent in sources.items() if sent >= whole), None)
