"""How much the connections of one place may leave unpaid, all identities together.

The window (``window.py``) bounds what one identity takes. Identities are free, and each opens a channel of
a few µtok; addresses are not. Who is above the bound is served in the free lane until it has worn off.
"""

from __future__ import annotations

from speedpay.units import MIB

#: Sixteen first windows, as much as one buyer is forgiven. Honest buyers leave less than a unit.
ALLOWED_BYTES = MIB
#: What was left unpaid wears off evenly in an hour: the next one of a shared address is somebody else.
WEARS_OFF_S = 3600.0
#: Places that are remembered; beyond it those that owe longest are forgotten.
MAX_PLACES = 4096


class Debts:
    """By place (``place.py``). Times are seconds on the caller's clock."""

    def __init__(self) -> None:
        self._owed: dict[str, tuple[float, int]] = {}

    def left(self, place: str, byte_count: int, now: float) -> None:
        """A connection ended that owed so many billed bytes."""
        if byte_count <= 0:
            return
        owed = self.owed(place, now) + byte_count
        self._owed.pop(place, None)
        self._owed[place] = now, owed
        if len(self._owed) > MAX_PLACES:
            del self._owed[next(iter(self._owed))]

    def paid(self, place: str, byte_count: int, now: float) -> None:
        """It came back, and what it owed is on its bill again."""
        if place in self._owed:
            self._owed[place] = now, max(0, self.owed(place, now) - byte_count)

    def owed(self, place: str, now: float) -> int:
        since, owed = self._owed.get(place, (now, 0))
        return max(0, owed - int((now - since) / WEARS_OFF_S * ALLOWED_BYTES))

    def is_too_much(self, place: str, now: float) -> bool:
        return self.owed(place, now) >= ALLOWED_BYTES
