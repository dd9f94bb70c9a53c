"""A token bucket: so many a second, with a burst."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """``level``: what may be taken at once; it refills by ``rate`` a second up to ``burst``."""

    rate: float
    level: float
    burst: float
    at: float = 0.0

    def take(self, now: float) -> bool:
        self.level = min(self.burst, self.level + max(0.0, now - self.at) * self.rate)
        self.at = max(self.at, now)
        if self.level < 1.0:
            return False
        self.level -= 1.0
        return True
