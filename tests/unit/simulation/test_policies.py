"""Ways to divide: nobody gets more than fits, nothing is left, and each keeps its own order."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedpay.market.allocator import Demand, shares, weights
from speedpay.simulation.policies import Policy, divide, fill, split
from speedpay.units import MIB, Price, Share

POOL = Share(250_000)
crowds = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 4 * MIB), st.integers(0, 10**6)),
    min_size=1, max_size=12,
)  # fmt: skip


@settings(derandomize=True)
@given(crowds, st.sampled_from(Policy), st.booleans(), st.integers(0, 8 * MIB))
def test_nobody_gets_more_than_fits_and_nothing_is_left(
    crowd: list[tuple[int, int, int]], policy: Policy, rounded: bool, capacity: int
) -> None:
    demands = [Demand(n, Price(price), f"place {n}") for n, (price, _, _) in enumerate(crowd)]
    rooms = {n: room for n, (_, room, _) in enumerate(crowd)}
    paid = {n: amount for n, (price, _, amount) in enumerate(crowd) if price}
    given_to = divide(split(policy, demands, paid, POOL, rounded), rooms, capacity)
    assert all(0 <= given_to[n] <= rooms[n] for n in rooms)
    assert sum(given_to.values()) == min(capacity, sum(rooms.values()))


@settings(derandomize=True)
@given(crowds, st.integers(1, 8 * MIB))
def test_what_is_not_held_back_by_its_own_line_is_in_proportion_to_its_weight(
    crowd: list[tuple[int, int, int]], capacity: int
) -> None:
    due = {n: weight + 1 for n, (weight, _, _) in enumerate(crowd)}
    rooms = {n: room for n, (_, room, _) in enumerate(crowd)}
    given_to = fill(due, rooms, capacity)
    for one in given_to:
        for two in given_to:
            if given_to[one] < rooms[one]:
                # Within a byte for each division, nobody else gets more for its weight.
                slack = len(crowd) * due[one]
                assert given_to[two] * due[one] <= (given_to[one] + slack) * due[two]


def test_the_default_is_the_clients_own_function() -> None:
    demands = [Demand(1, Price(300), "a"), Demand(2, Price(100), "b"), Demand(3, Price(0), "c")]
    assert split(Policy.COMMITTED, demands, {}, POOL, True).tiers == (weights(demands, POOL),)
    fine = split(Policy.COMMITTED, demands, {}, POOL, False).tiers[0]
    due = shares(demands, POOL)
    assert {n: Fraction(part, 10**12) for n, part in fine.items()} == due


def test_the_highest_price_takes_all_but_the_free_pool() -> None:
    demands = [Demand(1, Price(300), "a"), Demand(2, Price(299), "b"), Demand(3, Price(0), "c")]
    how = split(Policy.PRIORITY, demands, {}, POOL, True)
    wide = {1: MIB, 2: MIB, 3: MIB}
    assert divide(how, wide, 1_000) == {1: 750, 2: 0, 3: 250}
    assert divide(how, wide | {1: 100}, 1_000) == {1: 100, 2: 650, 3: 250}
    assert divide(how, wide | {1: 100, 2: 100}, 1_000) == {1: 100, 2: 100, 3: 800}


@pytest.mark.parametrize(("paid", "expected"), [({}, (400, 400)), ({1: 30, 2: 10}, (560, 240))])
def test_payments_of_the_round_before_decide_but_for_a_fifth(
    paid: dict[int, int], expected: tuple[int, int]
) -> None:
    demands = [Demand(1, Price(3), "a"), Demand(2, Price(1), "b")]
    given_to = divide(split(Policy.PAID, demands, paid, POOL, True), {1: MIB, 2: MIB}, 800)
    assert (given_to[1], given_to[2]) == expected
