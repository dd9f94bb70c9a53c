"""What a client knows of the ledger's response keys: asked for in time, written down before it is used."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable

from speedpay.certificates import CertificateSet
from speedpay.client.records import Records
from speedpay.errors import SpeedpayError
from speedpay.ledger_api.attempts import ASK_AGAIN_S, REFRESH_S
from speedpay.ledger_api.client import AsyncLedgerClient

_log = logging.getLogger(__name__)
#: A payer waits for our word on its channel for half a minute.
_ANSWER_S = 20.0


class LedgerKeys:
    """``away`` hears of a ledger that does not answer."""

    def __init__(
        self, records: Records, ledger: AsyncLedgerClient, away: Callable[[str], None]
    ) -> None:
        self._records = records
        self._ledger = ledger
        self._away = away
        self._doubted_at = -math.inf
        self._asked_at: float | None = None
        #: Response keys on whose channels the ledger has paid us, also in earlier runs.
        self.proven = records.proven_keys()

    def news(self, used: CertificateSet) -> CertificateSet | None:
        """What is known by now, durable, if it is more than ``used``."""
        known = self._ledger.certificates
        if known is None or known is used or known == used:
            return None
        self._records.keep_keys(known)
        return known

    def is_time(self, now: float) -> bool:
        """Whether to ask the ledger who it is: a revocation must also reach a seller that asks nothing."""
        if self._asked_at is None:
            self._asked_at = now
        if now - self._asked_at < REFRESH_S:
            return False
        self._asked_at = now
        return True

    def may_doubt(self, now: float) -> bool:
        """Whether a statement under an unknown key is a reason to ask: once a minute at most."""
        if now - self._doubted_at < ASK_AGAIN_S:
            return False
        self._doubted_at = now
        return True

    async def ask(self) -> bool:
        """Whether the ledger has said who it is; ``news`` has what that was."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                await self._ledger.identify()
        except (SpeedpayError, TimeoutError) as error:
            self._away(str(error) or "it did not say who it is")
            return False
        return True

    def prove(self, response_key: bytes) -> None:
        self._records.key_proven(response_key)
