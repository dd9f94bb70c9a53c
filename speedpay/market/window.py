"""How far a seller trusts: the window of unpaid bytes, and what happens when it is full.

It starts at 64 KiB, doubles after each window that was paid for cleanly, up to 4 MiB or an eighth of what
was paid on the connection, is halved by a late payment and starts again after a default. Nobody can take
more than one window: that is the loss a seller accepts per identity.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from speedpay.market.metering import BLOCK_BYTES
from speedpay.units import MIB, ZERO, Amount, Price, Value

WINDOW_MIN_BYTES = 64 * 1024
WINDOW_MAX_BYTES = 4 * MIB
#: Beyond 4 MiB the window grows with what was paid: at 170 MiB/s those are 24 ms of traffic, less than a
#: voucher's way, and the seller would stand still half of the time. Who then leaves took an eighth more
#: than was paid for.
TRUST_DIVISOR = 8
#: A full window first withholds bytes, then serves at the free lane's weight, then ends the sale.
FREE_AFTER_S = 5.0
END_AFTER_S = 60.0
#: Bytes that a buyer refused (end-game duplicates, failed pieces) are forgiven up to 1 MiB or 1/16.
FORGIVEN_BYTES = MIB
FORGIVEN_DIVISOR = 16
#: Blocks are billed at the bid of their request: so many bytes may be on their way at an older, lower one.
IN_FLIGHT_BYTES = 16 * MIB


class Trust(StrEnum):
    """What a seller does for a payer now."""

    SERVE = "serve"
    WITHHOLD = "withhold"
    FREE = "free"
    END = "end"


@dataclass(frozen=True, slots=True)
class Window:
    """``due``: the value of billed bytes; ``paid``: vouchers accepted for them; both since the channel was
    shown on this connection. ``full_since``: when the window filled, on the caller's clock. ``short``: by
    how much blocks were billed below the bid in force when they left, in µtok·byte/MiB."""

    size_bytes: int = WINDOW_MIN_BYTES
    due: Value = field(default_factory=Value)
    billed_bytes: int = 0
    paid: Amount = ZERO
    paid_in_window: Amount = ZERO
    refused_bytes: int = 0
    full_since: float | None = None
    short: int = 0

    def exposure(self, price: Price) -> int:
        """Unpaid value in µtok·byte/MiB, less what is forgiven; negative when paid ahead."""
        forgiven = min(
            self.refused_bytes, max(FORGIVEN_BYTES, self.billed_bytes // FORGIVEN_DIVISOR)
        )
        return self.due.numerator - self.paid.utok * MIB - forgiven * price.utok_per_mib

    def limit_bytes(self, price: Price, escrow_left: Amount) -> int:
        """Unpaid bytes that are allowed: the window, and never more than the escrow can pay."""
        trusted = max(WINDOW_MAX_BYTES, self.paid.bytes_at_floor(price) // TRUST_DIVISOR)
        return min(self.size_bytes, trusted, escrow_left.bytes_at_floor(price))

    def is_full(self, price: Price, escrow_left: Amount) -> bool:
        return self._room(price, escrow_left) <= 0

    def room_bytes(self, price: Price, escrow_left: Amount) -> int:
        """How many more may leave at ``price`` before it is full."""
        return max(0, -(-self._room(price, escrow_left) // price.utok_per_mib))

    def _room(self, price: Price, escrow_left: Amount) -> int:
        """In µtok·byte/MiB. Nothing can be paid of less than one µtok, nor of a part of a block: at the
        lowest prices the window is one of each, or a buyer would wait for the rest of a block for which
        it is to pay before it comes."""
        if not escrow_left:
            return 0
        limit = self.limit_bytes(price, escrow_left) * price.utok_per_mib
        least = min(MIB + BLOCK_BYTES * price.utok_per_mib, escrow_left.utok * MIB)
        if price.utok_per_mib * (WINDOW_MIN_BYTES - BLOCK_BYTES) >= MIB:
            least = MIB
        return max(limit, least) - self.exposure(price)

    def unpaid_bytes(self, before: int = 0) -> int:
        """Of the billed bytes, and of ``before``, which were due when the channel was shown. By what was
        really billed for them: the bid in force may be any when this is asked."""
        due = self.due.numerator
        unpaid = max(0, due - self.paid.utok * MIB)
        return (self.billed_bytes + before) * unpaid // due if due else 0

    def served(self, byte_count: int, price: Price, bid: Price | None = None) -> Window:
        """``price``: of the block's request; ``bid``: now in force, if that is another."""
        lower = 0 if bid is None else bid.utok_per_mib - price.utok_per_mib
        return replace(
            self, due=self.due.plus(byte_count, price), billed_bytes=self.billed_bytes + byte_count,
            short=self.short + byte_count * lower,
        )  # fmt: skip

    def is_underbid(self, bid: Price) -> bool:
        """Requests were made at lower bids again and again, each raised before the blocks left."""
        in_flight = IN_FLIGHT_BYTES * bid.utok_per_mib
        return self.short > max(in_flight, self.due.numerator // TRUST_DIVISOR)

    def paid_up(self, amount: Amount, refused_bytes: int, price: Price) -> Window:
        """A voucher raised the total by ``amount``. ``refused_bytes`` is the buyer's own running count."""
        in_window = self.paid_in_window + amount
        size = self.size_bytes
        # By what was billed, too: a bid may be lowered for just the moment of the payment. And bytes: at
        # the lowest prices one µtok would be good for any window.
        billed = self.due.numerator * size // max(1, self.billed_bytes)
        worth = max(price.utok_per_mib * size, billed) // MIB
        if in_window.utok >= worth and self.billed_bytes >= size:
            most = max(
                WINDOW_MAX_BYTES, (self.paid + amount).bytes_at_floor(price) // TRUST_DIVISOR
            )
            size, in_window = min(2 * size, most), ZERO
        refused = max(self.refused_bytes, refused_bytes)
        return replace(
            self, size_bytes=size, paid=self.paid + amount, paid_in_window=in_window,
            refused_bytes=refused,
        )  # fmt: skip

    def late(self) -> Window:
        return replace(
            self, size_bytes=max(WINDOW_MIN_BYTES, self.size_bytes // 2), paid_in_window=ZERO
        )

    def at(self, price: Price, escrow_left: Amount, now: float) -> tuple[Window, Trust]:
        """This window as of ``now``, and what to do about it."""
        if not self.is_full(price, escrow_left):
            return replace(self, full_since=None), Trust.SERVE
        since = now if self.full_since is None else self.full_since
        steps = ((FREE_AFTER_S, Trust.WITHHOLD), (END_AFTER_S, Trust.FREE))
        trust = next((trust for until, trust in steps if now - since < until), Trust.END)
        return replace(self, full_since=since), trust
