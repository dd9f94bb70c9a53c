"""One promise that does not hold, as fsck and the serving ledger tell of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Broken:
    """``row`` names what does not hold, as one would look it up."""

    invariant: str
    row: str
    why: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.row}: {self.why}"
