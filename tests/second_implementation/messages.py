"""SPEC.md sections 3 and 5: every message as a table of its keys, read and written by one function each.

A message is a dictionary of its one-letter keys, as in the specification.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.second_implementation.bencoding import decode, encode
from tests.second_implementation.signatures import Statement, is_point

VERSION = 1
MAX_BYTES = 4030
MOST = 2**63 - 1

Kind = Callable[[Any], bool]


class Refused(Exception):
    """What a peer sent is not taken; ``code`` is one of section 13."""

    def __init__(self, code: str, about: int = 0) -> None:
        super().__init__(code)
        self.code, self.about = code, about


def whole(low: int, high: int) -> Kind:
    return lambda value: isinstance(value, int) and low <= value <= high


def bytes_of(length: int) -> Kind:
    return lambda value: isinstance(value, bytes) and len(value) == length


def ascii_up_to(length: int) -> Kind:
    return lambda value: (
        isinstance(value, bytes)
        and 1 <= len(value) <= length
        and all(0x21 <= byte <= 0x7E for byte in value)
    )


def wholes(low: int, high: int) -> Kind:
    one = whole(low, high)
    return lambda value: isinstance(value, list) and 1 <= len(value) <= 8 and all(map(one, value))


def key(value: Any) -> bool:
    return isinstance(value, bytes) and is_point(value)


def statement(value: Any) -> bool:
    try:
        Statement.read(value if isinstance(value, bytes) else b"")
    except ValueError:
        return False
    return True


def epoch_head(value: Any) -> bool:
    """224 bytes of section 15, as far as their numbers go."""
    if not isinstance(value, bytes) or len(value) != 224:
        return False
    numbers = {at: int.from_bytes(value[at : at + 8], "big") for at in _HEAD_NUMBERS}
    return (
        all(number < 2**63 for number in numbers.values())
        and numbers[0] >= 1
        and numbers[116] <= 2**40
        and (value[192:] == bytes(32)) == (numbers[0] == 1)
    )


_HEAD_NUMBERS = (0, 8, 100, 108, 116, 124, 164)


def head(value: Any) -> bool:
    return isinstance(value, dict) and _fits(value, HEAD)


AMOUNT, SHARE, ID, COUNT = (
    whole(0, MOST),
    whole(0, 1_000_000),
    whole(1, 2**32 - 1),
    whole(0, 2**53),
)
HASH, SIGNATURE, RATE, LOAD = bytes_of(32), bytes_of(64), whole(0, 2**40), whole(0, 2**20)
STANDING = {"c": HASH, "n": AMOUNT, "b": COUNT}
HEAD: dict[str, Kind] = {
    "h": epoch_head, "s": SIGNATURE, "k": key, "a": RATE, "z": RATE, "r": key, "g": SIGNATURE,
}  # fmt: skip
#: Keys that may be absent.
OPTIONAL = {"o"}

#: type: (name, its keys)
TABLE: dict[int, tuple[str, dict[str, Kind]]] = {
    0: ("hello", {"v": wholes(1, 255), "l": HASH, "n": ascii_up_to(32), "x": HASH}),
    1: (
        "ask",
        {
            "i": ID, "k": key, "p": AMOUNT, "c": whole(1, 3), "e": AMOUNT, "f": SHARE, "t": RATE,
            "s": SIGNATURE, "x": SIGNATURE,
        },
    ),
    2: ("bid", {"i": ID, "p": whole(1, MOST), "w": COUNT, "t": whole(60, 300)}),
    3: ("quote", {"i": ID, "p": AMOUNT, "h": COUNT, "e": SHARE, "o": LOAD}),
    4: ("open", {"b": statement, "s": SIGNATURE, "n": AMOUNT, "x": SIGNATURE}),
    5: ("topup", {"b": statement, "s": SIGNATURE}),
    6: ("voucher", {"c": HASH, "n": AMOUNT, "s": SIGNATURE, "v": COUNT, "r": COUNT}),
    7: ("ack", {"c": HASH, "n": AMOUNT, "w": RATE}),
    8: (
        "receipt",
        {"c": HASH, "n": AMOUNT, "b": COUNT, "h": HASH, "t": RATE, "s": SIGNATURE},
    ),
    9: ("pause", STANDING),
    10: ("resume", STANDING),
    11: ("stop", STANDING),
    12: ("head", HEAD | {"o": head}),
    13: ("error", {"c": ascii_up_to(32), "t": whole(0, 255)}),
    14: ("inquiry", {"i": ID, "p": wholes(0, MOST)}),
    15: ("prospect", {"i": ID, "r": wholes(0, 2**40), "o": LOAD, "u": RATE}),
    16: ("demand", {"c": HASH, "y": HASH, "z": HASH}),
}  # fmt: skip
TYPES = {name: number for number, (name, _) in TABLE.items()}


@dataclass(frozen=True)
class Message:
    name: str
    keys: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        return self.keys[key]

    def encoded(self) -> bytes:
        return bytes([VERSION, TYPES[self.name]]) + body_of(self.keys)


def body_of(keys: dict[str, Any]) -> bytes:
    return encode({letter.encode(): value for letter, value in keys.items()})


def read(payload: bytes) -> Message:
    """Raises Refused, ``malformed``."""
    if len(payload) > MAX_BYTES or payload[:1] != bytes([VERSION]) or payload[1:2] == b"":
        raise Refused("malformed")
    number = payload[1]
    if number not in TABLE:
        raise Refused("malformed", number)
    name, kinds = TABLE[number]
    try:
        found = decode(payload[2:])
    except ValueError:
        raise Refused("malformed", number) from None
    if not isinstance(found, dict) or not _fits(found, kinds):
        raise Refused("malformed", number)
    return Message(name, {letter.decode(): value for letter, value in found.items()})


def _fits(found: dict[bytes, Any], kinds: dict[str, Kind]) -> bool:
    named = {letter.encode(): kind for letter, kind in kinds.items()}
    needed = named.keys() - {letter.encode() for letter in OPTIONAL}
    return needed <= found.keys() <= named.keys() and all(
        named[letter](value) for letter, value in found.items()
    )
