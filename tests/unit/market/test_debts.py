"""What identities of one place may leave unpaid together."""

from __future__ import annotations

from speedpay.market.debts import ALLOWED_BYTES, MAX_PLACES, WEARS_OFF_S, Debts
from speedpay.market.window import WINDOW_MIN_BYTES


def test_so_many_first_windows_are_lost_to_one_place_and_none_after_them():
    debts, identities = Debts(), 0
    while not debts.is_too_much("a", 0.0):
        debts.left("a", WINDOW_MIN_BYTES, 0.0)
        identities += 1
    assert identities * WINDOW_MIN_BYTES == ALLOWED_BYTES
    assert not debts.is_too_much("b", 0.0)


def test_a_debt_wears_off_evenly():
    debts = Debts()
    debts.left("a", ALLOWED_BYTES, 100.0)
    assert debts.owed("a", 100.0 + WEARS_OFF_S / 2) == ALLOWED_BYTES // 2
    assert debts.owed("a", 100.0 + WEARS_OFF_S) == 0
    debts.left("a", 5, 100.0 + 2 * WEARS_OFF_S)
    assert debts.owed("a", 100.0 + 2 * WEARS_OFF_S) == 5


def test_who_comes_back_and_owes_it_again_is_not_counted_twice():
    debts = Debts()
    debts.left("a", 1000, 0.0)
    debts.paid("a", 400, 0.0)
    assert debts.owed("a", 0.0) == 600
    debts.paid("a", 10_000, 0.0)
    assert debts.owed("a", 0.0) == 0
    debts.paid("b", 10, 0.0)
    assert debts.owed("b", 0.0) == 0


def test_nothing_is_owed_by_who_paid_ahead():
    debts = Debts()
    debts.left("a", -5, 0.0)
    debts.left("a", 0, 0.0)
    assert debts.owed("a", 0.0) == 0


def test_no_more_places_are_remembered_than_the_bound():
    debts = Debts()
    for number in range(MAX_PLACES + 10):
        debts.left(str(number), 1000, 0.0)
    assert len(debts._owed) == MAX_PLACES
    assert debts.owed(str(MAX_PLACES + 9), 0.0) == 1000
    assert debts.owed("0", 0.0) == 0
