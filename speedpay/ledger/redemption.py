"""Redeem a voucher, close a channel. Read ``channel/payee.py`` for the rule that both share.

Signatures are judged before the writer's lock is taken: the keys they are checked against never
change. Whether the total still rises, fits and may be paid is decided by ``pay``'s one guarded
statement. A redemption is identified by (channel, cumulative), so repeating one is answered with an
amount of zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from speedpay.channel.payee import check_voucher
from speedpay.channel.voucher import Voucher
from speedpay.errors import ChannelClosed, Malformed, NotAllowed, NotIncreasing, SpeedpayError
from speedpay.ledger import accounts, book, channels, chart
from speedpay.ledger.channels import FOLLOWS, Channel
from speedpay.ledger.chart import Kind
from speedpay.ledger.schema import channels as table
from speedpay.ledger_api.answers import Outcome
from speedpay.ledger_api.shapes import ChannelState, Redemption
from speedpay.signing import Domain
from speedpay.units import ZERO, Amount


def check(domain: Domain, known: Channel, item: Redemption) -> None:
    """Raises a Refused unless ``item`` may be redeemed from ``known``. Signatures last."""
    if item.assignment is None and known.payee is None:
        raise Malformed("is missing: no account is known for this channel", field="account")
    if item.assignment and known.payee not in (None, item.assignment.account):
        raise NotAllowed("the payee named another account before", field="account")
    if item.voucher:
        accepted = known.paid
        if item.voucher.cumulative == accepted:
            accepted = Amount(accepted.utok - 1)  # a repetition: answered, if truly signed
        elif known.state is ChannelState.CLOSED and item.voucher.cumulative > accepted:
            raise ChannelClosed("is closed", field="channel")
        check_voucher(
            domain, known.id, known.statement.payer_key, known.payable, accepted, item.voucher
        )  # fmt: skip
    elif known.paid:
        raise NotIncreasing(f"is missing: {known.paid} tok are paid already", field="cumulative")
    if item.assignment:
        item.assignment.check(domain, known.statement.payee_key)
    if item.close:
        item.close.check(domain, known.statement.payee_key)


def redeem(connection: sa.Connection, domain: Domain, item: Redemption, now: int) -> Outcome:
    """Pay one item that ``check`` has passed, in a savepoint of the batch's transaction.

    Raises what ``check`` raises when the channel has moved on since, having changed nothing.
    """
    with connection.begin_nested():
        known = channels.load(connection, item.channel)
        payee = _assign(connection, known, item)
        paid, refund = Payment(), ZERO
        if item.voucher and item.voucher.cumulative > known.paid:
            found = pay(connection, known, payee, item.voucher, now)
            if found is None:
                check(domain, known, item)
                raise ChannelClosed("cannot be paid any more", field="channel")
            paid = found
        elif item.total < known.paid:
            check(domain, known, item)
        if item.close or known.state is ChannelState.UNCLAIMED:
            more, refund = close(connection, channels.load(connection, item.channel), now)
            paid = Payment(paid.amount + more.amount, paid.fee + more.fee)
        after = channels.load(connection, item.channel)
        return Outcome(known.id, paid.amount, paid.fee, refund, after.paid, after.state)


def _assign(connection: sa.Connection, known: Channel, item: Redemption) -> bytes:
    """The account that is paid: the first that the payee names, for ever."""
    if item.assignment is None:
        if known.payee is None:
            raise Malformed("is missing: no account is known for this channel", field="account")
        return known.payee
    account = item.assignment.account
    accounts.must_exist(connection, account, "account")
    if known.state is ChannelState.CLOSED and known.payee is None:
        return account
    changed = connection.execute(
        table.update()
        .where(table.c.id == known.id, sa.or_(table.c.payee.is_(None), table.c.payee == account))
        .values(
            payee=account,
            assignment=sa.func.coalesce(table.c.assignment, item.assignment.signature),
        )
    )
    if changed.rowcount != 1:
        raise NotAllowed("the payee named another account before", field="account")
    return account


_AS_REQUESTED = {
    "assignment.account": "account",
    "assignment.signature": "assignment",
    "close.signature": "close",
}


@dataclass(frozen=True, slots=True)
class Payment:
    """``amount`` left the escrow, ``fee`` of it for the ledger."""

    amount: Amount = ZERO
    fee: Amount = ZERO


def pay(
    connection: sa.Connection, known: Channel, payee: bytes, voucher: Voucher, now: int
) -> Payment | None:
    """Raise ``paid`` to the voucher's total and move the difference; None: the guard said no.

    One statement checks and acts. Reading, computing and then writing let 8 racing clients collect
    582,200 where 199,800 was owed.
    """
    cumulative = voucher.cumulative.utok
    higher = table.c.signed < cumulative
    row = connection.execute(
        table.update()
        .where(
            table.c.id == known.id,
            table.c.paid < cumulative,
            table.c.refunded + cumulative <= table.c.escrow,
            table.c.state.in_(FOLLOWS[ChannelState.CLOSED]),
        )
        .values(
            paid_before=table.c.paid,
            paid=cumulative,
            signed=sa.case((higher, cumulative), else_=table.c.signed),
            voucher=sa.case((higher, voucher.signature), else_=table.c.voucher),
        )
        .returning(table.c.paid_before)
    ).first()
    if row is None:
        return None
    before = Amount(row.paid_before)
    amount = voucher.cumulative - before
    # Rounded down over the channel's total, so that many small redemptions do not evade it.
    share = known.statement.fee
    fee = share.of(voucher.cumulative) - share.of(before)
    for kind, to, part in (
        (Kind.PAY, chart.user(payee), amount - fee),
        (Kind.FEE, chart.FEES, fee),
    ):
        if part:
            book.post(
                connection, kind, chart.ESCROW, to, known.statement.money_class, part, known.id,
                now, escrow_of=known.payer,
            )  # fmt: skip
    return Payment(amount, fee)


def close(connection: sa.Connection, known: Channel, now: int) -> tuple[Payment, Amount]:
    """Pay the highest voucher that the ledger holds, give the rest back, close for ever.

    Returns what was paid and refunded: nothing, for a channel that was closed before.
    """
    if known.state is ChannelState.CLOSED:
        return Payment(), ZERO
    paid = Payment()
    if known.best and known.payee and known.signed > known.paid:
        paid = pay(connection, known, known.payee, known.best, now) or paid
        known = channels.load(connection, known.id)
    rest = known.payable - known.paid
    move_on(connection, known, ChannelState.CLOSED, rest)
    if rest:
        _refund(connection, known, rest, now)
    return paid, rest


def keep_unclaimed(connection: sa.Connection, known: Channel, now: int) -> Amount:
    """Give back what no voucher promises; the deposited one stays for its payee."""
    rest = known.payable - known.signed
    move_on(connection, known, ChannelState.UNCLAIMED, rest)
    if rest:
        _refund(connection, known, rest, now)
    return rest


def move_on(connection: sa.Connection, known: Channel, state: ChannelState, refund: Amount) -> None:
    """Into ``state``, if the row is still the one that ``refund`` was computed from."""
    changed = connection.execute(
        table.update()
        .where(
            table.c.id == known.id,
            table.c.state == known.state.value,
            table.c.state.in_(FOLLOWS[state]),
            table.c.escrow == known.statement.escrow.utok,
            table.c.paid == known.paid.utok,
            table.c.signed == known.signed.utok,
            table.c.refunded == known.refunded.utok,
        )
        .values(state=state.value, refunded=table.c.refunded + refund.utok)
    )
    if changed.rowcount != 1:
        raise ChannelClosed("has changed meanwhile", field="channel")


def _refund(connection: sa.Connection, known: Channel, rest: Amount, now: int) -> None:
    book.post(
        connection, Kind.REFUND, chart.ESCROW, chart.user(known.payer),
        known.statement.money_class, rest, known.id, now, escrow_of=known.payer,
    )  # fmt: skip


def at_item(error: SpeedpayError, at: int) -> None:
    """Let ``error`` name the field as the request did: ``items[3].cumulative``."""
    inner = (error.field or "").removeprefix("voucher.")
    inner = _AS_REQUESTED.get(inner, inner)
    error.field = f"items[{at}].{inner}" if inner else f"items[{at}]"
