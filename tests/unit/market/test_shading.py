"""What is committed to a seller: enough by its word, checked by what is measured."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from speedpay.market.allocator import Demand
from speedpay.market.quote import expected_rates
from speedpay.market.shading import (
    CHECK_S,
    HOLD_S,
    LEAST_DIVISOR,
    MAX_LADDER,
    PROBE_S,
    Shade,
    enough,
    ladder,
    least,
)
from speedpay.units import MIB, NO_PRICE, Price, Share

MAXIMUM = Price(38_400)
ASK = Price(100)
FREE = Price(0)
prices = st.integers(1, 10**9).map(Price)
#: By the seller's word, every price buys the same; or only the maximum buys anything worth having.
ALL_ALIKE = {FREE: 100, Price(600): 1000, MAXIMUM: 1000}
ONLY_THE_MOST = {FREE: 100, Price(600): 100, Price(19_200): 600, MAXIMUM: 1000}


def test_the_lowest_price_is_the_ask_or_a_small_part_of_the_maximum() -> None:
    assert least(NO_PRICE, MAXIMUM) == Price(600)
    assert least(Price(601), MAXIMUM) == Price(601)
    assert least(Price(40_000), MAXIMUM) == MAXIMUM
    assert least(NO_PRICE, Price(1)) == Price(1)


@given(st.integers(0, 10**9).map(Price), prices, st.lists(st.integers(0, 10**9), max_size=8))
def test_a_seller_is_asked_about_a_few_prices_between_the_least_and_the_maximum(
    ask: Price, maximum: Price, said: list[int]
) -> None:
    known: dict[Price, int] = {}
    for _ in range(4):  # its answers lead to finer questions
        asked = ladder(ask, maximum, known)
        assert list(asked) == sorted(set(asked))
        assert len(asked) <= MAX_LADDER
        assert asked[0] == NO_PRICE
        assert asked[1] == least(ask, maximum)
        assert asked[-1] == maximum
        known = dict(zip(asked, said, strict=False))


def test_questions_close_in_on_the_lowest_price_that_is_enough() -> None:
    """Beside payers of 2 % of the maximum: 95 % of what it buys costs 36 % of it."""
    others = [Demand(2, Price(768), "two")]
    known: dict[Price, int] = {}
    for _ in range(4):
        asked = ladder(NO_PRICE, MAXIMUM, known)
        me = Demand(1, NO_PRICE, "one")
        rates = expected_rates(others, me, asked, Price(1), Share(250_000), 10 * MIB)
        known = dict(zip(asked, rates, strict=True))
    found = enough(known, MAXIMUM)
    assert found is not None
    exact = next(p for p in range(1, 38_400) if p / (p + 768) >= 0.95 * 38_400 / 39_168)
    assert exact <= found.utok_per_mib <= exact * 11 // 10


def test_a_word_that_says_nothing_is_no_word() -> None:
    assert enough({}, MAXIMUM) is None
    assert enough({FREE: 5}, MAXIMUM) is None
    assert enough({FREE: 5, MAXIMUM: 0}, MAXIMUM) is None
    assert Shade().wanted(NO_PRICE, ASK, MAXIMUM, {}, False, 0.0) == MAXIMUM


def test_the_first_bid_is_what_the_seller_says_is_enough() -> None:
    assert Shade().wanted(NO_PRICE, ASK, MAXIMUM, ALL_ALIKE, False, 0.0) == Price(600)
    assert Shade().wanted(NO_PRICE, ASK, MAXIMUM, ONLY_THE_MOST, False, 0.0) == MAXIMUM
    dear = Price(700)
    assert Shade().wanted(NO_PRICE, dear, MAXIMUM, ALL_ALIKE, False, 0.0) == dear


def test_a_step_down_that_costs_speed_is_taken_back_and_held_longer_each_time() -> None:
    shade = Shade().sent(NO_PRICE, MAXIMUM, None, 0.0)
    lied_to, now, hold = ALL_ALIKE, 10.0, HOLD_S
    for _ in range(3):
        lower = shade.wanted(MAXIMUM, ASK, MAXIMUM, lied_to, False, now)
        assert lower == Price(600)
        shade = shade.sent(MAXIMUM, lower, 1000, now)
        assert shade.checked(lower, 10, now + CHECK_S - 0.1).tried is not None
        shade = shade.checked(lower, 899, now + CHECK_S)
        assert shade.wanted(lower, ASK, MAXIMUM, lied_to, True, now + CHECK_S) == MAXIMUM
        shade = shade.sent(lower, MAXIMUM, 899, now + CHECK_S)
        late = shade.checked(MAXIMUM, 1000, now + CHECK_S + hold - 0.1)
        assert late.wanted(MAXIMUM, ASK, MAXIMUM, lied_to, True, now + CHECK_S + hold) == MAXIMUM
        now, hold = now + CHECK_S + hold, 2 * hold
        shade = shade.checked(MAXIMUM, 1000, now)


def test_a_step_down_is_tried_whatever_the_seller_says_and_what_it_shows_counts() -> None:
    shade = Shade().sent(NO_PRICE, MAXIMUM, None, 0.0)
    assert shade.wanted(MAXIMUM, ASK, MAXIMUM, ONLY_THE_MOST, True, PROBE_S - 1) == MAXIMUM
    assert shade.wanted(MAXIMUM, ASK, MAXIMUM, ONLY_THE_MOST, False, PROBE_S) == MAXIMUM
    price, now, bids = MAXIMUM, PROBE_S, 0
    while price > least(ASK, MAXIMUM):
        lower = shade.wanted(price, ASK, MAXIMUM, ONLY_THE_MOST, True, now)
        assert lower < price
        shade = shade.sent(price, lower, 1000, now).checked(lower, 950, now + CHECK_S)
        price, now, bids = lower, now + PROBE_S, bids + 1
    assert bids < 20
    # It slows down: the seller's word counts again.
    shade = shade.checked(price, 800, now)
    assert shade.wanted(price, ASK, MAXIMUM, ONLY_THE_MOST, False, now) == MAXIMUM


steps = st.tuples(
    st.integers(1, 10**6), st.integers(0, 10**6), st.none() | st.integers(0, 10**7),
    st.booleans(), st.floats(0.0, 100.0),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 2**40)), max_size=8),
)  # fmt: skip


@settings(derandomize=True)
@given(st.lists(steps, max_size=30))
def test_nothing_above_the_maximum_or_below_the_ask_is_ever_committed(
    drawn: list[tuple[int, int, int | None, bool, float, list[tuple[int, int]]]],
) -> None:
    shade, committed, now = Shade(), NO_PRICE, 0.0
    for maximum, ask, rate, may_probe, waited, said in drawn:
        now += waited
        known = {Price(price): bytes_s for price, bytes_s in said}
        shade = shade.checked(committed, rate, now)
        price = shade.wanted(committed, Price(ask), Price(maximum), known, may_probe, now)
        assert min(ask, maximum) <= price.utok_per_mib <= maximum
        assert price.utok_per_mib * LEAST_DIVISOR >= maximum
        shade = shade.sent(committed, price, rate, now)
        committed = price
