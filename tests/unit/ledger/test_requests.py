"""Who may ask what: signatures, time, repetition, other people's accounts, how often."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from speedpay.errors import (
    BadSignature,
    BalanceTooSmall,
    KeyReused,
    Malformed,
    NotAllowed,
    NotFound,
    OverLimit,
    Stale,
)
from speedpay.ledger import accounts, service
from speedpay.ledger.idempotency import KEEP_REFUSALS_S
from speedpay.ledger.schema import refusals
from speedpay.ledger.service import Settings
from speedpay.ledger_api import calls
from speedpay.ledger_api.calls import Call
from speedpay.ledger_api.shapes import OpenChannel, Send, TopUp
from speedpay.ledger_api.signed import TIME_TOLERANCE_S, Head, account_id
from speedpay.signing import Domain
from speedpay.units import Amount
from tests.unit.ledger.desk import CREDIT, HOUR_S, TOKEN, Desk, Line, Person, fresh, new_key


@pytest.fixture
def ann(desk: Desk) -> Person:
    return desk.person()


@pytest.fixture
def ben(desk: Desk) -> Person:
    return desk.person()


def order(to: Person, utok: int = 5) -> Send:
    return Send(to.account, CREDIT, Amount(utok))


def test_an_account_id_is_half_a_hash_of_its_first_key() -> None:
    public = bytes.fromhex(
        "02" + "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
    )
    assert account_id(public).hex() == "8aa9a98f027bb39da52bde60b3738fd7"


def test_a_new_account_is_welcomed_once_with_credit(desk: Desk) -> None:
    key = new_key()
    first = desk.ask(calls.open_account(key, fresh()))
    second = desk.ask(calls.open_account(key, fresh()))
    assert (first.granted.utok, second.granted.utok) == (10_000_000, 0)
    assert first.account == second.account == account_id(key.public)
    assert desk.credit(Person(key, first.account)) == 10_000_000


def test_an_account_is_opened_only_by_its_own_key(desk: Desk) -> None:
    victim, thief = new_key(), new_key()
    call = calls.open_account(victim, fresh())
    with desk.refused(BadSignature, "speedpay-signature"):
        desk.ask(replace(call, key=thief))
    with desk.refused(BadSignature, "speedpay-account"):
        desk.ask(replace(call, key=thief, signer=account_id(thief.public)))


def test_sending_moves_money_between_two_accounts(desk: Desk, ann: Person, ben: Person) -> None:
    desk.ask(calls.send(ann.key, ann.account, order(ben), fresh()))
    assert (desk.credit(ann), desk.credit(ben)) == (9_999_995, 10_000_005)


def test_sending_more_than_one_has_is_refused(desk: Desk, ann: Person, ben: Person) -> None:
    with desk.refused(BalanceTooSmall, "amount"):
        desk.ask(calls.send(ann.key, ann.account, order(ben, 10_000_001), fresh()))
    with desk.refused(BalanceTooSmall, "amount"):
        token = Send(ben.account, TOKEN, Amount(1))
        desk.ask(calls.send(ann.key, ann.account, token, fresh()))


def test_sending_to_oneself_or_to_nobody_is_refused(desk: Desk, ann: Person) -> None:
    with desk.refused(NotAllowed, "to"):
        desk.ask(calls.send(ann.key, ann.account, order(ann), fresh()))
    with desk.refused(NotFound, "to"):
        nobody = Send(bytes(16), CREDIT, Amount(1))
        desk.ask(calls.send(ann.key, ann.account, nobody, fresh()))


def test_somebody_elses_balance_and_history_are_refused(
    desk: Desk, ann: Person, ben: Person
) -> None:
    for call in (
        calls.balance(ben.key, ann.account),
        calls.history(ben.key, ann.account, None, 10),
    ):
        with desk.refused(NotFound, "speedpay-account"):
            desk.ask(call)
        with desk.refused(NotFound, "account"):
            desk.ask(replace(call, signer=ben.account))


def test_an_account_of_others_is_answered_like_one_that_does_not_exist(
    desk: Desk, ann: Person, ben: Person
) -> None:
    """Whatever is tried on it, status and body are the same, to the byte."""

    def tried(account: bytes) -> list[tuple[int, bytes]]:
        found = []
        for what in ("balance", "history", "proof", "withdrawals", "deposits"):
            target = f"/v1/accounts/{account.hex()}/{what}"
            for key, signer in ((ben.key, account), (ben.key, ben.account), (None, b"")):
                call = Call("GET", target, lambda fields: None, b"", key, signer)
                head = call.head(desk.service.domain, desk.service.now())
                found.append(desk.raw("GET", target, b"", head.headers()))
        return [(reply.status, reply.body) for reply in found]

    there, nowhere = tried(ann.account), tried(bytes(16))
    assert there == nowhere
    assert {status for status, _ in there} == {404, 422}


def test_a_signature_is_judged_as_long_for_no_account_as_for_a_wrong_key(
    desk: Desk, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same steps, so that the time tells nothing either: one key looked up, one signature checked."""
    asked: list[str] = []
    look, check = accounts.key_of, service.check_request
    monkeypatch.setattr(accounts, "key_of", lambda *given: asked.append("look") or look(*given))
    monkeypatch.setattr(
        service, "check_request", lambda *given: asked.append("check") or check(*given)
    )
    steps = []
    for account in (ann.account, bytes(16)):
        asked.clear()
        with desk.refused(NotFound, "speedpay-account"):
            desk.ask(calls.balance(new_key(), account))
        steps.append(list(asked))
    assert steps[0] == steps[1] == ["look", "check"]


def test_a_balance_without_a_signature_is_refused(desk: Desk, ann: Person) -> None:
    with desk.refused(Malformed, "speedpay-account"):
        desk.ask(replace(calls.balance(ann.key, ann.account), key=None))


def test_an_unknown_account_is_refused(desk: Desk) -> None:
    key = new_key()
    with desk.refused(NotFound, "speedpay-account"):
        desk.ask(calls.balance(key, account_id(key.public)))


@pytest.mark.parametrize("off_s", [-121, 121, -100_000])
def test_a_request_of_another_time_is_refused(
    desk: Desk, ann: Person, ben: Person, off_s: int
) -> None:
    call = calls.send(ann.key, ann.account, order(ben), fresh())
    head = call.head(desk.service.domain, desk.service.now() + off_s)
    assert refused(desk, head, call.body) == (401, Stale.code, "speedpay-time")


def test_two_minutes_of_difference_are_tolerated(desk: Desk, ann: Person, ben: Person) -> None:
    for off_s in (-120, 120):
        call = calls.send(ann.key, ann.account, order(ben), fresh())
        head = call.head(desk.service.domain, desk.service.now() + off_s)
        assert desk.exchange(head, call.body).status == 200


def refused(desk: Desk, head: Head, body: bytes) -> tuple[int, str, str]:
    before = desk.everything()
    answer = desk.exchange(head, body)
    assert desk.everything() == before
    error = json.loads(answer.body)["error"]
    return answer.status, error["code"], error["field"]


@pytest.mark.parametrize(
    "change",
    [
        {"method": "PUT"},
        {"target": "/v1/transfers?"},
        {"target": "/v1/transfers?x=1"},
        {"time": "1800000001"},
        {"key": "00" * 16},
        {"signature": "11" * 64},
        {"signature": ""},
    ],
)
def test_nothing_signed_can_be_changed_on_the_way(
    desk: Desk, ann: Person, ben: Person, change: dict[str, str]
) -> None:
    call = calls.send(ann.key, ann.account, order(ben), fresh())
    head = call.head(desk.service.domain, desk.service.now())
    status, _, _ = refused(desk, replace(head, **change), call.body)
    assert status in (401, 404, 422)


def test_the_body_cannot_be_changed_on_the_way(desk: Desk, ann: Person, ben: Person) -> None:
    call = calls.send(ann.key, ann.account, order(ben), fresh())
    head = call.head(desk.service.domain, desk.service.now())
    changed = call.body.replace(b'"5"', b'"6"')
    assert refused(desk, head, changed) == (404, "not_found", "speedpay-account")


def test_a_request_signed_for_another_ledger_is_refused(
    desk: Desk, ann: Person, ben: Person
) -> None:
    call = calls.send(ann.key, ann.account, order(ben), fresh())
    elsewhere = Domain(desk.service.domain.network, b"\x07" * 32)
    head = call.head(elsewhere, desk.service.now())
    assert refused(desk, head, call.body) == (404, "not_found", "speedpay-account")


def test_a_replayed_request_repeats_its_answer_and_moves_nothing(
    desk: Desk, ann: Person, ben: Person
) -> None:
    call = calls.send(ann.key, ann.account, order(ben), fresh())
    head = call.head(desk.service.domain, desk.service.now())
    first = desk.exchange(head, call.body)
    before = desk.everything()
    assert desk.exchange(head, call.body) == first
    desk.clock.now += 3600
    later = call.head(desk.service.domain, desk.service.now())
    assert desk.exchange(later, call.body).body == first.body
    assert desk.everything() == before


def test_a_repeated_opening_repeats_the_statement(desk: Desk, ann: Person) -> None:
    line, key = desk.line(payer=ann), fresh()
    call = calls.top_up(ann.key, ann.account, line.id, TopUp(Amount(7)), key)
    assert desk.ask(call) == desk.ask(call)
    assert line.view().escrow == Amount(1007)


def test_one_key_with_another_body_is_refused(desk: Desk, ann: Person, ben: Person) -> None:
    key = fresh()
    desk.ask(calls.send(ann.key, ann.account, order(ben, 5), key))
    with desk.refused(KeyReused, "speedpay-key"):
        desk.ask(calls.send(ann.key, ann.account, order(ben, 6), key))
    with desk.refused(KeyReused, "speedpay-key"):
        desk.ask(calls.open_account(ann.key, key))


def test_two_accounts_may_choose_the_same_key(desk: Desk, ann: Person, ben: Person) -> None:
    key = fresh()
    desk.ask(calls.send(ann.key, ann.account, order(ben, 5), key))
    desk.ask(calls.send(ben.key, ben.account, order(ann, 7), key))
    assert desk.credit(ann) == 10_000_002


def test_a_refused_request_that_somebody_replays_when_it_could_be_met_stays_refused(
    desk: Desk, ann: Person, ben: Person
) -> None:
    """Its owner was told that nothing is paid, and may have paid in another way since."""
    call = calls.send(ann.key, ann.account, order(ben, 10_000_005), fresh())
    head = call.head(desk.service.domain, desk.service.now())
    assert refused(desk, head, call.body) == (402, "balance_too_small", "amount")
    desk.ask(calls.send(ben.key, ben.account, order(ann, 5), fresh()))
    desk.clock.now += 119
    assert refused(desk, head, call.body) == (402, "balance_too_small", "amount")
    with desk.refused(BalanceTooSmall, "amount"):
        desk.ask(call)
    with desk.refused(KeyReused, "speedpay-key"):
        desk.ask(replace(call, body=calls.send(ann.key, ann.account, order(ben), fresh()).body))
    desk.ask(replace(call, idempotency_key=fresh()))
    assert (desk.credit(ann), desk.credit(ben)) == (0, 20_000_000)


def test_a_refused_channel_and_a_refused_top_up_stay_refused_as_well(
    desk: Desk, ann: Person, ben: Person
) -> None:
    line, payee = desk.line(escrow=1000, payer=ann), new_key()
    opening = OpenChannel(
        new_key().public, payee.public, fresh(), CREDIT, Amount(10_000_000), HOUR_S
    )
    asked: list[Call[object]] = [
        replace(call, read=lambda fields: fields)  # type: ignore[arg-type,misc]
        for call in (
            calls.open_channel(ann.key, ann.account, opening, fresh()),
            calls.top_up(ann.key, ann.account, line.id, TopUp(Amount(10_000_000)), fresh()),
        )
    ]
    for call in asked:
        with desk.refused(BalanceTooSmall, "amount"):
            desk.ask(call)
    desk.ask(calls.send(ben.key, ben.account, order(ann, 10_000_000), fresh()))
    for call in asked:
        with desk.refused(BalanceTooSmall, "amount"):
            desk.ask(call)
    assert line.view().escrow == Amount(1000)


def test_refusals_are_forgotten_once_no_request_can_be_replayed(
    desk: Desk, ann: Person, ben: Person
) -> None:
    def kept() -> int:
        with desk.service.database.read() as connection:
            return len(connection.execute(sa.select(refusals)).all())

    call = calls.send(ann.key, ann.account, order(ben, 10_000_005), fresh())
    with desk.refused(BalanceTooSmall, "amount"):
        desk.ask(call)
    desk.be_down(KEEP_REFUSALS_S)
    assert kept() == 1
    assert KEEP_REFUSALS_S > 2 * TIME_TOLERANCE_S
    desk.be_down(1)
    assert kept() == 0


def test_a_post_without_an_idempotency_key_is_refused(desk: Desk, ann: Person, ben: Person) -> None:
    call = calls.send(ann.key, ann.account, order(ben), fresh())
    with desk.refused(Malformed, "speedpay-key"):
        desk.ask(replace(call, idempotency_key=None))


def test_history_comes_in_pages_newest_first_and_names_no_other_side_of_a_channel(
    desk: Desk, ann: Person, ben: Person
) -> None:
    for utok in range(1, 6):
        desk.ask(calls.send(ann.key, ann.account, order(ben, utok), fresh()))
    line: Line = desk.line(payer=ann)
    desk.redeem(line.item(400, close=True, account=ben.account))
    pages, before = [], None
    while True:
        page = desk.ask(calls.history(ann.key, ann.account, before, 3))
        pages.append([(one.kind, one.amount.utok, one.incoming) for one in page.entries])
        before = page.before
        if before is None:
            break
    assert pages == [
        [("refund", 600, True), ("lock", 1000, False), ("send", 5, False)],
        [("send", 4, False), ("send", 3, False), ("send", 2, False)],
        [("send", 1, False), ("grant", 10_000_000, True)],
    ]
    paid, *rest = desk.ask(calls.history(ben.key, ben.account, None, 50)).entries
    assert (paid.kind, paid.other, paid.reference) == ("pay", None, line.id)
    assert rest[0].other == ann.account


def test_the_rate_of_openings_is_kept_per_block_of_addresses(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "rated", Settings(openings_per_block_and_day=3), address="198.51.100.7")
    for _ in range(3):
        desk.person()
    desk.address = "198.51.100.201"
    with desk.refused(OverLimit, "public_key"):
        desk.person()
    desk.address = "198.51.101.7"
    desk.person()
    for last in range(3):
        desk.address = f"2001:db8:7:{last}::1"
        desk.person()
    desk.address = "2001:db8:7:ffff::9"
    with desk.refused(OverLimit, "public_key"):
        desk.person()
    desk.address = "::ffff:198.51.100.9"
    with desk.refused(OverLimit, "public_key"):
        desk.person()
    restarted = Desk(tmp_path / "rated", desk.settings, desk.clock, "198.51.100.7")
    with restarted.refused(OverLimit, "public_key"):
        restarted.person()
    desk.clock.now += 86_400
    desk.person()
    assert desk.broken() == []


def test_openings_are_forgotten_after_two_days(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "rated", Settings(), address="198.51.100.7")
    desk.person()
    assert len(desk.everything()["openings"]) == 1
    desk.be_down(2 * 86_400)
    assert desk.everything()["openings"] == []


def test_loopback_is_not_limited_in_a_local_demo_and_others_still_are(tmp_path: Path) -> None:
    settings = Settings(openings_per_block_and_day=1, unlimited_loopback=True)
    desk = Desk(tmp_path / "demo", settings, address="127.0.5.6")
    for _ in range(5):
        desk.person()
    desk.address = "203.0.113.9"
    desk.person()
    with desk.refused(OverLimit, "public_key"):
        desk.person()


def test_an_address_that_asks_too_often_is_refused_for_a_while(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "rated", Settings(), address="198.51.100.7")
    call: Call[object] = replace(calls.identify(), read=lambda fields: fields)
    for _ in range(199):
        desk.ask(call)
    with desk.refused(OverLimit, "address"):
        desk.ask(call)
    desk.address = "198.51.100.8"
    desk.ask(call)
    desk.address = "198.51.100.7"
    desk.clock.now += 1
    desk.ask(call)


def test_an_account_that_asks_too_often_is_refused_whatever_its_address(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "rated", Settings(), address="198.51.100.7")
    ann = desk.person()
    for at in range(100):
        desk.address = f"198.51.{at}.7"
        desk.balance(ann)
    with desk.refused(OverLimit, "speedpay-account"):
        desk.balance(ann)
