"""The guards inside the statements, alone: what a writer with an old view of a channel can do.

SQLite's writers queue up and read again, so no race reaches these guards there. They are what
protects the money on a database whose writers run side by side.
"""

from __future__ import annotations

import sqlalchemy as sa

from speedpay.errors import AboveEscrow, ChannelClosed, SpeedpayError
from speedpay.ledger import channels, redemption
from speedpay.ledger.channels import Channel
from speedpay.ledger_api import calls
from speedpay.ledger_api.shapes import ChannelState, TopUp
from speedpay.units import Amount
from tests.unit.ledger.desk import Desk, Line, fresh


def seen(line: Line) -> Channel:
    with line.desk.service.database.read() as connection:
        return channels.load(connection, line.id)


def pay(line: Line, old: Channel, utok: int) -> redemption.Payment | None:
    with line.desk.service.database.write() as connection:
        return redemption.pay(connection, old, line.payee.account, line.voucher(utok), 0)


def test_a_total_that_was_paid_meanwhile_is_not_paid_again(desk: Desk) -> None:
    line = desk.line(escrow=1000)
    line.redeem(100)
    old = seen(line)
    line.redeem(400)
    before = desk.everything()
    for utok in (400, 399, 101):
        assert pay(line, old, utok) is None
    assert desk.everything() == before


def test_only_the_difference_to_what_was_paid_meanwhile_moves(desk: Desk) -> None:
    line = desk.line(escrow=1000)
    line.redeem(100)
    old = seen(line)
    line.redeem(400)
    paid = pay(line, old, 500)
    assert paid is not None
    assert paid.amount == Amount(100)
    assert desk.credit(line.payee) == 10_000_500


def test_no_more_is_paid_than_the_row_holds(desk: Desk) -> None:
    line = desk.line(escrow=1000)
    line.redeem(1)
    before = desk.everything()
    assert pay(line, seen(line), 1001) is None
    assert desk.everything() == before


def test_what_was_refunded_meanwhile_is_not_paid(desk: Desk) -> None:
    line = desk.line(escrow=1000)
    line.redeem(1)
    line.redeem(300)
    old = seen(line)
    with desk.service.database.write() as connection:
        connection.execute(sa.text("UPDATE channels SET state = 'expired'"))
        redemption.keep_unclaimed(connection, channels.load(connection, line.id), 0)
    before = desk.everything()
    assert pay(line, old, 301) is None
    assert desk.everything() == before


def test_a_channel_that_was_closed_meanwhile_is_not_paid(desk: Desk) -> None:
    line = desk.line(escrow=1000)
    line.redeem(100)
    old = seen(line)
    line.redeem(1000, close=True)  # nothing is refunded: only the state says no
    before = desk.everything()
    assert pay(line, old, 1000) is None
    assert desk.everything() == before


def test_a_refund_computed_from_an_old_view_is_refused(desk: Desk) -> None:
    line = desk.line(escrow=1000)
    line.redeem(100)
    payer = line.payer

    def more_escrow() -> None:
        desk.ask(calls.top_up(payer.key, payer.account, line.id, TopUp(Amount(5)), fresh()))

    def a_deposit() -> None:
        desk.ask(calls.deposit_voucher(line.voucher(350)))

    changes = [
        lambda: line.redeem(300),
        a_deposit,
        lambda: line.redeem(350),
        more_escrow,
        lambda: line.redeem(350, close=True),
    ]
    for change in changes:
        old = seen(line)
        change()
        rest = old.payable - old.paid
        with (
            desk.refused(ChannelClosed, "channel"),
            desk.service.database.write() as connection,
        ):
            redemption.move_on(connection, old, ChannelState.CLOSED, rest)


def test_an_item_refused_under_the_lock_leaves_nothing_in_the_batch(desk: Desk) -> None:
    line, good = desk.line(escrow=1000), desk.line(escrow=1000)
    domain, refused = desk.service.domain, []
    with desk.service.database.write() as connection:
        for item in (line.item(1001), good.item(10)):
            try:
                redemption.redeem(connection, domain, item, 0)
            except SpeedpayError as error:
                refused.append(type(error))
    assert refused == [AboveEscrow]
    assert seen(line).payee is None
    assert desk.credit(good.payee) == 10_000_010
