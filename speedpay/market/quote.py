"""What a seller answers to a bid: the share that it would get now."""

from __future__ import annotations

from collections.abc import Sequence

from speedpay.market.allocator import Demand, shares
from speedpay.units import Price, Share


def expected_share(
    demands: Sequence[Demand], connection: int, price: Price, free_pool: Share
) -> Share:
    """The part of the upload that ``connection`` would get at ``price``, the others unchanged."""
    others = [demand for demand in demands if demand.connection != connection]
    due = shares([*others, Demand(connection, price)], free_pool)
    return Share(int(due[connection] * 1_000_000))
