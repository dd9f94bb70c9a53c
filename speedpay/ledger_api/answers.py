"""What the ledger answers, as values. Fields that a newer ledger adds are passed over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from speedpay.certificates import MAX_CERTIFICATES, MAX_REVOCATIONS, Revocation
from speedpay.channel.voucher import (
    ACCOUNT_ID_BYTES,
    STATEMENT_BYTES,
    SignedStatement,
    Statement,
    Voucher,
)
from speedpay.errors import Malformed, SpeedpayError
from speedpay.ledger_api.bound import BoundVault
from speedpay.ledger_api.refusals import error_to_json, read_error
from speedpay.ledger_api.shapes import MAX_TIME, ChannelState, Json
from speedpay.ledger_api.strict import Fields
from speedpay.signing import HASH_BYTES, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Certificate
from speedpay.units import MAX_UTOK, ZERO, Amount, MoneyClass

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JournalHead:
    """The newest row of the ledger's journal when it answered; the hash covers all before it."""

    sequence: int
    hash: bytes

    @classmethod
    def read(cls, fields: Fields) -> JournalHead:
        return cls(fields.integer("sequence", 0, MAX_UTOK), fields.hex("hash", HASH_BYTES))

    def to_json(self) -> Json:
        return {"sequence": self.sequence, "hash": self.hash.hex()}


def certificate_to_json(certificate: Certificate) -> Json:
    return {
        "root_key": certificate.root_key.hex(),
        "response_key": certificate.response_key.hex(),
        "not_before": certificate.not_before,
        "not_after": certificate.not_after,
        "signature": certificate.signature.hex(),
    }


def read_certificate(fields: Fields) -> Certificate:
    """Its shape only: ``Certificate.check`` judges it."""
    return Certificate(
        fields.hex("root_key", PUBLIC_KEY_BYTES),
        fields.hex("response_key", PUBLIC_KEY_BYTES),
        fields.integer("not_before", 0, MAX_TIME),
        fields.integer("not_after", 0, MAX_TIME),
        fields.hex("signature", SIGNATURE_BYTES),
    )


def revocation_to_json(revocation: Revocation) -> Json:
    return {
        "root_key": revocation.root_key.hex(),
        "response_key": revocation.response_key.hex(),
        "at": revocation.at,
        "signature": revocation.signature.hex(),
    }


def read_revocation(fields: Fields) -> Revocation:
    """As ``read_certificate``."""
    return Revocation(
        fields.hex("root_key", PUBLIC_KEY_BYTES),
        fields.hex("response_key", PUBLIC_KEY_BYTES),
        fields.integer("at", 0, MAX_TIME),
        fields.hex("signature", SIGNATURE_BYTES),
    )


@dataclass(frozen=True, slots=True)
class LedgerIdentity:
    """``certificates``: of every response key in force, that which signs now first. ``welcome``: credit
    granted to a new account. ``claim_s``: window after a channel's expiry. ``chain``: None for a ledger
    without a vault."""

    network: str
    ledger_id: bytes
    certificates: tuple[Certificate, ...]
    revocations: tuple[Revocation, ...]
    welcome: Amount
    fee_ppm: int
    claim_s: int
    time: int
    chain: BoundVault | None = None

    @classmethod
    def read(cls, fields: Fields) -> LedgerIdentity:
        certificates = _each(fields, "certificates", 1, MAX_CERTIFICATES, read_certificate)
        revocations = _each(fields, "revocations", 0, MAX_REVOCATIONS, read_revocation)
        return cls(
            fields.text("network", 32),
            fields.hex("ledger_id", HASH_BYTES),
            certificates,
            revocations,
            fields.amount("welcome", zero=True),
            fields.integer("fee_ppm", 0, 1_000_000),
            fields.integer("claim_s", 0, MAX_TIME),
            fields.integer("time", 0, MAX_TIME),
            BoundVault.read(fields.inner("chain")) if fields.has("chain") else None,
        )

    def to_json(self) -> Json:
        made: Json = {
            "network": self.network,
            "ledger_id": self.ledger_id.hex(),
            "certificates": [certificate_to_json(one) for one in self.certificates],
            "revocations": [revocation_to_json(one) for one in self.revocations],
            "welcome": self.welcome.to_wire(),
            "fee_ppm": self.fee_ppm,
            "claim_s": self.claim_s,
            "time": self.time,
        }
        return made | ({"chain": self.chain.to_json()} if self.chain else {})


def _each(
    fields: Fields, name: str, least: int, most: int, read: Callable[[Fields], T]
) -> tuple[T, ...]:
    found = fields.array(name, least, most)
    return tuple(read(Fields(one, f"{name}[{at}]")) for at, one in enumerate(found))


@dataclass(frozen=True, slots=True)
class OpenedAccount:
    """``granted`` is zero when the account existed already."""

    account: bytes
    granted: Amount

    @classmethod
    def read(cls, fields: Fields) -> OpenedAccount:
        return cls(fields.hex("account", ACCOUNT_ID_BYTES), fields.amount("granted", zero=True))

    def to_json(self) -> Json:
        return {"account": self.account.hex(), "granted": self.granted.to_wire()}


@dataclass(frozen=True, slots=True)
class Balance:
    """``token`` and ``credit`` are free to use; escrow is what own open channels still hold."""

    token: Amount
    credit: Amount
    token_in_escrow: Amount
    credit_in_escrow: Amount
    journal_head: JournalHead
    time: int

    @classmethod
    def read(cls, fields: Fields) -> Balance:
        escrow = fields.inner("in_escrow")
        return cls(
            fields.amount("token", zero=True),
            fields.amount("credit", zero=True),
            escrow.amount("token", zero=True),
            escrow.amount("credit", zero=True),
            JournalHead.read(fields.inner("journal_head")),
            fields.integer("time", 0, MAX_TIME),
        )

    def to_json(self) -> Json:
        return {
            "token": self.token.to_wire(),
            "credit": self.credit.to_wire(),
            "in_escrow": {
                "token": self.token_in_escrow.to_wire(),
                "credit": self.credit_in_escrow.to_wire(),
            },
            "journal_head": self.journal_head.to_json(),
            "time": self.time,
        }


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One transfer as one owner sees it.

    ``kind``: grant, issue, send, lock, pay, fee or refund. ``other`` is the other account of a
    *send*; of a channel's payments neither side learns the other's account. ``reference`` is the
    channel's id, or empty.
    """

    sequence: int
    time: int
    kind: str
    money_class: MoneyClass
    amount: Amount
    incoming: bool
    other: bytes | None
    reference: bytes

    @classmethod
    def read(cls, fields: Fields) -> HistoryEntry:
        return cls(
            fields.integer("sequence", 1, MAX_UTOK),
            fields.integer("time", 0, MAX_TIME),
            fields.text("kind", 16),
            fields.money_class(),
            fields.amount("amount"),
            fields.flag("incoming"),
            fields.hex("other", ACCOUNT_ID_BYTES) if fields.has("other") else None,
            fields.hex("channel", HASH_BYTES) if fields.has("channel") else b"",
        )

    def to_json(self) -> Json:
        made: Json = {
            "sequence": self.sequence, "time": self.time, "kind": self.kind,
            "class": self.money_class.value, "amount": self.amount.to_wire(),
            "incoming": self.incoming,
        }  # fmt: skip
        if self.other is not None:
            made["other"] = self.other.hex()
        if self.reference:
            made["channel"] = self.reference.hex()
        return made


@dataclass(frozen=True, slots=True)
class History:
    """Newest first. ``before`` asks for the next page; None: there is no more."""

    entries: tuple[HistoryEntry, ...]
    before: int | None

    @classmethod
    def read(cls, fields: Fields) -> History:
        items = fields.array("entries", 0, 10_000)
        entries = tuple(
            HistoryEntry.read(Fields(item, f"entries[{at}]")) for at, item in enumerate(items)
        )
        before = fields.integer("before", 1, MAX_UTOK) if fields.has("before") else None
        return cls(entries, before)

    def to_json(self) -> Json:
        made: Json = {"entries": [entry.to_json() for entry in self.entries]}
        if self.before is not None:
            made["before"] = self.before
        return made


def signed_statement_to_json(signed: SignedStatement) -> Json:
    return {"statement": signed.statement.to_bytes().hex(), "signature": signed.signature.hex()}


def read_signed_statement(fields: Fields) -> SignedStatement:
    statement = Statement.from_bytes(fields.hex("statement", STATEMENT_BYTES))
    return SignedStatement(statement, fields.hex("signature", SIGNATURE_BYTES))


@dataclass(frozen=True, slots=True)
class ChannelView:
    """A channel as the ledger holds it: ``paid`` ≤ ``voucher.cumulative`` ≤ ``escrow``.

    ``voucher`` is the highest that payer or payee brought to the ledger.
    """

    signed_statement: SignedStatement
    state: ChannelState
    paid: Amount
    refunded: Amount
    voucher: Voucher | None

    @property
    def escrow(self) -> Amount:
        return self.signed_statement.statement.escrow

    @classmethod
    def read(cls, fields: Fields) -> ChannelView:
        statement = read_signed_statement(fields)
        state = fields.text("state", 16)
        if state not in list(ChannelState):
            raise Malformed("is not a state of a channel", field="state")
        voucher = None
        if fields.has("voucher"):
            inner = fields.inner("voucher")
            voucher = Voucher(
                statement.statement.channel,
                inner.amount("cumulative"),
                inner.hex("signature", SIGNATURE_BYTES),
            )
        return cls(
            statement, ChannelState(state), fields.amount("paid", zero=True),
            fields.amount("refunded", zero=True), voucher,
        )  # fmt: skip

    def to_json(self) -> Json:
        made = signed_statement_to_json(self.signed_statement) | {
            "state": self.state.value,
            "paid": self.paid.to_wire(),
            "refunded": self.refunded.to_wire(),
        }
        if self.voucher:
            made["voucher"] = {
                "cumulative": self.voucher.cumulative.to_wire(),
                "signature": self.voucher.signature.hex(),
            }
        return made


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one redemption. ``amount`` left the escrow just now (zero for a repetition), ``fee`` of it
    went to the ledger, ``refund`` to the payer; ``paid`` is the channel's total. With ``error``
    nothing has changed and the amounts mean nothing.
    """

    channel: bytes
    amount: Amount = ZERO
    fee: Amount = ZERO
    refund: Amount = ZERO
    paid: Amount = ZERO
    state: ChannelState = ChannelState.OPEN
    error: SpeedpayError | None = None

    @classmethod
    def read(cls, fields: Fields) -> Outcome:
        channel = fields.hex("channel", HASH_BYTES)
        if fields.has("error"):
            return cls(channel, error=read_error(fields.inner("error")))
        amount, fee, refund, paid = (
            fields.amount(name, zero=True) for name in ("amount", "fee", "refund", "paid")
        )
        return cls(channel, amount, fee, refund, paid, ChannelState(fields.text("state", 16)))

    def to_json(self) -> Json:
        if self.error is not None:
            return {"channel": self.channel.hex(), "error": error_to_json(self.error)}
        return {
            "channel": self.channel.hex(), "amount": self.amount.to_wire(),
            "fee": self.fee.to_wire(), "refund": self.refund.to_wire(),
            "paid": self.paid.to_wire(), "state": self.state.value,
        }  # fmt: skip
