"""A swarm of real clients on loopback, for the demo and the benchmarks: every peer is a process of its own
with its own address, wallet and uplink; the ledger is a process too. Nothing is simulated."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
SPEEDPAY = CHECKOUT / ".venv/bin/speedpay"
STOCK = Path(__file__).resolve().parent / "stock_client.py"
INSTALLER = Path("/usr/lib/debian-installer/images")
_PORT = 7881
_START_S, _STOP_S = 60.0, 20.0
#: Between two epochs, for a ledger with a vault.
EPOCH_S = 4
_ROUNDS = itertools.count(1)
_TICKS_A_S = os.sysconf("SC_CLK_TCK")
#: (seconds since the origin's first word, verified bytes), rising in both.
Progress = list[tuple[float, int]]


@dataclass(frozen=True)
class Shape:
    """Uplinks in bytes a second, 0 for no limit. ``free``: how many downloaders besides the measured one."""

    origin_uplink: int
    peer_uplink: int
    free: int = 8

    def as_json(self) -> dict[str, int]:
        return {
            "origin_uplink_bytes_s": self.origin_uplink, "peer_uplink_bytes_s": self.peer_uplink,
            "free_downloaders": self.free, "free_pool_ppm": 250_000,
        }  # fmt: skip


class Process:
    """One client or ledger; its JSON lines as they come. Ended by its own id, never by name."""

    def __init__(self, name: str, command: list[str], home: Path, log: Path) -> None:
        self.name = name
        self.lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.events: dict[str, dict[str, Any]] = {}
        self.at: dict[str, float] = {}
        self.progress: list[tuple[float, int]] = []
        self._log = log
        environment = os.environ | {
            "SPEEDPAY_HOME": str(home), "SPEEDPAY_PASSPHRASE_FILE": str(home / "passphrase"),
        }  # fmt: skip
        self._stderr = log.open("wb")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._stderr, env=environment, text=True
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            # A line without "event" is a command's result; a ledger's says where it listens.
            name, now = said.get("event", "result"), time.monotonic()
            if name == "progress" and said["total_bytes"]:
                self.progress.append((now, said["done_bytes"]))
                if said["done_bytes"] == said["total_bytes"]:
                    name = "complete"
            if name not in self.events:
                self.events[name], self.at[name] = said, now
            self.lines.put(said)
        self.lines.put(None)

    def until(self, event: str, deadline: float) -> dict[str, Any]:
        """The first event of that name; raises RuntimeError with the process's last words."""
        while event not in self.events:
            try:
                said = self.lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise RuntimeError(
                    f"{self.name} has not said {event!r} in time: {self.words()}"
                ) from None
            if said is None and event not in self.events:
                raise RuntimeError(f"{self.name} ended before {event!r}: {self.words()}")
        return self.events[event]

    def cpu_s(self) -> float:
        """User and system time of all its threads so far; fails once it has ended."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_A_S

    def words(self) -> str:
        return self._log.read_text(errors="replace")[-800:]

    def ask_to_stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def stop(self) -> None:
        self.ask_to_stop()
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._stderr.close()


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

    def __init__(self, folder: Path, shape: Shape, content: Path) -> None:
        self.folder = folder
        self.shape = shape
        self.content = content
        self.torrent = folder / "content.torrent"
        self.ledger: Process | None = None
        self.ledger_url = ""
        self._round = next(_ROUNDS)
        # Two swarms at once on one machine must not meet.
        self._network = f"127.{1 + os.getpid() // 250 % 250}.{1 + os.getpid() % 250}"
        self._hashes = _hashes(content)

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
        homes = [self.home(name) for name in ("origin", "payer", *self._free_names())]
        for home in homes:
            home.mkdir()
            (home / "passphrase").write_text("only for this demonstration\n")
        if money:
            self.ledger_folder.mkdir()
            before_ledger(self.ledger_folder)
            self._start_ledger()
            self._make_wallets(homes)

    def _start_ledger(self) -> None:
        home = self.ledger_folder
        command = [
            str(SPEEDPAY), "ledger", "serve", "--data", str(home), "--listen", "127.0.0.1:0",
            "--unlimited-loopback", "--epoch-interval", str(EPOCH_S), "--json",
        ]  # fmt: skip
        self.ledger = Process("ledger", command, home, self.folder / "ledger.log")
        said = self.ledger.until("result", time.monotonic() + _START_S)
        self.ledger_url = said["url"]

    def _make_wallets(self, homes: list[Path]) -> None:
        # Two at a time: making a wallet costs a third of a second of one core, on purpose.
        for pair in zip(homes[::2], [*homes[1::2], None], strict=False):
            running = [self._new_wallet(home) for home in pair if home]
            for process in running:
                if process.wait() != 0:
                    raise RuntimeError("a wallet could not be made")

    def _new_wallet(self, home: Path) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "SPEEDPAY_HOME": str(home), "SPEEDPAY_PASSPHRASE_FILE": str(home / "passphrase"),
        }  # fmt: skip
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
        names = ("origin", "payer", *self._free_names())
        return {name: run_command(["balance", "--json"], self.home(name)) for name in names}

    def books(self) -> dict[str, Any]:
        return run_command(
            ["ledger", "fsck", "--data", str(self.ledger_folder), "--json"], self.folder
        )

    def run(self, pay: str, limit_s: float, *, stock: bool = False) -> Round:
        """One download by everybody in a fresh swarm; ``pay`` is the measured downloader's ``--pay``.

        ``stock``: the same swarm of plain libtorrent sessions, nothing of ours in them.
        """
        self._round = next(_ROUNDS)
        folder = self.folder / f"round{self._round}"
        folder.mkdir()
        names = ["payer", *self._free_names()]
        deadline = time.monotonic() + _START_S
        with contextlib.ExitStack() as stack:
            down: dict[str, Process] = {}
            for name in names:
                down[name] = self._downloader(name, names, folder, pay, stock)
                stack.callback(down[name].stop)
            for process in down.values():
                process.until("started", deadline)
            origin = self._origin(names, folder, stock)
            stack.callback(origin.stop)
            everybody = {"origin": origin, **down}
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
            cpu_s = sum(process.cpu_s() for process in everybody.values()) - cpu_before
            if not stock:
                for process in down.values():
                    process.until("finished", began + limit_s)
            for process in everybody.values():
                process.ask_to_stop()
            for process in everybody.values():
                process.stop()
        progress = {
            name: [(at - began, done) for at, done in process.progress if 0 < at - began < limit_s]
            for name, process in down.items()
        }
        took = {name: min(p.at.get("complete", began + limit_s) - began, limit_s)
                for name, p in down.items()}  # fmt: skip
        finished = took["payer"] < limit_s
        ok = finished and _hashes(folder / "payer" / self.content.name) == self._hashes
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
             for name, process in everybody.items()},
        )  # fmt: skip

    def name_of(self, peer: str) -> str:
        """Who has this address: "origin" or "peer 3"."""
        host = peer.rpartition(":")[0]
        number = int(host.rpartition(".")[2]) - 10
        return "origin" if number == 0 else "payer" if number == 1 else f"peer {number - 1}"

    # --- pieces ----------------------------------------------------------------------------------

    def _free_names(self) -> list[str]:
        return [f"free{number}" for number in range(1, self.shape.free + 1)]

    @staticmethod
    def _limit(bytes_s: int) -> list[str]:
        return ["--up-limit", str(bytes_s)] if bytes_s else []

    def _address(self, name: str) -> str:
        fixed = {"origin": 0, "payer": 1}
        number = fixed[name] if name in fixed else int(name.removeprefix("free")) + 1
        return f"{self._network}.{10 + number}:{_PORT + self._round}"

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
                "--pay", pay if name == "payer" else "off",
                "--listen", self._address(name), *self._limit(self.shape.peer_uplink),
                *(word for other in others for word in ("--peer", other)),
            ]  # fmt: skip
        log = self.folder / f"{name}-{self._round}.log"
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
    with tempfile.TemporaryDirectory(prefix="speedpay-swarm-", dir=within) as name:
        folder = Path(name)
        swarm = LocalSwarm(folder, shape, content or installer_images(folder))
        try:
            swarm.start(money=money, before_ledger=before_ledger)
            yield swarm
        finally:
            swarm.close()


def installer_images(folder: Path) -> Path:
    """Debian's own netboot images, without the package's links between them."""
    target = folder / "debian-installer-netboot"
    found = [p for p in INSTALLER.rglob("*") if p.is_file() and not p.is_symlink()]
    large = [path for path in found if path.stat().st_size > 500_000]
    if not large:
        raise FileNotFoundError(
            "Debian's installer images are not here: install debian-installer-12-netboot-amd64,"
            " or name content of your own with --file PATH"
        )
    for path in large:
        copy = target / path.relative_to(INSTALLER)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return target


def _hashes(content: Path) -> dict[str, tuple[int, str]]:
    """relative name → (bytes, SHA-256) of every file."""
    files = [content] if content.is_file() else sorted(p for p in content.rglob("*") if p.is_file())
    found = {}
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[str(path.relative_to(content))] = (path.stat().st_size, digest)
    return found


def attempt_command(arguments: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    """One command of the user who lives in ``home``, whatever it exits with."""
    environment = os.environ | {
        "SPEEDPAY_HOME": str(home), "SPEEDPAY_PASSPHRASE_FILE": str(home / "passphrase"),
    }  # fmt: skip
    return subprocess.run(
        [str(SPEEDPAY), *arguments], env=environment, capture_output=True, text=True, timeout=120
    )


def run_command(arguments: list[str], home: Path) -> dict[str, Any]:
    """The result of one command; raises RuntimeError with its last words when it fails."""
    done = attempt_command(arguments, home)
    if done.returncode != 0:
        raise RuntimeError(f"speedpay {arguments[0]} failed: {done.stderr[-800:]}")
    return result_of(done)


def result_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return made
