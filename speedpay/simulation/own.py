"""The user's own swarm, run: who would get which share, when, and for how much."""

from __future__ import annotations

from typing import Any

from speedpay.simulation.policies import Policy
from speedpay.simulation.swarm_file import OwnSwarm
from speedpay.simulation.world import Buyer, Seeder, World

#: Until bids have arrived and rates have settled; from then on a step ends when the next peer is done.
_SETTLED_S, _FIRST_STEP_S = 20.0, 0.25
#: No step is shorter, nor shorter than this part of the time that has passed.
_LEAST_STEP_S, _COARSE = 0.05, 0.005
_MAX_STEPS = 4_000


def try_out(swarm: OwnSwarm, policy: Policy) -> dict[str, Any]:
    """Every peer and every seeder, as ``--json`` shows them. A peer's share is what it gets of all uplinks
    before anybody is done, at 20 s the latest; seconds are None where a run of 4,000 steps did not do."""
    seeders = {name: Seeder(uplink) for name, uplink in swarm.uplinks.items()}
    world = World(policy, list(seeders.values()), swarm.free_pool)
    buyers = {}
    for peer in swarm.peers:
        buyer = Buyer(peer.name, peer.downlink, peer.wanted, peer.plan)
        buyers[peer.name] = buyer
        world.join(buyer, [seeders[name] for name in peer.seeders], [peer.place])
    first: dict[str, tuple[float, int]] = {}
    done: list[Buyer] = []
    for _ in range(_MAX_STEPS):
        if not world.buyers:
            break
        # Whoever remains is faster from now on: first see how much.
        seconds = _LEAST_STEP_S if done else _step(world)
        rates = {b.name: (b.rate, _price(b)) for b in world.buyers}
        done = world.step(seconds)
        if world.now < _SETTLED_S and len(world.buyers) == len(buyers):
            first = {b.name: (b.rate, _price(b)) for b in world.buyers}
        elif not first and done:
            first = rates
    total = sum(swarm.uplinks.values())
    peers = []
    for name, buyer in buyers.items():
        rate, price = first.get(name, (0.0, 0))
        peers.append({
            "name": name, "bid_utok_per_mib": str(price), "share": round(rate / total, 6),
            "rate_bytes_s": int(rate), "seconds": buyer.done and round(buyer.done, 1),
            "got_bytes": buyer.got, "cost_utok": buyer.spent.to_wire(),
        })  # fmt: skip
    of_seeders = [
        {
            "name": name, "earned_utok": seeder.income.floor().to_wire(),
            "sent_bytes": seeder.sent,
        }
        for name, seeder in seeders.items()
    ]  # fmt: skip
    return {"peers": peers, "seeders": of_seeders}


def _price(buyer: Buyer) -> int:
    return max(link.price.utok_per_mib for link in buyer.links) if buyer.links else 0


def _step(world: World) -> float:
    most = _FIRST_STEP_S if world.now < _SETTLED_S else float("inf")
    soonest = min((b.left / b.rate for b in world.buyers if b.rate), default=_FIRST_STEP_S)
    return min(most, max(soonest, _LEAST_STEP_S, world.now * _COARSE))
