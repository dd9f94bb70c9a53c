"""A seller's trust, and a buyer's escrow: small at first, growing with what is paid."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedpay.market.escrow import FIRST_BYTES, first_escrow, is_low, is_urgent, top_up
from speedpay.market.metering import UNIT_MIN_BYTES
from speedpay.market.window import (
    FORGIVEN_BYTES,
    WINDOW_MAX_BYTES,
    WINDOW_MIN_BYTES,
    Trust,
    Window,
)
from speedpay.units import MAX_UTOK, MIB, ZERO, Amount, Price

PRICE = Price(24_414)
RICH = Amount(10**12)


def test_a_window_starts_at_64_kib_and_doubles_with_each_one_paid() -> None:
    window, sizes = Window(), []
    for _ in range(8):
        sizes.append(window.size_bytes)
        window = window.served(window.size_bytes, PRICE)
        window = window.paid_up(PRICE.cost_ceil(window.size_bytes), 0, PRICE)
    assert sizes == [WINDOW_MIN_BYTES << n for n in range(7)] + [WINDOW_MAX_BYTES]


def test_half_a_window_paid_twice_grows_it_once() -> None:
    half = PRICE.cost_ceil(WINDOW_MIN_BYTES // 2)
    once = Window().served(WINDOW_MIN_BYTES, PRICE).paid_up(half, 0, PRICE)
    assert once.size_bytes == WINDOW_MIN_BYTES
    assert once.paid_up(half, 0, PRICE).size_bytes == 2 * WINDOW_MIN_BYTES


def test_vouchers_without_bytes_grow_no_window() -> None:
    window, least = Window(), Price(1)
    for _ in range(20):
        window = window.paid_up(Amount(1), 0, least).paid_up(ZERO, 0, least)
    assert window.size_bytes == WINDOW_MIN_BYTES


def test_what_was_paid_at_a_low_price_is_trust_of_that_value_at_a_high_one() -> None:
    window, low = Window(), Price(1)
    for _ in range(12):
        window = window.served(64 * MIB, low).paid_up(Amount(64), 0, low)
    assert window.limit_bytes(low, RICH) > WINDOW_MAX_BYTES
    assert window.limit_bytes(PRICE, RICH) == WINDOW_MAX_BYTES


def test_a_late_payment_halves_it_down_to_the_start() -> None:
    assert Window(4 * WINDOW_MIN_BYTES).late().size_bytes == 2 * WINDOW_MIN_BYTES
    assert Window().late().size_bytes == WINDOW_MIN_BYTES


def test_a_full_window_withholds_then_serves_free_then_ends() -> None:
    window = Window().served(WINDOW_MIN_BYTES, PRICE)
    found = []
    for now in (100.0, 104.9, 105.0, 159.9, 160.0):
        window, trust = window.at(PRICE, RICH, now)
        found.append(trust)
    assert found == [Trust.WITHHOLD, Trust.WITHHOLD, Trust.FREE, Trust.FREE, Trust.END]
    window, trust = window.paid_up(PRICE.cost_ceil(WINDOW_MIN_BYTES), 0, PRICE).at(
        PRICE, RICH, 161.0
    )
    assert trust is Trust.SERVE
    assert window.full_since is None


def test_a_window_never_passes_what_the_escrow_can_pay() -> None:
    window = Window(WINDOW_MAX_BYTES)
    left = PRICE.cost_floor(WINDOW_MIN_BYTES)
    assert window.limit_bytes(PRICE, left) <= WINDOW_MIN_BYTES
    assert window.served(WINDOW_MIN_BYTES, PRICE).is_full(PRICE, left)
    assert window.is_full(PRICE, ZERO)


@settings(derandomize=True)
@given(st.integers(1, 100), st.lists(st.booleans(), max_size=200))
def test_at_any_price_a_full_window_is_at_least_one_unit_of_money(
    price: int, turns: list[bool]
) -> None:
    """Otherwise a buyer that pays all it owes, rounded down, could never open it again."""
    window = Window()
    for _ in turns:
        window = window.served(16 * 1024, Price(price))
        if window.is_full(Price(price), RICH):
            owed = window.due.floor().minus_or_zero(window.paid)
            assert owed
            window = window.paid_up(owed, 0, Price(price))
            assert not window.is_full(Price(price), RICH)


def test_refused_bytes_are_forgiven_up_to_a_bound() -> None:
    window = Window().served(4 * MIB, PRICE)
    honest = window.paid_up(ZERO, MIB // 2, PRICE)
    assert window.exposure(PRICE) - honest.exposure(PRICE) == MIB // 2 * PRICE.utok_per_mib
    liar = window.paid_up(ZERO, 2**50, PRICE)
    assert window.exposure(PRICE) - liar.exposure(PRICE) == FORGIVEN_BYTES * PRICE.utok_per_mib
    large = Window().served(64 * MIB, PRICE)
    forgiven = large.exposure(PRICE) - large.paid_up(ZERO, 2**50, PRICE).exposure(PRICE)
    assert forgiven == 4 * MIB * PRICE.utok_per_mib


def test_a_refused_count_never_falls() -> None:
    assert Window().paid_up(ZERO, 100, PRICE).paid_up(ZERO, 50, PRICE).refused_bytes == 100


# ---------------------------------------------------------------------------------------- escrow


@settings(derandomize=True)
@given(
    st.integers(0, 10**12).map(Amount), st.integers(1, MAX_UTOK).map(Price),
    st.integers(0, MAX_UTOK).map(Amount), st.integers(0, 10**12).map(Amount),
)  # fmt: skip
def test_an_unknown_payee_gets_a_twentieth_at_most_whatever_it_asks_for(
    allowance: Amount, price: Price, min_escrow: Amount, free: Amount
) -> None:
    amount = first_escrow(allowance, price, min_escrow, free)
    unit = price.cost_ceil(UNIT_MIN_BYTES)
    assert amount <= free
    assert amount <= max(Amount(allowance.utok // 20), unit)
    if amount:
        assert amount >= max(unit, min_escrow)


def test_a_greedy_minimum_gets_nothing() -> None:
    allowance = Amount(25_000_000)
    assert first_escrow(allowance, PRICE, Amount(1_250_001), allowance) == ZERO
    assert first_escrow(allowance, PRICE, Amount(1_250_000), allowance) == Amount(1_250_000)
    assert first_escrow(allowance, PRICE, ZERO, allowance) == PRICE.cost_ceil(FIRST_BYTES)


@pytest.mark.parametrize(("signed", "low"), [(699, False), (700, True), (1000, True)])
def test_a_channel_is_low_at_seventy_percent(signed: int, low: bool) -> None:
    assert is_low(Amount(1000), Amount(signed), PRICE, 0) is low


def test_a_channel_is_low_when_a_second_and_urgent_when_a_quarter_would_empty_it() -> None:
    escrow, one_second = PRICE.cost_ceil(10 * MIB), 3 * MIB
    assert is_low(escrow, PRICE.cost_ceil(6 * MIB), PRICE, one_second) is False
    assert is_low(escrow, PRICE.cost_ceil(6 * MIB), PRICE, 5 * MIB) is True
    assert is_urgent(escrow, PRICE.cost_ceil(9 * MIB), PRICE, one_second) is False
    assert is_urgent(escrow, PRICE.cost_ceil(9 * MIB), PRICE, 5 * MIB) is True


@settings(derandomize=True)
@given(
    st.integers(1, MAX_UTOK).map(Amount), st.integers(0, 100), st.integers(1, MAX_UTOK).map(Price),
    st.integers(0, 2**40), st.integers(0, 2**50),
)  # fmt: skip
def test_a_top_up_is_never_more_than_the_escrow_or_than_what_is_wanted(
    escrow: Amount, percent: int, price: Price, rate: int, expected: int
) -> None:
    signed = Amount(escrow.utok * percent // 100)
    more = top_up(escrow, signed, price, rate, expected)
    assert more <= escrow
    wanted = price.cost_ceil(expected + expected // 4 + UNIT_MIN_BYTES).utok
    assert escrow.utok + more.utok <= max(escrow.utok, signed.utok + wanted)
