"""How many peers a seeder serves at a time, and with which weights.

libtorrent serves the peers of the largest weights, as many as it has slots: few on a slow uplink. Payers
would take them all, and no weight gives a choked peer anything. So each payer brings a slot of its own, and
those of the free lane stay the free lane's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from speedpay.market.allocator import Demand, weights
from speedpay.units import Share

#: The pool is a floor, and what peers get wavers about what they are due by a percent or so.
_MARGIN = Fraction(102, 100)


@dataclass(frozen=True, slots=True)
class Service:
    """``weights``: connection → 1 … 255, of all who want data. ``paying``, ``free``: slots."""

    weights: Mapping[int, int]
    paying: int
    free: int


def serve(demands: Sequence[Demand], free_pool: Share, free_slots: int) -> Service:
    """``free_slots``: how many of the free lane are served at a time; they divide all of its pool.

    Where a free peer's weight is a payer's or more, libtorrent would serve that one first; then everybody
    has a slot, and the weights alone decide.
    """
    free_pool = Share(min(int(free_pool.ppm * _MARGIN), 1_000_000))
    payers = [demand for demand in demands if demand.price]
    waiting = _one_of_each_place_first([demand for demand in demands if not demand.price])
    found = _weights(payers, waiting, free_pool, free_slots)
    by_price = {demand.connection for demand in payers}
    least = min((found[connection] for connection in by_price), default=0)
    if any(weight >= least for connection, weight in found.items() if connection not in by_price):
        free_slots = max(free_slots, len(waiting) if payers else 0)
        found = _weights(payers, waiting, free_pool, free_slots)
    return Service(found, len(payers), free_slots)


def _weights(
    payers: Sequence[Demand], waiting: Sequence[Demand], free_pool: Share, free_slots: int
) -> dict[int, int]:
    served, others = waiting[:free_slots], waiting[free_slots:]
    found = dict(weights([*payers, *served], free_pool))
    # Whom libtorrent serves of them changes all the time: whoever it is has the same weight.
    of_free = max((found[demand.connection] for demand in served), default=1)
    # But more of a place that has slots weigh what those do, or they would take the others' part.
    of_place = {demand.place: found[demand.connection] for demand in served}
    return found | {demand.connection: of_place.get(demand.place, of_free) for demand in others}


def _one_of_each_place_first(demands: Sequence[Demand]) -> list[Demand]:
    seen: Counter[str] = Counter()
    ranked = []
    for demand in demands:
        ranked.append((seen[demand.place], demand))
        seen[demand.place] += 1
    return [demand for _, demand in sorted(ranked, key=lambda pair: pair[0])]
