"""A swarm of real clients on loopback, for the demo and the benchmarks: every peer is a process of its own
with its own address, wallet and uplink; the ledger is a process too. Nothing is simulated."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from content import hashes, installer_images
from namespaces import Host, Network
from process import SPEEDPAY, Process, run_command

STOCK = Path(__file__).resolve().parent / "stock_client.py"
_PORT = 7881
_START_S = 60.0
#: Between two epochs, for a ledger with a vault.
EPOCH_S = 4
_ROUNDS = itertools.count(1)
#: (seconds since the origin's first word, verified bytes), rising in both.
Progress = list[tuple[float, int]]


@dataclass(frozen=True)
class Shape:
    """Uplinks in bytes a second, 0 for no limit. ``free``: how many downloaders besides the measured one.
    ``line``: the measured one's own line, as fast down as up; with it everybody is in a namespace."""

    origin_uplink: int
    peer_uplink: int
    free: int = 8
    line: int = 0

    def as_json(self) -> dict[str, int]:
        return {
            "origin_uplink_bytes_s": self.origin_uplink, "peer_uplink_bytes_s": self.peer_uplink,
            "free_downloaders": self.free, "free_pool_ppm": 250_000,
        } | ({"line_bytes_s": self.line} if self.line else {})  # fmt: skip


@dataclass
class Round:
    """What one swarm did, in seconds from the origin's first word.

    ``seconds``: until the measured downloader had its last verified byte; ``others``: the same of every
    other one. Who had not finished by the limit is counted with the limit, and with its verified bytes.
    ``paid``: the measured one's receipt. ``cpu_s``: of all clients until the last had finished.
    ``protocol_bytes``: by client, our messages sent and received.
    """

    seconds: float
    others: list[float]
    total_bytes: int
    sha256_ok: bool
    paid: dict[str, Any]
    progress: dict[str, Progress]
    cpu_s: float
    protocol_bytes: dict[str, int]

    @property
    def others_mean(self) -> float:
        return mean(self.others)

    @property
    def last_s(self) -> float:
        return max(self.seconds, *self.others) if self.others else self.seconds

    def verified_by(self, seconds: float) -> float:
        """Verified bytes of all downloaders together at that moment, straight between two points."""
        return sum(_at(points, seconds) for points in self.progress.values())


def _at(points: Progress, seconds: float) -> float:
    before = (0.0, 0)
    for point in points:
        if point[0] > seconds:
            part = (seconds - before[0]) / (point[0] - before[0])
            return before[1] + part * (point[1] - before[1])
        before = point
    return before[1]


class LocalSwarm:
    """A working folder with content, a torrent, a ledger, and a wallet for every peer."""

    def __init__(
        self, folder: Path, shape: Shape, content: Path, network: Network | None = None
    ) -> None:
        """``network``: everybody gets a host there, and the measured one's has ``shape.line``."""
        self.folder = folder
        self.shape = shape
        self.content = content
        self.torrent = folder / "content.torrent"
        self.ledger: Process | None = None
        self.ledger_url = ""
        self._round = next(_ROUNDS)
        self._names = ("origin", "payer", *(f"free{n}" for n in range(1, shape.free + 1)))
        self._hosts: dict[str, Host] = {}
        if network is not None:
            self._hosts = {name: network.host() for name in ("ledger", *self._names)}
            self._hosts["payer"].limit_down(shape.line)
            self._hosts["payer"].limit_up(shape.line)
        # Two swarms at once on one machine must not meet.
        prefix = f"127.{1 + os.getpid() // 250 % 250}.{1 + os.getpid() % 250}"
        self._places = {
            name: self._hosts[name].address if self._hosts else f"{prefix}.{10 + number}"
            for number, name in enumerate(self._names)
        }
        self._hashes = hashes(content)

    @property
    def ledger_folder(self) -> Path:
        return self.folder / "ledger"

    def home(self, name: str) -> Path:
        return self.folder / f"home-{name}"

    @property
    def total_bytes(self) -> int:
        return sum(size for size, _ in self._hashes.values())

    def start(
        self, *, money: bool = True, before_ledger: Callable[[Path], None] = lambda folder: None
    ) -> None:
        """``money``: a ledger, and a wallet for everybody; stock clients need none. ``before_ledger``
        is given the ledger's folder before it starts."""
        run_command(["create", str(self.content), "-o", str(self.torrent), "--json"], self.folder)
        for name in self._names:
            home = self.home(name)
            home.mkdir()
            (home / "passphrase").write_text("only for this demonstration\n")
        if money:
            self.ledger_folder.mkdir()
            before_ledger(self.ledger_folder)
            self._start_ledger()
            self._make_wallets()

    def _start_ledger(self) -> None:
        home = self.ledger_folder
        address = self._hosts["ledger"].address if self._hosts else "127.0.0.1"
        command = [
            str(SPEEDPAY), "ledger", "serve", "--data", str(home), "--listen", f"{address}:0",
            "--unlimited-loopback", "--epoch-interval", str(EPOCH_S), "--json",
        ]  # fmt: skip
        with self._at("ledger"):
            self.ledger = Process("ledger", command, home, self.folder / "ledger.log")
        said = self.ledger.until("result", time.monotonic() + _START_S)
        self.ledger_url = said["url"]

    def _make_wallets(self) -> None:
        # Two at a time: making a wallet costs a third of a second of one core, on purpose.
        for first in range(0, len(self._names), 2):
            running = [self._new_wallet(name) for name in self._names[first : first + 2]]
            for process in running:
                if process.wait() != 0:
                    raise RuntimeError("a wallet could not be made")

    def _new_wallet(self, name: str) -> subprocess.Popen[bytes]:
        home = self.home(name)
        environment = os.environ | {
            "SPEEDPAY_HOME": str(home), "SPEEDPAY_PASSPHRASE_FILE": str(home / "passphrase"),
        }  # fmt: skip
        with self._at(name):
            return subprocess.Popen(
                [str(SPEEDPAY), "wallet", "new", "--ledger-url", self.ledger_url, "--json"],
                env=environment, stdout=subprocess.DEVNULL,
            )  # fmt: skip

    def close(self) -> None:
        if self.ledger is not None:
            self.ledger.stop()

    def tokens(self) -> tuple[int, int]:
        """µtok issued by the ledger's books, and held by all accounts and in escrow as owners see it.

        Raises RuntimeError when the books do not hold.
        """
        books = self.books()
        if not books["ok"]:
            raise RuntimeError(f"the ledger's books are broken: {books}")
        accounted = sum(
            int(balance[name]) + int(balance["in_escrow"][name])
            for balance in self.balances().values()
            for name in ("token", "credit")
        )
        return sum(int(amount) for amount in books["issued_utok"].values()), accounted

    def balances(self) -> dict[str, dict[str, Any]]:
        """name → its balance as the ledger signs it."""
        with ThreadPoolExecutor(
            2
        ) as pool:  # each unlocks a wallet, a third of a second of one core
            return dict(zip(self._names, pool.map(self._balance, self._names), strict=True))

    def _balance(self, name: str) -> dict[str, Any]:
        with self._at(name):
            return run_command(["balance", "--json"], self.home(name))

    def books(self) -> dict[str, Any]:
        return run_command(
            ["ledger", "fsck", "--data", str(self.ledger_folder), "--json"], self.folder
        )

    def run(
        self, pay: str, limit_s: float, *, everybody: bool = False, stock: bool = False
    ) -> Round:
        """One download by everybody in a fresh swarm; ``pay`` is the measured downloader's ``--pay``.

        ``everybody``: and that of all others. ``stock``: the same swarm of plain libtorrent sessions,
        nothing of ours in them.
        """
        self._round = next(_ROUNDS)
        folder = self.folder / f"round{self._round}"
        folder.mkdir()
        names = list(self._names[1:])
        deadline = time.monotonic() + _START_S
        with contextlib.ExitStack() as stack:
            down: dict[str, Process] = {}
            for name in names:
                how = pay if name == "payer" or everybody else "off"
                down[name] = self._downloader(name, names, folder, how, stock)
                stack.callback(down[name].stop)
            for process in down.values():
                process.until("started", deadline)
            origin = self._origin(names, folder, stock)
            stack.callback(origin.stop)
            running = {"origin": origin, **down}
            cpu_before = sum(process.cpu_s() for process in down.values())
            origin.until("seeding", deadline)
            began = origin.at["seeding"]
            cpu_before += origin.cpu_s()
            for process in down.values():
                try:
                    process.until("complete", began + limit_s)
                except RuntimeError:
                    if not stock or process.process.poll() is not None:
                        raise
            cpu_s = sum(process.cpu_s() for process in running.values()) - cpu_before
            if not stock:
                for process in down.values():
                    process.until("finished", began + limit_s)
            for process in running.values():
                process.ask_to_stop()
            for process in running.values():
                process.stop()
        progress = {
            name: [(at - began, done) for at, done in process.progress if 0 < at - began < limit_s]
            for name, process in down.items()
        }
        took = {name: min(p.at.get("complete", began + limit_s) - began, limit_s)
                for name, p in down.items()}  # fmt: skip
        finished = took["payer"] < limit_s
        ok = finished and hashes(folder / "payer" / self.content.name) == self._hashes
        shutil.rmtree(folder)
        return Round(
            took["payer"],
            [took[name] for name in names[1:]],
            self.total_bytes,
            ok,
            down["payer"].events.get("finished", {}),
            progress,
            cpu_s,
            {name: process.events.get("result", {}).get("protocol_bytes", 0)
             for name, process in running.items()},
        )  # fmt: skip

    def name_of(self, peer: str) -> str:
        """Who has this address: "origin", "payer" or "peer 3"."""
        host = peer.rpartition(":")[0]
        name = next(name for name, place in self._places.items() if place == host)
        return name.replace("free", "peer ")

    # --- pieces ----------------------------------------------------------------------------------

    def _at(self, name: str) -> contextlib.AbstractContextManager[None]:
        """What is started in the block is on that one's host, if there are hosts."""
        return self._hosts[name].entered() if self._hosts else contextlib.nullcontext()

    @staticmethod
    def _limit(bytes_s: int) -> list[str]:
        return ["--up-limit", str(bytes_s)] if bytes_s else []

    def _address(self, name: str) -> str:
        return f"{self._places[name]}:{_PORT + self._round}"

    def _downloader(
        self, name: str, names: list[str], folder: Path, pay: str, stock: bool
    ) -> Process:
        target = folder / name
        target.mkdir()
        others = [self._address(other) for other in names if other < name]
        if stock:
            command = [
                sys.executable, str(STOCK), str(self.torrent), str(target),
                self._address(name), str(self.shape.peer_uplink), *others,
            ]  # fmt: skip
        else:
            command = [
                str(SPEEDPAY), "get", str(self.torrent), "-o", str(target), "--seed", "--json",
                "--pay", pay,
                "--listen", self._address(name), *self._limit(self.shape.peer_uplink),
                *(word for other in others for word in ("--peer", other)),
            ]  # fmt: skip
        log = self.folder / f"{name}-{self._round}.log"
        with self._at(name):
            return Process(name, command, self.home(name), log)

    def _origin(self, names: list[str], folder: Path, stock: bool) -> Process:
        peers = [self._address(name) for name in names]
        address = self._address("origin")
        if stock:
            command = [
                sys.executable, str(STOCK), str(self.torrent), str(self.content.parent), address,
                str(self.shape.origin_uplink), *peers,
            ]  # fmt: skip
        else:
            command = [
                str(SPEEDPAY), "seed", str(self.torrent), "-o", str(self.content.parent), "--json",
                "--listen", address, *self._limit(self.shape.origin_uplink),
                *(word for peer in peers for word in ("--peer", peer)),
            ]  # fmt: skip
        log = self.folder / f"origin-{self._round}.log"
        with self._at("origin"):
            return Process("origin", command, self.home("origin"), log)


@contextlib.contextmanager
def local_swarm(
    shape: Shape,
    content: Path | None,
    *,
    money: bool = True,
    within: Path | None = None,
    before_ledger: Callable[[Path], None] = lambda folder: None,
) -> Iterator[LocalSwarm]:
    """A started swarm in a temporary folder, or in one below ``within``. ``content``: a file or folder;
    by default the Debian installer's netboot images. ``before_ledger``: see ``LocalSwarm.start``."""
    with contextlib.ExitStack() as stack:
        name = tempfile.TemporaryDirectory(prefix="speedpay-swarm-", dir=within)
        folder = Path(stack.enter_context(name))
        network = stack.enter_context(Network()) if shape.line else None
        swarm = LocalSwarm(folder, shape, content or installer_images(folder), network)
        stack.callback(swarm.close)
        swarm.start(money=money, before_ledger=before_ledger)
        yield swarm
