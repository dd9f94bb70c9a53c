"""The book: the only code that writes transfers and balances.

``post`` moves money inside the caller's transaction: two guarded updates and one row of the
journal, or an exception and nothing. It does not commit: ``Database.write`` does, and only then may
anybody be told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from speedpay.errors import BalanceTooSmall, Malformed, NotFound
from speedpay.ledger import chart, freeze
from speedpay.ledger.chart import BookAccount, Kind
from speedpay.ledger.schema import balances, dirty, transfers
from speedpay.ledger_api.answers import JournalHead
from speedpay.units import MAX_UTOK, Amount, MoneyClass

#: What the journal of an empty ledger ends with.
GENESIS = JournalHead(0, bytes(32))


@dataclass(frozen=True, slots=True)
class Transfer:
    """``reference``: a channel's id, an idempotency key, or what the transfer is about."""

    sequence: int
    time: int
    kind: Kind
    debit: BookAccount
    credit: BookAccount
    money_class: MoneyClass
    amount: Amount
    reference: bytes

    def hash(self, prev: bytes) -> bytes:
        """32 bytes over ``prev`` and every field, each with its length."""
        parts = [
            prev, str(self.sequence).encode(), str(self.time).encode(), self.kind.encode(),
            self.debit.name.encode(), self.credit.name.encode(), self.money_class.encode(),
            self.amount.to_wire().encode(), self.reference,
        ]  # fmt: skip
        joined = b"".join(len(part).to_bytes(4) + part for part in parts)
        return hashlib.sha256(b"speedpay/v1/journal\x00" + joined).digest()


def open_account(connection: sa.Connection, account: BookAccount) -> None:
    """Zero balances in every class that the account may hold."""
    rows = [
        {"account": account.name, "class": money_class.value, "balance": 0}
        for money_class in sorted(chart.CLASSES[account.role])
    ]
    connection.execute(balances.insert(), rows)


def head(connection: sa.Connection) -> JournalHead:
    query = sa.select(transfers.c.sequence, transfers.c.hash).order_by(
        transfers.c.sequence.desc()
    )  # fmt: skip
    row = connection.execute(query.limit(1)).first()
    return JournalHead(row.sequence, row.hash) if row else GENESIS


def balance(connection: sa.Connection, account: BookAccount, money_class: MoneyClass) -> Amount:
    """Raises NotFound when the account does not exist or cannot hold that class."""
    found = connection.execute(
        sa.select(balances.c.balance).where(_row_of(account, money_class))
    ).scalar()
    if found is None:
        raise NotFound("there is no such account", field="account")
    return Amount(found)


def post(
    connection: sa.Connection,
    kind: Kind,
    debit: BookAccount,
    credit: BookAccount,
    money_class: MoneyClass,
    amount: Amount,
    reference: bytes,
    now: int,
    *,
    escrow_of: bytes | None = None,
) -> Transfer:
    """Move ``amount`` from ``debit`` to ``credit``.

    ``escrow_of``: the payer (16 bytes) whose escrow moves, whenever escrow is a side: it is counted
    in the payer's leaf. Raises NotAllowed (the chart does not know such a transfer, or the vault is
    frozen), Malformed (nothing to move, or a balance beyond 2^63−1), NotFound or BalanceTooSmall.
    """
    if not amount:
        raise Malformed("must be above 0", field="amount")
    chart.check(kind, debit, credit, money_class)
    freeze.check(connection, kind, money_class)
    if (chart.ESCROW in (debit, credit)) != (escrow_of is not None):
        raise ValueError("escrow_of names the payer when escrow is a side, and only then")
    _change(connection, debit, money_class, amount, grows=debit.role in chart.DEBIT_NORMAL)
    _change(connection, credit, money_class, amount, grows=credit.role not in chart.DEBIT_NORMAL)
    if money_class is MoneyClass.TOKEN:
        mark_dirty(connection, chart.leaf_owners(debit, credit, escrow_of))
    last = head(connection)
    made = Transfer(last.sequence + 1, now, kind, debit, credit, money_class, amount, reference)
    connection.execute(
        transfers.insert().values(
            {
                "sequence": made.sequence,
                "time": made.time,
                "kind": made.kind.value,
                "debit": debit.name,
                "credit": credit.name,
                "class": money_class.value,
                "amount": amount.utok,
                "reference": reference,
                "prev": last.hash,
                "hash": made.hash(last.hash),
            }
        )
    )
    return made


def mark_dirty(connection: sa.Connection, accounts: Iterable[bytes]) -> None:
    """The leaves of ``accounts`` are made anew when the epoch is closed.

    In the transaction of the change: a leaf that is forgotten is money that the tree does not owe.
    """
    statement = sqlite.insert(dirty).on_conflict_do_nothing()
    rows = [{"account": account} for account in accounts]
    if rows:
        connection.execute(statement, rows)


def issue(
    connection: sa.Connection, account: bytes, amount: Amount, reference: bytes, now: int
) -> Transfer:
    """Tokens for a deposit on chain. No request reaches this: a deposit is seen, never claimed."""
    return post(
        connection, Kind.ISSUE, chart.DEPOSITS, chart.user(account), MoneyClass.TOKEN, amount,
        reference, now,
    )  # fmt: skip


def _row_of(account: BookAccount, money_class: MoneyClass) -> sa.ColumnElement[bool]:
    return sa.and_(balances.c.account == account.name, balances.c["class"] == money_class.value)


def _change(
    connection: sa.Connection,
    account: BookAccount,
    money_class: MoneyClass,
    amount: Amount,
    *,
    grows: bool,
) -> None:
    """The guard is inside the statement: what it checks cannot change before it acts."""
    column = balances.c.balance
    guard = column <= MAX_UTOK - amount.utok if grows else column >= amount.utok
    changed = connection.execute(
        balances.update()
        .where(_row_of(account, money_class), guard)
        .values(balance=column + (amount.utok if grows else -amount.utok))
    )
    if changed.rowcount == 1:
        return
    held = balance(connection, account, money_class)
    if grows:
        raise Malformed("would make a balance larger than 2^63-1", field="amount")
    raise BalanceTooSmall(f"the account holds {held} {money_class}, not {amount}", field="amount")
