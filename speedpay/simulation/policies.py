"""Ways to divide a seeder's upload: the client's own, and two others to compare it with.

All three keep the same free pool, so that only the payers' part differs. Only the client's knows places:
the others are taken as they were published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from speedpay.market.allocator import Demand, shares, weights
from speedpay.units import Share

_PPM = 1_000_000
#: Shares as whole numbers, where rounding to 1 … 255 is not what is studied.
_FINE = 10**12
#: PropShare's part for peers of which it knows nothing yet (Levin et al., SIGCOMM 2008).
EXPLORATION = Share(200_000)
NOTHING = Share(0)


class Policy(StrEnum):
    """``COMMITTED``: in proportion to the price committed to, by ``market/allocator.py``. ``PAID``: in
    proportion to what was paid in the round before, a fifth kept for everyone alike, as in PropShare with
    money. ``PRIORITY``: the highest price takes all that it can, then the next."""

    COMMITTED = "committed"
    PAID = "paid"
    PRIORITY = "priority"


@dataclass(frozen=True, slots=True)
class Split:
    """How to divide: ``reserved`` of the capacity by the weights ``free``, the rest down the tiers, each
    by its weights; what all these leave goes to ``free`` again."""

    tiers: Sequence[Mapping[int, int]]
    free: Mapping[int, int] = field(default_factory=dict)
    reserved: Share = NOTHING


def split(
    policy: Policy,
    demands: Sequence[Demand],
    paid: Mapping[int, int],
    free_pool: Share,
    rounded: bool,
) -> Split:
    """``paid``: connection → what it paid in the round before, any unit. ``rounded``: the client's
    weights 1 … 255; else its shares as they are before rounding."""
    if not demands:
        return Split(())
    if policy is Policy.COMMITTED:
        if rounded:
            return Split((weights(demands, free_pool),))
        due = shares(demands, free_pool)
        fine = {c: share.numerator * _FINE // share.denominator for c, share in due.items()}
        return Split((fine,))
    free = {demand.connection: 1 for demand in demands if not demand.price}
    payers = [demand for demand in demands if demand.price]
    reserved = free_pool if free and payers else NOTHING
    if policy is Policy.PRIORITY:
        prices = sorted({demand.price for demand in payers}, reverse=True)
        tiers = [{d.connection: 1 for d in payers if d.price == price} for price in prices]
        return Split(tiers, free, reserved)
    return Split((_by_payments(payers, paid),), free, reserved)


def _by_payments(payers: Sequence[Demand], paid: Mapping[int, int]) -> dict[int, int]:
    total = sum(paid.get(demand.connection, 0) for demand in payers)
    if not total:
        return {demand.connection: 1 for demand in payers}
    alike = total * EXPLORATION.ppm
    known = len(payers) * (_PPM - EXPLORATION.ppm)
    return {d.connection: alike + known * paid.get(d.connection, 0) for d in payers}


def divide(how: Split, rooms: Mapping[int, int], capacity: int) -> dict[int, int]:
    """connection → bytes, of ``capacity`` bytes. ``rooms``: the most that each can take. What one cannot
    take goes to the others, so nothing is left while anybody has room."""
    given = fill(how.free, rooms, capacity * how.reserved.ppm // _PPM)
    left = capacity - sum(given.values())
    for tier in how.tiers:
        part = fill(tier, rooms, left)
        left -= sum(part.values())
        given |= part
    if left and how.free:
        more = fill(how.free, {c: rooms[c] - given[c] for c in how.free}, left)
        given |= {connection: given[connection] + extra for connection, extra in more.items()}
    return given


def fill(weights: Mapping[int, int], rooms: Mapping[int, int], capacity: int) -> dict[int, int]:
    """Weighted max-min: in proportion to the weights, but nobody gets more than its room."""
    given: dict[int, int] = {}
    total = sum(weights.values())
    # Who is full first in proportion to its weight is served first: one pass is enough.
    for connection in sorted(weights, key=lambda c: rooms[c] / max(weights[c], 1)):
        weight = weights[connection]
        part = min(rooms[connection], capacity * weight // total) if total else 0
        given[connection] = part
        capacity -= part
        total -= weight
    return given
