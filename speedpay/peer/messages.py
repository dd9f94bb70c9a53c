"""The codec of every message: version byte, type byte, bencoded dictionary (SPEC.md, Messages).

One table per message says which keys it has, of which kind and within which bounds; ``decode`` checks all
of it, so that what comes out needs no further shape checks. A message is at most 4,096 bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from speedpay.channel.voucher import (
    STATEMENT_BYTES,
    SignedStatement,
    Statement,
    Voucher,
)
from speedpay.errors import Malformed
from speedpay.peer import bencode
from speedpay.signing import (
    HASH_BYTES,
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    Domain,
    SigningKey,
    verify,
)
from speedpay.units import MAX_UTOK, Amount, MoneyClass, Price, Share

VERSION = 1
MAX_MESSAGE_BYTES = 4096
MIN_BID_VALID_S, MAX_BID_VALID_S = 60, 300
_CLASSES = {1: MoneyClass.TOKEN, 2: MoneyClass.CREDIT}


@dataclass(frozen=True, slots=True)
class _Field:
    """One key of a message: its name on the wire and the one check of its value, both ways."""

    key: bytes
    read: Callable[[bencode.Value, str], Any]
    write: Callable[[Any], bencode.Value]
    optional: bool = False


def _integer(key: bytes, low: int, high: int) -> _Field:
    def read(value: bencode.Value, field: str) -> int:
        if type(value) is not int or not low <= value <= high:
            raise Malformed(f"must be an integer, {low} to {high}", field=field)
        return value

    return _Field(key, read, lambda value: value)


def _octets(key: bytes, length: int, optional: bool = False) -> _Field:
    def read(value: bencode.Value, field: str) -> bytes:
        if not isinstance(value, bytes) or len(value) != length:
            raise Malformed(f"must be {length} bytes", field=field)
        return value

    return _Field(key, read, lambda value: value, optional)


def _ascii(key: bytes, longest: int) -> _Field:
    def read(value: bencode.Value, field: str) -> str:
        plain = isinstance(value, bytes) and 1 <= len(value) <= longest
        if not (isinstance(value, bytes) and plain and all(0x20 < byte < 0x7F for byte in value)):
            raise Malformed(f"must be 1 to {longest} printable ASCII characters", field=field)
        return value.decode("ascii")

    return _Field(key, read, lambda value: value.encode("ascii"))


def _amount(key: bytes) -> _Field:
    whole = _integer(key, 0, MAX_UTOK)
    return _Field(key, lambda v, f: Amount(whole.read(v, f)), lambda value: value.utok)


def _price(key: bytes, low: int = 0) -> _Field:
    whole = _integer(key, low, MAX_UTOK)
    return _Field(key, lambda v, f: Price(whole.read(v, f)), lambda value: value.utok_per_mib)


def _share(key: bytes) -> _Field:
    whole = _integer(key, 0, 1_000_000)
    return _Field(key, lambda v, f: Share(whole.read(v, f)), lambda value: value.ppm)


def _versions(key: bytes) -> _Field:
    def read(value: bencode.Value, field: str) -> tuple[int, ...]:
        good = isinstance(value, list) and 1 <= len(value) <= 8
        if not (good and all(isinstance(v, int) and 1 <= v <= 255 for v in value)):  # type: ignore[union-attr]
            raise Malformed("must be a list of 1 to 8 versions", field=field)
        return tuple(value)  # type: ignore[arg-type]

    return _Field(key, read, list)


def _classes(key: bytes) -> _Field:
    bits = _integer(key, 1, 3)
    return _Field(
        key,
        lambda v, f: frozenset(c for bit, c in _CLASSES.items() if bits.read(v, f) & bit),
        lambda classes: sum(bit for bit, c in _CLASSES.items() if c in classes),
    )


def _statement(key: bytes) -> _Field:
    body = _octets(key, STATEMENT_BYTES)
    return _Field(key, lambda v, f: Statement.from_bytes(body.read(v, f), f), Statement.to_bytes)


@dataclass(frozen=True, slots=True)
class Hello:
    """``ephemeral`` (X25519) is reserved for the sealing of later messages; it is ignored by version 1."""

    TYPE: ClassVar[int] = 0
    WIRE: ClassVar[tuple[_Field, ...]] = (
        _versions(b"v"), _octets(b"l", HASH_BYTES), _ascii(b"n", 32), _octets(b"x", 32, optional=True),
    )  # fmt: skip
    versions: tuple[int, ...]
    ledger: bytes
    network: str
    ephemeral: bytes | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """The same for every buyer of an ask period. ``payee_key`` is the seller's, fresh per swarm."""

    TYPE: ClassVar[int] = 1
    WIRE: ClassVar[tuple[_Field, ...]] = (
        _integer(b"i", 1, 2**32 - 1), _octets(b"k", PUBLIC_KEY_BYTES), _price(b"p"), _classes(b"c"),
        _amount(b"e"), _share(b"f"), _integer(b"t", 0, 2**40), _octets(b"s", SIGNATURE_BYTES),
    )  # fmt: skip
    ask_id: int
    payee_key: bytes
    price: Price
    classes: frozenset[MoneyClass]
    min_escrow: Amount
    free_pool: Share
    valid_until: int
    signature: bytes

    def signed_body(self) -> bytes:
        """Everything but the signature, canonically bencoded."""
        wire = _to_wire(self)
        del wire[b"s"]
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
    WIRE: ClassVar[tuple[_Field, ...]] = (
        _integer(b"i", 1, 2**32 - 1), _price(b"p", low=1), _integer(b"w", 0, 2**53),
        _integer(b"t", MIN_BID_VALID_S, MAX_BID_VALID_S),
    )  # fmt: skip
    bid_id: int
    price: Price
    wanted_kb: int
    valid_s: int


@dataclass(frozen=True, slots=True)
class Quote:
    """Binds the seller to ``price`` for the next ``hold_kb``. ``load``: connections that want data."""

    TYPE: ClassVar[int] = 3
    WIRE: ClassVar[tuple[_Field, ...]] = (
        _integer(b"i", 1, 2**32 - 1), _price(b"p"), _integer(b"h", 0, 2**53), _share(b"e"),
        _integer(b"o", 0, 2**20),
    )  # fmt: skip
    bid_id: int
    price: Price
    hold_kb: int
    expected_share: Share
    load: int


@dataclass(frozen=True, slots=True)
class Open:
    """``signed``: the total that the payer has signed so far; above zero after a reconnect."""

    TYPE: ClassVar[int] = 4
    WIRE: ClassVar[tuple[_Field, ...]] = (
        _statement(b"b"), _octets(b"s", SIGNATURE_BYTES), _amount(b"n"),
    )  # fmt: skip
    statement: Statement
    signature: bytes
    signed: Amount

    def signed_statement(self) -> SignedStatement:
        return SignedStatement(self.statement, self.signature)


@dataclass(frozen=True, slots=True)
class TopUp:
    TYPE: ClassVar[int] = 5
    WIRE: ClassVar[tuple[_Field, ...]] = (_statement(b"b"), _octets(b"s", SIGNATURE_BYTES))
    statement: Statement
    signature: bytes

    def signed_statement(self) -> SignedStatement:
        return SignedStatement(self.statement, self.signature)


@dataclass(frozen=True, slots=True)
class VoucherMessage:
    """The voucher, and around it, unsigned: bytes verified and bytes refused of this channel."""

    TYPE: ClassVar[int] = 6
    WIRE: ClassVar[tuple[_Field, ...]] = (
        _octets(b"c", HASH_BYTES), _amount(b"n"), _octets(b"s", SIGNATURE_BYTES),
        _integer(b"v", 0, 2**53), _integer(b"r", 0, 2**53),
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
    WIRE: ClassVar[tuple[_Field, ...]] = (
        _octets(b"c", HASH_BYTES), _amount(b"n"), _integer(b"w", 0, 2**40),
    )  # fmt: skip
    channel: bytes
    cumulative: Amount
    window: int


_TOTALS = (_octets(b"c", HASH_BYTES), _amount(b"n"), _integer(b"b", 0, 2**53))


@dataclass(frozen=True, slots=True)
class Pause:
    """From here on nothing is billed, until resume. ``byte_count``: billed so far on this connection."""

    TYPE: ClassVar[int] = 9
    WIRE: ClassVar[tuple[_Field, ...]] = _TOTALS
    channel: bytes
    cumulative: Amount
    byte_count: int


@dataclass(frozen=True, slots=True)
class Resume:
    TYPE: ClassVar[int] = 10
    WIRE: ClassVar[tuple[_Field, ...]] = _TOTALS
    channel: bytes
    cumulative: Amount
    byte_count: int


@dataclass(frozen=True, slots=True)
class StopMessage:
    """The sale is over: the seller redeems and closes the channel."""

    TYPE: ClassVar[int] = 11
    WIRE: ClassVar[tuple[_Field, ...]] = _TOTALS
    channel: bytes
    cumulative: Amount
    byte_count: int


@dataclass(frozen=True, slots=True)
class ErrorMessage:
    """``reference``: the type of the message that it answers."""

    TYPE: ClassVar[int] = 13
    WIRE: ClassVar[tuple[_Field, ...]] = (_ascii(b"c", 32), _integer(b"t", 0, 255))
    code: str
    reference: int


#: Types 8 (receipt) and 12 (head) are reserved.
Message = (
    Hello | Ask | Bid | Quote | Open | TopUp | VoucherMessage | Ack
    | Pause | Resume | StopMessage | ErrorMessage
)  # fmt: skip
BY_TYPE: dict[int, type[Message]] = {
    kind.TYPE: kind
    for kind in (
        Hello, Ask, Bid, Quote, Open, TopUp, VoucherMessage, Ack, Pause, Resume, StopMessage, ErrorMessage,
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


def _from_wire(kind: type[Message], wire: dict[bytes, bencode.Value]) -> Message:
    name = kind.__name__.removesuffix("Message").lower()
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
