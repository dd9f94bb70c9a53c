"""Ordering a withdrawal once. What the vault then pays is claimed in ``claiming.py``.

As ``funds.py`` sends: the order is saved with its idempotency key before the ledger is asked, and
forgotten only when it has said what became of it.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from speedpay.errors import NotFound, SpeedpayError
from speedpay.ledger_api import strict
from speedpay.ledger_api.chain import Ordered, Withdraw
from speedpay.ledger_api.client import LedgerClient
from speedpay.ledger_api.refusals import decides
from speedpay.ledger_api.shapes import MAX_TIME
from speedpay.ledger_api.signed import IDEMPOTENCY_KEY_BYTES
from speedpay.ledger_api.strict import Fields
from speedpay.signing import SigningKey
from speedpay.units import Amount
from speedpay.wallet import files

_MAX_FILE_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Order:
    """A withdrawal that was asked for and of which nobody knows yet whether the ledger has it."""

    amount: Amount
    key: bytes
    begun: int


class Withdrawing:
    """Withdrawals of one account; the order under way is in ``folder``."""

    def __init__(
        self,
        folder: Path,
        name: str,
        key: SigningKey,
        account: bytes,
        ledger: LedgerClient,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = folder / f"{name}.withdraw"
        self._lock = folder / f"{name}.withdraw.lock"
        self._key, self._account, self._ledger, self._clock = key, account, ledger, clock

    def under_way(self) -> Order | None:
        try:
            content, _ = files.read(self._path, _MAX_FILE_BYTES)
        except NotFound:
            return None
        try:
            fields = Fields(strict.parse(content))
            return Order(
                fields.amount("amount"),
                fields.hex("key", IDEMPOTENCY_KEY_BYTES),
                fields.integer("begun", 0, MAX_TIME),
            )
        except SpeedpayError as error:
            raise SpeedpayError(
                f"{self._path} is damaged: it held a withdrawal that may or may not be ordered",
                hint="look for it in: speedpay withdraw --status, then remove the file",
            ) from error

    def order(self, amount: Amount) -> tuple[Ordered, bool]:
        """Orders it once; whether an earlier command had begun it. One of another amount that is under
        way is finished first. Raises what the ledger refused, or that nothing is known yet."""
        with files.locked(self._lock):
            known = self.under_way()
            if known is not None and known.amount != amount:
                self._carry(known)
                known = None
            if known is not None:
                return self._carry(known), True
            order = Order(amount, secrets.token_bytes(IDEMPOTENCY_KEY_BYTES), int(self._clock()))
            body = {"amount": amount.to_wire(), "key": order.key.hex(), "begun": order.begun}
            files.write(self._path, json.dumps(body).encode())
            return self._carry(order), False

    def _carry(self, order: Order) -> Ordered:
        try:
            made = self._ledger.withdraw(
                self._key, self._account, Withdraw(order.amount), order.key
            )
        except SpeedpayError as error:
            if decides(error):
                files.remove(self._path)
            else:
                error.hint = "repeat the same command: it orders this withdrawal once, never twice"
            raise
        files.remove(self._path)
        return made
