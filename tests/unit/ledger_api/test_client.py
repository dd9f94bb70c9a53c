"""The client believes nothing that the ledger has not signed, and waits for nothing for ever."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from speedpay.cli.text import time_text
from speedpay.errors import (
    BalanceTooSmall,
    InvalidSetting,
    LedgerFailed,
    LedgerUnreachable,
    Malformed,
)
from speedpay.ledger import response_keys
from speedpay.ledger.http import LedgerServer
from speedpay.ledger.response_keys import CERTIFICATE_S
from speedpay.ledger_api import calls, strict
from speedpay.ledger_api.answers import Balance, LedgerIdentity
from speedpay.ledger_api.attempts import Attempts, Send, Session, Wait
from speedpay.ledger_api.client import AsyncLedgerClient, LedgerClient
from speedpay.ledger_api.shapes import Send as SendOrder
from speedpay.ledger_api.signed import Answer
from speedpay.ledger_api.transport import MAX_ANSWER_BYTES
from speedpay.signing import Certificate, SigningKey, ledger_id
from speedpay.units import Amount
from tests.unit.ledger.desk import CREDIT, Desk, Person, fresh, new_key

Change = Callable[[Answer], Answer]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "ledger")
    yield made
    assert made.broken() == []
    made.service.close()


@pytest.fixture
def ann(desk: Desk) -> Person:
    return desk.person()


def drive(desk: Desk, attempts: Attempts[object], change: Change) -> tuple[object, list[object]]:
    """Carry a call through, with ``change`` between the ledger and the client."""
    steps: list[object] = []
    feed: Answer | None = None
    while True:
        try:
            step = attempts.send(feed)
        except StopIteration as done:
            return done.value, steps
        steps.append(step)
        feed = None if isinstance(step, Wait) else change(desk.exchange(step.head, step.body))


def balance(desk: Desk, ann: Person, change: Change, identify: bool = True) -> object:
    session = Session("devnet", desk.service.domain.ledger_id, 3, desk.clock)
    if identify:
        drive(desk, session.identify(), lambda answer: answer)
    return drive(desk, session.carry(calls.balance(ann.key, ann.account)), change)[0]


def richer(answer: Answer) -> Answer:
    return replace(answer, body=answer.body.replace(b'"10000000"', b'"90000000"'))


@pytest.mark.parametrize(
    "change",
    [
        richer,
        lambda answer: replace(answer, signature="11" * 64),
        lambda answer: replace(answer, signature=""),
        lambda answer: replace(answer, signature="zz"),
        lambda answer: replace(answer, signature=answer.signature.upper()),
        lambda answer: replace(answer, status=201),
        lambda answer: replace(answer, body=b""),
        lambda answer: replace(answer, body=answer.body + b" "),
    ],
)
def test_an_answer_that_the_ledger_did_not_sign_is_noticed(
    desk: Desk, ann: Person, change: Change
) -> None:
    with pytest.raises(LedgerUnreachable, match="not the ledger's") as caught:
        balance(desk, ann, change)
    assert caught.value.exit_code == 4


def test_the_answer_to_another_question_is_noticed(desk: Desk, ann: Person) -> None:
    ben = desk.person()
    call = calls.balance(ben.key, ben.account)
    other = desk.exchange(call.head(desk.service.domain, desk.service.now()), b"")
    with pytest.raises(LedgerUnreachable, match="not the ledger's"):
        balance(desk, ann, lambda _: other)


def test_an_old_answer_to_the_same_question_is_noticed(desk: Desk, ann: Person) -> None:
    call = calls.balance(ann.key, ann.account)
    old = desk.exchange(call.head(desk.service.domain, desk.service.now()), b"")
    desk.clock.now += 1
    with pytest.raises(LedgerUnreachable, match="not the ledger's"):
        balance(desk, ann, lambda _: old)


def test_another_ledger_is_noticed(desk: Desk, tmp_path: Path) -> None:
    other = Desk(tmp_path / "other")
    session = Session("devnet", desk.service.domain.ledger_id, 3, desk.clock)
    with pytest.raises(LedgerUnreachable, match="another ledger") as caught:
        drive(other, session.identify(), lambda answer: answer)
    assert caught.value.field == "answer"
    session = Session("mainnet", None, 3, desk.clock)
    with pytest.raises(LedgerUnreachable, match="'devnet'") as caught:
        drive(other, session.identify(), lambda answer: answer)
    assert caught.value.field == "answer"


@pytest.mark.parametrize(
    ("code", "field"),
    [
        ("balance_too_small", "answer"), ("not_found", "answer"), ("channel_closed", "answer"),
        ("key_reused", "answer"), ("stale", "answer"), ("over_limit", "answer"),
        ("keystore_locked", "answer"), ("made_up", "answer"), ("ledger_failed", None),
        ("books_broken", None),
    ],
)  # fmt: skip
def test_an_unsigned_refusal_is_never_taken_for_the_ledgers_decision(
    desk: Desk, ann: Person, code: str, field: str | None
) -> None:
    """Whoever stands between may answer the question for the identity, before any signature."""
    body = strict.dump({"error": {"code": code, "message": "no", "field": "amount"}})
    refusal = Answer(402, body, "", "")
    order = SendOrder(ann.account, CREDIT, Amount(5))
    ben = desk.person()
    for known in (False, True):
        session = Session("devnet", None, 1, desk.clock)
        if known:
            drive(desk, session.identify(), lambda answer: answer)
        with pytest.raises(LedgerUnreachable) as caught:
            drive(desk, session.carry(calls.send(ben.key, ben.account, order, fresh())),
                  lambda _: refusal)  # fmt: skip
        assert type(caught.value) is LedgerUnreachable
        assert caught.value.field == field
    assert desk.credit(ben) == 9_999_995, "it was paid all the same"


def test_a_certificate_that_has_run_out_is_asked_for_again(desk: Desk, ann: Person) -> None:
    session = Session("devnet", None, 1, desk.clock)
    drive(desk, session.identify(), lambda answer: answer)
    desk.clock.now += CERTIFICATE_S + 1
    _, steps = drive(
        desk, session.carry(calls.balance(ann.key, ann.account)), lambda answer: answer
    )
    assert next(step.head.target for step in steps if isinstance(step, Send)) == "/v1/ledger"


def test_a_status_of_500_is_no_word_of_the_ledger_and_is_asked_again(
    desk: Desk, ann: Person
) -> None:
    session = Session("devnet", None, 2, desk.clock)
    drive(desk, session.identify(), lambda answer: answer)
    attempts = session.carry(calls.balance(ann.key, ann.account))
    next(attempts)
    assert isinstance(attempts.send(Answer(500, b"Internal Server Error", "", "")), Wait)


def forged(desk: Desk, root: SigningKey, response: SigningKey, later_s: int = 0) -> Change:
    """An identity certified by ``root``, signed as an answer by nobody in particular."""

    def change(answer: Answer) -> Answer:
        told = LedgerIdentity.read(strict.Fields(strict.parse(answer.body)))
        now = desk.service.now() + later_s
        certificate = Certificate.issue(root, "devnet", response.public, now, now + 1000)
        return replace(
            answer, body=strict.dump(replace(told, certificates=(certificate,)).to_json())
        )

    return change


def test_a_certificate_of_another_root_is_noticed(desk: Desk) -> None:
    session = Session("devnet", None, 1, desk.clock)
    with pytest.raises(LedgerUnreachable, match="another ledger"):
        drive(desk, session.identify(), forged(desk, new_key(), desk.service.keys.response))


def test_a_certificate_that_is_not_in_force_is_noticed(desk: Desk) -> None:
    keys = desk.service.keys
    for later_s in (-10_000, 10_000):
        session = Session("devnet", None, 1, desk.clock)
        with pytest.raises(LedgerUnreachable, match="in force"):
            drive(desk, session.identify(), forged(desk, keys.root, keys.response, later_s))


def test_an_identity_signed_by_another_key_than_it_certifies_is_noticed(desk: Desk) -> None:
    session = Session("devnet", None, 1, desk.clock)
    change = forged(desk, desk.service.keys.root, new_key())
    with pytest.raises(LedgerUnreachable, match="not the ledger's"):
        drive(desk, session.identify(), change)


def test_the_first_ledger_is_pinned(desk: Desk) -> None:
    session = Session("devnet", None, 1, desk.clock)
    drive(desk, session.identify(), lambda answer: answer)
    assert session.ledger_id == ledger_id(desk.service.keys.root.public)


def test_a_new_response_key_is_learnt_from_a_new_certificate(desk: Desk, ann: Person) -> None:
    session = Session("devnet", None, 1, desk.clock)
    drive(desk, session.identify(), lambda answer: answer)
    response_keys.rotate(desk.folder, desk.service.keys.root, desk.service.now())
    found, steps = drive(
        desk, session.carry(calls.balance(ann.key, ann.account)), lambda answer: answer
    )
    assert found is not None
    assert [step.head.target for step in steps if isinstance(step, Send)][1] == "/v1/ledger"


def test_a_failing_ledger_is_asked_a_bounded_number_of_times_with_the_same_key(
    desk: Desk, ann: Person
) -> None:
    ben = desk.person()
    desk.service.database.stop("as if the disk had failed")
    session = Session("devnet", None, 3, desk.clock)
    drive(desk, session.identify(), lambda answer: answer)
    order = SendOrder(ben.account, CREDIT, Amount(5))
    attempts = session.carry(calls.send(ann.key, ann.account, order, fresh()))
    sent: list[Send] = []
    waits: list[Wait] = []
    feed: Answer | None = None
    with pytest.raises(LedgerFailed):  # noqa: PT012 - the loop is what the generator's driver does
        while True:
            step = attempts.send(feed)
            feed = None
            if isinstance(step, Wait):
                waits.append(step)
            else:
                sent.append(step)
                feed = desk.exchange(step.head, step.body)
    assert len(sent) == 3
    assert len({step.head.key for step in sent}) == 1
    assert [0 < wait.seconds < 1 for wait in waits] == [True, True]


def test_a_lost_answer_is_asked_for_again_and_the_money_moves_once(desk: Desk, ann: Person) -> None:
    ben = desk.person()
    session = Session("devnet", None, 2, desk.clock)
    drive(desk, session.identify(), lambda answer: answer)
    order = SendOrder(ben.account, CREDIT, Amount(5))
    attempts = session.carry(calls.send(ann.key, ann.account, order, fresh()))
    first = next(attempts)
    assert isinstance(first, Send)
    desk.exchange(first.head, first.body)
    assert isinstance(attempts.send(LedgerUnreachable("cut")), Wait)
    again = next(attempts)
    assert isinstance(again, Send)
    with pytest.raises(StopIteration):
        attempts.send(desk.exchange(again.head, again.body))
    assert (desk.credit(ann), desk.credit(ben)) == (9_999_995, 10_000_005)


def test_a_refusal_arrives_as_the_error_that_it_is(desk: Desk, ann: Person) -> None:
    ben = desk.person()
    order = SendOrder(ben.account, CREDIT, Amount(10_000_001))
    with pytest.raises(BalanceTooSmall) as caught:
        desk.ask(calls.send(ann.key, ann.account, order, fresh()))
    assert (caught.value.field, caught.value.exit_code) == ("amount", 5)
    assert caught.value.hint


# --- over real sockets --------------------------------------------------------------------------


def test_the_blocking_and_the_asynchronous_client_do_the_same(desk: Desk) -> None:
    async def journey(url: str) -> object:
        async with AsyncLedgerClient(url, clock=desk.clock) as ledger:
            identity = await ledger.identify()
            key = new_key()
            opened = await ledger.open_account(key, fresh())
            await ledger.send(
                key, opened.account, SendOrder(ann.account, CREDIT, Amount(5)), fresh()
            )
            history = await ledger.history(key, opened.account)
            return (
                identity,
                (await ledger.balance(key, opened.account)).credit,
                len(history.entries),
            )

    ann = desk.person()
    with LedgerServer(desk.service, "127.0.0.1", 0).running() as url:
        identity, credit, count = asyncio.run(journey(url))  # type: ignore[misc]
        with LedgerClient(url, clock=desk.clock) as ledger:
            assert ledger.identify().ledger_id == identity.ledger_id
            assert ledger.balance(ann.key, ann.account).credit == Amount(10_000_005)
    assert (credit, count) == (Amount(9_999_995), 2)


@pytest.fixture
def liar() -> Iterator[Callable[[bytes], str]]:
    """A server that sends fixed bytes to whoever connects."""
    listening: list[socket.socket] = []

    def lie(answer: bytes) -> str:
        made = socket.create_server(("127.0.0.1", 0))
        listening.append(made)

        def serve() -> None:
            while True:
                try:
                    client, _ = made.accept()
                except OSError:
                    return
                with client:
                    client.recv(65_536)
                    try:
                        client.sendall(answer)
                    except OSError:
                        continue

        threading.Thread(target=serve, daemon=True).start()
        return f"http://127.0.0.1:{made.getsockname()[1]}"

    yield lie
    for one in listening:
        one.shutdown(socket.SHUT_RDWR)
        one.close()


def http(body: bytes, headers: str = "") -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff" * 50,
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort",
        http(b"x" * (MAX_ANSWER_BYTES + 1)),
        http(b"{}"),
        http(b"[" * 5000),
        http(b'{"error":{"code":"refused","message":"x","field":null,"hint":null}}'),
        http(b"<html>", "content-type: text/html\r\n"),
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
        http(b"\x1f\x8b" + b"\x00" * 100, "content-encoding: gzip\r\n"),
    ],
    ids=[
        "nothing", "noise", "cut short", "too large", "empty", "deep", "unsigned refusal", "a page",
        "elsewhere", "overrun", "compressed",
    ],
)  # fmt: skip
def test_whatever_answers_in_the_ledgers_place_is_an_unreachable_ledger(
    liar: Callable[[bytes], str], answer: bytes
) -> None:
    with (
        LedgerClient(liar(answer), attempts=1, timeout_s=2) as ledger,
        pytest.raises(LedgerUnreachable),
    ):
        ledger.identify()


def test_nobody_there_is_an_unreachable_ledger() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with (
            LedgerClient(url, attempts=2) as ledger,
            pytest.raises(LedgerUnreachable, match="did not answer"),
        ):
            ledger.balance(new_key(), bytes(16))


def test_a_silent_server_is_waited_for_a_bounded_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with (
            LedgerClient(url, attempts=1, timeout_s=0.2) as ledger,
            pytest.raises(LedgerUnreachable),
        ):
            ledger.identify()


def test_a_server_that_dribbles_is_waited_for_a_bounded_time() -> None:
    """Each byte comes in time; all of them never would."""
    ended = threading.Event()

    def dribble(listening: socket.socket) -> None:
        for _ in range(2):
            client, _address = listening.accept()
            with client, contextlib.suppress(OSError):
                client.recv(65_536)
                client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
                while not ended.wait(0.05):
                    client.sendall(b"x")

    async def ask(url: str) -> None:
        async with AsyncLedgerClient(url, attempts=1, timeout_s=0.2) as ledger:
            await ledger.identify()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread = threading.Thread(target=dribble, args=(listening,), daemon=True)
        thread.start()
        with (
            LedgerClient(url, attempts=1, timeout_s=0.2) as ledger,
            pytest.raises(LedgerUnreachable, match="too slowly"),
        ):
            ledger.identify()
        with pytest.raises(LedgerUnreachable, match="too slowly"):
            asyncio.run(ask(url))
        ended.set()
        thread.join(5)


def test_outcomes_of_other_channels_are_not_the_answer(desk: Desk) -> None:
    first, second = desk.line(), desk.line()
    asked = calls.redeem([first.item(1), second.item(1)])
    with pytest.raises(LedgerUnreachable, match="other channels"):
        desk.ask(replace(asked, body=calls.redeem([second.item(1), first.item(1)]).body))


def test_a_time_that_no_calendar_shows_is_not_understood(desk: Desk, ann: Person) -> None:
    told = desk.balance(ann).to_json()
    balance = Balance.read(strict.Fields(told | {"time": 253_402_300_799}))
    assert time_text(balance.time) == "9999-12-31T23:59:59Z"
    with pytest.raises(Malformed):
        Balance.read(strict.Fields(told | {"time": 253_402_300_800}))


@pytest.mark.parametrize(
    "url", ["", "ledger", "ftp://x", "http://", "http://x/path", "http://[::1", "http://x:y"]
)
def test_an_address_that_is_none_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        LedgerClient(url)
    assert caught.value.field == "ledger"


def test_the_shapes_alone_load_no_http_and_no_database() -> None:
    code = (
        "import sys, json, speedpay.ledger_api.client, speedpay.ledger_api.shapes;"
        "print(json.dumps([m for m in ('httpx', 'sqlalchemy', 'starlette', 'click',"
        " 'speedpay.ledger') if m in sys.modules]))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env=environment
    )
    assert json.loads(ran.stdout) == []
