"""One epoch's balance against the chain and against what its owner knows: the wallet's check. Pure.

``proof.balance.verify`` asks whether leaf, head and anchor belong together. Only the owner can ask the
rest: is it *my* leaf, is it as much as the ledger once confirmed, does it go on from what I saw before?
Whatever was gathered, from whomever, ends here; nothing in this file asks anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from speedpay.errors import ProofBroken
from speedpay.ledger_api.bound import BoundVault
from speedpay.ledger_api.signed import TIME_TOLERANCE_S
from speedpay.proof.balance import Anchored, BalanceProof, broken, check_head
from speedpay.proof.evidence import OK, CertifiedHead, Evidence
from speedpay.proof.head import EpochHead, contradiction
from speedpay.proof.leaf import NO_PAYOUT
from speedpay.signing import Domain
from speedpay.units import ZERO, Amount
from speedpay.wallet.receipts import NOTHING_GIVEN, Given, Receipt, Released


class Mismatch(ProofBroken):
    """Something does not match; ``evidence`` is what there is to show for it."""

    def __init__(self, cause: ProofBroken, evidence: Evidence) -> None:
        super().__init__(cause.message, field=cause.field, hint=cause.hint)
        self.evidence = evidence

    def __str__(self) -> str:
        return self.message  # a whole sentence; the field is for machines


@dataclass(frozen=True, slots=True)
class Own:
    """What the owner knows without the ledger.

    ``payout``: his address on the chain; ``named_at``: when the ledger confirmed that it pays there,
    unix seconds. ``since``: when the account was taken over from somebody. ``given``: what he has given
    away by now. ``seen``: the newest epoch found in order. ``kept``: what the ledger has shown and signed
    before, on chain or not.
    """

    domain: Domain
    vault: BoundVault
    account: bytes
    payout: bytes
    named_at: int | None = None
    since: int | None = None
    given: Given = NOTHING_GIVEN
    seen: Evidence | None = None
    kept: tuple[Evidence, ...] = ()

    @property
    def shown(self) -> tuple[Evidence, ...]:
        """All that the ledger has signed for this wallet, ``seen`` first."""
        return (self.seen, *self.kept) if self.seen else self.kept

    def released(self) -> list[Released]:
        return released_in(self.shown)


@dataclass(frozen=True, slots=True)
class Gathered:
    """What ledger, wallet and chain say of one epoch. ``proof`` None: the ledger shows no leaf.

    ``receipt``: of those that the epoch covers, the one that demands most.
    """

    head: CertifiedHead
    anchor: Anchored
    proof: BalanceProof | None
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """All matches. ``proof`` None: there is no leaf, and there need not be one."""

    evidence: Evidence
    head: EpochHead
    anchor: Anchored
    proof: BalanceProof | None
    receipt: Receipt | None
    at_least: Amount
    follows: int | None  # the epoch seen before, from which this one goes on

    @property
    def total(self) -> Amount:
        return self.proof.total if self.proof else ZERO


def judge(found: Gathered, own: Own) -> Finding:
    """Raises Mismatch, with the evidence, unless everything agrees."""
    at_least = found.receipt.at_least(own.given, own.released()) if found.receipt else ZERO
    payout = own.payout if _payout_counts(found, own) else None
    evidence = Evidence(
        own.domain, own.vault.chain_id, own.vault.vault, own.account, OK,
        found.proof, found.head, found.anchor, payout=payout, at_least=at_least,
    )  # fmt: skip
    before = own.seen.head if own.seen else None
    try:
        if found.proof is None:
            _check_no_leaf(found, own, at_least)
        else:
            evidence.check()
            _check_withdrawable(found.proof, own.seen)
        for other in (one.head for one in own.shown):
            rewritten = _rewritten(found.head, other, own.domain)
            if rewritten:
                evidence = replace(evidence, other_head=other)
                broken("head.prev", rewritten)
    except ProofBroken as error:
        raise Mismatch(error, replace(evidence, verdict=error.message)) from error
    return Finding(
        evidence, found.head.signed.head, found.anchor, found.proof, found.receipt, at_least,
        before.signed.head.epoch if before else None,
    )  # fmt: skip


def _rewritten(head: CertifiedHead, other: CertifiedHead | None, domain: Domain) -> str | None:
    """Both signed, also one that never came to the chain: an honest ledger signs one head an epoch."""
    if other is None:
        return None
    said = contradiction(head.signed.head, other.signed.head, domain)
    if said:
        head.check(domain)
        other.check(domain)
    return said


def released_in(shown: Sequence[Evidence]) -> list[Released]:
    """What the leaves that the ledger has shown say of the withdrawals by then."""
    return [
        Released(one.head.signed.head.journal_size, one.proof.withdrawable)
        for one in shown
        if one.head is not None and one.proof is not None
    ]


def _payout_counts(found: Gathered, own: Own) -> bool:
    """An address that is not ours is wrong, but in an epoch from before the account was ours: then it is
    the former owner's. None at all is, once the ledger had ours."""
    if found.proof is None:
        return False
    closed_at = found.head.signed.head.closed_at
    if found.proof.payout != NO_PAYOUT:
        return own.since is None or own.since + TIME_TOLERANCE_S < closed_at
    return own.named_at is not None and own.named_at + TIME_TOLERANCE_S < closed_at


def _check_no_leaf(found: Gathered, own: Own, at_least: Amount) -> None:
    """Leaves are never removed, and whoever had tokens has one."""
    domain, vault = own.domain, own.vault
    found.head.check(domain)
    head = check_head(
        found.head.signed, found.anchor,
        domain=domain, response_key=found.head.certificate.response_key,
        chain_id=vault.chain_id, vault=vault.vault,
    )  # fmt: skip
    if at_least and found.receipt:
        broken(
            "leaf",
            f"the ledger shows no leaf of yours in epoch {head.epoch}; your receipts say that it must"
            f" hold at least {at_least} tok",
        )
    if own.seen and own.seen.proof and own.seen.proof.epoch <= head.epoch:
        broken(
            "leaf",
            f"the ledger shows no leaf of yours in epoch {head.epoch}; in epoch"
            f" {own.seen.proof.epoch} you had one with {own.seen.proof.total} tok",
        )


def _check_withdrawable(proof: BalanceProof, seen: Evidence | None) -> None:
    if seen is None or seen.proof is None:
        return
    older, newer = sorted((seen.proof, proof), key=lambda one: one.epoch)
    if newer.withdrawable < older.withdrawable:
        broken(
            "proof.withdrawable",
            f"{older.withdrawable} tok of yours were released for withdrawal by epoch {older.epoch},"
            f" in epoch {newer.epoch} it is only {newer.withdrawable}",
        )
    if newer.position != older.position:
        broken(
            "proof.position", f"your leaf was moved between epochs {older.epoch} and {newer.epoch}"
        )
