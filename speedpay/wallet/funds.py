"""The account's money as its owner knows it: what was last confirmed, and sending exactly once.

A balance is the ledger's word or nothing: the last one it signed is kept with its time, and nobody
adds or subtracts here (``receipts.py`` says what the chain must honour of it). A payment is saved
with its idempotency key before it is sent, and forgotten only when the ledger has said what became
of it. Until then the next ``send`` first asks for that one again, with the same key: a crash, a cut
cable or an impatient user never pay twice.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from speedpay.errors import LedgerUnreachable, NotFound, SpeedpayError
from speedpay.ledger_api import strict
from speedpay.ledger_api.answers import Balance, History
from speedpay.ledger_api.client import LedgerClient
from speedpay.ledger_api.refusals import decides
from speedpay.ledger_api.shapes import MAX_TIME, Json, Send
from speedpay.ledger_api.signed import IDEMPOTENCY_KEY_BYTES
from speedpay.ledger_api.strict import Fields
from speedpay.signing import SigningKey
from speedpay.units import ZERO, Amount, MoneyClass
from speedpay.wallet import files
from speedpay.wallet.keystore import Place
from speedpay.wallet.receipts import NOTHING_GIVEN, Given, Receipt, Receipts

_MAX_FILE_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Payment:
    """``begun``: unix seconds. ``resumed``: it had been begun by an earlier command."""

    order: Send
    key: bytes
    begun: int
    resumed: bool = False
    refusal: SpeedpayError | None = None

    def to_json(self) -> Json:
        return {"order": self.order.to_json(), "key": self.key.hex(), "begun": self.begun}

    @classmethod
    def read(cls, fields: Fields) -> Payment:
        made = cls(
            Send.from_json(fields.take("order")),
            fields.hex("key", IDEMPOTENCY_KEY_BYTES),
            fields.integer("begun", 0, MAX_TIME),
            resumed=True,
        )
        fields.end()
        return made


class PaymentUnresolved(LedgerUnreachable):
    """Nobody knows yet whether ``payment`` was made."""

    def __init__(self, payment: Payment, cause: SpeedpayError) -> None:
        order = payment.order
        super().__init__(
            f"whether {order.amount} tok reached {order.to.hex()} is not known: {cause}",
            hint="repeat the same command: it finishes this payment and never pays twice",
        )
        self.payment = payment


@dataclass(frozen=True, slots=True)
class Sent:
    """What ``send`` did: ``earlier`` is another payment that had to be finished first."""

    payment: Payment
    earlier: Payment | None = None


def open_account(ledger: LedgerClient, identity: SigningKey, place: Place) -> tuple[Place, Amount]:
    """The account of ``identity``, opened if it is new, and what was granted for that just now.

    The key is fresh each time: under an old one the ledger would repeat its old answer, and a grant
    of long ago, spent since, would be reported again. An identity has one account whatever the key.
    """
    opened = ledger.open_account(identity, secrets.token_bytes(IDEMPOTENCY_KEY_BYTES))
    found = ledger.identity
    assert found is not None  # an answer came, so its signature was checked
    return replace(place, ledger_id=found.ledger_id, account=opened.account), opened.granted


class Funds:
    """Money of one account at one ledger; its files are in ``folder``."""

    def __init__(
        self,
        folder: Path,
        place: Place,
        identity: SigningKey,
        ledger: LedgerClient,
        clock: Callable[[], float] = time.time,
    ) -> None:
        name = name_of(place)
        assert place.account is not None
        self._account = place.account
        self._identity = identity
        self._ledger = ledger
        self._clock = clock
        self._confirmed = folder / f"{name}.balance"
        self._unresolved = folder / f"{name}.send"
        self._lock = folder / f"{name}.lock"
        self.receipts = Receipts(folder / f"{name}.receipts")

    def balance(self, promised: Given = NOTHING_GIVEN) -> Balance:
        """Asks the ledger, and keeps its answer. Raises LedgerUnreachable or LedgerFailed.

        ``promised``: what the client's channels say, for the receipt; read it before.
        """
        given = self.given(promised)
        balance = self._ledger.balance(self._identity, self._account)
        with files.locked(self._lock):
            files.write(self._confirmed, strict.dump(balance.to_json()))
            self.receipts.keep(Receipt.of_balance(balance, given))
        return balance

    def accept_spent(self) -> None:
        """The newest confirmed balance is right, and what is missing was spent elsewhere."""
        with files.locked(self._lock):
            self.receipts.drop_all_but_newest()

    def given(self, promised: Given = NOTHING_GIVEN) -> Given:
        """Tokens given away since the wallet began: those in channels are ``promised``."""
        sent, open_payment = self.receipts.sent(), self.unresolved()
        under_way = _tokens(open_payment.order) if open_payment else ZERO
        return promised + Given(sent, sent + under_way)

    def last_confirmed(self) -> Balance | None:
        """The ledger's last word, however old; None if there is none that can be read."""
        try:
            content, _ = files.read(self._confirmed, _MAX_FILE_BYTES)
            return Balance.read(Fields(strict.parse(content)))
        except SpeedpayError:  # only a memory of what can be asked again
            return None

    def history(self, before: int | None = None, limit: int = 50) -> History:
        return self._ledger.history(self._identity, self._account, before, limit)

    def unresolved(self) -> Payment | None:
        """The payment of which nobody knows whether it was made. Raises if its file is damaged."""
        try:
            content, _ = files.read(self._unresolved, _MAX_FILE_BYTES)
        except NotFound:
            return None
        try:
            return Payment.read(Fields(strict.parse(content)))
        except SpeedpayError as error:
            raise SpeedpayError(
                f"{self._unresolved} is damaged: it held a payment that may or may not be made",
                hint="look for it in: speedpay history, then remove the file",
            ) from error

    def send(self, order: Send) -> Sent:
        """Pays once. Finishes an unresolved payment first; if that is the same order, only that.

        Raises what the ledger refused (nothing is paid) or PaymentUnresolved.
        """
        with files.locked(self._lock):
            earlier = self.unresolved()
            if earlier is not None:
                earlier = self._carry_out(earlier)
                if earlier.order == order:
                    return Sent(_paid(earlier))
            payment = Payment(order, secrets.token_bytes(IDEMPOTENCY_KEY_BYTES), int(self._clock()))
            files.write(self._unresolved, json.dumps(payment.to_json()).encode())
            return Sent(_paid(self._carry_out(payment)), earlier)

    def _carry_out(self, payment: Payment) -> Payment:
        """Asks until the ledger has decided, then forgets the payment."""
        try:
            self._ledger.send(self._identity, self._account, payment.order, payment.key)
        except SpeedpayError as error:
            if not decides(error):
                raise PaymentUnresolved(payment, error) from error
            payment = replace(payment, refusal=error)
        else:
            # Counted twice when we crash before the next line: a smaller demand, no false alarm.
            self.receipts.add_sent(_tokens(payment.order))
        files.remove(self._unresolved)
        return payment


def name_of(place: Place) -> str:
    """How files of this account at this ledger begin: the same words have the same account id at
    every ledger."""
    if place.account is None or place.ledger_id is None:
        raise NotFound("the wallet has no account yet", hint="speedpay wallet open")
    return f"{place.ledger_id.hex()[:16]}-{place.account.hex()[:16]}"


def _tokens(order: Send) -> Amount:
    return order.amount if order.money_class is MoneyClass.TOKEN else ZERO


def _paid(payment: Payment) -> Payment:
    if payment.refusal is not None:
        raise payment.refusal
    return payment
