"""One connection's messages: what may be said when, how often, counting them, and sealing them.

Both sides count every message sent and received on the connection. libtorrent's native extension stamps
each block with these counts, and TCP keeps the order; so both sides know without another word which bid
was in force when a block was requested, and which blocks came before or after an acknowledgement. The same
count is the number under which a message is sealed (``peer/sealing.py``).
"""

from __future__ import annotations

from speedpay.errors import OutOfOrder, OverLimit, Refused, Stale, WrongLedger, WrongNetwork
from speedpay.peer.binding import Bound, bind, check_binding
from speedpay.peer.bucket import Bucket
from speedpay.peer.messages import (
    BY_TYPE,
    VERSION,
    Ack,
    ErrorMessage,
    Hello,
    Message,
    VoucherMessage,
    decode,
    encode,
)
from speedpay.peer.sealing import Handshake, Session, Side, ephemeral_key
from speedpay.signing import Domain, SigningKey

#: Messages a second from one peer. Vouchers and acks have their own, wider bound: they follow the data.
RATE_PER_S, RATE_BURST = 20.0, 40.0
PAYMENT_RATE_PER_S, PAYMENT_BURST = 400.0, 800.0


class Conversation:
    """What one peer said and was told. A refusal changes nothing but the rate counters.

    ``met`` is true once both hellos name the same network and ledger; without that the peer is an
    ordinary one. ``heard_type``: of the newest message received, 0 where that cannot be known.
    """

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._sealed = Bucket(
            RATE_PER_S + PAYMENT_RATE_PER_S, RATE_BURST + PAYMENT_BURST, RATE_BURST + PAYMENT_BURST
        )
        self._ordinary = Bucket(RATE_PER_S, RATE_BURST, RATE_BURST)
        self._payment = Bucket(PAYMENT_RATE_PER_S, PAYMENT_BURST, PAYMENT_BURST)
        self._answers = Bucket(RATE_PER_S, RATE_BURST, RATE_BURST)
        #: Ours, from our hello until the peer's.
        self._waiting: tuple[Handshake, bytes, Side] | None = None
        self._session: Session | None = None
        self.sent_count = 0
        self.heard_type = 0

    @property
    def greeted(self) -> bool:
        return self.sent_count > 0

    @property
    def met(self) -> bool:
        return self._session is not None

    def hello(self, handshake: Handshake, secret: bytes) -> bytes:
        """Our first message. ``secret``: 32 fresh random bytes, for this connection only."""
        key = ephemeral_key(secret)
        payload = encode(Hello((VERSION,), self._domain.ledger_id, self._domain.network, key))
        self._waiting = handshake, secret, Side(handshake.own_id, payload, key)
        self.sent_count = 1
        return payload

    def send(self, message: Message, by: SigningKey | None = None) -> bytes:
        """The message, sealed; from then on ``sent_count`` is its number. ``by`` signs that an ask or an
        open is meant for this connection."""
        if self._session is None:
            raise OutOfOrder("nothing is said before both hellos", field="message")
        if isinstance(message, Bound):
            assert by is not None
            message = bind(message, by, self._domain, self._session.meeting)
        payload = self._session.seal(self.sent_count + 1, encode(message))
        self.sent_count += 1
        return payload

    def receive(self, number: int, payload: bytes, now: float) -> Message:
        """The ``number``-th message from the peer. Raises OverLimit, BadSeal, Malformed, OutOfOrder,
        BadSignature (an ask or open of another connection), Stale (no version in common), WrongNetwork
        or WrongLedger; the last three only say that there is nothing to talk about."""
        self.heard_type = 0
        if not self._sealed.take(now):
            raise OverLimit("too many messages", field="message")
        opened = self._session.open(number, payload) if self._session else payload
        self.heard_type = next((kind for kind in opened[1:2] if kind in BY_TYPE), 0)
        if not self._ordinary_or_payment().take(now):
            raise OverLimit("too many messages", field="message")
        message = decode(opened)
        if self._session is None:
            self._meet(message, payload)
        elif isinstance(message, Hello):
            raise OutOfOrder("hello was said already", field="message")
        elif isinstance(message, Bound):
            check_binding(message, self._domain, self._session.meeting)
        return message

    def answer(self, refusal: Refused, now: float, about: int | None = None) -> ErrorMessage | None:
        """What to tell the peer of its message of type ``about`` (its newest), which was refused. None:
        nothing, for it has not met us, said an error itself, or says so much wrong that it would not hear
        more."""
        heard = self.heard_type if about is None else about
        if not self.met or heard == ErrorMessage.TYPE or not self._answers.take(now):
            return None
        return ErrorMessage(refusal.code, heard)

    def _ordinary_or_payment(self) -> Bucket:
        is_payment = self.heard_type in (VoucherMessage.TYPE, Ack.TYPE)
        return self._payment if is_payment else self._ordinary

    def _meet(self, hello: Message, payload: bytes) -> None:
        if not isinstance(hello, Hello) or self._waiting is None:
            raise OutOfOrder("the first message must be hello", field="message")
        handshake, secret, own = self._waiting
        self._waiting = None  # a hello is heard once, whatever it says
        if VERSION not in hello.versions:
            raise Stale("has no version in common", field="hello.versions")
        if hello.network != self._domain.network:
            raise WrongNetwork("is on another network", field="hello.network")
        if hello.ledger != self._domain.ledger_id:
            raise WrongLedger("uses another ledger", field="hello.ledger")
        peer = Side(handshake.peer_id, payload, hello.ephemeral)
        self._session = Session.between(self._domain, handshake.infohash, secret, own, peer)
