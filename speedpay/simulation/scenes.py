"""Small swarms around one question each: proportion, half the price, splitting, reversed bids, liars.

Each takes a policy and returns figures; those that draw numbers take a ``random.Random`` of the caller's.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from speedpay.market.allocator import Demand
from speedpay.market.bidder import Formula, Plan
from speedpay.simulation.policies import Policy
from speedpay.simulation.world import Buyer, Seeder, Strategy, World
from speedpay.units import GIB, MIB, UTOK_PER_TOKEN, Amount, Price, Share

#: The client's own pool (``market/allocator.py``), in every scene.
FREE_POOL = Share(250_000)
STEP_S = 0.1
UPLINK = 16 * MIB
_ENDLESS = 2**50
_PRICE = 24_000
#: A rate within a tenth of where it ends has settled.
_NEAR = 0.1
_LONG_STEP_S = 0.5
_LIMIT_S = 2_000.0
_RICH = Amount(100 * UTOK_PER_TOKEN)


def jain(values: Sequence[float]) -> float:
    """(Σx)² ÷ (n Σx²): 1 when all are equal, 1/n when one has everything."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def worst_deviation(values: Sequence[float]) -> float:
    """How far the furthest is from the mean, as a part of it."""
    mean = statistics.fmean(values)
    return max(abs(value / mean - 1) for value in values) if mean else 0.0


def fixed(name: str, utok_per_mib: int, downlink: int = _ENDLESS) -> Buyer:
    """Somebody who wants data for ever, at a price of its own; zero: for nothing."""
    price = Price(utok_per_mib)
    plan = Plan(
        Share(1_000_000), Amount(2**62), _ENDLESS, _ENDLESS, fixed=price
    ) if price else None  # fmt: skip
    return Buyer(name, downlink, _ENDLESS, plan)


def _one_seeder(policy: Policy, buyers: Sequence[Buyer]) -> World:
    world = World(policy, [Seeder(UPLINK)], FREE_POOL)
    for buyer in buyers:
        world.join(buyer, world.seeders)
    return world


def _run(world: World, seconds: float) -> World:
    for _ in range(round(seconds / STEP_S)):
        world.step(STEP_S)
    return world


def _free(count: int) -> list[Buyer]:
    return [fixed(f"free {n}", 0) for n in range(count)]


@dataclass(frozen=True, slots=True)
class Proportion:
    """``higher_got_less``: pairs of payers, neither held back by its own line, in which it happened."""

    jain: float
    worst_deviation: float
    higher_got_less: int
    free_floor: float
    utilisation: float


def proportion(policy: Policy, random: Random) -> Proportion:
    """24 payers with prices of any size, a third of them on slow lines, and 8 free peers; after 20 s."""
    buyers = []
    for n in range(24):
        price = int(random.lognormvariate(0.0, 0.8) * _PRICE)
        slow = n % 3 == 0
        buyers.append(
            fixed(f"p{n}", max(1, price), random.randrange(MIB // 8, MIB) if slow else _ENDLESS)
        )
    world = _run(_one_seeder(policy, [*buyers, *_free(8)]), 20.0)
    payers = [b for b in buyers if b.rate < 0.99 * b.downlink]
    per_bid = [b.rate / b.links[0].price.utok_per_mib for b in payers]
    by_price = sorted(payers, key=lambda b: b.links[0].price)
    less = sum(
        high.rate < 0.999 * low.rate and high.links[0].price > low.links[0].price
        for low, high in itertools.combinations(by_price, 2)
    )
    seeder = world.seeders[0]
    free = sum(link.rate for link in seeder.links if not link.price)
    return Proportion(
        jain(per_bid),
        worst_deviation(per_bid),
        less,
        free / UPLINK,
        seeder.sent / seeder.could_send,
    )


def half_price(policy: Policy, tops: int) -> float:
    """What a bidder of half the price keeps of what each of ``tops`` others gets; after 30 s."""
    buyers = [fixed(f"top {n}", _PRICE) for n in range(tops)]
    half = fixed("half", _PRICE // 2)
    _run(_one_seeder(policy, [*buyers, half, *_free(4)]), 30.0)
    return half.rate / buyers[0].rate


@dataclass(frozen=True, slots=True)
class Splitting:
    """What somebody gains who is five instead of one among four equals, as parts of what it had: at one
    place; there with four more that do not pay; at five addresses; there for a fifth of the price each."""

    one_place: float
    pays_and_free: float
    five_addresses: float
    five_cheap: float


def splitting(policy: Policy) -> Splitting:
    def rate(price: int, places: Sequence[str], free_places: Sequence[str] = ()) -> float:
        world = _one_seeder(policy, [*(fixed(f"p{n}", _PRICE) for n in range(4)), *_free(4)])
        payer, idle = fixed("split", price), fixed("and free", 0)
        world.join(payer, world.seeders, places)
        if free_places:
            world.join(idle, world.seeders, free_places)
        _run(world, 30.0)
        return payer.rate + idle.rate

    five, here = [f"address {n}" for n in range(5)], ["here"] * 5
    one = rate(_PRICE, ["here"])
    return Splitting(
        rate(_PRICE, here) / one - 1,
        rate(_PRICE, ["here"], here[1:]) / one - 1,
        rate(_PRICE, five) / one - 1,
        rate(_PRICE // 5, five) / one - 1,
    )


def settling(policy: Policy) -> float:
    """Seconds after eight payers' bids reverse until every rate is, and stays, within a tenth of where
    it is a minute later. 60: it did not settle."""
    buyers = [fixed(f"p{n}", _PRICE * (n + 1)) for n in range(8)]
    world = _run(_one_seeder(policy, [*buyers, *_free(4)]), 30.0)
    for buyer in buyers:
        other = buyers[-1 - buyers.index(buyer)].links[0].price
        assert buyer.plan is not None
        buyer.plan, buyer.next_bid = replace(buyer.plan, fixed=other), world.now
    rates = []
    for _ in range(round(60.0 / STEP_S)):
        world.step(STEP_S)
        rates.append([buyer.rate for buyer in buyers])
    last = rates[-1]
    unsettled = [
        n for n, now in enumerate(rates)
        if any(abs(rate - end) > _NEAR * end for rate, end in zip(now, last, strict=True))
    ]  # fmt: skip
    return (unsettled[-1] + 1) * STEP_S if unsettled else 0.0


def stalling(policy: Policy, formula: Formula) -> float:
    """The most that one of four equal seeders earns by holding back at first, of what it earns honestly.

    Three buyers bid by the formula for 256 MiB; it tries a quarter, a half and three quarters of their
    time.
    """

    def income(stalls_until: float) -> tuple[int, float]:
        seeders = [Seeder(UPLINK // 4) for _ in range(4)]
        seeders[0].stalls_until = stalls_until
        world = World(policy, seeders, FREE_POOL)
        for buyer in _free(4):
            world.join(buyer, seeders)
        for n in range(3):
            plan = Plan(Share(250_000), _RICH, GIB // 4, GIB // 4, formula).start()
            world.join(Buyer(f"p{n}", _ENDLESS, GIB // 4, plan), seeders)
        while any(buyer.plan for buyer in world.buyers) and world.now < _LIMIT_S:
            world.step(_LONG_STEP_S)
        return seeders[0].income.floor().utok, world.now

    honest, seconds = income(0.0)
    return max(income(seconds * part)[0] / honest for part in (0.25, 0.5, 0.75))


@dataclass(frozen=True, slots=True)
class Inventing:
    """What a seeder earns that invents competitors, of what it earns honestly: by words alone, and when
    it wastes its uplink on them to be believed. ``of_full_bids``: the better of the two, of what it
    would earn honestly if nobody shaded."""

    words: float
    and_deeds: float
    of_full_bids: float


def inventing(policy: Policy) -> Inventing:
    """One liar beside two honest seeders; four buyers of different means shade their bids."""

    def income(lies: bool, deeds: bool, strategy: Strategy) -> int:
        seeders = [Seeder(UPLINK // 4) for _ in range(3)]
        if lies:
            bids = [_PRICE * n for n in range(1, 6)]
            seeders[0].invented = [Demand(-p, Price(p), f"nobody {p}") for p in bids]
            seeders[0].serves_them = deeds
        world = World(policy, seeders, FREE_POOL)
        for n, downlink in enumerate((4 * MIB, 3 * MIB, 2 * MIB, MIB)):
            plan = Plan(Share(250_000), Amount(_RICH.utok >> n), GIB // 4, GIB // 4).start()
            world.join(Buyer(f"p{n}", downlink, GIB // 4, plan, strategy), seeders)
        while world.buyers and world.now < _LIMIT_S:
            world.step(2 * _LONG_STEP_S)
        return seeders[0].income.floor().utok

    honest = income(False, False, Strategy.SHADE)
    words, deeds = (income(True, deeds, Strategy.SHADE) for deeds in (False, True))
    full = income(False, False, Strategy.FORMULA)
    return Inventing(words / honest, deeds / honest, max(words, deeds) / full)
