"""What the wallet's own address on the chain holds, and sending from it.

The address is that of the payout key: withdrawals are paid to it, and what is funded leaves from it. It
holds TRX, which pays every fee on the chain, the ledger's token, and one more TRC-20 that the user
names. A TRC-20 is somebody's contract: its decimals and amounts are read, bounded, and never trusted
for more than being shown and sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from speedpay.chain import address
from speedpay.chain.answers import Receipt
from speedpay.chain.token import Token
from speedpay.chain.transaction import Unsigned
from speedpay.chain.tron import Tron
from speedpay.errors import BalanceTooSmall, ChainRefused, Malformed
from speedpay.wallet import files
from speedpay.wallet.outbox import Job, Outbox

TOKEN_DECIMALS = 6
_MAX_UINT256 = 2**256 - 1


class Currency(StrEnum):
    TRX = "trx"
    TOKEN = "token"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Coin:
    """``contract``: 20 bytes, None for TRX. ``name``: as people call it, at most 16 characters."""

    currency: Currency
    name: str
    decimals: int
    contract: bytes | None = None

    def text(self, base_units: int) -> str:
        """``12.5 USDT``: exact, without an exponent."""
        whole, part = divmod(base_units, 10**self.decimals)
        digits = f".{part:0{self.decimals}d}".rstrip("0").rstrip(".") if part else ""
        return f"{whole}{digits} {self.name}"

    def base_units(self, text: str) -> int:
        """From what a person types. Raises Malformed."""
        whole, _, part = text.partition(".")
        plain = whole.isascii() and whole.isdigit() and len(whole) <= 60
        if part or "." in text:
            plain = plain and part.isascii() and part.isdigit() and len(part) <= self.decimals
        if not plain:
            raise Malformed(
                f"must be a plain number with at most {self.decimals} decimals", field="amount"
            )
        amount = int(whole + part.ljust(self.decimals, "0"))
        if not 0 < amount <= _MAX_UINT256:
            raise Malformed("must be above 0", field="amount")
        return amount


TRX = Coin(Currency.TRX, "TRX", 6)


@dataclass(frozen=True, slots=True)
class Holding:
    coin: Coin
    base_units: int


def token_coin(token: bytes) -> Coin:
    return Coin(Currency.TOKEN, "tok", TOKEN_DECIMALS, token)


def other_coin(tron: Tron, contract: bytes) -> Coin:
    """A TRC-20 of the user's choice. Raises ChainRefused when nothing like it is there."""
    token = Token(tron, contract)
    try:
        return Coin(Currency.OTHER, token.symbol(), token.decimals(), contract)
    except (ChainRefused, Malformed) as error:
        raise ChainRefused(
            f"{address.to_base58(contract)} is no TRC-20: {error}", field="other_token",
            hint="speedpay config show --origin",
        ) from error  # fmt: skip


def holding(tron: Tron, owner: bytes, coin: Coin) -> Holding:
    if coin.contract is None:
        return Holding(coin, tron.trx_balance(owner))
    return Holding(coin, tron.token_balance(coin.contract, owner))


@dataclass(frozen=True, slots=True)
class Transfer:
    """One payment on the chain. ``to``: 20 bytes."""

    to: bytes
    coin: Coin
    base_units: int

    def wish(self) -> Mapping[str, str]:
        return {
            "to": self.to.hex(), "currency": self.coin.currency.value,
            "contract": self.coin.contract.hex() if self.coin.contract else "",
            "base_units": str(self.base_units),
        }  # fmt: skip

    def prepare(self, tron: Tron, owner: bytes) -> Unsigned:
        """Nothing has happened yet; ``estimated_sun`` is the fee. Raises BalanceTooSmall."""
        held = holding(tron, owner, self.coin)
        if held.base_units < self.base_units:
            raise BalanceTooSmall(
                f"{address.to_base58(owner)} holds {self.coin.text(held.base_units)}, which is less than"
                f" {self.coin.text(self.base_units)}",
                field="amount",
            )
        if self.coin.contract is None:
            return tron.prepare_transfer(owner, self.to, self.base_units)
        return Token(tron, self.coin.contract).prepare_transfer(owner, self.to, self.base_units)


@dataclass(frozen=True, slots=True)
class SentOnChain:
    """``earlier``: another payment that had to be finished first; it may have been refused."""

    job: Job
    receipt: Receipt
    earlier: Job | None = None


_STEP = "transfer"


def send(tron: Tron, outbox: Outbox, owner: bytes, transfer: Transfer) -> SentOnChain:
    """Pays once, whatever interrupts; a payment of an earlier command is finished first, and when it is
    the same one, only that. Raises ChainRefused when it was refused or failed: nothing is paid."""
    with files.locked(outbox.lock):
        job, earlier = outbox.job(), None
        if job is not None and _STEP not in job.signed:
            outbox.finish()  # begun, and never signed
            job = None
        if job is not None and job.wish != transfer.wish():
            earlier, job = job, None
            with suppress(ChainRefused):
                _carry(outbox, earlier, _never_again)
        if job is None:
            transfer.prepare(tron, owner)  # what cannot be paid is not begun
            job = outbox.begin(transfer.wish())
        prepare = partial(transfer.prepare, tron, owner)
        done, receipt = _carry(outbox, job, prepare)
        return SentOnChain(done, receipt, earlier)


def _carry(outbox: Outbox, job: Job, prepare: Callable[[], Unsigned]) -> tuple[Job, Receipt]:
    try:
        done = outbox.carry(job, _STEP, prepare)
    except (ChainRefused, BalanceTooSmall):
        outbox.finish()
        raise
    outbox.finish()
    return done


def _never_again() -> Unsigned:
    """In place of a payment that expired while nobody looked: its user wants something else now."""
    raise ChainRefused("it was never in a block, and its time is over", field="transaction")
