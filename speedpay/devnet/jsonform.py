"""Messages as the JSON of java-tron's HTTP calls, and back.

In two forms: ``visible`` shows addresses in base58 and some bytes as text, else everything is hex.
"""

from __future__ import annotations

import re
from typing import Any

from speedpay.chain.address import PREFIX, from_base58, to_base58
from speedpay.devnet.schema import (
    ENUMS,
    MAX_ITEMS,
    MESSAGES,
    TYPE_URL,
    Fields,
    bare_address,
    enum_name,
    is_default,
    parameter_type,
)
from speedpay.errors import Malformed

_MAX_TEXT = 64 * 1024


def from_json(name: str, given: Any, visible: bool) -> Fields:
    """The message of a JSON object. Unknown keys are ignored, as java-tron does."""
    if not isinstance(given, dict):
        raise Malformed("must be an object", field=name)
    message: Fields = {}
    for field in MESSAGES[name]:
        value = given.get(field.name)
        if value is None:
            continue
        where = f"{name}.{field.name}"
        if field.repeated:
            if not isinstance(value, list) or len(value) > MAX_ITEMS:
                raise Malformed(f"must be a list of at most {MAX_ITEMS}", field=where)
            items = [_from_json(field.kind, item, visible, where) for item in value]
            if items:
                message[field.name] = items
        else:
            made = _from_json(field.kind, value, visible, where)
            if not is_default(field.kind, made):
                message[field.name] = made
    return message


def _from_json(kind: str, value: Any, visible: bool, where: str) -> Any:
    if kind in MESSAGES:
        return from_json(kind, value, visible)
    if kind == "any":
        if not isinstance(value, dict):
            raise Malformed("must be an object", field=where)
        inner = parameter_type(value.get("type_url"), where)
        return {
            "type_url": TYPE_URL + inner,
            "value": from_json(inner, value.get("value"), visible),
        }
    if kind == "int":
        return integer(value, where)
    if kind == "bool":
        if value not in (True, False, "true", "false"):
            raise Malformed("must be true or false", field=where)
        return value in (True, "true")
    if not isinstance(value, str) or (kind in ("string", "text") and len(value) > _MAX_TEXT):
        if kind in ENUMS and isinstance(value, int):
            return enum_name(kind, value, where)
        raise Malformed("must be a string", field=where)
    if kind in ENUMS:
        name = value[:1].upper() + value[1:] if value.islower() else value
        if name not in ENUMS[kind]:
            raise Malformed(f"{value[:60]!r} is not modelled here", field=where)
        return name
    if kind == "string":
        return text(value, where)
    if kind == "text" and visible:
        return text(value, where).encode()
    if kind == "address" and value:
        return from_base58(value, where) if visible else bare_address(unhex(value, where), where)
    return unhex(value, where)


def integer(value: Any, where: str) -> int:
    """A signed 64-bit number, or the text of one."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise Malformed("must be a 64-bit integer", field=where)
    return value


def text(value: Any, where: str) -> str:
    """Text that has UTF-8: JSON can hold half of a surrogate pair."""
    if not isinstance(value, str) or any("\ud800" <= one <= "\udfff" for one in value):
        raise Malformed("must be a string", field=where)
    return value


def unhex(text: str, where: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError as error:
        raise Malformed("must be hexadecimal", field=where) from error


def to_json(name: str, message: Fields, visible: bool) -> dict[str, Any]:
    """As java-tron prints it: empty fields are absent."""
    out: dict[str, Any] = {}
    for field in MESSAGES[name]:
        if field.name in message:
            value = message[field.name]
            out[field.name] = (
                [_to_json(field.kind, item, visible) for item in value]
                if field.repeated
                else _to_json(field.kind, value, visible)
            )
    return out


def _to_json(kind: str, value: Any, visible: bool) -> Any:
    if kind in MESSAGES:
        return to_json(kind, value, visible)
    if kind == "any":
        inner = value["type_url"].removeprefix(TYPE_URL)
        return {"value": to_json(inner, value["value"], visible), "type_url": value["type_url"]}
    if isinstance(value, bytes):
        if kind == "address":
            return to_base58(value) if visible else (PREFIX + value).hex()
        if kind == "text" and visible:
            return value.decode(errors="replace")
        return value.hex()
    return value
