"""TRON's messages: protobuf bytes and the JSON of its HTTP calls, both from one table.

A message is a dict of its set fields; a field at its default is absent, as in proto3. JSON comes in
the two forms of java-tron: ``visible`` shows addresses in base58 and some bytes as text, else
everything is hex. Field numbers: java-tron's ``Tron.proto`` and ``smart_contract.proto``. Only what
this chain executes is here; a message of another type is refused by name. Addresses are 20 bytes in
a message and have 0x41 in front in all that leaves it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from speedpay.chain.address import PREFIX, from_base58, to_base58
from speedpay.errors import Malformed

Message = dict[str, Any]

_MAX_ITEMS = 4096  # in one repeated field; the longest honest one is an ABI
_MAX_TEXT = 64 * 1024


class Field(NamedTuple):
    number: int
    name: str
    kind: str  # bytes, address, text (bytes shown as text), string, int, bool, any, an enum, a message
    repeated: bool = False


ENUMS: dict[str, dict[str, int]] = {
    "ContractType": {
        "TransferContract": 1, "CreateSmartContract": 30, "TriggerSmartContract": 31,
    },
    "EntryType": {
        "UnknownEntryType": 0, "Constructor": 1, "Function": 2, "Event": 3, "Fallback": 4,
        "Receive": 5, "Error": 6,
    },
    "Mutability": {
        "UnknownMutabilityType": 0, "Pure": 1, "View": 2, "Nonpayable": 3, "Payable": 4,
    },
}  # fmt: skip

MESSAGES: dict[str, tuple[Field, ...]] = {
    "Transaction": (
        Field(1, "raw_data", "raw"),
        Field(2, "signature", "bytes", repeated=True),
    ),
    "raw": (
        Field(1, "ref_block_bytes", "bytes"),
        Field(3, "ref_block_num", "int"),
        Field(4, "ref_block_hash", "bytes"),
        Field(8, "expiration", "int"),
        Field(10, "data", "bytes"),
        Field(11, "contract", "Contract", repeated=True),
        Field(12, "scripts", "bytes"),
        Field(14, "timestamp", "int"),
        Field(18, "fee_limit", "int"),
    ),
    "Contract": (
        Field(1, "type", "ContractType"),
        Field(2, "parameter", "any"),
        Field(3, "provider", "bytes"),
        Field(4, "ContractName", "text"),
        Field(5, "Permission_id", "int"),
    ),
    "TransferContract": (
        Field(1, "owner_address", "address"),
        Field(2, "to_address", "address"),
        Field(3, "amount", "int"),
    ),
    "TriggerSmartContract": (
        Field(1, "owner_address", "address"),
        Field(2, "contract_address", "address"),
        Field(3, "call_value", "int"),
        Field(4, "data", "bytes"),
        Field(5, "call_token_value", "int"),
        Field(6, "token_id", "int"),
    ),
    "CreateSmartContract": (
        Field(1, "owner_address", "address"),
        Field(2, "new_contract", "SmartContract"),
        Field(3, "call_token_value", "int"),
        Field(4, "token_id", "int"),
    ),
    "SmartContract": (
        Field(1, "origin_address", "address"),
        Field(2, "contract_address", "address"),
        Field(3, "abi", "ABI"),
        Field(4, "bytecode", "bytes"),
        Field(5, "call_value", "int"),
        Field(6, "consume_user_resource_percent", "int"),
        Field(7, "name", "string"),
        Field(8, "origin_energy_limit", "int"),
        Field(9, "code_hash", "bytes"),
        Field(10, "trx_hash", "bytes"),
        Field(11, "version", "int"),
    ),
    "ABI": (Field(1, "entrys", "Entry", repeated=True),),
    "Entry": (
        Field(1, "anonymous", "bool"),
        Field(2, "constant", "bool"),
        Field(3, "name", "string"),
        Field(4, "inputs", "Param", repeated=True),
        Field(5, "outputs", "Param", repeated=True),
        Field(6, "type", "EntryType"),
        Field(7, "payable", "bool"),
        Field(8, "stateMutability", "Mutability"),
    ),
    "Param": (
        Field(1, "indexed", "bool"),
        Field(2, "name", "string"),
        Field(3, "type", "string"),
    ),
    "BlockHeader": (
        Field(1, "timestamp", "int"),
        Field(2, "txTrieRoot", "bytes"),
        Field(3, "parentHash", "bytes"),
        Field(7, "number", "int"),
        Field(8, "witness_id", "int"),
        Field(9, "witness_address", "address"),
        Field(10, "version", "int"),
    ),
}

TYPE_URL = "type.googleapis.com/protocol."
_PARAMETERS = ("TransferContract", "CreateSmartContract", "TriggerSmartContract")
_ANY = (Field(1, "type_url", "string"), Field(2, "value", "bytes"))


# ------------------------------------------------------------------------------------------ bytes


def encode(name: str, message: Message) -> bytes:
    """The protobuf bytes, fields in the order of their numbers."""
    return _encode(MESSAGES[name], message)


def _encode(fields: tuple[Field, ...], message: Message) -> bytes:
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
        return _encode(_ANY, {"type_url": value["type_url"], "value": inner})
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


def decode(name: str, raw: bytes) -> Message:
    """The message of some bytes; Malformed names the field. Unknown fields are refused: a
    transaction that is not understood as a whole must not be executed in part."""
    if name not in MESSAGES:
        raise Malformed(f"{name} is not modelled here", field="type_url")
    return _decode(MESSAGES[name], raw, name)


def _decode(fields: tuple[Field, ...], raw: bytes, name: str) -> Message:
    by_number = {field.number: field for field in fields}
    message: Message = {}
    for number, value in _pieces(raw, name):
        field = by_number.get(number)
        if field is None:
            raise Malformed(f"has a field {number} that is not known here", field=name)
        where = f"{name}.{field.name}"
        made = _value_of(field.kind, value, where)
        if field.repeated:
            items = message.setdefault(field.name, [])
            items.append(made)
            if len(items) > _MAX_ITEMS:
                raise Malformed(f"has more than {_MAX_ITEMS} items", field=where)
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
            return _enum_name(kind, value, where)
        return bool(value) if kind == "bool" else value - 2**64 if value >= 2**63 else value
    if kind in MESSAGES:
        return decode(kind, value)
    if kind == "any":
        outer = _decode(_ANY, value, where)
        inner = _parameter_type(outer.get("type_url"), where)
        return {"type_url": TYPE_URL + inner, "value": decode(inner, outer.get("value", b""))}
    if kind == "string":
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise Malformed("is not UTF-8", field=where) from error
    return _address(value, where) if kind == "address" and value else value


def _enum_name(kind: str, number: int, where: str) -> str:
    for name, known in ENUMS[kind].items():
        if known == number:
            return name
    raise Malformed(f"{number} is not modelled here", field=where)


def _parameter_type(type_url: Any, where: str) -> str:
    name = type_url.removeprefix(TYPE_URL) if isinstance(type_url, str) else ""
    if name not in _PARAMETERS:
        raise Malformed(
            f"{name[:60] or 'nothing'} is not modelled here", field=f"{where}.type_url",
            hint="this chain knows TransferContract, CreateSmartContract and TriggerSmartContract",
        )  # fmt: skip
    return name


def is_default(kind: str, value: Any) -> bool:
    return (
        kind not in MESSAGES
        and kind != "any"
        and (not value or ENUMS.get(kind, {}).get(value) == 0)
    )


# ------------------------------------------------------------------------------------------- JSON


def from_json(name: str, given: Any, visible: bool) -> Message:
    """The message of a JSON object. Unknown keys are ignored, as java-tron does."""
    if not isinstance(given, dict):
        raise Malformed("must be an object", field=name)
    message: Message = {}
    for field in MESSAGES[name]:
        value = given.get(field.name)
        if value is None:
            continue
        where = f"{name}.{field.name}"
        if field.repeated:
            if not isinstance(value, list) or len(value) > _MAX_ITEMS:
                raise Malformed(f"must be a list of at most {_MAX_ITEMS}", field=where)
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
        inner = _parameter_type(value.get("type_url"), where)
        return {
            "type_url": TYPE_URL + inner,
            "value": from_json(inner, value.get("value"), visible),
        }
    if kind == "int":
        return _int(value, where)
    if kind == "bool":
        if value not in (True, False, "true", "false"):
            raise Malformed("must be true or false", field=where)
        return value in (True, "true")
    if not isinstance(value, str) or (kind in ("string", "text") and len(value) > _MAX_TEXT):
        if kind in ENUMS and isinstance(value, int):
            return _enum_name(kind, value, where)
        raise Malformed("must be a string", field=where)
    if kind in ENUMS:
        name = value[:1].upper() + value[1:] if value.islower() else value
        if name not in ENUMS[kind]:
            raise Malformed(f"{value[:60]!r} is not modelled here", field=where)
        return name
    if kind == "string":
        return value
    if kind == "text" and visible:
        return value.encode()
    if kind == "address" and value:
        return from_base58(value, where) if visible else _address(unhex(value, where), where)
    return unhex(value, where)


def _address(raw: bytes, where: str) -> bytes:
    if len(raw) != 21 or raw[:1] != PREFIX:
        raise Malformed("must be an address of 21 bytes that begins with 41", field=where)
    return raw[1:]


def _int(value: Any, where: str) -> int:
    if isinstance(value, str) and len(value) <= 20 and value.lstrip("-").isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise Malformed("must be a 64-bit integer", field=where)
    return value


def unhex(text: str, where: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError as error:
        raise Malformed("must be hexadecimal", field=where) from error


def to_json(name: str, message: Message, visible: bool) -> dict[str, Any]:
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
