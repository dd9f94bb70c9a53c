"""SQLite's write-ahead log, switched on where several processes open one file at once.

SQLite calls no busy handler while it changes the journal mode: of two that open a new file together,
or one that opens while the last other one closes, one gets SQLITE_BUSY at once and not after its
timeout. https://www.sqlite.org/wal.html, "Sometimes Queries Return SQLITE_BUSY In WAL Mode".
"""

from __future__ import annotations

import sqlite3
import time

_POLL_S = 0.01


def switch_on(connection: sqlite3.Connection, wait_s: float) -> None:
    """``connection`` waits up to ``wait_s`` for others, now and from now on, and what it commits is
    durable. Raises sqlite3.OperationalError SQLITE_BUSY after that."""
    connection.isolation_level = None  # transactions begin where we say so
    connection.execute(f"PRAGMA busy_timeout = {round(1_000 * wait_s)}")
    until = time.monotonic() + wait_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > until:
                raise
            time.sleep(_POLL_S)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
