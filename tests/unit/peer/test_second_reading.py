"""Two readers of messages, written apart from one specification, take and refuse the same bytes."""

from __future__ import annotations

import json
import random
from pathlib import Path

from speedpay.errors import Malformed
from speedpay.peer.messages import Message, decode, encode
from tests.second_implementation import messages as second
from tests.second_implementation.signatures import is_point

VECTORS = json.loads((Path(__file__).resolve().parents[2] / "vectors/messages.json").read_text())
ROUNDS = 6_000
#: What bencoding is made of, and numbers at which something ends.
PARTS = [
    b"i",
    b"e",
    b"d",
    b"l",
    b":",
    b"0",
    b"-",
    b"9",
    b"1:",
    b"i0e",
    b"i-1e",
    b"i9223372036854775808e",
]


def _changed(payload: bytes, chance: random.Random) -> bytes:
    """One to three small changes: a byte, a piece of bencoding put in, a stretch left out or said twice."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(payload) + 1)
        end = min(len(payload), at + chance.randint(1, 4))
        middle = chance.choice(
            [b"", chance.choice(PARTS), payload[at:end] * 2, bytes([chance.randrange(256)])]
        )
        payload = payload[:at] + middle + payload[end:]
        payload = payload or b"\1"
    return payload


def _first(payload: bytes) -> Message | None:
    try:
        return decode(payload)
    except Malformed:
        return None


def _second(payload: bytes) -> second.Message | None:
    try:
        return second.read(payload)
    except second.Refused:
        return None


def _has_a_key_off_the_curve(message: Message) -> bool:
    """Refused with the same code, when the signature by it is checked."""
    keys = [getattr(message, name, None) for name in ("payee_key", "response_key", "root_key")]
    return any(key is not None and not is_point(key) for key in keys)


def test_both_readers_take_and_refuse_the_same_bytes() -> None:
    chance = random.Random(5)
    originals = [bytes.fromhex(vector["bytes"]) for vector in VECTORS["accepted"].values()]
    taken = refused = 0
    for _ in range(ROUNDS):
        payload = _changed(chance.choice(originals), chance)
        first, other = _first(payload), _second(payload)
        if first is None:
            assert other is None, payload
            refused += 1
        elif other is None:
            assert _has_a_key_off_the_curve(first), payload
        else:
            assert encode(first) == other.encoded() == payload
            taken += 1
    assert taken > ROUNDS // 100
    assert refused > ROUNDS // 2
    print(f"two readers: {taken} taken and {refused} refused by both, of {ROUNDS}")


def test_readers_that_differ_are_noticed() -> None:
    """A key more in one table, and a vector is read by one of them only."""
    bid = bytes.fromhex(VECTORS["accepted"]["bid"]["bytes"])
    name, kinds = second.TABLE[2]
    second.TABLE[2] = (name, kinds | {"z": second.COUNT})
    try:
        assert (_first(bid) is None, _second(bid) is None) == (False, True)
    finally:
        second.TABLE[2] = (name, kinds)
