"""Our seeder, our paying leecher, libtorrent, aria2 and Transmission in one swarm: every copy is right, and
the ledger's books say what was paid.

Each is a process on a host of its own and hears of the others by a tracker.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.namespaces import Network
from speedpay.swarm.create import create_torrent
from speedpay.units import KIB, MIB
from tests.integration.swarm.stock import PROGRAMS, Tracker
from tests.scenarios.clients import PORT, WELCOME, Content, Ledger, Town, until

UPLINK = 512 * KIB
WAIT_S = 100


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


def _tracked(content: Content, url: str) -> Content:
    made = create_torrent([content.path], piece_length=256 * KIB, trackers=[url])
    content.torrent.write_bytes(made.data)
    return replace(content, made=made)


@pytest.mark.long
def test_a_swarm_of_all_of_them_completes_and_the_books_add_up(
    tmp_path: Path, network: Network
) -> None:
    middle = network.host()
    with contextlib.ExitStack() as stack:
        with middle.entered():
            ledger = Ledger(tmp_path / "ledger", "0.0.0.0:0")
            stack.callback(ledger.kill)
            tracker = stack.enter_context(contextlib.closing(Tracker(middle.address)))
            town = Town(tmp_path, ledger)
            payee, payer = (
                town.user(f"http://{middle.address}:{ledger.url.rpartition(':')[2]}")
                for _ in range(2)
            )
            content = _tracked(town.content(4 * MIB), tracker.url)
        hosts = {name: network.host() for name in ("seeder", "payer", *PROGRAMS)}
        tracker.peers = [(host.address, PORT) for host in hosts.values()]

        with hosts["seeder"].entered():
            seeder = town.seed(payee, content, hosts["seeder"].address, "--up-limit", str(UPLINK))
        copies = {name: town.place() for name in ("payer", *PROGRAMS)}
        programs = []
        for name, program in PROGRAMS.items():
            home = tmp_path / name
            with hosts[name].entered():
                started = program(home, hosts[name].address, PORT, content.torrent, copies[name])
                programs.append(stack.enter_context(contextlib.closing(started)))
                asyncio.run(until(started.listens, WAIT_S))
        with hosts["payer"].entered():
            paying = town.start(
                payer, "get", str(content.torrent), "-o", str(copies["payer"]), "--pay", "50",
                "--listen", f"{hosts['payer'].address}:{PORT}", "--up-limit", str(UPLINK),
            )  # fmt: skip
        assert paying.end() == 0, paying.err
        for name, copy in copies.items():
            found = copy / content.path.name
            asyncio.run(until(lambda: found.exists() and content.is_in(copy), WAIT_S))  # noqa: B023
            print(f"mixed swarm: {name} has {content.path.stat().st_size} bytes, right")
        assert seeder.end(signal.SIGINT) == 0, seeder.err

        with middle.entered():
            paid = int(paying.result["paid_utok"])
            assert paid > 0
            assert payee.credit == WELCOME + paid == WELCOME + int(seeder.result["earned_utok"])
            assert payer.credit == WELCOME - paid
            assert town.in_escrow() == 0
            town.close()
    print(f"mixed swarm: {len(copies)} copies right, {paid} µtok paid, the books add up")
