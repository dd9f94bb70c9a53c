"""How often one address or account may ask: token buckets in memory, bounded in number."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from speedpay.errors import OverLimit


@dataclass(frozen=True, slots=True)
class Rate:
    per_second: float
    burst: float


#: Many users can share one address; one account belongs to one user.
PER_ADDRESS = Rate(50.0, 200.0)
PER_ACCOUNT = Rate(20.0, 100.0)
#: Those who asked longest ago are forgotten; they have a full bucket again by then.
_MAX_BUCKETS = 20_000


class Buckets:
    """``clock``: monotonic seconds."""

    def __init__(self, rate: Rate, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, who: str, field: str) -> None:
        """Raises OverLimit when ``who`` has asked too often."""
        now = self._clock()
        with self._lock:
            left, since = self._left.pop(who, (self._rate.burst, now))
            left = min(self._rate.burst, left + (now - since) * self._rate.per_second)
            self._left[who] = (max(0.0, left - 1.0) if left >= 1.0 else left, now)
            if len(self._left) > _MAX_BUCKETS:
                self._left.popitem(last=False)
        if left < 1.0:
            raise OverLimit("asks too often", field=field, hint="wait a second, then ask again")


def is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return parsed.is_loopback
