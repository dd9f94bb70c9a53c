"""Users with wallets, one ledger process, and real clients on loopback: inside a test, or as processes.

libtorrent takes one connection from an address, so every client has one of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import itertools
import json
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speedpay.client.account import Account
from speedpay.client.download import Download, Moment, Payment, Receipt
from speedpay.client.loop import Client
from speedpay.ledger import invariants
from speedpay.ledger.database import Database
from speedpay.ledger_api.answers import Balance, HistoryEntry
from speedpay.ledger_api.client import AsyncLedgerClient, LedgerClient
from speedpay.market.allocator import DEFAULT_FREE_POOL
from speedpay.peer.seller import Terms
from speedpay.signing import Domain
from speedpay.swarm.create import CreatedTorrent, create_torrent
from speedpay.swarm.settings import SwarmSettings
from speedpay.swarm.torrent import Torrent, TorrentState
from speedpay.swarm.torrents import Swarm
from speedpay.units import MIB, NO_PRICE, MoneyClass, Price, Share
from speedpay.wallet.funds import open_account
from speedpay.wallet.keys import new_words, seed_from_words
from speedpay.wallet.keystore import Keystore, Place, Unlocked

SPEEDPAY = [sys.executable, "-c", "import sys; from speedpay.cli import main; sys.exit(main())"]
PASSPHRASE = "correct horse battery"
#: Only so that a hanging test ends.
WAIT_S = 60.0
WELCOME = 10_000_000
PORT = 7871

_numbers = itertools.count(1)


def address() -> str:
    """The process number keeps two runs of the tests on one machine apart."""
    number = os.getpid() * 31 + next(_numbers)
    return f"127.0.{80 + number // 250 % 10}.{number % 250 + 1}"


class Process:
    """One ``speedpay …`` as a user starts it; its JSON lines as they come."""

    def __init__(self, arguments: tuple[str, ...], environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [*SPEEDPAY, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env=os.environ | environment,
        )  # fmt: skip
        self.said: list[dict[str, Any]] = []
        self.out, self.err = "", ""
        self._news: queue.Queue[None] = queue.Queue()
        self._readers = [
            threading.Thread(target=read, daemon=True) for read in (self._read, self._read_err)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.out += line
            with contextlib.suppress(ValueError):
                self.said.append(json.loads(line))
            self._news.put(None)
        self._news.put(None)

    def _read_err(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.err += line

    def until(self, event: str, wanted: Callable[[dict[str, Any]], bool] = bool) -> dict[str, Any]:
        """The first line of that event for which ``wanted`` holds."""
        deadline = time.monotonic() + WAIT_S
        while True:
            for said in self.said:
                if said.get("event", "result") == event and wanted(said):
                    return said
            assert self.process.poll() is None or self._readers[0].is_alive(), self.err
            assert time.monotonic() < deadline, f"no {event!r}: {self.said[-3:]} {self.err}"
            with contextlib.suppress(queue.Empty):
                self._news.get(timeout=0.2)

    def end(self, with_signal: signal.Signals | None = None) -> int:
        """The exit code, once it has ended."""
        if with_signal is not None and self.process.poll() is None:
            self.process.send_signal(with_signal)
        code = self.process.wait(WAIT_S)
        for reader in self._readers:
            reader.join(WAIT_S)
        assert "Traceback" not in self.err
        return code

    @property
    def result(self) -> dict[str, Any]:
        return next(said for said in reversed(self.said) if "event" not in said)

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.err.splitlines()[-1])["error"]
        return found


class Ledger:
    """``speedpay ledger serve``; it comes back at the address where it was."""

    def __init__(self, folder: Path, listen: str = "127.0.0.1:0") -> None:
        self.folder = folder
        self.listen = listen
        self.back()

    def back(self) -> None:
        self.process = Process(
            ("ledger", "serve", "--data", str(self.folder), "--listen", self.listen,
             "--unlimited-loopback", "--json"), {},
        )  # fmt: skip
        said = self.process.until("result")
        self.url: str = said["url"]
        self.id = bytes.fromhex(said["ledger_id"])
        self.listen = self.url.removeprefix("http://")

    def stop(self) -> None:
        self.process.end(signal.SIGTERM)

    def kill(self) -> None:
        self.process.end(signal.SIGKILL)

    def broken(self) -> list[str]:
        database = Database(self.folder / "ledger.sqlite")
        with database.read() as connection:
            found = [str(one) for one in invariants.every(connection)]
        database.close()
        return found


@dataclass
class User:
    """One home folder with a wallet that is cheap to unlock. ``url``: how this user reaches the ledger."""

    home: Path
    ledger: Ledger
    url: str

    @functools.cached_property
    def wallet(self) -> Unlocked:
        return Keystore(self.home / "wallet").unlock(PASSPHRASE)

    @property
    def account(self) -> bytes:
        account = self.wallet.place.account
        assert account is not None
        return account

    def balance(self) -> Balance:
        with LedgerClient(self.ledger.url) as ledger:
            return ledger.balance(self.wallet.keys.identity, self.account)

    @property
    def credit(self) -> int:
        return self.balance().credit.utok

    def history(self) -> list[HistoryEntry]:
        with LedgerClient(self.ledger.url) as ledger:
            page = ledger.history(self.wallet.keys.identity, self.account, limit=100)
        return list(page.entries)

    def total(self, kind: str, incoming: bool) -> int:
        """µtok of this kind of transfer in the user's history."""
        return sum(
            entry.amount.utok
            for entry in self.history()
            if entry.kind == kind and entry.incoming is incoming
        )

    def environment(self) -> dict[str, str]:
        return {
            "SPEEDPAY_HOME": str(self.home),
            "SPEEDPAY_LEDGER_URL": self.url,
            "SPEEDPAY_PASSPHRASE_FILE": str(self.home / "passphrase"),
        }

    def start(self, *arguments: str) -> Process:
        return Process((*arguments, "--json"), self.environment())

    def client(self, at: str, ask: Price = NO_PRICE, up_limit: int | None = None) -> Client:
        place = self.wallet.place
        account = Account(self.account, self.wallet.keys, Domain(place.network, self.ledger.id))
        ledger = AsyncLedgerClient(self.url, self.ledger.id, place.network)
        return _client(self.home, at, account, ledger, ask, up_limit)


def _client(
    home: Path,
    at: str,
    account: Account | None,
    ledger: AsyncLedgerClient | None,
    ask: Price,
    up_limit: int | None,
) -> Client:
    swarm = Swarm(SwarmSettings(f"{at}:{PORT}", up_limit, dht=False, lsd=False))
    terms = Terms(ask, frozenset(MoneyClass), DEFAULT_FREE_POOL)
    notes: list[str] = []
    client = Client(swarm, home, account, ledger, terms, notes.append)
    client.notes = notes  # type: ignore[attr-defined]
    return client


@dataclass
class Content:
    """A random file and its torrent, as a file too."""

    made: CreatedTorrent
    path: Path
    torrent: Path

    @classmethod
    def make(cls, folder: Path, size: int, piece_length: int = 256 * 1024) -> Content:
        folder.mkdir(parents=True)
        path = folder / "content.bin"
        path.write_bytes(random.Random(size).randbytes(size))
        made = create_torrent([path], piece_length=piece_length)
        torrent = folder / "content.torrent"
        torrent.write_bytes(made.data)
        return cls(made, path, torrent)

    @property
    def infohash(self) -> bytes:
        return self.made.description.infohash

    @property
    def magnet(self) -> str:
        return f"magnet:?xt=urn:btih:{self.infohash.hex()}"

    def is_in(self, folder: Path) -> bool:
        found = folder / self.path.name
        return _hash(found) == _hash(self.path)


def _hash(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


@dataclass
class Town:
    """A ledger, its users and their content; what one test needs, and what must hold when it is over."""

    folder: Path
    ledger: Ledger
    users: list[User] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)

    def user(self, url: str | None = None) -> User:
        home = self.folder / f"home{len(self.users)}"
        home.mkdir(mode=0o700)
        (home / "passphrase").write_text(PASSPHRASE + "\n")
        keystore = Keystore(home / "wallet")
        place = Place("devnet", self.ledger.url)
        made = keystore.create(seed_from_words(new_words()), PASSPHRASE, place, n=2**12)
        with LedgerClient(self.ledger.url) as ledger:
            keystore.update(made, open_account(ledger, made.keys.identity, place)[0])
        self.users.append(User(home, self.ledger, url or self.ledger.url))
        return self.users[-1]

    def stranger(self) -> Path:
        """A home without a wallet."""
        home = self.folder / f"stranger{next(_numbers)}"
        home.mkdir(mode=0o700)
        return home

    def content(self, size: int = 4 * MIB, piece_length: int = 256 * 1024) -> Content:
        return Content.make(self.folder / f"content{next(_numbers)}", size, piece_length)

    def place(self) -> Path:
        """An empty folder to download into."""
        folder = self.folder / f"place{next(_numbers)}"
        folder.mkdir()
        return folder

    def start(self, user: User, *arguments: str) -> Process:
        self.processes.append(user.start(*arguments))
        return self.processes[-1]

    def seed(self, user: User, content: Content, at: str, *arguments: str) -> Process:
        process = self.start(
            user, "seed", str(content.torrent), "--listen", f"{at}:{PORT}", *arguments
        )
        process.until("seeding")
        return process

    def get(
        self, user: User, content: Content, into: Path, *arguments: str, peers: tuple[str, ...] = ()
    ) -> Process:
        named = [word for peer in peers for word in ("--peer", f"{peer}:{PORT}")]
        return self.start(
            user, "get", str(content.torrent), "-o", str(into), "--listen", f"{address()}:0",
            *named, *arguments,
        )  # fmt: skip

    def in_escrow(self) -> int:
        balances = [user.balance() for user in self.users]
        return sum(b.credit_in_escrow.utok + b.token_in_escrow.utok for b in balances)

    def close(self) -> None:
        """Nothing runs any more; no money was made or lost, and the books say the same."""
        for process in self.processes:
            if process.process.poll() is None:
                process.process.kill()
                process.process.wait(WAIT_S)
        if self.ledger.process.process.poll() is not None:
            self.ledger.back()
        balances = [user.balance() for user in self.users]
        total = sum(balance.credit.utok + balance.credit_in_escrow.utok for balance in balances)
        assert total == WELCOME * len(self.users)
        assert self.ledger.broken() == []


class Proxy:
    """Between a user and the ledger. While ``shut``, nobody comes through; of requests that begin with
    ``losing`` the next ``losses`` reach the ledger, and their answers are lost. ``heard`` is given every
    message that passes."""

    def __init__(
        self, ledger: Ledger, losing: bytes = b"", heard: Callable[[bytes], object] = bytes
    ) -> None:
        self._ledger, self._heard = ledger, heard
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.shut = False
        self.losing, self.losses = losing, 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        host, port = self._ledger.listen.split(":")
        with near, contextlib.suppress(OSError):
            if self.shut:
                return
            with socket.create_connection((host, int(port))) as far:
                while request := _message(near):
                    self._heard(request)
                    far.sendall(request)
                    answer = _message(far)
                    self._heard(answer)
                    if request.startswith(self.losing) and self.losses:
                        self.losses -= 1
                        return
                    near.sendall(answer)


def _message(side: socket.socket) -> bytes:
    """One whole HTTP message; empty at the end of the connection."""
    data = b""
    while True:
        head, blank, body = data.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        lengths = [int(x.split(b":")[1]) for x in lines if x.startswith(b"content-length:")]
        if blank and len(body) >= sum(lengths):
            return data
        part = side.recv(65_536)
        if not part:
            return b""
        data += part


@contextlib.contextmanager
def ledger_in(folder: Path) -> Iterator[Ledger]:
    ledger = Ledger(folder)
    try:
        yield ledger
    finally:
        ledger.stop()


# --- inside the test ----------------------------------------------------------------------------


def auto(consumption: str = "0.25", **fields: Any) -> Payment:
    return Payment(Share.from_text(consumption), **fields)


@dataclass
class Here:
    """A running client in this process, with one torrent."""

    client: Client
    torrent: Torrent
    folder: Path
    address: str
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    moments: list[Moment] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        found: list[str] = self.client.notes  # type: ignore[attr-defined]
        return found

    def meet(self, *others: Here) -> None:
        for other in others:
            self.torrent.connect(other.address, PORT)

    def download(self, payment: Payment | None) -> Download:
        return Download(self.client, self.torrent, self.folder, payment, self.moments.append)

    async def get(self, payment: Payment | None, *others: Here) -> Receipt:
        """A paid download meets ``others`` once it can bid: on a busy machine a small one would be complete
        before. (A magnet link needs them for its description.)"""
        running = asyncio.create_task(self.download(payment).run(self.stop))
        if payment is not None and self.torrent.status().have_metadata:
            await until(lambda: running.done() or self._buys())
        self.meet(*others)
        return await asyncio.wait_for(running, WAIT_S)

    def _buys(self) -> bool:
        market = self.client.market
        return market is not None and self.torrent.infohash in market.purchases


@contextlib.asynccontextmanager
async def here(
    who: User | Path,
    content: Content | str,
    folder: Path,
    ask: Price = NO_PRICE,
    up_limit: int | None = None,
) -> AsyncIterator[Here]:
    """A client of ``who`` (a home without a wallet: an ordinary one). ``content`` may be a magnet link."""
    at = address()
    client = (
        who.client(at, ask, up_limit)
        if isinstance(who, User)
        else _client(who, at, None, None, ask, up_limit)
    )
    if isinstance(content, str):
        torrent = client.swarm.add_magnet(content, folder)
    else:
        resume = client.store.resume_of(content.infohash, folder)
        torrent = client.swarm.add_torrent_file(content.made.data, folder, resume=resume)
    async with client.running():
        yield Here(client, torrent, folder, at)


@contextlib.asynccontextmanager
async def seeder(who: User | Path, content: Content, **options: Any) -> AsyncIterator[Here]:
    async with here(who, content, content.path.parent, **options) as seeding:
        seeding.client.add(seeding.torrent)
        await until(lambda: seeding.torrent.status().seeding)
        if isinstance(who, User):
            await seeding.client.opened_market(WAIT_S)
        yield seeding


async def until(condition: Callable[[], object], timeout_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.02)


def checked(torrent: Torrent) -> bool:
    return torrent.status().state is not TorrentState.CHECKING
