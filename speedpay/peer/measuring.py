"""Measuring what paying is worth while a download runs: whom the buyer asks to pause, and what came then.

The figures and their rules are in ``market/gain.py``; this follows the sales. It sends nothing: the buyer
asks the seller that ``holds`` names to pause, as it does when the user pauses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from speedpay.channel.life import State
from speedpay.market.gain import OVERHEAD_S, Control, Gain, Paid, Rules, Sample, alike
from speedpay.peer.inquirer import Answer
from speedpay.peer.sale import Sale

#: A slice that the seller has not confirmed by then is given up.
_PATIENCE_S = 2.0


@dataclass(slots=True)
class _Slice:
    """``part``: of the download that this seller brought. ``counted_from``: when, and its bytes by then."""

    connection: int
    length: float
    began: float
    paid: int
    part: float
    confirmed_at: float | None = None
    counted_from: tuple[float, int] | None = None


class Measuring:
    """``now`` is any steady clock in seconds."""

    def __init__(self, rules: Rules) -> None:
        self.control = Control(rules)
        self._rules = rules
        self._slice: _Slice | None = None
        self._began: float | None = None
        self._compared_at = -math.inf
        self._useless_until = -math.inf

    def holds(self, connection: int) -> bool:
        """Whether this seller is to serve for free for the moment."""
        return self._slice is not None and self._slice.connection == connection

    def gain(self) -> Gain | None:
        return self.control.estimate()

    def is_useless(self, now: float) -> bool:
        """Paying made no difference, and it is too early to try again."""
        return now < self._useless_until

    def tick(
        self, sales: Mapping[int, Sale], answers: Mapping[int, Answer], remaining_bytes: int, now: float
    ) -> str:  # fmt: skip
        """Begin, follow or end a slice. Returns what the user should know, or nothing."""
        if self._slice is not None:
            self.follow(sales.get(self._slice.connection), now)
        if self.is_useless(now):
            return ""
        whole = sum(sale.rate.at(now) for sale in sales.values())
        paid = [
            Paid(number, rate, min(1.0, rate / max(1, whole)))
            for number, sale in sales.items()
            if sale.state is State.ACTIVE and not sale.asked_pause
            and sale.shade.tried is None and (rate := sale.trail.rate(now))
        ]  # fmt: skip
        if not paid or not whole:
            return ""
        if self._began is None:
            self._began = now
        gain_now = self.control.gain_now(paid, whole)
        if self.control.is_useless(gain_now, now):
            self._useless_until = now + self._rules.again_after_s
            self.control.restart()
            return f"paying makes no difference here ({gain_now:.2f}x): the download goes on free"
        self._compare(paid, sales, answers, now)
        if self._slice is None:
            chosen = self.control.next_slice(paid, now - self._began, remaining_bytes / whole, now)
            if chosen is not None:
                one = next(one for one in paid if one.seller == chosen[0])
                self._slice = _Slice(one.seller, chosen[1], now, one.rate, one.part)
        return ""

    def follow(self, sale: Sale | None, now: float) -> None:
        """The slice under way goes on, or ends; also called as blocks arrive: ticks are too slow."""
        current = self._slice
        if current is None:
            return
        took = now - current.began
        late = took > current.length + _PATIENCE_S
        if sale is None or sale.state not in (State.ACTIVE, State.PAUSED) or late:
            self.control.cost_s += took * current.part
            self._slice = None
            return
        if sale.state is State.ACTIVE:
            return
        if current.confirmed_at is None:
            current.confirmed_at = now
        since = now - current.confirmed_at
        if current.counted_from is None and since >= self._rules.settle_s:
            current.counted_from = now, sale.trail.total
        if current.counted_from is None or since < current.length:
            return
        at, total = current.counted_from
        free = int((sale.trail.total - total) / (now - at)) if now > at else 0
        sample = Sample(current.connection, current.paid, free, now)
        self.control.sampled(sample, current.part, took + OVERHEAD_S)
        self._slice = None

    def _compare(
        self, paid: list[Paid], sales: Mapping[int, Sale], answers: Mapping[int, Answer], now: float
    ) -> None:
        """Sellers that were never paid show what those with an uplink like theirs would give for nothing."""
        if now - self._compared_at < 4 * self._rules.every_s:
            return
        for number, sale in sales.items():
            rate, told = sale.trail.rate(now), answers.get(number)
            if sale.paid_once or not sale.interested or not rate or told is None:
                continue
            for one in paid:
                other = answers.get(one.seller)
                free = Sample(one.seller, one.rate, rate, now)
                found = alike(free, other.uplink, told.uplink) if other else None
                if found is not None:
                    self.control.sampled(found, 0.0, 0.0)
                    self._compared_at = now
