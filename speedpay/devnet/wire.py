"""Messages as protobuf bytes, and back: fields in the order of their numbers, defaults left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from speedpay.chain.address import PREFIX
from speedpay.devnet.schema import (
    ANY,
    ENUMS,
    MAX_ITEMS,
    MESSAGES,
    TYPE_URL,
    Field,
    Fields,
    bare_address,
    enum_name,
    is_default,
    parameter_type,
)
from speedpay.errors import Malformed


def encode(name: str, message: Fields) -> bytes:
    """The protobuf bytes, fields in the order of their numbers."""
    return _encode(MESSAGES[name], message)


def _encode(fields: tuple[Field, ...], message: Fields) -> bytes:
    out = bytearray()
    for field in fields:
        given = message.get(field.name)
        if given is None:
            continue
        for value in given if field.repeated else (given,):
            raw = _field_bytes(field.kind, value)
            if isinstance(raw, int):
                if raw:
                    out += _varint(field.number << 3) + _varint(raw % 2**64)
            elif raw or field.repeated or field.kind in MESSAGES or field.kind == "any":
                out += _varint(field.number << 3 | 2) + _varint(len(raw)) + raw
    return bytes(out)


def _field_bytes(kind: str, value: Any) -> bytes | int:
    if kind in MESSAGES:
        return encode(kind, value)
    if kind == "any":
        inner = encode(value["type_url"].removeprefix(TYPE_URL), value["value"])
        return _encode(ANY, {"type_url": value["type_url"], "value": inner})
    if kind in ENUMS:
        return ENUMS[kind][value]
    if kind == "string":
        encoded: bytes = value.encode()
        return encoded
    if kind in ("int", "bool"):
        return int(value)
    return PREFIX + value if kind == "address" else bytes(value)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def decode(name: str, raw: bytes) -> Fields:
    """The message of some bytes; Malformed names the field. Unknown fields are refused: a
    transaction that is not understood as a whole must not be executed in part."""
    if name not in MESSAGES:
        raise Malformed(f"{name} is not modelled here", field="type_url")
    return _decode(MESSAGES[name], raw, name)


def _decode(fields: tuple[Field, ...], raw: bytes, name: str) -> Fields:
    by_number = {field.number: field for field in fields}
    message: Fields = {}
    for number, value in _pieces(raw, name):
        field = by_number.get(number)
        if field is None:
            raise Malformed(f"has a field {number} that is not known here", field=name)
        where = f"{name}.{field.name}"
        made = _value_of(field.kind, value, where)
        if field.repeated:
            items = message.setdefault(field.name, [])
            items.append(made)
            if len(items) > MAX_ITEMS:
                raise Malformed(f"has more than {MAX_ITEMS} items", field=where)
        elif not is_default(field.kind, made):
            message[field.name] = made
    return message


def _pieces(raw: bytes, name: str) -> Iterator[tuple[int, int | bytes]]:
    at = 0

    def varint() -> int:
        nonlocal at
        number = 0
        for shift in range(0, 70, 7):
            if at >= len(raw):
                break
            byte = raw[at]
            at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number % 2**64
        raise Malformed("ends within a number", field=name)

    while at < len(raw):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        elif key & 7 == 2:
            length = varint()
            if length > len(raw) - at:
                raise Malformed("ends within a field", field=name)
            at += length
            yield key >> 3, raw[at - length : at]
        else:
            raise Malformed("has a field of an unknown wire type", field=name)


def _value_of(kind: str, value: int | bytes, where: str) -> Any:
    if isinstance(value, int) != (kind in ("int", "bool") or kind in ENUMS):
        raise Malformed("has another wire type", field=where)
    if isinstance(value, int):
        if kind in ENUMS:
            return enum_name(kind, value, where)
        return bool(value) if kind == "bool" else value - 2**64 if value >= 2**63 else value
    if kind in MESSAGES:
        return decode(kind, value)
    if kind == "any":
        outer = _decode(ANY, value, where)
        inner = parameter_type(outer.get("type_url"), where)
        return {"type_url": TYPE_URL + inner, "value": decode(inner, outer.get("value", b""))}
    if kind == "string":
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise Malformed("is not UTF-8", field=where) from error
    return bare_address(value, where) if kind == "address" and value else value
