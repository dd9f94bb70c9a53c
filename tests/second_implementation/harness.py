"""What the two sides of the second implementation need to run: a .torrent read, a listener, a call."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from tests.second_implementation import bencoding
from tests.second_implementation.connection import Connection, Torrent
from tests.second_implementation.seller import Seller
from tests.second_implementation.signatures import Ledger


def read_torrent(data: bytes) -> Torrent:
    found: Any = bencoding.decode(data, canonical=False, containers=8)
    info = found[b"info"]
    pieces = info[b"pieces"]
    hashes = tuple(pieces[at : at + 20] for at in range(0, len(pieces), 20))
    infohash = hashlib.sha1(bencoding.encode(info)).digest()
    return Torrent(infohash, hashes, info[b"piece length"], info[b"length"])


async def call(at: str, port: int, own: str, ledger: Ledger, torrent: Torrent) -> Connection:
    reader, writer = await asyncio.open_connection(at, port, local_addr=(own, 0))
    return await Connection.shake_hands(reader, writer, ledger, torrent.infohash)


@contextlib.asynccontextmanager
async def listening(
    at: str, port: int, ledger: Ledger, torrent: Torrent, make: Callable[[Connection], Seller]
) -> AsyncIterator[tuple[int, asyncio.Queue[Seller]]]:
    """The port, and where each seller is put when its connection is over."""
    done: asyncio.Queue[Seller] = asyncio.Queue()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            connection = await Connection.shake_hands(
                reader, writer, ledger, torrent.infohash, called=True
            )
        except ConnectionError:
            writer.close()
            return
        seller = make(connection)
        seller.show()
        await seller.run()
        writer.close()
        done.put_nowait(seller)

    server = await asyncio.start_server(answer, at, port)
    try:
        yield server.sockets[0].getsockname()[1], done
    finally:
        server.close()
