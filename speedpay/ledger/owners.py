"""Whose an account is: from one key to another, and who may read its history.

A hand-over changes one row of ``account_keys`` and moves no money: the account keeps its id, so its
balance, escrow, channels, vouchers assigned to it and its place in the tree stay where they are. The
address to which its tokens leave is never exchanged under anybody's tokens. Either the new key takes the
address that is named, and says so in its consent (that is how an owner changes his own key), or nothing
is owed in tokens at that moment: then the old address is given up and the new owner names his own.
Otherwise whoever stole a key could send money on its way out to himself, and whoever was given an
account could find that its exit leads to the giver.
"""

from __future__ import annotations

import sqlalchemy as sa

from speedpay.errors import NotAllowed
from speedpay.ledger import accounts, book, chart, deposits
from speedpay.ledger.accounts import Owner
from speedpay.ledger.schema import (
    account_keys,
    channels,
    handovers,
    payouts,
    published,
    withdrawals,
)
from speedpay.ledger.schema import accounts as account_table
from speedpay.ledger_api.owners import HandOver
from speedpay.ledger_api.shapes import ChannelState
from speedpay.ledger_api.signed import account_id
from speedpay.units import Amount, MoneyClass


def may_give(connection: sa.Connection, order: HandOver) -> None:
    """Its old key has the account, or had it until just this hand-over: an answer may have been lost.

    Raises NotFound, as for no account.
    """
    if not _done(connection, order):
        accounts.must_hold(connection, Owner(order.consent.account, order.old_key))


def hand_over(connection: sa.Connection, order: HandOver, now: int) -> None:
    """The signatures have been checked. Done before, it changes nothing.

    Raises NotAllowed for a key that has or had an account, and while tokens leave to another address.
    """
    account, new_key = order.consent.account, order.consent.public_key
    if _done(connection, order):
        return
    _must_be_fresh(connection, new_key)
    publish(connection, account, False, now)  # that was the old key's wish
    left = _leave_payout(connection, account, order.consent.payout)
    connection.execute(account_keys.delete().where(account_keys.c.public_key == order.old_key))
    connection.execute(
        account_keys.insert().values(public_key=new_key, account=account, added_at=now)
    )
    connection.execute(
        handovers.insert().values(
            old_key=order.old_key, new_key=new_key, account=account, payout=order.consent.payout,
            left_payout=left, given=order.given, consent=order.consent.signature, time=now,
        )
    )  # fmt: skip


def _done(connection: sa.Connection, order: HandOver) -> bool:
    row = connection.execute(
        sa.select(handovers).where(handovers.c.old_key == order.old_key)
    ).first()
    consent = order.consent
    said = (consent.account, consent.public_key, consent.payout)
    return row is not None and (row.account, row.new_key, row.payout) == said


def _must_be_fresh(connection: sa.Connection, key: bytes) -> None:
    """One key, one account, once: what a key signed for one account is never about another."""
    has = sa.select(account_keys.c.public_key).where(account_keys.c.public_key == key)
    had = sa.select(handovers.c.old_key).where(handovers.c.old_key == key)
    own = sa.select(account_table.c.id).where(account_table.c.id == account_id(key))
    if any(connection.execute(query).first() for query in (has, had, own)):
        raise NotAllowed("has an account already, or had one", field="to")


def _leave_payout(connection: sa.Connection, account: bytes, accepted: bytes) -> bytes | None:
    """The address that is given up, if it is another than the new key accepts."""
    mine = payouts.c.account == account
    named: bytes | None = connection.execute(sa.select(payouts.c.payout).where(mine)).scalar()
    if named is None or named == accepted:
        return None
    owed = tokens_owed(connection, account)
    if owed:
        raise NotAllowed(
            f"{owed} tok of this account leave to an address that the new key does not take:"
            " send or withdraw them first",
            field="payout",
        )
    connection.execute(payouts.delete().where(mine))
    book.mark_dirty(connection, [account])
    return named


def tokens_owed(connection: sa.Connection, account: bytes) -> Amount:
    """Free, in its own channels, queued to leave, or released and not fetched from the vault yet."""
    free = book.balance(connection, chart.user(account), MoneyClass.TOKEN).utok
    held = sa.func.sum(channels.c.escrow - channels.c.paid - channels.c.refunded)
    locked = sa.select(held).where(
        channels.c.payer == account,
        channels.c["class"] == MoneyClass.TOKEN.value,
        channels.c.state != ChannelState.CLOSED.value,
    )
    asked = sa.select(sa.func.sum(withdrawals.c.amount)).where(withdrawals.c.account == account)
    escrow, leaving = (connection.execute(query).scalar() or 0 for query in (locked, asked))
    return Amount(free + escrow + max(0, leaving - deposits.claimed(connection, account).utok))


def publish(connection: sa.Connection, account: bytes, on: bool, now: int) -> None:
    """The last wish counts, from the next question on."""
    mine = published.c.account == account
    if not on:
        connection.execute(published.delete().where(mine))
    elif not connection.execute(sa.select(published).where(mine)).first():
        connection.execute(published.insert().values(account=account, since=now))
