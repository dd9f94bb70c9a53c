"""One request over HTTP and what came back, blocking (``Line``) and for an event loop (``AsyncLine``).

No type or exception of httpx leaves this file: an exchange ends in an Answer or a LedgerUnreachable.
httpx is imported when a line is made, and not before: the shapes alone need none.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from speedpay.errors import InvalidSetting, LedgerUnreachable
from speedpay.ledger_api.attempts import Send
from speedpay.ledger_api.attested import MAX_ANSWER_BYTES
from speedpay.ledger_api.signed import ANSWER_KEY_ID_HEADER, ANSWER_SIGNATURE_HEADER, Answer

if TYPE_CHECKING:
    import httpx

#: ``timeout_s`` bounds each silence; without a bound on the whole, one byte every few seconds would
#: hold a client for weeks.
WHOLE_ANSWER_TIMEOUTS = 3


class Line:
    """``timeout_s``: how long the ledger may be silent. Threads may share one."""

    def __init__(self, url: str, timeout_s: float) -> None:
        import httpx

        self._url = url
        self._whole_s = WHOLE_ANSWER_TIMEOUTS * timeout_s
        self._http = httpx.Client(**_options(url, timeout_s))

    def close(self) -> None:
        self._http.close()

    def exchange(self, step: Send) -> Answer | LedgerUnreachable:
        import httpx

        until = time.monotonic() + self._whole_s
        try:
            with self._http.stream(**_request(step)) as response:
                body = bytearray()
                for part in response.iter_raw():
                    body += part
                    if len(body) > MAX_ANSWER_BYTES:
                        return _too_large()
                    if time.monotonic() > until:
                        return _too_slow(self._url)
                return _answer(response, bytes(body))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return _unreachable(self._url, error)


class AsyncLine:
    """The same for an event loop."""

    def __init__(self, url: str, timeout_s: float) -> None:
        import httpx

        self._url = url
        self._whole_s = WHOLE_ANSWER_TIMEOUTS * timeout_s
        self._http = httpx.AsyncClient(**_options(url, timeout_s))

    async def close(self) -> None:
        await self._http.aclose()

    async def exchange(self, step: Send) -> Answer | LedgerUnreachable:
        import httpx

        try:
            async with (
                asyncio.timeout(self._whole_s),
                self._http.stream(**_request(step)) as response,
            ):
                body = bytearray()
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > MAX_ANSWER_BYTES:
                        return _too_large()
                return _answer(response, bytes(body))
        except TimeoutError:
            return _too_slow(self._url)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return _unreachable(self._url, error)


def _options(url: str, timeout_s: float) -> dict[str, Any]:
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


def _request(step: Send) -> dict[str, Any]:
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


def _too_slow(url: str) -> LedgerUnreachable:
    return LedgerUnreachable(f"{url} answers too slowly")


def _unreachable(url: str, error: Exception) -> LedgerUnreachable:
    cause = str(error) or type(error).__name__
    return LedgerUnreachable(f"{url} did not answer: {cause}", hint="is the ledger running?")
