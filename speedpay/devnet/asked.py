"""The parameters of one HTTP call, each checked when it is read. Bounds are on the whole body."""

from __future__ import annotations

import json
from typing import Any

from speedpay.chain.address import PREFIX, from_base58
from speedpay.devnet import jsonform
from speedpay.errors import Malformed


class Asked:
    def __init__(self, given: Any) -> None:
        if not isinstance(given, dict):
            raise Malformed("must be a JSON object", field="body")
        self.given: dict[str, Any] = given
        self.visible = given.get("visible") in (True, "true")

    def has(self, name: str) -> bool:
        return self.given.get(name) not in (None, "")

    def text(self, name: str) -> str:
        return jsonform.text(self.given.get(name, ""), name)

    def json(self, name: str, default: Any) -> Any:
        """A value, or the JSON text of one."""
        value = self.given.get(name, default)
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            raise Malformed("is not JSON", field=name) from error

    def hex(self, name: str) -> bytes:
        return jsonform.unhex(self.text(name), name)

    def number(self, name: str, default: int = 0) -> int:
        return jsonform.integer(self.given.get(name, default), name)

    def address(self, name: str) -> bytes:
        """20 bytes, from base58 when visible, else from hexadecimal that begins with 41."""
        text = self.text(name)
        if self.visible:
            return from_base58(text, name)
        raw = jsonform.unhex(text, name)
        if len(raw) != 21 or raw[:1] != PREFIX:
            raise Malformed("must be an address of 21 bytes that begins with 41", field=name)
        return raw[1:]
