"""What the keys of messages may hold: one kind of field each, with its one check, both ways (SPEC.md, 5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from speedpay.channel.voucher import STATEMENT_BYTES, Statement
from speedpay.errors import Malformed
from speedpay.peer import bencode
from speedpay.proof.head import HEAD_BYTES, EpochHead
from speedpay.units import MAX_UTOK, Amount, MoneyClass, Price, Share

_CLASSES = {1: MoneyClass.TOKEN, 2: MoneyClass.CREDIT}


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a message: its name on the wire and the one check of its value, both ways."""

    key: bytes
    read: Callable[[bencode.Value, str], Any]
    write: Callable[[Any], bencode.Value]
    optional: bool = False


def integer(key: bytes, low: int, high: int) -> Field:
    def read(value: bencode.Value, field: str) -> int:
        if type(value) is not int or not low <= value <= high:
            raise Malformed(f"must be an integer, {low} to {high}", field=field)
        return value

    return Field(key, read, lambda value: value)


def octets(key: bytes, length: int, optional: bool = False) -> Field:
    def read(value: bencode.Value, field: str) -> bytes:
        if not isinstance(value, bytes) or len(value) != length:
            raise Malformed(f"must be {length} bytes", field=field)
        return value

    return Field(key, read, lambda value: value, optional)


def ascii_text(key: bytes, longest: int) -> Field:
    def read(value: bencode.Value, field: str) -> str:
        plain = isinstance(value, bytes) and 1 <= len(value) <= longest
        if not (isinstance(value, bytes) and plain and all(0x20 < byte < 0x7F for byte in value)):
            raise Malformed(f"must be 1 to {longest} printable ASCII characters", field=field)
        return value.decode("ascii")

    return Field(key, read, lambda value: value.encode("ascii"))


def amount(key: bytes) -> Field:
    whole = integer(key, 0, MAX_UTOK)
    return Field(key, lambda v, f: Amount(whole.read(v, f)), lambda value: value.utok)


def price(key: bytes, low: int = 0) -> Field:
    whole = integer(key, low, MAX_UTOK)
    return Field(key, lambda v, f: Price(whole.read(v, f)), lambda value: value.utok_per_mib)


def share(key: bytes) -> Field:
    whole = integer(key, 0, 1_000_000)
    return Field(key, lambda v, f: Share(whole.read(v, f)), lambda value: value.ppm)


def integers(key: bytes, low: int, high: int) -> Field:
    """A list of 1 to 8 integers."""

    def read(value: bencode.Value, field: str) -> tuple[int, ...]:
        good = isinstance(value, list) and 1 <= len(value) <= 8
        if not (good and all(type(item) is int and low <= item <= high for item in value)):  # type: ignore[union-attr]
            raise Malformed(f"must be a list of 1 to 8 integers, {low} to {high}", field=field)
        return tuple(value)  # type: ignore[arg-type]

    return Field(key, read, list)


def prices(key: bytes) -> Field:
    """A list of 1 to 8 prices."""
    whole = integers(key, 0, MAX_UTOK)
    return Field(
        key,
        lambda v, f: tuple(Price(each) for each in whole.read(v, f)),
        lambda value: [each.utok_per_mib for each in value],
    )


def classes(key: bytes) -> Field:
    bits = integer(key, 1, 3)
    return Field(
        key,
        lambda v, f: frozenset(c for bit, c in _CLASSES.items() if bits.read(v, f) & bit),
        lambda classes: sum(bit for bit, c in _CLASSES.items() if c in classes),
    )


def statement(key: bytes) -> Field:
    body = octets(key, STATEMENT_BYTES)
    return Field(key, lambda v, f: Statement.from_bytes(body.read(v, f), f), Statement.to_bytes)


def epoch_head(key: bytes) -> Field:
    body = octets(key, HEAD_BYTES)

    def read(value: bencode.Value, field: str) -> EpochHead:
        found = body.read(value, field)
        try:
            return EpochHead.from_bytes(found)
        except Malformed as error:
            raise Malformed(f"is no head: {error}", field=field) from error

    return Field(key, read, EpochHead.to_bytes)
