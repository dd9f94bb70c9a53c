"""One connection's messages: what may be said when, how often, and counting them.

Both sides count every message sent and received on the connection. libtorrent's native extension stamps
each block with these counts, and TCP keeps the order; so both sides know without another word which bid
was in force when a block was requested, and which blocks came before or after an acknowledgement.
"""

from __future__ import annotations

from speedpay.errors import OutOfOrder, OverLimit, Stale, WrongLedger, WrongNetwork
from speedpay.peer.bucket import Bucket
from speedpay.peer.messages import (
    VERSION,
    Ack,
    Hello,
    Message,
    VoucherMessage,
    decode,
    encode,
)
from speedpay.signing import Domain

#: Messages a second from one peer. Vouchers and acks have their own, wider bound: they follow the data.
RATE_PER_S, RATE_BURST = 20.0, 40.0
PAYMENT_RATE_PER_S, PAYMENT_BURST = 400.0, 800.0


class Conversation:
    """What one peer said and was told. A refusal changes nothing but the rate counters.

    ``met`` is true once both hellos name the same network and ledger; without that the peer is an
    ordinary one.
    """

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._ordinary = Bucket(RATE_PER_S, RATE_BURST, RATE_BURST)
        self._payment = Bucket(PAYMENT_RATE_PER_S, PAYMENT_BURST, PAYMENT_BURST)
        self.sent_count = 0
        self.greeted = False
        self.met = False

    def hello(self) -> bytes:
        self.greeted = True
        return self._counted(Hello((VERSION,), self._domain.ledger_id, self._domain.network))

    def send(self, message: Message) -> bytes:
        """The message's bytes; from then on ``sent_count`` is its number."""
        if not (self.greeted and self.met):
            raise OutOfOrder("nothing is said before both hellos", field="message")
        return self._counted(message)

    def receive(self, payload: bytes, now: float) -> Message:
        """The message in ``payload``. Raises OverLimit, Malformed, OutOfOrder, Stale (no version in
        common), WrongNetwork or WrongLedger; the last three only say that there is nothing to talk
        about."""
        if not self._ordinary_or_payment(payload).take(now):
            raise OverLimit("too many messages", field="message")
        message = decode(payload)
        if isinstance(message, Hello):
            if self.met:
                raise OutOfOrder("hello was said already", field="message")
            self._meet(message)
        elif not self.met:
            raise OutOfOrder("the first message must be hello", field="message")
        return message

    def _ordinary_or_payment(self, payload: bytes) -> Bucket:
        is_payment = payload[1:2] in (bytes([VoucherMessage.TYPE]), bytes([Ack.TYPE]))
        return self._payment if is_payment else self._ordinary

    def _meet(self, hello: Hello) -> None:
        if VERSION not in hello.versions:
            raise Stale("has no version in common", field="hello.versions")
        if hello.network != self._domain.network:
            raise WrongNetwork("is on another network", field="hello.network")
        if hello.ledger != self._domain.ledger_id:
            raise WrongLedger("uses another ledger", field="hello.ledger")
        self.met = True

    def _counted(self, message: Message) -> bytes:
        payload = encode(message)
        self.sent_count += 1
        return payload
