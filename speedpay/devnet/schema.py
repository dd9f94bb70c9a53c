"""TRON's messages, as tables: fields with their numbers and kinds, and what is in an ``Any``.

A message is a dict of its set fields; a field at its default is absent, as in proto3. Addresses are 20
bytes in a message and have 0x41 in front in all that leaves it. Only what this chain executes is here;
a message of another type is refused by name. Source: java-tron's ``Tron.proto`` and
``smart_contract.proto``. ``wire.py`` makes bytes of it, ``jsonform.py`` JSON.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from speedpay.chain.address import PREFIX
from speedpay.errors import Malformed

Fields = dict[str, Any]

MAX_ITEMS = 4096  # in one repeated field; the longest honest one is an ABI


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
ANY = (Field(1, "type_url", "string"), Field(2, "value", "bytes"))


def enum_name(kind: str, number: int, where: str) -> str:
    for name, known in ENUMS[kind].items():
        if known == number:
            return name
    raise Malformed(f"{number} is not modelled here", field=where)


def parameter_type(type_url: Any, where: str) -> str:
    name = type_url.removeprefix(TYPE_URL) if isinstance(type_url, str) else ""
    if name not in _PARAMETERS:
        raise Malformed(
            f"{name[:60] or 'nothing'} is not modelled here", field=f"{where}.type_url",
            hint="this chain knows TransferContract, CreateSmartContract and TriggerSmartContract",
        )  # fmt: skip
    return name


def bare_address(raw: bytes, where: str) -> bytes:
    if len(raw) != 21 or raw[:1] != PREFIX:
        raise Malformed("must be an address of 21 bytes that begins with 41", field=where)
    return raw[1:]


def is_default(kind: str, value: Any) -> bool:
    return (
        kind not in MESSAGES
        and kind != "any"
        and (not value or ENUMS.get(kind, {}).get(value) == 0)
    )
