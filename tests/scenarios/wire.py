"""A line between two clients on which somebody listens, and what can be read there."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading
from contextlib import suppress
from dataclasses import replace

import libtorrent as lt

from speedpay.errors import Malformed
from speedpay.peer.messages import Message, decode
from speedpay.swarm.content import check_torrent_file
from speedpay.swarm.create import CreatedTorrent
from tests.scenarios.clients import PORT, Content, User, address


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


def hybrid(content: Content) -> tuple[Content, str]:
    """The same content as a torrent of both versions (BEP 52), and a magnet link by the v2 hash alone."""
    files = lt.file_storage()
    lt.add_files(files, str(content.path))
    made = lt.create_torrent(files, piece_size=256 * 1024)
    lt.set_piece_hashes(made, str(content.path.parent))
    data = lt.bencode(made.generate())
    v2 = lt.torrent_info(made.generate()).info_hashes().v2.to_bytes()
    described = CreatedTorrent(data, content.made.save_dir, check_torrent_file(data))
    return replace(content, made=described), f"magnet:?xt=urn:btmh:1220{v2.hex()}"
