"""A large swarm with churn: links of all kinds, buyers of all means, some of them strategic."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from speedpay.market.bidder import Plan
from speedpay.simulation.policies import Policy
from speedpay.simulation.scenes import FREE_POOL, jain
from speedpay.simulation.world import Buyer, Seeder, Strategy, World
from speedpay.units import GIB, MIB, UTOK_PER_TOKEN, Amount, Share

STEP_S = 1.0
#: Peers arrive during two and a half minutes; who is not done after an hour counts with what it has.
ARRIVALS_S, LIMIT_S = 150.0, 3_600.0
PEERS_PER_SEEDER = 20
_UPLINKS = (MIB // 2, MIB, 2 * MIB, 4 * MIB, 16 * MIB)
_DOWNLINKS = (MIB // 2, 2 * MIB, 6 * MIB, 12 * MIB)
_CONNECTIONS = 3
#: Whoever gets less than this of its own line is held back by its seeders.
_HUNGRY = 0.95
_LEAVES_EARLY = 0.1
_SEEDER_LEAVES = 0.2
#: Half of the peers pay; of these every tenth offers half, and every tenth the least that does.
_STRATEGIES = (Strategy.HALF, Strategy.SHADE, *[Strategy.FORMULA] * 8)


@dataclass(frozen=True, slots=True)
class Crowd:
    """``time_cost``: seconds a GiB × tokens a GiB, the median of who bids by the formula; the strategies'
    are parts of that. ``paid_s``, ``free_s``: median seconds."""

    revenue: Amount
    time_cost: float
    half_time_cost: float
    shading_time_cost: float
    paid_s: float
    free_s: float
    jain: float
    free_floor: float
    utilisation: float


@dataclass(frozen=True, slots=True)
class Arrival:
    """One peer as it was drawn, for every policy alike."""

    at: float
    downlink: int
    wanted: int
    pays: Amount | None
    strategy: Strategy
    leaves_at: int | None
    draws: tuple[float, ...]


def drawn(
    peers: int, random: Random
) -> tuple[list[Arrival], list[tuple[int, tuple[float, float]]]]:
    """Peers in the order of their arrival, and seeders as (uplink, from when until when)."""
    arrivals = []
    for n in range(peers):
        wanted = random.randrange(16, 129) * MIB
        # The formula's bid is consumption × balance ÷ size: means go with what is wanted.
        means = random.lognormvariate(0.0, 0.7) * 10 * UTOK_PER_TOKEN * wanted / GIB
        early = random.random() < _LEAVES_EARLY
        arrivals.append(Arrival(
            random.uniform(0, ARRIVALS_S), random.choice(_DOWNLINKS), wanted,
            Amount(int(means)) if n % 2 else None, _STRATEGIES[n // 2 % len(_STRATEGIES)],
            random.randrange(wanted) if early else None,
            tuple(random.random() for _ in range(_CONNECTIONS)),
        ))  # fmt: skip
    seeders = []
    for _ in range(max(2, peers // PEERS_PER_SEEDER)):
        until = random.uniform(30, ARRIVALS_S) if random.random() < _SEEDER_LEAVES else LIMIT_S
        uplink = random.choice(_UPLINKS)
        seeders.append((uplink, (0.0, until)))
        if until < LIMIT_S:
            seeders.append((uplink, (until, LIMIT_S)))  # another comes for it
    return sorted(arrivals, key=lambda arrival: arrival.at), seeders


def crowd(policy: Policy, peers: int, random: Random) -> Crowd:
    arrivals, drawn_seeders = drawn(peers, random)
    seeders = [Seeder(uplink, online=online) for uplink, online in drawn_seeders]
    world = World(policy, seeders, FREE_POOL, rounded=False)
    waiting = [(arrival, _buyer(n, arrival)) for n, arrival in enumerate(arrivals)]
    everyone = list(waiting)
    waiting.reverse()
    looks = _Looks()
    while (waiting or world.buyers) and world.now < LIMIT_S:
        here = [s for s in seeders if s.online[0] <= world.now < s.online[1]]
        gone = [s for s in seeders if s.online[1] <= world.now]
        for link in [link for seeder in gone for link in seeder.links]:
            world.part(link)
            others = [s for s in here if all(other.seeder is not s for other in link.buyer.links)]
            if others:
                world.link(link.buyer, random.choice(others), link.buyer.name)
        while waiting and waiting[-1][0].at <= world.now:
            arrival, buyer = waiting.pop()
            world.join(buyer, list({here[int(draw * len(here))]: 0 for draw in arrival.draws}))
        if not world.step(STEP_S):
            looks.take(world)
    return _measured(everyone, seeders, looks)


def _buyer(number: int, arrival: Arrival) -> Buyer:
    plan = None
    if arrival.pays is not None:
        wanted = arrival.wanted
        plan = Plan(Share(1_000_000), arrival.pays, wanted, wanted).start()
    return Buyer(
        f"peer {number}", arrival.downlink, arrival.wanted, plan, arrival.strategy,
        leaves_at=arrival.leaves_at,
    )  # fmt: skip


class _Looks:
    """What is seen in passing: at payers that their own line does not hold back, and at the free lane."""

    def __init__(self) -> None:
        self.jain: list[float] = []
        self.floor = 1.0

    def take(self, world: World) -> None:
        for seeder in world.seeders:
            hungry = [
                link
                for link in seeder.links
                if link.rate < link.room and link.buyer.rate < _HUNGRY * link.buyer.downlink
            ]
            per_bid = [link.rate / link.price.utok_per_mib for link in hungry if link.price]
            if len(per_bid) > 1:
                self.jain.append(jain(per_bid))
            free = sum(not link.price for link in seeder.links)
            if free < len(seeder.links):
                parts = [link.rate * free / seeder.uplink for link in hungry if not link.price]
                self.floor = min([self.floor, *parts])


def _measured(
    everyone: Iterable[tuple[Arrival, Buyer]], seeders: Iterable[Seeder], looks: _Looks
) -> Crowd:
    time_cost: dict[Strategy, list[float]] = {strategy: [] for strategy in Strategy}
    paid_s, free_s = [], []
    for arrival, buyer in everyone:
        if buyer.done is None or arrival.leaves_at is not None:
            continue
        seconds = buyer.done - arrival.at
        if buyer.plan is None:
            free_s.append(seconds)
            continue
        paid_s.append(seconds)
        # For the size of the download: seconds a GiB × tokens a GiB.
        size = arrival.wanted / GIB
        cost = buyer.spent.utok / UTOK_PER_TOKEN
        time_cost[arrival.strategy].append(seconds / size * cost / size)
    of_formula = statistics.median(time_cost[Strategy.FORMULA])
    return Crowd(
        sum((seeder.income.floor() for seeder in seeders), Amount(0)),
        of_formula,
        statistics.median(time_cost[Strategy.HALF]) / of_formula,
        statistics.median(time_cost[Strategy.SHADE]) / of_formula,
        statistics.median(paid_s),
        statistics.median(free_s),
        statistics.fmean(looks.jain),
        looks.floor,
        sum(seeder.sent for seeder in seeders) / sum(seeder.could_send for seeder in seeders),
    )
