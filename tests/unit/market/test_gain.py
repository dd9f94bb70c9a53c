"""The measured gain: an estimate that is right, slices that cost little, and an end to paying for nothing."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedpay.market.gain import OVERHEAD_S, Control, Paid, Rules, Sample, alike
from speedpay.units import MIB

RULES = Rules()


def download(
    sellers: list[tuple[int, float]], unpaid: int, size: int, seed: int, rules: Rules = RULES
) -> tuple[Control, float, float]:
    """(control, seconds, seconds without slices) of a download from (paid rate, ratio) of each seller and
    ``unpaid`` bytes a second beside them. Rates are noisy by a tenth."""
    draw, control, now, had = random.Random(seed), Control(rules), 0.0, 0.0
    whole = unpaid + sum(rate for rate, _ in sellers)
    held: tuple[int, float, float] | None = None  # seller, since, until
    while had < size and now < 3600:
        now += 0.1
        for number, (rate, ratio) in enumerate(sellers):
            free = held is not None and held[0] == number
            count = int((rate / ratio if free else rate) * 0.1 * draw.uniform(0.9, 1.1))
            control.arrived(number, count, paid=not free)
            had += count
        control.arrived(99, int(unpaid * 0.1), paid=False)
        had += unpaid * 0.1
        if held is not None and now >= held[2]:
            rate, ratio = sellers[held[0]]
            free_rate = int(rate / ratio * draw.uniform(0.9, 1.1))
            sample = Sample(held[0], int(rate * draw.uniform(0.9, 1.1)), free_rate, now)
            control.sampled(sample, rate / whole, held[2] - held[1])
            held = None
        if held is None:
            paid = [Paid(n, rate, rate / whole) for n, (rate, _) in enumerate(sellers)]
            chosen = control.next_slice(paid, now, (size - had) / whole, now)
            if chosen is not None:
                held = chosen[0], now, now + chosen[1] + OVERHEAD_S
    return control, now, size / whole


@pytest.mark.parametrize("ratio", [1.0, 1.05, 1.5, 3.0, 8.0])
@pytest.mark.parametrize(
    ("sellers", "unpaid"),
    [
        ([10 * MIB], 0),
        ([8 * MIB, MIB, MIB], 0),
        ([MIB] * 8, 2 * MIB),
        ([12 * MIB, *[MIB // 3] * 7], 0),
    ],
)
def test_the_estimate_is_right_and_costs_two_parts_of_a_hundred_at_most(
    sellers: list[int], unpaid: int, ratio: float
) -> None:
    whole = unpaid + sum(sellers)
    control, seconds, unhindered = download([(r, ratio) for r in sellers], unpaid, 300 * whole, 5)
    gain = control.estimate()
    assert gain is not None
    truth = whole / (unpaid + sum(sellers) / ratio)
    assert gain.times == pytest.approx(truth, rel=0.12)
    assert gain.low <= gain.times <= gain.high
    assert gain.certainty > 0.7
    # The noise of the rates is in both figures; what the slices took is at most 2 %.
    assert control.cost_s <= 0.02 * seconds
    assert seconds <= unhindered * 1.03


@settings(derandomize=True, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(20_000, 2 * 10**7), st.floats(1.0, 30.0)), min_size=1, max_size=8),
    st.integers(0, 10**7), st.integers(2, 60), st.integers(0, 99),
)  # fmt: skip
def test_slices_never_cost_more_than_two_parts_of_a_hundred(
    sellers: list[tuple[int, float]], unpaid: int, seconds: int, seed: int
) -> None:
    size = seconds * (unpaid + sum(rate for rate, _ in sellers))
    control, took, _ = download(sellers, unpaid, size, seed)
    assert control.cost_s <= 0.02 * took + 0.01


def test_nothing_is_said_without_a_sample_and_one_sample_is_uncertain() -> None:
    control = Control(RULES)
    control.arrived(1, MIB, paid=True)
    assert control.estimate() is None
    control.sampled(Sample(1, 3000_000, 1000_000, 5.0), 0.5, 1.0)
    gain = control.estimate()
    assert gain is not None
    assert gain.times == pytest.approx(3.0)
    assert gain.certainty < 0.6
    assert control.cost_s == pytest.approx(1 / 3)


def test_a_seller_that_gives_nothing_for_free_has_no_infinite_worth() -> None:
    control = Control(RULES)
    control.arrived(1, MIB, paid=True)
    control.sampled(Sample(1, 3000_000, 0, 5.0), 0.5, 1.0)
    gain = control.estimate()
    assert gain is not None
    assert gain.times < 1000


def test_paying_stops_once_it_made_no_difference_for_thirty_seconds_of_samples() -> None:
    control, paid = Control(RULES), [Paid(1, 1000_000, 1.0)]

    def useless(at: float, free: int) -> bool:
        control.sampled(Sample(1, 1000_000, free, at), 1.0, 1.0)
        return control.is_useless(control.gain_now(paid, 1000_000), at)

    assert not any(useless(at, 990_000) for at in (0.0, 10.0, 20.0, 29.0))
    assert useless(30.0, 990_000)
    control.restart()
    assert not useless(40.0, 990_000)
    assert not useless(50.0, 100_000)  # it did make one
    assert not useless(60.0, 990_000)
    assert not control.is_useless(None, 100.0)


def test_an_unpaid_seller_cannot_have_us_stop_paying_others() -> None:
    control, paid = Control(RULES), [Paid(1, 1000_000, 1.0)]
    control.sampled(Sample(1, 1000_000, 100_000, 0.0), 1.0, 1.0)
    for at in range(100):
        control.sampled(Sample(1, 1000_000, 1000_000, float(at), sliced=False), 0.0, 0.0)
        assert control.gain_now(paid, 1000_000) == pytest.approx(10)
        assert not control.is_useless(control.gain_now(paid, 1000_000), float(at))


def test_a_gain_of_a_tenth_is_worth_paying_for() -> None:
    control, paid = Control(RULES), [Paid(1, 1000_000, 1.0)]
    for at in range(0, 100, 10):
        control.sampled(Sample(1, 1000_000, 880_000, float(at)), 1.0, 1.0)
        assert not control.is_useless(control.gain_now(paid, 1000_000), float(at))


def test_unpaid_sellers_count_where_their_uplink_is_alike() -> None:
    sample = Sample(1, 1000, 300, 0.0)
    assert alike(sample, MIB, 2 * MIB) == Sample(1, 1000, 150, 0.0, sliced=False)
    assert alike(sample, MIB, MIB // 2) == Sample(1, 1000, 600, 0.0, sliced=False)
    for uplink, other in ((0, MIB), (MIB, 0), (MIB, 3 * MIB), (3 * MIB, MIB)):
        assert alike(sample, uplink, other) is None
