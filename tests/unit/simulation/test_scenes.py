"""What is wanted of the default holds in the simulation, and its checks see where others fail."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from speedpay.market.bidder import Formula, Plan
from speedpay.simulation import scenes
from speedpay.simulation.crowd import crowd
from speedpay.simulation.policies import Policy
from speedpay.simulation.study import MEASURES, divided, study
from speedpay.simulation.world import Buyer, Seeder, World
from speedpay.units import MIB, Amount, Share

ROOT = Path(__file__).resolve().parents[3]
DEFAULT, OTHERS = Policy.COMMITTED, (Policy.PAID, Policy.PRIORITY)


@pytest.mark.parametrize("seed", range(5))
def test_the_default_is_proportional_keeps_the_free_pool_and_wastes_nothing(seed: int) -> None:
    found = scenes.proportion(DEFAULT, Random(seed))
    assert found.higher_got_less == 0
    assert found.jain > 0.99
    assert found.worst_deviation < 0.1
    assert found.free_floor >= 0.25
    assert found.utilisation == 1


def test_the_others_are_seen_to_be_out_of_proportion() -> None:
    for policy in OTHERS:
        assert scenes.proportion(policy, Random(0)).jain < 0.8


@pytest.mark.parametrize("tops", [1, 4, 19])
def test_half_the_price_keeps_a_quarter_at_least_and_nothing_under_strict_priority(
    tops: int,
) -> None:
    assert scenes.half_price(DEFAULT, tops) >= 0.25
    assert scenes.half_price(Policy.PRIORITY, tops) == 0


def test_a_split_in_five_gains_nothing_at_one_place_and_its_limits_are_as_documented() -> None:
    found = scenes.splitting(DEFAULT)
    assert found.one_place <= 0.1
    assert found.five_addresses > 1  # five addresses are five payers
    assert abs(found.five_cheap) < 0.02  # and as much as one, for a fifth of the price
    # Who pays may take one more free peer's part: a fifth of the quarter, beside its own 15 %.
    assert found.pays_and_free == pytest.approx(0.05 / 0.15, abs=0.02)
    for policy in OTHERS:
        assert scenes.splitting(policy).one_place > 1


def test_reversed_bids_settle_within_two_seconds_and_by_payments_they_do_not() -> None:
    assert scenes.settling(DEFAULT) <= 2
    assert scenes.settling(Policy.PAID) > 2


def test_stalling_never_pays() -> None:
    for formula in Formula:
        assert scenes.stalling(DEFAULT, formula) < 1


def test_invented_competitors_bring_no_more_than_the_formulas_bids_would() -> None:
    found = scenes.inventing(DEFAULT)
    assert found.of_full_bids <= 1
    assert found.and_deeds < found.words


def test_what_buyers_paid_is_what_seeders_earned_and_what_left_has_arrived() -> None:
    random = Random(3)
    seeders = [Seeder(random.randrange(MIB, 8 * MIB)) for _ in range(3)]
    world = World(DEFAULT, seeders, scenes.FREE_POOL)
    buyers = []
    for n in range(12):
        wanted = random.randrange(MIB, 64 * MIB)
        plan = Plan(Share(250_000), Amount(random.randrange(10**7)), wanted, wanted).start()
        buyers.append(
            Buyer(f"p{n}", random.randrange(MIB, 4 * MIB), wanted, plan if n % 3 else None)
        )
        world.join(buyers[-1], random.sample(seeders, 2))
    while world.buyers and world.now < 600:
        world.step(0.25)
    assert not world.buyers
    assert [b.got for b in buyers] == [b.wanted for b in buyers]
    assert sum(s.sent for s in seeders) == sum(b.got for b in buyers)
    assert sum(s.income.numerator for s in seeders) == sum(b.cost.numerator for b in buyers) > 0


def test_a_crowd_is_the_same_for_one_seed_and_another_for_another() -> None:
    one, again, other = (crowd(DEFAULT, 40, Random(seed)) for seed in (1, 1, 2))
    assert one == again
    assert one != other
    assert one.jain > 0.99
    assert one.free_floor >= 0.2499


def test_the_study_has_every_row_and_marks_what_is_missed() -> None:
    told: list[Policy] = []
    found = study([Policy.COMMITTED, Policy.PRIORITY], 1, 40, told.append)
    assert told == [Policy.COMMITTED, Policy.PRIORITY]
    rows = {row["name"]: row for row in found["measures"]}
    assert list(rows) == [measure.name for measure in MEASURES]
    assert rows["crowd_revenue_utok"]["values"]["committed"].isdigit()
    assert rows["half_price_keeps"]["met"] == {"committed": True, "priority": False}
    assert all(row["met"]["committed"] for row in rows.values() if row["met"])


def test_the_table_in_the_docs_is_of_this_allocator() -> None:
    """The rows that depend on nothing but how an upload is divided."""
    kept = json.loads((ROOT / "speedpay/docs/figures/simulate.json").read_text())
    rows = {row["name"]: row for row in kept["measures"]}
    assert list(rows) == [measure.name for measure in MEASURES]
    for policy in Policy:
        found = divided(policy, kept["seed"])
        assert {name: round(value, 6) for name, value in found.items()} == {
            name: rows[name]["values"][policy] for name in found
        }
