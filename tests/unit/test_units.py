"""Money and prices: exact, typed, bounded; text is read in one canonical form only."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedpay.errors import Malformed
from speedpay.units import MAX_UTOK, MIB, ZERO, Amount, Price, Share, Value

amounts = st.integers(0, MAX_UTOK)
NOT_CANONICAL = (
    "", "-1", "+1", "1.0", "1e3", "NaN", "inf", "0x10", " 1", "1 ", "1\n", "01", "00", "-0", "1_000",
    "٣", "１２", "²", str(2**63), "9" * 100_000, "true",
)  # fmt: skip
NO_TEXT: tuple[Any, ...] = (None, 1, 1.0, True, b"1", ["1"], {"1": 1})


@pytest.mark.parametrize("kind", [Amount, Price, Share, Value])
@pytest.mark.parametrize("wrong", [True, False, 1.0, float("nan"), "1", None, Fraction(1)])
def test_only_an_int_becomes_money(kind: Any, wrong: Any) -> None:
    with pytest.raises(TypeError):
        kind(wrong)


@pytest.mark.parametrize("wrong", [1, 1.5, True, "1", None, Price(1), Share(1)])
def test_an_amount_mixes_with_nothing_else(wrong: Any) -> None:
    for mix in (
        lambda: Amount(1) + wrong, lambda: wrong + Amount(1), lambda: Amount(1) - wrong,
        lambda: wrong - Amount(1), lambda: Amount(1) < wrong,
    ):  # fmt: skip
        with pytest.raises(TypeError):
            mix()
    assert Amount(1) != wrong


@pytest.mark.parametrize(
    ("kind", "most", "field"),
    [(Amount, MAX_UTOK, "amount"), (Price, MAX_UTOK, "price"), (Share, 10**6, "share")],
)
def test_money_lies_within_its_bounds(kind: Any, most: int, field: str) -> None:
    kind(0), kind(most)
    for wrong in (-1, most + 1):
        with pytest.raises(Malformed) as refused:
            kind(wrong)
        assert refused.value.field == field


def test_a_value_is_never_negative() -> None:
    with pytest.raises(Malformed):
        Value(-1)


def test_a_difference_below_zero_and_a_sum_above_the_most_are_refused() -> None:
    for mix in (lambda: ZERO - Amount(1), lambda: Amount(MAX_UTOK) + Amount(1)):
        with pytest.raises(Malformed):
            mix()
    assert ZERO.minus_or_zero(Amount(1)) == ZERO


@pytest.mark.parametrize("text", NOT_CANONICAL)
def test_wire_text_that_is_not_canonical_is_refused(text: str) -> None:
    with pytest.raises(Malformed) as refused:
        Amount.from_wire(text, "escrow")
    assert refused.value.field == "escrow"


@pytest.mark.parametrize("value", NO_TEXT)
def test_wire_amounts_are_strings(value: Any) -> None:
    with pytest.raises(Malformed):
        Amount.from_wire(value)


@settings(derandomize=True)
@given(amounts)
def test_an_amount_survives_the_wire(utok: int) -> None:
    assert Amount.from_wire(Amount(utok).to_wire()) == Amount(utok)


@settings(derandomize=True)
@given(st.text(max_size=30))
def test_wire_text_is_read_only_in_the_form_in_which_it_is_written(text: str) -> None:
    try:
        amount = Amount.from_wire(text)
    except Malformed:
        return
    assert amount.to_wire() == text


@settings(derandomize=True)
@given(st.integers(0, 9_223_372_036_854_775_807))
def test_what_a_person_reads_can_be_typed_again(utok: int) -> None:
    assert Amount.from_tokens(str(Amount(utok))) == Amount(utok)


@pytest.mark.parametrize(
    "text",
    ["", "-1", "1e3", "NaN", "1.", ".5", "1.0000001", "1,5", "٣", "1 ", "9" * 14, "9" * 13, "9" * 10**5],
)  # fmt: skip
def test_a_typed_amount_is_a_plain_decimal(text: str) -> None:
    for read in (Amount.from_tokens, Price.from_tokens_per_gib, Share.from_text):
        with pytest.raises(Malformed):
            read(text)


def test_typed_amounts_prices_and_shares_are_read_exactly() -> None:
    assert Amount.from_tokens("1.25") == Amount(1_250_000)
    assert Price.from_tokens_per_gib("25") == Price(24_414)
    assert Share.from_text("0.25") == Share(250_000)
    assert str(Price(1024)) == "1.048576"


@settings(derandomize=True, max_examples=200)
@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_a_cost_is_the_exact_product_rounded_as_its_name_says(price: int, byte_count: int) -> None:
    exact = Fraction(price * byte_count, MIB)
    floor, ceil = Price(price).cost_floor(byte_count), Price(price).cost_ceil(byte_count)
    assert floor.utok == min(MAX_UTOK, exact.__floor__())
    assert ceil.utok == min(MAX_UTOK, exact.__ceil__())


@settings(derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 2**30), st.integers(0, 2**40)), max_size=20))
def test_a_value_sums_exactly_and_rounds_once(parts: list[tuple[int, int]]) -> None:
    value = Value()
    for byte_count, price in parts:
        value = value.plus(byte_count, Price(price))
    assert value.floor().utok == min(MAX_UTOK, sum(b * p for b, p in parts) // MIB)


@settings(derandomize=True)
@given(amounts, st.integers(0, 10**6))
def test_a_share_of_an_amount_is_rounded_down(utok: int, ppm: int) -> None:
    assert Share(ppm).of(Amount(utok)).utok == utok * ppm // 10**6


@settings(derandomize=True)
@given(amounts, st.integers(1, MAX_UTOK))
def test_the_bytes_that_an_amount_buys_never_cost_more(utok: int, price: int) -> None:
    bought = Amount(utok).bytes_at_floor(Price(price))
    assert bought * price <= utok * MIB < (bought + 1) * price
    assert Amount(utok).bytes_at_floor(Price(0)) == MAX_UTOK
