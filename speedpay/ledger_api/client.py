"""The ledger's client: blocking (``LedgerClient``) and for an event loop (``AsyncLedgerClient``).

Every call may be repeated safely: one that moves money carries an idempotency key (16 bytes) that
its caller has made and *saved* before calling, or is identified by (channel, cumulative). What
leaves here is a value or a ``SpeedpayError``:

* ``LedgerUnreachable``: nobody knows whether it happened; ask again with the same key.
* ``LedgerFailed``: the ledger says that it could not, and that nothing has changed.
* a ``Refused``, NotFound or AlreadyExists: nothing has changed, waiting will not help.

How a call is carried through is in attempts.py, how it goes over HTTP in transport.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from speedpay.certificates import CertificateSet
from speedpay.channel.voucher import SignedStatement, Voucher
from speedpay.ledger_api import calls, chain, epochs, owners
from speedpay.ledger_api.answers import (
    Balance,
    ChannelView,
    History,
    LedgerIdentity,
    OpenedAccount,
    Outcome,
)
from speedpay.ledger_api.attempts import Attempts, Done, Session, Wait, advance
from speedpay.ledger_api.attested import Attested
from speedpay.ledger_api.calls import Call
from speedpay.ledger_api.chain import ChainHealth, Deposits, Ordered, Withdraw, Withdrawals
from speedpay.ledger_api.epochs import EpochView, Inclusion, NamePayout
from speedpay.ledger_api.owners import HandOver, Publish
from speedpay.ledger_api.shapes import OpenChannel, Redemption, Send, TopUp
from speedpay.ledger_api.transport import AsyncLine, Line
from speedpay.proof.balance import BalanceProof
from speedpay.signing import SigningKey

T = TypeVar("T")
L = TypeVar("L", bound=Line | AsyncLine)


class _Both(Generic[L]):
    """``url``: http://HOST:PORT. ``ledger_id``: pinned; None takes whoever answers first."""

    _kind: type[L]

    def __init__(
        self,
        url: str,
        ledger_id: bytes | None = None,
        network: str = "devnet",
        *,
        timeout_s: float = 10.0,
        attempts: int = 3,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.url = url.rstrip("/")
        self._session = Session(network, ledger_id, attempts, clock)
        self._line: L = self._kind(self.url, timeout_s)

    @property
    def identity(self) -> LedgerIdentity | None:
        """The ledger's checked identity, once anything has been asked."""
        return self._session.identity

    @property
    def certificates(self) -> CertificateSet | None:
        """Which keys speak for the ledger, as far as this client has learnt; the same object until it
        learns more."""
        return self._session.certificates

    def remember(self, known: CertificateSet) -> None:
        """What an earlier client learnt of the same ledger's keys: a revocation is never forgotten."""
        self._session.remember(known)


class LedgerClient(_Both[Line]):
    """Blocking; threads may share one. ``with LedgerClient(…) as ledger:`` closes it."""

    _kind = Line

    def __enter__(self) -> LedgerClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._line.close()

    def identify(self) -> LedgerIdentity:
        return self._drive(self._session.identify())

    def open_account(self, key: SigningKey, idempotency_key: bytes) -> OpenedAccount:
        return self._call(calls.open_account(key, idempotency_key))

    def balance(self, key: SigningKey, account: bytes) -> Balance:
        return self._call(calls.balance(key, account))

    def history(
        self, key: SigningKey, account: bytes, before: int | None = None, limit: int = 50
    ) -> History:
        return self._call(calls.history(key, account, before, limit))

    def send(self, key: SigningKey, account: bytes, order: Send, idempotency_key: bytes) -> None:
        return self._call(calls.send(key, account, order, idempotency_key))

    def open_channel(
        self, key: SigningKey, account: bytes, order: OpenChannel, idempotency_key: bytes
    ) -> SignedStatement:
        return self._drive(self._session.open_channel(key, account, order, idempotency_key))

    def top_up(
        self, key: SigningKey, account: bytes, channel: bytes, order: TopUp, idempotency_key: bytes
    ) -> SignedStatement:
        return self._drive(self._session.top_up(key, account, channel, order, idempotency_key))

    def deposit_voucher(self, voucher: Voucher) -> None:
        return self._call(calls.deposit_voucher(voucher))

    def channel(self, key: SigningKey, signer: bytes, channel: bytes) -> ChannelView:
        """``signer``: one of the two accounts, or ``key.public`` of one of the channel's keys."""
        return self._drive(self._session.channel(key, signer, channel)).value

    def redeem(self, items: list[Redemption]) -> list[Outcome]:
        """One outcome per item, in order. Many items become several requests."""
        return [
            outcome for batch in calls.batches(items) for outcome in self._call(calls.redeem(batch))
        ]

    def withdraw(
        self, key: SigningKey, account: bytes, order: Withdraw, idempotency_key: bytes
    ) -> Ordered:
        return self._call(chain.withdraw(key, account, order, idempotency_key))

    def withdrawals(self, key: SigningKey, account: bytes) -> Withdrawals:
        return self._call(chain.withdrawals(key, account))

    def deposits(self, key: SigningKey, account: bytes) -> Deposits:
        return self._call(chain.deposits(key, account))

    def chain_health(self) -> ChainHealth:
        return self._call(chain.health())

    def epoch(self, number: int | None = None) -> EpochView:
        return self._call(epochs.epoch(number))

    def proof(self, key: SigningKey, account: bytes, number: int) -> BalanceProof | None:
        return self._call(epochs.proof(key, account, number))

    def inclusion(self, key: SigningKey, account: bytes, sequence: int, size: int) -> Inclusion:
        return self._call(epochs.inclusion(key, account, sequence, size))

    def consistency(self, old: int, size: int) -> tuple[bytes, ...]:
        return self._call(epochs.consistency(old, size))

    def name_payout(
        self, key: SigningKey, account: bytes, order: NamePayout, idempotency_key: bytes
    ) -> None:
        return self._call(epochs.name_payout(key, account, order, idempotency_key))

    def hand_over(self, key: SigningKey, order: HandOver, idempotency_key: bytes) -> None:
        return self._call(owners.hand_over(key, order, idempotency_key))

    def publish(
        self, key: SigningKey, account: bytes, order: Publish, idempotency_key: bytes
    ) -> None:
        return self._call(owners.publish(key, account, order, idempotency_key))

    def published_history(
        self, account: bytes, before: int | None = None, limit: int = 50
    ) -> History:
        return self._call(owners.published_history(account, before, limit))

    def _call(self, call: Call[T]) -> T:
        return self._drive(self._session.carry(call))

    def _drive(self, attempts: Attempts[T]) -> T:
        step = advance(attempts, None)
        while not isinstance(step, Done):
            if isinstance(step, Wait):
                time.sleep(step.seconds)
                step = advance(attempts, None)
            else:
                step = advance(attempts, self._line.exchange(step))
        return step.value


class AsyncLedgerClient(_Both[AsyncLine]):
    """The same for an event loop; ``async with AsyncLedgerClient(…) as ledger:`` closes it."""

    _kind = AsyncLine

    async def __aenter__(self) -> AsyncLedgerClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._line.close()

    async def identify(self) -> LedgerIdentity:
        return await self._drive(self._session.identify())

    async def open_account(self, key: SigningKey, idempotency_key: bytes) -> OpenedAccount:
        return await self._call(calls.open_account(key, idempotency_key))

    async def balance(self, key: SigningKey, account: bytes) -> Balance:
        return await self._call(calls.balance(key, account))

    async def history(
        self, key: SigningKey, account: bytes, before: int | None = None, limit: int = 50
    ) -> History:
        return await self._call(calls.history(key, account, before, limit))

    async def send(
        self, key: SigningKey, account: bytes, order: Send, idempotency_key: bytes
    ) -> None:
        return await self._call(calls.send(key, account, order, idempotency_key))

    async def open_channel(
        self, key: SigningKey, account: bytes, order: OpenChannel, idempotency_key: bytes
    ) -> SignedStatement:
        return await self._drive(self._session.open_channel(key, account, order, idempotency_key))

    async def top_up(
        self, key: SigningKey, account: bytes, channel: bytes, order: TopUp, idempotency_key: bytes
    ) -> SignedStatement:
        return await self._drive(
            self._session.top_up(key, account, channel, order, idempotency_key)
        )

    async def deposit_voucher(self, voucher: Voucher) -> None:
        return await self._call(calls.deposit_voucher(voucher))

    async def channel(
        self, key: SigningKey, signer: bytes, channel: bytes
    ) -> Attested[ChannelView]:
        return await self._drive(self._session.channel(key, signer, channel))

    async def redeem(self, items: list[Redemption]) -> list[Attested[Outcome]]:
        """One outcome per item, in order, each with the answer in which it came."""
        made: list[Attested[Outcome]] = []
        for batch in calls.batches(items):
            found = await self._drive(self._session.attested(calls.redeem(batch)))
            made += [Attested(outcome, found.answer) for outcome in found.value]
        return made

    async def withdraw(
        self, key: SigningKey, account: bytes, order: Withdraw, idempotency_key: bytes
    ) -> Ordered:
        return await self._call(chain.withdraw(key, account, order, idempotency_key))

    async def withdrawals(self, key: SigningKey, account: bytes) -> Withdrawals:
        return await self._call(chain.withdrawals(key, account))

    async def deposits(self, key: SigningKey, account: bytes) -> Deposits:
        return await self._call(chain.deposits(key, account))

    async def chain_health(self) -> ChainHealth:
        return await self._call(chain.health())

    async def epoch(self, number: int | None = None) -> EpochView:
        return await self._call(epochs.epoch(number))

    async def proof(self, key: SigningKey, account: bytes, number: int) -> BalanceProof | None:
        return await self._call(epochs.proof(key, account, number))

    async def inclusion(
        self, key: SigningKey, account: bytes, sequence: int, size: int
    ) -> Inclusion:
        return await self._call(epochs.inclusion(key, account, sequence, size))

    async def consistency(self, old: int, size: int) -> tuple[bytes, ...]:
        return await self._call(epochs.consistency(old, size))

    async def name_payout(
        self, key: SigningKey, account: bytes, order: NamePayout, idempotency_key: bytes
    ) -> None:
        return await self._call(epochs.name_payout(key, account, order, idempotency_key))

    async def _call(self, call: Call[T]) -> T:
        return await self._drive(self._session.carry(call))

    async def _drive(self, attempts: Attempts[T]) -> T:
        step = advance(attempts, None)
        while not isinstance(step, Done):
            if isinstance(step, Wait):
                await asyncio.sleep(step.seconds)
                step = advance(attempts, None)
            else:
                step = advance(attempts, await self._line.exchange(step))
        return step.value
