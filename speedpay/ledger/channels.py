"""Payment channels in the database: open, top up, deposit a voucher, look at one.

``open → expired → closed`` is the way of a channel that nobody closes: at ``expiry`` (wall clock)
it takes no more escrow, and after the claim window the rest goes back to the payer. ``unclaimed``
is the detour of a channel whose payer deposited a voucher that no payee has assigned to an account.
redemption.py pays and closes, expiry.py lets time pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from speedpay.channel.payee import check_voucher
from speedpay.channel.voucher import Statement, Voucher, channel_id
from speedpay.errors import AlreadyExists, ChannelClosed, ChannelUnknown, Malformed, NotAllowed
from speedpay.ledger import book, chart
from speedpay.ledger.chart import Kind
from speedpay.ledger.schema import channels
from speedpay.ledger_api.shapes import ChannelState, OpenChannel, TopUp
from speedpay.signing import Domain
from speedpay.units import MAX_UTOK, Amount, MoneyClass, Share

#: Claim window after expiry, in seconds of ledger-up time.
CLAIM_S = 8 * 24 * 3600

#: state → those it may follow. Every change of a state is guarded by this inside its statement.
FOLLOWS: dict[ChannelState, tuple[str, ...]] = {
    ChannelState.EXPIRED: (ChannelState.OPEN,),
    ChannelState.UNCLAIMED: (ChannelState.EXPIRED,),
    ChannelState.CLOSED: (ChannelState.OPEN, ChannelState.EXPIRED, ChannelState.UNCLAIMED),
}


@dataclass(frozen=True, slots=True)
class Channel:
    """One row. ``signed`` and ``voucher``: the highest voucher that the ledger has seen."""

    statement: Statement
    payer: bytes
    payee: bytes | None
    paid: Amount
    signed: Amount
    refunded: Amount
    voucher: bytes | None
    state: ChannelState

    @property
    def id(self) -> bytes:
        return self.statement.channel

    @property
    def payable(self) -> Amount:
        """The highest total that may still be paid: what was refunded is gone."""
        return self.statement.escrow - self.refunded

    @property
    def best(self) -> Voucher | None:
        return Voucher(self.id, self.signed, self.voucher) if self.voucher else None

    @classmethod
    def of(cls, row: Any) -> Channel:
        statement = Statement(
            channel=row["id"],
            payer_key=row["payer_key"],
            payee_key=row["payee_key"],
            nonce=row["nonce"],
            money_class=MoneyClass(row["class"]),
            escrow=Amount(row["escrow"]),
            expiry=row["expiry"],
            claim_s=row["claim_s"],
            fee=Share(row["fee_ppm"]),
        )
        return cls(
            statement, row["payer"], row["payee"], Amount(row["paid"]), Amount(row["signed"]),
            Amount(row["refunded"]), row["voucher"], ChannelState(row["state"]),
        )  # fmt: skip


def load(connection: sa.Connection, channel: bytes) -> Channel:
    """Raises ChannelUnknown."""
    query = sa.select(channels).where(channels.c.id == channel)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise ChannelUnknown("the ledger has no such channel", field="channel")
    return Channel.of(row)


def open_channel(
    connection: sa.Connection,
    domain: Domain,
    account: bytes,
    order: OpenChannel,
    fee: Share,
    claim_s: int,
    now: int,
) -> Statement:
    """Lock the escrow. Raises AlreadyExists (that nonce was used) or BalanceTooSmall."""
    channel = channel_id(domain, order.payer_key, order.payee_key, order.nonce)
    known = sa.select(channels.c.id).where(channels.c.id == channel)
    if connection.execute(known).first():
        raise AlreadyExists("was used for a channel of these keys", field="nonce")
    book.post(
        connection, Kind.LOCK, chart.user(account), chart.ESCROW, order.money_class, order.escrow,
        channel, now, escrow_of=account,
    )  # fmt: skip
    row = {
        "id": channel,
        "payer": account,
        "payer_key": order.payer_key,
        "payee_key": order.payee_key,
        "nonce": order.nonce,
        "class": order.money_class.value,
        "escrow": order.escrow.utok,
        "paid": 0,
        "paid_before": 0,
        "signed": 0,
        "refunded": 0,
        "state": ChannelState.OPEN.value,
        "expiry": now + order.lifetime_s,
        "claim_s": claim_s,
        "fee_ppm": fee.ppm,
    }
    connection.execute(channels.insert().values(row))
    return load(connection, channel).statement


def top_up(
    connection: sa.Connection, account: bytes, channel: bytes, order: TopUp, now: int
) -> Statement:
    """Add escrow, or time, to an open channel of one's own."""
    known = load(connection, channel)
    if known.payer != account:
        raise NotAllowed("is not a channel of this account", field="channel")
    body = known.statement
    if order.amount.utok > MAX_UTOK - body.escrow.utok:
        raise Malformed("would make an escrow larger than 2^63-1", field="amount")
    expiry = max(body.expiry, now + (order.lifetime_s or 0))
    changed = connection.execute(
        channels.update()
        .where(
            channels.c.id == channel,
            channels.c.state == ChannelState.OPEN.value,
            channels.c.expiry > now,
        )
        .values(escrow=channels.c.escrow + order.amount.utok, expiry=expiry)
    )
    if changed.rowcount != 1:
        raise ChannelClosed("takes no more: it is closed or past its expiry", field="channel")
    if order.amount:
        book.post(
            connection, Kind.LOCK, chart.user(account), chart.ESCROW, body.money_class,
            order.amount, channel, now, escrow_of=account,
        )  # fmt: skip
    return load(connection, channel).statement


def check_deposit(domain: Domain, known: Channel, voucher: Voucher) -> None:
    """May the payer hand this to the ledger? A repetition of the highest may; a lower one not."""
    accepted = known.signed
    if voucher.cumulative == accepted:
        accepted = Amount(accepted.utok - 1)
    check_voucher(
        domain, known.id, known.statement.payer_key, known.payable, accepted, voucher
    )  # fmt: skip


def deposit(connection: sa.Connection, domain: Domain, voucher: Voucher) -> None:
    """Keep a checked voucher for the payee. One that changes nothing any more is refused."""
    cumulative = voucher.cumulative.utok
    changed = connection.execute(
        channels.update()
        .where(
            channels.c.id == voucher.channel,
            channels.c.signed < cumulative,
            channels.c.refunded + cumulative <= channels.c.escrow,
            channels.c.state.in_(FOLLOWS[ChannelState.CLOSED]),
        )
        .values(signed=cumulative, voucher=voucher.signature)
    )
    if changed.rowcount == 1:
        return
    known = load(connection, voucher.channel)
    if known.state is ChannelState.CLOSED and voucher.cumulative > known.signed:
        raise ChannelClosed("is closed", field="channel")
    check_deposit(domain, known, voucher)
