"""What a buyer knows of one peer as a seller: the state of one sale."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from speedpay.channel.life import State
from speedpay.channel.payer import PayerChannel
from speedpay.market.bidder import Bidding
from speedpay.market.shading import Shade
from speedpay.peer.bids import Bids
from speedpay.peer.bucket import Bucket
from speedpay.peer.messages import Ask
from speedpay.signing import SigningKey
from speedpay.units import NO_PRICE, ZERO, Amount, Price

_RATE_WINDOW_S = 1.0
_RATE_MIN_S = 0.2
_LOOK_S, _LOOKS = 0.5, 9
_TRAIL_MIN_S = 1.5


@dataclass(slots=True)
class Rate:
    """Bytes a second, over windows of one second."""

    last: int = 0
    byte_count: int = 0
    since: float | None = None

    def count(self, byte_count: int, now: float) -> None:
        if self.since is None:
            self.since = now
        elapsed = now - self.since
        if elapsed > _RATE_WINDOW_S:
            self.last = int(self.byte_count / elapsed)
            self.byte_count, self.since = 0, now
        self.byte_count += byte_count

    def at(self, now: float) -> int:
        """The rate now: the last full window's, or this one's where it already shows more or an end."""
        elapsed = now - self.since if self.since is not None else 0.0
        if elapsed < _RATE_MIN_S:
            return self.last
        fresh = int(self.byte_count / elapsed)
        return fresh if elapsed > 2 * _RATE_WINDOW_S else max(self.last, fresh)


@dataclass(slots=True)
class Trail:
    """The total of bytes, looked at twice a second: the rate of the last four seconds, begun anew whenever
    the sale begins, is paused or goes on."""

    total: int = 0
    looks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_LOOKS))

    def look(self, now: float) -> None:
        if not self.looks or now - self.looks[-1][0] >= _LOOK_S:
            self.looks.append((now, self.total))

    def rate(self, now: float) -> int | None:
        """Bytes a second; None while there is less than a second and a half of them."""
        if not self.looks or now - self.looks[0][0] < _TRAIL_MIN_S:
            return None
        at, total = self.looks[0]
        return int((self.total - total) / (now - at))


#: Vouchers a second at most: half of what a seller's rate limit lets through, so that none is lost.
VOUCHERS_PER_S, VOUCHER_BURST = 200.0, 400.0


def _pace() -> Bucket:
    return Bucket(VOUCHERS_PER_S, VOUCHER_BURST, VOUCHER_BURST)


@dataclass(slots=True)
class Sale:
    """``price`` is the bid in force with this peer; ``bids`` has those that requests in flight refer to.

    ``window``: the unpaid bytes that the peer allows, as it last said. ``base``: the channel's total when
    its account began. ``waiting``: a request to the ledger is under way. ``retired``: for the rest of this
    connection the peer stays in the free lane. ``shown_at``: when the channel was seen to be shown and not
    yet acknowledged. ``asked_pause``: we asked the seller to pause,
    at ``pause_at``. ``reported``: refused bytes it was told
    of. ``past``: channels that ended on this connection, about which late words may still arrive.
    ``asked_at``: when it was first asked what it would give. ``paid_once``: it has been paid on this
    connection. ``overstated``: it gave less than half of what it had named.
    """

    connection: int
    state: State = State.FREE
    interested: bool = False
    ask: Ask | None = None
    price: Price = NO_PRICE
    bid_id: int = 0
    bid_at: float = 0.0
    bids: Bids = field(default_factory=list)
    quoted: bool = False
    channel: PayerChannel | None = None
    key: SigningKey | None = None
    window: int = 0
    base: Amount = ZERO
    billing: bool = False
    billed_bytes: int = 0
    waiting: bool = False
    retired: bool = False
    retry_at: float = 0.0
    paid_at: float = 0.0
    active_since: float = 0.0
    shown_at: float | None = None
    stopped_at: float = -math.inf
    asked_pause: bool = False
    pause_at: float = -math.inf
    reported: int = 0
    past: list[bytes] = field(default_factory=list)
    pace: Bucket = field(default_factory=_pace)
    rate: Rate = field(default_factory=Rate)
    trail: Trail = field(default_factory=Trail)
    bidding: Bidding = field(default_factory=Bidding)
    shade: Shade = field(default_factory=Shade)
    asked_at: float | None = None
    paid_once: bool = False
    overstated: bool = False

    def count(self, byte_count: int, now: float) -> None:
        self.rate.count(byte_count, now)
        self.trail.total += byte_count
