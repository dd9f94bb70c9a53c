"""A swarm over lossy links of its own, in which cables are pulled and peers die: every file is right in the
end, and nobody has paid, lost or trusted more than was promised.

Every peer is a process in a network namespace of its own, and so is the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from scripts.namespaces import Host, Network
from speedpay.client import tables
from speedpay.ledger.database import Database
from speedpay.ledger.schema import channels
from speedpay.market.metering import on_account_limit
from speedpay.market.window import FORGIVEN_BYTES, WINDOW_MIN_BYTES
from speedpay.units import KIB, MIB, Price
from tests.scenarios.clients import PORT, Content, Ledger, Process, Town, User, until

LOST_PERCENT = 2
UPLINK = 256 * KIB
PIECE_BYTES = 128 * KIB
#: tok/GiB. A fixed price is committed as it is, so that what is due can be worked out.
PRICE = "50"
UTOK_PER_MIB = Price.from_tokens_per_gib(PRICE, "price").utok_per_mib
#: Less than the content costs.
MAX_SPEND = "0.1"
MAX_SPEND_UTOK = 100_000


@dataclass
class Peer:
    host: Host
    user: User
    folder: Path
    command: tuple[str, ...]
    process: Process

    @property
    def place(self) -> str:
        return f"{self.host.address}:{PORT}"


class Scene:
    def __init__(self, folder: Path, network: Network) -> None:
        self._network = network
        self._ledger_host = network.host()
        self._ledger_host.lose(LOST_PERCENT)
        with self._ledger_host.entered():
            self.town = Town(folder, Ledger(folder / "ledger", "0.0.0.0:0"))
        port = self.town.ledger.url.rpartition(":")[2]
        self._ledger_url = f"http://{self._ledger_host.address}:{port}"

    @contextlib.contextmanager
    def at_the_ledger(self) -> Iterator[Town]:
        with self._ledger_host.entered():
            yield self.town

    def seeder(self, content: Content) -> Peer:
        return self._peer(content.path.parent, "seed", str(content.torrent))

    def downloader(self, content: Content, sellers: list[Peer], *pay: str) -> Peer:
        sources = [word for seller in sellers for word in ("--peer", seller.place)]
        folder = self.town.place()
        return self._peer(folder, "get", str(content.torrent), "-o", str(folder), *pay, *sources)

    def start(self, peer: Peer) -> None:
        """Once more, after it was killed."""
        with peer.host.entered():
            peer.process = self.town.start(peer.user, *peer.command)

    def _peer(self, folder: Path, *command: str) -> Peer:
        host = self._network.host()
        host.lose(LOST_PERCENT)
        host.limit_up(2 * UPLINK)
        with self.at_the_ledger() as town:
            user = town.user(self._ledger_url)
        command += ("--listen", f"{host.address}:{PORT}", "--up-limit", str(UPLINK))
        with host.entered():
            return Peer(host, user, folder, command, self.town.start(user, *command))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Network() as network:
        scene = Scene(tmp_path, network)
        try:
            yield scene
            with scene.at_the_ledger() as town:
                town.close()  # all µtok are there, and the books hold
        finally:
            for one in (*scene.town.processes, scene.town.ledger.process):
                one.process.kill()
                one.process.wait()


def _under_way(said: dict[str, Any]) -> bool:
    return bool(said["done_bytes"] and int(said["paid_utok"]))


@pytest.mark.parametrize(
    ("sellers", "mib"),
    [
        pytest.param(6, 4, id="6 seeders"),
        pytest.param(20, 20, id="20 seeders", marks=pytest.mark.long),
    ],
)
def test_every_file_is_right_and_the_money_adds_up_whatever_the_network_and_the_peers_do(
    scene: Scene, sellers: int, mib: int
) -> None:
    content = scene.town.content(mib * MIB, PIECE_BYTES)
    seeders = [scene.seeder(content) for _ in range(sellers)]
    for seeder in seeders:
        seeder.process.until("seeding")
    capped = scene.downloader(content, seeders, "--pay", PRICE, "--max-spend", MAX_SPEND)
    killed = scene.downloader(content, seeders, "--pay", PRICE)
    gone = scene.downloader(content, seeders, "--pay", PRICE)
    free = scene.downloader(content, seeders)
    dead, unplugged = seeders[: sellers // 3], [*seeders[sellers // 3 : sellers // 2], capped]
    for payer in (capped, killed, gone):
        payer.process.until("progress", _under_way)
    for peer in (*dead, killed, gone):
        peer.process.end(signal.SIGKILL)
    for peer in unplugged:
        peer.host.cut()
    # What is on its way now is lost; the clients' own timeouts do not run out.
    time.sleep(2)
    for peer in unplugged:
        peer.host.mend()
    scene.start(killed)

    for downloader in (capped, killed, free):
        assert downloader.process.end() == 0, downloader.process.err
        assert content.is_in(downloader.folder)
    for seeder in dead:
        scene.start(seeder)
    for seeder in dead:
        asyncio.run(until(lambda seeder=seeder: _redeemed(seeder)))
    for seeder in seeders:
        seeder.process.process.send_signal(signal.SIGINT)
    for seeder in seeders:
        assert seeder.process.end() == 0, seeder.process.err

    with scene.at_the_ledger() as town:
        assert _total(capped, "signed") <= MAX_SPEND_UTOK, "I11"
        for payer in (capped, killed):
            said = int(payer.process.result["paid_utok"])
            assert 0 < _total(payer, "acknowledged") <= said <= _total(payer, "signed")
        assert _total(free, "signed") == 0
        _vouchers_hold(town, [*seeders, capped, killed, free], gone)
    _nothing_was_paid_twice(capped, content, sellers)
    for seeder in seeders[len(dead) :]:
        _no_more_was_trusted_than_a_window(seeder, payers=3)


def _total(payer: Peer, column: str) -> int:
    return sum(getattr(row, column) for row in _rows(payer, tables.paying))


def _redeemed(seller: Peer) -> bool:
    return all(row.redeemed >= row.cumulative for row in _rows(seller, tables.paid))


def _vouchers_hold(town: Town, back: list[Peer], gone: Peer) -> None:
    """No acknowledged voucher is lost, who is ``back`` has brought it to the ledger, and nobody got more
    than what was signed. Downloaders sell, too."""
    database = Database(town.ledger.folder / "ledger.sqlite")
    with database.read() as connection:
        ledger = {row.id: row for row in connection.execute(sa.select(channels))}
    database.close()
    accepted = {}
    for peer in (*back, gone):
        for row in _rows(peer, tables.paid):
            accepted[row.channel] = row.cumulative
            assert ledger[row.channel].paid >= row.cumulative or peer is gone
    signed = {row.channel: row for peer in (*back, gone) for row in _rows(peer, tables.paying)}
    # Escrow whose confirmation the one that is gone for good did not live to read.
    unread = ledger.keys() - signed.keys()
    assert signed.keys() <= ledger.keys()
    assert len(unread) <= len(_rows(gone, tables.orders))
    assert not any(ledger[channel].paid for channel in unread)
    assert sum(row.acknowledged for row in signed.values()) > 0
    for channel, row in signed.items():
        assert row.acknowledged <= accepted.get(channel, 0) <= row.signed
        assert ledger[channel].paid <= row.signed <= ledger[channel].escrow


def _nothing_was_paid_twice(payer: Peer, content: Content, sellers: int) -> None:
    """I9: what is not verified is at most the limit on account of each seller."""
    billed = sum(payee["bytes"] for payee in payer.process.result["payees"])
    assert 0 < billed <= content.path.stat().st_size + sellers * on_account_limit(PIECE_BYTES)


def _no_more_was_trusted_than_a_window(seller: Peer, payers: int) -> None:
    """I10: a window doubles only after as much was paid, so that unpaid bytes are never more than the paid
    ones and a first window each; what a buyer refused is forgiven."""
    result = seller.process.result
    paid = int(result["earned_utok"]) * MIB // UTOK_PER_MIB
    assert result["paid_bytes"] <= 2 * paid + payers * (WINDOW_MIN_BYTES + FORGIVEN_BYTES)


def _rows(peer: Peer, table: sa.Table) -> list[sa.Row[Any]]:
    engine = sa.create_engine(f"sqlite:///{peer.user.home / 'client.db'}")
    with engine.connect() as connection:
        found = list(connection.execute(sa.select(table)))
    engine.dispose()
    return found
