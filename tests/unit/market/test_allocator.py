"""The upload divided: by price, never below the free pool, and nothing left idle."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedpay.market.allocator import MAX_WEIGHT, MIN_FREE_POOL, Demand, share_of, shares, weights
from speedpay.market.place import place_of
from speedpay.market.quote import expected_share
from speedpay.units import Price, Share
from tests.vectors.generate import files

prices = st.one_of(st.just(0), st.integers(1, 10), st.integers(1, 10**9))
crowds = st.lists(prices, min_size=1, max_size=40).map(
    lambda found: [Demand(n, Price(p), f"place {n}") for n, p in enumerate(found)]
)
#: The same with few places, so that most hold several connections.
crowded = st.lists(st.tuples(prices, st.integers(0, 4)), min_size=1, max_size=20).map(
    lambda found: [Demand(n, Price(p), f"place {at}") for n, (p, at) in enumerate(found)]
)
pools = st.integers(0, 10**6).map(Share)


def pool_of(pool: Share) -> Fraction:
    return Fraction(max(pool, MIN_FREE_POOL).ppm, 10**6)


@settings(derandomize=True)
@given(crowds, pools)
def test_shares_add_up_to_one_and_nothing_is_idle(crowd: list[Demand], pool: Share) -> None:
    assert sum(shares(crowd, pool).values()) == 1


@settings(derandomize=True)
@given(st.one_of(crowds, crowded), pools)
def test_the_share_of_one_is_what_it_is_among_all(crowd: list[Demand], pool: Share) -> None:
    due = shares(crowd, pool)
    for one in crowd:
        others = [other for other in crowd if other is not one]
        assert share_of(one, others, pool) == due[one.connection]


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
@given(st.one_of(crowds, crowded), st.integers(1, 10**9), pools)
def test_raising_a_price_never_lowers_its_share(
    crowd: list[Demand], more: int, pool: Share
) -> None:
    first = crowd[0]
    higher = Price(first.price.utok_per_mib + more)
    if first.price:
        raised = expected_share(crowd, replace(first, price=higher), pool)
        assert raised >= expected_share(crowd, first, pool)


@settings(derandomize=True)
@given(crowds, pools)
def test_half_the_price_keeps_half_of_the_share(crowd: list[Demand], pool: Share) -> None:
    payers = [demand for demand in crowd if demand.price]
    if len(payers) < 2:
        return
    top = max(payers, key=lambda d: d.price)
    other = next(demand for demand in payers if demand is not top)
    half = replace(other, price=Price(-(-top.price.utok_per_mib // 2)))
    due = shares([half if demand is other else demand for demand in crowd], pool)
    assert 2 * due[half.connection] >= due[top.connection]


# ------------------------------------------------------------------------------------------ places


@settings(derandomize=True)
@given(crowded, pools)
def test_a_place_gets_what_one_connection_with_its_highest_price_would(
    crowd: list[Demand], pool: Share
) -> None:
    due = shares(crowd, pool)
    assert sum(due.values()) == 1
    for lane in (True, False):
        lanes = [demand for demand in crowd if bool(demand.price) is lane]
        for place in {demand.place for demand in lanes}:
            members = [demand for demand in lanes if demand.place == place]
            best = max(members, key=lambda d: d.price)
            alone = shares([d for d in crowd if d is best or d not in members], pool)
            assert sum(due[d.connection] for d in members) == alone[best.connection]
            for one, two in itertools.pairwise(members):
                ratio = (one.price.utok_per_mib or 1, two.price.utok_per_mib or 1)
                assert due[one.connection] * ratio[1] == due[two.connection] * ratio[0]


@settings(derandomize=True)
@given(crowds, st.integers(2, 20), pools)
def test_splitting_at_one_place_takes_nothing_from_others(
    crowd: list[Demand], ways: int, pool: Share
) -> None:
    split = [*crowd[1:], *(replace(crowd[0], connection=1000 + n) for n in range(ways))]
    before, after = shares(crowd, pool), shares(split, pool)
    assert all(after[d.connection] == before[d.connection] for d in crowd[1:])


@settings(derandomize=True)
@given(crowded, pools)
def test_the_free_lane_holds_with_places_and_after_rounding(
    crowd: list[Demand], pool: Share
) -> None:
    found = weights(crowd, pool)
    free = [demand.connection for demand in crowd if not demand.price]
    if not free or len(free) == len(crowd):
        return
    weighed = Fraction(sum(found[connection] for connection in free), sum(found.values()))
    at_the_top = any(found[connection] == MAX_WEIGHT for connection in free)
    assert weighed >= pool_of(pool) or at_the_top


def test_weights_of_five_connections_are_those_of_one_within_two_percent() -> None:
    others = [Demand(n, Price(100), f"place {n}") for n in range(4)] + [Demand(9, Price(0), "free")]
    five = [Demand(20 + n, Price(100), "split") for n in range(5)]
    found = weights([*others, *five], Share(250_000))
    weighed = Fraction(sum(found[d.connection] for d in five), sum(found.values()))
    assert abs(weighed / shares([*others, five[0]], Share(250_000))[20] - 1) <= Fraction(1, 50)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("127.0.0.3", "127.0.0.3"),
        ("127.0.0.4", "127.0.0.4"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2002:c000:201:17::1", "192.0.2.1"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.45"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("somewhere.i2p", "somewhere.i2p"),
    ],
)
def test_a_place_is_an_ipv4_address_or_a_64(address: str, place: str) -> None:
    assert place_of(address) == place


# ------------------------------------------------------------------------------------------- cases


def test_nobody_needs_no_weights() -> None:
    assert shares([], Share(0)) == {}
    assert weights([], Share(0)) == {}


def test_a_crowd_of_the_smallest_payers_does_not_eat_the_free_pool() -> None:
    crowd = [Demand(0, Price(0), "a"), Demand(1, Price(10**9), "b")]
    crowd += [Demand(n, Price(1), f"place {n}") for n in range(2, 202)]
    found = weights(crowd, Share(250_000))
    assert Fraction(found[0], sum(found.values())) >= Fraction(1, 4)


def test_the_weights_of_the_vectors_are_those_of_the_code() -> None:
    known = json.loads(files()["allocator.json"])
    for case in known["cases"].values():
        demands = [Demand(n, Price(e["price"]), e["place"]) for n, e in enumerate(case)]
        found = weights(demands, Share(known["free_pool_ppm"]))
        assert [found[n] for n in range(len(case))] == [entry["weight"] for entry in case]
