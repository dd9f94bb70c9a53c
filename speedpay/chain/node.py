"""One TRON node over HTTP, bounded in size and time, and tronpy behind it. Read tron.py first.

tronpy's own provider waits for ever on a node that dribbles, reads answers of any size, and sends the
API keys of its authors to trongrid. Ours takes its place: a limit on each silence, on each answer as a
whole and on its size, no proxy out of the environment, no redirect, no key but the user's. What a node
cannot answer now (time-out, 429, 5xx) is asked again a few times, further and further apart and never
in step with others. All that is asked may be repeated: a transaction counts once however often it is
sent. No type or exception of tronpy or httpx leaves this file.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import httpx
import tronpy
from tronpy import exceptions as tronpy_exceptions
from tronpy.providers import HTTPProvider
from tronpy.tron import Transaction

from speedpay.chain.answers import hex_bytes, mapping
from speedpay.chain.networks import Network
from speedpay.errors import ChainUnreachable, InvalidSetting, Malformed

T = TypeVar("T")
_log = logging.getLogger(__name__)

#: A block has 2 MB at most, and hexadecimal doubles it.
MAX_ANSWER_BYTES = 16 * 1024 * 1024
#: ``timeout_s`` bounds each silence; a whole answer may take this many of them.
WHOLE_ANSWER_TIMEOUTS = 3
_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 30.0
_TOO_OFTEN = frozenset({403, 429})  # TronGrid says 403, and with it for 30 s nothing else
_AGAIN = frozenset({408, 425, 500, 502, 503, 504})
_BROKEN = (AttributeError, IndexError, KeyError, TypeError, ValueError)


class _TooOften(Exception):
    """403 or 429: never leaves this file."""


class Node:
    """``timeout_s``: how long it may be silent; ``attempts``: how often it is asked. Threads may
    share one."""

    def __init__(
        self, url: str, network: Network, api_key: str | None, timeout_s: float, attempts: int,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self.url = url.rstrip("/")
        self.genesis: bytes | None = None  # 32 bytes once it has been checked
        self._network = network
        self._attempts = attempts
        self._whole_s = WHOLE_ANSWER_TIMEOUTS * timeout_s
        self._sleep = sleep
        self._turn = threading.Lock()
        self._last_asked = 0.0
        headers = {"accept-encoding": "identity"}
        if api_key:
            headers["TRON-PRO-API-KEY"] = api_key
        try:
            self._http = httpx.Client(
                timeout=timeout_s, trust_env=False, follow_redirects=False, headers=headers
            )
            httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise InvalidSetting("must look like http://HOST:PORT", field="chain_nodes") from error
        # conf: an own copy; tronpy's default is one dict that all clients share.
        self._tron = tronpy.Tron(provider=_Provider(self.ask), conf={})

    def close(self) -> None:
        self._http.close()

    def ask(self, method: str, body: Mapping[str, Any], max_bytes: int = MAX_ANSWER_BYTES) -> Any:
        """The node's JSON. Raises ChainUnreachable, or Malformed for what is no JSON."""
        for attempt in range(1, self._attempts + 1):
            first_wait_s = _FIRST_WAIT_S
            try:
                return self._once(method, body, max_bytes)
            except _TooOften as error:
                if attempt == self._attempts:
                    raise ChainUnreachable(str(error)) from None
                first_wait_s = self._network.busy_wait_s
            except ChainUnreachable:
                if attempt == self._attempts:
                    raise
            wait_s = min(_LONGEST_WAIT_S, first_wait_s * 2.0 ** (attempt - 1))
            self._sleep(wait_s * random.uniform(0.75, 1.25))
        raise ChainUnreachable(f"{self.url} was not asked")

    def call(self, asked: Callable[[Any], T]) -> T | None:
        """``asked`` of tronpy's client; None for what the node does not have."""
        try:
            return asked(self._tron)
        except tronpy_exceptions.NotFound:
            return None
        except (ChainUnreachable, Malformed):
            raise
        except (
            tronpy_exceptions.ApiError, tronpy_exceptions.UnknownError,
            tronpy_exceptions.BugInJavaTron, tronpy_exceptions.ValidationError,
        ) as error:  # fmt: skip
            raise ChainUnreachable(f"{self.url} could not answer: {_short(error)}") from error
        except _BROKEN as error:
            raise Malformed(f"is not what {self.url} should say", field="answer") from error

    def txid_of(self, raw_data: Mapping[str, Any]) -> bytes:
        """What this node says the id of a transaction is: tronpy would sign this."""

        def asked(client: Any) -> str:
            return str(Transaction(dict(raw_data), client=client).txid)

        return hex_bytes(self.call(asked), f"{self.url} txID", 32)

    def _wait_for_turn(self) -> None:
        if not self._network.gap_s:
            return
        with self._turn:
            wait_s = self._last_asked + self._network.gap_s - time.monotonic()
            if wait_s > 0:
                self._sleep(wait_s)
            self._last_asked = time.monotonic()

    def _once(self, method: str, body: Mapping[str, Any], max_bytes: int) -> Any:
        self._wait_for_turn()
        until = time.monotonic() + self._whole_s
        content = bytearray()
        try:
            with self._http.stream("POST", f"{self.url}/{method}", json=dict(body)) as answer:
                for part in answer.iter_raw():
                    content += part
                    if len(content) > max_bytes:
                        raise Malformed(f"is above {max_bytes} bytes", field="answer")
                    if time.monotonic() > until:
                        raise ChainUnreachable(f"{self.url} answers too slowly")
                status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise ChainUnreachable(f"{self.url} did not answer: {_short(error)}") from error
        if status in _TOO_OFTEN:
            raise _TooOften(f"{self.url} is asked too often (status {status})")
        if status in _AGAIN:
            raise ChainUnreachable(f"{self.url} is busy or failing (status {status})")
        if status != 200:
            raise Malformed(f"has status {status}", field=f"{self.url}/{method}")
        try:
            said = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise Malformed("is not JSON", field=f"{self.url}/{method}") from error
        if isinstance(said, dict) and "Error" in said:
            # An exception inside java-tron, with status 200; mostly "lack of computing resources".
            raise ChainUnreachable(f"{self.url} could not answer: {_short(said['Error'])}")
        return said


class _Provider(HTTPProvider):  # type: ignore[misc]
    """tronpy's calls, over our bounded line. Its own constructor is not run: that would open a second
    session, with the keys of tronpy's authors for every address with "trongrid" in it."""

    def __init__(self, ask: Callable[[str, Mapping[str, Any]], Any]) -> None:
        self._ask = ask

    def make_request(self, method: str, params: Any = None) -> Any:
        return mapping(self._ask(method, params or {}), method)


def _short(error: object) -> str:
    text = (str(error) or type(error).__name__)[:200]
    return "".join(c if c.isprintable() else "?" for c in text)
