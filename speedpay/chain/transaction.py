"""A transaction before and after it is signed, and the text of it that is stored before it is sent.

``Unsigned`` → ``sign`` → ``Signed`` → its ``text`` is made durable → ``Tron.broadcast``. Whoever is
interrupted after storing reads it back by ``Signed.from_stored`` and sends the same bytes again: the
network takes one transaction only once. A new one may be signed when the old one is expired on a solid
block (``Tron.expired``) and no node knows it (``Tron.known``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from speedpay.chain import address
from speedpay.chain.keys import ChainKey, signer_of
from speedpay.chain.protobuf import MAX_RAW_BYTES, encode_raw, transaction_id
from speedpay.errors import Malformed, NotAllowed

#: Bytes are hexadecimal in the text, and an ABI is longer in JSON than in protobuf.
MAX_TEXT_BYTES = 4 * MAX_RAW_BYTES
TXID_BYTES = 32


@dataclass(frozen=True, slots=True)
class Unsigned:
    """``txid``: 32 bytes, the sha256 of ``raw``; ``expires_at``: seconds, by the chain's clock."""

    txid: bytes
    raw_data: Mapping[str, Any]
    raw: bytes
    expires_at: int
    fee_limit_sun: int
    estimated_sun: int  # what it will cost, fee and bandwidth, when the chain stays as it is

    def sign(self, key: ChainKey) -> Signed:
        """Raises NotAllowed when ``key`` is not the owner's."""
        if key.address != _owner(self.raw_data):
            raise NotAllowed("is not the key of this transaction's owner", field="key")
        txid, signature = key.sign(self.raw_data)
        assert txid == self.txid
        body = {"txID": txid.hex(), "raw_data": self.raw_data, "signature": [signature.hex()]}
        text = json.dumps(body, separators=(",", ":"), sort_keys=True)
        return Signed(txid, text, self.expires_at, key.address)


@dataclass(frozen=True, slots=True)
class Signed:
    """``text``: JSON as nodes take it, to be stored; ``owner``: 20 bytes, whose signature it has."""

    txid: bytes
    text: str
    expires_at: int
    owner: bytes

    @classmethod
    def from_stored(cls, text: str) -> Signed:
        """Reads ``text`` again. The id is recomputed and the signature checked: Malformed otherwise."""
        if len(text) > MAX_TEXT_BYTES:
            raise Malformed(f"is above {MAX_TEXT_BYTES} bytes", field="transaction")
        try:
            body = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Malformed("is not JSON", field="transaction") from error
        if not isinstance(body, dict) or body.keys() != {"txID", "raw_data", "signature"}:
            raise Malformed("must have txID, raw_data and signature", field="transaction")
        signatures = body["signature"]
        if not isinstance(signatures, list) or len(signatures) != 1:
            raise Malformed("must be one signature", field="transaction.signature")
        txid = transaction_id(body["raw_data"])
        if body["txID"] != txid.hex():
            raise Malformed("is not the id of this transaction", field="transaction.txID")
        owner = _owner(body["raw_data"])
        try:
            signer = signer_of(txid, bytes.fromhex(signatures[0]))
        except (TypeError, ValueError) as error:
            raise Malformed("must be hexadecimal", field="transaction.signature") from error
        if signer != owner:
            raise Malformed("is not the owner's", field="transaction.signature")
        return cls(txid, text, body["raw_data"]["expiration"] // 1000, owner)

    @property
    def body(self) -> dict[str, Any]:
        """What ``wallet/broadcasttransaction`` takes."""
        body: dict[str, Any] = json.loads(self.text)
        return body


def unsigned(raw_data: Mapping[str, Any], estimated_sun: int = 0) -> Unsigned:
    """``raw_data`` with its bytes and its id. Raises Malformed, naming the field."""
    raw = encode_raw(raw_data)
    _owner(raw_data)
    return Unsigned(
        transaction_id(raw_data),
        raw_data,
        raw,
        raw_data["expiration"] // 1000,
        raw_data.get("fee_limit", 0),
        estimated_sun,
    )


def _owner(raw_data: Mapping[str, Any]) -> bytes:
    """Whose transaction it is. Only content with one contract and an expiration counts as one."""
    contracts = raw_data.get("contract")
    if not isinstance(contracts, list) or len(contracts) != 1 or not raw_data.get("expiration"):
        raise Malformed("must have one contract and an expiration", field="raw_data")
    owner = contracts[0]["parameter"]["value"].get("owner_address")
    return address.from_node(owner, "raw_data.owner_address")


def hex_address(account: bytes) -> str:
    """21 bytes in hexadecimal, as ``raw_data`` writes addresses."""
    return (address.PREFIX + address.check_address(account)).hex()
