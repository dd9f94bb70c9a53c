"""How calls to contracts, their answers and their events are written (Solidity's ABI specification).

Values on our side: ``bytes`` of 20 for an address, ``bytes`` of n for bytesN, int, bool, str, and lists
of these. eth_abi does the encoding; nothing of it leaves this file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from speedpay.chain.address import check_address
from speedpay.chain.keccak import keccak256
from speedpay.errors import Malformed

WORD_BYTES = 32
SELECTOR_BYTES = 4
#: The longest list or text that a contract of ours takes or returns.
_MAX_ENCODED_BYTES = 65_536


@cache
def types_of(signature: str) -> tuple[str, ...]:
    """``("uint64", "bytes32")`` of ``"anchor(uint64,bytes32)"``. No tuples: our contracts have none."""
    match = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*\(([a-z0-9\[\],]*)\)", signature)
    if not match:
        raise Malformed("must look like name(type,type)", field="signature")
    return tuple(match[1].split(",")) if match[1] else ()


@cache
def selector(signature: str) -> bytes:
    """4 bytes: which function, or which error, is meant."""
    types_of(signature)
    return keccak256(signature.encode())[:SELECTOR_BYTES]


@cache
def topic(signature: str) -> bytes:
    """32 bytes: the first topic of an event."""
    types_of(signature)
    return keccak256(signature.encode())


def encode_call(signature: str, arguments: Sequence[Any]) -> bytes:
    return selector(signature) + encode(types_of(signature), arguments)


def encode(types: Sequence[str], values: Sequence[Any]) -> bytes:
    """Raises Malformed when a value is not of its type."""
    from eth_abi.abi import encode as encoded_by_eth_abi
    from eth_abi.exceptions import EncodingError

    if len(types) != len(values):
        raise Malformed(f"must be {len(types)} values, not {len(values)}", field="arguments")
    try:
        given = [_outgoing(kind, value) for kind, value in zip(types, values, strict=True)]
        return encoded_by_eth_abi(types, given)
    except (EncodingError, TypeError, ValueError, OverflowError) as error:
        raise Malformed(f"cannot be written as ({','.join(types)})", field="arguments") from error


def decode(types: Sequence[str], encoded: bytes, field: str = "answer") -> tuple[Any, ...]:
    """The values. Raises Malformed for anything but one canonical encoding of ``types``."""
    from eth_abi.abi import decode as decoded_by_eth_abi
    from eth_abi.exceptions import DecodingError

    if len(encoded) > _MAX_ENCODED_BYTES:
        raise Malformed(f"is above {_MAX_ENCODED_BYTES} bytes", field=field)
    try:
        values = decoded_by_eth_abi(types, encoded)
    except (DecodingError, ValueError, OverflowError) as error:
        raise Malformed(f"is not ({','.join(types)})", field=field) from error
    return tuple(_incoming(kind, value) for kind, value in zip(types, values, strict=True))


def decode_event(
    signature: str, indexed: Sequence[bool], topics: Sequence[bytes], data: bytes
) -> tuple[Any, ...]:
    """The event's values in the order of its signature; ``indexed`` says which of them are topics.

    Raises Malformed when the first topic is another event's, or topics or data are not of these types.
    """
    types = types_of(signature)
    if not topics or topics[0] != topic(signature):
        raise Malformed(f"is not {signature}", field="event.topics")
    if len(topics) != 1 + sum(indexed):
        raise Malformed(f"must be {1 + sum(indexed)} topics", field="event.topics")
    outside = [kind for kind, apart in zip(types, indexed, strict=True) if not apart]
    # The length is exact, since no event of ours has a value of varying length.
    if len(data) != WORD_BYTES * len(outside):
        raise Malformed(f"must be {WORD_BYTES * len(outside)} bytes", field="event.data")
    in_data = iter(decode(outside, data, "event.data"))
    in_topics = iter(topics[1:])
    return tuple(
        decode((kind,), next(in_topics), "event.topics")[0] if apart else next(in_data)
        for kind, apart in zip(types, indexed, strict=True)
    )


def is_event(signature: str, topics: Sequence[bytes]) -> bool:
    return bool(topics) and topics[0] == topic(signature)


def _outgoing(kind: str, value: Any) -> Any:
    if kind.endswith("[]"):
        return [_outgoing(kind[:-2], item) for item in value]
    if kind == "address":
        return "0x" + check_address(value, "arguments").hex()
    if kind.startswith("bytes") and kind != "bytes":
        size = int(kind[5:])
        # eth_abi pads what is too short; a hash cut short must not go on chain.
        if type(value) is not bytes or len(value) != size:
            raise Malformed(f"must be {size} bytes", field="arguments")
    return value


def _incoming(kind: str, value: Any) -> Any:
    if kind.endswith("[]"):
        return [_incoming(kind[:-2], item) for item in value]
    return bytes.fromhex(value[2:]) if kind == "address" else value
