"""Canonical bencoding (BEP 3), strict: one encoding per value, bounded depth, nothing trailing."""

from __future__ import annotations

from speedpay.errors import Malformed

Value = int | bytes | list["Value"] | dict[bytes, "Value"]
_MAX_DEPTH = 4
_MAX_DIGITS = 20


def encode(value: Value) -> bytes:
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(encode, value)) + b"e"
    return b"d" + b"".join(encode(key) + encode(value[key]) for key in sorted(value)) + b"e"


def decode(text: bytes) -> Value:
    """Raises Malformed unless ``text`` is exactly one canonically encoded value."""
    value, end = _value(text, 0, 0)
    if end != len(text):
        raise Malformed("has bytes after its end", field="message")
    return value


def _value(text: bytes, at: int, depth: int) -> tuple[Value, int]:
    if depth > _MAX_DEPTH:
        raise Malformed("is nested too deeply", field="message")
    head = text[at : at + 1]
    if head == b"i":
        return _integer(text, at + 1, b"e", signed=True)
    if head == b"l":
        items: list[Value] = []
        at += 1
        while text[at : at + 1] != b"e":
            item, at = _value(text, at, depth + 1)
            items.append(item)
        return items, at + 1
    if head == b"d":
        found: dict[bytes, Value] = {}
        last: bytes | None = None
        at += 1
        while text[at : at + 1] != b"e":
            key, at = _string(text, at)
            if last is not None and key <= last:
                raise Malformed("has keys that repeat or are not in order", field="message")
            last = key
            found[key], at = _value(text, at, depth + 1)
        return found, at + 1
    return _string(text, at)


def _integer(text: bytes, at: int, end: bytes, signed: bool) -> tuple[int, int]:
    stop = text.find(end, at, at + _MAX_DIGITS + 1)
    digits = text[at:stop] if stop >= 0 else b""
    plain = digits[1:] if signed and digits[:1] == b"-" else digits
    if not plain.isdigit() or (plain[:1] == b"0" and digits != b"0"):
        raise Malformed("has an integer that is not canonical", field="message")
    return int(digits), stop + 1


def _string(text: bytes, at: int) -> tuple[bytes, int]:
    length, at = _integer(text, at, b":", signed=False)
    if at + length > len(text):
        raise Malformed("ends inside a string", field="message")
    return text[at : at + length], at + length
