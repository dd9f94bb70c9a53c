"""The ledger's thread for the chain: it holds nobody up, survives its own mistakes, and ends with the
books."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from speedpay.errors import LedgerFailed
from speedpay.ledger.chain_side import watch, worker
from speedpay.ledger.chain_side.health import Alarms
from speedpay.ledger.chain_side.worker import ChainSettings, ChainWorker
from speedpay.ledger_api import calls
from speedpay.ledger_api.chain import MAX_ALARM_CHARS
from speedpay.ledger_api.shapes import Send
from speedpay.units import Amount
from tests.unit.ledger.desk import CREDIT, fresh
from tests.unit.ledger.vaulted import Vaulted, vaulted

QUICK_S, SLOW_S = 1.0, 3.0
LONG_S = 20


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Vaulted]:
    with vaulted(tmp_path / "ledger") as made:
        yield made


def eventually(happened: Callable[[], object]) -> None:
    until = time.monotonic() + LONG_S
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.01)


def running(one: Vaulted) -> ChainWorker:
    return ChainWorker(one.desk.service, one.vault, one.operator, ChainSettings(poll_s=0.01))


def test_a_node_that_hangs_holds_no_request_up(one: Vaulted) -> None:
    ann, ben = one.desk.person(), one.desk.person()
    one.round()
    node = one.node.nodes[0]
    node.fault("timeout", count=100, seconds=SLOW_S)
    with running(one).running():
        eventually(lambda: node._server.faults.pending()[0].count != 100)  # it waits for the node
        began = time.monotonic()
        for _ in range(5):
            order = Send(ben.account, CREDIT, Amount(1))
            one.desk.ask(calls.send(ann.key, ann.account, order, fresh()))
            one.desk.balance(ann)
            one.health()
        assert time.monotonic() - began < QUICK_S
        node.heal()


def test_a_mistake_of_its_own_is_logged_and_the_next_round_is_tried(
    one: Vaulted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mistakes = iter([ZeroDivisionError("ours"), ZeroDivisionError("ours")])
    real = watch.catch_up

    def sometimes(*given: object) -> None:
        for mistake in mistakes:
            raise mistake
        real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(watch, "catch_up", sometimes)
    with caplog.at_level(logging.ERROR, "speedpay.ledger.chain"), running(one).running():
        eventually(lambda: one.health().closed)
    assert caplog.text.count("ZeroDivisionError: ours") == 2


def test_when_the_ledger_stops_writing_the_thread_ends(one: Vaulted) -> None:
    thread = threading.Thread(target=(made := running(one)).run)
    thread.start()
    eventually(lambda: one.health().closed)
    one.desk.service.database.stop("its disk failed")
    thread.join(LONG_S)
    assert not thread.is_alive()
    with pytest.raises(LedgerFailed):
        made.round()


def test_a_worker_that_is_stopped_ends_at_once_and_another_goes_on(one: Vaulted) -> None:
    with running(one).running():
        eventually(lambda: one.health().closed)
    one.solidify()
    with running(one).running():
        eventually(lambda: one.health().anchor)


def test_rounds_that_fail_become_rarer_but_not_rarer_than_once_a_minute(
    one: Vaulted, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, pauses = running(one), []

    def wait(pause_s: float) -> bool:
        pauses.append(pause_s)
        if len(pauses) == 20:
            made.stop()
        return False

    monkeypatch.setattr(made, "round", lambda: False)
    monkeypatch.setattr(made._stop, "wait", wait)
    made.run()
    assert pauses[:3] == [0.02, 0.04, 0.08]
    assert max(pauses) == worker.LONGEST_PAUSE_S == pauses[-1]


def test_what_nodes_say_is_shown_in_one_short_printable_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    alarms = Alarms()
    (told,) = alarms.keep({"chain": "\x1b[31mred\n" + "x" * 5000})
    assert told.isprintable()
    assert len(told) <= MAX_ALARM_CHARS
    assert alarms.keep({}) == []
