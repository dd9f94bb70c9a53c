"""Shares of live peers: transports, torrents of one session, slots, and our messages among the data."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import libtorrent as lt
import pytest

from scripts.namespaces import Namespace
from scripts.shared_uplink import SharedUplink, jain, local_ipv6_address, made_content
from speedpay.swarm import events

KIB = 1024
MIB = 1024 * KIB
#: Of libtorrent's peer_info; the binding has no name for it.
_UTP_SOCKET = 1 << 17


@pytest.fixture
def uplink(tmp_path: Path) -> Iterator[Callable[..., SharedUplink]]:
    made: list[SharedUplink] = []

    def make(bytes_s: int, *, torrents: int = 1, **more: Any) -> SharedUplink:
        contents = []
        for number in range(torrents):
            folder = tmp_path / str(number)
            folder.mkdir()
            contents.append(made_content(folder / f"content {number}.bin", 32 * MIB))
        made.append(SharedUplink(tmp_path, contents, bytes_s, **more))
        return made[-1]

    yield make
    for shared in made:
        shared.close()


def got(
    shared: SharedUplink, prices: dict[int, int], good: Callable[[list[float]], bool]
) -> list[float]:
    """Of each its share ÷ the one it is due, once four tenths of a second have passed.

    Others compute on this machine while the suite runs, and a second is short: it is measured again, up
    to five times, until it is ``good``. Shares that are wrong are wrong each time.
    """
    due = shared.bid(prices)
    for _ in range(5):
        shared.pause(0.4)
        (_, before), (_, after) = shared.measured(0.8)
        moved = [last - first for first, last in zip(before, after, strict=True)]
        parts = [one / sum(moved) / float(due[number]) for number, one in enumerate(moved)]
        if good(parts):
            break
    return parts


def fair(parts: list[float]) -> bool:
    return jain(parts) > 0.99 and max(abs(part - 1) for part in parts) < 0.15


def choked(shared: SharedUplink) -> list[bool]:
    """Of each, whether the seeder serves it not."""
    found = [one.handle.get_peer_info()[0].flags for one in shared.downloaders]
    return [bool(flags & lt.peer_info.remote_choked) for flags in found]


@pytest.mark.parametrize("transport", ["tcp", "utp"])
def test_shares_follow_bids_and_their_reversal_over_two_torrents(uplink, transport):
    shared = uplink(4 * MIB, transport=transport, torrents=2)
    shared.join(2, torrent=0)
    shared.join(2, torrent=1)
    (peer,) = shared.downloaders[0].handle.get_peer_info()
    assert bool(peer.flags & _UTP_SOCKET) == (transport == "utp")
    for prices in ((1000, 2000, 4000, 8000), (8000, 4000, 2000, 1000)):
        parts = got(shared, dict(enumerate(prices)), fair)
        assert fair(parts), parts


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace of its own needs root")
def test_shares_follow_bids_over_ipv6(uplink):
    namespace = Namespace()
    try:
        for number in range(4):
            address = f"{local_ipv6_address(number)}/128"
            namespace.run("ip", "-6", "address", "add", address, "dev", "lo", "nodad")
        with namespace.entered():
            shared = uplink(4 * MIB, ipv6=True)
            shared.join(3)
            assert ":" in shared.downloaders[0].handle.get_peer_info()[0].ip[0]
            parts = got(shared, {0: 1000, 1: 4000, 2: 8000}, fair)
            assert fair(parts), parts
    finally:
        namespace.close()


def test_payers_leave_the_free_lane_its_slots_and_its_pool(uplink):
    # Four slots. With libtorrent's own order three payers had everything.
    shared = uplink(512 * KIB)
    shared.join(6)
    shared.join(4, stock=True)
    prices = {number: 1000 if number < 6 else 0 for number in range(10)}
    shared.bid(prices)
    deadline = time.monotonic() + 90
    while any(choked(shared)):
        assert time.monotonic() < deadline, "some have no slot"
        shared.pause(0.1)

    def all_are_served(parts: list[float]) -> bool:
        return min(parts[:6]) > 0.85 and sum(parts[6:]) / 4 > 0.9

    parts = got(shared, prices, all_are_served)
    assert all_are_served(parts), parts

    # Too few slots even for the free lane: payers keep being served, also who waits for its voucher.
    shared.swarm.extension.withhold(shared.downloaders[0].connection, True)
    shared.swarm._session.apply_settings({"unchoke_interval": 1})
    shared.swarm.set_slots(1)
    while sum(choked(shared)) < 2:
        assert time.monotonic() < deadline, "the choker did nothing"
        shared.pause(0.1)
    assert not any(choked(shared)[:6])

    # Who does not pay any more is the choker's to serve.
    shared.bid(dict.fromkeys(prices, 0))
    while sum(choked(shared)) < 8:
        assert time.monotonic() < deadline, "payers of yesterday are served for nothing"
        shared.pause(0.1)
    shared.swarm.set_slots(64)
    while any(choked(shared)):
        assert time.monotonic() < deadline, "some have no slot"
        shared.pause(0.1)


def test_our_messages_overtake_the_data_and_move_no_share(uplink):
    shared = uplink(768 * KIB)
    shared.join(4, talks=True)
    shared.bid(dict.fromkeys(range(4), 1000))
    numbers: dict[int, int] = {}
    took: dict[bytes, list[float]] = {b"to": [], b"from": []}
    sent_at: dict[bytes, float] = {}

    def listen(seconds: float) -> None:
        sides = [shared.swarm, *(one.extension for one in shared.downloaders)]
        select.select([side.fd for side in sides], [], [], seconds)
        for number, side in enumerate(sides):
            for event in side.drain():
                if isinstance(event, events.PeerExtended) and number:
                    numbers[number - 1] = event.connection
                elif isinstance(event, events.Message):
                    way = event.payload.split()[0]
                    took[way].append(time.monotonic() - sent_at.pop(event.payload))

    began = time.monotonic()
    while time.monotonic() < began + 0.5:
        listen(0.05)
    before, following, began = shared.received(), 0, time.monotonic()
    while (now := time.monotonic()) < began + 1.5:
        if now >= began + following * 0.05:
            # Half of all go to and from the first.
            one = following // 2 % 4 if following % 2 else 0
            to, back = b"to %d" % following, b"from %d" % following
            sent_at[to] = sent_at[back] = now
            shared.swarm.extension.send(shared.downloaders[one].connection, to)
            shared.downloaders[one].extension.send(numbers[one], back)
            following += 1
        listen(0.005)
    moved = [last - first for first, last in zip(before, shared.received(), strict=True)]
    assert min(len(took[b"to"]), len(took[b"from"])) > 20
    # Before them stand 200 ms of data in the buffers, and as much again between two of libtorrent's bursts.
    assert median(took[b"to"]) < 0.1
    assert median(took[b"from"]) < 0.1
    assert moved[0] / sum(moved) < 1.2 / 4
