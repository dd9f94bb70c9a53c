"""The study of ``docs/market.md``: every scene under every policy, one table."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from speedpay.market.bidder import Formula
from speedpay.simulation import scenes
from speedpay.simulation.crowd import crowd
from speedpay.simulation.policies import Policy
from speedpay.units import Amount

#: Swarms of random prices and lines whose worst figures are shown.
_SWARMS = 10
_TOPS = (1, 4, 19)
_IS = {"≥": operator.ge, "≤": operator.le, "=": operator.eq}


@dataclass(frozen=True, slots=True)
class Measure:
    """One row. ``form``: how a value is shown. ``goal``: what is wanted of the default, as it is read."""

    name: str
    text: str
    form: str = ".3f"
    goal: tuple[str, float] | None = None

    def shown(self, value: float | str) -> str:
        return str(Amount.from_wire(value)) if isinstance(value, str) else format(value, self.form)

    def met(self, value: float | str) -> bool | None:
        return None if self.goal is None else _IS[self.goal[0]](float(value), self.goal[1])


MEASURES = (
    Measure("higher_got_less", "a higher bid got less, cases", "d", ("=", 0)),
    Measure("jain", "Jain index of share ÷ bid", ".4f", ("≥", 0.99)),
    Measure("worst_deviation", "worst deviation of share ÷ bid", ".1%"),
    Measure("half_price_keeps", "a bidder of half the price keeps, of the top's", ".3f", ("≥", 0.25)),
    Measure("split_one_place", "5-way split gains, one place", "+.1%", ("≤", 0.1)),
    Measure("split_pays_and_free", "one pays, four more in the free lane, one place", "+.1%"),
    Measure("split_five_addresses", "5-way split gains, five addresses", "+.1%"),
    Measure("split_five_cheap", "the same, each at a fifth of the price", "+.1%"),
    Measure("settled_s", "settled after bids reverse, s", ".1f", ("≤", 2.0)),
    Measure("free_floor", "free lane's least part of the uplink", ".3f", ("≥", 0.25)),
    Measure("utilisation", "uplink used while anybody has room", ".4f", ("≥", 0.999)),
    Measure("stalling_earns", "stalling earns, of honesty's", ".2f", ("≤", 1.0)),
    Measure("stalling_published_earns", "the same, published formula", ".2f"),
    Measure("inventing_words_earn", "inventing competitors earns, shading buyers: words", ".2f"),
    Measure("inventing_deeds_earn", "the same, and serving them", ".2f"),
    Measure("inventing_of_full_bids", "the better of these, of what full bids pay", ".2f", ("≤", 1.0)),
    Measure("crowd_revenue_utok", "crowd: seeders' revenue, tok"),
    Measure("crowd_time_cost", "crowd: time × cost, s/GiB × tok/GiB", ".0f"),
    Measure("crowd_half_time_cost", "crowd: the same, half-price bidders : others", ".2f"),
    Measure("crowd_shading_time_cost", "crowd: the same, shading bidders : others", ".2f"),
    Measure("crowd_paid_s", "crowd: payers' median seconds", ".0f"),
    Measure("crowd_free_s", "crowd: free peers' median seconds", ".0f"),
    Measure("crowd_jain", "crowd: Jain index of share ÷ bid, mean", ".4f"),
    Measure("crowd_free_floor", "crowd: a free peer's least part, of an equal part", ".3f", ("≥", 0.25)),
    Measure("crowd_utilisation", "crowd: of what all lines together could carry", ".3f"),
)  # fmt: skip


def divided(policy: Policy, seed: int) -> dict[str, float]:
    """Measure → its value, of those that depend on nothing but how an upload is divided."""
    swarms = [scenes.proportion(policy, Random(f"{seed} {n}")) for n in range(_SWARMS)]
    split = scenes.splitting(policy)
    return {
        "higher_got_less": sum(swarm.higher_got_less for swarm in swarms),
        "jain": min(swarm.jain for swarm in swarms),
        "worst_deviation": max(swarm.worst_deviation for swarm in swarms),
        "half_price_keeps": min(scenes.half_price(policy, tops) for tops in _TOPS),
        "split_one_place": split.one_place,
        "split_pays_and_free": split.pays_and_free,
        "split_five_addresses": split.five_addresses,
        "split_five_cheap": split.five_cheap,
        "settled_s": scenes.settling(policy),
        # To a thousandth: bytes are whole, and a step's part of the pool is rounded down.
        "free_floor": round(min(swarm.free_floor for swarm in swarms), 3),
        "utilisation": min(swarm.utilisation for swarm in swarms),
    }


def figures(policy: Policy, seed: int, peers: int) -> dict[str, float | str]:
    """Measure → its value, in the order of the table; money as µtok in decimal digits."""
    invented = scenes.inventing(policy)
    many = crowd(policy, peers, Random(f"{seed} crowd"))
    return {
        **divided(policy, seed),
        "stalling_earns": scenes.stalling(policy, Formula.ANCHORED),
        "stalling_published_earns": scenes.stalling(policy, Formula.PUBLISHED),
        "inventing_words_earn": invented.words,
        "inventing_deeds_earn": invented.and_deeds,
        "inventing_of_full_bids": invented.of_full_bids,
        "crowd_revenue_utok": many.revenue.to_wire(),
        "crowd_time_cost": many.time_cost,
        "crowd_half_time_cost": many.half_time_cost,
        "crowd_shading_time_cost": many.shading_time_cost,
        "crowd_paid_s": many.paid_s,
        "crowd_free_s": many.free_s,
        "crowd_jain": many.jain,
        "crowd_free_floor": round(many.free_floor, 3),
        "crowd_utilisation": many.utilisation,
    }


def study(
    policies: Sequence[Policy], seed: int, peers: int, done: Callable[[Policy], None]
) -> dict[str, Any]:
    """What ``--json`` prints. ``done`` is told of each policy that has been run."""
    found: dict[Policy, Mapping[str, float | str]] = {}
    for policy in policies:
        found[policy] = figures(policy, seed, peers)
        done(policy)
    rows = []
    for measure in MEASURES:
        values = {policy.value: found[policy][measure.name] for policy in policies}
        rows.append({
            "name": measure.name, "text": measure.text,
            "goal": measure.goal and "{} {:g}".format(*measure.goal),
            "values": {p: v if isinstance(v, str) else round(v, 6) for p, v in values.items()},
            "shown": {policy: measure.shown(value) for policy, value in values.items()},
            "met": measure.goal and {p: measure.met(v) for p, v in values.items()},
        })  # fmt: skip
    return {
        "seed": seed, "peers": peers, "free_pool_ppm": scenes.FREE_POOL.ppm,
        "policies": [policy.value for policy in policies], "measures": rows,
    }  # fmt: skip
