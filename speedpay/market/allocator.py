"""Who gets which share of a seeder's upload.

A guaranteed free pool goes to those who do not pay, equally; the rest to payers in proportion to the
price they committed to. Nothing is left idle: where only one kind of peer wants data, it gets all.
Connections of one *place* (``place.py``) count once among payers, with the highest of their prices, and
once among those who do not pay: opening more of them moves nothing. libtorrent divides an upload limit by
integer weights 1 … 255, so shares end as such weights, rounded in favour of the free pool.
``docs/market.md`` compares this rule with others and says where it ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from fractions import Fraction

from speedpay.units import Price, Share

MAX_WEIGHT = CONTROL_WEIGHT = 255
_SMALLEST_TOP = 16
_GOOD_ENOUGH = 0.02
DEFAULT_FREE_POOL = Share(250_000)
MIN_FREE_POOL = Share(100_000)


@dataclass(frozen=True, slots=True)
class Demand:
    """One connection that wants data. ``price`` is zero for everyone in the free lane: ordinary peers,
    bids below the ask, payers whose vouchers lag. ``place``: what ``place_of`` says of its address."""

    connection: int
    price: Price
    place: str


def shares(demands: Sequence[Demand], free_pool: Share) -> Mapping[int, Fraction]:
    """connection → its due share of the upload; they add up to one unless nobody wants anything.

    A place's payers divide its share by their prices, its others divide theirs equally.
    """
    paying = _by_place(demand for demand in demands if demand.price)
    free = _by_place(demand for demand in demands if not demand.price)
    for_free = _pool(free_pool) if paying and free else Fraction(1 if free else 0)
    for_payers = 1 - for_free
    total = sum(max(_prices(members)) for members in paying.values())
    due: dict[int, Fraction] = {}
    for members in free.values():
        count = len(free) * len(members)
        each = Fraction(for_free.numerator, for_free.denominator * count)
        due |= {demand.connection: each for demand in members}
    for members in paying.values():
        prices = _prices(members)
        numerator = for_payers.numerator * max(prices)
        denominator = for_payers.denominator * total * sum(prices)
        for demand, price in zip(members, prices, strict=True):
            due[demand.connection] = Fraction(numerator * price, denominator)
    return due


def share_of(asked: Demand, others: Iterable[Demand], free_pool: Share) -> Fraction:
    """What ``shares`` gives to one beside ``others``, at a small part of the cost."""
    highest: dict[str, int] = {}
    free: set[str] = set()
    count = total = 0
    for demand in (asked, *others):
        place, price = demand.place, demand.price.utok_per_mib
        if place == asked.place:
            count, total = count + (not price), total + price
        if not price:
            free.add(place)
        elif price > highest.get(place, 0):
            highest[place] = price
    for_free = _pool(free_pool) if highest and free else Fraction(1 if free else 0)
    if not asked.price:
        return for_free / (len(free) * count)
    mine = asked.price.utok_per_mib * highest[asked.place]
    return (1 - for_free) * Fraction(mine, sum(highest.values()) * total)


def weights(demands: Sequence[Demand], free_pool: Share) -> Mapping[int, int]:
    """connection → weight 1 … 255, proportional to ``shares`` and never less for the free pool.

    The smallest weights that are within 2 % of the shares are taken, or the closest: what carries no
    payload (requests, vouchers) has ``CONTROL_WEIGHT`` and must not wait behind a large sum of others.
    """
    due = shares(demands, free_pool)
    if not due:
        return {}
    scale = math.lcm(*(share.denominator for share in due.values()))
    parts = {connection: int(share * scale) for connection, share in due.items()}
    free = {demand.connection for demand in demands if not demand.price}
    best, least_error = parts, math.inf
    for top in range(_SMALLEST_TOP, MAX_WEIGHT + 1):
        found = _scaled(parts, free, top)
        error = _worst_error(found, parts, scale)
        if error < least_error:
            best, least_error = found, error
        if error <= _GOOD_ENOUGH:
            break
    return best


def _by_place(demands: Iterable[Demand]) -> dict[str, list[Demand]]:
    found: dict[str, list[Demand]] = {}
    for demand in demands:
        found.setdefault(demand.place, []).append(demand)
    return found


def _prices(members: Iterable[Demand]) -> list[int]:
    return [demand.price.utok_per_mib for demand in members]


def _scaled(parts: Mapping[int, int], free: Set[int], top: int) -> dict[int, int]:
    largest = max(parts.values())
    found = {connection: max(1, part * top // largest) for connection, part in parts.items()}
    of_payers = sum(part for connection, part in parts.items() if connection not in free)
    # Payers that are owed less than the smallest weight get it all the same, and many of them
    # would eat up the free pool: so free peers are weighed against what payers got.
    paid = sum(weight for connection, weight in found.items() if connection not in free)
    for connection in free if paid else ():
        least = -(-paid * parts[connection] // of_payers) if of_payers else MAX_WEIGHT
        found[connection] = min(MAX_WEIGHT, max(found[connection], least))
    return found


def _worst_error(found: Mapping[int, int], parts: Mapping[int, int], scale: int) -> float:
    total = sum(found.values())
    return max(
        abs(weight * scale / (parts[connection] * total) - 1) if parts[connection] else 0.0
        for connection, weight in found.items()
    )


def _pool(free_pool: Share) -> Fraction:
    return Fraction(max(free_pool, MIN_FREE_POOL).ppm, 1_000_000)
