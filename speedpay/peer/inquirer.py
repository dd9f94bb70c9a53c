"""Asking the sellers of one torrent what prices would get there, and what they answered.

An answer costs its sender nothing and binds nobody: it is kept with its time, and whoever uses it holds it
against what was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from speedpay.errors import Malformed
from speedpay.peer.effects import Send
from speedpay.peer.messages import Inquiry, Prospect
from speedpay.units import Price

#: Between two inquiries to one seller, unless the first has been answered.
PATIENCE_S = 5.0
#: Between any two: half of what a seller's rate limit lets through.
INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """``rates``: price → bytes a second. ``load`` and ``uplink`` as in ``Prospect``. ``at``: when it came."""

    rates: dict[Price, int]
    load: int
    uplink: int
    at: float


class Inquirer:
    """``answers``: by connection, the newest. ``now`` is any steady clock in seconds."""

    def __init__(self) -> None:
        self.answers: dict[int, Answer] = {}
        self._asked: dict[int, tuple[Inquiry, float]] = {}
        self._answered: set[int] = set()
        self._next_id = 1

    def ask(self, connection: int, prices: Sequence[Price], now: float) -> list[Send]:
        """Ask about one to eight prices, zero being the free lane; nothing when it is too soon."""
        if connection in self._asked:
            wait = INTERVAL_S if connection in self._answered else PATIENCE_S
            if now - self._asked[connection][1] < wait:
                return []
        inquiry = Inquiry(self._next_id, tuple(prices))
        self._next_id += 1
        self._asked[connection] = inquiry, now
        self._answered.discard(connection)
        return [Send(connection, inquiry)]

    def heard(self, connection: int, prospect: Prospect, now: float) -> None:
        """Raises Malformed when its rates do not fit the prices; what answers nothing is ignored."""
        if connection in self._answered or connection not in self._asked:
            return
        inquiry, _ = self._asked[connection]
        if prospect.inquiry_id != inquiry.inquiry_id:
            return
        if len(prospect.rates) != len(inquiry.prices):
            raise Malformed("must have one rate for each price", field="prospect.rates")
        self._answered.add(connection)
        rates = dict(zip(inquiry.prices, prospect.rates, strict=True))
        self.answers[connection] = Answer(rates, prospect.load, prospect.uplink, now)

    def gone(self, connection: int) -> None:
        self.answers.pop(connection, None)
        self._asked.pop(connection, None)
        self._answered.discard(connection)
