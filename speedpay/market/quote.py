"""What a seller answers to a bid, and to somebody who only asks: the share that a price would get now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from speedpay.market.allocator import Demand, share_of
from speedpay.units import NO_PRICE, Price, Share


def expected_share(demands: Sequence[Demand], asked: Demand, free_pool: Share) -> Share:
    """The part of the upload that ``asked`` would get, in place of what its connection demands now; the
    others unchanged."""
    return Share(int(_due(demands, asked, free_pool) * 1_000_000))


def expected_rates(
    demands: Sequence[Demand],
    asked: Demand,
    prices: Sequence[Price],
    ask: Price,
    free_pool: Share,
    uplink: int,
) -> tuple[int, ...]:
    """Bytes a second that ``asked`` would get at each of ``prices``, as ``expected_share`` has it; below
    ``ask`` that is the free lane's. ``uplink`` in bytes a second; 0 is not known, and so is every answer."""
    paid = [price if price >= ask else NO_PRICE for price in prices]
    due = {price: _due(demands, replace(asked, price=price), free_pool) for price in set(paid)}
    return tuple(int(due[price] * uplink) for price in paid)


def _due(demands: Sequence[Demand], asked: Demand, free_pool: Share) -> Fraction:
    others = [demand for demand in demands if demand.connection != asked.connection]
    return share_of(asked, others, free_pool)
