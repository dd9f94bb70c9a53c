"""Withdrawals: out of the balance at once, through a queue, into the leaf when an epoch is closed.

At each close ``limit`` µtok leave the queue, for all accounts together. They are shared out among the
accounts that wait, equally and to each at most what he waits for (``fair_shares.py``); inside an account
the oldest withdrawal comes first, a large one in several parts. So nobody is held up by one who waits
for much. Whoever spreads his money over many accounts has as many shares, and an account for each.

Released µtok are never taken back: the leaf's ``withdrawable`` only grows, and the vault pays the
difference to what it has paid before, so there is nothing here that could be paid twice. The vault pays
only to the payout address of the leaf; an account without one cannot withdraw.
"""

from __future__ import annotations

from collections import Counter

import sqlalchemy as sa

from speedpay.errors import NotAllowed
from speedpay.ledger import book, chart, deposits
from speedpay.ledger.chart import Kind
from speedpay.ledger.fair_shares import Levels, fair_shares
from speedpay.ledger.schema import anchors, chain_watch, payouts
from speedpay.ledger.schema import withdrawals as table
from speedpay.ledger_api.chain import MAX_SHOWN, Withdraw, Withdrawal, WithdrawalState
from speedpay.units import Amount, MoneyClass

#: Of the queue at one close, the oldest. Bounds the time for which closing keeps other writers out.
MAX_READ_AT_ONCE = 5_000
#: Of one account. Without it a few tok in single base units, twenty a second, are more than ever leave
#: the queue, and nobody behind them is paid.
MAX_QUEUED = 20
_QUEUED, _RELEASED = "queued", "released"


def ask(
    connection: sa.Connection, account: bytes, order: Withdraw, idempotency_key: bytes, now: int
) -> int:
    """Queue a withdrawal; the tokens leave the balance now. Returns its number.

    Raises BalanceTooSmall; NotAllowed without a payout address, when the vault is frozen, or when
    ``MAX_QUEUED`` of the account wait.
    """
    named = sa.select(payouts.c.account).where(payouts.c.account == account)
    if not connection.execute(named).first():
        raise NotAllowed("the account has named no payout address yet", field="payout")
    waiting = connection.execute(
        sa.select(sa.func.count())
        .select_from(table)
        .where(table.c.account == account, table.c.state == _QUEUED)
    ).scalar_one()
    if waiting >= MAX_QUEUED:
        raise NotAllowed(
            f"{waiting} withdrawals of this account wait in the queue: wait until one has left it",
            field="withdrawals",
        )
    book.post(
        connection, Kind.WITHDRAW, chart.user(account), chart.WITHDRAWALS, MoneyClass.TOKEN,
        order.amount, idempotency_key, now,
    )  # fmt: skip
    number = (connection.execute(sa.select(sa.func.max(table.c.number))).scalar() or 0) + 1
    connection.execute(
        table.insert().values(
            number=number, account=account, key=idempotency_key, amount=order.amount.utok,
            released=0, asked_at=now, state=_QUEUED,
        )
    )  # fmt: skip
    return number


def release(connection: sa.Connection, epoch: int, limit: Amount) -> Amount:
    """Let up to ``limit`` leave the queue into ``epoch``; called once, in the transaction that closes
    it, before the leaves are made anew. Returns how much it was."""
    rows = connection.execute(
        sa.select(table)
        .where(table.c.state == _QUEUED)
        .order_by(table.c.number)
        .limit(MAX_READ_AT_ONCE)
    ).all()
    needs: Counter[bytes] = Counter()  # in the order of each account's oldest
    for row in rows:
        needs[row.account] += row.amount - row.released
    shares = fair_shares(list(needs.values()), limit.utok)
    left = dict(zip(needs, shares, strict=True))
    changed = []
    for row in rows:
        part = min(left[row.account], row.amount - row.released)
        if not part:
            continue
        left[row.account] -= part
        done = row.released + part
        state = _RELEASED if done == row.amount else _QUEUED
        changed.append({"at": row.number, "done": done, "then": state})
    if changed:
        by_number = table.update().where(table.c.number == sa.bindparam("at"))
        values = {"released": sa.bindparam("done"), "state": sa.bindparam("then"), "epoch": epoch}
        connection.execute(by_number.values(values), changed)
    owners = {account for account, share in zip(needs, shares, strict=True) if share}
    if owners:
        book.mark_dirty(connection, owners)
    return Amount(sum(shares))


def released(connection: sa.Connection, account: bytes) -> Amount:
    """All that was ever released to ``account``: its leaf's ``withdrawable``."""
    query = sa.select(sa.func.sum(table.c.released)).where(table.c.account == account)
    return Amount(connection.execute(query).scalar() or 0)


def queue(connection: sa.Connection) -> tuple[int, Amount]:
    """How many withdrawals wait, and how much of them is not released yet."""
    rest = sa.func.sum(table.c.amount - table.c.released)
    row = connection.execute(
        sa.select(sa.func.count(), rest).select_from(table).where(table.c.state == _QUEUED)
    ).one()
    return row[0], Amount(row[1] or 0)


def of_account(
    connection: sa.Connection,
    account: bytes,
    limit: Amount,
    next_close: int,
    interval_s: int,
    now: int,
) -> tuple[Withdrawal, ...]:
    """The newest first. ``next_close``: when the next epoch should be closed, unix seconds."""
    mine = connection.execute(
        sa.select(table)
        .where(table.c.account == account)
        .order_by(table.c.number.desc())
        .limit(MAX_SHOWN)
    ).all()
    places = _places(connection, account) if any(row.state == _QUEUED for row in mine) else {}
    delay_s = connection.execute(sa.select(chain_watch.c.delay_s)).scalar() or 0
    epochs = {row.epoch for row in mine if row.epoch is not None}
    anchored = {
        row.epoch: row.time
        for row in connection.execute(sa.select(anchors).where(anchors.c.epoch.in_(epochs)))
    }
    claimed = deposits.claimed(connection, account).utok
    so_far = released(connection, account).utok
    made = []
    for row in mine:
        state, position, ahead, expected = WithdrawalState.RELEASED, None, None, None
        if row.state == _QUEUED:
            state = WithdrawalState.QUEUED
            position, before, closes = places[row.number]
            ahead = Amount(before)
            closes = max(closes, -(-(before + row.amount - row.released) // limit.utok))
            expected = next_close + (closes - 1) * interval_s
        elif claimed >= so_far:
            state = WithdrawalState.CLAIMED
        elif row.epoch in anchored:
            expected = anchored[row.epoch] + delay_s
            state = WithdrawalState.CLAIMABLE if now >= expected else WithdrawalState.ANCHORED
        so_far -= row.released
        made.append(
            Withdrawal(
                row.number, Amount(row.amount), row.asked_at, state, Amount(row.released),
                row.epoch, position, ahead, expected,
            )
        )  # fmt: skip
    return tuple(made)


def _places(connection: sa.Connection, account: bytes) -> dict[int, tuple[int, int, int]]:
    """Of each queued withdrawal of ``account``: its place from 1 in the order of asking, how much is
    released before its end if nobody asks any more, and the fewest closes that may take."""
    rest = table.c.amount - table.c.released
    waiting = table.c.state == _QUEUED
    others = sa.select(sa.func.sum(rest)).where(waiting, table.c.account != account)
    levels = Levels(connection.execute(others.group_by(table.c.account)).scalars())
    in_order = table.c.number
    ranked = (
        sa.select(
            table.c.number,
            table.c.account,
            rest.label("rest"),
            sa.func.row_number().over(order_by=in_order).label("place"),
            (sa.func.sum(rest).over(order_by=in_order) - rest).label("older"),
        )
        .where(waiting)
        .subquery()
    )
    mine = sa.select(ranked).where(ranked.c.account == account).order_by(ranked.c.number)
    found, own = {}, 0
    for row in connection.execute(mine):
        before = own + levels.below(own + row.rest)
        if row.place > MAX_READ_AT_ONCE:  # not before others have left
            before = max(before, row.older)
        found[row.number] = (row.place, before, -(-row.place // MAX_READ_AT_ONCE))
        own += row.rest
    return found
