"""The governor's shell: when it touches the session, with what, and what it counts."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from speedpay.market.governor import SAMPLE_S
from speedpay.swarm.events import BlocksSent, PeerConnected, PeerGone
from speedpay.swarm.governor import UplinkGovernor
from speedpay.swarm.settings import governed_settings, upload_settings

MB = 1_000_000
HASH = bytes(20)


class Session:
    """What it was told, and a clock."""

    def __init__(self) -> None:
        self.applied: list[dict[str, int]] = []
        self.governor = UplinkGovernor(self.applied.append)
        self.now = 100.0

    def ticks(self, seconds: float, *, competing: bool = True, blocks: int = 0) -> None:
        """``blocks``: bytes that leave in each tick on connection 1."""
        for _ in range(round(seconds / SAMPLE_S)):
            self.now += SAMPLE_S
            if blocks:
                self.governor.saw([BlocksSent(1, blocks, 0, 0)])
            self.governor.tick(competing, self.now)


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    with near, far:
        yield near, far


def test_while_nobody_competes_the_session_is_left_alone(session: Session) -> None:
    session.ticks(5, competing=False, blocks=100_000)
    assert session.applied == []
    assert session.governor.estimate is None


def test_what_leaves_by_utp_is_counted_and_limited(session: Session) -> None:
    session.governor.saw([PeerConnected(1, HASH, "192.0.2.1", 6881, False)])
    session.ticks(4, blocks=round(2 * MB * SAMPLE_S))
    estimate = session.governor.estimate
    assert estimate is not None
    assert 0.8 * 2 * MB < estimate < 1.3 * 2 * MB
    assert session.applied[0]["upload_rate_limit"] == 0  # measured first
    assert session.applied[-1]["upload_rate_limit"] > MB


def test_it_lets_go_with_the_settings_of_a_session_without_a_limit(session: Session) -> None:
    session.ticks(4, blocks=100_000)
    estimate = session.governor.estimate
    session.ticks(3, competing=False, blocks=100_000)
    assert session.applied[-1] == upload_settings(None)
    assert not session.governor.governing
    count = len(session.applied)
    session.ticks(3, competing=False, blocks=100_000)
    assert len(session.applied) == count
    assert session.governor.estimate == pytest.approx(estimate, rel=0.3)


def test_every_setting_that_it_changes_is_given_back() -> None:
    assert governed_settings(MB, MB).keys() <= upload_settings(None).keys()


def test_a_limit_is_applied_once_not_each_time(session: Session) -> None:
    session.ticks(10, blocks=100_000)
    assert all(
        one != other for one, other in zip(session.applied, session.applied[1:], strict=False)
    )


def test_buffers_stay_while_the_estimate_moves_a_little(session: Session) -> None:
    session.ticks(5, blocks=100_000)
    shape = session.governor.shape
    assert shape is not None
    session.ticks(5, blocks=95_000)
    assert session.governor.shape == shape
    session.ticks(10, blocks=20_000)
    assert session.governor.shape < shape / 2


def test_acknowledged_bytes_of_a_tcp_peer_are_the_measure(
    session: Session, connection: tuple[socket.socket, socket.socket]
) -> None:
    near, far = connection
    address, port = near.getpeername()
    session.governor.saw([PeerConnected(1, HASH, address, port, True)])
    count = round(MB * SAMPLE_S)
    for _ in range(30):
        near.sendall(bytes(count))
        far.recv(count, socket.MSG_WAITALL)
        # What libtorrent says of the same bytes does not count twice.
        session.ticks(SAMPLE_S, blocks=count)
    estimate = session.governor.estimate
    assert estimate is not None
    assert 0.7 * MB < estimate < 1.4 * MB


def test_a_socket_that_is_no_peers_is_not_counted(
    session: Session, connection: tuple[socket.socket, socket.socket]
) -> None:
    near, far = connection
    session.governor.saw([PeerConnected(1, HASH, "192.0.2.1", 6881, True)])
    for _ in range(30):
        near.sendall(bytes(50_000))
        far.recv(50_000, socket.MSG_WAITALL)
        session.ticks(SAMPLE_S)
    assert session.governor.estimate is None


def test_peers_that_left_are_forgotten(session: Session) -> None:
    for connection in range(1, 500):
        session.governor.saw([
            PeerConnected(connection, HASH, "192.0.2.1", connection, False),
            BlocksSent(connection, 1000, 0, 0), PeerGone(connection, "bye"),
        ])  # fmt: skip
    session.ticks(1)
    assert not session.governor._ends
    assert not session.governor._left
