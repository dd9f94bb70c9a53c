"""The serving process dies, is ended, or loses its disk: nothing that was answered is lost."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from speedpay.channel.voucher import Assignment, Voucher
from speedpay.errors import LedgerFailed, LedgerUnreachable, SpeedpayError
from speedpay.ledger import invariants
from speedpay.ledger.database import Database
from speedpay.ledger_api.answers import JournalHead
from speedpay.ledger_api.client import LedgerClient
from speedpay.ledger_api.shapes import OpenChannel, Redemption, Send
from speedpay.signing import Domain, SigningKey
from speedpay.units import Amount
from tests.unit.ledger.desk import CREDIT, HOUR_S, fresh, new_key

KILLS = 5
THREADS = 4
LINES_S = 30
_MAIN = "import sys; from speedpay.cli import main; sys.exit(main())"


@dataclass
class Serving:
    """``speedpay ledger serve`` as a user starts it."""

    folder: Path
    limit: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        path = os.pathsep.join(filter(None, sys.path))
        self.process = subprocess.Popen(
            [
                sys.executable, "-c", _MAIN, "ledger", "serve", "--data", str(self.folder),
                "--listen", "127.0.0.1:0", "--unlimited-loopback", "--json",
            ],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": path}, preexec_fn=self.limit,
        )  # fmt: skip
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        told = json.loads(line)
        self.url: str = told["url"]
        self.ledger_id = bytes.fromhex(told["ledger_id"])

    def client(self) -> LedgerClient:
        return LedgerClient(self.url, self.ledger_id, attempts=1, timeout_s=5)

    def end(self, with_signal: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(with_signal)
        _, said = self.process.communicate(timeout=LINES_S)
        return self.process.returncode, said


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A data directory whose books are examined when the test is over."""
    made = tmp_path / "ledger"
    yield made
    database = Database(made / "ledger.sqlite")
    with database.read() as connection:
        assert invariants.every(connection) == []
    database.close()


@dataclass
class Worker:
    """A user who saves each order before sending it, and notes what was answered."""

    key: SigningKey
    account: bytes
    other: bytes
    sent: int = 0
    answered: int = 0
    pending: bytes | None = None
    heads: list[JournalHead] = field(default_factory=list)
    channel_key: SigningKey = field(default_factory=new_key)
    payee_key: SigningKey = field(default_factory=new_key)
    channel: bytes = b""
    cumulative: int = 0
    redeemed: int = 0

    def work(self, ledger: LedgerClient, domain: Domain, stop: threading.Event) -> None:
        """One µtok at a time and one voucher at a time, until the ledger is gone."""
        with contextlib.suppress(LedgerUnreachable, LedgerFailed):
            while not stop.is_set():
                self.step(ledger, domain)

    def step(self, ledger: LedgerClient, domain: Domain) -> None:
        if self.pending is None:
            self.pending = fresh()
            self.sent += 1
        ledger.send(self.key, self.account, Send(self.other, CREDIT, Amount(1)), self.pending)
        self.pending = None
        self.answered += 1
        if self.redeemed == self.cumulative:
            self.cumulative += 10
        voucher = Voucher.sign(self.channel_key, domain, self.channel, Amount(self.cumulative))
        assignment = Assignment.sign(self.payee_key, domain, self.channel, self.account)
        (outcome,) = ledger.redeem([Redemption(self.channel, voucher, assignment)])
        assert outcome.error is None
        self.redeemed = outcome.paid.utok
        self.heads.append(ledger.balance(self.key, self.account).journal_head)


def open_workers(ledger: LedgerClient) -> list[Worker]:
    sink = ledger.open_account(new_key(), fresh()).account
    workers = []
    for _ in range(THREADS):
        key = new_key()
        worker = Worker(key, ledger.open_account(key, fresh()).account, sink)
        order = OpenChannel(
            worker.channel_key.public, worker.payee_key.public, fresh(), CREDIT,
            Amount(5_000_000), 24 * HOUR_S,
        )  # fmt: skip
        opened = ledger.open_channel(key, worker.account, order, fresh())
        worker.channel = opened.statement.channel
        workers.append(worker)
    return workers


def check_nothing_lost(ledger: LedgerClient, worker: Worker) -> None:
    """Every answered order is there, an unanswered one once or not at all."""
    view = ledger.channel(worker.payee_key, worker.payee_key.public, worker.channel)
    assert worker.redeemed <= view.paid.utok <= worker.cumulative
    left = ledger.balance(worker.key, worker.account).credit.utok
    spent = 10_000_000 - 5_000_000 + view.paid.utok - left
    assert worker.answered <= spent <= worker.sent


def test_no_answered_write_is_lost_when_the_ledger_is_killed_under_load(folder: Path) -> None:
    seeded = random.Random(7)
    serving = Serving(folder)
    with serving.client() as ledger:
        workers = open_workers(ledger)
    domain = Domain("devnet", serving.ledger_id)
    for _ in range(KILLS):
        stop, threads = threading.Event(), []
        enough = sum(worker.answered for worker in workers) + seeded.randrange(5, 60)
        clients = [serving.client() for _ in workers]
        for worker, client in zip(workers, clients, strict=True):
            threads.append(threading.Thread(target=worker.work, args=(client, domain, stop)))
            threads[-1].start()
        while sum(worker.answered for worker in workers) < enough:
            assert any(thread.is_alive() for thread in threads)
            threads[0].join(0.001)
        serving.process.kill()
        serving.process.communicate(timeout=LINES_S)
        for thread, client in zip(threads, clients, strict=True):
            thread.join(LINES_S)
            client.close()
        serving = Serving(folder)
        with serving.client() as ledger:
            for worker in workers:
                check_nothing_lost(ledger, worker)
                worker.step(ledger, domain)  # repeats what was under way, with its key
                assert worker.answered == worker.sent
                check_nothing_lost(ledger, worker)
    heads = [head for worker in workers for head in worker.heads]
    assert len(heads) > KILLS * THREADS
    database = Database(folder / "ledger.sqlite")
    with database.read() as connection:
        assert all(invariants.holds(connection, head) for head in heads)
    database.close()
    assert serving.end(signal.SIGTERM) == (0, "")


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
def test_a_ledger_ends_cleanly_when_it_is_asked_to(
    folder: Path, with_signal: signal.Signals
) -> None:
    serving = Serving(folder)
    with serving.client() as ledger:
        ledger.open_account(new_key(), fresh())
        assert serving.end(with_signal) == (0, "")
        with pytest.raises(LedgerUnreachable):
            ledger.identify()


def test_a_ledger_whose_disk_fails_stops_and_has_lost_nothing_when_it_is_mended(
    folder: Path,
) -> None:
    """A limit on the size of files makes real writes fail with an error that is not "full"."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

    serving = Serving(folder, limit)
    domain = Domain("devnet", serving.ledger_id)
    with serving.client() as ledger:
        workers = open_workers(ledger)
        failure: SpeedpayError | None = None
        for turn in range(4000):
            try:
                workers[turn % THREADS].step(ledger, domain)
            except (LedgerFailed, LedgerUnreachable) as error:
                failure = error
                break
    assert isinstance(failure, LedgerFailed)
    assert "SQLITE_IOERR" in str(failure)
    _, said = serving.process.communicate(timeout=LINES_S)
    assert serving.process.returncode == LedgerFailed.exit_code
    assert "the ledger stopped" in said
    mended = Serving(folder)
    with mended.client() as ledger:
        for worker in workers:
            check_nothing_lost(ledger, worker)
            worker.step(ledger, domain)
            check_nothing_lost(ledger, worker)
    assert mended.end(signal.SIGTERM) == (0, "")
