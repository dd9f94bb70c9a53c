"""One transaction: its bytes, its id, who signed it, and its JSON.

txid = sha256 of the protobuf bytes of ``raw_data``, recomputed here from the JSON: what a client
says about the id is compared, never believed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import coincurve

from speedpay.chain.address import of_contract, of_public_key
from speedpay.devnet import jsonform, wire
from speedpay.devnet.schema import TYPE_URL, Fields
from speedpay.errors import Malformed

_MAX_SIGNATURES = 5
_SIGNATURE_BYTES = 65


class SignatureProblem(Exception):
    """Text as java-tron words it."""


@dataclass(frozen=True)
class Transaction:
    raw: bytes  # raw_data, encoded
    raw_data: Fields
    signatures: tuple[bytes, ...] = ()
    type: str = field(init=False)
    contract: Fields = field(init=False)  # of the single contract

    def __post_init__(self) -> None:
        contracts = self.raw_data.get("contract", [])
        if len(contracts) != 1:
            raise Malformed("must hold exactly one contract", field="raw_data.contract")
        kind, parameter = contracts[0].get("type"), contracts[0].get("parameter")
        if kind is None or parameter is None or parameter["type_url"] != TYPE_URL + kind:
            raise Malformed("type and type_url must be given and equal", field="raw_data.contract")
        if "owner_address" not in parameter["value"]:
            raise Malformed("must be given", field=f"{kind}.owner_address")
        object.__setattr__(self, "type", kind)
        object.__setattr__(self, "contract", parameter["value"])

    @cached_property
    def txid(self) -> bytes:
        return hashlib.sha256(self.raw).digest()

    @cached_property
    def encoded(self) -> bytes:
        """The whole transaction without its result: what bandwidth is paid for."""
        return wire.encode(
            "Transaction", {"raw_data": self.raw_data, "signature": list(self.signatures)}
        )

    @property
    def owner(self) -> bytes:
        owner: bytes = self.contract["owner_address"]
        return owner

    @property
    def permission(self) -> int:
        number: int = self.raw_data["contract"][0].get("Permission_id", 0)
        return number

    @property
    def new_contract_address(self) -> bytes:
        return of_contract(self.txid, self.owner)

    def number(self, name: str) -> int:
        """``expiration`` and ``timestamp`` in ms, ``fee_limit`` in sun; 0 when absent."""
        value: int = self.raw_data.get(name, 0)
        return value

    def signer(self) -> bytes:
        """The address that signed, 20 bytes. Any account is its own single key (no multi-sig)."""
        if not self.signatures:
            raise SignatureProblem("miss sig or contract")
        if len(self.signatures) > _MAX_SIGNATURES:
            raise SignatureProblem("too many signatures")
        if len(self.signatures) > 1:
            raise SignatureProblem(
                f"Signature count is {len(self.signatures)} more than key counts of permission : 1"
            )
        signature = self.signatures[0]
        if len(signature) != _SIGNATURE_BYTES:
            raise SignatureProblem(f"Signature size is {len(signature)}")
        recovery = signature[64] - 27 if signature[64] >= 27 else signature[64]
        if recovery not in (0, 1):
            raise SignatureProblem(f"Header byte out of range: {signature[64]}")
        try:
            public = coincurve.PublicKey.from_signature_and_message(
                signature[:64] + bytes([recovery]), self.txid, hasher=None
            )
        except Exception as error:  # coincurve raises bare Exception for a point that is none
            raise SignatureProblem("Could not recover public key from signature") from error
        return of_public_key(public.format(compressed=False))

    def to_json(self, visible: bool, result: str | None = None) -> dict[str, Any]:
        """``result``: contractRet once it is in a block."""
        out: dict[str, Any] = {}
        if result is not None:
            out["ret"] = [{"contractRet": result}]
        if self.signatures:
            out["signature"] = [signature.hex() for signature in self.signatures]
        out["txID"] = self.txid.hex()
        if self.type == "CreateSmartContract":
            out["contract_address"] = "41" + self.new_contract_address.hex()
        out["raw_data"] = jsonform.to_json("raw", self.raw_data, visible)
        out["raw_data_hex"] = self.raw.hex()
        return out


def build(raw_data: Fields, signatures: tuple[bytes, ...] = ()) -> Transaction:
    return Transaction(wire.encode("raw", raw_data), raw_data, signatures)


def from_bytes(encoded: bytes) -> Transaction:
    whole = wire.decode("Transaction", encoded)
    made = build(whole.get("raw_data", {}), tuple(whole.get("signature", ())))
    if made.encoded != encoded:  # two encodings of one meaning would be two ids
        raise Malformed("is not in the canonical encoding", field="Transaction")
    return made


def from_json(given: Any, visible: bool) -> Transaction:
    """Raises Malformed when ``raw_data_hex`` is given and says something else. ``txID`` is ignored:
    tronpy sends back the one it was given, and what counts is the content."""
    if not isinstance(given, dict):
        raise Malformed("must be an object", field="transaction")
    raw_data = jsonform.from_json("raw", given.get("raw_data"), visible)
    signatures = given.get("signature") or []
    if not isinstance(signatures, list) or not all(isinstance(one, str) for one in signatures):
        raise Malformed("must be a list of strings", field="signature")
    if len(signatures) > 64 or any(len(one) > 1024 for one in signatures):
        raise Malformed("is too long", field="signature")
    made = build(raw_data, tuple(jsonform.unhex(one, "signature") for one in signatures))
    said = given.get("raw_data_hex")
    if said is not None and (not isinstance(said, str) or said.lower() != made.raw.hex()):
        raise Malformed("does not agree with raw_data", field="raw_data_hex")
    return made
