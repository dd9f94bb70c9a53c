"""The vault pays against a proof: with the ledger or without it, whoever sends the claim.

It takes the newest epoch on which the vault pays and a proof of it: the wallet's own, the ledger's,
one that somebody handed over, or one made of the leaves that were published for everybody. The tokens
go to the payout address in the leaf. After a freeze a claim pays the balance as well, and deposits
that no epoch covers are given back to their makers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from speedpay.chain import vault_events
from speedpay.chain.vault import Vault
from speedpay.errors import ChainRefused, Malformed, NotFound, ProofBroken, SpeedpayError
from speedpay.ledger_api.client import LedgerClient
from speedpay.proof.balance import Anchored, BalanceProof
from speedpay.proof.evidence import Evidence
from speedpay.proof.leaf import NO_PAYOUT, Leaf
from speedpay.proof.sum_tree import Node, path_of, root_of
from speedpay.signing import SigningKey
from speedpay.units import ZERO, Amount
from speedpay.wallet import files
from speedpay.wallet.outbox import Outbox
from speedpay.wallet.proofs import Proofs

#: Anchors that the vault keeps; only these can be claimed on.
RING = 8
#: Deposits after the frozen epoch that are looked through; an epoch is some minutes.
MAX_UNCOVERED = 500
_DEPOSIT_OF = "depositOf(uint64)"
_DEPOSIT = ("address", "uint64", "uint64", "uint64")


@dataclass(frozen=True, slots=True)
class Due:
    """What a claim on ``proof`` pays now. ``frozen``: the balance is in it. ``from_time``: unix
    seconds from which the vault pays, None when it does already."""

    proof: BalanceProof
    amount: Amount
    frozen: bool
    from_time: int | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """``to``: 20 bytes. ``amount`` was paid just now, by transaction ``txid``."""

    amount: Amount
    to: bytes
    epoch: int
    txid: bytes
    fee_sun: int


@dataclass(frozen=True, slots=True)
class GivenBack:
    seq: int
    amount: Amount
    txid: bytes


class Claiming:
    """``owner``: 20 bytes, who pays the fees; need not be who is paid."""

    def __init__(self, vault: Vault, outbox: Outbox, owner: bytes) -> None:
        self._vault, self._outbox, self._owner = vault, outbox, owner

    def due(self, account: bytes, proof_of: Callable[[int], BalanceProof | None]) -> Due:
        """The newest epoch on which the vault pays this account, now or soonest.

        ``proof_of`` gives the account's proof of an epoch, or None. Raises NotFound when nothing is due
        on any of them.
        """
        state = self._vault.state()
        now = self._vault.tron.head().time_s
        paid = self._vault.paid_to(account)
        last = state.frozen_epoch if state.frozen else state.last_epoch
        lowest = max(1, state.last_epoch - RING + 1)
        soonest: Due | None = None
        for epoch in range(last, lowest - 1, -1):
            proof = proof_of(epoch)
            if proof is None or proof.account != account or proof.payout == NO_PAYOUT:
                continue
            frozen = state.frozen and epoch == state.frozen_epoch
            entitled = proof.total if frozen else proof.withdrawable
            amount = entitled.minus_or_zero(paid)
            if not amount:
                continue
            anchor = self._vault.anchor_of(epoch)
            if not self._leads_to(proof, anchor):
                continue
            from_time = (anchor.time or 0) + state.terms.delay
            if from_time <= now:
                return Due(proof, amount, frozen)
            soonest = Due(proof, amount, frozen, from_time)
        if soonest is not None:
            return soonest
        raise NotFound(
            f"the vault owes this account nothing more: {paid} tok were paid"
            if paid
            else "the vault owes this account nothing that it pays now",
            hint="speedpay withdraw --status",
        )

    def check(self, evidence: Evidence) -> BalanceProof:
        """The proof in a file from anybody, held against what the vault has. Raises ProofBroken."""
        proof = evidence.proof
        if proof is None:
            raise ProofBroken("there is no proof in this file", field="proof")
        if (evidence.vault, evidence.chain_id) != (self._vault.address, self._vault.tron.chain_id):
            raise ProofBroken("this proof is for another vault or chain", field="vault")
        if not self._leads_to(proof, self._vault.anchor_of(proof.epoch)):
            raise ProofBroken(
                "this leaf is not in the tree whose root is on chain", field="proof.root"
            )
        return proof

    def proof_from_leaves(
        self, leaves: Sequence[Node], account: bytes, kept: Proofs
    ) -> BalanceProof:
        """The account's proof in the anchored epoch whose leaves these are, whoever published them.

        For whoever kept no proof of that epoch, with the ledger gone: the path needs the others' leaves
        only, and the own one is known from an older proof, if it has not changed since. Raises
        ProofBroken when they are no anchored epoch's, NotFound when the own leaf is not among them.
        """
        try:
            root = root_of(leaves)
        except Malformed as error:
            raise ProofBroken(
                f"these leaves add up to the impossible: {error}", field="leaves"
            ) from error
        last = self._vault.state().last_epoch
        for epoch in range(last, max(0, last - RING), -1):
            anchor = self._vault.anchor_of(epoch)
            if (root.hash, root.sum) == (anchor.root, anchor.liabilities.utok):
                return self._own_leaf_in(leaves, epoch, account, kept)
        raise ProofBroken(
            "these are not the leaves of an epoch that the vault holds", field="leaves"
        )

    def _own_leaf_in(
        self, leaves: Sequence[Node], epoch: int, account: bytes, kept: Proofs
    ) -> BalanceProof:
        chain_id, vault = self._vault.tron.chain_id, self._vault.address
        for older in kept.epochs():
            evidence = kept.of(older)
            if evidence is None or evidence.proof is None or evidence.account != account:
                continue
            known = evidence.proof
            own = Leaf(
                chain_id,
                vault,
                account,
                known.payout,
                known.withdrawable,
                known.balance,
                known.salt,
            )
            if known.position < len(leaves) and leaves[known.position] == own.node():
                path = path_of(leaves, known.position)
                return replace(known, epoch=epoch, path=path)
        raise NotFound(
            f"your leaf of epoch {epoch} is none that this wallet has kept: it changed since",
            hint="another copy of this wallet may have kept a proof: speedpay withdraw --claim --proof",
        )

    def _leads_to(self, proof: BalanceProof, anchor: Anchored) -> bool:
        try:
            root = proof.root(self._vault.tron.chain_id, self._vault.address)
        except Malformed:
            return False
        return (root.hash, root.sum) == (anchor.root, anchor.liabilities.utok)

    def fee_sun(self, due: Due) -> int:
        """About what the claim burns. Raises ChainRefused when the vault, or too little TRX, forbids it."""
        return self._vault.prepare_claim(self._owner, due.proof).estimated_sun

    def claim(self, due: Due) -> Claimed:
        """Sends it once; a claim under way of an earlier command is finished first."""
        wish = {"account": due.proof.account.hex(), "epoch": str(due.proof.epoch)}
        with files.locked(self._outbox.lock):
            job = self._outbox.job()
            if job is not None and (job.wish != wish or "claim" not in job.signed):
                self._outbox.finish()  # whichever is in a block first, the vault pays once
                job = None
            job = job or self._outbox.begin(wish)
            try:
                job, receipt = self._outbox.carry(
                    job, "claim", lambda: self._vault.prepare_claim(self._owner, due.proof)
                )
            except ChainRefused:
                self._outbox.finish()
                raise
            self._outbox.finish()
        paid = sum((one.amount for one in self._vault.claims_in(receipt)), ZERO)
        return Claimed(paid, due.proof.payout, due.proof.epoch, receipt.txid, receipt.fee_sun)

    def to_give_back(self) -> list[int]:
        """After a freeze: the ``owner``'s own deposits that the frozen epoch does not cover."""
        state = self._vault.state()
        if not state.frozen:
            return []
        covered = self._vault.anchor_of(state.frozen_epoch).deposit_seq if state.frozen_epoch else 0
        last = min(state.deposit_count, covered + MAX_UNCOVERED)
        return [
            seq
            for seq in range(covered + 1, last + 1)
            if self._vault.tron.view(self._vault.address, _DEPOSIT_OF, [seq], _DEPOSIT)[0]
            == self._owner
        ]

    def give_back(self, seq: int) -> GivenBack:
        """One of ``to_give_back``. The vault gives each back once, so it may be asked again."""
        with files.locked(self._outbox.lock):
            job = self._outbox.begin({"refund": str(seq)})
            try:
                _, receipt = self._outbox.carry(
                    job, "refund", lambda: self._vault.prepare_refund(self._owner, seq)
                )
            except ChainRefused:
                self._outbox.finish()
                raise
            self._outbox.finish()
        refunds = vault_events.read(receipt.events(self._vault.address)).refunds
        return GivenBack(seq, sum((one.amount for one in refunds), ZERO), receipt.txid)


def proofs_for(
    account: bytes, key: SigningKey, ledger: LedgerClient | None, kept: Proofs
) -> Callable[[int], BalanceProof | None]:
    """The wallet's own proof of an epoch, else the ledger's, if it gives one."""
    silent = ledger is None

    def proof_of(epoch: int) -> BalanceProof | None:
        nonlocal silent
        own = kept.of(epoch)
        if own is not None:
            return own.proof
        if silent or ledger is None:
            return None
        try:
            return ledger.proof(key, account, epoch)
        except NotFound:
            return None
        except SpeedpayError:
            silent = True
            return None

    return proof_of
