"""What a user may spend in a day and in a month, over all downloads: the rule, without the books.

Only what is signed counts; escrow is locked money, not spent money. A cap is never passed by one µtok, so
paying rests a little before it: what sellers have on the way must still be paid.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from speedpay.units import MAX_UTOK, ZERO, Amount


class Span(StrEnum):
    """UTC day and UTC month."""

    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Standing:
    """The user's caps at one moment, and what was signed under them.

    ``caps``: a span without a cap is missing. ``spent``: signed in this day and this month. ``aside``: what
    other processes have set aside for bytes that are on their way to them.
    """

    caps: dict[Span, Amount]
    spent: dict[Span, Amount]
    aside: Amount = ZERO

    def left_of(self, span: Span) -> Amount | None:
        """What this cap still lets be signed, by all processes together; None without a cap."""
        cap = self.caps.get(span)
        return None if cap is None else cap.minus_or_zero(self.spent[span])

    @property
    def left(self) -> Amount:
        """What all caps together still let be signed; 2^63−1 µtok without any."""
        found = [left for span in Span if (left := self.left_of(span)) is not None]
        return min(found, default=Amount(MAX_UTOK))

    @property
    def available(self) -> Amount:
        """What this process may sign: never what another one has set aside."""
        return self.left.minus_or_zero(self.aside)

    @property
    def nearest(self) -> Span | None:
        """The cap that is reached first."""
        found = [(left, span) for span in Span if (left := self.left_of(span)) is not None]
        return min(found, default=(ZERO, None), key=lambda pair: pair[0])[1]


@dataclass(frozen=True, slots=True)
class Rest:
    """Whether paying rests because a cap is near. ``need``: what was wanted when it began to.

    It ends once twice that is there: a new day or month, a raised cap, or another process that gave back
    what it had set aside. What is left of a cap only shrinks until then, so paying does not flap.
    """

    need: Amount | None = None

    def at(self, available: Amount, exposure: Amount) -> Rest:
        """``exposure``: what sellers may yet have to be paid if they are paused now."""
        if self.need is None:
            return Rest(exposure) if available < exposure or not available else self
        enough = available.utok >= max(1, 2 * self.need.utok, exposure.utok)
        return Rest() if enough else self

    def __bool__(self) -> bool:
        return self.need is not None
