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

    def take(self, who: str, field: str, cost: float = 1.0) -> None:
        """Raises OverLimit when ``who`` has asked too often."""
        now = self._clock()
        with self._lock:
            left, since = self._left.pop(who, (self._rate.burst, now))
            left = min(self._rate.burst, left + (now - since) * self._rate.per_second)
            self._left[who] = (left - cost if left >= cost else left, now)
            if len(self._left) > _MAX_BUCKETS:
                self._left.popitem(last=False)
        if left < cost:
            raise OverLimit("asks too often: wait a second, then ask again", field=field)


def is_loopback(address: str) -> bool:
    return _parsed(address).is_loopback


def bucket(address: str) -> str:
    """Who counts as one: an address of IPv4, a /64 of IPv6 (any host has all of one)."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        return parsed.ipv4_mapped
    return parsed
