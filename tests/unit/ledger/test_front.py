"""The socket: slow, oversized, garbled and too many clients."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from speedpay.errors import InvalidSetting, LedgerFailed
from speedpay.ledger import connection, http
from speedpay.ledger.answering import answer
from speedpay.ledger.asked import Reply, Request
from speedpay.ledger.http import LedgerServer
from speedpay.ledger.service import Service
from speedpay.ledger_api.client import LedgerClient
from tests.unit.ledger.desk import Desk


@pytest.fixture
def url(desk: Desk) -> Iterator[str]:
    server = LedgerServer(desk.service, "127.0.0.1", 0)
    with server.running() as running:
        yield running


def plug(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def closed_after(sock: socket.socket, send_every_s: float, parts: Iterator[bytes]) -> float:
    """Seconds until the server ends the connection, to a client that dribbles ``parts``."""
    began = time.monotonic()
    sock.settimeout(send_every_s)
    for part in parts:
        try:
            sock.sendall(part)
            if sock.recv(4096) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - began


def headers() -> Iterator[bytes]:
    yield b"GET /v1/ledger HTTP/1.1\r\nhost: x\r\n"
    for at in range(400):
        yield b"x-%d: y\r\n" % at


def test_a_request_head_has_five_seconds() -> None:
    assert connection.HEAD_DEADLINE_S == 5.0


@pytest.mark.parametrize("first", [b"", b"GET"], ids=["silent", "half a line"])
def test_a_client_with_slow_headers_is_closed(
    url: str, monkeypatch: pytest.MonkeyPatch, first: bytes
) -> None:
    monkeypatch.setattr(connection.DeadlineProtocol, "head_deadline_s", 0.5)
    with plug(url) as sock:
        if first:
            sock.sendall(first)
        took = closed_after(sock, 0.05, headers() if not first else iter([b""] * 400))
    assert 0.3 < took < 5


def test_a_second_request_on_a_kept_connection_has_the_same_deadline(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection.DeadlineProtocol, "head_deadline_s", 0.5)
    with plug(url) as sock:
        sock.sendall(b"GET /v1/ledger HTTP/1.1\r\nhost: x\r\n\r\n")
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200")
        took = closed_after(sock, 0.05, headers())
    assert 0.3 < took < 5


def test_a_slow_body_is_answered_with_413_and_closed(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "BODY_DEADLINE_S", 0.3)
    with plug(url) as sock:
        sock.sendall(b"POST /v1/transfers HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 413")


def read_all(sock: socket.socket) -> bytes:
    answer = bytearray()
    with contextlib.suppress(OSError):
        while part := sock.recv(65_536):
            answer += part
    return bytes(answer)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_above_64_kib_is_refused_without_reading_it_all(
    url: str, desk: Desk, chunked: bool
) -> None:
    size = 65_537
    with plug(url) as sock:
        if chunked:
            sock.sendall(
                b"POST /v1/transfers HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
            )
            with contextlib.suppress(OSError):
                for _ in range(10_000):
                    sock.sendall(b"1000\r\n" + b"9" * 4096 + b"\r\n")
        else:
            head = b"POST /v1/transfers HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size
            sock.sendall(head + b"9" * size)
        answer = read_all(sock)
    if not chunked:  # a reset may overtake the answer to somebody who never stops sending
        status, _, rest = answer.partition(b"\r\n")
        assert status.startswith(b"HTTP/1.1 413")
        assert json.loads(rest.partition(b"\r\n\r\n")[2])["error"]["field"] == "body"
    with LedgerClient(url, clock=desk.clock) as client:
        client.identify()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
        b"GET /v1/ledger HTTP/9.9\r\n\r\n",
        b"GET  HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /v1/transfers HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/transfers HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"GET /v1/ledger HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 40_000 + b"\r\n\r\n",
        b"GET /v1/ledger\xff\xfe HTTP/1.1\r\nhost: x\r\nspeedpay-account: \xff\r\n\r\n",
    ],
)
def test_garbage_is_answered_below_500_or_closed_and_the_ledger_serves_on(
    url: str, desk: Desk, garbage: bytes
) -> None:
    with plug(url) as sock:
        sock.sendall(garbage)
        sock.shutdown(socket.SHUT_WR)
        answer = read_all(sock)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 200"))
    with LedgerClient(url, clock=desk.clock) as client:
        client.identify()


def test_only_so_many_connections_are_kept(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 5)
    with contextlib.ExitStack() as stack:
        plugs = [stack.enter_context(plug(url)) for _ in range(12)]
        ended = 0
        for sock in plugs:
            sock.settimeout(0.5)
            try:
                ended += sock.recv(1) == b""
            except TimeoutError:
                continue
            except ConnectionResetError:
                ended += 1
    assert ended == 7


def test_a_forwarded_address_is_not_believed(url: str, desk: Desk) -> None:
    seen: list[str] = []
    asked = desk.service.bound_address

    def note(address: str, cost: float = 1.0) -> None:
        seen.append(address)
        asked(address, cost)

    desk.service.bound_address = note  # type: ignore[method-assign]
    with plug(url) as sock:
        sock.sendall(
            b"GET /v1/ledger HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 203.0.113.9\r\n"
            b"forwarded: for=203.0.113.9\r\nconnection: close\r\n\r\n"
        )
        assert read_all(sock).startswith(b"HTTP/1.1 200")
    assert seen == ["127.0.0.1"]


def test_an_answer_does_not_name_its_software(url: str) -> None:
    with plug(url) as sock:
        sock.sendall(b"GET /v1/ledger HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        head = read_all(sock).partition(b"\r\n\r\n")[0].lower()
    assert b"server:" not in head
    assert b"uvicorn" not in head


def test_a_taken_port_is_said_in_a_sentence(url: str, desk: Desk) -> None:
    with pytest.raises(InvalidSetting, match="--listen") as caught:
        LedgerServer(desk.service, "127.0.0.1", int(url.rpartition(":")[2]))
    assert caught.value.exit_code == 2


def test_a_ledger_that_stops_writing_ends(desk: Desk) -> None:
    server = LedgerServer(desk.service, "127.0.0.1", 0)
    with server.running() as url, LedgerClient(url, clock=desk.clock) as client:
        client.identify()
        ended = next(one for one in threading.enumerate() if one.name == server.thread_name)
        desk.service.database.stop("as if an fsync had failed")
        client.identify()
        ended.join(10)
        assert not ended.is_alive()


def test_a_mistake_of_the_ledgers_own_is_no_answer_and_is_asked_again(
    url: str, desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    def mistaken_once(service: Service, request: Request) -> Reply:
        asked.append(request.target)
        if len(asked) == 1:
            raise ZeroDivisionError("a mistake")
        return answer(service, request)

    monkeypatch.setattr(http, "answer", mistaken_once)
    with LedgerClient(url, clock=desk.clock) as client:
        client.identify()
    assert asked == ["/v1/ledger"] * 2
    assert "ZeroDivisionError" in caplog.text
    with plug(url) as sock:
        asked.clear()
        sock.sendall(b"GET /v1/ledger HTTP/1.1\r\nhost: x\r\n\r\n")
        head = sock.recv(65_536)
    assert head.startswith(b"HTTP/1.1 500")
    assert b"speedpay-answer-signature" not in head
    assert b"ZeroDivisionError" not in head


def test_a_ledger_whose_own_work_fails_ends(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def tick() -> None:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(desk.service, "tick", tick)
    server = LedgerServer(desk.service, "127.0.0.1", 0)
    with pytest.raises(LedgerFailed, match="a mistake in its own work"):
        server.run_until_stopped(lambda: None)
    assert "ZeroDivisionError" in caplog.text
