"""What a seller knows of one peer as a buyer: the counterpart of ``sale.py``."""

from __future__ import annotations

from dataclasses import dataclass, field

from speedpay.channel.life import State
from speedpay.channel.payee import PayeeChannel
from speedpay.channel.receipt import NO_INFOHASH
from speedpay.market.allocator import Demand
from speedpay.market.window import (
    FORGIVEN_BYTES,
    FORGIVEN_DIVISOR,
    TRUST_DIVISOR,
    WINDOW_MAX_BYTES,
    Window,
)
from speedpay.peer.bids import Bids
from speedpay.peer.bucket import Bucket
from speedpay.signing import SigningKey
from speedpay.units import NO_PRICE, ZERO, Amount, Price

#: Inquiries answered a second, for each connection: an answer computes the shares of everybody.
INQUIRIES_PER_S, INQUIRY_BURST = 2.0, 8.0
#: Receipts signed a second, likewise: each costs a signature.
RECEIPTS_PER_S, RECEIPT_BURST = 1.0, 4.0


@dataclass(slots=True)
class Buying:
    """One connection as a buyer.

    ``taken``: its bid was at or above the ask when it was made, which binds us while the bid holds.
    ``billing``: (number of our message, on): from which of our messages on served bytes are billed, or
    not. ``held``: the buyer asked for the pause. ``ended``: channels that ended on this connection, with
    the total held and the bytes billed. ``billed_at``: the price of the newest block on the bill.
    ``infohash``: 20 bytes, of what is sold. ``sent_bytes``: payload that left so far, billed or not, and
    ``allowed``: the total of that at which the native side withholds. ``carried``: bytes that earlier
    connections left unpaid and that are on this one's bill.
    """

    connection: int
    key: SigningKey
    place: str
    state: State = State.FREE
    ask_until: int = 0
    wants: bool = False
    bids: Bids = field(default_factory=list)
    bid_until: float = 0.0
    channel: PayeeChannel | None = None
    window: Window = field(default_factory=Window)
    billing: list[tuple[int, bool]] = field(default_factory=list)
    withheld: bool = False
    taken: bool = False
    held: bool = False
    ended: dict[bytes, tuple[Amount, int]] = field(default_factory=dict)
    billed_at: Price = NO_PRICE
    inquiries: Bucket = field(
        default_factory=lambda: Bucket(INQUIRIES_PER_S, INQUIRY_BURST, INQUIRY_BURST)
    )
    receipts: Bucket = field(
        default_factory=lambda: Bucket(RECEIPTS_PER_S, RECEIPT_BURST, RECEIPT_BURST)
    )
    infohash: bytes = NO_INFOHASH
    sent_bytes: int = 0
    allowed: int | None = None
    carried: int = 0

    @property
    def price(self) -> Price:
        return self.bids[-1][1] if self.bids else NO_PRICE

    @property
    def weighed(self) -> Price:
        """What the upload is divided by: the bid, or what is really billed where bids evade that."""
        return (
            min(self.price, self.billed_at) if self.window.is_underbid(self.price) else self.price
        )

    @property
    def judged(self) -> Price:
        """What the window is measured by: a bid that is raised widens it for what is billed at that bid."""
        return min(self.price, self.billed_at) if self.billed_at else self.price

    @property
    def escrow_left(self) -> Amount:
        if self.channel is None:
            return ZERO
        return self.channel.statement.escrow - self.channel.accepted

    @property
    def unpaid_bytes(self) -> int:
        """Less an eighth of what was paid for, which is trust that was earned: a fast buyer has that much on
        its way to it. What it says of refused bytes does not count, as nobody can check it."""
        unpaid = self.window.unpaid_bytes(self.carried)
        paid = self.window.billed_bytes + self.carried - unpaid
        return max(0, unpaid - paid // TRUST_DIVISOR)

    def demand(self, price: Price) -> Demand:
        return Demand(self.connection, price, self.place)

    def room_bytes(self, left: Amount) -> int | None:
        """How many more may leave before the window is full; None where that is not to be enforced. ``left``:
        what may still be owed.

        Beyond the first 4 MiB the window is trust that was paid for, and its owner may take a few
        milliseconds of the line more before we look.
        """
        if self.state is not State.ACTIVE or self.window.size_bytes >= WINDOW_MAX_BYTES:
            return None
        return self.window.room_bytes(self.judged, left) if self.price else None

    def uses(self, channel: bytes) -> bool:
        return self.channel is not None and self.channel.statement.channel == channel

    def bills(self, sent_count: int) -> bool:
        """Whether a block enqueued after that many of our messages is billed."""
        while len(self.billing) > 1 and self.billing[1][0] <= sent_count:
            del self.billing[0]
        return bool(self.billing) and self.billing[0][0] <= sent_count and self.billing[0][1]


@dataclass(frozen=True, slots=True)
class Past:
    """What a channel left unpaid (µtok·byte/MiB, and in bytes) on connections that ended, of how many billed
    bytes."""

    unpaid: int = 0
    billed_bytes: int = 0
    unpaid_bytes: int = 0

    def is_too_much(self) -> bool:
        """More than what is forgiven anyway: else each reconnect would be good for one more window."""
        forgiven = max(FORGIVEN_BYTES, self.billed_bytes // FORGIVEN_DIVISOR)
        return self.unpaid_bytes > forgiven

    def claimed(self, value: int) -> tuple[Past, int]:
        """Less what its payer says that it signed, and will send; and how many bytes that is."""
        part = min(value, self.unpaid)
        back = self.unpaid_bytes * part // self.unpaid if self.unpaid else 0
        return Past(self.unpaid - part, self.billed_bytes, self.unpaid_bytes - back), back
