"""Receipts: a buyer demands one before it ends a sale, and its seller signs what it holds and billed.

The buyer's side is ``Demanded``, the seller's ``signed_receipt``. What a receipt is: ``channel/receipt.py``.
"""

from __future__ import annotations

import hashlib

from speedpay.channel.payer import PayerChannel
from speedpay.channel.receipt import PayeeReceipt, content_commitment
from speedpay.errors import Stale, WrongChannel
from speedpay.peer.effects import Effect, SaveReceipt, Send
from speedpay.peer.messages import DemandMessage, ReceiptMessage
from speedpay.signing import Domain, SigningKey
from speedpay.units import ZERO, Amount

_TOLERANCE_S = 120


def signed_receipt(
    key: SigningKey, domain: Domain, infohash: bytes, demand: DemandMessage, cumulative: Amount,
    byte_count: int, utc: int,
) -> ReceiptMessage:  # fmt: skip
    """The seller's answer. Raises WrongChannel where other content than this swarm's is committed to: a
    receipt must not say that we sold what we did not."""
    if demand.commitment != content_commitment(demand.salt, infohash):
        raise WrongChannel("commits to other content", field="demand.commitment")
    return ReceiptMessage.of(
        PayeeReceipt.sign(
            key, domain, demand.channel, cumulative, byte_count, demand.commitment, utc
        )
    )


class Demanded:
    """A buyer's demands that are under way. ``secret``: salts are made of it, so nobody else knows it."""

    def __init__(self, domain: Domain, infohash: bytes, secret: bytes) -> None:
        self._domain, self._infohash, self._secret = domain, infohash, secret
        #: By channel: on which connection, whose signature it must have, and the most that it may say.
        self._waiting: dict[bytes, tuple[int, bytes, Amount]] = {}

    def __bool__(self) -> bool:
        """Whether a seller that is here has yet to answer."""
        return bool(self._waiting)

    def demand(self, connection: int, paid: PayerChannel) -> Send:
        statement = paid.statement
        channel, salt = statement.channel, self._salt(statement.channel)
        self._waiting[channel] = connection, statement.payee_key, paid.signed
        commitment = content_commitment(salt, self._infohash)
        return Send(connection, DemandMessage(channel, salt, commitment))

    def heard(self, connection: int, message: ReceiptMessage, utc: int) -> list[Effect]:
        """Raises WrongChannel, Stale or BadSignature; one that was not asked for is ignored, and one over
        more than was signed is not kept: only vouchers prove that, and the payee has shown none."""
        asked_on, payee_key, signed = self._waiting.get(message.channel, (None, b"", ZERO))
        if asked_on != connection:
            return []
        salt, receipt = self._salt(message.channel), message.receipt()
        if message.commitment != content_commitment(salt, self._infohash):
            raise WrongChannel("commits to other content", field="receipt.commitment")
        if abs(message.time - utc) > _TOLERANCE_S:
            raise Stale("was signed at another time", field="receipt.time")
        receipt.check(self._domain, payee_key)
        del self._waiting[message.channel]
        return [SaveReceipt(receipt, salt)] if receipt.cumulative <= signed else []

    def gone(self, connection: int) -> None:
        """The connection ended, or its peer will not answer."""
        for channel in [c for c, (on, *_) in self._waiting.items() if on == connection]:
            del self._waiting[channel]

    def _salt(self, channel: bytes) -> bytes:
        return hashlib.sha256(b"speedpay/v1/salt\x00" + self._secret + channel).digest()
