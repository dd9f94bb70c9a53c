"""What the chain says, checked and in our own types; nodes leave empty fields out of their JSON.

Whatever a node may leave out has the default that protobuf gives it; whatever is there and is not of
the right kind is Malformed, with the field's name.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from speedpay.chain import address
from speedpay.errors import Malformed

_MAX_INT = 2**63 - 1
#: Bounds of one transaction's result; a claim of ours has one log with 5 words of data.
MAX_LOGS = 4096
MAX_LOG_DATA_BYTES = 65_536
MAX_TOPICS = 4


@dataclass(frozen=True, slots=True)
class Block:
    """``id``: 32 bytes, its first 8 the number; ``time_ms``: of its making, by its witness."""

    number: int
    id: bytes
    time_ms: int

    @property
    def time_s(self) -> int:
        return self.time_ms // 1000


@dataclass(frozen=True, slots=True)
class Log:
    """One event as a contract wrote it. ``contract``: 20 bytes; ``topics``: 32 bytes each, ≤ 4."""

    contract: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """A log and where it stands. ``index``: its place among the logs of its transaction, from 0."""

    block: int
    txid: bytes
    index: int
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a transaction in a block.

    ``ok``: it did what it says; ``result``: the chain's word, such as SUCCESS, REVERT or
    OUT_OF_ENERGY; ``energy``: all that it took, whoever paid; ``fee_sun``: burned by the owner, for
    energy and bandwidth; ``contract``: 20 bytes, what was called or has been deployed, else None;
    ``output``: what it returned, or the error of a revert.
    """

    txid: bytes
    block: int
    time_s: int
    ok: bool
    result: str
    energy: int
    fee_sun: int
    logs: tuple[Log, ...]
    contract: bytes | None
    output: bytes

    def events(self, contract: bytes) -> list[Event]:
        """Those of ``contract``, in order."""
        return [
            Event(self.block, self.txid, index, log.topics, log.data)
            for index, log in enumerate(self.logs)
            if log.contract == contract
        ]


@dataclass(frozen=True, slots=True)
class Resources:
    """What an account may use for nothing now: staked energy, and bandwidth in bytes."""

    energy: int
    bandwidth: int


def block(answer: object) -> Block:
    fields = mapping(answer, "block")
    header = mapping(
        mapping(fields.get("block_header"), "block_header").get("raw_data"), "raw_data"
    )
    block_id = hex_bytes(fields.get("blockID"), "blockID", 32)
    number = whole(header.get("number", 0), "block.number")
    if number and block_id[:8] != number.to_bytes(8):
        raise Malformed("does not begin with the block's number", field="blockID")
    return Block(number, block_id, whole(header.get("timestamp", 0), "block.timestamp"))


def receipt(answer: object) -> Receipt:
    """From ``TransactionInfo``. A transfer of TRX has neither ``receipt.result`` nor logs."""
    fields = mapping(answer, "receipt")
    paid = mapping(fields.get("receipt", {}), "receipt.receipt")
    word = text(paid.get("result", "SUCCESS"), "receipt.result")
    outputs = listed(fields.get("contractResult", []), "receipt.contractResult", 16)
    logs = listed(fields.get("log", []), "receipt.log", MAX_LOGS)
    contract = fields.get("contract_address")
    return Receipt(
        txid=hex_bytes(fields.get("id"), "receipt.id", 32),
        block=whole(fields.get("blockNumber", 0), "receipt.blockNumber"),
        time_s=whole(fields.get("blockTimeStamp", 0), "receipt.blockTimeStamp") // 1000,
        ok=fields.get("result") != "FAILED" and word == "SUCCESS",
        result=word,
        energy=whole(paid.get("energy_usage_total", 0), "receipt.energy_usage_total"),
        fee_sun=whole(fields.get("fee", 0), "receipt.fee"),
        logs=tuple(_log(entry, f"receipt.log[{index}]") for index, entry in enumerate(logs)),
        contract=address.from_node(contract, "receipt.contract_address") if contract else None,
        output=hex_bytes(outputs[0], "receipt.contractResult") if outputs else b"",
    )


def events(answer: object, contract: bytes) -> list[Event]:
    """Those of ``contract`` in one ``TransactionInfo``; logs of other contracts are not looked into."""
    fields = mapping(answer, "receipt")
    logs = fields.get("log", [])
    ours = [
        (index, entry)
        for index, entry in enumerate(logs if isinstance(logs, list) else [])
        if isinstance(entry, dict) and _is_of(entry.get("address"), contract)
    ]
    if not ours:
        return []
    found = receipt(dict(fields) | {"log": [entry for _, entry in ours]})
    if not found.ok:
        return []
    return [
        Event(found.block, found.txid, index, log.topics, log.data)
        for (index, _), log in zip(ours, found.logs, strict=True)
    ]


def _is_of(written: object, contract: bytes) -> bool:
    try:
        return address.from_node(written, "address") == contract
    except Malformed:
        return False


def _log(answer: object, field: str) -> Log:
    fields = mapping(answer, field)
    topics = listed(fields.get("topics", []), f"{field}.topics", MAX_TOPICS)
    data = hex_bytes(fields.get("data", ""), f"{field}.data")
    if len(data) > MAX_LOG_DATA_BYTES:
        raise Malformed(f"is above {MAX_LOG_DATA_BYTES} bytes", field=f"{field}.data")
    return Log(
        address.from_node(fields.get("address"), f"{field}.address"),
        tuple(hex_bytes(topic, f"{field}.topics", 32) for topic in topics),
        data,
    )


def resources(answer: object) -> Resources:
    """From ``getaccountresource``; an account that does not exist yet has nothing."""
    fields = mapping(answer, "resources")

    def left(limit: str, used: str) -> int:
        return max(0, whole(fields.get(limit, 0), limit) - whole(fields.get(used, 0), used))

    # Free and staked bandwidth do not add up: one transaction is paid wholly from one of them.
    bandwidth = max(left("freeNetLimit", "freeNetUsed"), left("NetLimit", "NetUsed"))
    return Resources(left("EnergyLimit", "EnergyUsed"), bandwidth)


def message(fields: Mapping[str, Any]) -> str:
    """A node's reason, one line for people: some nodes write it in hexadecimal, some plainly."""
    said = text(fields.get("message", "") or fields.get("code", ""), "message")
    with contextlib.suppress(ValueError):
        said = bytes.fromhex(said).decode()
    return "".join(c if c.isprintable() else "?" for c in said[:200]) or "no reason given"


# --- kinds of fields ---------------------------------------------------------------------------------


def mapping(value: object, field: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Malformed("must be an object", field=field)
    return value


def listed(value: object, field: str, most: int) -> list[Any]:
    if not isinstance(value, list):
        raise Malformed("must be a list", field=field)
    if len(value) > most:
        raise Malformed(f"has more than {most} entries", field=field)
    return value


def whole(value: object, field: str) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_INT:
        raise Malformed("must be a whole number, 0 … 2^63-1", field=field)
    return value


def text(value: object, field: str) -> str:
    if not isinstance(value, str) or len(value) > 1000:
        raise Malformed("must be text of at most 1000 characters", field=field)
    return value


def hex_bytes(value: object, field: str, length: int | None = None) -> bytes:
    if not isinstance(value, str) or not re.fullmatch(r"(?:[0-9a-fA-F]{2})*", value):
        raise Malformed("must be hexadecimal", field=field)
    content = bytes.fromhex(value)
    if length is not None and len(content) != length:
        raise Malformed(f"must be {length} bytes", field=field)
    return content
