"""Whom a buyer pays, and who gives up a place or escrow to whom: choices over its sales, nothing done."""

from __future__ import annotations

from collections.abc import Collection

from speedpay.channel.life import State
from speedpay.market.escrow import worth_opening
from speedpay.peer.sale import Sale
from speedpay.units import Amount, MoneyClass

MAX_PAID_CHANNELS = 8
#: A sale that is opening, paid or paused has one of the places.
BUSY = (State.OPENING, State.ACTIVE, State.PAUSED)
PAID = (State.ACTIVE, State.PAUSED)
#: A paid seller has this long to show its rate before a faster unpaid one may take its place.
PROVE_S = 2.0
#: A stopped channel's refund is counted on for this long.
REFUND_S = 10.0


def candidates(
    sales: Collection[Sale], money_class: MoneyClass, left: Amount, remaining_bytes: int, now: float
) -> list[Sale]:
    """Sellers that quoted our price and are not paid yet, the fastest first.

    ``left``: of the allowance; a seller that asks more than that for what remains (or for 1 MiB) is of
    no use.
    """
    ready = [
        sale for sale in sales
        if sale.state is State.PRICED and sale.quoted and sale.interested
        and not sale.retired and not sale.waiting
        and now >= sale.retry_at and sale.ask is not None
        and money_class in sale.ask.classes and sale.price >= sale.ask.price
        and worth_opening(left, sale.ask.price, remaining_bytes)
    ]  # fmt: skip
    return sorted(ready, key=lambda sale: -sale.rate.at(now))


def places(sales: Collection[Sale]) -> int:
    """How many more sellers may be paid."""
    return max(0, MAX_PAID_CHANNELS - sum(sale.state in BUSY for sale in sales))


def to_make_room(sales: Collection[Sale], better: Sale, now: float) -> Sale | None:
    """All places are taken: who gives one up to an unpaid seller that is twice as fast.

    Being fast without payment says more than being slow with it; only once the paid one had time to show
    what it can.
    """
    proven = [
        sale for sale in sales
        if sale.state is State.ACTIVE and not sale.waiting and now - sale.active_since > PROVE_S
    ]  # fmt: skip
    slowest = min(proven, key=lambda sale: sale.rate.at(now), default=None)
    if slowest is None or better.rate.at(now) <= 2 * slowest.rate.at(now):
        return None
    return slowest


def coming_back(sales: Collection[Sale], now: float) -> int:
    """µtok that stopped sellers are about to give back."""
    return sum(
        sale.channel.left.utok for sale in sales
        if sale.state is State.STOPPED and sale.channel and now - sale.stopped_at < REFUND_S
    )  # fmt: skip


def to_reclaim(sales: Collection[Sale], starved: Sale, missing: Amount, now: float) -> list[Sale]:
    """Whose escrow a starved seller gets: the slowest ones', until ``missing`` is covered."""
    slower = [
        sale for sale in sales
        if sale is not starved and sale.state in PAID and not sale.waiting
        and sale.rate.at(now) < starved.rate.at(now)
    ]  # fmt: skip
    chosen: list[Sale] = []
    covered = coming_back(sales, now)
    for sale in sorted(slower, key=lambda sale: sale.rate.at(now)):
        if covered >= missing.utok or sale.channel is None:
            break
        covered += sale.channel.left.utok
        chosen.append(sale)
    return chosen


def expected_bytes(sales: Collection[Sale], sale: Sale, remaining_bytes: int, now: float) -> int:
    """This seller's part of the bytes that remain, if all paid sellers go on at their rates."""
    rates = sum(other.rate.at(now) for other in sales if other.state in BUSY)
    return remaining_bytes * sale.rate.at(now) // rates if rates else remaining_bytes
