"""What the ledger refuses to pay: nothing changes, and the error names the field."""

from __future__ import annotations

from dataclasses import replace

import pytest

from speedpay.channel.voucher import Assignment, Closing, Voucher
from speedpay.errors import (
    AboveEscrow,
    BadSignature,
    ChannelClosed,
    ChannelUnknown,
    Malformed,
    NotAllowed,
    NotFound,
    NotIncreasing,
)
from speedpay.ledger_api import calls
from speedpay.ledger_api.shapes import Redemption
from speedpay.signing import Domain
from speedpay.units import Amount
from tests.unit.ledger.desk import CREDIT, Desk, Line, new_key

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pytest.fixture
def line(desk: Desk) -> Line:
    return desk.line(escrow=1000)


def claim(line: Line, voucher: Voucher) -> Redemption:
    return Redemption(line.id, voucher, line.assignment())


def test_a_forged_voucher_is_refused(desk: Desk, line: Line) -> None:
    with desk.refused(BadSignature, "items[0].signature"):
        desk.redeem(claim(line, line.voucher(100, key=new_key())))


def test_a_voucher_signed_by_the_payee_is_refused(desk: Desk, line: Line) -> None:
    with desk.refused(BadSignature, "items[0].signature"):
        desk.redeem(claim(line, line.voucher(100, key=line.payee_key)))


def test_a_voucher_of_another_channel_is_refused(desk: Desk, line: Line) -> None:
    other = desk.line(escrow=1000)
    foreign = replace(other.voucher(100), channel=line.id)
    with desk.refused(BadSignature, "items[0].signature"):
        desk.redeem(claim(line, foreign))


def test_a_voucher_of_another_ledger_is_refused(desk: Desk, line: Line) -> None:
    elsewhere = Domain(desk.service.domain.network, b"\x07" * 32)
    with desk.refused(BadSignature, "items[0].signature"):
        desk.redeem(claim(line, Voucher.sign(line.payer_key, elsewhere, line.id, Amount(100))))


def test_a_voucher_of_another_network_is_refused(desk: Desk, line: Line) -> None:
    elsewhere = Domain("mainnet", desk.service.domain.ledger_id)
    with desk.refused(BadSignature, "items[0].signature"):
        desk.redeem(claim(line, Voucher.sign(line.payer_key, elsewhere, line.id, Amount(100))))


def test_a_voucher_with_another_amount_than_was_signed_is_refused(desk: Desk, line: Line) -> None:
    with desk.refused(BadSignature, "items[0].signature"):
        desk.redeem(claim(line, replace(line.voucher(100), cumulative=Amount(101))))


def test_a_lower_voucher_is_refused(desk: Desk, line: Line) -> None:
    line.redeem(500)
    with desk.refused(NotIncreasing, "items[0].cumulative"):
        line.redeem(499)


def test_a_repeated_voucher_is_answered_and_pays_nothing(desk: Desk, line: Line) -> None:
    assert line.redeem(500).amount == Amount(500)
    before = desk.everything()
    again = line.redeem(500)
    assert (again.amount, again.paid) == (Amount(0), Amount(500))
    assert desk.everything() == before
    assert desk.credit(line.payee) == 10_000_500


def test_a_repetition_with_a_forged_signature_is_refused(desk: Desk, line: Line) -> None:
    line.redeem(500)
    with desk.refused(BadSignature, "items[0].signature"):
        desk.redeem(claim(line, line.voucher(500, key=new_key())))


def test_a_voucher_above_the_escrow_is_refused(desk: Desk, line: Line) -> None:
    with desk.refused(AboveEscrow, "items[0].cumulative"):
        line.redeem(1001)
    assert line.redeem(1000).amount == Amount(1000)


def test_the_high_s_twin_of_a_voucher_is_refused(desk: Desk, line: Line) -> None:
    good = line.voucher(100)
    s = int.from_bytes(good.signature[32:])
    twin = good.signature[:32] + (ORDER - s).to_bytes(32)
    with desk.refused(BadSignature, "items[0].signature"):
        desk.redeem(claim(line, replace(good, signature=twin)))


def test_the_high_s_twin_does_not_repeat_a_redemption_either(desk: Desk, line: Line) -> None:
    good = line.voucher(100)
    desk.redeem(claim(line, good))
    s = int.from_bytes(good.signature[32:])
    twin = good.signature[:32] + (ORDER - s).to_bytes(32)
    with desk.refused(BadSignature, "items[0].signature"):
        desk.redeem(claim(line, replace(good, signature=twin)))


@pytest.mark.parametrize("extra", [b"\x00", b"\x01" * 8])
def test_a_signature_with_trailing_bytes_is_refused(desk: Desk, line: Line, extra: bytes) -> None:
    longer = replace(line.voucher(100), signature=line.voucher(100).signature + extra)
    with desk.refused(Malformed, "items[0].signature"):
        desk.redeem(claim(line, longer))


def test_a_voucher_for_an_unknown_channel_is_refused(desk: Desk, line: Line) -> None:
    unknown = bytes(32)
    voucher = Voucher.sign(line.payer_key, desk.service.domain, unknown, Amount(1))
    with desk.refused(ChannelUnknown, "items[0].channel"):
        desk.redeem(Redemption(unknown, voucher, None))


def test_an_assignment_that_the_payee_did_not_sign_is_refused(desk: Desk, line: Line) -> None:
    thief = desk.person()
    forged = Assignment.sign(line.payer_key, desk.service.domain, line.id, thief.account)
    with desk.refused(BadSignature, "items[0].assignment"):
        desk.redeem(Redemption(line.id, line.voucher(100), forged))


def test_a_redemption_without_any_assignment_is_refused(desk: Desk, line: Line) -> None:
    with desk.refused(Malformed, "items[0].account"):
        desk.redeem(Redemption(line.id, line.voucher(100), None))


def test_a_later_assignment_to_another_account_is_refused(desk: Desk, line: Line) -> None:
    line.redeem(100)
    other = desk.person()
    with desk.refused(NotAllowed, "items[0].account"):
        desk.redeem(Redemption(line.id, line.voucher(200), line.assignment(other.account)))


def test_an_assignment_to_an_unknown_account_is_refused(desk: Desk, line: Line) -> None:
    with desk.refused(NotFound, "items[0].account"):
        desk.redeem(Redemption(line.id, line.voucher(100), line.assignment(b"\x09" * 16)))


def test_a_refused_voucher_does_not_leave_its_assignment_behind(desk: Desk, line: Line) -> None:
    with desk.refused(AboveEscrow, "items[0].cumulative"):
        line.redeem(5000)
    other = desk.person()
    outcome = desk.redeem(Redemption(line.id, line.voucher(100), line.assignment(other.account)))
    assert outcome.amount == Amount(100)


def test_a_closed_channel_never_pays(desk: Desk, line: Line) -> None:
    line.redeem(100, close=True)
    with desk.refused(ChannelClosed, "items[0].channel"):
        line.redeem(200)


def test_only_the_payee_closes_before_the_expiry(desk: Desk, line: Line) -> None:
    """Closing needs two signatures of the payee's key, which the payer does not have."""
    line.redeem(100)
    voucher, closing, domain = line.voucher(100), line.closing(100), desk.service.domain
    with desk.refused(Malformed, "items[0].assignment"):
        desk.redeem(Redemption(line.id, voucher, None, closing))
    payers = Assignment.sign(line.payer_key, domain, line.id, line.payer.account)
    with desk.refused(NotAllowed, "items[0].account"):
        desk.redeem(Redemption(line.id, voucher, payers, closing))
    own = Assignment.sign(line.payer_key, domain, line.id, line.payee.account)
    with desk.refused(BadSignature, "items[0].assignment"):
        desk.redeem(Redemption(line.id, voucher, own, closing))
    own_end = Closing.sign(line.payer_key, domain, line.id, line.payee.account, Amount(100))
    with desk.refused(BadSignature, "items[0].close"):
        desk.redeem(Redemption(line.id, voucher, line.assignment(), own_end))


def test_who_reads_a_redemption_on_the_way_cannot_end_the_channel_with_it(
    desk: Desk, line: Line
) -> None:
    """What goes over plain HTTP is a voucher and its assignment: neither says "close"."""
    seen = line.item(100)
    desk.redeem(seen)
    assert seen.assignment is not None
    replayed = Closing(line.id, line.payee.account, Amount(100), seen.assignment.signature)
    with desk.refused(BadSignature, "items[0].close"):
        desk.redeem(replace(seen, close=replayed))
    assert line.redeem(900).amount == Amount(800)


def test_the_voucher_cannot_be_taken_out_of_a_closing_on_the_way(desk: Desk, line: Line) -> None:
    """Else the rest would go back to the payer, and the payee's last voucher with it."""
    ending = line.item(700, close=True)
    with desk.refused(BadSignature, "items[0].close"):
        desk.redeem(replace(ending, voucher=None))
    with desk.refused(BadSignature, "items[0].close"):
        desk.redeem(replace(ending, voucher=line.voucher(600)))
    outcome = desk.redeem(ending)
    assert (outcome.amount, outcome.refund) == (Amount(700), Amount(300))


def test_a_closing_holds_for_its_channel_and_account_only(desk: Desk, line: Line) -> None:
    foreign = replace(desk.line(escrow=1000).closing(100), channel=line.id)
    with desk.refused(BadSignature, "items[0].close"):
        desk.redeem(Redemption(line.id, line.voucher(100), line.assignment(), foreign))
    other = desk.person()
    with desk.refused(BadSignature, "items[0].close"):
        desk.redeem(
            Redemption(
                line.id, line.voucher(100), line.assignment(), line.closing(100, other.account)
            )
        )


def test_an_old_closing_with_less_than_was_paid_is_refused(desk: Desk, line: Line) -> None:
    unused, early = line.item(None, close=True), line.item(100, close=True)
    line.redeem(500)
    for old in (unused, early):
        with desk.refused(NotIncreasing, "items[0].cumulative"):
            desk.redeem(old)


def test_one_bad_item_of_a_batch_harms_no_other(desk: Desk) -> None:
    lines = [desk.line(escrow=1000) for _ in range(4)]
    items = [one.item(100) for one in lines]
    items[1] = replace(items[1], voucher=lines[1].voucher(100, key=new_key()))
    items[2] = lines[2].item(1001)
    outcomes = desk.ask(calls.redeem(items))
    assert [one.amount.utok for one in outcomes] == [100, 0, 0, 100]
    assert [type(one.error) for one in outcomes] == [
        type(None), BadSignature, AboveEscrow, type(None),
    ]  # fmt: skip
    assert outcomes[1].error is not None
    assert outcomes[1].error.field == "items[1].signature"


def test_a_voucher_twice_in_one_batch_pays_once(desk: Desk, line: Line) -> None:
    outcomes = desk.ask(calls.redeem([line.item(300), line.item(300), line.item(200)]))
    assert [one.amount.utok for one in outcomes] == [300, 0, 0]
    assert isinstance(outcomes[2].error, NotIncreasing)
    assert desk.credit(line.payee) == 10_000_300


def test_a_deposited_voucher_must_be_as_good_as_a_redeemed_one(desk: Desk, line: Line) -> None:
    with desk.refused(BadSignature, "voucher.signature"):
        desk.ask(calls.deposit_voucher(line.voucher(100, key=new_key())))
    with desk.refused(AboveEscrow, "voucher.cumulative"):
        desk.ask(calls.deposit_voucher(line.voucher(1001)))
    desk.ask(calls.deposit_voucher(line.voucher(100)))
    with desk.refused(NotIncreasing, "voucher.cumulative"):
        desk.ask(calls.deposit_voucher(line.voucher(99)))
    before = desk.everything()
    desk.ask(calls.deposit_voucher(line.voucher(100)))
    assert desk.everything() == before


def test_credit_in_a_channel_arrives_as_credit(desk: Desk, line: Line) -> None:
    assert line.statement.money_class is CREDIT
    line.redeem(100)
    balance = desk.balance(line.payee)
    assert (balance.token.utok, balance.credit.utok) == (0, 10_000_100)
