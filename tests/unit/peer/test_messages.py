"""The codec: what the specification's tables say, every vector both ways, and nothing else."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import speedpay.peer
from speedpay.channel.life import State, Step, follow
from speedpay.errors import BY_CODE, Malformed, OutOfOrder
from speedpay.peer import bencode
from speedpay.peer.messages import (
    BY_TYPE,
    MAX_MESSAGE_BYTES,
    Ack,
    Ask,
    Bid,
    DemandMessage,
    ErrorMessage,
    Hello,
    Inquiry,
    Message,
    Pause,
    Prospect,
    Quote,
    ReceiptMessage,
    Resume,
    StopMessage,
    VoucherMessage,
    decode,
    encode,
)
from speedpay.units import MAX_UTOK, Amount, MoneyClass, Price, Share
from tests.vectors.generate import FOLDER, MESSAGES, files

SPEC = (Path(speedpay.peer.__file__).parent / "SPEC.md").read_text(encoding="utf-8")
VECTORS: dict[str, Any] = json.loads((FOLDER / "messages.json").read_text(encoding="utf-8"))

uints32 = st.integers(1, 2**32 - 1)
counts = st.integers(0, 2**53)
amounts = st.integers(0, MAX_UTOK).map(Amount)
prices = st.integers(0, MAX_UTOK).map(Price)
channels = st.binary(min_size=32, max_size=32)
signatures = st.binary(min_size=64, max_size=64)
words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=32)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        Hello, st.lists(st.integers(1, 255), min_size=1, max_size=8).map(tuple), channels, words,
        channels,
    ),
    st.builds(
        Ask, uints32, st.binary(min_size=33, max_size=33), prices,
        st.frozensets(st.sampled_from(MoneyClass), min_size=1), amounts,
        st.integers(0, 10**6).map(Share), st.integers(0, 2**40), signatures, signatures,
    ),
    st.builds(Bid, uints32, st.integers(1, MAX_UTOK).map(Price), counts, st.integers(60, 300)),
    st.builds(
        Quote, uints32, prices, counts, st.integers(0, 10**6).map(Share), st.integers(0, 2**20)
    ),
    st.builds(VoucherMessage, channels, amounts, signatures, counts, counts),
    st.builds(Ack, channels, amounts, st.integers(0, 2**40)),
    *(st.builds(kind, channels, amounts, counts) for kind in (Pause, Resume, StopMessage)),
    st.builds(ErrorMessage, words, st.integers(0, 255)),
    st.builds(Inquiry, uints32, st.lists(prices, min_size=1, max_size=8).map(tuple)),
    st.builds(
        Prospect, uints32, st.lists(st.integers(0, 2**40), min_size=1, max_size=8).map(tuple),
        st.integers(0, 2**20), st.integers(0, 2**40),
    ),
    st.builds(
        ReceiptMessage, channels, amounts, counts, channels, st.integers(0, 2**40), signatures
    ),
    st.builds(DemandMessage, channels, channels, channels),
    st.sampled_from([MESSAGES[name] for name in ("open", "topup", "head", "evidence")]),
)  # fmt: skip


# ------------------------------------------------------------------------------- the specification


def tables() -> dict[int, list[tuple[str, str, str]]]:
    """Type → (key, field, kind) as SPEC.md lists them."""
    found: dict[int, list[tuple[str, str, str]]] = {}
    for number, text in re.findall(r"^### (\d+) .*?\n(.*?)(?=^##)", SPEC, re.M | re.S):
        found[int(number)] = re.findall(r"^\| `(\w)` \| (\w+) \| (.+?) \|$", text, re.M)
    return found


def outside(kind: str) -> tuple[list[bencode.Value], list[bencode.Value]]:
    """Values that the kind allows, and values that it does not."""
    kind = kind.removesuffix(" ?")
    name, *rest = kind.split(" ", 1)
    if name == "int":
        low, high = map(int, rest[0].split(" … "))
        return [low, high], [low - 1, high + 1, b"1", [1], {}]
    if name == "bytes":
        size = int(rest[0])
        return [], [bytes(size - 1), bytes(size + 1), b"", 1, [1], {}]
    if name == "ascii":
        size = int(rest[0])
        wrong = [b"", b"x" * (size + 1), b" ", b"\x7f", b"\x80", b"\n", 1, [1]]
        return [b"!", b"~" * size], wrong
    if name == "ints":
        low, high = map(int, rest[0].split(" … "))
        return [[low], [high] * 8], [[], [low - 1], [high + 1], [low] * 9, [b"1"], [[1]], 1, b"1"]
    if name == "classes":
        return [1, 2, 3], [0, 4, -1, b"1"]
    if name == "head":
        return [], [b"", 1, [], {}, {b"h": bytes(224)}]
    size = {"statement": 143, "epoch": 224}[name]
    return [], [bytes(size), bytes(size - 1), bytes(size + 1), 1]


def test_the_specification_has_a_table_for_every_message_and_no_other() -> None:
    assert set(tables()) == set(BY_TYPE)
    for number, rows in tables().items():
        kind = BY_TYPE[number]
        assert [name for _, name, _ in rows] == [field.name for field in fields(kind)]


@pytest.mark.parametrize("number", sorted(BY_TYPE))
def test_the_codec_has_the_bounds_of_the_specification(number: int) -> None:
    sample = next(m for m in reversed(MESSAGES.values()) if number == m.TYPE)
    wire = bencode.decode(encode(sample)[2:])
    assert isinstance(wire, dict)
    rows = tables()[number]
    assert set(wire) <= {key.encode() for key, _, _ in rows}
    for key, name, kind in rows:
        good, wrong = outside(kind)
        for value in good:
            decode(bytes([1, number]) + bencode.encode({**wire, key.encode(): value}))
        for value in wrong:
            with pytest.raises(Malformed) as refused:
                decode(bytes([1, number]) + bencode.encode({**wire, key.encode(): value}))
            assert (refused.value.field or "").split(".")[1] == name
        rest = {k: v for k, v in wire.items() if k != key.encode()}
        if kind.endswith("?"):
            decode(bytes([1, number]) + bencode.encode(rest))
        else:
            with pytest.raises(Malformed):
                decode(bytes([1, number]) + bencode.encode(rest))


def test_the_specification_has_the_table_of_states() -> None:
    rows = re.findall(r"^\| (\w+) \|(.*)\|$", SPEC[SPEC.index("## 7.") : SPEC.index("## 8.")], re.M)
    steps = [cell.strip() for cell in rows[0][1].split("|")]
    assert steps == [str(step) for step in Step]
    listed = {
        (name, step): cell.strip()
        for name, cells in rows[1:]
        for step, cell in zip(steps, cells.split("|"), strict=True)
        if cell.strip()
    }
    known = {}
    for state in State:
        for step in Step:
            with suppress(OutOfOrder):
                known[str(state), str(step)] = str(follow(state, step))
    assert listed == known


def test_the_codes_of_the_specification_are_those_of_the_errors() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (yes|no) \|", SPEC, re.M)
    assert len(rows) == 13
    for code, punished in rows:
        assert BY_CODE[code].is_misbehaviour is (punished == "yes")


# ------------------------------------------------------------------------------------- the vectors


def test_the_vector_files_are_what_the_code_makes() -> None:
    for name, text in files().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, (
            f"run scripts/make_vectors: {name}"
        )


@pytest.mark.parametrize("name", VECTORS["accepted"])
def test_a_message_is_its_bytes_both_ways(name: str) -> None:
    payload = bytes.fromhex(VECTORS["accepted"][name]["bytes"])
    assert decode(payload) == MESSAGES[name]
    assert encode(MESSAGES[name]) == payload


@pytest.mark.parametrize("name", VECTORS["refused"])
def test_a_wrong_encoding_is_refused_and_its_field_named(name: str) -> None:
    known = VECTORS["refused"][name]
    with pytest.raises(Malformed) as refused:
        decode(bytes.fromhex(known["bytes"]))
    assert (refused.value.code, refused.value.field) == (known["code"], known["field"])


# -------------------------------------------------------------------------------------- properties


@settings(derandomize=True)
@given(messages)
def test_every_message_survives_its_bytes(message: Message) -> None:
    payload = encode(message)
    assert len(payload) <= MAX_MESSAGE_BYTES
    assert decode(payload) == message


@settings(derandomize=True, max_examples=500)
@given(
    st.binary(max_size=300)
    | st.tuples(st.integers(0, 17), st.binary(max_size=200)).map(lambda p: bytes([1, p[0]]) + p[1])
)
def test_any_bytes_are_a_canonical_message_or_malformed(payload: bytes) -> None:
    with suppress(Malformed):
        assert encode(decode(payload)) == payload


@settings(derandomize=True, max_examples=500)
@given(messages, st.data())
def test_a_damaged_message_is_another_canonical_one_or_malformed(
    message: Message, data: st.DataObject
) -> None:
    payload = bytearray(encode(message))
    at = data.draw(st.integers(0, len(payload) - 1))
    how = data.draw(st.sampled_from(["flip", "cut", "drop", "insert"]))
    if how == "flip":
        payload[at] ^= data.draw(st.integers(1, 255))
    elif how == "cut":
        del payload[at:]
    elif how == "drop":
        del payload[at]
    else:
        payload.insert(at, data.draw(st.integers(0, 255)))
    with suppress(Malformed):
        assert encode(decode(bytes(payload))) == payload


@pytest.mark.parametrize(
    "wrong",
    [
        Bid(0, Price(1), 0, 60), Bid(1, Price(0), 0, 60), Bid(1, Price(1), -1, 60),
        Bid(True, Price(1), 0, 60), Ack(bytes(31), Amount(0), 0), ErrorMessage("", 0),
        ErrorMessage("a b", 0), Hello((), bytes(32), "n", bytes(32)),
        Hello((1,), bytes(32), "a b", bytes(32)),
    ],
    ids=repr,
)  # fmt: skip
def test_nothing_outside_its_bounds_leaves(wrong: Message) -> None:
    with pytest.raises(Malformed):
        encode(wrong)


@settings(derandomize=True)
@given(
    st.recursive(
        st.integers(-(10**18), 10**18) | st.binary(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=4), inner, max_size=4),
        max_leaves=10,
    )
)  # fmt: skip
def test_bencoding_survives_or_is_too_deep(value: Any) -> None:
    with suppress(Malformed):
        assert bencode.decode(bencode.encode(value)) == value
