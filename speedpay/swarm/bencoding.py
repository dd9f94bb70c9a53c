"""Bencoding (BEP 3), read strictly: one value has one meaning here.

Refused are lengths and integers with leading zeros or a negative zero, duplicate keys, keys that are
not strings, trailing bytes, deep nesting and too many values. Keys out of order are let through:
old torrents have them, and they make nothing ambiguous.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from speedpay.errors import Malformed

Bencoded: TypeAlias = "int | bytes | list[Bencoded] | dict[bytes, Bencoded]"

#: libtorrent's own limit when it reads a torrent.
MAX_DEPTH = 100
#: 100,000 files of a torrent come to 800,000 values; reading this many takes about two seconds.
MAX_VALUES = 2_000_000

_INTEGER = re.compile(rb"i(0|-?[1-9][0-9]{0,18})e")
_LENGTH = re.compile(rb"(0|[1-9][0-9]{0,8}):")


def decode(data: bytes, field: str) -> Bencoded:
    """The one value that ``data`` holds. Raises Malformed naming ``field``."""
    return _Reader(data, field).whole()


def decode_dict_with_span(
    data: bytes, key: bytes, field: str
) -> tuple[dict[bytes, Bencoded], bytes]:
    """A dictionary, and the exact bytes of its value under ``key`` (empty when it has none)."""
    reader = _Reader(data, field, span_of=key)
    value = reader.whole()
    if not isinstance(value, dict):
        raise Malformed("must be a dictionary", field=field)
    return value, reader.span


def encode(value: Bencoded) -> bytes:
    """Canonical: keys in the order of their bytes."""
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(encode, value)) + b"e"
    pairs = (encode(key) + encode(value[key]) for key in sorted(value))
    return b"d" + b"".join(pairs) + b"e"


class _Reader:
    """Reads without recursion, so that no nesting reaches Python's own limit."""

    def __init__(self, data: bytes, field: str, span_of: bytes | None = None) -> None:
        self._data = data
        self._field = field
        self._span_of = span_of
        self.span = b""

    def whole(self) -> Bencoded:
        data, at, values = self._data, 0, 0
        # Open containers from the outside in, each with the key that waits for its value.
        stack: list[list[Bencoded] | dict[bytes, Bencoded]] = []
        keys: list[bytes | None] = []
        span_start = 0
        while True:
            values += 1
            if values > MAX_VALUES:
                raise self._error("has too many values", at)
            mark = data[at : at + 1]
            value: Bencoded
            if mark == b"e" and stack:
                if keys[-1] is not None:
                    raise self._error("has a key without a value", at)
                at += 1
                value = stack.pop()
                keys.pop()
            elif mark in (b"l", b"d"):
                if len(stack) >= MAX_DEPTH:
                    raise self._error("is nested too deeply", at)
                if len(stack) == 1 and keys[0] == self._span_of:
                    span_start = at
                stack.append([] if mark == b"l" else {})
                keys.append(None)
                at += 1
                continue
            elif mark == b"i":
                found = _INTEGER.match(data, at)
                if found is None:
                    raise self._error("has a malformed integer", at)
                value, at = int(found[1]), found.end()
            else:
                found = _LENGTH.match(data, at)
                if found is None:
                    raise self._error("is not bencoded", at)
                end = found.end() + int(found[1])
                if end > len(data):
                    raise self._error("ends within a string", at)
                value, at = data[found.end() : end], end

            if not stack:
                if at != len(data):
                    raise self._error("has trailing bytes", at)
                return value
            container = stack[-1]
            if isinstance(container, list):
                container.append(value)
            elif keys[-1] is None:
                if not isinstance(value, bytes):
                    raise self._error("has a key that is not a string", at)
                if value in container:
                    raise self._error(f"has the key {value[:40]!r} twice", at)
                keys[-1] = value
            else:
                if len(stack) == 1 and keys[0] == self._span_of:
                    self.span = data[span_start:at] if span_start else b""
                container[keys[-1]] = value
                keys[-1] = None

    def _error(self, what: str, at: int) -> Malformed:
        return Malformed(f"{what} (at byte {at})", field=self._field)
