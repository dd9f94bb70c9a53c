"""The vault in our own words: its state, its anchors, the money that came in and went out.

Amounts are µtok, which are the token's base units. Its events are read in vault_events.py. What the
contract promises, and against whom, is in ``contracts/Vault.sol``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from speedpay.chain.address import check_address
from speedpay.chain.answers import Receipt
from speedpay.chain.transaction import Unsigned
from speedpay.chain.tron import Tron
from speedpay.chain.vault_events import Claim, Deposit, Events, read
from speedpay.errors import ChainRefused, Malformed, NotFound
from speedpay.proof.balance import Anchored, BalanceProof
from speedpay.proof.head import EpochHead
from speedpay.units import Amount

__all__ = ["Claim", "Deposit", "Events", "Terms", "Vault", "VaultState"]

#: Never more for one call, in energy, by what it needs: an anchor 31,380, a deposit up to 78,842, a
#: claim with 20 levels 81,403, at 100 sun each. Four times that and more, should the price rise.
ANCHOR_FEE_LIMIT_SUN = 15_000_000
FEE_LIMIT_SUN = 50_000_000

_ANCHOR = "anchor(uint64,bytes32,bytes32,uint64,uint64,uint64,bytes20)"
_CLAIM = "claim(bytes16,address,uint64,uint64,bytes32,uint64,uint64,bytes32[],uint64[])"
_ANCHOR_OF = ("bytes32", "bytes32", "uint64", "uint64", "uint64", "uint64")


@dataclass(frozen=True, slots=True)
class Terms:
    """What never changes. ``min_interval``, ``delay``, ``silence``, ``deposit_grace``: seconds;
    ``token``, ``guardian``: 20 bytes."""

    token: bytes
    guardian: bytes
    min_interval: int
    delay: int
    silence: int
    deposit_grace: int


@dataclass(frozen=True, slots=True)
class VaultState:
    """``last_epoch`` and ``last_time`` (unix seconds) are 0 before the first anchor."""

    terms: Terms
    operator: bytes
    last_epoch: int
    last_time: int
    frozen: bool
    frozen_epoch: int
    deposit_count: int
    total_deposits: Amount
    total_paid: Amount
    chain_hash: bytes

    @property
    def min_interval(self) -> int:
        return self.terms.min_interval


@dataclass(slots=True)
class Vault:
    """``address``: 20 bytes."""

    tron: Tron
    address: bytes
    _terms: Terms | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_address(self.address, "vault")

    # --- reading ----------------------------------------------------------------------------------

    def terms(self) -> Terms:
        """Asked once. Two nodes must agree: the token's address decides what a deposit is."""
        if self._terms is None:
            self._terms = Terms(
                token=self._view("token", "address"),
                guardian=self._view("guardian", "address"),
                min_interval=self._view("minInterval", "uint64"),
                delay=self._view("delay", "uint64"),
                silence=self._view("silence", "uint64"),
                deposit_grace=self._view("depositGrace", "uint64"),
            )
        return self._terms

    def state(self) -> VaultState:
        """As one node has it in its newest block, which may still be replaced: for plans, not for
        books."""
        last = self._now("lastEpoch", "uint64")
        return VaultState(
            terms=self.terms(),
            operator=self._now("operator", "address"),
            last_epoch=last,
            last_time=self._ring(last).time or 0 if last else 0,
            frozen=self._now("frozen", "bool"),
            frozen_epoch=self._now("frozenEpoch", "uint64"),
            deposit_count=self._now("depositCount", "uint64"),
            total_deposits=Amount(self._now("totalDeposits", "uint64")),
            total_paid=Amount(self._now("totalPaid", "uint64")),
            chain_hash=self._now("chainHash", "bytes32"),
        )

    def anchor_of(self, epoch: int, txid: bytes | None = None, *, solid: bool = False) -> Anchored:
        """What the vault holds for ``epoch``, by two nodes; with ``solid`` in final blocks only.

        From the event of transaction ``txid`` when it is given, which holds the file's infohash too and
        works for every epoch; else from the contract's ring, which has the last 8. Raises NotFound when
        the vault has no such anchor there.
        """
        if txid is not None:
            receipt = self.tron.receipt(txid, solid=True)
            if receipt is None:
                raise NotFound(f"{txid.hex()} is in no final block", field="anchor")
            found = [anchored for anchored in self.anchors_in(receipt) if anchored.epoch == epoch]
            if not found:
                raise NotFound(f"{txid.hex()} does not anchor epoch {epoch}", field="anchor")
            return found[0]
        try:
            return self._ring(epoch, agreed=True, solid=solid)
        except ChainRefused as error:
            if error.field == "UnknownEpoch":
                raise NotFound(f"the vault does not hold epoch {epoch}", field="anchor") from error
            raise

    def last_anchor(self) -> Anchored | None:
        """None before the first. In final blocks, by two nodes: a proof is held against it."""
        (last,) = self.tron.view(
            self.address, "lastEpoch()", [], ["uint64"], agreed=True, solid=True
        )
        return self._ring(last, agreed=True, solid=True) if last else None

    def paid_to(self, account: bytes) -> Amount:
        """All that claims have paid for this account."""
        return Amount(self._view("paidTo", "uint64", "bytes16", account))

    def events(self, from_block: int, to_block: int) -> Events:
        """Of these final blocks, at most scan.MAX_BLOCKS; two nodes must agree."""
        return read(self.tron.events(self.address, from_block, to_block))

    def deposits(self, from_block: int, to_block: int) -> list[Deposit]:
        return self.events(from_block, to_block).deposits

    def claims(self, from_block: int, to_block: int) -> list[Claim]:
        return self.events(from_block, to_block).claims

    def anchors(self, from_block: int, to_block: int) -> list[Anchored]:
        return self.events(from_block, to_block).anchors

    def deposits_in(self, receipt: Receipt) -> list[Deposit]:
        return read(receipt.events(self.address)).deposits

    def anchors_in(self, receipt: Receipt) -> list[Anchored]:
        return [
            replace(anchored, time=receipt.time_s)
            for anchored in read(receipt.events(self.address)).anchors
        ]

    def claims_in(self, receipt: Receipt) -> list[Claim]:
        return read(receipt.events(self.address)).claims

    def _ring(self, epoch: int, *, agreed: bool = False, solid: bool = False) -> Anchored:
        signature = "anchorOf(uint64)"
        root, head, liabilities, journal_size, deposit_seq, time = self.tron.view(
            self.address, signature, [epoch], _ANCHOR_OF, agreed=agreed, solid=solid
        )
        return Anchored(
            epoch, root, head, Amount(liabilities), journal_size, deposit_seq, time=time
        )

    def _view(self, name: str, returns: str, takes: str = "", *arguments: Any) -> Any:
        return self.tron.view(self.address, f"{name}({takes})", arguments, [returns], agreed=True)[
            0
        ]

    def _now(self, name: str, returns: str) -> Any:
        return self.tron.view(self.address, f"{name}()", [], [returns])[0]

    # --- preparing --------------------------------------------------------------------------------

    def prepare_deposit(self, owner: bytes, amount: Amount, account: bytes) -> Unsigned:
        """The vault must have been allowed ``amount`` by ``Token.prepare_approve``."""
        return self._prepare(owner, "deposit(uint64,bytes16)", amount.utok, account)

    def prepare_anchor(self, operator: bytes, head: EpochHead, head_hash: bytes) -> Unsigned:
        """``head_hash``: what the ledger has signed. Raises Malformed for another vault's head."""
        if head.vault != self.address:
            raise Malformed("is that of another vault", field="head.vault")
        if head.chain_id != self.tron.chain_id:
            raise Malformed("is that of another chain", field="head.chain_id")
        arguments = [
            head.epoch, head.root, head_hash, head.liabilities.utok, head.journal_size,
            head.deposit_seq, head.file,
        ]  # fmt: skip
        return self.tron.prepare_call(
            operator, self.address, _ANCHOR, arguments, ANCHOR_FEE_LIMIT_SUN
        )

    def prepare_claim(self, owner: bytes, proof: BalanceProof) -> Unsigned:
        """``owner`` pays the fee; the tokens go to the payout address of the leaf."""
        return self._prepare(
            owner, _CLAIM, proof.account, proof.payout, proof.withdrawable.utok, proof.balance.utok,
            proof.salt, proof.epoch, proof.position, [node.hash for node in proof.path],
            [node.sum for node in proof.path],
        )  # fmt: skip

    def prepare_freeze(self, owner: bytes) -> Unsigned:
        return self._prepare(owner, "freeze()")

    def prepare_refund(self, owner: bytes, seq: int) -> Unsigned:
        return self._prepare(owner, "refund(uint64)", seq)

    def prepare_propose_operator(self, operator: bytes, proposed: bytes) -> Unsigned:
        return self._prepare(operator, "proposeOperator(address)", proposed)

    def prepare_accept_operator(self, proposed: bytes) -> Unsigned:
        return self._prepare(proposed, "acceptOperator()")

    def _prepare(self, owner: bytes, signature: str, *arguments: Any) -> Unsigned:
        return self.tron.prepare_call(owner, self.address, signature, arguments, FEE_LIMIT_SUN)
