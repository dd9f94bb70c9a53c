"""Calls, answers and events as Solidity writes them: known encodings, and everything that is none."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedpay.chain import abi
from speedpay.chain.artifact import NAMES, load
from speedpay.chain.reverts import error_name, reason
from speedpay.errors import Malformed

ALICE = bytes(range(20))
TRANSFER = "Transfer(address,address,uint256)"
INDEXED = (True, True, False)


def word(number: int) -> bytes:
    return number.to_bytes(32)


def test_selectors_and_topics_are_the_known_ones() -> None:
    assert abi.selector("transfer(address,uint256)").hex() == "a9059cbb"
    assert abi.selector("approve(address,uint256)").hex() == "095ea7b3"
    assert abi.topic(TRANSFER).hex() == (
        "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
    )


def test_a_call_is_its_selector_and_its_words() -> None:
    encoded = abi.encode_call("transfer(address,uint256)", [ALICE, 5])
    assert encoded.hex() == "a9059cbb" + "00" * 12 + ALICE.hex() + word(5).hex()


def test_lists_stand_behind_the_fixed_part() -> None:
    encoded = abi.encode(("uint64", "bytes32[]", "uint64[]"), [1, [b"a" * 32], [2, 3]])
    words = [encoded[at : at + 32] for at in range(0, len(encoded), 32)]
    assert words == [
        word(1), word(0x60), word(0xA0), word(1), b"a" * 32, word(2), word(2), word(3),
    ]  # fmt: skip


@given(st.binary(min_size=20, max_size=20), st.integers(0, 2**64 - 1), st.binary(min_size=16, max_size=16),
       st.lists(st.binary(min_size=32, max_size=32), max_size=5), st.booleans())  # fmt: skip
def test_what_is_encoded_is_decoded(
    who: bytes, amount: int, account: bytes, hashes: list[bytes], yes: bool
) -> None:
    types = ("address", "uint64", "bytes16", "bytes32[]", "bool")
    values = (who, amount, account, hashes, yes)
    assert abi.decode(types, abi.encode(types, values)) == values


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("uint64", -1), ("uint64", 2**64), ("uint64", "1"), ("uint64", 1.5), ("bytes16", b"a" * 15),
        ("bytes16", b"a" * 17), ("bytes32", "00"), ("address", b"a" * 19), ("address", "T" * 34),
        ("bytes32[]", [b"a" * 31]), ("uint64[]", [2**64]), ("bool", 2),
    ],
)  # fmt: skip
def test_a_value_that_is_not_of_its_type_is_refused(kind: str, value: Any) -> None:
    with pytest.raises(Malformed):
        abi.encode((kind,), [value])


def test_a_wrong_number_of_arguments_is_refused() -> None:
    with pytest.raises(Malformed, match="must be 2 values"):
        abi.encode_call("transfer(address,uint256)", [ALICE])


@pytest.mark.parametrize("signature", ["", "f", "f(", "f(uint256)x", "1f()", "f((uint256))"])
def test_a_signature_that_is_none_is_refused(signature: str) -> None:
    with pytest.raises(Malformed):
        abi.selector(signature)


@pytest.mark.parametrize(
    ("types", "encoded"),
    [
        (("uint256",), b""), (("uint256",), bytes(31)), (("uint64",), b"\xff" * 32),
        (("address",), b"\xff" * 32), (("bool",), word(2)), (("bytes16",), b"\xff" * 32),
        (("bytes32[]",), word(32) + word(2**200)), (("bytes32[]",), word(2**200)),
        (("string",), word(32) + word(5) + b"ab"), (("uint256",), bytes(65_537)),
        (("string",), word(32) + word(2) + b"\xff\xfe" + bytes(30)),
    ],
)  # fmt: skip
def test_an_answer_that_is_not_of_its_types_is_refused(
    types: tuple[str, ...], encoded: bytes
) -> None:
    with pytest.raises(Malformed):
        abi.decode(types, encoded)


@given(st.binary(max_size=300))
def test_no_answer_of_a_node_raises_anything_but_malformed(encoded: bytes) -> None:
    for types in (("uint64",), ("string",), ("bytes32[]", "uint64[]"), ("address", "bool")):
        with suppress(Malformed):
            abi.decode(types, encoded)


TOPICS = [abi.topic(TRANSFER), bytes(12) + ALICE, word(7)]


def test_an_event_is_read_in_the_order_of_its_signature() -> None:
    assert abi.decode_event(TRANSFER, INDEXED, TOPICS, word(9)) == (ALICE, bytes(19) + b"\x07", 9)


@pytest.mark.parametrize(
    ("topics", "data"),
    [
        ([], word(9)), (TOPICS[:1], word(9)), (TOPICS[:2], word(9)), ([*TOPICS, word(1)], word(9)),
        ([bytes(32), *TOPICS[1:]], word(9)), (TOPICS, b""), (TOPICS, word(9) + b"\0"),
        (TOPICS, bytes(31)), ([TOPICS[0], b"\xff" * 32, TOPICS[2]], word(9)),
    ],
)  # fmt: skip
def test_an_event_with_other_topics_or_data_is_refused(topics: list[bytes], data: bytes) -> None:
    with pytest.raises(Malformed):
        abi.decode_event(TRANSFER, INDEXED, topics, data)


# ---------------------------------------------------------------------------------------- reasons


def test_a_contract_s_reason_is_said_in_its_words() -> None:
    too_early = abi.selector("TooEarly(uint256)") + word(1_700_000_000)
    assert reason(too_early) == "TooEarly(1700000000)"
    assert error_name(too_early) == "TooEarly"
    text = abi.selector("Error(string)") + abi.encode(("string",), ["no \x1b[31m way"])
    assert reason(text) == "no ?[31m way"
    assert reason(abi.selector("Panic(uint256)") + word(0x11)).startswith("a number is too large")
    assert error_name(text) is None


@given(st.binary(max_size=200))
def test_any_bytes_give_some_reason(output: bytes) -> None:
    assert reason(output)
    for known in (
        "Error(string)",
        "Panic(uint256)",
        "TooEarly(uint256)",
        "WrongEpoch(uint64,uint64)",
    ):
        assert reason(abi.selector(known) + output)


def test_every_error_of_our_contracts_has_a_selector_of_its_own() -> None:
    signatures = {s for name in NAMES for s in load(name).error_signatures()}
    assert len({abi.selector(s) for s in signatures}) == len(signatures) > 20
