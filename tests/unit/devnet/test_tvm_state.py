"""The state: everything that changes it can be undone, by call, by transaction and by block."""

from __future__ import annotations

import json
from random import Random

import pytest

from speedpay.devnet.state import State

A, B = b"\x0a" * 20, b"\x0b" * 20


def change(state: State, random: Random) -> None:
    address, key = random.choice((A, B)), random.randrange(3)
    kind = random.randrange(6)
    if kind == 0:
        state.add_balance(address, random.randrange(100))
    elif kind == 1:
        state.put(state.codes, address, random.randbytes(3))
    elif kind == 2:
        state.remove(state.codes, address)
    elif kind == 3:
        state.put(state.transient, (address, key), random.randrange(5))
    else:
        state.set_slot(address, key, random.choice((0, 0, 1, 2**256 - 1)))


def picture(state: State) -> str:
    return json.dumps([state.to_json(), sorted(map(repr, state.transient.items()))], sort_keys=True)


def test_rolling_back_gives_what_was_at_the_mark_however_they_nest() -> None:
    random = Random(1)
    for _ in range(200):
        state = State()
        marks = []
        for _ in range(40):
            if random.random() < 0.3:
                marks.append((state.mark(), picture(state)))
            elif marks and random.random() < 0.2:
                mark, before = marks.pop()
                state.rollback(mark)
                assert picture(state) == before
            else:
                change(state, random)
        while marks:
            mark, before = marks.pop()
            state.rollback(mark)
            assert picture(state) == before


def test_blocks_are_undone_latest_first() -> None:
    random, state = Random(2), State()
    blocks = []
    for _ in range(50):
        before = picture(state)
        for _ in range(random.randrange(4)):
            for _ in range(random.randrange(8)):
                change(state, random)
            state.settle()
        blocks.append((before, state.take_journal()))
    for before, journal in reversed(blocks):
        state.undo(journal)
        assert picture(state) == before


def test_a_journal_is_not_undone_under_newer_changes() -> None:
    state = State()
    state.add_balance(A, 1)
    journal = state.take_journal()
    state.add_balance(A, 1)
    with pytest.raises(ValueError, match="since that journal"):
        state.undo(journal)
    assert state.balance(A) == 2


def test_settling_drops_rows_of_zero_and_transient_storage_and_nothing_else() -> None:
    state = State()
    state.set_slot(A, 1, 5)
    state.set_slot(A, 2, 0)
    state.set_slot(A, 3, 0)
    state.set_slot(A, 3, 9)
    state.put(state.transient, (A, 1), 7)
    assert state.slot(A, 2) == 0
    state.settle()
    assert state.storage[A] == {1: 5, 3: 9}
    assert state.transient == {}


def test_a_balance_is_never_below_zero() -> None:
    state = State()
    state.add_balance(A, 5)
    with pytest.raises(ValueError, match="below 0"):
        state.add_balance(A, -6)
    assert state.balance(A) == 5


def test_the_node_s_own_tables_are_undone_with_the_rest() -> None:
    state = State()
    names: dict[bytes, str] = {}
    mark = state.mark()
    state.put(names, A, "vault")
    state.rollback(mark)
    assert names == {}


def test_json_and_back_is_the_same_state() -> None:
    random, state = Random(3), State()
    for _ in range(100):
        change(state, random)
    state.settle()
    again = State.from_json(json.loads(json.dumps(state.to_json())))
    assert picture(again) == picture(state)
    assert again.mark() == 0
