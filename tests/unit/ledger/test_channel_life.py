"""A channel from its opening to its end, with time passing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from speedpay.errors import (
    AboveEscrow,
    AlreadyExists,
    BalanceTooSmall,
    ChannelClosed,
    ChannelUnknown,
    Malformed,
    NotAllowed,
)
from speedpay.ledger.channels import CLAIM_S
from speedpay.ledger.service import Settings
from speedpay.ledger_api import calls
from speedpay.ledger_api.shapes import ChannelState, OpenChannel, Redemption, TopUp
from speedpay.units import ZERO, Amount, Share
from tests.unit.ledger.desk import HOUR_S, TOKEN, Desk, fresh

SHORT = Settings(claim_s=600, unlimited_loopback=True)


@pytest.fixture
def brief(tmp_path: Path) -> Iterator[Desk]:
    """A ledger with a claim window of ten minutes."""
    made = Desk(tmp_path / "brief", SHORT)
    yield made
    assert made.broken() == []
    made.service.close()


def test_opening_locks_and_a_final_redemption_pays_and_refunds(desk: Desk) -> None:
    line = desk.line(escrow=1000)
    locked = desk.balance(line.payer)
    assert (locked.credit.utok, locked.credit_in_escrow.utok) == (9_999_000, 1000)
    outcome = line.redeem(400, close=True)
    assert (outcome.amount.utok, outcome.refund.utok) == (400, 600)
    assert outcome.state is ChannelState.CLOSED
    freed = desk.balance(line.payer)
    assert (freed.credit.utok, freed.credit_in_escrow.utok) == (9_999_600, 0)
    assert desk.credit(line.payee) == 10_000_400


def test_a_channel_of_tokens_pays_tokens(desk: Desk) -> None:
    payer = desk.person(tokens=5000)
    line = desk.line(escrow=1000, money_class=TOKEN, payer=payer)
    line.redeem(400, close=True)
    assert desk.balance(payer).token == Amount(4600)
    assert desk.balance(line.payee).token == Amount(400)
    assert desk.credit(line.payee) == 10_000_000


def test_the_payee_closes_a_channel_that_was_never_used(desk: Desk) -> None:
    line = desk.line(escrow=1000)
    outcome = line.redeem(None, close=True)
    assert (outcome.amount, outcome.refund.utok, outcome.state) == (ZERO, 1000, ChannelState.CLOSED)
    again = line.redeem(None, close=True)
    assert (again.refund, again.state) == (ZERO, ChannelState.CLOSED)


def test_the_assignment_need_be_given_only_once(desk: Desk) -> None:
    line = desk.line(escrow=1000)
    line.redeem(100)
    assert desk.redeem(Redemption(line.id, line.voucher(250), None)).amount == Amount(150)


def test_a_top_up_adds_escrow_and_time_and_nothing_else(desk: Desk) -> None:
    line = desk.line(escrow=1000)
    with desk.refused(AboveEscrow, "items[0].cumulative"):
        line.redeem(1500)
    more = TopUp(Amount(500), lifetime_s=2 * HOUR_S)
    payer = line.payer
    signed = desk.ask(calls.top_up(payer.key, payer.account, line.id, more, fresh()))
    assert signed.statement.escrow == Amount(1500)
    assert signed.statement.expiry == line.statement.expiry + HOUR_S
    assert line.redeem(1500).amount == Amount(1500)


def test_a_top_up_never_shortens_a_channel(desk: Desk) -> None:
    line, less = desk.line(lifetime_s=4 * HOUR_S), TopUp(ZERO, lifetime_s=HOUR_S)
    payer = line.payer
    signed = desk.ask(calls.top_up(payer.key, payer.account, line.id, less, fresh()))
    assert signed.statement == line.statement


def test_a_top_up_is_refused_to_others_to_closed_and_to_expired_channels(desk: Desk) -> None:
    line, more, payer = desk.line(), TopUp(Amount(1)), desk.person()
    with desk.refused(NotAllowed, "channel"):
        desk.ask(calls.top_up(payer.key, payer.account, line.id, more, fresh()))
    payer = line.payer
    with desk.refused(ChannelUnknown, "channel"):
        desk.ask(calls.top_up(payer.key, payer.account, bytes(32), more, fresh()))
    with desk.refused(BalanceTooSmall, "amount"):
        rich = TopUp(Amount(10_000_000))
        desk.ask(calls.top_up(payer.key, payer.account, line.id, rich, fresh()))
    with desk.refused(Malformed, "amount"):
        huge = TopUp(Amount(2**63 - 1))
        desk.ask(calls.top_up(payer.key, payer.account, line.id, huge, fresh()))
    desk.clock.now += HOUR_S
    with desk.refused(ChannelClosed, "channel"):
        desk.ask(calls.top_up(payer.key, payer.account, line.id, more, fresh()))


def test_the_same_nonce_opens_no_second_channel(desk: Desk) -> None:
    line = desk.line()
    body = line.statement
    order = OpenChannel(
        body.payer_key, body.payee_key, body.nonce, body.money_class, Amount(1), HOUR_S
    )
    with desk.refused(AlreadyExists, "nonce"):
        desk.ask(calls.open_channel(line.payer.key, line.payer.account, order, fresh()))


def test_an_escrow_above_the_balance_is_refused(desk: Desk) -> None:
    payer = desk.person()
    body = desk.line().statement
    order = OpenChannel(
        body.payer_key, body.payee_key, fresh(), body.money_class, Amount(10_000_001), HOUR_S
    )
    with desk.refused(BalanceTooSmall, "amount"):
        desk.ask(calls.open_channel(payer.key, payer.account, order, fresh()))


def test_the_payee_can_redeem_through_the_whole_claim_window(brief: Desk) -> None:
    line = brief.line(escrow=1000, lifetime_s=900)
    brief.pass_time(900)
    assert line.view().state is ChannelState.EXPIRED
    brief.pass_time(599)
    assert line.redeem(700, close=True).refund == Amount(300)


def test_after_the_claim_window_the_rest_goes_back(brief: Desk) -> None:
    line = brief.line(escrow=1000, lifetime_s=900)
    line.redeem(100)
    brief.pass_time(900 + 600)
    view = line.view()
    assert (view.state, view.paid.utok, view.refunded.utok) == (ChannelState.CLOSED, 100, 900)
    assert brief.credit(line.payer) == 9_999_900
    with brief.refused(ChannelClosed, "items[0].channel"):
        line.redeem(200)


def test_the_claim_window_is_eight_days() -> None:
    assert CLAIM_S == Settings().claim_s == 8 * 24 * HOUR_S


def test_time_in_which_the_ledger_was_down_does_not_count(brief: Desk) -> None:
    line = brief.line(escrow=1000, lifetime_s=900)
    brief.pass_time(900)
    brief.be_down(30 * 24 * HOUR_S)
    brief.pass_time(300)
    brief.be_down(30 * 24 * HOUR_S)
    brief.pass_time(299)
    assert line.redeem(700).amount == Amount(700)
    brief.pass_time(60)
    assert line.view().state is ChannelState.CLOSED


def test_a_channel_that_expired_during_an_outage_has_its_whole_window(brief: Desk) -> None:
    line = brief.line(escrow=1000, lifetime_s=900)
    brief.be_down(10 * 24 * HOUR_S)
    brief.pass_time(599)
    assert line.view().state is ChannelState.EXPIRED
    assert line.redeem(700).amount == Amount(700)


def test_a_clock_that_jumps_back_does_not_lengthen_the_uptime(brief: Desk) -> None:
    line = brief.line(escrow=1000, lifetime_s=900)
    brief.pass_time(900)
    for _ in range(20):
        brief.clock.now -= 50
        brief.service.tick()
    brief.pass_time(500)
    assert line.view().state is ChannelState.EXPIRED


def test_the_highest_deposited_voucher_is_paid_at_the_end_of_the_window(brief: Desk) -> None:
    line = brief.line(escrow=1000, lifetime_s=900)
    line.redeem(100)
    brief.ask(calls.deposit_voucher(line.voucher(350)))
    view = line.view()
    assert view.voucher == line.voucher(350)
    brief.pass_time(900 + 600)
    view = line.view()
    assert (view.state, view.paid.utok, view.refunded.utok) == (ChannelState.CLOSED, 350, 650)
    assert brief.credit(line.payee) == 10_000_350


def test_a_deposit_without_a_known_account_stays_claimable(brief: Desk) -> None:
    line = brief.line(escrow=1000, lifetime_s=900)
    brief.ask(calls.deposit_voucher(line.voucher(350)))
    brief.pass_time(900 + 600)
    view = line.view()
    assert (view.state, view.paid.utok, view.refunded.utok) == (ChannelState.UNCLAIMED, 0, 650)
    assert brief.balance(line.payer).credit_in_escrow == Amount(350)
    with brief.refused(AboveEscrow, "items[0].cumulative"):
        line.redeem(400)
    brief.pass_time(3 * HOUR_S)
    outcome = line.redeem(350)
    assert (outcome.amount.utok, outcome.state) == (350, ChannelState.CLOSED)
    assert brief.credit(line.payee) == 10_000_350


def test_closing_pays_a_higher_voucher_that_the_payer_deposited(desk: Desk) -> None:
    line = desk.line(escrow=1000)
    desk.ask(calls.deposit_voucher(line.voucher(350)))
    outcome = line.redeem(300, close=True)
    assert (outcome.amount.utok, outcome.paid.utok, outcome.refund.utok) == (350, 350, 650)


def test_the_fee_is_in_the_statement_and_is_rounded_down_over_the_total(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "fees", Settings(fee=Share(15_000), unlimited_loopback=True))
    line = desk.line(escrow=1000)
    assert line.statement.fee == Share(15_000)
    fees = [line.redeem(total).fee.utok for total in range(50, 1001, 50)]
    assert sum(fees) == 15
    assert desk.credit(line.payee) == 10_000_000 + 1000 - 15
    assert desk.broken() == []


def test_both_sides_may_look_with_account_or_channel_key_and_nobody_else(desk: Desk) -> None:
    line, stranger = desk.line(), desk.person()
    for key in (line.payer_key, line.payee_key):
        assert desk.ask(calls.channel(key, key.public, line.id)).state is ChannelState.OPEN
    payer, payee = line.payer, line.payee
    assert desk.ask(calls.channel(payer.key, payer.account, line.id)).escrow == Amount(1000)
    with desk.refused(NotAllowed, "channel"):  # nothing has named the payee's account yet
        desk.ask(calls.channel(payee.key, payee.account, line.id))
    line.redeem(10)
    assert desk.ask(calls.channel(payee.key, payee.account, line.id)).paid == Amount(10)
    for key, name in ((stranger.key, stranger.account), (stranger.key, stranger.key.public)):
        with desk.refused(NotAllowed, "channel"):
            desk.ask(calls.channel(key, name, line.id))


def test_a_view_names_neither_account(desk: Desk) -> None:
    line = desk.line()
    line.redeem(10)
    told = str(line.view().to_json())
    assert line.payer.account.hex() not in told
    assert line.payee.account.hex() not in told
