"""The bid: the published formula to the digit, then anchored, clamped, seldom, and explained."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from speedpay.errors import Malformed
from speedpay.market.bidder import (
    FLOOR_BYTES,
    Bidding,
    Clamp,
    Formula,
    Plan,
    Stop,
    explain,
    parts_of_one,
    published_bid,
)
from speedpay.units import GIB, KIB, MAX_UTOK, MIB, ZERO, Amount, Price, Share
from tests.vectors.generate import files

shares_ = st.integers(0, 10**6).map(Share)
balances = st.integers(0, 10**15).map(Amount)
sizes = st.integers(1, 2**45)
prices = st.integers(1, 10**9).map(Price)
plans = st.builds(
    Plan, shares_, balances, sizes, sizes, st.sampled_from(Formula), st.none() | prices,
    st.none() | prices, st.none() | balances, st.none() | prices,
)  # fmt: skip
HUNDRED = Plan(Share(250_000), Amount(100_000_000), GIB, GIB).start()


@settings(derandomize=True)
@given(shares_, st.integers(0, MAX_UTOK).map(Amount), st.integers(1, 2**50))
def test_the_published_bid_is_the_exact_rational_formula(
    consumption: Share, balance: Amount, remaining_kb: int
) -> None:
    exact = Fraction(consumption.ppm, 10**6) * balance.utok / remaining_kb * 1024
    bid = published_bid(consumption, balance, remaining_kb)
    assert bid.utok_per_mib == min(MAX_UTOK, exact.__floor__())


@pytest.mark.parametrize("remaining_kb", [0, -1, Fraction(-1, 2)])
def test_nothing_remaining_has_no_price(remaining_kb: int | Fraction) -> None:
    with pytest.raises(Malformed) as refused:
        published_bid(Share(1), Amount(1), remaining_kb)
    assert refused.value.field == "remaining_kb"


@settings(derandomize=True)
@given(shares_, balances, st.integers(FLOOR_BYTES, 2**45), st.data())
def test_when_planned_the_anchored_bid_is_the_published_one_to_the_digit(
    consumption: Share, balance: Amount, remaining: int, data: st.DataObject
) -> None:
    wanted = data.draw(st.integers(remaining, min(remaining * 50, 2**46)))
    plan = Plan(consumption, balance, wanted, remaining).start()
    found = explain(plan, ZERO, balance, remaining)
    assume(plan.allowance)
    assert found.price == found.raw == found.published
    assert found.price == published_bid(consumption, balance, Fraction(remaining, KIB))
    assert found.clamp is Clamp.NONE


def test_the_worked_examples_of_the_specification_hold() -> None:
    begin = explain(HUNDRED, ZERO, Amount(100_000_000), GIB)
    assert HUNDRED.allowance == Amount(25_000_000)
    assert begin.price == Price(24_414)
    half = explain(HUNDRED, Amount(6_144_000), Amount(93_856_000), GIB // 2)
    assert round(half.raw.utok_per_mib / 1024, 2) == 35.96  # 35.97 before rounding down to µtok/MiB
    assert round(half.price.utok_per_mib / 1024, 2) == 35.76
    assert half.clamp is Clamp.FIRST_BID
    last = explain(HUNDRED, Amount(7_000_000), Amount(93_000_000), 16 * KIB)
    assert last.raw == Price(1_125_000 * 1024)
    assert round(last.price.utok_per_mib / 1024, 2) == 35.76


def test_the_bids_of_the_vectors_are_the_bids_of_the_code() -> None:
    for example in json.loads(files()["bids.json"])["examples"]:
        plan = Plan.from_json(example["plan"])
        spent, balance = Amount(int(example["spent"])), Amount(int(example["balance"]))
        found = explain(plan, spent, balance, example["remaining_bytes"])
        assert found.price.utok_per_mib == example["price"]
        assert str(found) == example["says"]


@settings(derandomize=True)
@given(plans.map(Plan.start), balances, balances, st.integers(0, 2**45), st.booleans())
def test_a_bid_keeps_every_limit_and_explains_itself(
    plan: Plan, spent: Amount, balance: Amount, remaining: int, paused: bool
) -> None:
    found = explain(plan, spent, balance, remaining, paused)
    assert (found.price == Price(0)) == (found.stop is not None)
    if plan.cap is not None:
        assert found.price <= plan.cap
    if plan.fixed is not None and found.stop is None:
        assert found.price == min(plan.fixed, plan.cap or plan.fixed)
    elif plan.formula is Formula.ANCHORED:
        assert found.price <= found.raw
        assert found.divisor_bytes * found.price.utok_per_mib <= (found.left.utok + 1) * MIB
        if plan.first_bid is not None:
            assert found.price.utok_per_mib <= plan.first_bid.utok_per_mib * 3 // 2
    text = str(found)
    if found.stop is not None:
        assert text == f"no bid: {found.stop}"
    elif found.clamp is not Clamp.NONE:
        assert str(found.clamp) in text
    if found.stop is None and plan.fixed is None:
        assert f"the published formula says {found.published.utok_per_mib}" in text


@pytest.mark.parametrize(
    ("plan", "remaining", "clamp"),
    [
        (Plan(Share(250_000), Amount(10**8), GIB, MIB), MIB, Clamp.REMAINING_FLOOR),
        (HUNDRED, GIB // 2, Clamp.FIRST_BID),
        (Plan(Share(250_000), Amount(10**8), GIB, GIB, cap=Price(9)), GIB, Clamp.USER_CAP),
        (Plan(Share(250_000), Amount(10**8), GIB, GIB, fixed=Price(9)), GIB, Clamp.FIXED),
    ],
)
def test_each_clamp_is_named(plan: Plan, remaining: int, clamp: Clamp) -> None:
    found = explain(plan, ZERO, Amount(10**8), remaining)
    assert found.clamp is clamp
    assert str(clamp) in str(found)


@pytest.mark.parametrize(
    ("spent", "remaining", "paused", "stop"),
    [
        (0, 0, False, Stop.COMPLETE), (0, GIB, True, Stop.PAUSED),
        (25_000_000, GIB, False, Stop.SPENT), (24_999_999, GIB, False, Stop.SPENT),
    ],
)  # fmt: skip
def test_each_reason_not_to_bid_is_named(
    spent: int, remaining: int, paused: bool, stop: Stop
) -> None:
    found = explain(HUNDRED, Amount(spent), Amount(10**8), remaining, paused)
    assert found.stop is stop
    assert found.price == Price(0)


def test_a_plan_made_without_money_is_not_held_at_zero_for_ever() -> None:
    poor = Plan(Share(250_000), ZERO, GIB, GIB).start()
    assert poor.first_bid is None
    rich = poor.replan(Plan(Share(250_000), Amount(100_000_000), GIB, GIB)).start()
    assert explain(rich, ZERO, Amount(100_000_000), GIB).price == Price(24_414)


def test_a_new_plan_keeps_its_first_bid_its_limit_and_what_was_spent() -> None:
    more = HUNDRED.replan(Plan(Share(1_000_000), Amount(100_000_000), GIB, GIB)).start()
    assert more.first_bid == HUNDRED.first_bid
    found = explain(more, Amount(5_000_000), Amount(95_000_000), GIB)
    assert found.left == Amount(95_000_000)
    assert found.price == Price(36_621)
    limited = replace(HUNDRED, max_spend=Amount(7))
    assert limited.replan(HUNDRED).max_spend == Amount(7)
    assert limited.replan(replace(HUNDRED, max_spend=Amount(9))).max_spend == Amount(9)
    fixed = replace(HUNDRED, fixed=Price(9), first_bid=None)
    assert HUNDRED.replan(fixed).first_bid is None, "another way of bidding begins anew"


# ----------------------------------------------------------------------- several torrents together


@settings(derandomize=True)
@given(
    st.integers(0, 1_000_000), st.integers(0, 10**15), st.booleans(),
    st.lists(st.integers(1, 999_999), min_size=1, max_size=8),
)  # fmt: skip
def test_torrents_together_share_one_consumption_by_weight(
    ppm: int, balance: int, fixed: bool, weights: list[int]
) -> None:
    price = Price(5) if fixed else None
    parts = parts_of_one(weights)
    assert sum(parts) == 1
    alone = Plan(Share(ppm), Amount(balance), GIB, GIB, fixed=price).allowance.utok
    found = [
        Plan(Share(ppm), Amount(balance), GIB, GIB, fixed=price, weight=part).allowance.utok
        for part in parts
    ]
    assert alone - len(weights) < sum(found) <= alone
    for utok, weight in zip(found, weights, strict=True):
        exact = Fraction((1_000_000 if fixed else ppm) * balance * weight, 1_000_000 * sum(weights))
        assert utok <= exact < utok + 1


def test_a_weighted_torrent_bids_its_part_of_the_formula() -> None:
    quarter = Plan(Share(250_000), Amount(100_000_000), GIB, GIB, weight=Fraction(1, 4)).start()
    found = explain(quarter, ZERO, Amount(100_000_000), GIB)
    assert found.price == found.published == Price(24_414 // 4)
    assert quarter.allowance == Amount(6_250_000)


def test_a_plan_of_before_there_were_weights_has_all_of_it() -> None:
    old = HUNDRED.to_json()
    del old["weight"]
    assert Plan.from_json(old) == HUNDRED


# ------------------------------------------------------------------------------------- the store


@settings(derandomize=True)
@given(plans)
def test_a_plan_survives_the_store(plan: Plan) -> None:
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert Plan.from_json(plan.start().to_json()) == plan.start()


@pytest.mark.parametrize(
    "changes",
    [
        {"balance": 1}, {"balance": "1.0"}, {"balance": "-1"}, {"balance": str(2**63)},
        {"wanted_bytes": "1"}, {"wanted_bytes": True}, {"wanted_bytes": -1}, {"wanted_bytes": 1.0},
        {"consumption_ppm": 1_000_001}, {"formula": "newest"}, {"formula": 1}, {"formula": []},
        {"cap": "1"}, {"cap": -1}, {"max_spend": 1}, {"first_bid": 2**63}, {"unknown": 1},
        {"weight": 1}, {"weight": "0/1"}, {"weight": "3/2"}, {"weight": "1"}, {"weight": "1/1e9"},
    ],
    ids=str,
)  # fmt: skip
def test_a_stored_plan_is_read_strictly(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed) as refused:
        Plan.from_json({**HUNDRED.to_json(), **changes})
    assert refused.value.field


@pytest.mark.parametrize("value", [None, [], "", 1, {}])
def test_what_is_no_plan_is_malformed(value: object) -> None:
    with pytest.raises(Malformed):
        Plan.from_json(value)


# ------------------------------------------------------------------------------------ when to send


@settings(derandomize=True)
@given(st.integers(1, 10**9), st.integers(1, 10**9), st.floats(60, 10**6))
def test_a_change_of_ten_percent_or_less_is_never_a_new_bid(
    old: int, new: int, later: float
) -> None:
    bidding = Bidding().sent(Price(old), 0.0)
    allowed = bidding.allows(Price(new), later)
    assert allowed == (abs(new - old) * 10 > old)


def test_exactly_ten_percent_is_not_enough() -> None:
    bidding = Bidding().sent(Price(1000), 0.0)
    assert [p for p in (899, 900, 1000, 1100, 1101) if bidding.allows(Price(p), 100.0)] == [
        899,
        1101,
    ]


@settings(derandomize=True, max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 10**6)), max_size=200))
def test_rebids_are_five_seconds_apart_and_six_a_minute(steps: list[tuple[float, int]]) -> None:
    bidding, now, sent = Bidding(), 1000.0, []
    for wait, price in steps:
        now += wait
        if bidding.allows(Price(price), now):
            bidding = bidding.sent(Price(price), now)
            sent.append(now)
    assert all(b - a >= 5.0 for a, b in itertools.pairwise(sent))
    assert all(sum(at - 60.0 < other <= at for other in sent) <= 6 for at in sent)
