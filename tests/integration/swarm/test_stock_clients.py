"""Stock libtorrent, aria2 and Transmission seed to us and download from us, over everything that each of them
can; who calls whom is said, and the connections that are not meant are switched off at our end.

All of it is in a network namespace of its own, with addresses that are not loopback's: Transmission calls
no loopback address that a tracker names. ``speedpay/docs/compatibility.md`` has the table.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import libtorrent as lt
import pytest

from scripts.namespaces import Namespace
from speedpay.swarm import events
from speedpay.swarm.create import create_torrent
from speedpay.swarm.settings import SwarmSettings, session_settings
from speedpay.units import KIB, MIB
from tests.integration.swarm.conftest import Lab, Node
from tests.integration.swarm.stock import ENCRYPTED, NO_UTP, PROGRAMS, Program, Tracker

PORT = 7777
#: Programs start, check files and call again when they like.
WAIT_S = 240

TCP = {"enable_outgoing_utp": False, "enable_incoming_utp": False}
UTP = {"enable_outgoing_utp": True, "enable_outgoing_tcp": False, "enable_incoming_tcp": False}
RC4 = {
    "out_enc_policy": int(lt.enc_policy.pe_forced),
    "in_enc_policy": int(lt.enc_policy.pe_forced),
    "allowed_enc_level": int(lt.enc_level.pe_rc4),
}
#: Our settings, by which nothing else gets through; whether by IPv6; what the other program is told.
WAYS: dict[str, tuple[dict[str, Any], bool, tuple[str, ...]]] = {
    "tcp": (TCP, False, (NO_UTP,)),
    "utp": (UTP, False, ()),
    "ipv6": (TCP, True, (NO_UTP,)),
    "rc4": (TCP | RC4, False, (NO_UTP, ENCRYPTED)),
    "rc4 over utp": (UTP | RC4, False, (ENCRYPTED,)),
    "utp over ipv6": (UTP, True, ()),
}
TASKS = ("downloads from us", "seeds to us")
CALLERS = ("we call", "it calls")
#: Without uTP, as a test shows.
NO_UTP_AT_ALL = ("aria2",)
ALL = [
    (program, way)
    for program, way in itertools.product(PROGRAMS, WAYS)
    if program not in NO_UTP_AT_ALL or "utp" not in way
]
#: One exchange of each program in each direction, at least, and each way at least once.
BRIEF = [
    ("libtorrent", "utp", "downloads from us", "it calls"),
    ("libtorrent", "ipv6", "seeds to us", "we call"),
    ("aria2", "rc4", "downloads from us", "we call"),
    ("aria2", "tcp", "seeds to us", "it calls"),
    ("Transmission", "tcp", "downloads from us", "we call"),
    ("Transmission", "utp", "seeds to us", "we call"),
]


class Yard:
    """A namespace with as many addresses as are asked for, both sorts, and the sessions of one test."""

    def __init__(self, lab: Lab, namespace: Namespace) -> None:
        self.lab, self.namespace = lab, namespace
        self._numbers = itertools.count(1)

    def address(self, ipv6: bool = False) -> str:
        number = next(self._numbers)
        made = f"2001:db8::{number:x}" if ipv6 else f"10.78.0.{number}"
        nodad = ("nodad",) if ipv6 else ()
        width = 128 if ipv6 else 32
        self.namespace.run("ip", "address", "add", f"{made}/{width}", "dev", "lo", *nodad)
        return made

    def ours(self, address: str, **settings: Any) -> Node:
        """A session with our extension and the settings that users have."""
        at = f"[{address}]" if ":" in address else address
        listen = f"{at}:{PORT}"
        usual = session_settings(SwarmSettings(listen, dht=False, lsd=False))
        own = {"outgoing_interfaces": address, "enable_upnp": False, "enable_natpmp": False}
        kept = {name: value for name, value in usual.items() if name != "alert_mask"}
        self.lab.clients.append(Node(address, **(kept | own | settings)))
        return self.lab.clients[-1]


@pytest.fixture
def yard(lab: Lab) -> Iterator[Yard]:
    namespace = Namespace()
    # Transmission has uTP by IPv6 only where there is a way to the whole internet by IPv6.
    namespace.run("ip", "-6", "route", "add", "default", "dev", "lo")
    with namespace.entered():
        yield Yard(lab, namespace)
    namespace.close()


class Exchange:
    """The whole content goes between a session of ours and a program."""

    def __init__(
        self, yard: Yard, size: int, program: str, way: str, task: str, caller: str
    ) -> None:
        self.name = f"{program}, {way}: {task}, {caller}"
        lab = yard.lab
        settings, ipv6, wanted = WAYS[way]
        self.size = size
        self.content = lab.content(size)
        self.original = self.content.save_dir / "content.bin"
        self.they_seed = task == "seeds to us"
        self.we_call = caller == "we call"
        self.is_called = False

        home = lab.dir(self.name.replace(" ", "-"))
        place = home / "copy"
        place.mkdir()
        self.copy = place / "content.bin"
        self.node = yard.ours(yard.address(ipv6), **settings)
        self.handle = self.node.add(
            self.content, place if self.they_seed else self.content.save_dir
        )
        self.tracker = Tracker(self.node.address)
        # It is not told of us before we have what it asks for.
        self.program: Program | None = None
        made = create_torrent([self.original], piece_length=256 * KIB, trackers=[self.tracker.url])
        assert made.description.infohash == self.content.description.infohash
        (home / "stock.torrent").write_bytes(made.data)
        theirs = yard.address(ipv6)
        self.start = lambda: PROGRAMS[program](
            home, theirs, PORT, home / "stock.torrent",
            self.content.save_dir if self.they_seed else place, *wanted,
        )  # fmt: skip

    @property
    def moved_bytes(self) -> int:
        return self.node.received_bytes() if self.they_seed else self.node.sent_bytes()

    def is_done(self) -> bool:
        if self.program is None:
            if self.node.port != PORT or (
                not self.they_seed and not self.handle.status().is_seeding
            ):
                return False
            if not self.we_call:
                self.tracker.peers = [(self.node.address, PORT)]
            self.program = self.start()
        if self.we_call and not self.is_called and self.program.listens():
            self.handle.connect_peer((self.program.address, PORT))
            self.is_called = True
        return (
            self.moved_bytes >= self.size
            and self.copy.exists()
            and self.copy.read_bytes() == self.original.read_bytes()
        )

    def close(self) -> None:
        if self.program is not None:
            self.program.close()
        self.tracker.close()

    def check(self) -> None:
        calls = {event.outgoing for event in self.node.of(events.PeerConnected)}
        assert calls == {self.we_call}, self.name
        assert self.node.of(events.PeerExtended) == [], self.name
        assert self.node.of(events.BlocksReceived, asked=False) == [], self.name


def exchange(yard: Yard, size: int, cases: list[tuple[str, str, str, str]]) -> None:
    """All of them at once: Transmission alone lets ten seconds go by before it serves anybody."""
    with contextlib.ExitStack() as stack:
        exchanges = [
            stack.enter_context(contextlib.closing(Exchange(yard, size, *case))) for case in cases
        ]
        left = list(exchanges)

        def are_done() -> bool:
            left[:] = [one for one in left if not one.is_done()]
            return not left

        try:
            yard.lab.until(are_done, WAIT_S)
        except AssertionError as late:
            raise AssertionError(f"not done: {[one.name for one in left]}") from late
        for one in exchanges:
            one.check()
            assert one.program is not None
            one.program.interrupt()
    print(f"stock clients: {len(exchanges)} exchanges of {size} bytes, every copy right")


@pytest.mark.timeout(2 * WAIT_S)
def test_stock_clients_download_from_us_and_seed_to_us(yard: Yard) -> None:
    exchange(yard, 256 * KIB, BRIEF)


def test_aria2_opens_no_udp_socket_so_that_there_is_no_utp_to_try(yard: Yard) -> None:
    content = yard.lab.content(MIB)
    file, home, at = yard.lab.folder / "a.torrent", yard.lab.dir("home"), yard.address()
    file.write_bytes(content.data)
    aria2 = PROGRAMS["aria2"](home, at, PORT, file, yard.lab.dir("copy"))
    with contextlib.closing(aria2):
        yard.lab.until(aria2.listens, WAIT_S)
        for table in ("udp", "udp6"):
            heading, *sockets = yard.namespace.run("cat", f"/proc/net/{table}").splitlines()
            assert "local_address" in heading
            assert sockets == []


@pytest.mark.long
@pytest.mark.timeout(2 * WAIT_S)
@pytest.mark.parametrize(("program", "way"), ALL)
def test_a_stock_client_exchanges_with_us_in_both_directions_whoever_calls(
    yard: Yard, program: str, way: str
) -> None:
    exchange(yard, MIB, [(program, way, *case) for case in itertools.product(TASKS, CALLERS)])
