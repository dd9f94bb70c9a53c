"""The ledger's client: blocking (``LedgerClient``) and for an event loop (``AsyncLedgerClient``).

Every call may be repeated safely: one that moves money carries an idempotency key (16 bytes) that
its caller has made and *saved* before calling, or is identified by (channel, cumulative). What
leaves here is a value or a ``SpeedpayError``:

* ``LedgerUnreachable``: nobody knows whether it happened; ask again with the same key.
* ``LedgerFailed``: the ledger says that it could not, and that nothing has changed.
* a ``Refused``, NotFound or AlreadyExists: nothing has changed, waiting will not help.

No type or exception of httpx leaves this file.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from speedpay.channel.voucher import SignedStatement, Voucher
from speedpay.errors import InvalidSetting, LedgerUnreachable
from speedpay.ledger_api import calls
from speedpay.ledger_api.answers import (
    Balance,
    ChannelView,
    History,
    LedgerIdentity,
    OpenedAccount,
    Outcome,
)
from speedpay.ledger_api.attempts import Attempts, Session, Wait
from speedpay.ledger_api.attempts import Send as Exchange
from speedpay.ledger_api.calls import Call
from speedpay.ledger_api.shapes import OpenChannel, Redemption, Send, TopUp
from speedpay.ledger_api.signed import ANSWER_KEY_ID_HEADER, ANSWER_SIGNATURE_HEADER, Answer
from speedpay.signing import SigningKey

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

#: The largest honest answer, a page of history or of outcomes, has well under 150 KB.
MAX_ANSWER_BYTES = 512 * 1024


class _Both:
    """``url``: http://HOST:PORT. ``ledger_id``: pinned; None takes whoever answers first."""

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
        self._connect(_http_options(self.url, timeout_s))

    def _connect(self, options: dict[str, Any]) -> None:
        raise NotImplementedError

    @property
    def identity(self) -> LedgerIdentity | None:
        """The ledger's checked identity and certificate, once anything has been asked."""
        return self._session.identity


class LedgerClient(_Both):
    """Blocking; threads may share one. ``with LedgerClient(…) as ledger:`` closes it."""

    def _connect(self, options: dict[str, Any]) -> None:
        import httpx

        self._http = httpx.Client(**options)

    def __enter__(self) -> LedgerClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

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
        signed = self._call(calls.open_channel(key, account, order, idempotency_key))
        return self._session.ordered(signed, order)

    def top_up(
        self, key: SigningKey, account: bytes, channel: bytes, order: TopUp, idempotency_key: bytes
    ) -> SignedStatement:
        signed = self._call(calls.top_up(key, account, channel, order, idempotency_key))
        return self._session.promised(signed, channel)

    def deposit_voucher(self, voucher: Voucher) -> None:
        return self._call(calls.deposit_voucher(voucher))

    def channel(self, key: SigningKey, signer: bytes, channel: bytes) -> ChannelView:
        """``signer``: one of the two accounts, or ``key.public`` of one of the channel's keys."""
        view = self._call(calls.channel(key, signer, channel))
        self._session.promised(view.signed_statement, channel)
        return view

    def redeem(self, items: list[Redemption]) -> list[Outcome]:
        """One outcome per item, in order. Many items become several requests."""
        return [
            outcome for batch in calls.batches(items) for outcome in self._call(calls.redeem(batch))
        ]

    def _call(self, call: Call[T]) -> T:
        return self._drive(self._session.carry(call))

    def _drive(self, attempts: Attempts[T]) -> T:
        feed: Answer | LedgerUnreachable | None = None
        while True:
            try:
                step = attempts.send(feed)
            except StopIteration as done:
                result: T = done.value
                return result
            if isinstance(step, Wait):
                time.sleep(step.seconds)
                feed = None
            else:
                feed = self._exchange(step)

    def _exchange(self, step: Exchange) -> Answer | LedgerUnreachable:
        import httpx

        try:
            with self._http.stream(**_request(step)) as response:
                body = bytearray()
                for part in response.iter_raw():
                    body += part
                    if len(body) > MAX_ANSWER_BYTES:
                        return _too_large()
                return _answer(response, bytes(body))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return _unreachable(self.url, error)


class AsyncLedgerClient(_Both):
    """The same for an event loop; ``async with AsyncLedgerClient(…) as ledger:`` closes it."""

    def _connect(self, options: dict[str, Any]) -> None:
        import httpx

        self._http = httpx.AsyncClient(**options)

    async def __aenter__(self) -> AsyncLedgerClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

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
        signed = await self._call(calls.open_channel(key, account, order, idempotency_key))
        return self._session.ordered(signed, order)

    async def top_up(
        self, key: SigningKey, account: bytes, channel: bytes, order: TopUp, idempotency_key: bytes
    ) -> SignedStatement:
        signed = await self._call(calls.top_up(key, account, channel, order, idempotency_key))
        return self._session.promised(signed, channel)

    async def deposit_voucher(self, voucher: Voucher) -> None:
        return await self._call(calls.deposit_voucher(voucher))

    async def channel(self, key: SigningKey, signer: bytes, channel: bytes) -> ChannelView:
        view = await self._call(calls.channel(key, signer, channel))
        self._session.promised(view.signed_statement, channel)
        return view

    async def redeem(self, items: list[Redemption]) -> list[Outcome]:
        made: list[Outcome] = []
        for batch in calls.batches(items):
            outcomes = await self._call(calls.redeem(batch))
            made += outcomes
        return made

    async def _call(self, call: Call[T]) -> T:
        return await self._drive(self._session.carry(call))

    async def _drive(self, attempts: Attempts[T]) -> T:
        feed: Answer | LedgerUnreachable | None = None
        while True:
            try:
                step = attempts.send(feed)
            except StopIteration as done:
                result: T = done.value
                return result
            if isinstance(step, Wait):
                await asyncio.sleep(step.seconds)
                feed = None
            else:
                feed = await self._exchange(step)

    async def _exchange(self, step: Exchange) -> Answer | LedgerUnreachable:
        import httpx

        try:
            async with self._http.stream(**_request(step)) as response:
                body = bytearray()
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > MAX_ANSWER_BYTES:
                        return _too_large()
                return _answer(response, bytes(body))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return _unreachable(self.url, error)


def _http_options(url: str, timeout_s: float) -> dict[str, Any]:
    import httpx

    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidSetting("must look like http://HOST:PORT", field="ledger") from error
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.path != "/":
        raise InvalidSetting("must look like http://HOST:PORT", field="ledger")
    # Proxies named in the environment are passed over: they break ledgers on loopback.
    return {
        "base_url": url, "timeout": timeout_s, "trust_env": False, "follow_redirects": False,
        "headers": {"accept-encoding": "identity"},
    }  # fmt: skip


def _request(step: Exchange) -> dict[str, Any]:
    headers = step.head.headers()
    if step.body:
        headers["content-type"] = "application/json"
    head = step.head
    return {"method": head.method, "url": head.target, "content": step.body, "headers": headers}


def _answer(response: httpx.Response, body: bytes) -> Answer:
    header = response.headers.get
    signature, key_id = header(ANSWER_SIGNATURE_HEADER, ""), header(ANSWER_KEY_ID_HEADER, "")
    return Answer(response.status_code, body, signature, key_id)


def _too_large() -> LedgerUnreachable:
    return LedgerUnreachable(f"the answer is above {MAX_ANSWER_BYTES} bytes", field="answer")


def _unreachable(url: str, error: Exception) -> LedgerUnreachable:
    cause = str(error) or type(error).__name__
    return LedgerUnreachable(f"{url} did not answer: {cause}", hint="is the ledger running?")
