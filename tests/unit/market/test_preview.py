"""Predictions: sums that can be done by hand, what must hold of all of them, and their words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedpay.market.preview import (
    EFFICIENCY,
    MEASURE_S,
    START_S,
    TAIL_S,
    Certainty,
    Scene,
    Source,
    error_ppm,
    predict,
)
from speedpay.units import MIB, NO_PRICE, ZERO, Price

BID = Price(20_000)
AROUND_S = START_S + TAIL_S


def seed(free: int, paid: int, ask: int = 0, uplink: int = 16 * MIB) -> Source:
    return Source(True, Price(ask), {NO_PRICE: free, BID: paid}, 9, uplink)


def test_one_seed_takes_the_bytes_over_its_rate_and_the_time_around() -> None:
    scene = Scene([seed(MIB, 12 * MIB)], 120 * MIB, 0)
    paid, free = predict(scene, BID, shade=False), predict(scene, NO_PRICE, shade=False)
    assert paid.seconds == pytest.approx(120 / 12 / EFFICIENCY + AROUND_S, rel=0.01)
    assert free.seconds == pytest.approx(120 / EFFICIENCY + AROUND_S, rel=0.01)
    assert (paid.cost, paid.high_cost) == (BID.cost_ceil(120 * MIB), BID.cost_ceil(120 * MIB))
    assert (free.cost, free.low_cost, free.high_cost) == (ZERO, ZERO, ZERO)
    assert paid.certainty == free.certainty == Certainty.GOOD


def test_peers_that_hold_nothing_yet_give_only_what_seeds_gave_them_first() -> None:
    peers = [Source(False, Price(0), {NO_PRICE: MIB, BID: 4 * MIB}, 9, 4 * MIB) for _ in range(8)]
    origin = seed(MIB, 12 * MIB)
    alone = predict(Scene([origin], 120 * MIB, 0), BID, shade=False).seconds
    empty = predict(Scene([origin, *peers], 120 * MIB, 0), BID, shade=False).seconds
    full = predict(Scene([origin, *peers], 120 * MIB, 120 * MIB), BID, shade=False).seconds
    assert alone is not None
    assert empty is not None
    assert full is not None
    # 4 MiB/s go to others, and never more than that comes from them; if they have all, 28 do and more.
    assert 120 / 16 / EFFICIENCY + AROUND_S < empty < alone
    assert full < (120 / 40) / EFFICIENCY + AROUND_S


def test_our_own_downlink_bounds_everything() -> None:
    scene = Scene([seed(MIB, 12 * MIB)], 120 * MIB, 0, download_limit=2 * MIB)
    for price in (NO_PRICE, BID):
        seconds = predict(scene, price, shade=False).seconds
        assert seconds is not None
        assert seconds >= 60


def test_only_as_many_sellers_are_paid_as_there_are_places() -> None:
    scene = Scene([seed(0, MIB, uplink=2 * MIB) for _ in range(10)], 80 * MIB, 0, places=4)
    seconds = predict(scene, BID, shade=False).seconds
    assert seconds == pytest.approx(20 / EFFICIENCY + AROUND_S, rel=0.01)


def test_a_seller_that_asks_more_gives_the_free_lane_for_nothing() -> None:
    said = predict(Scene([seed(MIB, 12 * MIB, ask=30_000)], 12 * MIB, 0), BID, shade=False)
    assert said.seconds == pytest.approx(12 / EFFICIENCY + AROUND_S, rel=0.01)
    assert said.cost == said.high_cost == ZERO
    assert "nobody sells at this price" in said.why


def test_shading_counts_what_would_be_committed() -> None:
    rates = {NO_PRICE: MIB, Price(5_000): 12 * MIB, BID: 12 * MIB}
    scene = Scene([Source(True, Price(1_000), rates, 2, 16 * MIB)], 64 * MIB, 0)
    plain, shaded = predict(scene, BID, shade=False), predict(scene, BID, shade=True)
    assert plain.seconds == shaded.seconds
    assert shaded.cost == Price(5_000).cost_ceil(64 * MIB)
    assert shaded.high_cost == plain.cost == BID.cost_ceil(64 * MIB)


def test_without_a_word_or_a_measurement_nothing_is_known() -> None:
    said = predict(Scene([Source(True, Price(0))], MIB, 0), BID, shade=False)
    assert (said.seconds, said.high_s, said.certainty) == (None, None, Certainty.NONE)
    assert said.why == "0 of 1 peers answered"
    assert predict(Scene([], MIB, 0), NO_PRICE, shade=False).seconds is None


def test_pieces_that_nobody_holds_never_come() -> None:
    peer = Source(False, Price(0), {NO_PRICE: MIB, BID: MIB}, 1, MIB)
    said = predict(Scene([peer], 10 * MIB, 4 * MIB), BID, shade=False)
    assert said.seconds is None
    assert "nobody here has all of it" in said.why


def test_a_measured_free_lane_counts_beside_the_word() -> None:
    source = replace(seed(4 * MIB, 12 * MIB), measured=MIB)
    told = predict(Scene([source], 40 * MIB, 0, measured_s=MEASURE_S), NO_PRICE, shade=False)
    by_word, by_measure = 10 / EFFICIENCY + AROUND_S, 40 + TAIL_S
    assert told.seconds == pytest.approx((by_word + by_measure) / 2, rel=0.01)
    assert told.high_s is not None
    assert told.high_s >= by_measure
    assert "measured for 3 s" in told.why


def test_paying_is_never_said_to_be_slower_than_the_free_lane_that_was_measured() -> None:
    source = replace(seed(4 * MIB, 4 * MIB), measured=8 * MIB)
    scene = Scene([source], 40 * MIB, 0, measured_s=MEASURE_S)
    free, paid = predict(scene, NO_PRICE, shade=False), predict(scene, BID, shade=False)
    assert paid.seconds == free.seconds
    assert free.seconds is not None
    assert free.seconds < 10


def test_an_ordinary_swarm_is_predicted_from_what_was_measured_and_paying_gains_nothing() -> None:
    sources = [Source(True, measured=MIB), Source(True, measured=2 * MIB)]
    scene = Scene(sources, 30 * MIB, 0, measured_s=4.0)
    free, paid = predict(scene, NO_PRICE, shade=False), predict(scene, BID, shade=False)
    assert free.certainty is Certainty.FAIR
    assert paid.certainty is Certainty.POOR
    assert paid.cost == ZERO
    assert free.seconds is not None
    assert paid.seconds is not None
    assert paid.seconds >= 10


def test_a_seller_that_gave_less_than_it_said_widens_the_range() -> None:
    honest = Scene([replace(seed(4 * MIB, 12 * MIB), measured=4 * MIB)], 96 * MIB, 0, measured_s=4)
    boaster = Scene([replace(seed(4 * MIB, 12 * MIB), measured=0)], 96 * MIB, 0, measured_s=4)
    believed = predict(honest, BID, shade=False).high_s
    doubted = predict(boaster, BID, shade=False).high_s
    assert believed is not None
    assert doubted is not None
    assert doubted > 2 * believed


rates = st.integers(0, 2**40)
sources = st.builds(
    lambda is_seed, ask, free, more, answered, load, uplink, measured: Source(
        is_seed, ask, {NO_PRICE: free, BID: free + more} if answered else None, load, uplink, measured
    ),
    st.booleans(), st.none() | st.integers(0, 2 * BID.utok_per_mib).map(Price), rates, rates,
    st.booleans(), st.integers(0, 2**20), rates, rates,
)  # fmt: skip
scenes = st.builds(
    Scene, st.lists(sources, max_size=12), st.integers(0, 2**45), st.integers(0, 2**45),
    st.floats(0, 60), st.none() | st.integers(1, 2**40),
)  # fmt: skip


@settings(derandomize=True, max_examples=50, deadline=None)
@given(scenes, st.sampled_from([NO_PRICE, BID]), st.booleans())
def test_whatever_peers_say_the_range_holds_the_estimate(
    scene: Scene, price: Price, shade: bool
) -> None:
    said = predict(scene, price, shade=shade)
    assert said.low_cost <= said.cost <= said.high_cost <= price.cost_ceil(scene.remaining_bytes)
    if said.seconds is None:
        assert (said.high_s, said.cost, said.certainty) == (None, ZERO, Certainty.NONE)
        return
    assert said.low_s is not None
    assert 0 <= said.low_s <= said.seconds
    assert said.high_s is None or said.high_s >= said.seconds


@pytest.mark.parametrize(
    ("predicted", "took", "off"),
    [(1000, 1000, 0), (1250, 1000, 250_000), (750, 1000, 250_000), (5, 0, 5_000_000)],
)
def test_how_far_off_is_a_part_of_what_it_took(predicted: int, took: int, off: int) -> None:
    assert error_ppm(predicted, took) == off
