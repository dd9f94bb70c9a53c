"""What the kernel tells of real TCP connections, by descriptor and without owning them."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from speedpay.swarm.sockets import UNBOUNDED, TcpSocket, hold_back, tcp_sockets, tcp_state


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    with near, far:
        yield near, far


def found(one: socket.socket) -> TcpSocket:
    return next(known for known in tcp_sockets() if known.descriptor == one.fileno())


def test_a_connection_is_found_with_its_other_end(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    assert (found(near).address, found(near).port) == far.getsockname()
    assert found(near).inode != found(far).inode


def test_listening_udp_and_files_are_not_connections() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        open(__file__, "rb") as file,
    ):
        others = {server.fileno(), udp.fileno(), file.fileno()}
        assert not others & {known.descriptor for known in tcp_sockets()}


def test_ipv6_too() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        near = socket.create_connection(server.getsockname()[:2])
        with near:
            assert (found(near).address, found(near).port) == server.getsockname()[:2]
            assert tcp_state(found(near)) is not None


def test_what_was_confirmed_and_what_waits_is_counted(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    near.sendall(b"x" * 1000)
    assert len(far.recv(1000, socket.MSG_WAITALL | socket.MSG_PEEK)) == 1000
    state = tcp_state(found(near))
    assert state is not None
    assert state.acked == 1001  # and the handshake's
    assert (state.in_flight, state.unsent) == (0, 0)
    assert 0 <= state.rtt_s < 1
    # The other end reads nothing: its window closes, and the rest waits here.
    near.setblocking(False)
    given = 1000
    while True:
        try:
            given += near.send(b"x" * 65536)
        except BlockingIOError:
            break
    state = tcp_state(found(near))
    assert state is not None
    assert state.unsent > 0
    assert state.acked - 1 + state.in_flight + state.unsent == pytest.approx(given, abs=64 * 1024)


def test_a_socket_that_is_held_back_takes_less_ahead_and_then_as_before(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, _ = pair
    near.setblocking(False)

    def fill() -> int:
        count = 0
        while True:
            try:
                count += near.send(b"x" * 65536)
            except BlockingIOError:
                state = tcp_state(found(near))
                assert state is not None
                return state.unsent

    hold_back(found(near), 32 * 1024)
    held = fill()
    hold_back(found(near), UNBOUNDED)
    assert held < 200_000
    assert fill() > held + 200_000


def test_the_socket_stays_its_owners(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    known = found(near)
    for _ in range(3):
        tcp_state(known)
    near.sendall(b"still here")
    assert far.recv(100) == b"still here"
    near.close()
    assert far.recv(100) == b""  # nobody else held it open
    assert tcp_state(known) is None


def test_another_socket_under_the_same_number_is_not_taken_for_it(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    known = found(near)
    other = TcpSocket(known.descriptor, found(far).inode, known.address, known.port)
    assert tcp_state(other) is None
    hold_back(other, 1)  # which changes nothing
    assert near.getsockopt(socket.IPPROTO_TCP, 25) != 1
