"""JSON without its surprises: what two parsers could read differently is refused.

Duplicate keys, NaN and Infinity, floats, numbers beyond 64 bits, unknown fields and deep nesting are
``Malformed``, and the error names the field. Only shape is judged here.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

from speedpay.errors import Malformed
from speedpay.units import Amount, MoneyClass

#: Our deepest shape has four levels; the parser must not recurse as deep as a stranger likes.
MAX_DEPTH = 8
_MAX_DIGITS = 19
_MAX_NAME_CHARS = 40
_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


def parse(body: bytes) -> object:
    """The value of a JSON text. Raises Malformed."""
    _check_depth(body)
    try:
        text = body.decode("utf-8")
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_float=_no_float,
            parse_int=_small_int,
            parse_constant=_no_float,
        )
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise Malformed("is not JSON in UTF-8", field="body") from error


def dump(value: object) -> bytes:
    """Compact ASCII JSON: whatever text it holds, no terminal and no log line can be upset by it."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def _check_depth(body: bytes) -> None:
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(body):
        if match[0] in (b"[", b"{"):
            depth += 1
            if depth > MAX_DEPTH:
                raise Malformed(f"is nested deeper than {MAX_DEPTH}", field="body")
        elif match[0] in (b"]", b"}"):
            depth -= 1


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made: dict[str, object] = {}
    for name, value in pairs:
        if name in made:
            raise Malformed("is given twice", field=_shown(name))
        made[name] = value
    return made


def _no_float(text: str) -> NoReturn:
    raise Malformed("numbers must be whole; amounts are strings of digits", field="body")


def _small_int(text: str) -> int:
    if len(text.lstrip("-")) > _MAX_DIGITS:
        raise Malformed("holds a number beyond 64 bits", field="body")
    return int(text)


def _shown(name: str) -> str:
    """A stranger's field name, short and printable, to be repeated in an error."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in name[:_MAX_NAME_CHARS])


class Fields:
    """The members of one JSON object, taken one by one; ``end`` refuses what nobody took."""

    def __init__(self, value: object, path: str = "") -> None:
        if not isinstance(value, dict):
            raise Malformed("must be an object", field=path or "body")
        self._left: dict[str, object] = dict(value)
        self._path = path

    def path(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def has(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str) -> object:
        if name not in self._left:
            raise Malformed("is missing", field=self.path(name))
        return self._left.pop(name)

    def end(self) -> None:
        for name in self._left:
            raise Malformed("is not a known field", field=self.path(_shown(name)))

    def amount(self, name: str, *, zero: bool = False) -> Amount:
        amount = Amount.from_wire(self.take(name), self.path(name))
        if not amount and not zero:
            raise Malformed("must be above 0", field=self.path(name))
        return amount

    def hex(self, name: str, byte_count: int) -> bytes:
        value = self.take(name)
        if not isinstance(value, str) or len(value) != 2 * byte_count or not _HEX.fullmatch(value):
            raise Malformed(f"must be {2 * byte_count} lowercase hex digits", field=self.path(name))
        return bytes.fromhex(value)

    def integer(self, name: str, low: int, high: int) -> int:
        value = self.take(name)
        if type(value) is not int or not low <= value <= high:
            raise Malformed(f"must be a whole number, {low} to {high}", field=self.path(name))
        return value

    def flag(self, name: str) -> bool:
        value = self.take(name)
        if type(value) is not bool:
            raise Malformed("must be true or false", field=self.path(name))
        return value

    def text(self, name: str, max_chars: int = 512) -> str:
        value = self.take(name)
        if not isinstance(value, str) or len(value) > max_chars:
            raise Malformed(f"must be a text of at most {max_chars}", field=self.path(name))
        return value

    def money_class(self, name: str = "class") -> MoneyClass:
        value = self.take(name)
        if value not in ("token", "credit"):
            raise Malformed('must be "token" or "credit"', field=self.path(name))
        return MoneyClass(str(value))

    def array(self, name: str, low: int, high: int) -> list[object]:
        value = self.take(name)
        if not isinstance(value, list) or not low <= len(value) <= high:
            raise Malformed(f"must be a list of {low} to {high} items", field=self.path(name))
        return value

    def inner(self, name: str) -> Fields:
        return Fields(self.take(name), self.path(name))
