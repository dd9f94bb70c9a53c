"""The bytes of a transaction, written by ourselves, so that nobody else says what is signed.

A transaction's id is the sha256 of its ``raw_data`` in protobuf. tronpy asks a node for that id and
signs what it is told; here the id comes from these bytes, and a node that says another is refused.
Messages and field numbers are those of java-tron's ``core/Tron.proto``, ``balance_contract.proto`` and
``smart_contract.proto``; the encoding is proto3 (fields in the order of their numbers, defaults left
out), for the three contracts that we send. ``raw_data`` is the JSON form that nodes take: bytes as
hexadecimal, addresses as 21 bytes that begin with 0x41. A field that is not in the tables is refused:
left out of the bytes it could mean something to the node and nothing to the reader.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from speedpay.errors import Malformed

_MAX_INT = 2**63 - 1
#: java-tron refuses transactions above 500 KB (TransactionCapsule, TOO_BIG_TRANSACTION_ERROR).
MAX_RAW_BYTES = 500_000
_TYPE_URL = "type.googleapis.com/protocol."

_Writer = Callable[[Any, str], bytes]
#: JSON name → (field number, how its value is written); in the order of the numbers.
_Message = dict[str, tuple[int, "_Writer"]]


def transaction_id(raw_data: Mapping[str, Any]) -> bytes:
    """32 bytes. Raises Malformed with the field's path."""
    return hashlib.sha256(encode_raw(raw_data)).digest()


def encode_raw(raw_data: Mapping[str, Any]) -> bytes:
    """``Transaction.raw``. Raises Malformed with the path of what cannot be encoded."""
    written = _fields(raw_data, _RAW, "raw_data")
    if len(written) > MAX_RAW_BYTES:
        raise Malformed(f"is above {MAX_RAW_BYTES} bytes", field="raw_data")
    return written


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(value: Any, field: str) -> bytes:
    """A varint; empty for zero. Nothing that we send is negative."""
    if type(value) is not int or not 0 <= value <= _MAX_INT:
        raise Malformed("must be a whole number, 0 … 2^63-1", field=field)
    return _varint(value) if value else b""


def _flag(value: Any, field: str) -> bytes:
    if type(value) is not bool:
        raise Malformed("must be true or false", field=field)
    return b"\x01" if value else b""


def _hex(value: Any, field: str) -> bytes:
    try:
        return _sized(bytes.fromhex(value))
    except (TypeError, ValueError) as error:
        raise Malformed("must be hexadecimal", field=field) from error


def _address(value: Any, field: str) -> bytes:
    written = _hex(value, field)
    if written[:2] != b"\x15\x41":
        raise Malformed("must be 21 bytes that begin with 41, in hexadecimal", field=field)
    return written


def _text(value: Any, field: str) -> bytes:
    if not isinstance(value, str):
        raise Malformed("must be text", field=field)
    return _sized(value.encode())


def _choice(*names: str) -> _Writer:
    def write(value: Any, field: str) -> bytes:
        if value not in names:
            raise Malformed(f"must be one of {', '.join(names)}", field=field)
        return _number(names.index(value), field)

    return write


def _sized(content: bytes) -> bytes:
    return _varint(len(content)) + content if content else b""


def _present(content: bytes) -> bytes:
    """A message inside a message is written even when it is empty."""
    return _varint(len(content)) + content


def _message(fields: _Message) -> _Writer:
    return lambda value, field: _present(_fields(value, fields, field))


_NUMBERS = (_number, _flag)  # wire type 0; all else is length-delimited, wire type 2


def _fields(value: Any, fields: _Message, path: str) -> bytes:
    if not isinstance(value, Mapping):
        raise Malformed("must be an object", field=path)
    unknown = value.keys() - fields.keys()
    if unknown:
        raise Malformed("has no place in a transaction of ours", field=f"{path}.{min(unknown)}")
    out = bytearray()
    for name, (number, write) in fields.items():
        if name not in value:
            continue
        given, field = value[name], f"{path}.{name}"
        is_varint = write in _NUMBERS or write in _CHOICES
        tag = _varint(number << 3 | (0 if is_varint else 2))
        for item in given if isinstance(given, list) else [given]:
            written = write(item, field)
            if written:
                out += tag + written
    return bytes(out)


def _contract(value: Any, field: str) -> bytes:
    """``Transaction.Contract``: its type, the message in an Any, the permission that signs it."""
    if not isinstance(value, Mapping) or value.keys() - {"type", "parameter", "Permission_id"}:
        raise Malformed("must have a type and a parameter", field=field)
    kind, parameter = value.get("type"), value.get("parameter")
    if kind not in _CONTRACTS:
        raise Malformed(f"must be one of {', '.join(_CONTRACTS)}", field=f"{field}.type")
    if not isinstance(parameter, Mapping) or parameter.keys() != {"type_url", "value"}:
        raise Malformed("must be a type_url and a value", field=f"{field}.parameter")
    if parameter["type_url"] != _TYPE_URL + kind:
        raise Malformed(f"must be that of {kind}", field=f"{field}.parameter.type_url")
    number, message = _CONTRACTS[kind]
    content = _fields(parameter["value"], message, f"{field}.parameter.value")
    held = b"\x0a" + _sized(parameter["type_url"].encode())
    held += b"\x12" + _sized(content) if content else b""
    permission = _number(value.get("Permission_id", 0), f"{field}.Permission_id")
    whole = b"\x08" + _varint(number) + b"\x12" + _present(held)
    return _present(whole + (b"\x28" + permission if permission else b""))


def parameter(kind: str, value: dict[str, Any]) -> dict[str, Any]:
    """One entry of ``raw_data["contract"]``."""
    return {"type": kind, "parameter": {"type_url": _TYPE_URL + kind, "value": value}}


_MUTABILITY = _choice("UnknownMutabilityType", "Pure", "View", "Nonpayable", "Payable")
_ENTRY_TYPE = _choice(
    "UnknownEntryType", "Constructor", "Function", "Event", "Fallback", "Receive", "Error"
)
_CHOICES = (_MUTABILITY, _ENTRY_TYPE)

_PARAM: _Message = {"indexed": (1, _flag), "name": (2, _text), "type": (3, _text)}
_ENTRY: _Message = {
    "anonymous": (1, _flag), "constant": (2, _flag), "name": (3, _text),
    "inputs": (4, _message(_PARAM)), "outputs": (5, _message(_PARAM)), "type": (6, _ENTRY_TYPE),
    "payable": (7, _flag), "stateMutability": (8, _MUTABILITY),
}  # fmt: skip
_SMART_CONTRACT: _Message = {
    "origin_address": (1, _address), "abi": (3, _message({"entrys": (1, _message(_ENTRY))})),
    "bytecode": (4, _hex), "call_value": (5, _number),
    "consume_user_resource_percent": (6, _number), "name": (7, _text),
    "origin_energy_limit": (8, _number),
}  # fmt: skip
#: name → (ContractType, its message)
_CONTRACTS: dict[str, tuple[int, _Message]] = {
    "TransferContract": (
        1, {"owner_address": (1, _address), "to_address": (2, _address), "amount": (3, _number)},
    ),
    "CreateSmartContract": (
        30,
        {
            "owner_address": (1, _address), "new_contract": (2, _message(_SMART_CONTRACT)),
            "call_token_value": (3, _number), "token_id": (4, _number),
        },
    ),
    "TriggerSmartContract": (
        31,
        {
            "owner_address": (1, _address), "contract_address": (2, _address),
            "call_value": (3, _number), "data": (4, _hex),
            "call_token_value": (5, _number), "token_id": (6, _number),
        },
    ),
}  # fmt: skip
_RAW: _Message = {
    "ref_block_bytes": (1, _hex), "ref_block_num": (3, _number), "ref_block_hash": (4, _hex),
    "expiration": (8, _number), "data": (10, _hex), "contract": (11, _contract),
    "timestamp": (14, _number), "fee_limit": (18, _number),
}  # fmt: skip
