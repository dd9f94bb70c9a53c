"""The upload divided: by price, never below the free pool, and nothing left idle."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from speedpay.market.allocator import MAX_WEIGHT, MIN_FREE_POOL, Demand, shares, weights
from speedpay.market.quote import expected_share
from speedpay.units import Price, Share
from tests.vectors.generate import files

prices = st.one_of(st.just(0), st.integers(1, 10), st.integers(1, 10**9))
crowds = st.lists(prices, min_size=1, max_size=40).map(
    lambda found: [Demand(n, Price(p)) for n, p in enumerate(found)]
)
pools = st.integers(0, 10**6).map(Share)


def pool_of(pool: Share) -> Fraction:
    return Fraction(max(pool, MIN_FREE_POOL).ppm, 10**6)


@settings(derandomize=True)
@given(crowds, pools)
def test_shares_add_up_to_one_and_nothing_is_idle(crowd: list[Demand], pool: Share) -> None:
    assert sum(shares(crowd, pool).values()) == 1


@settings(derandomize=True)
@given(crowds, pools)
def test_payers_are_served_in_proportion_to_their_price(crowd: list[Demand], pool: Share) -> None:
    due = shares(crowd, pool)
    payers = [demand for demand in crowd if demand.price]
    for one in payers:
        for two in payers:
            left = due[one.connection] * two.price.utok_per_mib
            assert left == due[two.connection] * one.price.utok_per_mib


@settings(derandomize=True)
@given(crowds, pools)
def test_the_free_lane_gets_its_pool_and_ten_percent_always(
    crowd: list[Demand], pool: Share
) -> None:
    due, found = shares(crowd, pool), weights(crowd, pool)
    free = [demand.connection for demand in crowd if not demand.price]
    if not free or len(free) == len(crowd):
        return
    assert sum(due[connection] for connection in free) == pool_of(pool)
    weighed = Fraction(sum(found[connection] for connection in free), sum(found.values()))
    most = Fraction(len(free) * MAX_WEIGHT, sum(found.values()))
    assert weighed >= min(pool_of(pool), most)


@settings(derandomize=True)
@given(crowds, pools)
def test_a_higher_price_never_gets_less(crowd: list[Demand], pool: Share) -> None:
    due, found = shares(crowd, pool), weights(crowd, pool)
    payers = sorted((d for d in crowd if d.price), key=lambda d: d.price)
    for lower, higher in itertools.pairwise(payers):
        assert due[lower.connection] <= due[higher.connection]
        assert found[lower.connection] <= found[higher.connection]


@settings(derandomize=True)
@given(crowds, pools)
def test_weights_are_shares_of_one_scale_rounded_by_less_than_one(
    crowd: list[Demand], pool: Share
) -> None:
    due, found = shares(crowd, pool), weights(crowd, pool)
    assert all(1 <= weight <= MAX_WEIGHT for weight in found.values())
    top = max(due.values())
    payers = [demand.connection for demand in crowd if demand.price]
    assert any(
        all(found[c] == max(1, (due[c] * scale / top).__floor__()) for c in payers)
        for scale in range(1, MAX_WEIGHT + 1)
    )
    equal: dict[Price, set[int]] = {demand.price: set() for demand in crowd}
    for demand in crowd:
        equal[demand.price].add(found[demand.connection])
    assert all(len(same) == 1 for same in equal.values())


@settings(derandomize=True)
@given(crowds, st.integers(1, 10**9), pools)
def test_raising_a_price_never_lowers_its_share(
    crowd: list[Demand], more: int, pool: Share
) -> None:
    first = crowd[0]
    higher = Price(first.price.utok_per_mib + more)
    if first.price:
        raised = expected_share(crowd, first.connection, higher, pool)
        assert raised >= expected_share(crowd, first.connection, first.price, pool)


def test_nobody_needs_no_weights() -> None:
    assert shares([], Share(0)) == {}
    assert weights([], Share(0)) == {}


def test_a_crowd_of_the_smallest_payers_does_not_eat_the_free_pool() -> None:
    crowd = [Demand(0, Price(0)), Demand(1, Price(10**9))]
    crowd += [Demand(n, Price(1)) for n in range(2, 202)]
    found = weights(crowd, Share(250_000))
    assert Fraction(found[0], sum(found.values())) >= Fraction(1, 4)


def test_the_weights_of_the_vectors_are_those_of_the_code() -> None:
    known = json.loads(files()["allocator.json"])
    for case in known["cases"].values():
        demands = [Demand(n, Price(entry["price"])) for n, entry in enumerate(case)]
        found = weights(demands, Share(known["free_pool_ppm"]))
        assert [found[n] for n in range(len(case))] == [entry["weight"] for entry in case]
