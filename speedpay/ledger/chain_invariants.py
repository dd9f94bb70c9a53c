"""What must hold of deposits and withdrawals by themselves: promises I1 and I4 of ``invariants.py``.

Each row stands for exactly one transfer of the journal. Whether the chain says the same is the
audit's question.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from speedpay.ledger import chart
from speedpay.ledger.broken import Broken
from speedpay.ledger.chart import Kind
from speedpay.ledger.schema import deposits, transfers, withdrawals


def every(connection: sa.Connection) -> Iterator[Broken]:
    yield from _deposits(connection)
    yield from _withdrawals(connection)


def _deposits(connection: sa.Connection) -> Iterator[Broken]:
    """They are numbered from 1 on, their totals add up, and each was credited to its account."""
    total: Any = 0
    rows = connection.execute(
        sa.select(deposits, transfers)
        .outerjoin(transfers, transfers.c.sequence == deposits.c.transfer)
        .order_by(deposits.c.seq)
    )
    for expected, row in enumerate(rows.mappings(), start=1):
        where, amount = f"deposits {row[deposits.c.seq]}", row[deposits.c.amount]
        if row[deposits.c.seq] != expected:
            yield Broken("I1", f"deposits {expected}", "is missing")
            return
        total += amount if type(amount) is int else 0
        if row[deposits.c.total] != total:
            yield Broken("I1", where, f"its total is {row[deposits.c.total]}, all make {total}")
        account = row[deposits.c.account]
        made = (Kind.ISSUE.value, chart.DEPOSITS.name, f"user:{_hex(account)}", amount)
        found = tuple(row[transfers.c[name]] for name in ("kind", "debit", "credit", "amount"))
        reference = row[transfers.c.reference]
        if found != made or reference != _event(row[deposits.c.txid], row[deposits.c.log_index]):
            yield Broken("I1", where, "is not what the journal credited for it")


def _withdrawals(connection: sa.Connection) -> Iterator[Broken]:
    """One row for each transfer of the kind, of its account, amount and key, in the same order."""
    asked = {
        row.number: (f"user:{_hex(row.account)}", row.key, row.amount)
        for row in connection.execute(sa.select(withdrawals).order_by(withdrawals.c.number))
    }
    moved = [
        (row.debit, row.reference, row.amount)
        for row in connection.execute(
            sa.select(transfers)
            .where(transfers.c.kind == Kind.WITHDRAW.value)
            .order_by(transfers.c.sequence)
        )
    ]
    known = set(moved)
    for number, one in asked.items():
        if one not in known:
            yield Broken("I1", f"withdrawals {number}", "is in no transfer of the journal")
    if len(asked) != len(moved) or set(asked.values()) != known:
        yield Broken("I1", "withdrawals", f"{len(asked)} were asked for, {len(moved)} moved")
    elif list(asked.items()) != list(enumerate(moved, start=1)):
        yield Broken("I1", "withdrawals", "stand in another order than they were asked for")
    wrong = connection.execute(
        sa.select(withdrawals.c.number).where(
            sa.or_(
                withdrawals.c.released < 0,
                withdrawals.c.released > withdrawals.c.amount,
                withdrawals.c.state.not_in(["queued", "released"]),
                (withdrawals.c.state == "released")
                != (withdrawals.c.released == withdrawals.c.amount),
                (withdrawals.c.epoch.is_(None)) != (withdrawals.c.released == 0),
            )
        )
    )
    for number in wrong.scalars():
        yield Broken("I1", f"withdrawals {number}", "has released what it cannot have")


def _event(txid: object, log_index: object) -> bytes | None:
    if isinstance(txid, bytes) and isinstance(log_index, int) and 0 <= log_index < 2**32:
        return txid + log_index.to_bytes(4)
    return None


def _hex(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)
