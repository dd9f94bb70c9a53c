"""Real sessions on loopback addresses of their own, and waiting for conditions instead of sleeping."""

from __future__ import annotations

import itertools
import os
import random
import select
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import libtorrent as lt
import pytest

from speedpay.swarm import events
from speedpay.swarm.create import CreatedTorrent, create_torrent
from speedpay.swarm.extension import Extension
from speedpay.swarm.settings import SwarmSettings
from speedpay.swarm.torrents import Swarm

# libtorrent takes one connection from an address, so each session has its own. The process number
# keeps two runs of the tests on one machine apart.
_numbers = itertools.count(1)


def _address() -> str:
    number = next(_numbers)
    return (
        f"127.{64 + os.getpid() % 64}.{os.getpid() // 64 % 200 + number // 250}.{number % 250 + 1}"
    )


class Client:
    """Anything that has events, all of them kept, and the answers that tests ask of them."""

    address: str

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def drain(self) -> None:
        raise NotImplementedError

    @property
    def fds(self) -> list[int]:
        raise NotImplementedError

    def of(self, kind: type, **fields: Any) -> list[Any]:
        return [
            event
            for event in self.seen
            if isinstance(event, kind)
            and all(getattr(event, name) == value for name, value in fields.items())
        ]

    def received_bytes(self, connection: int | None = None) -> int:
        return sum(
            event.length
            for event in self.of(events.BlocksReceived)
            if connection in (None, event.connection)
        )

    def sent_bytes(self, connection: int | None = None) -> int:
        return sum(
            event.byte_count
            for event in self.of(events.BlocksSent)
            if connection in (None, event.connection)
        )

    def received_by_counters(self) -> Counter[tuple[int, int]]:
        found: Counter[tuple[int, int]] = Counter()
        for event in self.of(events.BlocksReceived):
            found[event.asked_after, event.message_sequence] += event.length
        return found

    def sent_by_counters(self) -> Counter[tuple[int, int]]:
        found: Counter[tuple[int, int]] = Counter()
        for event in self.of(events.BlocksSent):
            found[event.asked_after, event.message_sequence] += event.byte_count
        return found

    def messages(self, connection: int) -> list[bytes]:
        found = self.of(events.Message, connection=connection)
        assert [message.sequence for message in found] == list(range(1, len(found) + 1))
        return [message.payload for message in found]

    def connection_to(self, other: Client) -> int:
        """The live connection to another client that understands our messages; 0 when none."""
        gone = {event.connection for event in self.of(events.PeerGone)}
        extended = {event.connection for event in self.of(events.PeerExtended)}
        found = [
            event.connection
            for event in self.of(events.PeerConnected, address=other.address)
            if event.connection in extended - gone
        ]
        return found[-1] if found else 0


class Node(Client):
    """A plain libtorrent session, with our extension unless ``stock``."""

    def __init__(self, address: str, stock: bool = False, **settings: Any) -> None:
        super().__init__()
        self.address = address
        self.session = lt.session(
            {
                "listen_interfaces": f"{address}:0",
                "outgoing_interfaces": address,
                "enable_dht": False,
                "enable_lsd": False,
                "enable_upnp": False,
                "enable_natpmp": False,
                "enable_outgoing_utp": False,
                "tick_interval": 25,
                "min_reconnect_time": 1,
                "alert_mask": lt.alert.category_t.all_categories,
                **settings,
            }
        )
        everybody = lt.ip_filter()
        everybody.add_rule("0.0.0.0", "255.255.255.255", 1 << lt.session.global_peer_class_id)
        self.session.set_peer_class_filter(everybody)
        self.extension = None if stock else Extension(self.session)

    @property
    def fds(self) -> list[int]:
        return [self.extension.fd] if self.extension else []

    def drain(self) -> None:
        if self.extension is not None:
            self.seen += self.extension.drain()

    def add(self, torrent: CreatedTorrent, save_dir: Path, *, pex: bool = False) -> Any:
        parameters = lt.load_torrent_buffer(torrent.data)
        parameters.save_path = str(save_dir)
        parameters.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
        if not pex:
            parameters.flags |= lt.torrent_flags.disable_pex
        return self.session.add_torrent(parameters)

    @property
    def port(self) -> int:
        return self.session.listen_port()

    def close(self) -> None:
        if self.extension is not None:
            self.extension.close()
        del self.session


class SwarmClient(Client):
    """A Swarm as the rest of speedpay uses it."""

    def __init__(self, address: str, **settings: Any) -> None:
        super().__init__()
        self.address = address
        self.swarm = Swarm(SwarmSettings(listen=f"{address}:0", dht=False, lsd=False, **settings))

    @property
    def fds(self) -> list[int]:
        return [self.swarm.fd]

    def drain(self) -> None:
        self.seen += self.swarm.drain()

    @property
    def port(self) -> int:
        return self.swarm.listen_port

    def close(self) -> None:
        self.swarm.close()


class Lab:
    """Makes the sessions of one test and ends them."""

    def __init__(self, folder: Path, shared: Path) -> None:
        self.folder = folder
        self.shared = shared
        self.clients: list[Any] = []

    def node(self, **settings: Any) -> Node:
        self.clients.append(Node(_address(), **settings))
        return self.clients[-1]

    def swarm(self, **settings: Any) -> SwarmClient:
        self.clients.append(SwarmClient(_address(), **settings))
        return self.clients[-1]

    def dir(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(exist_ok=True)
        return path

    def content(self, size: int, piece_length: int = 256 * 1024) -> CreatedTorrent:
        """Random content with its torrent, seeded from ``save_dir``; made once for all tests, which
        must leave it alone."""
        path = self.shared / str(size) / "content.bin"
        if not path.exists():
            path.parent.mkdir()
            path.write_bytes(random.Random(size).randbytes(size))
        return create_torrent([path], piece_length=piece_length)

    def until(self, condition: Callable[[], Any], timeout_s: float = 60) -> None:
        """Drain every session until the condition holds; the test fails when it does not in time."""
        deadline = time.monotonic() + timeout_s
        while True:
            for client in self.clients:
                client.drain()
            if condition():
                return
            assert time.monotonic() < deadline, f"not within {timeout_s} s: {self.story()}"
            fds = [fd for client in self.clients for fd in client.fds]
            # Also looked at now and then, for conditions that no event announces.
            select.select(fds, [], [], 0.02)

    def agreed(self, one: Client, other: Client) -> events.PeerExtended:
        """What ``one`` and ``other`` know of their connection, found to be the same crosswise."""
        self.until(lambda: one.of(events.PeerExtended) and other.of(events.PeerExtended))
        ours, theirs = one.of(events.PeerExtended)[0], other.of(events.PeerExtended)[0]
        assert (ours.own_id, ours.peer_id) == (theirs.peer_id, theirs.own_id)
        assert ours.infohash == theirs.infohash
        assert len({ours.own_id, ours.peer_id, bytes(20)}) == 3
        assert [len(found) for found in ours[1:]] == [20, 20, 20]
        return ours

    def story(self) -> str:
        lines = []
        for client in self.clients:
            kinds = Counter(type(event).__name__ for event in client.seen)
            gone = [event.reason for event in client.of(events.PeerGone)]
            lines.append(f"{client.address}: {dict(kinds)} {gone}")
        return "; ".join(lines)

    def close(self) -> None:
        for client in self.clients:
            client.close()


@pytest.fixture(scope="session")
def shared_content(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("content")


@pytest.fixture
def lab(tmp_path: Path, shared_content: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path, shared_content)
    yield lab
    lab.close()


@pytest.fixture
def pair(lab: Lab) -> Callable[..., Any]:
    """Makes a seeder and a downloader of one torrent and connects them."""

    def make(
        size: int,
        *,
        seeder: Node | None = None,
        leecher: Node | None = None,
        piece_length: int = 256 * 1024,
    ) -> tuple[Node, Node, CreatedTorrent]:
        torrent = lab.content(size, piece_length)
        seeder = seeder or lab.node()
        leecher = leecher or lab.node()
        at_seeder = seeder.add(torrent, torrent.save_dir)
        lab.until(lambda: at_seeder.status().is_seeding and seeder.port)
        at_leecher = leecher.add(torrent, lab.dir("leecher"))
        leecher.torrent, seeder.torrent = at_leecher, at_seeder  # type: ignore[attr-defined]
        at_leecher.connect_peer((seeder.address, seeder.port))
        return seeder, leecher, torrent

    return make
