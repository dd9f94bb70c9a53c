"""The SQLite file: how it is opened, who may write, and what a failing disk means.

WAL with ``synchronous=FULL``: with NORMAL a power cut loses acknowledged commits. Writers begin
with BEGIN IMMEDIATE, so a writer has the lock before it reads anything it decides upon; several
processes may serve one file. An error of the disk ends all writing for good: after a failed fsync
the kernel may have dropped the pages, and a second fsync would report success. A full disk is
different: SQLite has rolled back, reads go on.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from speedpay import wal
from speedpay.errors import LedgerFailed

_WAIT_S = 10.0
_STOPS = ("SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_NOTADB")
#: Of a large transaction: 64 MiB in memory, and no checkpoint.
_SIZES = {"cache_size": -65_536, "wal_autocheckpoint": 0}
_WRITER = {"speedpay_writer": True}


class Database:
    """Errors of SQLAlchemy and SQLite do not leave ``read`` and ``write``: LedgerFailed does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stopped: str | None = None
        # Threads queue here fairly; SQLite's busy handler, which polls, is left to other processes.
        self._one_writer = threading.Lock()
        # O_EXCL: a file that exists is never opened here. Closing any descriptor of it would drop the
        # locks that SQLite holds in this process, and another one's last connection, such as fsck's,
        # would take the log away from under us. SQLite says more clearly what is wrong with the path.
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        self._engine = sa.create_engine(
            f"sqlite:///{path}", pool_size=20, max_overflow=20, pool_timeout=30
        )
        sa.event.listen(self._engine, "connect", _prepare)
        sa.event.listen(self._engine, "begin", _begin)

    def close(self) -> None:
        self._engine.dispose()

    def stop(self, reason: str) -> None:
        """No more writing in this process; the first reason stays."""
        self.stopped = self.stopped or reason

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One consistent view. It goes on when writing has stopped."""
        with self._translated(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self, *, large: bool = False) -> Iterator[sa.Connection]:
        """One transaction, durable when this returns; an exception inside undoes all of it.

        ``large``: its many pages stay in memory until they are committed, and who commits does not
        also copy them from the log into the database: the caller does, by ``checkpoint``.
        """
        with self._one_writer:
            if self.stopped:
                raise LedgerFailed(f"has stopped writing: {self.stopped}")
            with self._translated(), self._engine.connect() as plain:
                connection = plain.execution_options(**_WRITER)
                with _sized(connection) if large else contextlib.nullcontext(), connection.begin():
                    yield connection

    def checkpoint(self) -> None:
        """Copy the log into the database as far as readers allow. Others may write meanwhile."""
        with self._translated(), self._engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw
            raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.IntegrityError:
            raise  # a rule of the schema: our own mistake, and the caller's test fails loudly
        except (sa.exc.DBAPIError, sqlite3.Error) as error:
            name = _first_error(error)
            if name.startswith(_STOPS):
                self.stop(f"{name} from the disk")
                raise LedgerFailed(f"has stopped: {name} from the disk") from error
            if name.startswith("SQLITE_FULL"):
                raise LedgerFailed("the ledger's disk is full; reading goes on") from error
            if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise LedgerFailed("the ledger is busy", hint="try again") from error
            if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
                raise LedgerFailed(f"the ledger's database cannot be used: {name}") from error
            raise
        except sa.exc.TimeoutError as error:
            raise LedgerFailed("the ledger is busy", hint="try again") from error


def _first_error(error: BaseException) -> str:
    """SQLite's name of what went wrong first, such as SQLITE_FULL.

    On some errors SQLite undoes the whole transaction, and our own going back to a savepoint then
    fails as well: that second error must not hide the first.
    """
    name = ""
    one: BaseException | None = error
    while one is not None:
        name = getattr(one, "sqlite_errorname", name)
        one = one.__context__
    return name


def _prepare(connection: sqlite3.Connection, _: object) -> None:
    wal.switch_on(connection, _WAIT_S)


@contextmanager
def _sized(connection: sa.Connection) -> Iterator[None]:
    raw = connection.connection.driver_connection
    assert raw
    before = [raw.execute(f"PRAGMA {name}").fetchone()[0] for name in _SIZES]
    try:
        for name, value in _SIZES.items():
            raw.execute(f"PRAGMA {name} = {value}")
        yield
    finally:
        for name, value in zip(_SIZES, before, strict=True):
            raw.execute(f"PRAGMA {name} = {value}")


def _begin(connection: sa.Connection) -> None:
    writer = connection.get_execution_options().get("speedpay_writer")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")
