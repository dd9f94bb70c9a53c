"""Deposits that the vault has received, credited once each; and what the vault has paid out.

``chain_side/watch.py`` reads solid blocks and calls ``record``; nothing here asks a node. Deposits are
numbered by the vault itself: a gap means that a node has kept something back, and then nothing after
it is credited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from speedpay.errors import BooksBroken, ChainUnreachable
from speedpay.ledger import accounts, book
from speedpay.ledger.schema import chain_watch, claims
from speedpay.ledger.schema import deposits as table
from speedpay.ledger_api.chain import MAX_SHOWN, Deposits, DepositView
from speedpay.units import Amount

if TYPE_CHECKING:
    from speedpay.chain.vault import Claim, Deposit, Events


def covered(connection: sa.Connection) -> int:
    """The last deposit (the vault's count) up to which all are credited; 0 when there is none."""
    found = connection.execute(sa.select(sa.func.max(table.c.seq))).scalar()
    return found or 0


def record(connection: sa.Connection, seen: Events, now: int) -> list[Deposit]:
    """Credit what is new of ``seen``, note what the vault has paid. Returns what was credited.

    The caller moves the cursor past ``seen`` in the same transaction. Raises ChainUnreachable when a
    deposit is missing, BooksBroken when the chain now tells another story about a credited one.
    """
    credited = [
        one
        for one in sorted(seen.deposits, key=lambda deposit: deposit.seq)
        if _credit(connection, one, now)
    ]
    for claim in seen.claims:
        _record_claim(connection, claim)
    return credited


def _credit(connection: sa.Connection, one: Deposit, now: int) -> bool:
    last = connection.execute(
        sa.select(table.c.seq, table.c.total).order_by(table.c.seq.desc()).limit(1)
    ).first()
    seq, total = (last.seq, last.total) if last else (0, 0)
    if one.seq <= seq:
        _must_be_the_same(connection, one)
        return False
    if one.seq != seq + 1 or one.total.utok != total + one.amount.utok:
        raise ChainUnreachable(
            f"a node tells of deposit {one.seq}, but not of all between it and deposit {seq}",
            field="deposits",
        )
    accounts.open_without_key(connection, one.account, now)
    reference = one.txid + one.log_index.to_bytes(4)
    posted = book.issue(connection, one.account, one.amount, reference, now)
    connection.execute(
        table.insert().values(
            seq=one.seq, txid=one.txid, log_index=one.log_index, account=one.account,
            sender=one.sender, amount=one.amount.utok, total=one.total.utok, block=one.block,
            transfer=posted.sequence,
        )
    )  # fmt: skip
    return True


def _must_be_the_same(connection: sa.Connection, one: Deposit) -> None:
    known = connection.execute(sa.select(table).where(table.c.seq == one.seq)).one()
    told = (one.txid, one.log_index, one.account, one.amount.utok)
    if told != (known.txid, known.log_index, known.account, known.amount):
        raise BooksBroken(
            f"deposit {one.seq} was credited, but the chain now holds another one in its place",
            field="deposits",
        )


def _record_claim(connection: sa.Connection, claim: Claim) -> None:
    row = {
        "txid": claim.txid, "log_index": claim.log_index, "account": claim.account,
        "payout": claim.payout, "amount": claim.amount.utok, "paid": claim.paid.utok,
        "epoch": claim.epoch, "block": claim.block,
    }  # fmt: skip
    here = sa.and_(claims.c.txid == claim.txid, claims.c.log_index == claim.log_index)
    if not connection.execute(sa.select(claims.c.block).where(here)).first():
        connection.execute(claims.insert().values(row))


def claimed(connection: sa.Connection, account: bytes) -> Amount:
    """All that the vault has paid for ``account``, as far as the chain was read."""
    query = sa.select(sa.func.max(claims.c.paid)).where(claims.c.account == account)
    return Amount(connection.execute(query).scalar() or 0)


def of_account(connection: sa.Connection, account: bytes) -> Deposits:
    rows = connection.execute(
        sa.select(table)
        .where(table.c.account == account)
        .order_by(table.c.seq.desc())
        .limit(MAX_SHOWN)
    )
    made = tuple(
        DepositView(row.seq, row.txid, row.log_index, row.sender, Amount(row.amount), row.block)
        for row in rows
    )
    return Deposits(made, connection.execute(sa.select(chain_watch.c.next_block)).scalar())
