"""What a seller is worth, and who takes a place from whom."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from speedpay.market.explore import is_better, pick, promised, worth
from speedpay.units import KIB, MIB, NO_PRICE, Price

MAXIMUM = Price(1000)


def test_a_seller_at_the_maximum_is_worth_one_half_as_fast_for_nothing() -> None:
    assert worth(2 * MIB, MAXIMUM, MAXIMUM) == worth(MIB, NO_PRICE, MAXIMUM)


@given(st.integers(1, 10**8), st.integers(0, 1999), st.integers(1, 10**6))
def test_faster_is_worth_more_and_dearer_less(rate: int, price: int, more: int) -> None:
    here = worth(rate, Price(price), MAXIMUM)
    assert worth(rate + more, Price(price), MAXIMUM) > here
    assert worth(rate, Price(price + more), MAXIMUM) < here


def test_a_promise_counts_for_the_prices_above_it() -> None:
    told = {NO_PRICE: 10, Price(100): 500, Price(200): 700}
    assert [promised(told, Price(p)) for p in (0, 99, 100, 150, 900)] == [10, 10, 500, 500, 700]
    assert promised({Price(100): 500}, Price(99)) == 0


def test_a_place_changes_hands_only_for_what_matters_to_the_download() -> None:
    assert is_better(3, 1, MIB, 8 * MIB)
    assert not is_better(2, 1, MIB, 8 * MIB)
    assert not is_better(300, 1, 100 * KIB, 8 * MIB)


def test_draws_follow_from_the_seed_and_reach_everybody() -> None:
    drawn = [pick(5, b"seed", turn) for turn in range(100)]
    assert drawn == [pick(5, b"seed", turn) for turn in range(100)]
    assert set(drawn) == set(range(5))
    assert drawn != [pick(5, b"other", turn) for turn in range(100)]
