"""The two lanes of an upload as they are now: who pays, who does not, and what each gets of what leaves.

Bytes count as paid when the seller bills them, and as free otherwise; ordinary BitTorrent peers are free.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from speedpay.client.records import Traffic
from speedpay.market.allocator import MIN_FREE_POOL, Demand
from speedpay.swarm import events
from speedpay.units import NO_PRICE, Price, Share

#: Rates are means over so many whole seconds.
RATE_S = 5


@dataclass(frozen=True, slots=True)
class Lane:
    """``peers`` that want data, bytes a second that leave for them now, bytes since the start."""

    peers: int
    bytes_per_s: int
    byte_count: int


@dataclass(frozen=True, slots=True)
class Uplink:
    """``pool``: the share that is kept for the free lane while both lanes want data. ``lowest`` and
    ``highest``: of the prices that are paid now."""

    paid: Lane
    free: Lane
    pool: Share
    lowest: Price
    highest: Price

    @property
    def free_share(self) -> Share | None:
        """Of what leaves now; None when nothing does."""
        total = self.paid.bytes_per_s + self.free.bytes_per_s
        return Share(self.free.bytes_per_s * 1_000_000 // total) if total else None


class Lanes:
    def __init__(self, now: float) -> None:
        self._torrents: dict[int, bytes] = {}
        self._wanting: set[int] = set()
        self._paid_bytes = self._free_bytes = 0
        #: (second, paid bytes, free bytes), the newest last.
        self._seconds: deque[tuple[int, int, int]] = deque(maxlen=RATE_S + 1)
        self._untold: dict[bytes, Traffic] = {}
        self._taken_at = now

    def event(self, event: events.Event, billed: bool, now: float) -> None:
        """``billed``: whether the bytes of a BlocksSent are on somebody's bill."""
        match event:
            case events.BlocksSent():
                self._sent(event.connection, event.byte_count, billed, int(now))
            case events.InterestChanged():
                (self._wanting.add if event.remote else self._wanting.discard)(event.connection)
            case events.PeerConnected():
                self._torrents[event.connection] = event.infohash
            case events.PeerGone():
                self._torrents.pop(event.connection, None)
                self._wanting.discard(event.connection)
            case _:
                pass

    def uplink(self, demands: Sequence[Demand], pool: Share, now: float) -> Uplink:
        """``demands``: what the seller knows of those who want data; empty where nothing is sold."""
        prices = {one.connection: one.price for one in demands if one.price}
        free_peers = len(self._wanting - prices.keys())
        paid, free = self._rates(int(now))
        return Uplink(
            Lane(len(prices), paid, self._paid_bytes),
            Lane(free_peers, free, self._free_bytes),
            max(pool, MIN_FREE_POOL),
            min(prices.values(), default=NO_PRICE),
            max(prices.values(), default=NO_PRICE),
        )

    def take(self, offered: Iterable[bytes], now: float, utc: int) -> dict[bytes, Traffic]:
        """What left since the last call, by torrent; those ``offered`` count although nothing left."""
        elapsed, self._taken_at = round(now - self._taken_at), now
        untold, self._untold = self._untold, {}
        rows = {infohash: untold.get(infohash, Traffic()) for infohash in offered}
        return {
            infohash: replace(one, seconds=elapsed, began=utc - elapsed)
            for infohash, one in rows.items()
        }

    def _sent(self, connection: int, byte_count: int, billed: bool, second: int) -> None:
        paid, free = (byte_count, 0) if billed else (0, byte_count)
        self._paid_bytes += paid
        self._free_bytes += free
        if self._seconds and self._seconds[-1][0] == second:
            _, paid_before, free_before = self._seconds.pop()
            self._seconds.append((second, paid_before + paid, free_before + free))
        else:
            self._seconds.append((second, paid, free))
        infohash = self._torrents.get(connection)
        if infohash is not None:
            known = self._untold.get(infohash, Traffic())
            self._untold[infohash] = Traffic(known.paid_bytes + paid, known.free_bytes + free)

    def _rates(self, second: int) -> tuple[int, int]:
        """Over whole seconds: the one that goes on is left out."""
        counted = [one for one in self._seconds if second - RATE_S <= one[0] < second]
        return sum(one[1] for one in counted) // RATE_S, sum(one[2] for one in counted) // RATE_S
