"""``speedpay fund``: tokens of the own address become balance at the ledger, once.

Two transactions: the token's *approve* of exactly the amount, then the vault's *deposit* to the account.
The deposit is seen, then solid, then credited by the ledger, which reads it from the chain by itself.
Interrupted anywhere, the same command goes on: what was signed is in the outbox until it is credited.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from speedpay.chain import address
from speedpay.chain.token import Token
from speedpay.chain.vault import Deposit, Vault
from speedpay.errors import (
    BalanceTooSmall,
    ChainRefused,
    LedgerFailed,
    LedgerUnreachable,
    Malformed,
)
from speedpay.ledger_api.client import LedgerClient
from speedpay.signing import SigningKey
from speedpay.units import Amount
from speedpay.wallet import files
from speedpay.wallet.outbox import Job, Outbox

#: Energy of an approve and of an account's first deposit (measured 22,373 and 71,749), rounded up, with
#: bandwidth: what must be there before anything is signed, or the deposit would stay undone.
_ENERGY = {"approve": 23_000, "deposit": 75_000}
_BANDWIDTH_BYTES = 700
_LEAST_POLL_S = 0.2


class Stage(StrEnum):
    APPROVED = "approved"
    SEEN = "seen"
    SOLID = "solid"
    CREDITED = "credited"


@dataclass(frozen=True, slots=True)
class Funded:
    """``approve`` is None when enough had been approved before. ``earlier``: a deposit of another
    amount that had to be finished first."""

    amount: Amount
    approve: bytes | None
    deposit: Deposit
    resumed: bool
    earlier: Amount | None = None


class Funding:
    """``key`` signs questions to the ledger for ``account``; ``owner``: 20 bytes, who pays."""

    def __init__(
        self,
        vault: Vault,
        outbox: Outbox,
        owner: bytes,
        account: bytes,
        key: SigningKey,
        ledger: LedgerClient,
        *,
        report: Callable[[Stage, bytes], None] = lambda stage, txid: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._vault, self._outbox, self._owner = vault, outbox, owner
        self._account, self._key, self._ledger = account, key, ledger
        self._report, self._sleep = report, sleep

    def under_way(self) -> Amount | None:
        """The amount that an earlier command began to fund and that is not credited yet."""
        job = self._outbox.job()
        return Amount.from_wire(job.wish["amount"]) if job else None

    def run(self, amount: Amount) -> Funded:
        """Raises BalanceTooSmall or ChainRefused when nothing was deposited; LedgerUnreachable or
        LedgerFailed when it is on chain and the ledger has not said that it is credited."""
        with files.locked(self._outbox.lock):
            job, earlier = self._outbox.job(), None
            if job is not None and "deposit" not in job.signed:
                self._outbox.finish()  # an approval alone moves nothing, and the next one replaces it
                job = None
            if job is not None and job.wish != self._wish(amount):
                earlier = Amount.from_wire(job.wish["amount"])
                self._carry(job)
                job = None
            if job is None:
                self.fee_sun(amount)
                job = self._outbox.begin(self._wish(amount))
            return replace(self._carry(job), earlier=earlier)

    def _wish(self, amount: Amount) -> dict[str, str]:
        return {
            "amount": amount.to_wire(), "account": self._account.hex(),
            "vault": self._vault.address.hex(),
        }  # fmt: skip

    def fee_sun(self, amount: Amount) -> int:
        """About what both transactions burn. Raises BalanceTooSmall without the tokens, or the TRX."""
        tron, here = self._vault.tron, address.to_base58(self._owner)
        token = Token(tron, self._vault.terms().token)
        held = token.balance_of(self._owner)
        if held < amount.utok:
            raise BalanceTooSmall(
                f"{here} holds {Amount(held)} tok, which is less than {amount}",
                field="amount", hint=f"send tokens to {here}, then again; see: speedpay fund",
            )  # fmt: skip
        prices, free = tron.prices(), tron.resources(self._owner)
        energy = max(0, sum(_ENERGY.values()) - free.energy)
        needed_sun = energy * prices.energy_sun + _BANDWIDTH_BYTES * prices.byte_sun
        trx = tron.trx_balance(self._owner)
        if trx < needed_sun:
            raise BalanceTooSmall(
                f"{here} holds {Amount(trx)} TRX; the two transactions burn about"
                f" {Amount(needed_sun)} TRX in fees",
                field="trx",
                hint=f"send {Amount(needed_sun - trx)} TRX or more to {here}, then again",
            )
        return needed_sun

    def _carry(self, job: Job) -> Funded:
        amount = Amount.from_wire(job.wish["amount"])
        account, vault = (bytes.fromhex(job.wish[name]) for name in ("account", "vault"))
        if (account, vault) != (self._account, self._vault.address):
            raise ChainRefused(
                "an unfinished deposit of this wallet goes to another account or vault",
                field="account", hint="finish it with the settings with which it was begun",
            )  # fmt: skip
        token, owner = Token(self._vault.tron, self._vault.terms().token), self._owner
        approve = job.txid("approve")
        try:
            if "deposit" not in job.signed and token.allowance(owner, vault) < amount.utok:
                job, receipt = self._outbox.carry(
                    job, "approve", lambda: token.prepare_approve(owner, vault, amount.utok),
                    solid=False,
                )  # fmt: skip
                approve = receipt.txid
                self._report(Stage.APPROVED, approve)
            job, receipt = self._outbox.carry(
                job, "deposit", lambda: self._vault.prepare_deposit(owner, amount, account)
            )
        except ChainRefused:
            self._outbox.finish()
            raise
        deposit = self._deposit_in(self._vault.deposits_in(receipt), amount)
        self._report(Stage.SOLID, receipt.txid)
        self._wait_for_credit(deposit)
        self._report(Stage.CREDITED, receipt.txid)
        self._outbox.finish()
        return Funded(amount, approve, deposit, job.resumed)

    def _deposit_in(self, made: list[Deposit], amount: Amount) -> Deposit:
        for deposit in made:
            if (deposit.account, deposit.amount) == (self._account, amount):
                return deposit
        raise Malformed("does not hold the deposit that it was signed for", field="receipt")

    def _wait_for_credit(self, deposit: Deposit) -> None:
        again = (
            f"the deposit is on the chain for good, transaction {deposit.txid.hex()}; repeat the same"
            " command to see it credited: it deposits nothing more"
        )
        while True:
            try:
                shown = self._ledger.deposits(self._key, self._account)
            except (LedgerUnreachable, LedgerFailed) as error:
                error.hint = again
                raise
            for one in shown.deposits:
                if (one.txid, one.log_index) == (deposit.txid, deposit.log_index):
                    if one.amount != deposit.amount:
                        raise LedgerFailed(
                            f"credited {one.amount} tok of the deposit of {deposit.amount}",
                            hint=again,
                        )
                    return
            if self._vault.state().frozen:
                self._outbox.finish()
                raise ChainRefused(
                    "the vault was frozen before the ledger credited the deposit, transaction"
                    f" {deposit.txid.hex()}",
                    field="frozen", hint="speedpay withdraw --claim gives it back",
                )  # fmt: skip
            self._sleep(max(_LEAST_POLL_S, self._vault.tron.network.poll_s))
