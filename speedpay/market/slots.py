"""The weights of all who want data, where a seeder serves only some of the free lane at a time.

libtorrent's choker serves few peers on a slow uplink. Payers would take them all, and no weight gives a
choked peer anything. So payers are served beside its slots, those are the free lane's, and whoever of it
has one divides all of the free pool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction

from speedpay.market.allocator import Demand, weights
from speedpay.units import Share

#: The pool is a floor, and what peers get wavers about what they are due by a percent or so.
_MARGIN = Fraction(102, 100)


def serve(demands: Sequence[Demand], free_pool: Share, free_slots: int) -> Mapping[int, int]:
    """connection → weight, 1 … 255. ``free_slots``: how many of the free lane are served at a time; they
    divide all of its pool."""
    free_pool = Share(min(int(free_pool.ppm * _MARGIN), 1_000_000))
    payers = [demand for demand in demands if demand.price]
    waiting = _one_of_each_place_first([demand for demand in demands if not demand.price])
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
