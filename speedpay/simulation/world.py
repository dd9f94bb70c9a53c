"""Seeders and buyers whose bytes flow like water: every step each seeder divides what it can send.

Prices come from ``market/bidder.py`` and ``shading.py``, shares from a ``Policy``, cost from ``Value``. Not
in it: TCP, pieces, escrow and the windows of trust, which other tests hold against real peers. A bid takes
``DELAY_S`` to its seeder. All randomness is in whoever builds a ``World``; its steps have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from speedpay.market.allocator import Demand
from speedpay.market.bidder import REBID_INTERVAL_S, Bidding, Plan, explain
from speedpay.market.shading import Shade, ladder
from speedpay.simulation.policies import Policy, Split, divide, split
from speedpay.units import NO_PRICE, Amount, Price, Share, Value

#: From a buyer's decision until its seeder weighs by it: half of a round trip of 200 ms, and a tick.
DELAY_S = 0.2
#: What was paid "in the round before" is counted over this long.
ROUND_S = 1.0
#: A buyer's line is divided over its seeders by what they offer; this often they divide anew.
_PASSES = 3
#: Every seeder's ask.
_ASK = Price(1)


class Strategy(StrEnum):
    FORMULA = "formula"  # commits the automatic bid
    HALF = "half price"  # commits half of it
    SHADE = "shading"  # commits what the speed needs of it, by market/shading.py


@dataclass(eq=False, slots=True)
class Seeder:
    """``online``: from when until when. ``stalls_until``: before it, a twentieth of the uplink is used.
    ``invented``: bids of nobody, in what it says to those who ask; ``serves_them``: and they get bytes."""

    uplink: int
    name: str = ""
    online: tuple[float, float] = (0.0, float("inf"))
    stalls_until: float = 0.0
    invented: Sequence[Demand] = ()
    serves_them: bool = False
    links: list[Link] = field(default_factory=list)
    income: Value = field(default_factory=Value)
    sent: int = 0
    could_send: int = 0  # what its uplink and its buyers' lines would have allowed
    paid: dict[int, int] = field(default_factory=dict)
    how: Split | None = None  # until somebody comes, goes or bids

    def capacity(self, now: float, seconds: float) -> int:
        return int(self.uplink * seconds) // (20 if now < self.stalls_until else 1)


@dataclass(eq=False, slots=True)
class Link:
    """One connection. ``price``: what its seeder weighs by; ``coming``: a bid under way; ``known``: the
    rates that its seeder announced for some prices."""

    number: int
    buyer: Buyer
    seeder: Seeder
    place: str
    price: Price = NO_PRICE
    coming: tuple[float, Price] | None = None
    rate: float = 0.0  # bytes a second in the last step
    room: float = 0.0  # the most it could have been, by its buyer's line
    in_round: int = 0  # µtok·byte/MiB
    bidding: Bidding = field(default_factory=Bidding)
    known: Mapping[Price, int] = field(default_factory=dict)
    shade: Shade = field(default_factory=Shade)

    @property
    def demand(self) -> Demand:
        return Demand(self.number, self.price, self.place)


@dataclass(eq=False, slots=True)
class Buyer:
    """``plan``: None in the free lane. ``leaves_at``: it goes away with this many bytes, done or not."""

    name: str
    downlink: int
    wanted: int
    plan: Plan | None = None
    strategy: Strategy = Strategy.FORMULA
    arrives: float = 0.0
    leaves_at: int | None = None
    links: list[Link] = field(default_factory=list)
    got: int = 0
    cost: Value = field(default_factory=Value)
    next_bid: float = 0.0
    done: float | None = None

    @property
    def spent(self) -> Amount:
        return self.cost.floor()

    @property
    def rate(self) -> float:
        return sum(link.rate for link in self.links)

    @property
    def left(self) -> int:
        return (self.wanted if self.leaves_at is None else self.leaves_at) - self.got


class World:
    def __init__(
        self,
        policy: Policy,
        seeders: Sequence[Seeder],
        free_pool: Share,
        rounded: bool = True,
    ) -> None:
        self.policy = policy
        self.seeders = list(seeders)
        self.free_pool = free_pool
        self.rounded = rounded
        self.now = 0.0
        self.buyers: list[Buyer] = []
        self.number = 0
        self._round_ends = ROUND_S

    def join(self, buyer: Buyer, seeders: Sequence[Seeder], places: Sequence[str] = ()) -> None:
        """``places``: one connection to each seeder from each of them; without any, one of its own."""
        buyer.next_bid = self.now
        self.buyers.append(buyer)
        for seeder in seeders:
            for place in places or (buyer.name,):
                self.link(buyer, seeder, place)

    def link(self, buyer: Buyer, seeder: Seeder, place: str) -> None:
        self.number += 1
        link = Link(self.number, buyer, seeder, place)
        buyer.links.append(link)
        seeder.links.append(link)
        seeder.how = None

    def part(self, link: Link) -> None:
        link.seeder.links.remove(link)
        link.buyer.links.remove(link)
        link.seeder.how = None

    # --- one step ----------------------------------------------------------------------------------

    def step(self, seconds: float) -> list[Buyer]:
        """Returns who is done with it, and gone."""
        for buyer in self.buyers:
            if self.now >= buyer.next_bid:
                self._bid(buyer)
        for seeder in self.seeders:
            for link in seeder.links:
                if link.coming is not None and self.now >= link.coming[0]:
                    link.price, link.coming = link.coming[1], None
                    seeder.how = None
        self._flow(seconds)
        self.now += seconds
        if self.now >= self._round_ends - 1e-9:
            self._round_ends = self.now + ROUND_S
            for seeder in self.seeders if self.policy is Policy.PAID else ():
                seeder.paid = {link.number: link.in_round for link in seeder.links}
                seeder.how = None
                for link in seeder.links:
                    link.in_round = 0
        gone = [buyer for buyer in self.buyers if buyer.left <= 0]
        for buyer in gone:
            buyer.done = self.now
            self.buyers.remove(buyer)
            for link in list(buyer.links):
                self.part(link)
        return gone

    def _flow(self, seconds: float) -> None:
        rooms = {b: min(int(b.downlink * seconds), max(0, b.left)) for b in self.buyers}
        limits = {link.number: rooms[b] for b in self.buyers for link in b.links}
        for seeder in self.seeders:
            most = sum({link.buyer: rooms[link.buyer] for link in seeder.links}.values())
            seeder.could_send += min(seeder.capacity(self.now, seconds), most)
        for again in range(_PASSES):
            given: dict[int, int] = {}
            for seeder in self.seeders:
                if seeder.links:
                    given |= self._divide(seeder, limits, seconds)
            over = again < _PASSES - 1 and self._spread(rooms, limits, given)
            if not over:
                break
        for buyer in self.buyers:
            room = rooms[buyer]
            for link in buyer.links:
                count = min(given.get(link.number, 0), room)
                link.room = limits[link.number] / seconds
                room -= count
                self._deliver(link, count, seconds)

    def _divide(self, seeder: Seeder, limits: Mapping[int, int], seconds: float) -> dict[int, int]:
        capacity = seeder.capacity(self.now, seconds)
        if seeder.how is None:
            demands = [link.demand for link in seeder.links]
            demands += seeder.invented if seeder.serves_them else ()
            seeder.how = split(self.policy, demands, seeder.paid, self.free_pool, self.rounded)
        mine = {link.number: limits[link.number] for link in seeder.links}
        if seeder.serves_them:
            mine |= {demand.connection: capacity for demand in seeder.invented}
        return divide(seeder.how, mine, capacity)

    @staticmethod
    def _spread(
        rooms: Mapping[Buyer, int], limits: dict[int, int], given: Mapping[int, int]
    ) -> bool:
        """Who is offered more than its line takes shares the line out by the offers; who has room left
        spreads it evenly. Returns whether anybody was offered too much."""
        over = False
        for buyer, room in rooms.items():
            if len(buyer.links) < 2:
                continue
            offers = [given.get(link.number, 0) for link in buyer.links]
            total = sum(offers)
            over = over or total > room
            spare = max(0, room - total) // len(offers)
            for link, offer in zip(buyer.links, offers, strict=True):
                limits[link.number] = -(-offer * room // total) if total > room else offer + spare
        return over

    def _deliver(self, link: Link, count: int, seconds: float) -> None:
        buyer, seeder = link.buyer, link.seeder
        link.rate = count / seconds
        buyer.got += count
        seeder.sent += count
        if link.price and count:
            buyer.cost = buyer.cost.plus(count, link.price)
            seeder.income = seeder.income.plus(count, link.price)
            link.in_round += count * link.price.utok_per_mib

    def _bid(self, buyer: Buyer) -> None:
        if buyer.plan is None:
            buyer.next_bid = float("inf")
            return
        buyer.next_bid = self.now + REBID_INTERVAL_S
        balance = buyer.plan.balance.minus_or_zero(buyer.spent)
        most = explain(buyer.plan, buyer.spent, balance, max(0, buyer.wanted - buyer.got)).price
        for link in buyer.links:
            price = most
            if buyer.strategy is Strategy.SHADE and most:
                price = self._shaded(link, most)
            elif buyer.strategy is Strategy.HALF:
                price = Price(most.utok_per_mib // 2)
            if not link.bidding.allows(price, self.now):
                continue
            before = link.bidding.price or NO_PRICE
            link.shade = link.shade.sent(before, price, int(link.rate), self.now)
            link.bidding = link.bidding.sent(price, self.now)
            link.coming = (self.now + DELAY_S, price)

    def _shaded(self, link: Link, most: Price) -> Price:
        """What ``peer/offers.py`` would commit: the seeder is asked, and what is measured has the last
        word."""
        before = link.bidding.price or NO_PRICE
        rungs = ladder(_ASK, most, link.known)
        link.known = {price: self.says(link, price) for price in rungs}
        link.shade = link.shade.checked(before, int(link.rate), self.now)
        alone = not any(other.shade.tried for other in link.buyer.links if other is not link)
        return link.shade.wanted(
            before, _ASK, most, link.known, alone and bool(link.rate), self.now
        )

    def says(self, link: Link, price: Price) -> int:
        """The bytes a second that the seeder announces to ``link`` at ``price``; invented bids count."""
        seeder = link.seeder
        others = [other.demand for other in seeder.links if other is not link]
        demands = [*others, *seeder.invented, replace(link.demand, price=price)]
        due = split(self.policy, demands, seeder.paid, self.free_pool, rounded=False)
        rooms = dict.fromkeys((demand.connection for demand in demands), seeder.uplink)
        return divide(due, rooms, seeder.uplink)[link.number]
