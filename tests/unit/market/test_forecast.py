"""What seeding may earn: the recent rate kept up, and no more sure than the recent days allow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from speedpay.market.forecast import DAY_S, WINDOW_S, Income, Sureness, forecast
from speedpay.units import Amount

NOW = 1_800_000_000
incomes = st.lists(
    st.builds(
        Income, st.integers(NOW - 3 * WINDOW_S, NOW), st.builds(Amount, st.integers(0, 10**12))
    )
)


def _each_day(utok: int, per_day: int = 4) -> list[Income]:
    """For seven days, spread over each of them."""
    step = DAY_S // per_day
    return [Income(NOW - WINDOW_S + at * step + 1, Amount(utok)) for at in range(7 * per_day)]


def test_an_uplink_that_nobody_pays_for_is_expected_to_earn_nothing() -> None:
    found = forecast([], NOW - WINDOW_S, NOW, 30 * DAY_S)
    assert (found.expected, found.high, found.sureness) == (Amount(0), Amount(0), Sureness.NOBODY)
    worthless = [Income(NOW - 5, Amount(0))]
    assert forecast(worthless, NOW - WINDOW_S, NOW, DAY_S).sureness is Sureness.NOBODY


def test_what_was_earned_before_the_last_seven_days_is_no_reason_to_expect_it_again() -> None:
    old = [Income(NOW - WINDOW_S - 1, Amount(10**9))]
    assert forecast(old, NOW - 30 * DAY_S, NOW, DAY_S).sureness is Sureness.NOBODY


def test_minutes_of_seeding_say_nothing_about_days() -> None:
    rich = [Income(NOW - 10, Amount(10**9))]
    for since in (None, NOW + 1, NOW, NOW - 60):
        found = forecast(rich, since, NOW, DAY_S)
        assert (found.expected, found.sureness) == (Amount(0), Sureness.UNKNOWN)


def test_an_even_week_goes_on_and_is_fairly_sure() -> None:
    found = forecast(_each_day(250_000), NOW - WINDOW_S, NOW, DAY_S)
    assert found.expected == found.low == found.high == Amount(1_000_000)
    assert (found.sureness, found.payers) == (Sureness.FAIR, 28)
    assert forecast(_each_day(250_000), NOW - WINDOW_S, NOW, 30 * DAY_S).expected.utok == 30_000_000


def test_one_good_day_makes_the_range_wide_and_few_payers_make_it_a_guess() -> None:
    one_day = [Income(NOW - 60 * at, Amount(100)) for at in range(20)]
    found = forecast(one_day, NOW - WINDOW_S, NOW, DAY_S)
    assert (found.low, found.high) == (Amount(0), Amount(2_000))
    assert found.expected == Amount(2_000 // 7)
    assert found.sureness is Sureness.ROUGH
    assert forecast(one_day[:9], NOW - WINDOW_S, NOW, DAY_S).sureness is Sureness.GUESS
    assert forecast(one_day, NOW - DAY_S // 2, NOW, DAY_S).sureness is Sureness.GUESS


@given(incomes, st.integers(3600, 3 * WINDOW_S), st.integers(1, 30 * DAY_S))
def test_the_expectation_lies_in_its_range_and_is_the_rate_of_the_time_looked_at(
    earned: list[Income], age_s: int, ahead_s: int
) -> None:
    found = forecast(earned, NOW - age_s, NOW, ahead_s)
    assert found.low <= found.expected <= found.high
    recent = [one.amount.utok for one in earned if one.at >= NOW - min(age_s, WINDOW_S)]
    assert found.expected.utok == sum(recent) * ahead_s // found.looked_at_s
