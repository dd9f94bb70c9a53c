"""What somebody on the way between two clients reads of a paid download."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from speedpay.errors import Malformed
from speedpay.peer.messages import BY_TYPE, Hello, Message, decode, encode
from speedpay.units import MIB
from tests.scenarios.clients import (
    PORT,
    Ledger,
    Town,
    User,
    address,
    auto,
    here,
    ledger_in,
    seeder,
    until,
)
from tests.vectors.generate import DOMAIN, MESSAGES
from tests.vectors.session import hello


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with ledger_in(tmp_path_factory.mktemp("ledger")) as ledger:
        yield ledger


@pytest.fixture
def town(ledger: Ledger, tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path, ledger)
    yield town
    town.close()


class Wire:
    """A line through which everybody calls one client; it keeps a copy of what passes, by connection and
    direction."""

    def __init__(self, far: str) -> None:
        self.address, self._far = address(), far
        self.streams: list[bytearray] = []
        self._listener = socket.create_server((self.address, PORT))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection((self._far, PORT), source_address=(self.address, 0))
                for source, sink in ((near, far), (far, near)):
                    self.streams.append(bytearray())
                    threading.Thread(
                        target=self._carry, args=(source, sink, self.streams[-1]), daemon=True
                    ).start()

    @staticmethod
    def _carry(source: socket.socket, sink: socket.socket, copy: bytearray) -> None:
        with suppress(OSError):
            while part := source.recv(65_536):
                copy += part
                sink.sendall(part)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def payloads(stream: bytes) -> list[bytes]:
    """Our extension's messages in a stream, from hello on, by which their number is known (BEP 10). What
    message stream encryption hides has no hello to be found."""
    at = stream.find(b"\x01\x00d1:l32:") - 6
    if at < 0:
        return []
    number, found = stream[at + 5], []
    while at + 4 <= len(stream):
        size = int.from_bytes(stream[at : at + 4])
        frame = stream[at + 4 : at + 4 + size]
        if len(frame) == size and frame[:2] == bytes([20, number]):
            found.append(frame[2:])
        at += 4 + size
    return found


def readable(stream: bytes) -> list[Message]:
    """The messages in it that anybody can read."""
    found = []
    for payload in payloads(stream):
        with suppress(Malformed):
            found.append(decode(payload))
    return found


def secrets_of(*users: User) -> dict[str, bytes]:
    """Whatever their stores keep of channels: ids, statements, signatures, vouchers, salts."""
    found = {}
    for number, user in enumerate(users):
        with contextlib.closing(sqlite3.connect(user.home / "client.db")) as store:
            for table in ("paying", "paid", "payee_receipts"):
                rows = store.execute(f"select * from {table}")
                names = [column[0] for column in rows.description]
                for row in rows:
                    for name, value in zip(names, row, strict=True):
                        if isinstance(value, bytes) and name != "infohash":
                            found[f"{name} in {table} of {number}"] = value
                        if name == "statement":
                            found[f"payer key of {number}"] = value[32:65]
                            found[f"payee key of {number}"] = value[65:98]
    return found


def test_of_a_paid_download_the_wire_shows_both_hellos_and_nothing_else(town: Town) -> None:
    payer, payee, content = town.user(), town.user(), town.content(8 * MIB)

    async def scene() -> Wire:
        async with seeder(payee, content, up_limit=8 * MIB) as origin:
            wire = Wire(origin.address)
            async with here(payer, content, town.place()) as leecher:
                running = asyncio.create_task(leecher.download(auto()).run(leecher.stop))
                await until(lambda: running.done() or leecher._buys())
                leecher.torrent.connect(wire.address, PORT)
                receipt = await running
                assert receipt.paid
                assert receipt.payees[0].peer.partition(":")[0] == wire.address
            wire.close()
            return wire

    wire = asyncio.run(scene())
    ours = [bytes(stream) for stream in wire.streams if payloads(bytes(stream))]
    assert len(ours) >= 2  # both ways
    secrets = secrets_of(payer, payee)
    assert len(secrets) >= 12
    for stream in ours:
        (said,) = readable(stream)
        assert isinstance(said, Hello)
        assert {len(payload) % 64 for payload in payloads(stream)[1:]} == {16}
    sealed = [payload for stream in ours for payload in payloads(stream)[1:]]
    assert len(sealed) >= 10
    assert len(set(sealed)) == len(sealed)
    everything = b"".join(bytes(stream) for stream in wire.streams)
    for name, secret in secrets.items():
        assert len(secret) >= 16, name
        assert secret not in everything, name
        assert secret.hex().encode() not in everything, name


def test_an_unsealed_message_on_the_wire_would_be_found() -> None:
    said = [hello(DOMAIN, "buyer"), *MESSAGES.values()]
    frames = [b"\x14\x07" + encode(message) for message in said]
    stream = b"handshake" + b"".join(len(frame).to_bytes(4) + frame for frame in frames)
    assert readable(stream + b"\x00\x00\x00\x01") == said
    assert {message.TYPE for message in readable(stream)} == set(BY_TYPE)
