"""The shares of an epoch's limit: complete, within each one's need, max-min fair, told in advance."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedpay.ledger.fair_shares import Levels, fair_shares

NEEDS = st.lists(st.integers(1, 60) | st.integers(1, 2**63 - 1), max_size=12)
LIMITS = st.integers(0, 200) | st.integers(0, 2**63 - 1)


@given(NEEDS, LIMITS)
def test_all_of_the_limit_is_given_and_nobody_gets_more_than_he_needs(
    needs: list[int], limit: int
) -> None:
    shares = fair_shares(needs, limit)
    assert sum(shares) == min(limit, sum(needs))
    assert all(0 <= share <= need for share, need in zip(shares, needs, strict=True))


@given(NEEDS, LIMITS)
def test_nobody_waits_who_got_less_than_another(needs: list[int], limit: int) -> None:
    """Max-min fair to the base unit, and what cannot be divided goes to whoever asked first."""
    shares = fair_shares(needs, limit)
    for (first, share), (second, other) in combinations(enumerate(shares), 2):
        if share < needs[first]:
            assert other <= share
        if other < needs[second]:
            assert share <= other + 1


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 30))
def test_the_epoch_in_which_a_need_is_filled_is_known_in_advance(
    needs: list[int], limit: int
) -> None:
    """To within what cannot be divided: one unit for each who waits, an epoch."""
    levels, waiting, epoch = Levels(needs), list(needs), 0
    expected = [-(-levels.below(need) // limit) for need in needs]
    while any(waiting):
        epoch += 1
        before, shares = waiting, fair_shares(waiting, limit)
        waiting = [rest - share for rest, share in zip(waiting, shares, strict=True)]
        for at, need in enumerate(needs):
            if before[at] and not waiting[at]:
                slack = -(-epoch * len(needs) // limit)
                assert abs(epoch - expected[at]) <= slack, (need, epoch, expected[at])


@pytest.mark.parametrize(
    ("needs", "limit", "shares"),
    [
        ([], 5, []),
        ([7], 0, [0]),
        ([10**12, 7], 1_000, [993, 7]),
        ([10**12] * 3, 1_000, [334, 333, 333]),
        ([5, 10**12, 1, 10**12], 100, [5, 47, 1, 47]),
        ([3, 3, 3], 2, [1, 1, 0]),
        ([4, 2], 100, [4, 2]),
    ],
)
def test_shares(needs: list[int], limit: int, shares: list[int]) -> None:
    assert fair_shares(needs, limit) == shares


def test_levels() -> None:
    levels = Levels([5, 1, 9, 5])
    assert [levels.below(level) for level in (0, 1, 2, 5, 6, 9, 10)] == [0, 4, 7, 16, 17, 20, 20]
