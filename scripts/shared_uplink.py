"""One seeder at its upload limit and its downloaders, each a libtorrent session with an address of its own.

Nothing is paid here: the seeder sets the weights and slots of the market's rules, as the client does.
"""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import libtorrent as lt

from speedpay.market.allocator import DEFAULT_FREE_POOL, Demand, shares
from speedpay.market.place import place_of
from speedpay.market.slots import serve
from speedpay.swarm import events
from speedpay.swarm.create import CreatedTorrent, create_torrent
from speedpay.swarm.extension import Extension
from speedpay.swarm.settings import SwarmSettings, session_settings
from speedpay.swarm.torrents import Swarm
from speedpay.units import NO_PRICE, Price

PIECE_BYTES = 256 * 1024
_CONNECT_S = 20.0


def made_content(path: Path, size: int) -> CreatedTorrent:
    """A file that is all holes with its torrent: the disk takes no part."""
    with path.open("wb") as file:
        file.truncate(size)
    return create_torrent([path], piece_length=PIECE_BYTES)


def loopback_address(number: int) -> str:
    """An address of 127/8 that other runs on this machine do not use."""
    return f"127.{128 + os.getpid() % 64}.{os.getpid() // 64 % 250}.{number + 1}"


def local_ipv6_address(number: int) -> str:
    """Each in a /64 of its own: the allocator counts a /64 as one place."""
    return str(ipaddress.ip_address(f"fd00:0:0:{number + 1:x}::1"))


@dataclass(slots=True)
class Downloader:
    """``connection``: its number at the seeder, 0 while it has none there. ``extension`` where it talks."""

    address: str
    session: Any
    handle: Any
    extension: Extension | None
    connection: int = 0

    def received(self) -> int:
        """Payload bytes that have come so far, parts of blocks included."""
        peers = self.handle.get_peer_info()
        return int(peers[0].total_download) if peers else 0


class SharedUplink:
    """``transport``: "tcp" or "utp" (BEP 29), what the downloaders call by; the seeder answers both."""

    def __init__(
        self,
        folder: Path,
        torrents: Sequence[CreatedTorrent],
        uplink: int,
        *,
        transport: str = "tcp",
        ipv6: bool = False,
    ) -> None:
        self._folder, self._utp, self._ipv6 = folder, transport == "utp", ipv6
        self._torrents = torrents
        self.uplink = uplink
        self.downloaders: list[Downloader] = []
        self.address = self._address(0)
        self.swarm = Swarm(
            SwarmSettings(
                listen=self._listen(self.address), upload_limit=uplink, dht=False, lsd=False
            )
        )
        handles = [self.swarm.add_torrent_file(one.data, one.save_dir) for one in torrents]
        self._until(lambda: all(handle.status().seeding for handle in handles))
        self._weights: dict[int, int] = {}

    def join(
        self, count: int, *, stock: bool = False, talks: bool = False, torrent: int = 0
    ) -> list[Downloader]:
        """Downloaders that ask the seeder for all of a torrent; ``stock``: with libtorrent's own settings,
        ``talks``: with our extension."""
        joined = []
        for _ in range(count):
            address = self._address(1 + len(self.downloaders))
            settings = session_settings(
                SwarmSettings(listen=self._listen(address), dht=False, lsd=False)
            )
            if stock:
                kept = ("listen_interfaces", "enable_dht", "enable_lsd")
                settings = {
                    name: settings[name] for name in (*kept, "enable_upnp", "enable_natpmp")
                }
            settings |= {
                "enable_outgoing_utp": self._utp, "enable_outgoing_tcp": not self._utp,
                "outgoing_interfaces": address, "alert_mask": 0,
            }  # fmt: skip
            session = lt.session(settings)
            extension = Extension(session) if talks else None
            parameters = lt.load_torrent_buffer(self._torrents[torrent].data)
            parameters.save_path = str(self._folder / f"downloader {len(self.downloaders)}")
            parameters.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
            parameters.flags |= lt.torrent_flags.disable_pex
            downloader = Downloader(address, session, session.add_torrent(parameters), extension)
            self.downloaders.append(downloader)
            joined.append(downloader)
        for downloader in joined:
            downloader.handle.connect_peer((self.address, self.swarm.listen_port))
        self._until(lambda: all(downloader.connection for downloader in joined))
        return joined

    def bid(self, prices: Mapping[int, int]) -> dict[int, Fraction]:
        """Gives each downloader the weight of the price it bids, 0 for the free lane; their due shares."""
        demands = [
            Demand(self.downloaders[number].connection, Price(price) if price else NO_PRICE,
                   place_of(self.downloaders[number].address))
            for number, price in prices.items()
        ]  # fmt: skip
        for demand in demands:
            self.swarm.extension.serve(demand.connection, bool(demand.price))
        weights = serve(demands, DEFAULT_FREE_POOL, self.swarm.free_slots)
        for connection, weight in weights.items():
            if self._weights.get(connection) != weight:
                self._weights[connection] = weight
                self.swarm.extension.set_weight(connection, weight)
        due = shares(demands, DEFAULT_FREE_POOL)
        return {number: due[self.downloaders[number].connection] for number in prices}

    def received(self) -> list[int]:
        self._drain()
        return [downloader.received() for downloader in self.downloaders]

    def pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._drain(min(left, 0.05))

    def measured(self, seconds: float, every: float = 0.0) -> list[tuple[float, list[int]]]:
        """(seconds since the call, bytes received so far by each), first and last, or ``every`` so often."""
        began = time.monotonic()
        found = [(0.0, self.received())]
        while (now := time.monotonic() - began) < seconds:
            self.pause(min(every or seconds, seconds - now))
            found.append((time.monotonic() - began, self.received()))
        return found

    def close(self) -> None:
        for downloader in self.downloaders:
            if downloader.extension is not None:
                downloader.extension.close()
            downloader.session.pause()
        self.downloaders.clear()
        self.swarm.close()

    def _drain(self, wait_s: float = 0.0) -> None:
        by_address = {downloader.address: downloader for downloader in self.downloaders}
        for event in self.swarm.wait(wait_s) if wait_s else self.swarm.drain():
            if isinstance(event, events.PeerConnected) and event.address in by_address:
                by_address[event.address].connection = event.connection

    def _until(self, condition: Any) -> None:
        deadline = time.monotonic() + _CONNECT_S
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError("the downloaders did not connect in time")
            self._drain(0.02)

    def _address(self, number: int) -> str:
        return local_ipv6_address(number) if self._ipv6 else loopback_address(number)

    def _listen(self, address: str) -> str:
        return f"[{address}]:0" if self._ipv6 else f"{address}:0"


def jain(parts: Sequence[float]) -> float:
    """Jain's index of fairness: 1 when all are equal, 1 ÷ n when one has all."""
    return sum(parts) ** 2 / (len(parts) * sum(part * part for part in parts))
