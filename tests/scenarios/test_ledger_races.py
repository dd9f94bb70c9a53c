"""Many hands on one ledger at once: money is neither made nor lost, whoever comes first."""

from __future__ import annotations

import json
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from speedpay.errors import BalanceTooSmall, ChannelClosed, LedgerFailed, SpeedpayError
from speedpay.ledger import book, channels, chart
from speedpay.ledger.answering import answer
from speedpay.ledger.asked import Request
from speedpay.ledger.chart import Kind
from speedpay.ledger.http import LedgerServer
from speedpay.ledger.schema import channels as table
from speedpay.ledger.service import Service, Settings
from speedpay.ledger_api import calls, strict
from speedpay.ledger_api.client import LedgerClient
from speedpay.ledger_api.shapes import (
    ChannelState,
    OpenChannel,
    Redemption,
    Send,
    TopUp,
    redemptions_from_json,
)
from speedpay.units import Amount
from tests.unit.ledger.desk import CREDIT, HOUR_S, Clock, Desk, fresh, new_key

PROCESSES, THREADS = 4, 16
VOUCHER, OTHERS = 400, 5_000_000
BARRIER_S = 60


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "ledger")
    yield made
    assert made.broken() == []
    made.service.close()


# --- 64 redemptions of one voucher ---------------------------------------------------------------


def guarded(service: Service, body: bytes, _: Barrier) -> int:
    """The ledger's own: what it answers is what it paid."""
    reply = answer(service, Request("POST", "/v1/redemptions", {}, body, "127.0.0.1"))
    (outcome,) = json.loads(reply.body)["outcomes"]
    return int(outcome["amount"])


def naive(service: Service, body: bytes, all_have_read: Barrier) -> int:
    """The planted bug: read, compute, then update. Nobody writes before everybody has read, so
    that it does not take luck to see what is wrong with it."""
    (item,) = redemptions_from_json(strict.parse(body))
    assert item.voucher
    assert item.assignment
    with service.database.read() as connection:
        known = channels.load(connection, item.channel)
    due = item.voucher.cumulative - known.paid
    all_have_read.wait(BARRIER_S)
    with service.database.write() as connection:
        connection.execute(
            table.update()
            .where(table.c.id == item.channel)
            .values(
                paid=item.voucher.cumulative.utok,
                signed=item.voucher.cumulative.utok,
                voucher=item.voucher.signature,
                payee=item.assignment.account,
                assignment=item.assignment.signature,
            )
        )
        book.post(
            connection, Kind.PAY, chart.ESCROW, chart.user(item.assignment.account), CREDIT, due,
            item.channel, 0, escrow_of=known.payer,
        )  # fmt: skip
    return due.utok


def redeem_in_many_threads(
    folder: Path, redeem: Callable[..., int], body: bytes, barrier: Barrier, results: Any
) -> None:
    """One of the processes; it serves the same database as the others."""
    service = Service(folder, Settings(unlimited_loopback=True), Clock())

    def one() -> int:
        barrier.wait(BARRIER_S)
        return redeem(service, body, barrier)

    with ThreadPoolExecutor(THREADS) as pool:
        threads = [pool.submit(one) for _ in range(THREADS)]
        results.put([thread.result() for thread in threads])
    service.close()


def race_64_redemptions_of_one_voucher(desk: Desk, redeem: Callable[..., int]) -> None:
    line = desk.line(escrow=1000)
    desk.line(escrow=OTHERS)  # what could be stolen
    body = strict.dump({"items": [line.item(VOUCHER).to_json()]})
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(PROCESSES * THREADS), context.Queue()
    arguments = (desk.folder, redeem, body, barrier, results)
    processes = [
        context.Process(target=redeem_in_many_threads, args=arguments) for _ in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    paid = [amount for _ in processes for amount in results.get(timeout=BARRIER_S)]
    for process in processes:
        process.join(BARRIER_S)
        assert process.exitcode == 0
    assert len(paid) == PROCESSES * THREADS
    assert sorted(paid)[-1] == VOUCHER
    assert sum(paid) == VOUCHER
    assert desk.credit(line.payee) == 10_000_000 + VOUCHER
    assert desk.broken() == []


def test_64_redemptions_of_one_voucher_over_4_processes_pay_it_once(desk: Desk) -> None:
    race_64_redemptions_of_one_voucher(desk, guarded)


def test_the_same_race_catches_a_naive_redemption(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "robbed")
    with pytest.raises(AssertionError):
        race_64_redemptions_of_one_voucher(desk, naive)
    broken = desk.broken()
    assert any(one.startswith("I1: escrow credit") for one in broken)
    assert any(one.startswith("I3: channel") for one in broken)
    desk.service.close()


# --- others --------------------------------------------------------------------------------------


def at_once(count: int, work: Callable[[int], object]) -> list[object]:
    """``work`` in ``count`` threads that start together; what it returns or raises, if refused."""
    start = threading.Barrier(count)

    def one(at: int) -> object:
        start.wait(BARRIER_S)
        try:
            return work(at)
        except SpeedpayError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return [thread.result() for thread in [pool.submit(one, at) for at in range(count)]]


def test_many_channels_opened_at_once_never_lock_more_than_there_is(desk: Desk) -> None:
    ann = desk.person()

    def open_one(_: int) -> object:
        order = OpenChannel(
            new_key().public, new_key().public, fresh(), CREDIT, Amount(3_000_000), HOUR_S
        )
        return desk.ask(calls.open_channel(ann.key, ann.account, order, fresh()))

    outcomes = at_once(16, open_one)
    assert sum(isinstance(one, BalanceTooSmall) for one in outcomes) == 13
    balance = desk.balance(ann)
    assert (balance.credit.utok, balance.credit_in_escrow.utok) == (1_000_000, 9_000_000)


def test_one_request_sent_sixteen_times_at_once_has_one_effect(desk: Desk) -> None:
    ann, ben = desk.person(), desk.person()
    call = calls.send(ann.key, ann.account, Send(ben.account, CREDIT, Amount(5)), fresh())
    head = call.head(desk.service.domain, desk.service.now())
    answers = at_once(16, lambda _: desk.exchange(head, call.body))
    assert len({str(one) for one in answers}) == 1
    assert desk.credit(ben) == 10_000_005


def test_redeeming_in_the_moment_of_the_refund_is_paid_wholly_or_refused(tmp_path: Path) -> None:
    """The expiry task and the payee are two services on one database: neither knows of the other."""
    settings = Settings(claim_s=60, unlimited_loopback=True)
    clock = Clock()
    desk = Desk(tmp_path / "ledger", settings, clock)
    task = Service(tmp_path / "ledger", settings, clock)
    payer = desk.person()
    lines = [desk.line(1000, 900, payer=payer) for _ in range(24)]
    for line in lines[::3]:
        desk.ask(calls.deposit_voucher(line.voucher(200)))
    for line in lines[1::3]:
        line.redeem(100)
    desk.pass_time(900)
    clock.now += 60
    outcomes: list[object] = []

    def race(at: int) -> None:
        if at == 0:
            task.tick()
        else:
            outcomes.extend(desk.ask(calls.redeem([line.item(300, close=True) for line in lines])))

    at_once(2, race)
    task.tick()
    for line in lines:
        view = line.view()
        assert view.state in (ChannelState.CLOSED, ChannelState.UNCLAIMED)
        paid = desk.credit(line.payee) - 10_000_000
        assert paid == view.paid.utok
        assert paid in (0, 100, 200, 300)
        if view.state is ChannelState.CLOSED:
            assert view.paid.utok + view.refunded.utok == 1000
    assert desk.broken() == []
    task.close()
    desk.service.close()


def test_a_redemption_between_the_task_s_look_and_its_refund_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if a row changes after the task has read it, nothing is refunded that was paid."""
    desk = Desk(tmp_path / "ledger")
    line = desk.line(escrow=1000)
    from speedpay.ledger import redemption

    with desk.service.database.read() as connection:
        stale = channels.load(connection, line.id)
    line.redeem(300)

    def end_with_what_was_read() -> None:
        with desk.service.database.write() as connection:
            redemption.close(connection, stale, desk.service.now())

    with desk.refused(ChannelClosed, "channel"):
        end_with_what_was_read()
    assert desk.broken() == []
    desk.service.close()


def test_top_ups_and_redemptions_at_once_agree(desk: Desk) -> None:
    line, payer = desk.line(escrow=1000), None
    payer = line.payer

    def work(at: int) -> object:
        if at % 2:
            more = TopUp(Amount(100))
            return desk.ask(calls.top_up(payer.key, payer.account, line.id, more, fresh()))
        return desk.ask(
            calls.redeem([Redemption(line.id, line.voucher(50 * (at + 1)), line.assignment())])
        )

    at_once(16, work)
    view = line.view()
    assert view.escrow == Amount(1800)
    assert view.paid == Amount(750)
    assert desk.credit(line.payee) == 10_000_750


def test_two_servers_on_one_database_are_one_ledger(tmp_path: Path) -> None:
    settings = Settings(unlimited_loopback=True)
    with ExitStack() as stack:
        clients = []
        for _ in range(2):
            service = Service(tmp_path / "ledger", settings)
            stack.callback(service.close)
            server = LedgerServer(service, "127.0.0.1", 0)
            url = stack.enter_context(server.running())
            clients.append(stack.enter_context(LedgerClient(url)))
        left, right = clients
        ann, ben = new_key(), new_key()
        a, b = left.open_account(ann, fresh()).account, right.open_account(ben, fresh()).account
        key, order = fresh(), Send(b, CREDIT, Amount(1000))
        left.send(ann, a, order, key)
        right.send(ann, a, order, key)
        assert right.balance(ann, a).credit == left.balance(ann, a).credit == Amount(9_999_000)

        def both_ways(at: int) -> None:
            for _ in range(10):
                key_of, account, other = ((ann, a, b), (ben, b, a))[at % 2]
                clients[at // 2 % 2].send(
                    key_of, account, Send(other, CREDIT, Amount(1 + at % 2)), fresh()
                )

        failures = [one for one in at_once(8, both_ways) if one is not None]
        assert failures == []
        assert left.balance(ann, a).credit == Amount(9_999_000 - 40 + 80)
        assert right.balance(ben, b).credit == Amount(10_001_000 + 40 - 80)
    check = Desk(tmp_path / "ledger")
    assert check.broken() == []
    check.service.close()


def test_a_writer_that_waits_too_long_for_another_process_says_that_it_failed(desk: Desk) -> None:
    ann, ben = desk.person(), desk.person()
    other = Service(desk.folder, desk.settings, desk.clock)
    order = Send(ben.account, CREDIT, Amount(5))
    import sqlalchemy as sa

    def impatient(connection: Any, _: object) -> None:
        connection.execute("PRAGMA busy_timeout = 50")

    desk.service.database._engine.dispose()
    sa.event.listen(desk.service.database._engine, "connect", impatient)
    call = calls.send(ann.key, ann.account, order, fresh())
    with other.database.write(), pytest.raises(LedgerFailed, match="busy"):
        desk.ask(call)
    desk.ask(call)
    assert desk.credit(ben) == 10_000_005
    other.close()
