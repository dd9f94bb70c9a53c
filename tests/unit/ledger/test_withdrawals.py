"""Withdrawals: what leaves the balance, who gets how much of an epoch, and what is never paid twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from speedpay.chain.address import of_public_key
from speedpay.errors import BalanceTooSmall, KeyReused, NotAllowed, NotFound
from speedpay.ledger import schema, withdrawals
from speedpay.ledger_api import calls, chain
from speedpay.ledger_api.chain import Withdraw, Withdrawal, WithdrawalState
from speedpay.ledger_api.epochs import NamePayout, name_payout
from speedpay.ledger_api.shapes import Send, TopUp
from speedpay.units import Amount
from tests.unit.ledger.desk import CREDIT, HOUR_S, TOKEN, Desk, Person, fresh, new_key

LIMIT = Amount(1_000)


def payee(desk: Desk, tokens: int = 10_000) -> Person:
    """Somebody with tokens and a payout address."""
    made, key = desk.person(tokens), new_key()
    order = NamePayout.sign(
        key, of_public_key(key.public), b"\x33" * 32, desk.service.domain, made.account
    )
    desk.ask(name_payout(made.key, made.account, order, fresh()))
    return made


def ask(desk: Desk, who: Person, utok: int, key: bytes | None = None) -> int:
    order = Withdraw(Amount(utok))
    return desk.ask(chain.withdraw(who.key, who.account, order, key or fresh())).number


def release(desk: Desk, epoch: int, limit: Amount = LIMIT) -> int:
    with desk.service.database.write() as connection:
        return withdrawals.release(connection, epoch, limit).utok


def listed(desk: Desk, who: Person) -> dict[int, Withdrawal]:
    """By number."""
    found = desk.ask(chain.withdrawals(who.key, who.account))
    return {one.number: one for one in found.withdrawals}


def test_a_withdrawal_leaves_the_balance_at_once(desk: Desk) -> None:
    ann = payee(desk)
    number = ask(desk, ann, 400)
    assert desk.balance(ann).token == Amount(9_600)
    assert listed(desk, ann)[number].state is WithdrawalState.QUEUED


def test_more_than_the_balance_cannot_be_withdrawn(desk: Desk) -> None:
    ann = payee(desk, 100)
    with desk.refused(BalanceTooSmall, "amount"):
        ask(desk, ann, 101)


def test_credit_cannot_be_withdrawn(desk: Desk) -> None:
    ann = payee(desk, 0)
    assert desk.credit(ann) > 0
    with desk.refused(BalanceTooSmall, "amount"):
        ask(desk, ann, 1)


def test_without_a_payout_address_nothing_can_be_withdrawn(desk: Desk) -> None:
    ann = desk.person(tokens=500)
    with desk.refused(NotAllowed, "payout"):
        ask(desk, ann, 1)


def test_after_a_freeze_tokens_move_nowhere_but_credit_does(desk: Desk) -> None:
    """On chain an old epoch counts now: whoever took tokens for an upload would get nothing."""
    ann, ben = payee(desk), desk.person()
    line = desk.line(escrow=1_000, money_class=TOKEN, payer=ann)
    with desk.service.database.write() as connection:
        connection.execute(
            schema.chain_watch.insert().values(
                id=1, next_block=0, solid_time=0, delay_s=60, low_trx=False, frozen_epoch=7,
                alarms="", seen_at=0,
            )
        )  # fmt: skip
    with desk.refused(NotAllowed, "amount"):
        ask(desk, ann, 1)
    with desk.refused(NotAllowed, "class"):
        order = Send(ben.account, TOKEN, Amount(1))
        desk.ask(calls.send(ann.key, ann.account, order, fresh()))
    with desk.refused(NotAllowed, "class"):
        top_up = TopUp(Amount(1), HOUR_S)
        desk.ask(calls.top_up(ann.key, ann.account, line.id, top_up, fresh()))
    with pytest.raises(NotAllowed):
        desk.line(escrow=1, money_class=TOKEN, payer=ann)
    desk.ask(calls.send(ann.key, ann.account, Send(ben.account, CREDIT, Amount(1)), fresh()))
    assert line.redeem(400).amount == Amount(400)  # signed for before


def test_the_same_order_twice_is_one_withdrawal(desk: Desk) -> None:
    ann, key = payee(desk), fresh()
    assert ask(desk, ann, 400, key) == ask(desk, ann, 400, key)
    assert desk.balance(ann).token == Amount(9_600)
    with desk.refused(KeyReused, "speedpay-key"):
        ask(desk, ann, 401, key)


def test_the_queue_is_released_in_its_order_up_to_the_limit(desk: Desk) -> None:
    ann, ben = payee(desk), payee(desk)
    first, second, third = ask(desk, ann, 600), ask(desk, ben, 300), ask(desk, ann, 500)
    assert release(desk, 1) == 1_000
    shown = listed(desk, ann) | listed(desk, ben)
    assert (shown[first].state, shown[first].epoch) == (WithdrawalState.RELEASED, 1)
    assert (shown[second].state, shown[second].epoch) == (WithdrawalState.RELEASED, 1)
    assert (shown[third].state, shown[third].released) == (WithdrawalState.QUEUED, Amount(100))
    assert release(desk, 2) == 400
    assert listed(desk, ann)[third].state is WithdrawalState.RELEASED
    assert release(desk, 3) == 0


def test_whoever_waits_for_much_holds_up_nobody(desk: Desk) -> None:
    """Each account gets an equal share of the limit at most; what it does not need the others get."""
    whale, ann, ben = payee(desk), payee(desk), payee(desk)
    large = ask(desk, whale, 10_000)
    small, middle = ask(desk, ann, 1), ask(desk, ben, 900)
    assert release(desk, 1) == 1_000
    assert listed(desk, ann)[small].state is WithdrawalState.RELEASED
    assert listed(desk, ben)[middle].released == Amount(499)
    assert listed(desk, whale)[large].released == Amount(500)
    assert release(desk, 2) == 1_000
    assert listed(desk, ben)[middle].state is WithdrawalState.RELEASED
    assert listed(desk, whale)[large].released == Amount(1_099)


def test_many_withdrawals_of_one_account_have_one_share(desk: Desk) -> None:
    ann, ben = payee(desk), payee(desk)
    first = [ask(desk, ann, 400) for _ in range(5)]
    ask(desk, ben, 5_000)
    assert release(desk, 1) == 1_000
    assert [listed(desk, ann)[one].released.utok for one in first] == [400, 100, 0, 0, 0]


def test_a_close_reads_so_many_withdrawals_at_most_the_oldest(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(withdrawals, "MAX_READ_AT_ONCE", 2)
    ann, ben = payee(desk), payee(desk)
    ask(desk, ann, 10)
    ask(desk, ann, 10)
    late = ask(desk, ben, 10)
    interval_s = desk.service.settings.epoch_interval_s
    assert listed(desk, ben)[late].expected == desk.service.now() + 2 * interval_s
    assert [release(desk, epoch) for epoch in (1, 2)] == [20, 10]


def test_nobody_fills_the_queue_with_crumbs(desk: Desk) -> None:
    """One account may ask twenty times a second, and a close releases so many orders at most."""
    ann, ben = payee(desk), payee(desk)
    for _ in range(withdrawals.MAX_QUEUED):
        ask(desk, ann, 1)
    with desk.refused(NotAllowed, "withdrawals"):
        ask(desk, ann, 1)
    number = ask(desk, ben, 900)
    assert release(desk, 1) == withdrawals.MAX_QUEUED + 900
    assert listed(desk, ben)[number].state is WithdrawalState.RELEASED
    ask(desk, ann, 1)


def test_position_and_time_in_the_queue_are_told(desk: Desk) -> None:
    ann, ben = payee(desk), payee(desk)
    limit, now = desk.service.settings.withdrawals_per_epoch.utok, desk.service.now()
    desk.service.issue(ann.account, Amount(3 * limit), b"whale")
    desk.service.issue(ben.account, Amount(limit), b"dolphin")
    large, second = ask(desk, ann, 2 * limit), ask(desk, ann, limit // 2)
    small, rest = ask(desk, ben, 7), ask(desk, ben, limit - 7)
    interval_s = desk.service.settings.epoch_interval_s
    shown = listed(desk, ann) | listed(desk, ben)
    told = {
        number: (one.position, one.ahead.utok, (one.expected - now) // interval_s)
        for number, one in shown.items()
        if one.ahead is not None and one.expected is not None
    }
    assert told == {
        large: (1, limit, 3),  # all of ben's
        second: (2, 3 * limit, 4),
        small: (3, 7, 1),  # as much of ann's, at the same time
        rest: (4, limit + 7, 2),
    }
    for epoch in range(1, 5):
        release(desk, epoch, Amount(limit))
        left = (listed(desk, ann) | listed(desk, ben)).values()
        done = {one.number for one in left if one.state is WithdrawalState.RELEASED}
        assert done == {number for number, (*_, when) in told.items() if when <= epoch}


def test_whoever_is_released_has_a_new_leaf(desk: Desk) -> None:
    ann, ben = payee(desk), payee(desk)
    ask(desk, ann, 1)
    ask(desk, ben, 1)
    with desk.service.database.write() as connection:
        connection.execute(schema.dirty.delete())
        withdrawals.release(connection, 1, Amount(1))
        marked = set(connection.execute(sa.select(schema.dirty.c.account)).scalars())
    assert marked == {ann.account}


def test_another_accounts_withdrawals_are_nobodys_business(desk: Desk) -> None:
    ann, ben = payee(desk), payee(desk)
    for of in (chain.withdrawals, chain.deposits):
        theirs = of(ann.key, ann.account)
        with desk.refused(NotFound, "account"):
            desk.ask(replace(theirs, key=ben.key, signer=ben.account))
