"""A ledger that anchors to a real development chain, its operator, and people with wallets. In one process:
the ledger serves HTTP from a thread, its worker for the chain takes a turn whenever a test waits, and the
people's commands are run by ``main``, so that a whole story takes a few seconds.
"""

from __future__ import annotations

import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from speedpay.chain import artifact
from speedpay.chain.keys import ChainKey
from speedpay.chain.networks import DEVNET
from speedpay.chain.token import Token
from speedpay.chain.transaction import Unsigned
from speedpay.chain.tron import Tron
from speedpay.chain.vault import Vault
from speedpay.cli import main
from speedpay.devnet.node import Devnet, devnet
from speedpay.ledger import book, chart, epochs
from speedpay.ledger.chain_side.worker import ChainSettings, ChainWorker
from speedpay.ledger.chart import Kind
from speedpay.ledger.http import LedgerServer
from speedpay.ledger.service import Service, Settings
from speedpay.ledger_api import signed
from speedpay.ledger_api.client import LedgerClient
from speedpay.units import Amount, MoneyClass
from speedpay.wallet.funds import open_account
from speedpay.wallet.keys import new_words, seed_from_words
from speedpay.wallet.keystore import Keystore, Place, Unlocked
from speedpay.wallet.payout import Payout
from tests.unit.wallet.onchain import GUARDIAN, MINTER, OPERATOR, SUN

PASSPHRASE = "correct horse battery"
#: Seconds of the vault: between anchors, until one counts, of silence, for deposits.
INTERVAL, DELAY, SILENCE, GRACE = 4, 12, 600, 600
_FEE_SUN = 1_000 * SUN
_NO_LIMIT = Amount(10**12)
_PATIENCE = 50  # turns; only so that a hanging test ends


@dataclass(frozen=True)
class Done:
    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return found

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.err.splitlines()[-1])["error"]
        return found


@dataclass
class Operator:
    """The whole ledger: service, HTTP, worker; its folder holds its keys and books."""

    folder: Path
    node: Devnet
    vault: Vault
    limit: Amount = _NO_LIMIT
    service: Service = field(init=False)

    def __post_init__(self) -> None:
        settings = Settings(
            unlimited_loopback=True, epoch_interval_s=INTERVAL, withdrawals_per_epoch=self.limit
        )
        # The chain's clock, which a test moves by seconds; people's requests are in time all the same.
        clock = self.node.chain.clock
        self.service = Service(self.folder, settings, lambda: clock.now_ms() / 1000)
        self.worker = ChainWorker(self.service, self.vault, OPERATOR, ChainSettings())
        self._turn = threading.Lock()
        assert self.round()

    def round(self) -> bool:
        with self._turn:
            return self.worker.round()

    def settle(self) -> int:
        """Until an epoch that closes from now on is anchored in a final block. Returns its number."""
        with self.service.database.read() as connection:
            last = epochs.latest(connection)
        wanted = (last.number if last else 0) + 1
        for turn in range(_PATIENCE):
            if turn % 5 == 0:
                self.node.advance(INTERVAL)
            self.node.mine(20)
            self.round()
            anchored = self.vault.last_anchor()
            if anchored is not None and anchored.epoch >= wanted:
                self.round()
                return anchored.epoch
        raise AssertionError("no epoch was anchored")

    def take(self, victim: bytes, thief: bytes, utok: int) -> None:
        """A payment that its payer never ordered, properly booked."""
        with self.service.database.write() as connection:
            book.post(
                connection, Kind.SEND, chart.user(victim), chart.user(thief), MoneyClass.TOKEN,
                Amount(utok), b"", self.service.now(),
            )  # fmt: skip


Lie = Callable[[dict[str, Any]], dict[str, Any]]


class Liar:
    """In front of an honest ledger, with its keys: answers that begin with a path are replaced, and
    signed as the ledger signs."""

    def __init__(self, operator: Operator, url: str) -> None:
        self.lies: dict[str, Lie] = {}
        liar, service, upstream = self, operator.service, httpx.Client(base_url=url)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                size = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(size)
                given = {k.lower(): v for k, v in self.headers.items()}
                kept = {
                    k: v for k, v in given.items() if k.startswith(("speedpay", "content-type"))
                }
                found = upstream.request(self.command, self.path, content=body, headers=kept)
                content, headers = found.content, dict(found.headers)
                for path, lie in liar.lies.items():
                    if self.path.startswith(path):
                        content = json.dumps(lie(json.loads(content))).encode()
                        head = signed.Head(
                            self.command, self.path, given.get(signed.ACCOUNT_HEADER, ""),
                            given.get(signed.TIME_HEADER, ""), given.get(signed.KEY_HEADER, ""),
                            given.get(signed.SIGNATURE_HEADER, ""),
                        )  # fmt: skip
                        headers |= signed.sign_answer(
                            service.keys.response, service.domain, head, body, 200, content
                        )
                        found.status_code = 200
                self.send_response(found.status_code)
                for name, value in headers.items():
                    if name.startswith("speedpay") or name == "content-type":
                        self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Person:
    """A home with a wallet that is cheap to open. ``url``: how this person reaches the ledger."""

    home: Path
    url: str
    node_url: str
    patch: pytest.MonkeyPatch

    @property
    def wallet(self) -> Unlocked:
        return Keystore(self.home / "wallet").unlock(PASSPHRASE)

    @property
    def account(self) -> bytes:
        account = self.wallet.place.account
        assert account is not None
        return account

    @property
    def chain(self) -> ChainKey:
        return self.wallet.keys.chain

    def run(self, *arguments: str) -> Done:
        out, err = io.StringIO(), io.StringIO()
        with self.patch.context() as patch:
            for name, value in (
                ("HOME", str(self.home)), ("LEDGER_URL", self.url), ("CHAIN_NODES", self.node_url),
                ("PASSPHRASE_FILE", str(self.home / "passphrase")),
            ):  # fmt: skip
                patch.setenv(f"SPEEDPAY_{name}", value)
            patch.setattr("sys.stdin", io.StringIO(""))
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main([*arguments])
        assert "unexpected" not in err.getvalue(), err.getvalue()
        return Done(code, out.getvalue(), err.getvalue())

    def ok(self, *arguments: str) -> Done:
        done = self.run(*arguments)
        assert done.exit_code == 0, done.err
        return done


@dataclass
class Town:
    folder: Path
    node: Devnet
    tron: Tron
    token: Token
    vault: Vault
    operator: Operator
    url: str
    patch: pytest.MonkeyPatch
    _count: int = 0

    def do(self, who: ChainKey, made: Unsigned) -> None:
        sent = made.sign(who)
        self.tron.broadcast(sent)
        self.node.mine()
        self.tron.wait(sent)

    def person(self, *, tok: int = 0, trx: int = 100, payout: bool = True) -> Person:
        self._count += 1
        home = self.folder / f"home{self._count}"
        home.mkdir(mode=0o700)
        (home / "passphrase").write_text(PASSPHRASE)
        keystore = Keystore(home / "wallet")
        place = Place("devnet", self.url)
        made = keystore.create(seed_from_words(new_words()), PASSPHRASE, place, n=2**12)
        with LedgerClient(self.url) as ledger:
            place, _ = open_account(ledger, made.keys.identity, place)
            made = keystore.update(made, place)
            if payout:
                Payout(home / "wallet", place, made.keys).name(ledger)
        person = Person(home, self.url, self.node.url, self.patch)
        if trx:
            self.node.faucet(person.chain.address, trx * SUN)
        if tok:
            self.mint(person.chain.address, tok)
        self.node.mine()
        return person

    def mint(self, to: bytes, tok: int) -> None:
        self.do(MINTER, self.token.prepare_mint(MINTER.address, to, tok * SUN))

    def deposit(self, tok: int, *people: Person) -> None:
        """So many tokens for each, at the ledger; not by the command, and paid in by a stranger."""
        owner, total = MINTER.address, tok * len(people) * SUN
        self.mint(owner, tok * len(people))
        self.do(MINTER, self.token.prepare_approve(owner, self.vault.address, total))
        for person in people:
            amount = Amount(tok * SUN)
            self.do(MINTER, self.vault.prepare_deposit(owner, amount, person.account))
        self.node.mine(20)
        self.operator.round()

    def busy(self) -> contextlib.AbstractContextManager[None]:
        """Blocks are made and the ledger reads them, while a command waits."""
        return self._meanwhile(self.operator.round)

    def busy_chain(self) -> contextlib.AbstractContextManager[None]:
        """Only blocks are made: the operator does nothing."""
        return self._meanwhile(lambda: True)

    @contextlib.contextmanager
    def _meanwhile(self, act: Callable[[], object]) -> Iterator[None]:
        stop = threading.Event()

        def work() -> None:
            while not stop.wait(0.02):
                self.node.mine()
                act()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(10)

    @contextlib.contextmanager
    def liar(self) -> Iterator[Liar]:
        made = Liar(self.operator, self.url)
        try:
            yield made
        finally:
            made.close()


@contextlib.contextmanager
def town(folder: Path, patch: pytest.MonkeyPatch, **operator: Any) -> Iterator[Town]:
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(devnet(block_time=None, nodes=2))
        for who in (OPERATOR, GUARDIAN, MINTER):
            node.faucet(who.address, 100_000 * SUN)
        node.mine()
        tron = stack.enter_context(Tron(DEVNET, [node.url], sleep=lambda _: _ignored(node.mine)))
        token = _deploy(tron, artifact.TOKEN, [MINTER.address, 2**63 - 1])
        terms = [token, OPERATOR.address, GUARDIAN.address, INTERVAL, DELAY, SILENCE, GRACE]
        vault = Vault(tron, _deploy(tron, artifact.VAULT, terms))
        node.mine(20)
        run = Operator(folder / "ledger", node, vault, **operator)
        stack.callback(run.service.close)
        url = stack.enter_context(LedgerServer(run.service, "127.0.0.1", 0).running())
        yield Town(folder, node, tron, Token(tron, token), vault, run, url, patch)


def _ignored(mine: Callable[[], int]) -> None:
    mine()


def _deploy(tron: Tron, name: str, arguments: list[object]) -> bytes:
    made = tron.prepare_deploy(OPERATOR.address, artifact.load(name), arguments, _FEE_SUN)
    signed_one = made.sign(OPERATOR)
    tron.broadcast(signed_one)
    receipt = tron.wait(signed_one)
    assert receipt.contract is not None
    return receipt.contract
