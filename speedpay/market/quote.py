"""What a seller answers to a bid: the share that it would get now."""

from __future__ import annotations

from collections.abc import Sequence

from speedpay.market.allocator import Demand, shares
from speedpay.units import Share


def expected_share(demands: Sequence[Demand], asked: Demand, free_pool: Share) -> Share:
    """The part of the upload that ``asked`` would get, in place of what its connection demands now; the
    others unchanged."""
    others = [demand for demand in demands if demand.connection != asked.connection]
    due = shares([*others, asked], free_pool)
    return Share(int(due[asked.connection] * 1_000_000))
