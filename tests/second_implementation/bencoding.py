"""Bencoding (BEP 3): strictly as SPEC.md section 3 wants it, and leniently for BEP 10's own handshake."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeAlias

Bencoded: TypeAlias = int | bytes | list["Bencoded"] | dict[bytes, "Bencoded"]


def encode(value: Bencoded) -> bytes:
    match value:
        case int():
            return b"i%de" % value
        case bytes():
            return b"%d:%b" % (len(value), value)
        case list():
            return b"l" + b"".join(encode(one) for one in value) + b"e"
        case dict():
            return b"d" + b"".join(encode(k) + encode(value[k]) for k in sorted(value)) + b"e"
    raise TypeError(value)


def decode(data: bytes, *, canonical: bool = True, containers: int = 4) -> Bencoded:
    """The value of which ``data`` is the whole encoding. Raises ValueError."""
    value, end = _value(data, 0, containers, canonical)
    if end != len(data):
        raise ValueError("something follows the value")
    return value


def _value(data: bytes, at: int, containers: int, canonical: bool) -> tuple[Bencoded, int]:
    kind = data[at : at + 1]
    if kind == b"i":
        end = data.find(b"e", at, at + 23)
        return _number(data[at + 1 : end] if end > 0 else b"", canonical), end + 1
    if kind.isdigit():
        colon = data.find(b":", at, at + 21)
        length = _number(data[at:colon] if colon > 0 else b"", canonical)
        if len(data) - colon - 1 < length:
            raise ValueError("a string is cut short")
        return data[colon + 1 : colon + 1 + length], colon + 1 + length
    if kind not in (b"l", b"d") or not containers:
        raise ValueError("not bencoded, or nested too deep")
    at += 1
    items: list[Bencoded] = []
    while data[at : at + 1] != b"e":
        item, at = _value(data, at, containers - 1, canonical)
        items.append(item)
    return (items if kind == b"l" else _dictionary(items, canonical)), at + 1


def _number(digits: bytes, canonical: bool) -> int:
    bare = digits.removeprefix(b"-")
    if not bare.isdigit() or len(bare) > 20:
        raise ValueError("not a number, or a long one")
    if canonical and str(int(digits)).encode() != digits:
        raise ValueError("a leading zero, or minus zero")
    return int(digits)


def _dictionary(items: list[Bencoded], canonical: bool) -> dict[bytes, Bencoded]:
    keys = [key for key in items[::2] if isinstance(key, bytes)]
    if len(items) % 2 or len(keys) * 2 != len(items):
        raise ValueError("not pairs of a string and a value")
    if canonical and any(low >= high for low, high in pairwise(keys)):
        raise ValueError("keys out of order, or twice")
    return dict(zip(keys, items[1::2], strict=True))
