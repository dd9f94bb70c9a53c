"""The book alone: what the chart allows, and that money is neither made nor lost."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from speedpay.errors import BalanceTooSmall, KeyReused, Malformed, NotAllowed, NotFound
from speedpay.ledger import book, chart, schema
from speedpay.ledger.chart import SIDES, BookAccount, Kind, Role
from speedpay.ledger.idempotency import Once, once
from speedpay.ledger.service import Settings
from speedpay.ledger_api import calls
from speedpay.ledger_api.shapes import Send
from speedpay.proof.leaf import TREASURY
from speedpay.units import MAX_UTOK, ZERO, Amount, MoneyClass, Share
from tests.unit.ledger.desk import CREDIT, TOKEN, Desk, Person, fresh

ONE = Amount(1)


def post(
    desk: Desk, kind: Kind, debit: BookAccount, credit: BookAccount, held: MoneyClass, utok: int
) -> None:
    with desk.service.database.write() as connection:
        book.post(connection, kind, debit, credit, held, Amount(utok), b"test", 0)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("leaving", [chart.WITHDRAWALS, chart.DEPOSITS])
def test_credit_is_never_withdrawn(desk: Desk, kind: Kind, leaving: BookAccount) -> None:
    owner = chart.user(desk.person().account)
    with desk.refused(NotAllowed, "class"):
        post(desk, kind, owner, leaving, CREDIT, 1)
    with desk.refused(NotAllowed, "class"):
        post(desk, kind, leaving, owner, CREDIT, 1)


def test_credit_is_never_turned_into_token(desk: Desk) -> None:
    """A transfer has one class, so there is no way to write down a change of class; and the only
    account that tokens come from holds no credit."""
    classes = [name for name in book.post.__annotations__ if "class" in name]
    assert classes == ["money_class"]
    assert chart.CLASSES[Role.DEPOSITS] == {TOKEN}
    line = desk.line(escrow=1000)
    line.redeem(400, close=True)
    payer, payee = line.payer, line.payee
    with desk.refused(BalanceTooSmall, "amount"):
        desk.ask(calls.send(payee.key, payee.account, Send(payer.account, TOKEN, ONE), fresh()))
    for row in desk.everything()["balances"]:
        assert row[1] == "credit" or row[2] == 0


def test_only_a_withdrawal_leads_to_the_chain_and_nothing_leads_back() -> None:
    touching = {kind: pair for kind, pair in SIDES.items() if Role.WITHDRAWALS in pair}
    assert touching == {Kind.WITHDRAW: (Role.USER, Role.WITHDRAWALS)}


def test_granting_tokens_and_issuing_credit_are_refused(desk: Desk) -> None:
    owner = chart.user(desk.person().account)
    with desk.refused(NotAllowed, "class"):
        post(desk, Kind.GRANT, chart.GRANTED, owner, TOKEN, 1)
    with desk.refused(NotAllowed, "class"):
        post(desk, Kind.ISSUE, chart.DEPOSITS, owner, CREDIT, 1)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_pair_that_the_chart_does_not_know_is_refused(desk: Desk, kind: Kind) -> None:
    with desk.refused(NotAllowed, "kind"):
        post(desk, kind, chart.FEES, chart.user(b"\x01" * 16), TOKEN, 1)


def test_nothing_may_be_moved_when_there_is_nothing_to_move(desk: Desk) -> None:
    ann, ben = desk.person(), desk.person()
    with desk.refused(Malformed, "amount"):
        post(desk, Kind.SEND, chart.user(ann.account), chart.user(ben.account), CREDIT, 0)


def test_no_balance_grows_beyond_64_bits(desk: Desk) -> None:
    ann = desk.person()
    desk.service.issue(ann.account, Amount(MAX_UTOK), b"whale")
    with desk.refused(Malformed, "amount"):
        desk.service.issue(ann.account, Amount(1), b"straw")


def dirty(desk: Desk) -> set[bytes]:
    found = {bytes(row[0]) for row in desk.everything()["dirty"]}  # type: ignore[call-overload]
    with desk.service.database.write() as connection:
        connection.execute(schema.dirty.delete())
    return found


def test_whoever_tokens_move_for_is_marked_in_the_same_transaction(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "fees", Settings(unlimited_loopback=True, fee=Share(100_000)))
    ann, ben = desk.person(tokens=5000), desk.person()
    assert dirty(desk) == {ann.account}
    desk.ask(calls.send(ann.key, ann.account, Send(ben.account, TOKEN, ONE), fresh()))
    assert dirty(desk) == {ann.account, ben.account}
    line = desk.line(escrow=1000, money_class=TOKEN, payer=ann)
    assert dirty(desk) == {ann.account}
    line.redeem(400)
    assert dirty(desk) == {ann.account, line.payee.account, TREASURY}
    line.redeem(400, close=True)
    assert dirty(desk) == {ann.account}
    desk.line(escrow=1000).redeem(400, close=True)
    assert dirty(desk) == set()
    assert desk.broken() == []
    desk.service.close()


def test_a_refused_transfer_marks_nobody(desk: Desk) -> None:
    ann, ben = desk.person(tokens=5), desk.person()
    with desk.refused(BalanceTooSmall, "amount"):
        post(desk, Kind.SEND, chart.user(ann.account), chart.user(ben.account), TOKEN, 6)


@pytest.mark.parametrize("kind", [Kind.LOCK, Kind.REFUND, Kind.PAY, Kind.FEE, Kind.SEND])
def test_escrow_never_moves_without_naming_its_payer(desk: Desk, kind: Kind) -> None:
    """Otherwise the payer's leaf would go on owing what he has paid."""
    ann, ben = desk.person(tokens=5), desk.person()
    sides = {
        Role.USER: chart.user(ann.account), Role.ESCROW: chart.ESCROW, Role.FEES: chart.FEES
    }  # fmt: skip
    debit, credit = (sides[role] for role in SIDES[kind])
    escrow_of = None
    if kind is Kind.SEND:
        credit, escrow_of = chart.user(ben.account), ann.account
    before = desk.everything()
    with (
        pytest.raises(ValueError, match="names the payer"),
        desk.service.database.write() as connection,
    ):
        book.post(connection, kind, debit, credit, TOKEN, ONE, b"", 0, escrow_of=escrow_of)
    assert desk.everything() == before


def test_issuing_to_nobody_is_refused(desk: Desk) -> None:
    with desk.refused(NotFound, "account"):
        desk.service.issue(bytes(16), Amount(1), b"lost")


def test_a_refusal_half_way_undoes_the_first_half(desk: Desk) -> None:
    ann = desk.person()
    with desk.refused(NotFound, "account"):
        post(desk, Kind.SEND, chart.user(ann.account), chart.user(bytes([9] * 16)), CREDIT, 5)


def test_work_under_a_key_is_done_once_and_its_answer_kept(desk: Desk) -> None:
    ann, done = desk.person(), []
    request = Once(ann.account, b"k" * 16, b"h" * 32)

    def work() -> dict[str, object]:
        done.append(1)
        return {"times": len(done)}

    for _ in range(3):
        with desk.service.database.write() as connection:
            assert once(connection, request, 0, work) == b'{"times":1}'
    assert done == [1]
    other = Once(ann.account, b"k" * 16, b"x" * 32)
    with (
        desk.refused(KeyReused, "speedpay-key"),
        desk.service.database.write() as connection,
    ):
        once(connection, other, 0, work)


class BookAgainstAModel(RuleBasedStateMachine):
    """The real book beside a dictionary that knows only the rules."""

    folder: Path
    number = 0

    def __init__(self) -> None:
        super().__init__()
        BookAgainstAModel.number += 1
        self.desk = Desk(self.folder / str(BookAgainstAModel.number))
        self.people: list[Person] = []
        self.held: dict[tuple[bytes, MoneyClass], int] = {}
        self.locked: list[tuple[Person, MoneyClass, int]] = []
        self.issued = dict.fromkeys(MoneyClass, 0)
        self.fees = dict.fromkeys(MoneyClass, 0)

    def pick(self, at: int) -> Person:
        return self.people[at % len(self.people)]

    @precondition(lambda self: len(self.people) < 4)
    @rule()
    def open_an_account(self) -> None:
        made = self.desk.person()
        self.people.append(made)
        self.held[made.account, CREDIT] = 10_000_000
        self.held[made.account, TOKEN] = 0
        self.issued[CREDIT] += 10_000_000

    @precondition(lambda self: self.people)
    @rule(at=st.integers(0, 3), utok=st.integers(1, 10**12))
    def issue(self, at: int, utok: int) -> None:
        who = self.pick(at)
        self.desk.service.issue(who.account, Amount(utok), b"deposit")
        self.held[who.account, TOKEN] += utok
        self.issued[TOKEN] += utok

    @precondition(lambda self: self.people)
    @rule(
        source=st.integers(0, 3),
        to=st.integers(0, 3),
        held=st.sampled_from(MoneyClass),
        utok=st.integers(0, 2 * 10**7) | st.integers(0, MAX_UTOK),
    )
    def send(self, source: int, to: int, held: MoneyClass, utok: int) -> None:
        payer, payee = self.pick(source), self.pick(to)
        move = (Kind.SEND, chart.user(payer.account), chart.user(payee.account), held, utok)
        if utok == 0:
            with self.desk.refused(Malformed, "amount"):
                post(self.desk, *move)
        elif payer is payee:
            with self.desk.refused(NotAllowed, "to"):
                post(self.desk, *move)
        elif utok > self.held[payer.account, held]:
            with self.desk.refused(BalanceTooSmall, "amount"):
                post(self.desk, *move)
        else:
            with self.desk.service.database.write() as connection:
                once(
                    connection, Once(payer.account, self.key(), b"h" * 32), 0,
                    lambda: self.sent(connection, move),
                )  # fmt: skip
            self.held[payer.account, held] -= utok
            self.held[payee.account, held] += utok

    def key(self) -> bytes:
        self.last_key = os.urandom(16)
        return self.last_key

    def sent(self, connection: object, move: tuple[object, ...]) -> dict[str, object]:
        kind, debit, credit, held, utok = move
        book.post(connection, kind, debit, credit, held, Amount(utok), self.last_key, 0)  # type: ignore[arg-type]
        return {}

    @precondition(lambda self: len(self.people) > 1)
    @rule(
        at=st.integers(0, 3),
        held=st.sampled_from(MoneyClass),
        escrow=st.integers(1, 2 * 10**7),
        part=st.floats(0, 1.2),
        close=st.booleans(),
    )
    def open_and_redeem(
        self, at: int, held: MoneyClass, escrow: int, part: float, close: bool
    ) -> None:
        payer = self.pick(at)
        if escrow > self.held[payer.account, held]:
            with pytest.raises(BalanceTooSmall):
                self.desk.line(escrow, money_class=held, payer=payer)
            self.people_changed()
            return
        line = self.desk.line(escrow, money_class=held, payer=payer)
        self.people_changed()
        self.held[payer.account, held] -= escrow
        total = int(escrow * part)
        paid = 0
        if 0 < total <= escrow:
            paid = line.redeem(total, close).amount.utok
            assert paid == total
            self.held[line.payee.account, held] = (
                self.held.get((line.payee.account, held), 0) + paid
            )
        if close and paid:
            self.held[payer.account, held] += escrow - paid
        else:
            self.locked.append((payer, held, escrow - paid))

    def people_changed(self) -> None:
        """``Desk.line`` opens the payee's account: the model learns of it from the books."""
        accounts = {row[0] for row in self.desk.everything()["accounts"]}
        for account in accounts - {known for known, _ in self.held}:
            self.held[account, CREDIT], self.held[account, TOKEN] = 10_000_000, 0
            self.issued[CREDIT] += 10_000_000

    @invariant()
    def the_books_are_what_the_model_says(self) -> None:
        with self.desk.service.database.read() as connection:
            for (account, held), utok in self.held.items():
                assert book.balance(connection, chart.user(account), held).utok == utok
            for held in MoneyClass:
                locked = sum(utok for _, of, utok in self.locked if of is held)
                assert book.balance(connection, chart.ESCROW, held).utok == locked
                total = sum(utok for (_, of), utok in self.held.items() if of is held)
                assert total + locked == self.issued[held]
            assert book.balance(connection, chart.FEES, TOKEN) == ZERO

    def teardown(self) -> None:
        assert self.desk.broken() == []
        self.desk.service.close()


def test_the_book_agrees_with_a_model_under_every_sequence(tmp_path: Path) -> None:
    BookAgainstAModel.folder = tmp_path
    run_state_machine_as_test(
        BookAgainstAModel,
        settings=settings(max_examples=25, stateful_step_count=20, deadline=None, database=None),
    )
