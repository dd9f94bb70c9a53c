"""Our upload, divided among the peers that want data: ``market/slots.py`` applied to live ones."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from speedpay.market.allocator import CONTROL_WEIGHT, Demand
from speedpay.market.place import place_of
from speedpay.market.slots import serve
from speedpay.peer.conversation import Conversation
from speedpay.peer.messages import Ask
from speedpay.peer.seller import Seller
from speedpay.swarm.session import Session
from speedpay.units import NO_PRICE, Share

_log = logging.getLogger(__name__)
#: The upload is divided anew after so many times what that took: interest that comes and goes is free, and
#: with hundreds of peers at odd prices one division takes 0.1 s.
_DIVIDING = 10
#: A payer that pauses is served on so long, as by libtorrent's choker until its next round; each change of
#: the rule costs it the requests that are under way.
SERVED_S = 5.0


@dataclass(slots=True)
class Peer:
    """One connection. ``wants``: it is interested in what we hold; ``ask``: its newest, kept for a
    purchase that begins later; ``place``: what counts as one when the upload is divided. ``agreed``: the
    infohash that both ends know the torrent by (``events.PeerExtended``)."""

    connection: int
    infohash: bytes
    address: str
    port: int
    conversation: Conversation
    ask: Ask | None = None
    interesting: bool = False
    wants: bool = False
    banned: bool = False
    agreed: bytes = b""
    place: str = field(init=False)

    def __post_init__(self) -> None:
        self.place = place_of(self.address)


class Upload:
    """``peers`` is the market's own, by connection."""

    def __init__(
        self, swarm: Session, seller: Seller, free_pool: Share, peers: Mapping[int, Peer]
    ) -> None:
        self._swarm = swarm
        self._seller = seller
        self._free_pool = free_pool
        self._peers = peers
        self._weights: dict[int, int] = {}
        #: Who is served beside the slots, and when it last paid.
        self._paid_at: dict[int, float] = {}
        self._demands: list[Demand] = []
        self._free_slots = 0
        self._due: Mapping[int, int] = {}
        self._outdated = False
        self._divide_at = 0.0

    @property
    def demands(self) -> Sequence[Demand]:
        """Who wants data from us, as of the last tick."""
        return self._demands

    @property
    def competing(self) -> bool:
        """Whether somebody pays and somebody else wants data, so that there is something to divide."""
        return len(self._demands) > 1 and any(demand.price for demand in self._demands)

    def paused(self, connection: int) -> None:
        """From here on nothing is billed there: it has a payer's weight no longer, not even until the
        next division. A payer that paused after each, and resumed before the next, would pay nothing."""
        self._due = {**self._due, connection: 1}
        self._outdated = True
        self._weigh(connection, 1)

    def gone(self, connection: int) -> None:
        self._weights.pop(connection, None)
        self._paid_at.pop(connection, None)

    def tick(self, now: float) -> None:
        """Set the weights that changed: payers by price, other takers the free lane's.

        Who wants nothing from us gets the top weight: all we send there is requests and vouchers, which
        at the default weight of 1 would starve among the weighted (measured: 16 MiB/s of origin gave 2).
        """
        demands = self._seller.demands(now)
        known = {demand.connection for demand in demands}
        ordinary = [
            Demand(peer.connection, NO_PRICE, peer.place)
            for peer in self._peers.values()
            if peer.wants and peer.connection not in known
        ]
        self._seller.ordinary, self._seller.uplink = ordinary, self._swarm.uplink() or 0
        demands += ordinary
        divided = demands, self._swarm.free_slots
        changed = self._outdated or divided != (self._demands, self._free_slots)
        if changed and now >= self._divide_at:
            self._outdated = False
            self._demands, self._free_slots = divided
            began = time.thread_time()
            self._due = serve(demands, self._free_pool, self._free_slots)
            self._swarm.set_slots(self._free_slots)
            self._divide_at = now + min(1.0, _DIVIDING * (time.thread_time() - began))
        self._keep_payers_served(demands, now)
        for connection in self._peers:
            self._weigh(connection, self._due.get(connection, CONTROL_WEIGHT))

    def _keep_payers_served(self, demands: Sequence[Demand], now: float) -> None:
        for demand in demands:
            if demand.price:
                if demand.connection not in self._paid_at:
                    self._swarm.extension.serve(demand.connection, True)
                self._paid_at[demand.connection] = now
        for connection, paid_at in list(self._paid_at.items()):
            if now - paid_at > SERVED_S:
                del self._paid_at[connection]
                self._swarm.extension.serve(connection, False)

    def _weigh(self, connection: int, weight: int) -> None:
        if self._weights.get(connection) != weight:
            self._weights[connection] = weight
            self._swarm.extension.set_weight(connection, weight)
            _log.debug("weight of %d: %d", connection, weight)
