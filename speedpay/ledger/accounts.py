"""Accounts: opening one, its keys, what it holds and what happened to it."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass, replace

import sqlalchemy as sa

from speedpay.errors import NotAllowed, NotFound, OverLimit
from speedpay.ledger import book, chart
from speedpay.ledger.chart import BookAccount, Kind, Role
from speedpay.ledger.schema import (
    account_keys,
    channels,
    handovers,
    openings,
    published,
    transfers,
)
from speedpay.ledger.schema import accounts as table
from speedpay.ledger_api.answers import Balance, History, HistoryEntry, OpenedAccount
from speedpay.ledger_api.shapes import ChannelState, Send
from speedpay.ledger_api.signed import account_id
from speedpay.units import Amount, MoneyClass

_DAY_S = 86_400
#: Whom a block belongs to: one household has a /48 or less of IPv6, and shares a /24 of IPv4.
_PREFIX = {4: 24, 6: 48}
_OF_CHANNELS = frozenset({Kind.LOCK, Kind.PAY, Kind.FEE, Kind.REFUND})


@dataclass(frozen=True, slots=True)
class Owner:
    """Who signed a request: ``key`` (33 bytes) for ``account``."""

    account: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Opening:
    """``block``: from ``address_block``; None lifts the rate (local demos)."""

    welcome: Amount
    block: bytes | None
    per_block_and_day: int


def address_block(salt: bytes, address: str, now: int) -> bytes:
    """A keyed hash of the client's block of addresses, another one every day.

    The key is not in the database: whoever copies that cannot try all 2^24 blocks.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    network = ipaddress.ip_network((parsed, _PREFIX[parsed.version]), strict=False)
    return hmac.digest(salt, f"{now // _DAY_S} {network}".encode(), hashlib.sha256)


def open_account(
    connection: sa.Connection, public_key: bytes, opening: Opening, now: int
) -> OpenedAccount:
    """Open the key's account with its welcome credit, once; later the same answer without.

    A key to which an account was handed over has that one. An account to which somebody has paid in
    before gets its key, and the same welcome. Raises OverLimit when the block of addresses has opened
    its share for today.
    """
    known = account_of(connection, public_key)
    if known is not None:
        return OpenedAccount(known, Amount(0))
    account = account_id(public_key)
    if opening.block is not None:
        _count_opening(connection, opening.block, opening.per_block_and_day, now)
    open_without_key(connection, account, now)
    connection.execute(
        account_keys.insert().values(public_key=public_key, account=account, added_at=now)
    )
    if opening.welcome:
        book.post(
            connection, Kind.GRANT, chart.GRANTED, chart.user(account), MoneyClass.CREDIT,
            opening.welcome, account, now,
        )  # fmt: skip
    return OpenedAccount(account, opening.welcome)


def open_without_key(connection: sa.Connection, account: bytes, now: int) -> None:
    """Make room for a deposit to ``account``, if there is none: its owner may open it later."""
    if connection.execute(sa.select(table.c.id).where(table.c.id == account)).first():
        return
    connection.execute(table.insert().values(id=account, opened_at=now))
    book.open_account(connection, chart.user(account))


def _count_opening(connection: sa.Connection, block: bytes, limit: int, now: int) -> None:
    counted = connection.execute(
        openings.update()
        .where(openings.c.block == block, openings.c.count < limit)
        .values(count=openings.c.count + 1)
    )
    if counted.rowcount == 1:
        return
    known = connection.execute(sa.select(openings.c.count).where(openings.c.block == block)).first()
    if known or limit < 1:
        hours = (_DAY_S - now % _DAY_S) // 3600 + 1
        raise OverLimit(
            f"too many accounts were opened from this network today; try again in {hours} hours",
            field="public_key",
        )
    connection.execute(openings.insert().values(block=block, day=now // _DAY_S, count=1))


def forget_openings(connection: sa.Connection, now: int) -> None:
    connection.execute(openings.delete().where(openings.c.day < now // _DAY_S - 1))


def key_of(
    connection: sa.Connection, account: bytes, otherwise: bytes | None = None
) -> bytes | None:
    """The one key that may sign for ``account``. One row comes back in either case: with ``otherwise``
    the question takes as long for an account that does not exist."""
    own = sa.select(account_keys.c.public_key).where(account_keys.c.account == account)
    either = sa.func.coalesce(own.scalar_subquery(), sa.literal(otherwise, sa.LargeBinary))
    return connection.execute(sa.select(either)).scalar()


def account_of(connection: sa.Connection, key: bytes) -> bytes | None:
    """The account that ``key`` may sign for."""
    query = sa.select(account_keys.c.account).where(account_keys.c.public_key == key)
    return connection.execute(query).scalar()


def nobody() -> NotFound:
    """One answer for an account that does not exist and for whoever is not its owner (any more)."""
    return NotFound(
        "there is no such account, or this was not signed by its key", field="speedpay-account"
    )


def must_hold(connection: sa.Connection, owner: Owner) -> None:
    """In the transaction of what is done: a key that was valid a moment ago may be handed over by now.

    Raises NotFound.
    """
    if key_of(connection, owner.account) != owner.key:
        raise nobody()


def must_not_be_given_away(connection: sa.Connection, owner: Owner) -> None:
    """Raises NotAllowed for a key that had an account and handed it over: it opens no other."""
    given = sa.select(handovers.c.old_key).where(handovers.c.old_key == owner.key)
    if connection.execute(given).first():
        raise NotAllowed("had an account that was handed over to another key", field="public_key")


def must_exist(connection: sa.Connection, account: bytes, field: str) -> None:
    if not connection.execute(sa.select(table.c.id).where(table.c.id == account)).first():
        raise NotFound("there is no such account", field=field)


def send(
    connection: sa.Connection, account: bytes, order: Send, idempotency_key: bytes, now: int
) -> None:
    must_exist(connection, order.to, "to")
    book.post(
        connection, Kind.SEND, chart.user(account), chart.user(order.to), order.money_class,
        order.amount, idempotency_key, now,
    )  # fmt: skip


def balance(connection: sa.Connection, account: bytes, now: int) -> Balance:
    held = channels.c.escrow - channels.c.paid - channels.c.refunded
    query = (
        sa.select(channels.c["class"], sa.func.sum(held))
        .where(channels.c.payer == account, channels.c.state != ChannelState.CLOSED.value)
        .group_by(channels.c["class"])
    )
    escrow = {row[0]: Amount(row[1]) for row in connection.execute(query)}
    mine = chart.user(account)
    return Balance(
        token=book.balance(connection, mine, MoneyClass.TOKEN),
        credit=book.balance(connection, mine, MoneyClass.CREDIT),
        token_in_escrow=escrow.get("token", Amount(0)),
        credit_in_escrow=escrow.get("credit", Amount(0)),
        journal_head=book.head(connection),
        time=now,
    )


def history(connection: sa.Connection, account: bytes, before: int | None, limit: int) -> History:
    """Newest first. A channel's payee does not learn the payer's account, nor the reverse."""
    mine = chart.user(account)

    def side(column: sa.Column[str]) -> sa.Select[tuple[object, ...]]:
        query = sa.select(transfers).where(column == mine.name)
        if before is not None:
            query = query.where(transfers.c.sequence < before)
        return query.order_by(transfers.c.sequence.desc()).limit(limit + 1)

    # Two index scans: an OR over both columns would read the whole journal.
    rows = [
        row
        for column in (transfers.c.debit, transfers.c.credit)
        for row in connection.execute(side(column)).mappings()
    ]
    rows.sort(key=lambda row: -row["sequence"])
    entries = tuple(_entry(row, mine) for row in rows[:limit])
    return History(entries, entries[-1].sequence if len(rows) > limit else None)


def published_history(
    connection: sa.Connection, account: bytes, before: int | None, limit: int
) -> History:
    """What everybody may read: kinds, amounts and times; of others only accounts that are published
    too; no channels, whose ids the other side knows. Raises NotFound, as for no account."""
    if not _published(connection, {account}):
        raise NotFound("there is no such account", field="account")
    found = history(connection, account, before, limit)
    shown = _published(connection, {one.other for one in found.entries if one.other})
    entries = tuple(
        replace(one, other=one.other if one.other in shown else None, reference=b"")
        for one in found.entries
    )
    return History(entries, found.before)


def _published(connection: sa.Connection, among: set[bytes]) -> set[bytes]:
    query = sa.select(published.c.account).where(published.c.account.in_(among))
    return set(connection.execute(query).scalars())


def _entry(row: sa.RowMapping, mine: BookAccount) -> HistoryEntry:
    incoming = row["credit"] == mine.name
    other = BookAccount.of(row["debit"] if incoming else row["credit"])
    return HistoryEntry(
        sequence=row["sequence"],
        time=row["time"],
        kind=row["kind"],
        money_class=MoneyClass(row["class"]),
        amount=Amount(row["amount"]),
        incoming=incoming,
        other=other.owner if other.role is Role.USER else None,
        reference=row["reference"] if row["kind"] in _OF_CHANNELS else b"",
    )
