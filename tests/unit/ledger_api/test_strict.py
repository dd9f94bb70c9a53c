"""JSON without surprises, and values that survive the way there and back."""

from __future__ import annotations

import json
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from speedpay.channel.voucher import Assignment, Closing, Voucher
from speedpay.errors import Malformed
from speedpay.ledger_api import calls, strict
from speedpay.ledger_api.answers import HistoryEntry
from speedpay.ledger_api.shapes import (
    MAX_REDEMPTIONS,
    MAX_REQUEST_BYTES,
    Redemption,
    Send,
    TopUp,
    redemptions_from_json,
)
from speedpay.ledger_api.strict import Fields
from speedpay.units import MAX_UTOK, Amount, MoneyClass

amounts = st.integers(1, MAX_UTOK).map(Amount)
channels = st.binary(min_size=32, max_size=32)
accounts = st.binary(min_size=16, max_size=16)
signatures = st.binary(min_size=64, max_size=64)


@st.composite
def redemptions(draw: st.DrawFn) -> Redemption:
    channel, close = draw(channels), draw(st.booleans())
    voucher = None
    if not close or draw(st.booleans()):
        voucher = Voucher(channel, draw(amounts), draw(signatures))
    assignment = None
    if close or draw(st.booleans()):
        assignment = Assignment(channel, draw(accounts), draw(signatures))
    made = Redemption(channel, voucher, assignment)
    if not close:
        return made
    assert assignment is not None
    closing = Closing(channel, assignment.account, made.total, draw(signatures))
    return replace(made, close=closing)


@given(st.lists(redemptions(), min_size=1, max_size=5))
def test_redemptions_survive_the_way(items: list[Redemption]) -> None:
    body = strict.dump({"items": [item.to_json() for item in items]})
    assert redemptions_from_json(strict.parse(body)) == items


@given(accounts, st.sampled_from(MoneyClass), amounts, st.integers(900, 86_400) | st.none())
def test_orders_survive_the_way(
    to: bytes, held: MoneyClass, amount: Amount, lifetime_s: int | None
) -> None:
    for order in (Send(to, held, amount), TopUp(amount, lifetime_s)):
        assert type(order).from_json(strict.parse(strict.dump(order.to_json()))) == order


@given(st.none() | accounts, st.just(b"") | channels, st.booleans())
def test_history_survives_the_way(other: bytes | None, reference: bytes, incoming: bool) -> None:
    entry = HistoryEntry(
        3, 1_800_000_000, "send", MoneyClass.CREDIT, Amount(5), incoming, other, reference
    )
    assert HistoryEntry.read(Fields(strict.parse(strict.dump(entry.to_json())))) == entry


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(json_values)
def test_what_is_plain_is_read_as_any_parser_reads_it(value: object) -> None:
    text = json.dumps(value)
    try:
        assert strict.parse(text.encode()) == json.loads(text)
    except Malformed as error:
        assert "nested" in error.message  # noqa: PT017 - the only reason there can be


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(body: bytes) -> None:
    try:
        strict.parse(body)
    except Malformed as error:
        assert error.field is not None  # noqa: PT017 - every refusal names its field


def test_brackets_inside_a_text_are_no_nesting() -> None:
    assert strict.parse(b'"' + b"[" * 500 + b'"') == "[" * 500
    assert strict.parse(b'["\\"[[[[[[[[[[[["]') == ['"[[[[[[[[[[[[']


@pytest.mark.parametrize("body", [b"[" * 9 + b"]" * 9, b'["\\\\"' + b",[" * 8 + b"]" * 9])
def test_more_than_eight_levels_are_refused(body: bytes) -> None:
    with pytest.raises(Malformed, match="nested"):
        strict.parse(body)


def test_batches_keep_the_order_and_fit_into_a_request() -> None:
    item = Redemption(
        bytes(32),
        Voucher(bytes(32), Amount(MAX_UTOK), bytes(64)),
        Assignment(bytes(32), bytes(16), bytes(64)),
        Closing(bytes(32), bytes(16), Amount(MAX_UTOK), bytes(64)),
    )
    small = replace(item, voucher=None)
    items = [item] * 700 + [small] * 1300
    made = calls.batches(items)
    assert [one for batch in made for one in batch] == items
    for batch in made:
        assert len(batch) <= MAX_REDEMPTIONS
        assert len(calls.redeem(batch).body) <= MAX_REQUEST_BYTES
    assert len(made[0]) >= 100
    assert calls.batches([]) == []
