"""What goes over HTTP, as values: each reads itself strictly from JSON and writes itself to it.

Amounts are decimal strings of µtok, bytes lowercase hex, times and durations integer seconds. Each
``from_json`` raises Malformed naming the field.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from speedpay.channel.voucher import ACCOUNT_ID_BYTES, NONCE_BYTES, Assignment, Closing, Voucher
from speedpay.errors import Malformed
from speedpay.ledger_api.strict import Fields
from speedpay.signing import HASH_BYTES, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, check_public_key
from speedpay.units import ZERO, Amount, MoneyClass

MIN_LIFETIME_S = 15 * 60
MAX_LIFETIME_S = 24 * 3600
#: Bounds one request's work; see also the bound on a request's bytes.
MAX_REDEMPTIONS = 500
MAX_REQUEST_BYTES = 64 * 1024
MAX_HISTORY = 200
#: The end of the year 9999: later times cannot be shown.
MAX_TIME = 253_402_300_799

Json = dict[str, object]


class ChannelState(StrEnum):
    """``EXPIRED`` is the claim window; ``UNCLAIMED`` keeps a deposited voucher for its payee."""

    OPEN = "open"
    EXPIRED = "expired"
    UNCLAIMED = "unclaimed"
    CLOSED = "closed"


def _public_key(fields: Fields, name: str) -> bytes:
    key = fields.hex(name, PUBLIC_KEY_BYTES)
    check_public_key(key, fields.path(name))
    return key


@dataclass(frozen=True, slots=True)
class OpenAccount:
    public_key: bytes

    @classmethod
    def from_json(cls, value: object) -> OpenAccount:
        fields = Fields(value)
        made = cls(_public_key(fields, "public_key"))
        fields.end()
        return made

    def to_json(self) -> Json:
        return {"public_key": self.public_key.hex()}


@dataclass(frozen=True, slots=True)
class Send:
    to: bytes
    money_class: MoneyClass
    amount: Amount

    @classmethod
    def from_json(cls, value: object) -> Send:
        fields = Fields(value)
        made = cls(
            fields.hex("to", ACCOUNT_ID_BYTES), fields.money_class(), fields.amount("amount")
        )
        fields.end()
        return made

    def to_json(self) -> Json:
        return {
            "to": self.to.hex(), "class": self.money_class.value, "amount": self.amount.to_wire()
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class OpenChannel:
    """``nonce``: 16 bytes never used before between these two keys."""

    payer_key: bytes
    payee_key: bytes
    nonce: bytes
    money_class: MoneyClass
    escrow: Amount
    lifetime_s: int

    @classmethod
    def from_json(cls, value: object) -> OpenChannel:
        fields = Fields(value)
        made = cls(
            _public_key(fields, "payer_key"),
            _public_key(fields, "payee_key"),
            fields.hex("nonce", NONCE_BYTES),
            fields.money_class(),
            fields.amount("escrow"),
            fields.integer("lifetime_s", MIN_LIFETIME_S, MAX_LIFETIME_S),
        )
        fields.end()
        if made.payer_key == made.payee_key:
            raise Malformed("is the payer's own key", field="payee_key")
        return made

    def to_json(self) -> Json:
        return {
            "payer_key": self.payer_key.hex(), "payee_key": self.payee_key.hex(),
            "nonce": self.nonce.hex(), "class": self.money_class.value,
            "escrow": self.escrow.to_wire(), "lifetime_s": self.lifetime_s,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class TopUp:
    """``amount`` more escrow (0: only time); ``lifetime_s`` from now, when it ends later so."""

    amount: Amount
    lifetime_s: int | None = None

    @classmethod
    def from_json(cls, value: object) -> TopUp:
        fields = Fields(value)
        lifetime_s = (
            fields.integer("lifetime_s", MIN_LIFETIME_S, MAX_LIFETIME_S)
            if fields.has("lifetime_s")
            else None
        )
        made = cls(fields.amount("amount", zero=lifetime_s is not None), lifetime_s)
        fields.end()
        return made

    def to_json(self) -> Json:
        made: Json = {"amount": self.amount.to_wire()}
        if self.lifetime_s is not None:
            made["lifetime_s"] = self.lifetime_s
        return made


def voucher_from_json(value: object, channel: bytes) -> Voucher:
    fields = Fields(value)
    made = Voucher(channel, fields.amount("cumulative"), fields.hex("signature", SIGNATURE_BYTES))
    fields.end()
    return made


def voucher_to_json(voucher: Voucher) -> Json:
    return {"cumulative": voucher.cumulative.to_wire(), "signature": voucher.signature.hex()}


@dataclass(frozen=True, slots=True)
class Redemption:
    """A payee's claim on one channel.

    The assignment may be left out once the ledger has taken it. ``close`` ends the channel and
    refunds the rest; it needs the assignment, and is signed over that account and over the total of
    ``voucher``, which is None (a total of zero) only for closing a channel that has paid nothing.
    """

    channel: bytes
    voucher: Voucher | None
    assignment: Assignment | None
    close: Closing | None = None

    @property
    def total(self) -> Amount:
        return self.voucher.cumulative if self.voucher else ZERO

    @classmethod
    def from_json(cls, value: object, path: str) -> Redemption:
        fields = Fields(value, path)
        channel = fields.hex("channel", HASH_BYTES)
        voucher, assignment = None, None
        if fields.has("cumulative") or fields.has("signature"):
            cumulative = fields.amount("cumulative")
            voucher = Voucher(channel, cumulative, fields.hex("signature", SIGNATURE_BYTES))
        if fields.has("account") or fields.has("assignment"):
            account = fields.hex("account", ACCOUNT_ID_BYTES)
            assignment = Assignment(channel, account, fields.hex("assignment", SIGNATURE_BYTES))
        closed_by = fields.hex("close", SIGNATURE_BYTES) if fields.has("close") else None
        fields.end()
        if voucher is None and closed_by is None:
            raise Malformed("is missing", field=fields.path("cumulative"))
        if closed_by is None:
            return cls(channel, voucher, assignment)
        if assignment is None:
            raise Malformed("is needed to close", field=fields.path("assignment"))
        total = cls(channel, voucher, assignment).total
        close = Closing(channel, assignment.account, total, closed_by)
        return cls(channel, voucher, assignment, close)

    def to_json(self) -> Json:
        made: Json = {"channel": self.channel.hex()}
        if self.voucher:
            made |= voucher_to_json(self.voucher)
        if self.assignment:
            made["account"] = self.assignment.account.hex()
            made["assignment"] = self.assignment.signature.hex()
        if self.close:
            made["close"] = self.close.signature.hex()
        return made


def redemptions_from_json(value: object) -> list[Redemption]:
    fields = Fields(value)
    items = fields.array("items", 1, MAX_REDEMPTIONS)
    fields.end()
    return [Redemption.from_json(item, f"items[{at}]") for at, item in enumerate(items)]
