"""The tables, and what the database itself refuses.

No table has a column for an address, a content identifier, a file name or an e-mail address:
what is not stored cannot leak. Opening is rated per block of addresses by a keyed hash that is
forgotten after two days. The constraints repeat the invariants I2 and I4 below our own code.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

from speedpay.ledger.chart import Kind
from speedpay.ledger_api.shapes import ChannelState
from speedpay.units import MoneyClass

metadata = MetaData(
    naming_convention={
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)


def _one_of(column: str, names: list[str]) -> CheckConstraint:
    listed = ", ".join(f"'{name}'" for name in names)
    return CheckConstraint(f"{column} IN ({listed})", column)


_CLASSES = [money_class.value for money_class in MoneyClass]

#: One row. ``uptime_s`` counts the seconds in which some process served; see channels.py.
ledger = Table(
    "ledger",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("network", Text, nullable=False),
    Column("ledger_id", LargeBinary, nullable=False),
    Column("uptime_s", BigInteger, nullable=False),
    Column("beat_at", BigInteger, nullable=False),
    CheckConstraint("id = 1", "one_row"),
    CheckConstraint("uptime_s >= 0", "uptime"),
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("opened_at", BigInteger, nullable=False),
    CheckConstraint("length(id) = 16", "id"),
)

#: Keys are rows under an account, so that a key can be replaced without moving the money.
account_keys = Table(
    "account_keys",
    metadata,
    Column("public_key", LargeBinary, primary_key=True),
    Column("account", LargeBinary, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("added_at", BigInteger, nullable=False),
    CheckConstraint("length(public_key) = 33", "public_key"),
)

#: ``block``: keyed hash of an address block and the day (unix days).
openings = Table(
    "openings",
    metadata,
    Column("block", LargeBinary, primary_key=True),
    Column("day", BigInteger, nullable=False, index=True),
    Column("count", BigInteger, nullable=False),
    CheckConstraint("count > 0", "count"),
)

balances = Table(
    "balances",
    metadata,
    Column("account", Text, primary_key=True),
    Column("class", Text, primary_key=True),
    Column("balance", BigInteger, nullable=False),
    CheckConstraint("balance >= 0", "balance"),
    _one_of("class", _CLASSES),
)

#: The journal. Rows are only ever added; ``hash`` covers the row and ``prev``.
transfers = Table(
    "transfers",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("debit", Text, nullable=False),
    Column("credit", Text, nullable=False),
    Column("class", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("reference", LargeBinary, nullable=False),
    Column("prev", LargeBinary, nullable=False, unique=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    CheckConstraint("amount > 0", "amount"),
    CheckConstraint("debit <> credit", "two_accounts"),
    _one_of("kind", [kind.value for kind in Kind]),
    _one_of("class", _CLASSES),
    Index(None, "debit", "sequence"),
    Index(None, "credit", "sequence"),
)

#: ``signed``: highest total for which the ledger has seen the payer's signature (``voucher``).
#: ``paid_before``: ``paid`` before the last payment, so that one guarded statement can tell what
#: it has moved. ``claim_from``: uptime at which the claim window began. Written by channels.py.
channels = Table(
    "channels",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("payer", LargeBinary, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("payer_key", LargeBinary, nullable=False),
    Column("payee_key", LargeBinary, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("class", Text, nullable=False),
    Column("escrow", BigInteger, nullable=False),
    Column("paid", BigInteger, nullable=False),
    Column("paid_before", BigInteger, nullable=False),
    Column("signed", BigInteger, nullable=False),
    Column("refunded", BigInteger, nullable=False),
    Column("voucher", LargeBinary),
    Column("payee", LargeBinary, ForeignKey("accounts.id"), index=True),
    Column("assignment", LargeBinary),
    Column("state", Text, nullable=False),
    Column("expiry", BigInteger, nullable=False),
    Column("claim_s", BigInteger, nullable=False),
    Column("claim_from", BigInteger),
    Column("fee_ppm", BigInteger, nullable=False),
    CheckConstraint("0 <= paid AND paid <= signed AND signed <= escrow", "paid_signed_escrow"),
    CheckConstraint("0 <= refunded AND paid + refunded <= escrow", "refunded"),
    CheckConstraint("0 <= fee_ppm AND fee_ppm <= 1000000", "fee_ppm"),
    CheckConstraint("state <> 'closed' OR paid + refunded = escrow", "closed_is_empty"),
    CheckConstraint("(signed = 0) = (voucher IS NULL)", "voucher"),
    CheckConstraint("(payee IS NULL) = (assignment IS NULL)", "assignment"),
    CheckConstraint("paid = 0 OR payee IS NOT NULL", "paid_to_somebody"),
    _one_of("class", _CLASSES),
    _one_of("state", [state.value for state in ChannelState]),
    Index(None, "state", "expiry"),
)

#: One key of one account, one request, one outcome, for ever (I4).
idempotency = Table(
    "idempotency",
    metadata,
    Column("account", LargeBinary, ForeignKey("accounts.id"), primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("request_hash", LargeBinary, nullable=False),
    Column("status", BigInteger, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("time", BigInteger, nullable=False),
    CheckConstraint("length(key) = 16", "key"),
    CheckConstraint("length(request_hash) = 32", "request_hash"),
)

#: The same for what was refused, for an hour: see idempotency.py.
refusals = Table(
    "refusals",
    metadata,
    Column("account", LargeBinary, ForeignKey("accounts.id"), primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("request_hash", LargeBinary, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("time", BigInteger, nullable=False, index=True),
    CheckConstraint("length(key) = 16", "key"),
    CheckConstraint("length(request_hash) = 32", "request_hash"),
)
