"""Accounts: opening one, its keys, what it holds and what happened to it."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass

import sqlalchemy as sa

from speedpay.errors import NotFound, OverLimit
from speedpay.ledger import book, chart
from speedpay.ledger.chart import BookAccount, Kind, Role
from speedpay.ledger.schema import account_keys, accounts, channels, openings, transfers
from speedpay.ledger_api.answers import Balance, History, HistoryEntry, OpenedAccount
from speedpay.ledger_api.shapes import ChannelState, Send
from speedpay.ledger_api.signed import account_id
from speedpay.units import Amount, MoneyClass

_DAY_S = 86_400
#: Whom a block belongs to: one household has a /48 or less of IPv6, and shares a /24 of IPv4.
_PREFIX = {4: 24, 6: 48}
_OF_CHANNELS = frozenset({Kind.LOCK, Kind.PAY, Kind.FEE, Kind.REFUND})


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

    An account to which somebody has paid in before gets its key, and the same welcome. Raises
    OverLimit when the block of addresses has opened its share for today.
    """
    account = account_id(public_key)
    known = sa.select(account_keys.c.account).where(account_keys.c.account == account)
    if connection.execute(known).first():
        return OpenedAccount(account, Amount(0))
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
    if connection.execute(sa.select(accounts.c.id).where(accounts.c.id == account)).first():
        return
    connection.execute(accounts.insert().values(id=account, opened_at=now))
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


def keys(connection: sa.Connection, account: bytes) -> list[bytes]:
    """Those that may sign for ``account``. Raises NotFound."""
    query = sa.select(account_keys.c.public_key).where(account_keys.c.account == account)
    found = list(connection.execute(query).scalars())
    if not found:
        raise NotFound("there is no such account", field="speedpay-account")
    return found


def must_exist(connection: sa.Connection, account: bytes, field: str) -> None:
    if not connection.execute(sa.select(accounts.c.id).where(accounts.c.id == account)).first():
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
