"""An account changes its key: who must agree, what moves with it, where its tokens leave, who can undo it."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from speedpay.chain.address import of_public_key
from speedpay.errors import BadSignature, KeyReused, Malformed, NotAllowed, NotFound, SpeedpayError
from speedpay.ledger_api import calls, chain, epochs, owners
from speedpay.ledger_api.calls import Call
from speedpay.ledger_api.chain import Withdraw
from speedpay.ledger_api.epochs import NamePayout
from speedpay.ledger_api.owners import Consent, HandOver
from speedpay.ledger_api.shapes import OpenChannel, Send, TopUp
from speedpay.proof.leaf import NO_PAYOUT
from speedpay.signing import SigningKey
from speedpay.units import Amount
from tests.unit.ledger.desk import CREDIT, HOUR_S, TOKEN, Desk, Person, fresh, new_key


@pytest.fixture
def ann(desk: Desk) -> Person:
    return desk.person()


def agreed(desk: Desk, giver: Person, heir: SigningKey, payout: bytes = NO_PAYOUT) -> HandOver:
    domain = desk.service.domain
    consent = Consent.sign(heir, domain, giver.account, payout)
    return HandOver.sign(giver.key, domain, consent)


def handed(desk: Desk, giver: Person, heir: SigningKey, payout: bytes = NO_PAYOUT) -> Person:
    desk.ask(owners.hand_over(giver.key, agreed(desk, giver, heir, payout), fresh()))
    return Person(heir, giver.account)


def named_payout(desk: Desk, who: Person) -> bytes:
    """A fresh address, named for ``who``; returns it."""
    key = new_key()
    address = of_public_key(key.public)
    order = NamePayout.sign(key, address, bytes(range(32)), desk.service.domain, who.account)
    desk.ask(epochs.name_payout(who.key, who.account, order, fresh()))
    return address


def everything_of(desk: Desk, who: Person) -> list[Call[object]]:
    """One call of each kind that an owner signs."""
    order = OpenChannel(new_key().public, new_key().public, fresh(), CREDIT, Amount(5), HOUR_S)
    key = new_key()
    payout = NamePayout.sign(
        key, of_public_key(key.public), bytes(32), desk.service.domain, who.account
    )
    send = Send(desk.person().account, CREDIT, Amount(1))
    channel = desk.line(payer=who).id
    made: list[Call[object]] = [
        calls.balance(who.key, who.account),
        calls.history(who.key, who.account, None, 5),
        calls.send(who.key, who.account, send, fresh()),
        calls.open_channel(who.key, who.account, order, fresh()),
        calls.top_up(who.key, who.account, channel, TopUp(Amount(1)), fresh()),
        calls.channel(who.key, who.account, channel),
        chain.withdraw(who.key, who.account, Withdraw(Amount(1)), fresh()),
        chain.withdrawals(who.key, who.account),
        chain.deposits(who.key, who.account),
        epochs.proof(who.key, who.account, 1),
        epochs.inclusion(who.key, who.account, 1, 1),
        epochs.name_payout(who.key, who.account, payout, fresh()),
        owners.publish(who.key, who.account, owners.Publish(True), fresh()),
        owners.hand_over(who.key, agreed(desk, who, new_key()), fresh()),
    ]
    return made


def test_the_new_key_has_the_account_and_the_old_one_can_do_nothing_any_more(
    desk: Desk, ann: Person
) -> None:
    orders = everything_of(desk, ann)
    before = desk.credit(ann)
    heir = handed(desk, ann, new_key())
    assert desk.credit(heir) == before
    for call in orders:
        with desk.refused(NotFound, "speedpay-account"):
            desk.ask(call)
    with desk.refused(NotAllowed, "public_key"):
        desk.ask(calls.open_account(ann.key, fresh()))


def test_channels_and_what_is_earned_stay_the_accounts(desk: Desk, ann: Person) -> None:
    paying, earning = desk.line(payer=ann), desk.line()
    assignment = replace(earning, payee=ann)
    heir = handed(desk, ann, new_key())
    assert desk.balance(heir).credit_in_escrow.utok == 1000
    desk.ask(calls.top_up(heir.key, heir.account, paying.id, TopUp(Amount(10)), fresh()))
    paying.redeem(400, close=True)
    assignment.redeem(300, close=True)
    assert desk.credit(heir) == 10_000_000 - 400 + 300


def test_a_lost_answer_is_asked_for_again_and_is_the_same(desk: Desk, ann: Person) -> None:
    heir = new_key()
    order = agreed(desk, ann, heir)
    call = owners.hand_over(ann.key, order, fresh())
    desk.ask(call)
    with_another_idempotency_key = owners.hand_over(ann.key, order, fresh())
    state = desk.everything()
    desk.ask(call)
    assert desk.everything() == state
    desk.ask(with_another_idempotency_key)
    state.pop("idempotency")
    now = desk.everything()
    now.pop("idempotency")
    assert now == state
    with desk.refused(NotFound, "speedpay-account"):
        desk.ask(owners.hand_over(ann.key, agreed(desk, ann, new_key()), fresh()))
    with desk.refused(KeyReused, "speedpay-key"):
        third = agreed(desk, Person(heir, ann.account), new_key())
        desk.ask(owners.hand_over(heir, third, call.idempotency_key or b""))


def test_keys_change_again_and_again_and_the_books_can_tell_how(desk: Desk, ann: Person) -> None:
    owner = ann
    for _ in range(4):
        owner = handed(desk, owner, new_key())
    assert desk.credit(owner) == 10_000_000
    assert desk.ask(calls.open_account(owner.key, fresh())).account == ann.account


def test_a_lost_answer_comes_also_after_the_account_has_gone_further(
    desk: Desk, ann: Person
) -> None:
    heir = new_key()
    call = owners.hand_over(ann.key, agreed(desk, ann, heir), fresh())
    desk.ask(call)
    last = handed(desk, Person(heir, ann.account), new_key())
    before = desk.everything()
    desk.ask(call)
    assert desk.everything() == before
    assert desk.credit(last) == 10_000_000


def test_nobody_gives_what_he_has_not_and_nobody_is_given_what_he_did_not_take(
    desk: Desk, ann: Person
) -> None:
    thief, heir, domain = desk.person(), new_key(), desk.service.domain
    good = agreed(desk, ann, heir)
    with desk.refused(NotFound, "speedpay-account"):  # signed by another than ``from`` says
        desk.ask(owners.hand_over(thief.key, good, fresh()))
    stolen = HandOver.sign(thief.key, domain, good.consent)
    with desk.refused(NotFound, "speedpay-account"):
        desk.ask(owners.hand_over(thief.key, stolen, fresh()))
    call = owners.hand_over(thief.key, stolen, fresh())
    with desk.refused(NotFound, "speedpay-account"):
        desk.ask(replace(call, signer=thief.account))
    other = desk.person()
    for_other = Consent.sign(heir, domain, other.account, NO_PAYOUT)
    redirected = replace(good.consent, payout=b"\x07" * 20)
    for consent in (for_other, redirected):
        wrong = replace(consent, account=ann.account)
        with desk.refused(BadSignature, "consent"):
            desk.ask(owners.hand_over(ann.key, HandOver.sign(ann.key, domain, wrong), fresh()))
    with desk.refused(BadSignature, "given"):
        desk.ask(owners.hand_over(ann.key, replace(good, given=stolen.given), fresh()))
    with desk.refused(Malformed, "to"):
        desk.ask(owners.hand_over(ann.key, agreed(desk, ann, ann.key), fresh()))


def test_a_key_has_one_account_once(desk: Desk, ann: Person) -> None:
    ben, heir = desk.person(), new_key()
    with desk.refused(NotAllowed, "to"):
        handed(desk, ann, ben.key)
    now = handed(desk, ann, heir)
    with desk.refused(NotAllowed, "to"):  # it does not come back
        handed(desk, now, ann.key)
    with desk.refused(NotAllowed, "to"):
        handed(desk, ben, heir)
    unopened = new_key()
    desk.ask(calls.send(ben.key, ben.account, Send(now.account, CREDIT, Amount(1)), fresh()))
    handed(desk, ben, unopened)


def test_the_way_out_is_never_exchanged_under_tokens(desk: Desk) -> None:
    ann = desk.person(tokens=700)
    address = named_payout(desk, ann)
    with desk.refused(NotAllowed, "payout"):
        handed(desk, ann, new_key())
    desk.line(payer=ann, money_class=TOKEN, escrow=700)
    with desk.refused(NotAllowed, "payout"):
        handed(desk, ann, new_key())
    same_exit = handed(desk, ann, new_key(), address)
    assert desk.balance(same_exit).token_in_escrow.utok == 700
    assert [row[1] for row in desk.everything()["payouts"]] == [address]


def test_what_waits_to_leave_keeps_its_way_out(desk: Desk) -> None:
    ann = desk.person(tokens=700)
    named_payout(desk, ann)
    desk.ask(chain.withdraw(ann.key, ann.account, Withdraw(Amount(700)), fresh()))
    assert desk.balance(ann).token.utok == 0
    with desk.refused(NotAllowed, "payout"):
        handed(desk, ann, new_key())


def test_an_account_without_tokens_gives_up_its_way_out_and_the_new_owner_names_his(
    desk: Desk,
) -> None:
    ann, ben = desk.person(tokens=700), desk.person()
    address = named_payout(desk, ann)
    desk.ask(calls.send(ann.key, ann.account, Send(ben.account, TOKEN, Amount(700)), fresh()))
    heir = handed(desk, ann, new_key())
    assert desk.everything()["payouts"] == []
    assert address in desk.everything()["handovers"][0]
    assert named_payout(desk, heir) != address
    desk.service.issue(heir.account, Amount(5), b"deposit")
    desk.ask(chain.withdraw(heir.key, heir.account, Withdraw(Amount(5)), fresh()))


def test_a_refused_hand_over_may_be_asked_for_again_under_a_new_key(desk: Desk) -> None:
    ann, ben, heir = desk.person(tokens=7), desk.person(), new_key()
    named_payout(desk, ann)
    with desk.refused(NotAllowed, "payout"):
        handed(desk, ann, heir)
    desk.ask(calls.send(ann.key, ann.account, Send(ben.account, TOKEN, Amount(7)), fresh()))
    assert desk.credit(handed(desk, ann, heir)) == 10_000_000


def test_a_key_that_an_operator_exchanges_by_hand_is_found(desk: Desk, ann: Person) -> None:
    heir = handed(desk, ann, new_key())
    thief, path = new_key().public, desk.folder / "ledger.sqlite"

    def changed(statement: str, *values: bytes) -> list[str]:
        with sqlite3.connect(path) as connection:
            connection.execute("BEGIN")
            kept = connection.execute("SELECT * FROM account_keys").fetchall()
            rows = connection.execute("SELECT * FROM handovers").fetchall()
            connection.execute(statement, values)
            connection.commit()
            found = desk.broken()
            for table, put_back in (("account_keys", kept), ("handovers", rows)):
                connection.execute(f"DELETE FROM {table}")
                for row in put_back:
                    marks = ", ".join("?" * len(row))
                    connection.execute(f"INSERT INTO {table} VALUES ({marks})", row)
            connection.commit()
        connection.close()
        return found

    by_hand = "UPDATE account_keys SET public_key = ? WHERE public_key = ?"
    assert any(
        "its id is not made of its key" in one for one in changed(by_hand, thief, heir.key.public)
    )
    forged = "UPDATE handovers SET consent = given"
    assert any("was not handed over" in one for one in changed(forged))
    assert any(
        "was not handed over" in one
        for one in changed("UPDATE handovers SET payout = ?", b"\1" * 20)
    )
    assert any("has no account" in one for one in changed("DELETE FROM account_keys"))
    assert desk.broken() == []


def test_a_consent_is_read_as_it_was_written_and_nothing_else_is(desk: Desk, ann: Person) -> None:
    consent = Consent.sign(new_key(), desk.service.domain, ann.account, b"\x05" * 20)
    text = consent.to_text()
    assert Consent.from_text(f" {text}\n") == consent
    for wrong in (text[:-1], text + "0", text.upper(), text.replace("-1:", "-2:"), "", "é"):
        with pytest.raises(Malformed):
            Consent.from_text(wrong)
    with pytest.raises(SpeedpayError):
        Consent.from_text(text[:51] + "05" + text[53:])


# --- publishing ---------------------------------------------------------------------------------


def publish(desk: Desk, who: Person, on: bool) -> None:
    desk.ask(owners.publish(who.key, who.account, owners.Publish(on), fresh()))


def test_a_published_history_is_read_by_everybody_until_its_owner_takes_it_back(
    desk: Desk, ann: Person
) -> None:
    call = owners.published_history(ann.account, None, 50)
    with desk.refused(NotFound, "account"):
        desk.ask(call)
    publish(desk, ann, True)
    publish(desk, ann, True)
    own = desk.ask(calls.history(ann.key, ann.account, None, 50))
    assert desk.ask(call) == own
    publish(desk, ann, False)
    with desk.refused(NotFound, "account"):
        desk.ask(call)


def test_a_wish_to_publish_ends_with_the_key_that_had_it(desk: Desk, ann: Person) -> None:
    publish(desk, ann, True)
    heir = handed(desk, ann, new_key())
    with desk.refused(NotFound, "account"):
        desk.ask(owners.published_history(heir.account, None, 50))


def test_a_history_that_is_not_published_is_answered_like_no_account(
    desk: Desk, ann: Person
) -> None:
    answers = []
    for account in (ann.account, bytes(16)):
        head = owners.published_history(account, None, 5).head(desk.service.domain, 0)
        reply = desk.raw(head.method, head.target, b"")
        answers.append((reply.status, reply.body))
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


def test_who_has_not_published_is_not_named_in_anothers_history(desk: Desk, ann: Person) -> None:
    shy, open_too = desk.person(), desk.person()
    for other in (shy, open_too):
        desk.ask(calls.send(ann.key, ann.account, Send(other.account, CREDIT, Amount(3)), fresh()))
    desk.line(payer=ann).redeem(400, close=True)
    publish(desk, ann, True)
    publish(desk, open_too, True)
    shown = desk.ask(owners.published_history(ann.account, None, 50)).entries
    own = desk.ask(calls.history(ann.key, ann.account, None, 50)).entries
    assert [one.amount for one in shown] == [one.amount for one in own]
    assert {one.other for one in shown} == {None, open_too.account}
    assert {one.reference for one in shown} == {b""}
    text = desk.raw("GET", f"/v1/accounts/{ann.account.hex()}/history", b"").body
    assert shy.account.hex().encode() not in text


def test_a_published_history_comes_in_pages(desk: Desk, ann: Person) -> None:
    ben = desk.person()
    for utok in range(1, 5):
        desk.ask(calls.send(ann.key, ann.account, Send(ben.account, CREDIT, Amount(utok)), fresh()))
    publish(desk, ann, True)
    first = desk.ask(owners.published_history(ann.account, None, 3))
    rest = desk.ask(owners.published_history(ann.account, first.before, 3))
    amounts = [one.amount.utok for one in (*first.entries, *rest.entries)]
    assert amounts == [4, 3, 2, 1, 10_000_000]
    assert rest.before is None


def test_only_the_owner_publishes(desk: Desk, ann: Person) -> None:
    ben = desk.person()
    call = owners.publish(ben.key, ann.account, owners.Publish(True), fresh())
    with desk.refused(NotFound, "speedpay-account"):
        desk.ask(call)
    with desk.refused(NotFound, "account"):
        desk.ask(replace(call, signer=ben.account))
