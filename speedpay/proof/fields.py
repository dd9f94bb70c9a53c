"""JSON from strangers, read strictly: each field once, by its type, nothing left over.

The same rules as ``ledger_api/strict.py`` has for the ledger's HTTP, in a pure package below it: two
readers of one file must never see two different things in it.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

from speedpay.errors import Malformed
from speedpay.proof.leaf import check_u63
from speedpay.units import MAX_UTOK, Amount

_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_MAX_DIGITS = 19


def parse(text: bytes, max_bytes: int, name: str) -> object:
    """The value of a JSON text in which no key stands twice and every number is an integer."""
    if len(text) > max_bytes:
        raise Malformed(f"is longer than {max_bytes} bytes", field=name)
    try:
        return json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_object,
            parse_float=_no_number,
            parse_int=_integer,
            parse_constant=_no_number,
        )
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise Malformed("is not JSON in UTF-8", field=name) from error


class Fields:
    """One JSON object, each field taken once and by type; what is left over is refused."""

    def __init__(self, value: object, name: str) -> None:
        self.name = name
        if not isinstance(value, dict):
            self.refuse("must be an object")
        self._left: dict[str, object] = dict(value)

    def refuse(self, why: str, name: str = "") -> NoReturn:
        raise Malformed(why, field=f"{self.name}.{name}" if name else self.name)

    def take(self, name: str) -> object:
        if name not in self._left:
            self.refuse("is missing", name)
        return self._left.pop(name)

    def end(self) -> None:
        for name in self._left:
            self.refuse("is not a field of it", re.sub(r"[^a-z0-9_]", "?", name)[:40])

    def text(self, name: str, max_chars: int) -> str:
        found = self.take(name)
        if not isinstance(found, str) or not 0 < len(found) <= max_chars:
            self.refuse(f"must be a text of 1 to {max_chars} characters", name)
        return found

    def integer(self, name: str) -> int:
        found = self.take(name)
        if type(found) is not int:
            self.refuse("must be a whole number", name)
        check_u63(found, f"{self.name}.{name}")
        return found

    def amount(self, name: str) -> Amount:
        return Amount.from_wire(self.take(name), f"{self.name}.{name}")

    def hex(self, name: str, size: int | None = None) -> bytes:
        found = self.take(name)
        if not isinstance(found, str) or not _HEX.fullmatch(found):
            self.refuse("must be bytes in lower-case hex", name)
        if size is not None and len(found) != 2 * size:
            self.refuse(f"must be {size} bytes", name)
        return bytes.fromhex(found)

    def optional(self, name: str) -> Fields | None:
        value = self.take(name)
        return None if value is None else Fields(value, f"{self.name}.{name}")

    def _is_none(self, name: str) -> bool:
        found = self._left.get(name, self)
        if found is None:
            del self._left[name]
        return found is None

    def optional_hex(self, name: str, size: int | None = None) -> bytes | None:
        return None if self._is_none(name) else self.hex(name, size)

    def optional_integer(self, name: str) -> int | None:
        return None if self._is_none(name) else self.integer(name)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise Malformed("names a field twice", field="json")
    return made


def _no_number(text: str) -> NoReturn:
    raise Malformed("holds a number that is not whole", field="json")


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS or int(text) > MAX_UTOK:
        raise Malformed("holds a number above 2^63-1", field="json")
    return int(text)
