"""Epochs and proofs, as they go over HTTP: what is asked, what is answered, by which call. Pure.

Read ``EpochView`` first. Nothing here is believed: ``speedpay/proof/balance.py`` checks it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from speedpay import signing
from speedpay.errors import Malformed
from speedpay.ledger_api.calls import Call
from speedpay.ledger_api.shapes import MAX_TIME, Json
from speedpay.ledger_api.strict import Fields, dump
from speedpay.proof.balance import MAX_PROOF_BYTES, BalanceProof
from speedpay.proof.evidence import CertifiedHead
from speedpay.proof.head import HEAD_BYTES, EpochHead, SignedHead
from speedpay.proof.journal import MAX_PATH
from speedpay.proof.leaf import ADDRESS_BYTES, NO_PAYOUT, SALT_BYTES
from speedpay.signing import (
    HASH_BYTES,
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    Certificate,
    Domain,
    SigningKey,
)
from speedpay.units import MAX_UTOK

#: A transfer's bytes in the journal: eight short fields.
MAX_ENTRY_BYTES = 1024
_MAX_PUBLISHER_CHARS = 100


class EpochState(StrEnum):
    """``CLOSED``: its head is signed and nobody has seen it. ``PUBLISHED``: its file is there and
    its head is given out. Then its anchor is signed, sent, seen in a block, and solid."""

    CLOSED = "closed"
    PUBLISHED = "published"
    SIGNED = "signed"
    SENT = "sent"
    SEEN = "seen"
    SOLID = "solid"


@dataclass(frozen=True, slots=True)
class EpochView:
    """``txid`` (32 bytes) and ``block``: where the ledger says that the anchor stands. ``publisher``:
    HOST:PORT of a peer that has the epoch's file, whose infohash is in the head."""

    head: CertifiedHead
    state: EpochState
    txid: bytes | None = None
    block: int | None = None
    publisher: str | None = None

    @classmethod
    def read(cls, fields: Fields) -> EpochView:
        inner = fields.inner("certificate")
        certificate = Certificate(
            inner.hex("root_key", PUBLIC_KEY_BYTES),
            fields.hex("response_key", PUBLIC_KEY_BYTES),
            inner.integer("not_before", 0, MAX_TIME),
            inner.integer("not_after", 0, MAX_TIME),
            inner.hex("signature", SIGNATURE_BYTES),
        )
        head = EpochHead.from_bytes(fields.hex("body", HEAD_BYTES))
        state = fields.text("state", 16)
        if state not in list(EpochState):
            raise Malformed("is not a state of an epoch", field=fields.path("state"))
        publisher = None
        if fields.has("publisher"):
            said = fields.text("publisher", _MAX_PUBLISHER_CHARS)
            publisher = "".join(c for c in said if c.isprintable())
        return cls(
            CertifiedHead(SignedHead(head, fields.hex("signature", SIGNATURE_BYTES)), certificate),
            EpochState(state),
            fields.hex("txid", HASH_BYTES) if fields.has("txid") else None,
            fields.integer("block", 0, MAX_UTOK) if fields.has("block") else None,
            publisher,
        )

    def to_json(self) -> Json:
        certificate = self.head.certificate
        made: Json = {
            "body": self.head.signed.head.to_bytes().hex(),
            "signature": self.head.signed.signature.hex(),
            "response_key": certificate.response_key.hex(),
            "certificate": {
                "root_key": certificate.root_key.hex(),
                "not_before": certificate.not_before,
                "not_after": certificate.not_after,
                "signature": certificate.signature.hex(),
            },
            "state": self.state.value,
        }
        if self.txid is not None:
            made["txid"] = self.txid.hex()
        if self.block is not None:
            made["block"] = self.block
        if self.publisher is not None:
            made["publisher"] = self.publisher
        return made


@dataclass(frozen=True, slots=True)
class Inclusion:
    """One transfer's bytes, the salt of its commitment, and its path to the journal's root."""

    entry: bytes
    salt: bytes
    path: tuple[bytes, ...]

    @classmethod
    def read(cls, fields: Fields) -> Inclusion:
        entry = _hex(fields, "entry", MAX_ENTRY_BYTES)
        return cls(entry, fields.hex("salt", SALT_BYTES), _read_path(fields))

    def to_json(self) -> Json:
        return {"entry": self.entry.hex(), "salt": self.salt.hex()} | path_to_json(self.path)


@dataclass(frozen=True, slots=True)
class NamePayout:
    """Where the vault pays this account, for ever: ``address`` is the TRON address (20 bytes) of
    ``public_key``, whose owner signs that the account may name it. ``salt_key``: 32 bytes, from
    which owner and ledger both derive the salts of the account's leaf."""

    address: bytes
    salt_key: bytes
    public_key: bytes
    signature: bytes

    @classmethod
    def sign(
        cls, payout_key: SigningKey, address: bytes, salt_key: bytes, domain: Domain, account: bytes
    ) -> NamePayout:
        signature = payout_key.sign("payout", domain, account + address)
        return cls(address, salt_key, payout_key.public, signature)

    def check(self, domain: Domain, account: bytes) -> None:
        """Raises BadSignature. Whose address it is must be checked besides."""
        body = account + self.address
        signing.verify(self.public_key, "payout", domain, body, self.signature, "signature")

    @classmethod
    def from_json(cls, value: object) -> NamePayout:
        fields = Fields(value)
        made = cls(
            fields.hex("address", ADDRESS_BYTES),
            fields.hex("salt_key", SALT_BYTES),
            fields.hex("public_key", PUBLIC_KEY_BYTES),
            fields.hex("signature", SIGNATURE_BYTES),
        )
        fields.end()
        signing.check_public_key(made.public_key, "public_key")
        if made.address == NO_PAYOUT:
            raise Malformed("is nobody's", field="address")
        return made

    def to_json(self) -> Json:
        return {
            "address": self.address.hex(), "salt_key": self.salt_key.hex(),
            "public_key": self.public_key.hex(), "signature": self.signature.hex(),
        }  # fmt: skip


def epoch(number: int | None = None) -> Call[EpochView]:
    """None: the newest that is published."""
    return Call("GET", f"/v1/epochs/{number or 'latest'}", EpochView.read)


def proof(key: SigningKey, account: bytes, number: int) -> Call[BalanceProof | None]:
    """None: the account has no leaf in that epoch."""

    def read(fields: Fields) -> BalanceProof | None:
        if not fields.has("proof"):
            return None
        return BalanceProof.from_bytes(_hex(fields, "proof", MAX_PROOF_BYTES))

    target = f"/v1/accounts/{account.hex()}/proof?epoch={number}"
    return Call("GET", target, read, key=key, signer=account)


def inclusion(key: SigningKey, account: bytes, sequence: int, size: int) -> Call[Inclusion]:
    """Of one's own transfer in the journal's first ``size`` transfers."""
    target = f"/v1/journal/inclusion/{sequence}?size={size}"
    return Call("GET", target, Inclusion.read, key=key, signer=account)


def consistency(old: int, size: int) -> Call[tuple[bytes, ...]]:
    """That the journal of ``size`` transfers begins with that of ``old``."""
    return Call("GET", f"/v1/journal/consistency?from={old}&to={size}", _read_path)


def name_payout(
    key: SigningKey, account: bytes, order: NamePayout, idempotency_key: bytes
) -> Call[None]:
    target = f"/v1/accounts/{account.hex()}/payout"
    body = dump(order.to_json())
    return Call("POST", target, lambda fields: None, body, key, account, idempotency_key)


def path_to_json(path: tuple[bytes, ...]) -> Json:
    return {"path": [one.hex() for one in path]}


def _read_path(fields: Fields) -> tuple[bytes, ...]:
    found = fields.array("path", 0, MAX_PATH)
    return tuple(
        Fields({"hash": one}, f"path[{at}]").hex("hash", HASH_BYTES) for at, one in enumerate(found)
    )


def _hex(fields: Fields, name: str, max_bytes: int) -> bytes:
    text = fields.text(name, 2 * max_bytes)
    if not re.fullmatch(r"(?:[0-9a-f]{2})+", text):
        raise Malformed("must be lowercase hex digits", field=fields.path(name))
    return bytes.fromhex(text)
