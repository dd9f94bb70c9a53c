"""What to commit to one seller: no more than the speed needs, and never above the formula's maximum.

A seller is asked what it would give at some prices (``ladder``); the lowest at which it still gives 95 % of
what the maximum buys is enough (``enough``). Its answers bind nobody and may be lies, so what is measured has
the last word (``Shade``): a lower price that cost more than a tenth of the rate is taken back and left alone
for a while, and now and then a step down is tried whatever the seller says. The worst that a liar achieves is
that it is paid the maximum, as it would have been without all this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from speedpay.units import NO_PRICE, Price

#: The least that is committed, as a part of the maximum: who bids next to nothing has next to nothing when
#: a competitor comes, until the next bid; and weights are 1 … 255.
LEAST_DIVISOR = 64
MAX_LADDER = 8
ENOUGH_PERCENT = 95
#: A measured rate below this part of the one before takes a lower price back.
KEPT_PERCENT = 90
#: A lower price has this long to show what it buys, which is also the least time between two bids.
CHECK_S = 5.0
#: After a step down that cost speed none is tried for so long, twice as long each time.
HOLD_S, MAX_HOLD_S = 60.0, 480.0
#: Between two steps down that the seller's word does not support; what they showed holds for so long.
PROBE_S, PROVEN_S = 20.0, 60.0
_STEP_NUMERATOR, _STEP_DENOMINATOR = 3, 4

#: Price → bytes a second, by a seller's word.
Rates = Mapping[Price, int]


def least(ask: Price, maximum: Price) -> Price:
    """The lowest price that may be committed: the ask, or a small part of the maximum if that is more."""
    part = -(-maximum.utok_per_mib // LEAST_DIVISOR)
    return min(maximum, max(ask, Price(part)))


def enough(known: Rates, maximum: Price) -> Price | None:
    """The lowest price that buys 95 % of what ``maximum`` does, by the seller's word; None without one."""
    asked = sorted(price for price in known if price and price <= maximum)
    top = known[asked[-1]] if asked else 0
    if not top:
        return None
    found = next(price for price in asked if known[price] * 100 >= top * ENOUGH_PERCENT)
    return maximum if found == asked[-1] else found


def ladder(ask: Price, maximum: Price, known: Rates) -> tuple[Price, ...]:
    """The prices to ask a seller about, ascending, the free lane first.

    Halves of the maximum down to ``least``; once ``known`` says between which two prices the lowest that
    is enough lies, three between those instead.
    """
    low = least(ask, maximum)
    found = enough(known, maximum)
    if found is not None and found > low:
        below = max((price for price in known if low <= price < found), default=low)
        width = found.utok_per_mib - below.utok_per_mib
        between = {Price(below.utok_per_mib + width * part // 4) for part in (0, 1, 2, 3, 4)}
        return tuple(sorted({NO_PRICE, low, maximum} | between))
    rungs, price = {maximum, low}, maximum.utok_per_mib // 2
    while price > low.utok_per_mib and len(rungs) < MAX_LADDER - 1:
        rungs.add(Price(price))
        price //= 2
    return (NO_PRICE, *sorted(rungs))


@dataclass(frozen=True, slots=True)
class Shade:
    """What was learnt about one seller by trying; prices are bids, rates measured bytes a second.

    ``tried``: price and rate before a step down that is being checked, and since when. ``held``: nothing
    lower until ``held_until``. ``proven``: the rate ``proven_rate`` was kept at this price, whatever the
    seller says. ``hold_s``: how long the next failure holds. ``probe_at``: when a step down that the seller's
    word does not support may be tried; None before the first bid.
    """

    tried: tuple[Price, int, float] | None = None
    held: Price = NO_PRICE
    held_until: float = 0.0
    hold_s: float = HOLD_S
    proven: Price | None = None
    proven_rate: int = 0
    proven_until: float = 0.0
    probe_at: float | None = None

    def checked(self, committed: Price, rate: int | None, now: float) -> Shade:
        """With what is known by ``now``. ``rate``: of the last seconds, None when too few were measured."""
        shade = self if now < self.held_until else replace(self, held=NO_PRICE)
        if shade.proven is not None and (
            now >= shade.proven_until or _lost(shade.proven_rate, rate)
        ):
            shade = replace(shade, proven=None)
        if shade.tried is None or rate is None or now - shade.tried[2] < CHECK_S:
            return shade
        before, rate_before, _ = shade.tried
        if _lost(rate_before, rate):
            return replace(
                shade, tried=None, held=before, held_until=now + shade.hold_s, proven=None,
                hold_s=min(MAX_HOLD_S, 2 * shade.hold_s), probe_at=now + shade.hold_s,
            )  # fmt: skip
        return replace(
            shade, tried=None, hold_s=HOLD_S,
            proven=committed, proven_rate=rate_before, proven_until=now + PROVEN_S,
        )  # fmt: skip

    def wanted(
        self, committed: Price, ask: Price, maximum: Price, known: Rates, may_probe: bool, now: float
    ) -> Price:  # fmt: skip
        """The price to commit next; ``committed`` is zero before the first bid.

        ``may_probe``: a step down may be tried now that the seller's word does not support.
        """
        said = enough(known, maximum)
        price = said if said is not None else maximum
        if self.proven is not None:
            price = min(price, self.proven)
        low = max(least(ask, maximum), self.held)
        price = min(maximum, max(price, low))
        as_it_is = price.utok_per_mib * 10 >= committed.utok_per_mib * 9  # no new bid otherwise
        if may_probe and self.is_probe_due(now) and committed and as_it_is:
            step = committed.utok_per_mib * _STEP_NUMERATOR // _STEP_DENOMINATOR
            price = min(price, max(low, Price(step)))
        return price

    def is_probe_due(self, now: float) -> bool:
        return self.tried is None and self.probe_at is not None and now >= self.probe_at

    def sent(self, before: Price, price: Price, rate: int | None, now: float) -> Shade:
        """A bid of ``price`` has followed ``before`` (zero: it is the first), when ``rate`` was measured."""
        if not before:
            return replace(self, probe_at=now + PROBE_S)
        if price < before and rate:
            return replace(self, tried=(before, rate, now), probe_at=now + PROBE_S)
        return replace(self, tried=None)


def _lost(before: int, rate: int | None) -> bool:
    return rate is not None and rate * 100 < before * KEPT_PERCENT
