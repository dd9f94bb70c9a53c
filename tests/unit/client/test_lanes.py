"""Both lanes of an upload as a seeder sees them: who pays, who does not, and what leaves for each."""

from __future__ import annotations

from speedpay.client.lanes import RATE_S, Lanes
from speedpay.client.records import Traffic
from speedpay.market.allocator import Demand
from speedpay.swarm.events import BlocksSent, InterestChanged, PeerConnected, PeerGone
from speedpay.units import KIB, NO_PRICE, Price, Share

HASH, OTHER = b"\x01" * 20, b"\x02" * 20
POOL = Share(250_000)


def _lanes(*connections: int) -> Lanes:
    """Everybody wants data; odd connections are of one torrent, even ones of another."""
    lanes = Lanes(100.0)
    for connection in connections:
        infohash = HASH if connection % 2 else OTHER
        lanes.event(PeerConnected(connection, infohash, "127.0.0.1", 1, True), False, 100.0)
        lanes.event(InterestChanged(connection, False, True), False, 100.0)
    return lanes


def _send(lanes: Lanes, connection: int, byte_count: int, billed: bool, now: float) -> None:
    lanes.event(BlocksSent(connection, byte_count, 0, 0), billed, now)


def test_what_leaves_is_split_by_whether_it_is_billed() -> None:
    lanes = _lanes(1, 2, 3)
    for second in range(RATE_S):
        _send(lanes, 1, 300 * KIB, True, 101.0 + second)
        _send(lanes, 2, 60 * KIB, False, 101.2 + second)
        _send(lanes, 3, 40 * KIB, False, 101.9 + second)
    demands = [Demand(1, Price(7), "a"), Demand(2, NO_PRICE, "b")]  # 3 is an ordinary peer
    up = lanes.uplink(demands, POOL, 101.0 + RATE_S)
    assert (up.paid.peers, up.paid.bytes_per_s, up.paid.byte_count) == (1, 300 * KIB, 1500 * KIB)
    assert (up.free.peers, up.free.bytes_per_s, up.free.byte_count) == (2, 100 * KIB, 500 * KIB)
    assert (up.free_share, up.pool) == (Share(250_000), POOL)
    assert (up.lowest, up.highest) == (Price(7), Price(7))


def test_rates_forget_and_totals_do_not() -> None:
    lanes = _lanes(1)
    _send(lanes, 1, 500 * KIB, False, 101.0)
    assert lanes.uplink((), POOL, 102.0).free.bytes_per_s == 100 * KIB
    later = lanes.uplink((), POOL, 102.0 + RATE_S)
    assert (later.free.bytes_per_s, later.free.byte_count) == (0, 500 * KIB)
    assert later.free_share is None


def test_who_left_or_wants_nothing_is_in_no_lane() -> None:
    lanes = _lanes(1, 2, 3)
    lanes.event(PeerGone(1, "done"), False, 101.0)
    lanes.event(InterestChanged(3, False, False), False, 101.0)
    up = lanes.uplink([Demand(2, Price(4), "b")], POOL, 102.0)
    assert (up.paid.peers, up.free.peers) == (1, 0)


def test_the_pool_that_is_shown_is_the_one_that_holds() -> None:
    assert _lanes().uplink((), Share(10_000), 101.0).pool == Share(100_000)


def test_traffic_is_told_once_by_torrent_and_idle_ones_count_their_time() -> None:
    lanes = _lanes(1, 2)
    _send(lanes, 1, 7, True, 101.0)
    _send(lanes, 1, 5, False, 101.0)
    idle = b"\x03" * 20
    told = lanes.take([HASH, OTHER, idle], 160.0, 1_000_000)
    assert told[HASH] == Traffic(7, 5, 60, 999_940)
    assert told[OTHER] == told[idle] == Traffic(0, 0, 60, 999_940)
    assert lanes.take([HASH], 170.0, 1_000_010)[HASH] == Traffic(0, 0, 10, 1_000_000)
