"""The blocks on disk: each with its receipts and with what it changed, in one SQLite file.

A block is committed before it is shown, so that kill -9 loses nothing that anybody saw; what only
waited in the pool is lost, as on a real node. Reading the log applies the changes and executes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from speedpay.devnet import wire
from speedpay.devnet.block import Block
from speedpay.devnet.receipt import Receipt
from speedpay.devnet.transaction import from_bytes
from speedpay.devnet.world import Write
from speedpay.errors import DiskFull, InvalidSetting

FILE = "devnet.sqlite"

_TABLES = """
CREATE TABLE IF NOT EXISTS blocks (number INTEGER PRIMARY KEY, record BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
"""


class _Record(msgspec.Struct, array_like=True):
    number: int
    id: bytes
    time_ms: int
    header: bytes
    witness_signature: bytes
    transactions: list[bytes]
    receipts: list[Receipt]
    writes: list[tuple[str, bytes, Any]]


class BlockLog:
    """``directory`` None: nothing is kept, and nothing is there to read."""

    def __init__(self, directory: Path | None) -> None:
        self._database: sqlite3.Connection | None = None
        if directory is not None:
            self._database = _open(directory)

    def append(self, block: Block, writes: list[Write]) -> None:
        if self._database is None:
            return
        record = _Record(
            number=block.number,
            id=block.id,
            time_ms=block.time_ms,
            header=wire.encode("BlockHeader", block.header),
            witness_signature=block.witness_signature,
            transactions=[transaction.encoded for transaction in block.transactions],
            receipts=list(block.receipts),
            writes=writes,
        )
        row = (block.number, msgspec.msgpack.encode(record))
        try:
            self._database.execute("INSERT INTO blocks VALUES (?, ?)", row)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise DiskFull("no room left for the blocks of the devnet") from error
            raise

    def cut(self, last: int, facts: dict[str, int]) -> None:
        """Forget the blocks after ``last``."""
        if self._database is None:
            return
        self._database.execute("BEGIN")
        self._database.execute("DELETE FROM blocks WHERE number > ?", (last,))
        for name, value in facts.items():
            self.keep(name, value)
        self._database.execute("COMMIT")

    def keep(self, name: str, value: int) -> None:
        if self._database is not None:
            self._database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def fact(self, name: str) -> int:
        """What ``keep`` kept; 0 when nothing was."""
        if self._database is None:
            return 0
        row = self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return 0 if row is None else int(row[0])

    def read(self) -> Iterator[tuple[Block, list[Write]]]:
        if self._database is None:
            return
        for (raw,) in self._database.execute("SELECT record FROM blocks ORDER BY number"):
            record = msgspec.msgpack.decode(raw, type=_Record)
            yield (
                Block(
                    number=record.number,
                    id=record.id,
                    time_ms=record.time_ms,
                    header=wire.decode("BlockHeader", record.header),
                    witness_signature=record.witness_signature,
                    transactions=tuple(from_bytes(one) for one in record.transactions),
                    receipts=tuple(record.receipts),
                ),
                record.writes,
            )

    def close(self) -> None:
        if self._database is not None:
            self._database.close()


def _open(directory: Path) -> sqlite3.Connection:
    """The only process with this file, or InvalidSetting."""
    directory.mkdir(parents=True, exist_ok=True)
    # One connection for all threads: the chain's lock keeps them apart.
    database = sqlite3.connect(
        directory / FILE, isolation_level=None, check_same_thread=False, timeout=1
    )
    try:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(_TABLES)
    except sqlite3.Error as error:
        database.close()
        raise InvalidSetting(
            f"cannot be used: {error}", field="--data", hint="is another devnet running there?"
        ) from error
    return database
