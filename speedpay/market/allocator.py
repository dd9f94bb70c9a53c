"""Who gets which share of a seeder's upload.

A guaranteed free pool goes to those who do not pay, equally; the rest to payers in proportion to the
price they committed to. Nothing is left idle: where only one kind of peer wants data, it gets all.
libtorrent divides an upload limit by integer weights 1 … 255, so shares end as such weights, rounded in
favour of the free pool.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from speedpay.units import Price, Share

MAX_WEIGHT = 255
DEFAULT_FREE_POOL = Share(250_000)
MIN_FREE_POOL = Share(100_000)


@dataclass(frozen=True, slots=True)
class Demand:
    """One connection that wants data. ``price`` is zero for everyone in the free lane: ordinary peers,
    bids below the ask, payers whose vouchers lag."""

    connection: int
    price: Price


def shares(demands: Sequence[Demand], free_pool: Share) -> Mapping[int, Fraction]:
    """connection → its due share of the upload; they add up to one unless nobody wants anything."""
    payers = [demand for demand in demands if demand.price]
    free = [demand for demand in demands if not demand.price]
    pool = _pool(free_pool)
    for_free = pool if payers and free else Fraction(1 if free else 0)
    total = sum(demand.price.utok_per_mib for demand in payers)
    due = {demand.connection: for_free / len(free) for demand in free}
    for demand in payers:
        due[demand.connection] = (1 - for_free) * Fraction(demand.price.utok_per_mib, total)
    return due


def weights(demands: Sequence[Demand], free_pool: Share) -> Mapping[int, int]:
    """connection → weight 1 … 255, proportional to ``shares``; free peers rounded up, payers down."""
    due = shares(demands, free_pool)
    if not due:
        return {}
    top = max(due.values())
    found = {
        demand.connection: max(1, int(due[demand.connection] * MAX_WEIGHT / top))
        for demand in demands
    }
    free = [demand.connection for demand in demands if not demand.price]
    if free and len(free) < len(demands):
        # Payers that are owed less than the smallest weight get it all the same, and many of them
        # would eat up the free pool: so free peers are weighed against what payers got.
        pool = _pool(free_pool)
        paid = sum(found.values()) - sum(found[connection] for connection in free)
        least = math.ceil(paid * pool / (1 - pool) / len(free)) if pool < 1 else MAX_WEIGHT
        for connection in free:
            found[connection] = min(MAX_WEIGHT, max(found[connection], least))
    return found


def _pool(free_pool: Share) -> Fraction:
    return Fraction(max(free_pool, MIN_FREE_POOL).ppm, 1_000_000)
