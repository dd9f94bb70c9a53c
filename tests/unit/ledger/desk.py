"""A real ledger without sockets: requests go in as bytes, signed answers come out and are checked.

The same ``Session`` as in the client asks, so every test here also covers the client's checks. Time
stands still until a test moves it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from speedpay.channel.voucher import Assignment, Closing, Statement, Voucher
from speedpay.errors import SpeedpayError
from speedpay.ledger import invariants
from speedpay.ledger.answering import answer
from speedpay.ledger.asked import Reply, Request
from speedpay.ledger.schema import metadata, refusals
from speedpay.ledger.service import Service, Settings
from speedpay.ledger_api import calls
from speedpay.ledger_api.answers import Balance, ChannelView, Outcome
from speedpay.ledger_api.attempts import Session, Wait
from speedpay.ledger_api.attested import Attested
from speedpay.ledger_api.calls import Call
from speedpay.ledger_api.shapes import OpenChannel, Redemption
from speedpay.ledger_api.signed import Answer, Head
from speedpay.signing import SigningKey
from speedpay.units import Amount, MoneyClass

T = TypeVar("T")
ADDRESS = "127.0.0.1"
HOUR_S = 3600
CREDIT, TOKEN = MoneyClass.CREDIT, MoneyClass.TOKEN
WELCOME = 10_000_000


def new_key() -> SigningKey:
    return SigningKey(os.urandom(32))


def fresh() -> bytes:
    """An idempotency key, or a nonce."""
    return os.urandom(16)


@dataclass
class Clock:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Person:
    key: SigningKey
    account: bytes


@dataclass
class Line:
    """A channel with both ends in one hand."""

    desk: Desk
    payer: Person
    payee: Person
    payer_key: SigningKey
    payee_key: SigningKey
    statement: Statement

    @property
    def id(self) -> bytes:
        return self.statement.channel

    def voucher(self, utok: int, key: SigningKey | None = None) -> Voucher:
        domain = self.desk.service.domain
        return Voucher.sign(key or self.payer_key, domain, self.id, Amount(utok))

    def assignment(self, account: bytes | None = None) -> Assignment:
        domain = self.desk.service.domain
        return Assignment.sign(self.payee_key, domain, self.id, account or self.payee.account)

    def closing(self, utok: int, account: bytes | None = None) -> Closing:
        domain, owner = self.desk.service.domain, account or self.payee.account
        return Closing.sign(self.payee_key, domain, self.id, owner, Amount(utok))

    def item(
        self, utok: int | None, close: bool = False, account: bytes | None = None
    ) -> Redemption:
        voucher = self.voucher(utok) if utok is not None else None
        closing = self.closing(utok or 0, account) if close else None
        return Redemption(self.id, voucher, self.assignment(account), closing)

    def redeem(self, utok: int | None, close: bool = False) -> Outcome:
        return self.desk.redeem(self.item(utok, close))

    def view(self) -> ChannelView:
        return self.desk.ask(calls.channel(self.payee_key, self.payee_key.public, self.id))


@dataclass
class Desk:
    folder: Path
    settings: Settings = field(default_factory=lambda: Settings(unlimited_loopback=True))
    clock: Clock = field(default_factory=Clock)
    address: str = ADDRESS

    def __post_init__(self) -> None:
        self.service = Service(self.folder, self.settings, self.clock, self.clock)
        self.session = Session(self.settings.network, None, 1, self.clock)

    def ask(self, call: Call[T]) -> T:
        return self.attested(call).value

    def attested(self, call: Call[T]) -> Attested[T]:
        attempts = self.session.attested(call)
        feed: Answer | None = None
        while True:
            try:
                step = attempts.send(feed)
            except StopIteration as done:
                result: Attested[T] = done.value
                return result
            assert not isinstance(step, Wait)
            feed = self.exchange(step.head, step.body)

    def exchange(self, head: Head, body: bytes) -> Answer:
        reply = self.raw(head.method, head.target, body, head.headers())
        return Answer(
            reply.status, reply.body,
            reply.headers["speedpay-answer-signature"], reply.headers["speedpay-answer-key-id"],
        )  # fmt: skip

    def raw(
        self, method: str, target: str, body: bytes, headers: dict[str, str] | None = None
    ) -> Reply:
        return answer(self.service, Request(method, target, headers or {}, body, self.address))

    def signed(self, who: Person, method: str, target: str, body: bytes) -> tuple[int, Any]:
        """What a hand-made body gets, under a good signature of ``who``."""
        call = Call(method, target, lambda fields: None, body, who.key, who.account, fresh())
        head = call.head(self.service.domain, self.service.now())
        reply = self.raw(method, target, body, head.headers())
        return reply.status, json.loads(reply.body)

    def person(self, tokens: int = 0) -> Person:
        key = new_key()
        opened = self.ask(calls.open_account(key, fresh()))
        if tokens:
            self.service.issue(opened.account, Amount(tokens), b"deposit")
        return Person(key, opened.account)

    def line(
        self,
        escrow: int = 1000,
        lifetime_s: int = HOUR_S,
        money_class: MoneyClass = CREDIT,
        payer: Person | None = None,
    ) -> Line:
        payer, payee = payer or self.person(), self.person()
        payer_key, payee_key = new_key(), new_key()
        order = OpenChannel(
            payer_key.public, payee_key.public, fresh(), money_class, Amount(escrow), lifetime_s
        )
        signed = self.ask(calls.open_channel(payer.key, payer.account, order, fresh()))
        self.session.ordered(signed, order)
        return Line(self, payer, payee, payer_key, payee_key, signed.statement)

    def redeem(self, item: Redemption) -> Outcome:
        """Raises the outcome's error."""
        (outcome,) = self.ask(calls.redeem([item]))
        if outcome.error:
            raise outcome.error
        return outcome

    def balance(self, who: Person) -> Balance:
        return self.ask(calls.balance(who.key, who.account))

    def credit(self, who: Person) -> int:
        return self.balance(who).credit.utok

    def pass_time(self, seconds: int) -> None:
        """The ledger is up all the while, its clock runs, and it does its own work."""
        while seconds > 0:
            step = min(seconds, 60)
            self.clock.now += step
            seconds -= step
            self.service.tick()

    def be_down(self, seconds: int) -> None:
        self.clock.now += seconds
        self.service.tick()

    def everything(self) -> dict[str, list[tuple[object, ...]]]:
        """Every row, but for what is kept of refusals."""
        with self.service.database.read() as connection:
            return {
                table.name: [tuple(row) for row in connection.execute(sa.select(table))]
                for table in metadata.sorted_tables
                if table is not refusals
            }

    @contextlib.contextmanager
    def refused(self, error: type[SpeedpayError], names: str) -> Iterator[None]:
        """The body is refused with exactly ``error``, naming the field, and nothing has changed."""
        before = self.everything()
        with pytest.raises(error) as caught:
            yield
        assert type(caught.value) is error
        assert caught.value.field == names
        assert self.everything() == before

    def broken(self) -> list[str]:
        with self.service.database.read() as connection:
            found = invariants.every(connection, self.service.keys.journal)
        return [str(one) for one in found]
