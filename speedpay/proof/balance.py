"""The one check of one user's balance: his leaf, the ledger's signed head, the anchor on chain.

``verify`` needs no ledger and no network: whoever has the three objects and knows his own account can
run it years later. Its refusals are ``ProofBroken``, each with the field that does not agree and a
sentence for people; what it returns is what the chain itself would honour.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NoReturn

from speedpay.errors import BadSignature, Malformed, ProofBroken
from speedpay.proof.head import EpochHead, SignedHead
from speedpay.proof.leaf import (
    ACCOUNT_BYTES,
    ADDRESS_BYTES,
    SALT_BYTES,
    Leaf,
    check_size,
    check_u63,
)
from speedpay.proof.sum_tree import EMPTY, HASH_BYTES, MAX_DEPTH, NODE_BYTES, Node, climb, depth_of
from speedpay.signing import Domain
from speedpay.units import ZERO, Amount

VERSION = 1
_FIXED = struct.Struct(">BQQ16s20sQQ32sB")
MAX_PROOF_BYTES = _FIXED.size + MAX_DEPTH * NODE_BYTES


@dataclass(frozen=True, slots=True)
class BalanceProof:
    """One leaf of one epoch's tree and its ``path``: the siblings up to the root, lowest first."""

    epoch: int
    position: int
    account: bytes
    payout: bytes
    withdrawable: Amount
    balance: Amount
    salt: bytes
    path: tuple[Node, ...]

    def __post_init__(self) -> None:
        check_u63(self.epoch, "proof.epoch")
        check_size(self.account, ACCOUNT_BYTES, "proof.account")
        check_size(self.payout, ADDRESS_BYTES, "proof.payout")
        check_size(self.salt, SALT_BYTES, "proof.salt")
        if len(self.path) > MAX_DEPTH:
            raise Malformed(f"is longer than {MAX_DEPTH} levels", field="proof.path")
        if not 0 <= self.position < 2 ** len(self.path):
            raise Malformed("lies outside a tree of that depth", field="proof.position")

    @property
    def total(self) -> Amount:
        """Withdrawable and balance: the leaf's sum. Raises Malformed above 2^63−1."""
        return self.withdrawable + self.balance

    def to_bytes(self) -> bytes:
        fixed = _FIXED.pack(
            VERSION, self.epoch, self.position, self.account, self.payout,
            self.withdrawable.utok, self.balance.utok, self.salt, len(self.path),
        )  # fmt: skip
        return fixed + b"".join(node.to_bytes() for node in self.path)

    @classmethod
    def from_bytes(cls, body: bytes) -> BalanceProof:
        """Raises Malformed unless ``body`` is exactly one proof, every number in range."""
        if not _FIXED.size <= len(body) <= MAX_PROOF_BYTES:
            raise Malformed(f"must be {_FIXED.size} to {MAX_PROOF_BYTES} bytes", field="proof")
        (version, epoch, position, account, payout, withdrawable, balance, salt,
         depth) = _FIXED.unpack_from(body)  # fmt: skip
        if version != VERSION:
            raise Malformed(f"is version {version}; known is {VERSION}", field="proof.version")
        if len(body) != _FIXED.size + depth * NODE_BYTES:
            raise Malformed(f"is not as long as a depth of {depth} makes it", field="proof.depth")
        check_u63(withdrawable, "proof.withdrawable")
        check_u63(balance, "proof.balance")
        path = tuple(
            Node.from_bytes(body[at : at + NODE_BYTES])
            for at in range(_FIXED.size, len(body), NODE_BYTES)
        )
        return cls(
            epoch, position, account, payout, Amount(withdrawable), Amount(balance), salt, path
        )

    def root(self, chain_id: int, vault: bytes) -> Node:
        """The root that this leaf would have on that chain in that vault. Raises Malformed."""
        leaf = Leaf(
            chain_id, vault, self.account, self.payout, self.withdrawable, self.balance, self.salt
        )
        return climb(leaf.node(), self.position, self.path)


@dataclass(frozen=True, slots=True)
class Anchored:
    """What the vault on chain holds for one epoch, read from a node of the reader's choice.

    ``file`` is None when it was read from the ring of the last 8 anchors, which does not keep it; the
    event does. ``time`` (unix seconds), ``txid`` (32 bytes) and ``block`` say where it stands, when
    known; they are not compared.
    """

    epoch: int
    root: bytes
    head: bytes
    liabilities: Amount
    journal_size: int
    deposit_seq: int
    file: bytes | None = None
    time: int | None = None
    txid: bytes | None = None
    block: int | None = None

    def __post_init__(self) -> None:
        for name in ("epoch", "journal_size", "deposit_seq", "time", "block"):
            number = getattr(self, name)
            if number is not None:
                check_u63(number, f"anchor.{name}")
        check_size(self.root, HASH_BYTES, "anchor.root")
        check_size(self.head, HASH_BYTES, "anchor.head")
        if self.file is not None:
            check_size(self.file, ADDRESS_BYTES, "anchor.file")
        if self.txid is not None:
            check_size(self.txid, HASH_BYTES, "anchor.txid")


def verify(
    proof: BalanceProof,
    signed_head: SignedHead,
    anchored: Anchored,
    *,
    domain: Domain,
    response_key: bytes,
    chain_id: int,
    vault: bytes,
    account: bytes,
    payout: bytes | None = None,
    at_least: Amount = ZERO,
) -> Amount:
    """µtok that the anchored leaf holds in all: ``proof.total``, withdrawable and balance together.

    ``chain_id``, ``vault`` and ``account`` are the user's own knowledge, never taken from the proof;
    so is ``payout`` (20 bytes), when he has named one. ``at_least``: the total that his receipts
    prove. It is compared with the total, not with the balance, because releasing a withdrawal moves
    µtok from one to the other. ``response_key`` comes from a certificate that the caller has checked.

    Raises ProofBroken; ``field`` names what does not agree.
    """
    head = check_head(
        signed_head, anchored,
        domain=domain, response_key=response_key, chain_id=chain_id, vault=vault,
    )  # fmt: skip
    _check_leaf(proof, head, account, payout)
    if proof.total < at_least:
        broken(
            "proof.total",
            f"the ledger has put {proof.total} tok of yours on chain; your receipts say {at_least}",
        )
    return proof.total


def check_head(
    signed_head: SignedHead,
    anchored: Anchored,
    *,
    domain: Domain,
    response_key: bytes,
    chain_id: int,
    vault: bytes,
) -> EpochHead:
    """The head, when that ledger signed it for that vault and the chain holds the same numbers.

    Raises ProofBroken. The part of ``verify`` that is the same for every user of an epoch.
    """
    try:
        head = signed_head.check(domain, response_key)
    except BadSignature as error:
        raise ProofBroken("the ledger did not sign this head", field="head.signature") from error
    if head.chain_id != chain_id:
        broken("head.chain_id", "the head is meant for another chain")
    if head.vault != vault:
        broken("head.vault", "the head is meant for another vault")
    if anchored.epoch != head.epoch:
        broken(
            "anchor.epoch",
            f"the anchor is that of epoch {anchored.epoch}, the head that of epoch {head.epoch}",
        )
    if anchored.head != head.hash(domain):
        differing = _differing(head, anchored)
        broken(*(differing or ("anchor.head", "the head on chain is another one")))
    differing = _differing(head, anchored)
    if differing:
        broken(*differing)
    if head.leaf_count == 0 and (head.root, head.liabilities) != (EMPTY.hash, ZERO):
        broken("head.root", "the head has a root and liabilities, but no leaves")
    return head


def _differing(head: EpochHead, anchored: Anchored) -> tuple[str, str] | None:
    """The first number in which the ledger's head and the chain's anchor differ, and its sentence."""
    if anchored.root != head.root:
        return "anchor.root", "the tree on chain is not the one that the ledger shows"
    if anchored.liabilities != head.liabilities:
        return (
            "anchor.liabilities",
            f"the ledger says it owes {head.liabilities} tok; on chain it says "
            f"{anchored.liabilities} tok",
        )
    if anchored.journal_size != head.journal_size:
        return (
            "anchor.journal_size",
            f"the ledger says its journal has {head.journal_size} transfers; on chain it says "
            f"{anchored.journal_size}",
        )
    if anchored.deposit_seq != head.deposit_seq:
        return (
            "anchor.deposit_seq",
            f"the ledger says it has credited {head.deposit_seq} deposits; on chain it says "
            f"{anchored.deposit_seq}",
        )
    if anchored.file is not None and anchored.file != head.file:
        return "anchor.file", "the file of leaves named on chain is another one"
    return None


def _check_leaf(proof: BalanceProof, head: EpochHead, account: bytes, payout: bytes | None) -> None:
    if proof.epoch != head.epoch:
        broken(
            "proof.epoch",
            f"the proof is that of epoch {proof.epoch}, the head that of epoch {head.epoch}",
        )
    if proof.account != account:
        broken("proof.account", "the proof is about another account")
    if payout is not None and proof.payout != payout:
        broken("proof.payout", "claims of this leaf would be paid to an address that is not yours")
    if proof.position >= head.leaf_count:
        broken("proof.position", f"the tree has no leaf there, only {head.leaf_count}")
    if len(proof.path) != depth_of(head.leaf_count):
        broken("proof.depth", f"a tree of {head.leaf_count} leaves has another depth")
    for level, sibling in enumerate(proof.path):
        if (proof.position >> level ^ 1) << level >= head.leaf_count and sibling != EMPTY:
            broken("proof.path", f"the proof has something where {head.leaf_count} leaves end")
    try:
        root = proof.root(head.chain_id, head.vault)
    except Malformed as error:
        raise ProofBroken(
            "the sums of this proof are impossible", field=f"proof.{error.field}"
        ) from error
    if root.hash != head.root:
        broken("proof.root", "this leaf is not in the tree whose root is on chain")
    if root.sum != head.liabilities.utok:
        broken(
            "proof.sum",
            f"the leaves add up to {Amount(root.sum)} tok, the liabilities are {head.liabilities}",
        )


def broken(field: str, message: str) -> NoReturn:
    raise ProofBroken(message, field=field)
