"""An epoch's head: all that the ledger says about one epoch, in 224 bytes that it signs once.

The bytes are in the package's docstring. The hash that is signed is the one that goes on chain and that
the next head names, so that a ledger with two faces leaves two signatures behind: ``contradiction``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from speedpay import signing
from speedpay.errors import BadSignature, Malformed
from speedpay.proof.leaf import ADDRESS_BYTES, check_chain_id, check_size, check_u63
from speedpay.proof.sum_tree import HASH_BYTES, MAX_DEPTH
from speedpay.signing import Domain, SigningKey
from speedpay.units import Amount

_BODY = struct.Struct(">QQ32s20s32sQQQQ32sQ20s32s")
HEAD_BYTES = _BODY.size
#: ``prev`` of the first head.
NO_HEAD = bytes(HASH_BYTES)


@dataclass(frozen=True, slots=True)
class EpochHead:
    """``closed_at``: unix seconds. ``file``: v1 infohash (20 bytes) of the epoch's file of leaves.

    ``journal_size``: transfers in the journal. ``deposit_seq``: last deposit that is credited.
    ``liabilities``: everything ever released for withdrawal, and everything still owed. ``credit``:
    granted money outstanding, which nobody owes. ``prev``: hash of the head before.
    """

    epoch: int
    closed_at: int
    chain_id: int
    vault: bytes
    root: bytes
    liabilities: Amount
    credit: Amount
    leaf_count: int
    journal_size: int
    journal_root: bytes
    deposit_seq: int
    file: bytes
    prev: bytes

    def __post_init__(self) -> None:
        for name in ("epoch", "closed_at", "leaf_count", "journal_size", "deposit_seq"):
            check_u63(getattr(self, name), f"head.{name}")
        if self.epoch == 0:
            raise Malformed("begins at 1", field="head.epoch")
        if self.leaf_count > 2**MAX_DEPTH:
            raise Malformed("is above 2^40", field="head.leaf_count")
        check_chain_id(self.chain_id, "head.chain_id")
        for name in ("vault", "file"):
            check_size(getattr(self, name), ADDRESS_BYTES, f"head.{name}")
        for name in ("root", "journal_root", "prev"):
            check_size(getattr(self, name), HASH_BYTES, f"head.{name}")
        if (self.epoch == 1) != (self.prev == NO_HEAD):
            raise Malformed("must be zeros in the first head, and only there", field="head.prev")

    def to_bytes(self) -> bytes:
        return _BODY.pack(
            self.epoch, self.closed_at, self.chain_id.to_bytes(32), self.vault, self.root,
            self.liabilities.utok, self.credit.utok, self.leaf_count, self.journal_size,
            self.journal_root, self.deposit_seq, self.file, self.prev,
        )  # fmt: skip

    @classmethod
    def from_bytes(cls, body: bytes) -> EpochHead:
        """Raises Malformed unless ``body`` is exactly one head, every number in range."""
        check_size(body, HEAD_BYTES, "head")
        (epoch, closed_at, chain_id, vault, root, liabilities, credit, leaf_count, journal_size,
         journal_root, deposit_seq, file, prev) = _BODY.unpack(body)  # fmt: skip
        check_u63(liabilities, "head.liabilities")
        check_u63(credit, "head.credit")
        return cls(
            epoch, closed_at, int.from_bytes(chain_id), vault, root, Amount(liabilities),
            Amount(credit), leaf_count, journal_size, journal_root, deposit_seq, file, prev,
        )  # fmt: skip

    def hash(self, domain: Domain) -> bytes:
        """32 bytes: what is signed, what is anchored, what the next head's ``prev`` names."""
        return signing.digest("head", domain, self.to_bytes())


@dataclass(frozen=True, slots=True)
class SignedHead:
    head: EpochHead
    signature: bytes

    @classmethod
    def sign(cls, key: SigningKey, domain: Domain, head: EpochHead) -> SignedHead:
        """``key``: the ledger's response key. Only one head of an epoch may ever be signed."""
        return cls(head, key.sign("head", domain, head.to_bytes()))

    def check(self, domain: Domain, response_key: bytes) -> EpochHead:
        """Raises BadSignature unless that ledger's ``response_key`` (33 bytes) signed this head."""
        body = self.head.to_bytes()
        try:
            signing.verify(response_key, "head", domain, body, self.signature, "head.signature")
        except BadSignature as error:
            raise BadSignature("the ledger did not sign this head", field=error.field) from error
        return self.head


def contradiction(one: EpochHead, other: EpochHead, domain: Domain) -> str | None:
    """A sentence when an honest ledger could not have signed both heads; None when it could have.

    Check both signatures first: only two signed heads are evidence.
    """
    if one.epoch == other.epoch:
        if one == other:
            return None
        return f"the ledger signed two different heads for epoch {one.epoch}"
    older, newer = sorted((one, other), key=lambda head: head.epoch)
    between = f"between epochs {older.epoch} and {newer.epoch}"
    if newer.epoch == older.epoch + 1 and newer.prev != older.hash(domain):
        return f"the head of epoch {newer.epoch} follows another head of epoch {older.epoch}"
    if (older.chain_id, older.vault) != (newer.chain_id, newer.vault):
        return f"the vault changed {between}"
    if newer.journal_size < older.journal_size:
        return f"the journal lost transfers {between}"
    if newer.journal_size == older.journal_size and newer.journal_root != older.journal_root:
        return f"the journal was rewritten {between}"
    if newer.deposit_seq < older.deposit_seq:
        return f"credited deposits were taken back {between}"
    if newer.leaf_count < older.leaf_count:
        return f"leaves were removed {between}"
    if newer.closed_at < older.closed_at:
        return f"epoch {newer.epoch} closed before epoch {older.epoch}"
    return None
