"""The file in which a client keeps its tables: opened, brought up to date, written whole or not at all.

SQLite in WAL mode with ``synchronous=FULL``: when a ``write`` has ended, it survives a power cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from speedpay import wal
from speedpay.client import tables
from speedpay.errors import DiskFull, InvalidSetting

#: For another client of this user that is writing.
_WAIT_S = 10.0
_UNUSABLE = ("SQLITE_CANTOPEN", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_PERM", "SQLITE_READONLY")


class Database:
    """Raises DiskFull where nothing can be written any more; nothing is half written. Raises
    InvalidSetting when the file is not a store of ours, or cannot be opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._engine = sa.create_engine(f"sqlite:///{path}")
        sa.event.listen(self._engine, "connect", _configure)
        self._held: sa.Connection | None = None
        with self.write() as db:
            version = db.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version not in (*tables.UPGRADED_FROM, tables.VERSION):
                raise InvalidSetting(
                    f"{path} was written by another version of speedpay", field="store"
                )
            tables.METADATA.create_all(db)
            db.exec_driver_sql(f"PRAGMA user_version={tables.VERSION}")
        path.chmod(0o600)

    def close(self) -> None:
        self.let_go()
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        with self._explained(), self._engine.connect() as db:
            yield db

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction, committed at the end: the one that is held, or a new one."""
        with self._explained():
            db, self._held = self._held or self._begin(), None
            try:
                yield db
                db.commit()
            finally:
                db.close()  # rolls back what was not committed

    @contextmanager
    def held(self) -> Iterator[sa.Connection]:
        """The transaction that the next ``write`` goes on with and commits: what is read in it is still
        true then, whatever other processes do. Nobody else can write until then, or ``let_go``."""
        with self._explained():
            if self._held is None:
                self._held = self._begin()
            yield self._held

    @property
    def is_held(self) -> bool:
        return self._held is not None

    def let_go(self) -> None:
        """End the held transaction, if there is one, with nothing written."""
        db, self._held = self._held, None
        if db is not None:
            db.close()

    def _begin(self) -> sa.Connection:
        """Nobody else writes from here on."""
        db = self._engine.connect()
        try:
            db.exec_driver_sql("BEGIN IMMEDIATE")
        except BaseException:
            db.close()
            raise
        return db

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DatabaseError as error:
            name = getattr(error.orig, "sqlite_errorname", "")
            if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
                raise DiskFull(
                    f"the client's records cannot be written, so nothing more is paid: {error.orig}",
                    hint="free some space, then run the same command again",
                ) from error
            if name.startswith("SQLITE_BUSY"):
                raise InvalidSetting(
                    f"{self._path} is in use by another speedpay, and has been for {_WAIT_S:.0f} s",
                    field="store", hint="wait for it or end it, then run the same command again",
                ) from error  # fmt: skip
            if name.startswith(_UNUSABLE):
                raise InvalidSetting(
                    f"{self._path} cannot be used: {error.orig}", field="store",
                    hint="move it away, or set SPEEDPAY_HOME to another folder",
                ) from error  # fmt: skip
            raise


def _configure(connection: Any, _record: object) -> None:
    wal.switch_on(connection, _WAIT_S)
