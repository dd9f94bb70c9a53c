"""A serving ledger and its chain: killed at every step of an anchor, two of them at once, and a day of
its life by its commands alone.

The chain is real and makes thirty blocks a second; each worker is a process of its own, and dies by
SIGKILL.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libtorrent as lt
import pytest
import sqlalchemy as sa

from speedpay.chain import deploy
from speedpay.chain.address import to_base58
from speedpay.chain.keys import ChainKey
from speedpay.chain.networks import DEVNET
from speedpay.chain.token import Token
from speedpay.chain.transaction import Unsigned
from speedpay.chain.tron import Tron
from speedpay.chain.vault import Vault
from speedpay.cli import main
from speedpay.devnet.node import Devnet, devnet
from speedpay.ledger import anchoring, invariants
from speedpay.ledger.anchor_life import Attempt, Step
from speedpay.ledger.anchoring import Anchoring
from speedpay.ledger.chain_side import watch
from speedpay.ledger.chain_side.worker import ChainSettings, ChainWorker
from speedpay.ledger.database import Database
from speedpay.ledger.schema import anchor_attempts, epochs
from speedpay.ledger.service import Service, Settings
from speedpay.ledger_api.chain import ChainHealth
from speedpay.ledger_api.client import LedgerClient
from speedpay.proof.balance import Anchored
from speedpay.proof.sum_tree import NODE_BYTES, Node, root_of
from speedpay.units import Amount
from tests.unit.ledger.desk import fresh, new_key

TRX = 1_000_000
LONG_S = 60
POLL_S = 0.05
_MAIN = "import sys; from speedpay.cli import main; sys.exit(main())"


def eventually(happened: Callable[[], Any], what: str) -> Any:
    until = time.monotonic() + LONG_S
    while time.monotonic() < until:
        if found := happened():
            return found
        time.sleep(POLL_S)
    raise AssertionError(f"{what}: not within {LONG_S} s")


@dataclass
class Place:
    """A deployed vault on a running chain. ``folder``: the ledger's, with the keys of the chain."""

    node: Devnet
    folder: Path
    tron: Tron
    vault: Vault
    token: Token
    keys: dict[str, ChainKey]
    found: list[Anchored] = field(default_factory=list)
    scanned: int = 0

    def worker(self) -> ChainWorker:
        """In this process; as after a restart."""
        service = Service(self.folder, Settings(unlimited_loopback=True, epoch_interval_s=1))
        return ChainWorker(service, self.vault, self.keys["operator"], ChainSettings(POLL_S))

    def send(self, made: Unsigned, key: ChainKey) -> bytes:
        signed = made.sign(key)
        self.tron.broadcast(signed)
        self.tron.wait(signed)
        return signed.txid

    def anchored(self) -> list[Anchored]:
        """In final blocks, in their order."""
        solid = self.tron.solid().number
        while self.scanned < solid:
            last = min(solid, self.scanned + 1000)
            self.found += self.vault.anchors(self.scanned + 1, last)
            self.scanned = last
        return self.found

    def rows(self, table: sa.Table) -> list[sa.Row[tuple[object, ...]]]:
        database = Database(self.folder / "ledger.sqlite")
        with database.read() as connection:
            found = list(connection.execute(sa.select(table)).all())
        database.close()
        return found

    def check(self) -> None:
        """Each epoch was anchored once and in order, with what the ledger holds; the books balance."""
        found = self.anchored()
        assert [one.epoch for one in found] == list(range(1, len(found) + 1))
        heads = {row.number: row.head for row in self.rows(epochs)}
        assert all(heads[one.epoch] == one.head for one in found)
        database = Database(self.folder / "ledger.sqlite")
        with database.read() as connection:
            assert invariants.every(connection) == []
        database.close()


def make_place(node: Devnet, folder: Path) -> Place:
    keys, _ = deploy.keys_of(folder)
    for key in keys.values():
        node.faucet(key.address, 20_000 * TRX)
    tron = Tron(DEVNET, [node.url])
    eventually(lambda: tron.trx_balance(keys["operator"].address), "the faucet")
    times = deploy.Parameters(min_interval=1, delay=3, silence=3600, deposit_grace=3600)
    done = deploy.deploy(tron, folder, keys, times, lambda *_: None)
    return Place(node, folder, tron, Vault(tron, done.vault), Token(tron, done.token), keys)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with devnet(block_time=0.03) as node:
        made = make_place(node, tmp_path_factory.mktemp("anchors") / "ledger")
        yield made
        made.check()
        made.tron.close()


# --- killed at every step -------------------------------------------------------------------------


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying_after(real: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*given: Any, **named: Any) -> Any:
        real(*given, **named)
        die()

    return wrapped


def dying_at(step: Step) -> Callable[..., bool]:
    """Just before the transaction that records ``step``."""
    real = anchoring._move

    def wrapped(
        connection: sa.Connection, number: int, state: Any, taken: Step, **also: Any
    ) -> bool:
        if taken is step:
            die()
        return real(connection, number, state, taken, **also)

    return wrapped


#: Where the process dies: what is replaced, and by what.
POINTS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "prepare": (Vault, "prepare_anchor", dying_after(Vault.prepare_anchor)),
    "sign": (Unsigned, "sign", dying_after(Unsigned.sign)),
    "store, before its commit": (anchoring, "_move", dying_at(Step.STORE)),
    "store": (Anchoring, "_store", dying_after(Anchoring._store)),
    "broadcast, before it": (Tron, "broadcast", die),
    "broadcast": (Tron, "broadcast", dying_after(Tron.broadcast)),
    "seen, before its commit": (anchoring, "_move", dying_at(Step.SEE)),
    "solid, before its commit": (anchoring, "_move", dying_at(Step.SETTLE)),
    "solid": (watch, "catch_up", dying_after(watch.catch_up)),
}


def doomed(folder: Path, url: str, vault: bytes, point: str) -> None:
    """A worker's process that dies at ``point``."""
    owner, name, replacement = POINTS[point]
    setattr(owner, name, replacement)
    made = Place(None, folder, Tron(DEVNET, [url]), None, None, {})  # type: ignore[arg-type]
    made.vault = Vault(made.tron, vault)
    made.keys["operator"] = deploy.key_of(folder, "operator")
    worker = made.worker()
    while True:
        worker.round()
        time.sleep(POLL_S)


def process(target: Callable[..., None], *given: object) -> multiprocessing.Process:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["speedpay.ledger.chain_side.worker", "speedpay.devnet.node"])
    made = context.Process(target=target, args=given, daemon=True)
    made.start()
    return made  # type: ignore[return-value]


@pytest.mark.parametrize("point", POINTS)
def test_a_ledger_killed_at_any_step_of_an_anchor_goes_on_and_anchors_once(
    place: Place, point: str
) -> None:
    before = len(place.anchored())
    victim = process(doomed, place.folder, place.node.url, place.vault.address, point)
    victim.join(LONG_S)
    assert victim.exitcode == -signal.SIGKILL
    worker = place.worker()

    def settled() -> bool:
        assert worker.round()
        return len(place.anchored()) > before

    eventually(settled, "an anchor after the restart")
    worker._service.close()
    for row in place.rows(anchor_attempts):
        assert row.state in (Attempt.SETTLED, Attempt.ALIVE)
    place.check()


# --- two at once ----------------------------------------------------------------------------------


def rival(folder: Path, url: str, vault: bytes, rounds: int) -> None:
    tron = Tron(DEVNET, [url])
    service = Service(folder, Settings(unlimited_loopback=True, epoch_interval_s=1))
    key = deploy.key_of(folder, "operator")
    worker = ChainWorker(service, Vault(tron, vault), key, ChainSettings(POLL_S))
    for _ in range(rounds):
        assert worker.round()
        time.sleep(POLL_S)
    service.close()


def test_two_ledgers_anchoring_at_once_sign_one_content_and_send_one_transaction_an_epoch(
    place: Place,
) -> None:
    before = len(place.anchored())
    given = (place.folder, place.node.url, place.vault.address, 40)
    rivals = [process(rival, *given) for _ in range(2)]
    for one in rivals:
        one.join(LONG_S)
        assert one.exitcode == 0
    worker = place.worker()
    eventually(lambda: worker.round() and len(place.anchored()) > before + 2, "three more epochs")
    worker._service.close()
    by_epoch: dict[object, set[object]] = {}
    for row in place.rows(anchor_attempts):
        by_epoch.setdefault(row.epoch, set()).add(row.txid)
    anchored = {one.epoch: one.txid for one in place.anchored()}
    assert all(by_epoch[epoch] == {txid} for epoch, txid in anchored.items())
    place.check()


# --- by its commands ------------------------------------------------------------------------------


class Serving:
    """``speedpay ledger serve`` as an operator starts it."""

    def __init__(self, place: Place, *options: str) -> None:
        path = os.pathsep.join(filter(None, sys.path))
        self.process = subprocess.Popen(
            [
                sys.executable, "-c", _MAIN, "ledger", "serve", "--data", str(place.folder),
                "--listen", "127.0.0.1:0", "--unlimited-loopback", "--json",
                "--chain-node", place.node.url, "--epoch-interval", "1", *options,
            ],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": path},
        )  # fmt: skip
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.told: dict[str, str] = json.loads(line)

    def client(self) -> LedgerClient:
        return LedgerClient(self.told["url"], bytes.fromhex(self.told["ledger_id"]))

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=LONG_S)
        assert (self.process.returncode, said) == (0, "")


def download(infohash: bytes, publisher: str, folder: Path) -> bytes:
    """What a stock client gets, who knows an infohash and one peer."""
    session = lt.session({"listen_interfaces": "127.0.0.9:0", "enable_dht": False})
    wanted = lt.add_torrent_params()
    wanted.info_hashes = lt.info_hash_t(lt.sha1_hash(infohash))
    wanted.save_path = str(folder)
    handle = session.add_torrent(wanted)
    host, _, port = publisher.rpartition(":")
    handle.connect_peer((host, int(port)))
    eventually(lambda: handle.status().is_seeding, "the download")
    (file,) = folder.iterdir()
    return file.read_bytes()


def anchored_since(ledger: LedgerClient, epoch: int) -> ChainHealth | None:
    health = ledger.chain_health()
    return health if health.anchor is not None and health.anchor.epoch >= epoch else None


def test_a_ledger_with_a_vault_credits_anchors_and_publishes_what_anybody_can_recompute(
    place: Place, tmp_path: Path
) -> None:
    user = ChainKey(os.urandom(32))
    place.node.faucet(user.address, 1_000 * TRX)
    place.send(
        place.token.prepare_mint(place.keys["minter"].address, user.address, 10**9),
        place.keys["minter"],
    )
    place.send(place.token.prepare_approve(user.address, place.vault.address, 10**9), user)
    serving = Serving(place, "--publish", "127.0.0.1:0")
    with serving.client() as ledger:
        key = new_key()
        account = ledger.open_account(key, fresh()).account
        place.send(place.vault.prepare_deposit(user.address, Amount(5_000_000), account), user)
        eventually(lambda: ledger.deposits(key, account).deposits, "the credit")
        assert ledger.balance(key, account).token == Amount(5_000_000)
        covering = ledger.chain_health().closed + 1
        health = eventually(lambda: anchored_since(ledger, covering), "an anchor that covers it")
    assert health.alarms == ()
    anchored = place.vault.anchor_of(health.anchor.epoch, health.anchor.txid)
    assert anchored.liabilities >= Amount(5_000_000)
    assert anchored.file is not None
    content = download(anchored.file, serving.told["publisher"], tmp_path)
    leaves = [
        Node.from_bytes(content[at : at + NODE_BYTES]) for at in range(0, len(content), NODE_BYTES)
    ]
    root = root_of(leaves)
    assert (root.hash, root.sum) == (anchored.root, anchored.liabilities.utok)
    serving.end()


def audit(place: Place, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    arguments = ["ledger", "audit", "--data", str(folder), "--chain-node", place.node.url, "--json"]
    status = main(arguments)
    return status, json.loads(capsys.readouterr().out)


def test_an_audit_passes_and_catches_an_operator_who_takes_from_somebody(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, found = audit(place, place.folder, capsys)
    assert (status, found["ok"], found["broken"]) == (0, True, [])
    assert (found["network"], found["epoch"]) == ("devnet", len(place.anchored()))

    lying = tmp_path / "ledger"
    shutil.copytree(place.folder, lying)
    with sqlite3.connect(lying / "ledger.sqlite") as books:
        books.execute("UPDATE deposits SET amount = amount - 1, total = total - 1")
    books.close()
    status, found = audit(place, lying, capsys)
    assert (status, found["ok"]) == (10, False)
    assert "deposit 1 of the books is not on chain as they say" in found["broken"]


def test_a_ledger_bound_to_a_vault_is_not_served_with_another(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    other = to_base58(b"\x07" * 20)
    arguments = ["ledger", "serve", "--data", str(place.folder), "--vault", other]
    assert main([*arguments, "--chain-node", place.node.url, "--listen", "127.0.0.1:0"]) == 2
    assert "bound to another vault" in capsys.readouterr().err
