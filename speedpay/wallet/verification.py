"""``speedpay verify``: what the chain holds, what the ledger says, what the wallet kept, and one check.

The chain is asked first, because it says which epoch counts; without it nothing can be verified. The
ledger may be off or hostile: its proof is taken if it gives one, else the one that was kept. Whatever
came from whom is judged by ``judgement.py`` alone. Then, if the ledger answers, the journal: it goes on
from the one seen before, and the account's own transfers are in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

from speedpay.errors import (
    ChainRefused,
    LedgerFailed,
    LedgerUnreachable,
    Malformed,
    NotFound,
    ProofBroken,
    SpeedpayError,
)
from speedpay.ledger_api.answers import HistoryEntry
from speedpay.ledger_api.client import LedgerClient
from speedpay.ledger_api.epochs import EpochView
from speedpay.proof import journal
from speedpay.proof.balance import Anchored, BalanceProof
from speedpay.proof.evidence import CertifiedHead
from speedpay.proof.leaf import NO_PAYOUT
from speedpay.signing import SigningKey
from speedpay.wallet.judgement import Finding, Gathered, Mismatch, Own, judge
from speedpay.wallet.proofs import Proofs
from speedpay.wallet.receipts import Receipts

#: The newest transfers of the account that are looked for in the journal each time.
CHECKED_ENTRIES = 25


class Anchors(Protocol):
    """The part of ``chain.Vault`` that verification asks."""

    def last_anchor(self) -> Anchored | None: ...
    def anchor_of(
        self, epoch: int, txid: bytes | None = None, *, solid: bool = False
    ) -> Anchored: ...


@dataclass(slots=True)
class Verified:
    """``checked`` and ``not_checked`` are plain sentences; ``stored``: the proof is the wallet's own.
    ``publisher``: HOST:PORT where the ledger says that the epoch's leaves are seeded."""

    finding: Finding
    stored: bool
    newest_epoch: int
    publisher: str | None = None
    checked: list[str] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)


class Verification:
    """``ledger`` may be an error: why it need not be asked. ``receipts`` and ``proofs`` are the
    account's own."""

    def __init__(
        self,
        own: Own,
        key: SigningKey,
        anchors: Anchors,
        ledger: LedgerClient | SpeedpayError,
        proofs: Proofs,
        receipts: Receipts,
    ) -> None:
        self._own, self._key = own, key
        self._anchors, self._proofs, self._receipts = anchors, proofs, receipts
        self._silence = ledger if isinstance(ledger, SpeedpayError) else None
        self._ledger = None if isinstance(ledger, SpeedpayError) else ledger
        self._publisher: str | None = None

    def run(self, epoch: int | None = None) -> Verified:
        """Raises Mismatch; ChainUnreachable; LedgerUnreachable when there is no proof from anybody;
        NotFound when there is nothing to verify yet."""
        newest = self._anchors.last_anchor()
        if newest is None:
            raise NotFound(
                "the ledger has anchored no epoch yet", hint="wait for the first one, then again"
            )
        if epoch is not None and epoch > newest.epoch:
            raise NotFound(f"the chain holds no epoch {epoch} yet; the newest is {newest.epoch}")
        gathered, stored = self._gather(newest, epoch)
        finding = judge(gathered, self._own)
        made = Verified(finding, stored, newest.epoch, self._publisher)
        made.checked += _what_was_checked(finding)
        made.not_checked += _what_was_not(finding)
        self._check_journal(made)
        if finding.proof is not None:
            self._proofs.keep(finding.evidence)
        self._proofs.keep_seen(finding.evidence)
        return made

    # --- gathering ------------------------------------------------------------------------------

    def _gather(self, newest: Anchored, epoch: int | None) -> tuple[Gathered, bool]:
        """What is known of that epoch, or of the newest, and whether it is the wallet's own copy."""
        wanted = newest.epoch if epoch is None else epoch
        shown = self._shown_by_ledger(wanted)
        if shown is not None:
            view, proof = shown
            self._publisher = view.publisher
            anchor = self._anchor(wanted, newest, view.txid)
            if proof is None:
                self._refuse_if_shown_before(wanted, anchor)
            return self._covered(view.head, anchor, proof), False
        # An older copy is no answer: whoever hides the newest epoch could hide a theft for ever.
        kept = self._proofs.of(wanted)
        if kept is None:
            raise self._nothing_to_go_by(wanted)
        assert kept.head is not None
        anchor = self._anchor(wanted, newest, kept.anchor.txid if kept.anchor else None)
        return self._covered(kept.head, anchor, kept.proof), True

    def _covered(
        self, head: CertifiedHead, anchor: Anchored, proof: BalanceProof | None
    ) -> Gathered:
        own = self._own
        size = head.signed.head.journal_size
        receipt = self._receipts.strongest(size, own.given, own.released())
        return Gathered(head, anchor, proof, receipt)

    def _anchor(self, epoch: int, newest: Anchored, txid: bytes | None) -> Anchored:
        """From the chain alone. ``txid`` is a hint of the ledger's, where to look for the event: only
        that says in which transaction it stands and which file belongs to it."""
        if txid is not None:
            try:
                return self._anchors.anchor_of(epoch, txid)
            except (ChainRefused, Malformed, NotFound):
                pass  # a wrong hint: the vault itself knows the last anchors
        if epoch == newest.epoch:
            return newest
        return self._anchors.anchor_of(epoch, solid=True)

    def _shown_by_ledger(self, epoch: int) -> tuple[EpochView, BalanceProof | None] | None:
        """Head and leaf as the ledger shows them; without a leaf the second is None."""
        if self._ledger is None:
            return None
        try:
            view = self._ledger.epoch(epoch)
            return view, self._ledger.proof(self._key, self._own.account, epoch)
        except SpeedpayError as error:
            self._silence = error
            return None

    def _refuse_if_shown_before(self, epoch: int, anchor: Anchored) -> None:
        kept = self._proofs.of(epoch)
        if kept is None or kept.proof is None:
            return
        message = (
            f"the ledger shows no leaf of yours in epoch {epoch}; before, it had given you one with"
            f" {kept.proof.total} tok"
        )
        evidence = replace(kept, anchor=anchor, verdict=message)
        raise Mismatch(ProofBroken(message, field="leaf"), evidence)

    def _nothing_to_go_by(self, epoch: int) -> SpeedpayError:
        cause = self._silence
        older = next((one for one in self._proofs.epochs() if one < epoch), None)
        kept = f"; an older one is: speedpay verify --epoch {older}" if older is not None else ""
        if isinstance(cause, LedgerUnreachable | LedgerFailed):
            cause.hint = (
                f"no proof of epoch {epoch} is kept here either, so nothing is verified{kept}"
            )
            return cause
        why = f": {cause}" if cause else ""
        return LedgerFailed(
            f"the ledger does not show epoch {epoch}, which the chain holds{why}",
            hint=f"nothing is verified; if it stays so, the operator hides it{kept}",
        )

    # --- the journal ----------------------------------------------------------------------------

    def _check_journal(self, made: Verified) -> None:
        """Raises Mismatch. What the ledger does not answer is said, and nothing is called checked."""
        if self._ledger is None or self._silence is not None or made.stored:
            made.not_checked.append("the journal: the ledger does not answer")
            return
        evidence = made.finding.evidence
        try:
            made.checked += self._check_growth(self._ledger, made.finding)
            made.checked += self._check_own_transfers(self._ledger, made)
        except ProofBroken as error:
            raise Mismatch(error, replace(evidence, verdict=error.message)) from error
        except SpeedpayError as error:
            made.not_checked.append(f"the journal: {error}")

    def _check_growth(self, ledger: LedgerClient, finding: Finding) -> list[str]:
        before = self._own.seen.head if self._own.seen else None
        if before is None:
            return []
        older, newer = sorted((before.signed.head, finding.head), key=lambda head: head.epoch)
        if older.epoch == newer.epoch or older.journal_size == 0:
            return []
        path = ledger.consistency(older.journal_size, newer.journal_size)
        try:
            journal.verify_consistency(
                older.journal_size, newer.journal_size, older.journal_root, newer.journal_root, path
            )
        except ProofBroken as error:
            raise ProofBroken(
                f"the journal of epoch {newer.epoch} does not begin with that of epoch {older.epoch}",
                field="head.journal_root",
            ) from error
        return [
            f"the journal of epoch {older.epoch}, {older.journal_size} transfers, is the beginning of"
            f" that of epoch {newer.epoch}, {newer.journal_size} transfers"
        ]

    def _check_own_transfers(self, ledger: LedgerClient, made: Verified) -> list[str]:
        head, account = made.finding.head, self._own.account
        page = ledger.history(
            self._key, account, before=head.journal_size + 1, limit=CHECKED_ENTRIES
        )
        for one in page.entries:
            if one.sequence > head.journal_size:
                raise LedgerFailed("the history is not what was asked for")
            shown = ledger.inclusion(self._key, account, one.sequence, head.journal_size)
            try:
                check_entry(shown.entry, one, account)
                journal.verify_inclusion(
                    journal.leaf_of(shown.salt, shown.entry), one.sequence - 1, head.journal_size,
                    shown.path, head.journal_root,
                )  # fmt: skip
            except ProofBroken as error:
                raise ProofBroken(
                    f"the ledger lists transfer {one.sequence} of yours, and it is not in the anchored"
                    " journal",
                    field="journal",
                ) from error
        if not page.entries:
            return []
        count = len(page.entries)
        newest = "newest " if page.before is not None else ""
        transfers = "transfers up to then are" if count > 1 else "transfer up to then is"
        return [f"your {newest}{count} {transfers} in the journal"]


def _what_was_checked(finding: Finding) -> list[str]:
    head, proof = finding.head, finding.proof
    said = [f"the ledger signed the head of epoch {head.epoch}, and the chain holds the same"]
    if proof is not None:
        said.append(
            f"your leaf, number {proof.position + 1} of {head.leaf_count}, leads to the root on the"
            f" chain; all leaves together are the {head.liabilities} tok that the ledger owes"
        )
    if finding.receipt is not None and finding.at_least:
        said.append(
            f"it holds no less than the {finding.at_least} tok that your receipts, less your payments,"
            " demand"
        )
    if finding.follows is not None and finding.follows != head.epoch:
        said.append(f"the epoch goes on from epoch {finding.follows}, which was checked before")
    return said


def _what_was_not(finding: Finding) -> list[str]:
    said = []
    if finding.proof is not None and finding.receipt is None:
        said.append(
            "whether it is all that is yours: this wallet holds no receipt from before the epoch"
        )
    if finding.proof is not None and finding.proof.payout == NO_PAYOUT:
        said.append(
            "who would be paid: the leaf names no address, so the vault pays nothing on it, and the"
            " first fund or withdraw names yours"
        )
    return said


def check_entry(entry: bytes, listed: HistoryEntry, account: bytes) -> None:
    """Raises ProofBroken unless the journal's bytes are the transfer that the history lists."""
    fields, at = [], 0
    while at < len(entry):
        size = int.from_bytes(entry[at : at + 4])
        fields.append(entry[at + 4 : at + 4 + size])
        at += 4 + size
    own = f"user:{account.hex()}".encode()
    side = 4 if listed.incoming else 3
    expected = {
        0: str(listed.sequence).encode(), 1: str(listed.time).encode(), 2: listed.kind.encode(),
        side: own, 5: listed.money_class.value.encode(), 6: listed.amount.to_wire().encode(),
    }  # fmt: skip
    if at != len(entry) or len(fields) != 8 or any(fields[n] != b for n, b in expected.items()):
        raise ProofBroken("is not the transfer that the history lists", field="entry")
