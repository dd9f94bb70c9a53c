"""Whom a buyer pays, and who gives up a place or escrow to whom: choices over its sales, nothing done."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from speedpay.channel.life import State
from speedpay.market.escrow import worth_opening
from speedpay.market.explore import EXPLORE_DIVISOR, EXPLORE_S, is_better, pick, promised, worth
from speedpay.peer.inquirer import Answer
from speedpay.peer.sale import Sale
from speedpay.units import Amount, MoneyClass, Price

MAX_PAID_CHANNELS = 8
#: A sale that is opening, paid or paused has one of the places.
BUSY = (State.OPENING, State.ACTIVE, State.PAUSED)
PAID = (State.ACTIVE, State.PAUSED)
#: A paid seller has this long to show its rate before a faster unpaid one may take its place.
PROVE_S = 2.0
#: A seller that is tried has this long in all, opening its channel included.
TRIAL_S = 10.0
#: A stopped channel's refund is counted on for this long.
REFUND_S = 10.0


@dataclass(frozen=True, slots=True)
class View:
    """What is known of sellers at one moment: ``maximum`` is the formula's price, ``answers`` what they said
    by connection."""

    maximum: Price
    answers: Mapping[int, Answer]
    now: float

    def rate(self, sale: Sale) -> int:
        """Bytes a second: as measured, or as promised where the seller had no time to show it yet."""
        measured, told = sale.rate.at(self.now), self.answers.get(sale.connection)
        proven = sale.state in PAID and self.now - sale.active_since > PROVE_S
        if proven or told is None or sale.overstated:
            return measured
        said = min(promised(told.rates, sale.price or self.maximum), told.uplink)
        return max(measured, said)

    def worth(self, sale: Sale) -> int:
        return worth(self.rate(sale), sale.price, self.maximum)


def candidates(
    sales: Collection[Sale], money_class: MoneyClass, left: Amount, remaining_bytes: int, view: View
) -> list[Sale]:
    """Sellers that quoted our price and are not paid yet, the most worth first.

    ``left``: of the allowance; a seller that asks more than that for what remains (or for 1 MiB) is of
    no use.
    """
    ready = [
        sale for sale in sales
        if sale.state is State.PRICED and sale.quoted and sale.interested
        and not sale.retired and not sale.waiting
        and view.now >= sale.retry_at and sale.ask is not None
        and money_class in sale.ask.classes and sale.price >= sale.ask.price
        and worth_opening(left, sale.ask.price, remaining_bytes)
    ]  # fmt: skip
    return sorted(ready, key=lambda sale: -view.worth(sale))


def places(sales: Collection[Sale]) -> int:
    """How many more sellers may be paid."""
    return max(0, MAX_PAID_CHANNELS - sum(sale.state in BUSY for sale in sales))


def to_make_room(sales: Collection[Sale], better: Sale, view: View) -> Sale | None:
    """All places are taken: who gives one up to an unpaid seller that is worth twice as much.

    Being fast without payment says more than being slow with it; but who is paid has time to show what it
    can, unless it never promised as much.
    """
    whole = sum(sale.rate.at(view.now) for sale in sales)
    shown = [
        sale for sale in sales
        if sale.state is State.ACTIVE and not sale.waiting
        and (sale.connection in view.answers or view.now - sale.active_since > PROVE_S)
    ]  # fmt: skip
    least = min(shown, key=view.worth, default=None)
    if least is None:
        return None
    gained = view.rate(better) - view.rate(least)
    return least if is_better(view.worth(better), view.worth(least), gained, whole) else None


class Explorer:
    """Tries sellers that nobody knows anything of. ``seed``: which of them, in which order."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._turn = 0
        self._began: float | None = None
        #: (connection tried, connection that gave way, what that was worth, when).
        self._trial: tuple[int, int, int, float] | None = None

    def chosen(self, connection: int) -> bool:
        """Whether this seller is the next to have a place."""
        return self._trial is not None and self._trial[0] == connection

    def takes(self, better: Sale, least: Sale, view: View) -> bool:
        """Whether ``better`` may have the place of ``least`` now. By its mere word it takes none of who has
        shown what it gives but as a trial: else some liars had all places, and the others a minute's rest."""
        if view.now - least.active_since <= PROVE_S:
            return True
        if worth(better.rate.at(view.now), better.price, view.maximum) > view.worth(least):
            return True
        if self._trial is not None:
            return False
        self._trial = better.connection, least.connection, view.worth(least), view.now
        return True

    def gives_way(
        self, sales: Collection[Sale], ready: Collection[Sale], view: View
    ) -> Sale | None:
        """All places are taken: once in a while the least of the paid makes room for one that is unknown."""
        if self._began is None:
            self._began = view.now
        unknown = [s for s in ready if not s.paid_once and s.connection not in view.answers]
        if self._trial is not None or view.now - self._began < EXPLORE_S or not unknown:
            return None
        whole = sum(sale.rate.at(view.now) for sale in sales)
        paid = [
            sale for sale in sales
            if sale.state is State.ACTIVE and not sale.waiting
            and view.now - sale.active_since > PROVE_S
        ]  # fmt: skip
        least = min(paid, key=view.worth, default=None)
        if least is None or least.rate.at(view.now) * EXPLORE_DIVISOR > whole:
            return None
        self._began, self._turn = view.now, self._turn + 1
        found = unknown[pick(len(unknown), self._seed, self._turn)]
        self._trial = found.connection, least.connection, view.worth(least), view.now
        return least

    def failed(
        self, sales: Mapping[int, Sale], view: View
    ) -> tuple[Sale | None, Sale | None] | None:
        """The trial is over and was no good: (who is to stop, who has its place again)."""
        if self._trial is None:
            return None
        connection, gave_way, worth_before, since = self._trial
        tried = sales.get(connection)
        if tried is not None and view.now - since < TRIAL_S:
            if tried.state is not State.ACTIVE or view.now - tried.active_since <= PROVE_S:
                return None
            if view.worth(tried) >= worth_before:
                self._trial = None
                return None
        self._trial = None
        return tried, sales.get(gave_way)


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
