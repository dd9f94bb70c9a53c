"""The codec of every message: version byte, type byte, bencoded dictionary (SPEC.md, Messages).

One table per message says which keys it has, of which kind and within which bounds; ``decode`` checks all
of it, so that what comes out needs no further shape checks. A message is at most 4,030 bytes, so that sealed
(``peer/sealing.py``) it is at most 4,096.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from speedpay.channel.receipt import SALT_BYTES, PayeeReceipt
from speedpay.channel.voucher import SignedStatement, Statement, Voucher
from speedpay.errors import Malformed
from speedpay.peer import bencode
from speedpay.peer.fields import (
    Field,
    amount,
    ascii_text,
    classes,
    epoch_head,
    integer,
    integers,
    octets,
    price,
    prices,
    share,
    statement,
)
from speedpay.proof.evidence import CertifiedHead
from speedpay.proof.head import EpochHead, SignedHead
from speedpay.signing import (
    HASH_BYTES,
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    Certificate,
    Domain,
    SigningKey,
    verify,
)
from speedpay.units import Amount, MoneyClass, Price, Share

VERSION = 1
MAX_MESSAGE_BYTES = 4030
MIN_BID_VALID_S, MAX_BID_VALID_S = 60, 300
#: The fastest uplink that can be said: 1 TiB/s.
MAX_RATE = 2**40
MAX_LOAD = 2**20
#: A binding that is not made yet.
UNBOUND = bytes(SIGNATURE_BYTES)


@dataclass(frozen=True, slots=True)
class Hello:
    """``ephemeral``: an X25519 key, fresh for this connection; with the peer's it seals what follows."""

    TYPE: ClassVar[int] = 0
    WIRE: ClassVar[tuple[Field, ...]] = (
        integers(b"v", 1, 255), octets(b"l", HASH_BYTES), ascii_text(b"n", 32),
        octets(b"x", 32),
    )  # fmt: skip
    versions: tuple[int, ...]
    ledger: bytes
    network: str
    ephemeral: bytes


@dataclass(frozen=True, slots=True)
class Ask:
    """The same for every buyer of an ask period. ``payee_key`` is the seller's, fresh per swarm.

    ``binding`` is of one connection (``peer/binding.py``), and made when the message is sent.
    """

    TYPE: ClassVar[int] = 1
    WIRE: ClassVar[tuple[Field, ...]] = (
        integer(b"i", 1, 2**32 - 1), octets(b"k", PUBLIC_KEY_BYTES), price(b"p"), classes(b"c"),
        amount(b"e"), share(b"f"), integer(b"t", 0, 2**40), octets(b"s", SIGNATURE_BYTES),
        octets(b"x", SIGNATURE_BYTES),
    )  # fmt: skip
    ask_id: int
    payee_key: bytes
    price: Price
    classes: frozenset[MoneyClass]
    min_escrow: Amount
    free_pool: Share
    valid_until: int
    signature: bytes
    binding: bytes = UNBOUND

    def signed_body(self) -> bytes:
        """Everything but the signature and the binding, canonically bencoded."""
        wire = _to_wire(self)
        del wire[b"s"], wire[b"x"]
        return bencode.encode(wire)

    def signed(self, key: SigningKey, domain: Domain) -> Ask:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Ask(**{**values, "signature": key.sign("ask", domain, self.signed_body())})

    def check(self, domain: Domain) -> None:
        verify(self.payee_key, "ask", domain, self.signed_body(), self.signature, "ask.signature")


@dataclass(frozen=True, slots=True)
class Bid:
    """Commits to ``price`` for what is requested from now on. ``wanted_kb`` is rounded up to a power
    of two, so that it tells little. Repeating an id renews it."""

    TYPE: ClassVar[int] = 2
    WIRE: ClassVar[tuple[Field, ...]] = (
        integer(b"i", 1, 2**32 - 1), price(b"p", low=1), integer(b"w", 0, 2**53),
        integer(b"t", MIN_BID_VALID_S, MAX_BID_VALID_S),
    )  # fmt: skip
    bid_id: int
    price: Price
    wanted_kb: int
    valid_s: int


@dataclass(frozen=True, slots=True)
class Quote:
    """Binds the seller to ``price`` for the next ``hold_kb``. ``load``: connections that want data."""

    TYPE: ClassVar[int] = 3
    WIRE: ClassVar[tuple[Field, ...]] = (
        integer(b"i", 1, 2**32 - 1), price(b"p"), integer(b"h", 0, 2**53), share(b"e"),
        integer(b"o", 0, MAX_LOAD),
    )  # fmt: skip
    bid_id: int
    price: Price
    hold_kb: int
    expected_share: Share
    load: int


@dataclass(frozen=True, slots=True)
class Open:
    """``signed``: the total that the payer has signed so far; above zero after a reconnect. ``binding`` as
    in ask, by the payer's key."""

    TYPE: ClassVar[int] = 4
    WIRE: ClassVar[tuple[Field, ...]] = (
        statement(b"b"), octets(b"s", SIGNATURE_BYTES), amount(b"n"), octets(b"x", SIGNATURE_BYTES),
    )  # fmt: skip
    statement: Statement
    signature: bytes
    signed: Amount
    binding: bytes = UNBOUND

    def signed_statement(self) -> SignedStatement:
        return SignedStatement(self.statement, self.signature)


@dataclass(frozen=True, slots=True)
class TopUp:
    TYPE: ClassVar[int] = 5
    WIRE: ClassVar[tuple[Field, ...]] = (statement(b"b"), octets(b"s", SIGNATURE_BYTES))
    statement: Statement
    signature: bytes

    def signed_statement(self) -> SignedStatement:
        return SignedStatement(self.statement, self.signature)


@dataclass(frozen=True, slots=True)
class VoucherMessage:
    """The voucher, and around it, unsigned: bytes verified and bytes refused of this channel."""

    TYPE: ClassVar[int] = 6
    WIRE: ClassVar[tuple[Field, ...]] = (
        octets(b"c", HASH_BYTES), amount(b"n"), octets(b"s", SIGNATURE_BYTES),
        integer(b"v", 0, 2**53), integer(b"r", 0, 2**53),
    )  # fmt: skip
    channel: bytes
    cumulative: Amount
    signature: bytes
    verified_bytes: int
    refused_bytes: int

    def voucher(self) -> Voucher:
        return Voucher(self.channel, self.cumulative, self.signature)


@dataclass(frozen=True, slots=True)
class Ack:
    """The highest total that the seller holds, and the window it grants (bytes)."""

    TYPE: ClassVar[int] = 7
    WIRE: ClassVar[tuple[Field, ...]] = (
        octets(b"c", HASH_BYTES), amount(b"n"), integer(b"w", 0, 2**40),
    )  # fmt: skip
    channel: bytes
    cumulative: Amount
    window: int


@dataclass(frozen=True, slots=True)
class ReceiptMessage:
    """Answers a demand: what the seller holds and billed, signed by its payee key."""

    TYPE: ClassVar[int] = 8
    WIRE: ClassVar[tuple[Field, ...]] = (
        octets(b"c", HASH_BYTES), amount(b"n"), integer(b"b", 0, 2**53), octets(b"h", HASH_BYTES),
        integer(b"t", 0, 2**40), octets(b"s", SIGNATURE_BYTES),
    )  # fmt: skip
    channel: bytes
    cumulative: Amount
    byte_count: int
    commitment: bytes
    time: int
    signature: bytes

    @classmethod
    def of(cls, one: PayeeReceipt) -> ReceiptMessage:
        return cls(
            one.channel, one.cumulative, one.byte_count, one.commitment, one.time, one.signature
        )

    def receipt(self) -> PayeeReceipt:
        return PayeeReceipt(
            self.channel, self.cumulative, self.byte_count, self.commitment, self.time,
            self.signature,
        )  # fmt: skip


_TOTALS = (octets(b"c", HASH_BYTES), amount(b"n"), integer(b"b", 0, 2**53))


@dataclass(frozen=True, slots=True)
class Pause:
    """From here on nothing is billed, until resume. ``byte_count``: billed so far on this connection."""

    TYPE: ClassVar[int] = 9
    WIRE: ClassVar[tuple[Field, ...]] = _TOTALS
    channel: bytes
    cumulative: Amount
    byte_count: int


@dataclass(frozen=True, slots=True)
class Resume:
    TYPE: ClassVar[int] = 10
    WIRE: ClassVar[tuple[Field, ...]] = _TOTALS
    channel: bytes
    cumulative: Amount
    byte_count: int


@dataclass(frozen=True, slots=True)
class StopMessage:
    """The sale is over: the seller redeems and closes the channel."""

    TYPE: ClassVar[int] = 11
    WIRE: ClassVar[tuple[Field, ...]] = _TOTALS
    channel: bytes
    cumulative: Amount
    byte_count: int


def _other_head(key: bytes) -> Field:
    """One more head message's dictionary, without another in it."""

    def read(value: bencode.Value, field: str) -> HeadMessage:
        if not isinstance(value, dict) or key in value:
            raise Malformed("must be the dictionary of one head", field=field)
        found = _from_wire(HeadMessage, value, field)
        assert isinstance(found, HeadMessage)
        return found

    return Field(key, read, lambda value: _to_wire(value), optional=True)


@dataclass(frozen=True, slots=True)
class HeadMessage:
    """An epoch's head as the ledger signed it, with its signer's certificate; the same for everyone.

    ``not_before`` … ``certificate``: by them the root key answers for the response key. ``other``: a
    second head, which contradicts this one.
    """

    TYPE: ClassVar[int] = 12
    WIRE: ClassVar[tuple[Field, ...]] = (
        epoch_head(b"h"), octets(b"s", SIGNATURE_BYTES), octets(b"k", PUBLIC_KEY_BYTES),
        integer(b"a", 0, 2**40), integer(b"z", 0, 2**40), octets(b"r", PUBLIC_KEY_BYTES),
        octets(b"g", SIGNATURE_BYTES), _other_head(b"o"),
    )  # fmt: skip
    head: EpochHead
    signature: bytes
    response_key: bytes
    not_before: int
    not_after: int
    root_key: bytes
    certificate: bytes
    other: HeadMessage | None = None

    @classmethod
    def of(cls, one: CertifiedHead, other: CertifiedHead | None = None) -> HeadMessage:
        by = one.certificate
        return cls(
            one.signed.head, one.signed.signature, by.response_key, by.not_before, by.not_after,
            by.root_key, by.signature, cls.of(other) if other else None,
        )  # fmt: skip

    def certified(self) -> CertifiedHead:
        """Without ``other``. Nothing of it is checked yet but its shape."""
        by = Certificate(
            self.root_key, self.response_key, self.not_before, self.not_after, self.certificate
        )
        return CertifiedHead(SignedHead(self.head, self.signature), by)


@dataclass(frozen=True, slots=True)
class ErrorMessage:
    """``reference``: the type of the message that it answers."""

    TYPE: ClassVar[int] = 13
    WIRE: ClassVar[tuple[Field, ...]] = (ascii_text(b"c", 32), integer(b"t", 0, 255))
    code: str
    reference: int


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What would I get, were I to pay this? ``prices``: zero asks about the free lane. Commits to nothing."""

    TYPE: ClassVar[int] = 14
    WIRE: ClassVar[tuple[Field, ...]] = (integer(b"i", 1, 2**32 - 1), prices(b"p"))
    inquiry_id: int
    prices: tuple[Price, ...]


@dataclass(frozen=True, slots=True)
class Prospect:
    """The bytes a second that the asker would get now at each price asked, in that order; 0: unknown.

    ``load``: connections that want data, the asker's counted. ``uplink``: bytes a second, 0 unknown.
    """

    TYPE: ClassVar[int] = 15
    WIRE: ClassVar[tuple[Field, ...]] = (
        integer(b"i", 1, 2**32 - 1), integers(b"r", 0, MAX_RATE), integer(b"o", 0, MAX_LOAD),
        integer(b"u", 0, MAX_RATE),
    )  # fmt: skip
    inquiry_id: int
    rates: tuple[int, ...]
    load: int
    uplink: int


@dataclass(frozen=True, slots=True)
class DemandMessage:
    """Asks for a receipt. ``commitment``: ``content_commitment`` of ``salt`` and this swarm's infohash."""

    TYPE: ClassVar[int] = 16
    WIRE: ClassVar[tuple[Field, ...]] = (
        octets(b"c", HASH_BYTES), octets(b"y", SALT_BYTES), octets(b"z", HASH_BYTES),
    )  # fmt: skip
    channel: bytes
    salt: bytes
    commitment: bytes


Message = (
    Hello | Ask | Bid | Quote | Open | TopUp | VoucherMessage | Ack | ReceiptMessage
    | Pause | Resume | StopMessage | HeadMessage | ErrorMessage | Inquiry | Prospect | DemandMessage
)  # fmt: skip
BY_TYPE: dict[int, type[Message]] = {
    kind.TYPE: kind
    for kind in (
        Hello, Ask, Bid, Quote, Open, TopUp, VoucherMessage, Ack, ReceiptMessage, Pause, Resume, StopMessage,
        HeadMessage, ErrorMessage, Inquiry, Prospect, DemandMessage,
    )
}  # fmt: skip


def _to_wire(message: Message) -> dict[bytes, bencode.Value]:
    wire = {}
    for attribute, spec in zip(fields(message), message.WIRE, strict=True):
        value = getattr(message, attribute.name)
        if value is not None:
            wire[spec.key] = spec.write(value)
    return wire


def encode(message: Message) -> bytes:
    """The bytes of one message. What is outside its bounds is Malformed here too: nothing wrong leaves."""
    wire = _to_wire(message)
    payload = bytes([VERSION, message.TYPE]) + bencode.encode(wire)
    _from_wire(type(message), wire)
    return payload


def decode(payload: bytes) -> Message:
    """Raises Malformed, naming the field, unless ``payload`` is one canonical known message."""
    if len(payload) > MAX_MESSAGE_BYTES:
        raise Malformed(f"is longer than {MAX_MESSAGE_BYTES} bytes", field="message")
    if len(payload) < 2 or payload[0] != VERSION:
        raise Malformed(f"is not of version {VERSION}", field="message.version")
    kind = BY_TYPE.get(payload[1])
    if kind is None:
        raise Malformed(f"{payload[1]} is not a known type", field="message.type")
    wire = bencode.decode(payload[2:])
    if not isinstance(wire, dict):
        raise Malformed("must be a dictionary", field="message")
    return _from_wire(kind, wire)


def _from_wire(kind: type[Message], wire: dict[bytes, bencode.Value], name: str = "") -> Message:
    name = name or kind.__name__.removesuffix("Message").lower()
    found: dict[str, Any] = {}
    known = {spec.key for spec in kind.WIRE}
    for key in wire:
        if key not in known:
            raise Malformed(f"has an unknown key {key[:16]!r}", field=name)
    for attribute, spec in zip(fields(kind), kind.WIRE, strict=True):
        if spec.key in wire:
            found[attribute.name] = spec.read(wire[spec.key], f"{name}.{attribute.name}")
        elif not spec.optional:
            raise Malformed("is missing", field=f"{name}.{attribute.name}")
    return kind(**found)
