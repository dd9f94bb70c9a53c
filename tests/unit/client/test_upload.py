"""Weights on live connections: a real seller's demands, and an extension that notes what it is told."""

from __future__ import annotations

from typing import Any, cast

from speedpay.client.upload import SERVED_S, Peer, Upload
from speedpay.market.allocator import DEFAULT_FREE_POOL, Demand
from speedpay.peer.conversation import Conversation
from speedpay.peer.seller import Seller
from speedpay.swarm.torrents import Swarm
from speedpay.units import NO_PRICE, Price

PAYER, FREE = 1, 2


class Told:
    """Stands where libtorrent does: the last weight of each connection."""

    free_slots = 4

    def __init__(self) -> None:
        self.extension = self
        self.weights: dict[int, int] = {}
        self.served: set[int] = set()

    def set_weight(self, connection: int, weight: int) -> None:
        self.weights[connection] = weight

    def set_slots(self, free: int) -> None: ...

    def serve(self, connection: int, on: bool) -> None:
        self.served.add(connection) if on else self.served.discard(connection)

    def uplink(self) -> int:
        return 1_000_000


class Selling:
    """A seller whose demands the test decides."""

    ordinary: Any = ()
    uplink = 0

    def __init__(self) -> None:
        self.price = Price(1000)

    def demands(self, now: float) -> list[Demand]:
        return [Demand(PAYER, self.price, "a"), Demand(FREE, NO_PRICE, "b")]


def test_who_pauses_and_resumes_between_two_ticks_has_no_weight_that_nobody_pays_for() -> None:
    told, selling = Told(), Selling()
    domain = cast(Any, None)
    peers = {
        number: Peer(number, bytes(20), f"127.0.0.{number}", 6881, Conversation(domain), wants=True)
        for number in (PAYER, FREE)
    }
    upload = Upload(cast(Swarm, told), cast(Seller, selling), DEFAULT_FREE_POOL, peers)
    upload.tick(0.0)
    as_payer = told.weights[PAYER]
    assert as_payer > 2 * told.weights[FREE]

    upload.paused(PAYER)
    assert told.weights[PAYER] == 1
    selling.price = NO_PRICE
    upload.tick(10.0)
    assert told.weights[PAYER] == told.weights[FREE]

    selling.price = Price(1000)
    upload.tick(20.0)
    upload.paused(PAYER)  # and resumed before the next tick: its demand never changed
    upload.tick(30.0)
    assert told.weights[PAYER] == as_payer


def test_who_pays_is_served_beside_the_slots_and_a_moment_longer() -> None:
    told, selling = Told(), Selling()
    upload = Upload(cast(Swarm, told), cast(Seller, selling), DEFAULT_FREE_POOL, {})
    upload.tick(0.0)
    assert told.served == {PAYER}
    selling.price = NO_PRICE
    upload.tick(SERVED_S)
    assert told.served == {PAYER}
    upload.tick(SERVED_S + 0.1)
    assert told.served == set()
    selling.price = Price(1000)
    upload.tick(20.0)
    assert told.served == {PAYER}
    upload.gone(PAYER)
    upload.tick(20.1)
    assert told.served == {PAYER}, "a connection of that number that comes again is served anew"
