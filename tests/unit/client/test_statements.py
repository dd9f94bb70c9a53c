"""What is kept of purchases and sales proves itself later, or says plainly what is missing or wrong.

The ledger is a real one, without sockets; the scenario that pays over a swarm is in tests/scenarios.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from speedpay.channel.payee import PayeeChannel
from speedpay.channel.payer import PayerChannel
from speedpay.channel.receipt import PayeeReceipt, content_commitment
from speedpay.channel.voucher import SignedStatement
from speedpay.client.earnings import Earnings, earnings
from speedpay.client.proving import Prover
from speedpay.client.receipts import Purchase, judged
from speedpay.client.records import Ended, Records, Traffic
from speedpay.client.store import Order, Store, StoredPlan
from speedpay.errors import BadSignature, Malformed
from speedpay.ledger_api import calls
from speedpay.ledger_api.attested import SignedAnswer
from speedpay.market.bidder import Formula, Plan
from speedpay.signing import Domain
from speedpay.units import MIB, ZERO, Amount, MoneyClass, Share
from tests.unit.ledger.desk import Desk, Line, fresh

HASH, OTHER, SALT = b"\x01" * 20, b"\x02" * 20, b"\x03" * 32
PLAN = Plan(
    Share.from_text("0.25"), Amount(10**7), MIB, MIB, Formula.ANCHORED, None, None, None, None
)
RUN = Ended("film", MIB, 1_000, 1_010, 9_500, Amount(700))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "client.db")
    yield made
    made.close()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "desk")


def _signed(line: Line) -> SignedStatement:
    return line.view().signed_statement


def _pay(store: Store, line: Line, utok: int) -> StoredPlan:
    """A channel of a purchase on which vouchers over ``utok`` were signed."""
    plan = store.plan_of(HASH) or store.save_plan(HASH, PLAN, MoneyClass.CREDIT)
    opened = _signed(line)
    body = opened.statement
    order = Order(fresh(), plan, body.payee_key, body.nonce, None, body.escrow, 3600)
    store.add_order(order)
    store.order_filled(order, opened)
    store.save_channels([PayerChannel(opened, Amount(utok), Amount(utok))], [])
    certificate = line.desk.ask(calls.identify()).certificates[0]
    Records(store).keep_certificate(certificate)
    return plan


def _close(store: Store, line: Line, utok: int | None) -> SignedAnswer:
    """The payee brings its voucher and closes; the payer learns it and keeps the answer."""
    line.redeem(utok, close=True)
    payer = line.payer
    found = line.desk.attested(calls.channel(payer.key, payer.account, line.id))
    store.payer_closed(line.id, found.value.paid, found.answer)
    return found.answer


def _receipt(store: Store, desk: Desk, domain: Domain | None = None) -> Purchase:
    records = Records(store)
    (bought,) = records.bought()
    return judged(bought, "a name", Prover(records, domain or desk.service.domain))


def _sell(store: Store, line: Line, utok: int) -> None:
    opened = _signed(line)
    channel = PayeeChannel(opened.statement, line.voucher(utok) if utok else None)
    store.save_channels([], [(HASH, channel, opened)])


def _redeem(store: Store, line: Line, utok: int, close: bool = False, account: bytes = b"") -> None:
    item = line.item(utok, close, account or None)
    found = line.desk.attested(calls.redeem([item]))
    (outcome,) = found.value
    store.redeemed(line.id, outcome.paid, close, found.answer)


def _earned(store: Store, desk: Desk, line: Line) -> Earnings:
    records = Records(store)
    return earnings(records, Prover(records, desk.service.domain), line.payee.account)


def test_a_purchase_of_two_channels_is_proved_to_the_unit(store: Store, desk: Desk) -> None:
    first, second = desk.line(1000), desk.line(500)
    plan = _pay(store, first, 600)
    _pay(store, second, 100)
    _close(store, first, 600)
    _close(store, second, 100)
    Records(store).ended(plan.id, RUN)
    store.plan_done(plan)
    found = _receipt(store, desk)
    assert found.problems() == found.notes == []
    assert found.paid == found.proved == found.promised == Amount(700)
    assert found.refunded == Amount(800)
    assert (found.name, found.done, found.ended) == ("film", True, RUN)


def test_a_voucher_that_its_payee_never_brought_came_back_and_is_said(
    store: Store, desk: Desk
) -> None:
    line = desk.line(1000)
    plan = _pay(store, line, 700)
    Records(store).ended(plan.id, RUN)
    store.plan_done(plan)
    _close(store, line, 650)
    found = _receipt(store, desk)
    assert found.problems() == []
    assert (found.paid, found.promised, found.refunded) == (Amount(650), Amount(700), Amount(350))
    assert found.notes == [
        "0.00005 tok of vouchers were never brought to the ledger by their payees, and came back"
    ]


def test_an_open_channel_counts_with_its_voucher_and_a_killed_run_with_its_channels(
    store: Store, desk: Desk
) -> None:
    plan = _pay(store, desk.line(1000), 300)
    found = _receipt(store, desk)
    assert (found.paid, found.proved, found.problems()) == (Amount(300), ZERO, [])
    assert found.name == "a name"
    assert found.notes == ["no run of it came to an end, so only its channels say what was paid"]
    Records(store).ended(plan.id, replace(RUN, paid=Amount(200)))
    killed_later, not_closed = _receipt(store, desk).notes
    assert killed_later == (
        "a later run was killed before its end: 0.0001 tok came after the receipt"
    )
    assert not_closed.startswith("1 of its channels are not closed yet")


def test_a_channel_without_a_kept_answer_says_so_and_breaks_nothing(
    store: Store, desk: Desk
) -> None:
    """What a file of an earlier version holds of channels that were closed then."""
    line = desk.line(1000)
    _pay(store, line, 400)
    store.payer_closed(line.id, Amount(400))
    found = _receipt(store, desk)
    assert (found.paid, found.proved, found.problems()) == (Amount(400), ZERO, [])
    (said,) = found.channels[0].missing
    assert said == "kept no closing answer: only these records say that 0.0004 tok were paid"


def _payees_word(line: Line, utok: int, infohash: bytes = HASH) -> PayeeReceipt:
    commitment = content_commitment(SALT, infohash)
    return PayeeReceipt.sign(
        line.payee_key,
        line.desk.service.domain,
        line.id,
        Amount(utok),
        MIB,
        commitment,
        1_800_000_000,
    )


def test_the_payees_receipt_is_kept_with_its_salt_and_the_highest_stays(
    store: Store, desk: Desk
) -> None:
    line, bare = desk.line(1000), desk.line(1000)
    _pay(store, line, 400)
    _pay(store, bare, 100)
    records = Records(store)
    for utok in (300, 400, 200):
        records.keep_receipt(_payees_word(line, utok), SALT)
    found = _receipt(store, desk)
    with_word, without = sorted(found.channels, key=lambda one: one.receipt is None)
    assert found.problems() == []
    assert with_word.receipt is not None
    assert with_word.receipt.cumulative == Amount(400)
    assert with_word.receipt.of(HASH) == _payees_word(line, 400)
    assert without.receipt is None


def test_a_receipt_of_the_payee_that_does_not_hold_is_told(store: Store, desk: Desk) -> None:
    line = desk.line(1000)
    _pay(store, line, 400)
    records = Records(store)
    records.keep_receipt(_payees_word(line, 401), SALT)
    assert _receipt(store, desk).problems() == [
        "its payee signed that it holds 0.000401 tok, these records know of vouchers over 0.0004 tok"
    ]
    forged = replace(_payees_word(line, 402), signature=bytes(64))
    for wrong in (forged, _payees_word(line, 403, infohash=OTHER)):
        records.keep_receipt(replace(wrong, cumulative=Amount(500)), SALT)
        (told,) = _receipt(store, desk).problems()
        assert told.startswith("the receipt of its payee does not hold: receipt.signature")
    with store.write() as db:
        db.exec_driver_sql("UPDATE payee_receipts SET time = 'late'")
    (told,) = _receipt(store, desk).problems()
    assert told == "the receipt of its payee does not hold: receipt: is not what was written"


def test_the_answer_about_another_channel_proves_nothing_here(
    store: Store, desk: Desk, tmp_path: Path
) -> None:
    first, second = desk.line(1000), desk.line(1000)
    _pay(store, first, 400)
    _pay(store, second, 400)
    answer = _close(store, first, 400)
    second.redeem(400, close=True)
    store.payer_closed(second.id, Amount(400), answer)
    found = _receipt(store, desk)
    broken = {one.channel: one.broken for one in found.channels}
    assert broken[first.id] == []
    assert broken[second.id] == [
        "the ledger's closing answer does not hold: answer: is the answer to another question"
    ]


def test_another_ledgers_word_counts_for_nothing(store: Store, desk: Desk, tmp_path: Path) -> None:
    line = desk.line(1000)
    _pay(store, line, 400)
    _close(store, line, 400)
    other = Desk(tmp_path / "other")
    found = _receipt(store, desk, other.service.domain)
    (told,) = found.problems()
    assert told.startswith("the ledger's closing answer does not hold")
    assert found.channels[0].missing == [
        "the ledger's certificate was not kept, so its statement is unchecked"
    ]
    assert found.proved == ZERO


def test_a_signed_answer_comes_back_as_it_was_and_any_changed_part_is_refused(
    store: Store, desk: Desk
) -> None:
    line = desk.line(1000)
    _pay(store, line, 400)
    answer = _close(store, line, 400)
    domain = desk.service.domain
    kept = answer.to_bytes()
    answer = SignedAnswer.from_bytes(kept)
    assert answer.to_bytes() == kept
    assert answer.check(domain).text("state") == "closed"
    head = answer.head
    for changed in (
        replace(answer, answer=replace(answer.answer, body=answer.answer.body + b" ")),
        replace(answer, answer=replace(answer.answer, status=201)),
        replace(answer, answer=replace(answer.answer, signature="00" * 64)),
        replace(answer, request=b"{}"),
        replace(answer, head=replace(head, target=head.target + "?")),
        replace(answer, head=replace(head, time=str(int(head.time) + 1))),
        replace(answer, head=replace(head, account="00" * 16)),
        replace(answer, certificate=replace(answer.certificate, not_after=1)),
    ):
        with pytest.raises(BadSignature):
            changed.check(domain)
    for unreadable in (b"", b"{}", b"[]", answer.to_bytes()[:-1], b'"\xc3\xa4"'):
        with pytest.raises(Malformed):
            SignedAnswer.from_bytes(unreadable)


def test_the_runs_of_one_purchase_are_one_receipt(store: Store) -> None:
    plan = store.save_plan(HASH, PLAN, MoneyClass.CREDIT)
    records = Records(store)
    first = replace(RUN, byte_count=5, predicted_ms=4_000, predicted_paid=Amount(9))
    records.ended(plan.id, first)
    records.ended(
        plan.id, replace(RUN, began=2_000, ended=2_001, paid=Amount(900), gain_ppm=2_900_000)
    )
    records.ended(plan.id, replace(RUN, began=3_000, ended=3_001, predicted_ms=1, milliseconds=1))
    (bought,) = records.bought()
    assert bought.ended == Ended(
        "film", MIB, 1_000, 3_001, 19_001, Amount(700), 4_000, Amount(9), 2_900_000
    )


def test_what_a_seller_redeemed_is_proved_and_only_the_newest_answer_is_kept(
    store: Store, desk: Desk, tmp_path: Path
) -> None:
    line = desk.line(1000)
    _sell(store, line, 300)
    _redeem(store, line, 300)
    store.save_channels([], [(HASH, PayeeChannel(line.statement, line.voucher(800)), None)])
    half = _earned(store, desk, line)
    assert half.problems() == []
    assert (half.total().earned, half.total().redeemed, half.lost) == (
        Amount(800),
        Amount(300),
        ZERO,
    )
    _redeem(store, line, 800, close=True)
    found = _earned(store, desk, line)
    assert found.problems() == found.missing() == []
    assert found.total().redeemed == found.total().earned == Amount(800)
    assert desk.credit(line.payee) == 10_000_000 + 800
    with closing(sqlite3.connect(tmp_path / "client.db")) as db:
        assert db.execute("SELECT count(*) FROM answers").fetchone() == (1,)


def test_one_answer_about_two_channels_is_kept_once_and_serves_both(
    store: Store, desk: Desk, tmp_path: Path
) -> None:
    first, second = desk.line(1000), desk.line(1000)
    second.payee = first.payee
    for line in (first, second):
        _sell(store, line, 400)
    found = desk.attested(calls.redeem([first.item(400), second.item(400)]))
    for line in (first, second):
        store.redeemed(line.id, Amount(400), False, found.answer)
    assert _earned(store, desk, first).problems() == []
    _redeem(store, first, 400, close=True)
    assert _earned(store, desk, first).problems() == [], "the other still has the shared one"
    with closing(sqlite3.connect(tmp_path / "client.db")) as db:
        assert db.execute("SELECT count(*) FROM answers").fetchone() == (2,)


def test_what_was_redeemed_for_another_account_is_told(store: Store, desk: Desk) -> None:
    line, thief = desk.line(1000), desk.person()
    _sell(store, line, 400)
    _redeem(store, line, 400, account=thief.account)
    (said,) = _earned(store, desk, line).problems()
    assert said.endswith("was for another account than this one")


def test_vouchers_that_a_closed_channel_did_not_pay_are_lost_and_not_waiting(
    store: Store, desk: Desk
) -> None:
    line = desk.line(1000)
    _sell(store, line, 300)
    _redeem(store, line, 300, close=True)
    store.save_channels([], [(HASH, PayeeChannel(line.statement, line.voucher(450)), None)])
    assert _earned(store, desk, line).lost == Amount(150)


def test_traffic_adds_up_by_hour_and_torrent_and_names_are_remembered(
    store: Store, desk: Desk
) -> None:
    records = Records(store)
    day = 20_000 * 86_400
    records.add_traffic(
        {HASH: Traffic(5, 7, 60, day + 10), OTHER: Traffic(0, 9, 60, day + 10)}, {HASH: "film"}
    )
    records.add_traffic({HASH: Traffic(1, 1, 60, day + 70)}, {HASH: "film again"})
    records.add_traffic({HASH: Traffic(2, 0, 30, day + 86_400)}, {})
    line = desk.line()
    found = _earned(store, desk, line)
    assert found.since == day + 10
    assert {key: (one.paid_bytes, one.free_bytes, one.seconds) for key, one in found.days.items()} == {
        (20_000, HASH): (6, 8, 120), (20_000, OTHER): (0, 9, 60), (20_001, HASH): (2, 0, 30),
    }  # fmt: skip
    assert (found.name(HASH), found.name(OTHER)) == ("film again", OTHER.hex())
    assert found.seeded_s(0) == 150, "two torrents at once are one uplink"


def test_a_file_of_the_version_before_gains_the_tables(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "client.db"
    new = ("receipts", "closings", "answers", "certificates", "traffic", "names")
    store.close()
    with closing(sqlite3.connect(path)) as db:
        for table in new:
            db.execute(f"DROP TABLE {table}")
        db.execute("PRAGMA user_version=1")
        db.commit()
    again = Store(path)
    assert Records(again).bought() == []
    assert Records(again).traffic() == []
    assert Records(again).certificates() == []
    again.close()
