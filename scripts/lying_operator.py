"""An operator who lies, for the demo's last act: it has the ledger's own keys, and other books.

It takes tokens from an account by a transfer that nobody ordered, closes the same epochs again over its
own books, and serves them with good signatures, each answer and each proof in itself without a fault.
Only the chain holds other roots by now, and there is no way to change those.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import sys
import time
from pathlib import Path

from speedpay.ledger import book, chart, epochs
from speedpay.ledger.chart import Kind
from speedpay.ledger.http import LedgerServer
from speedpay.ledger.keeper import Keeper
from speedpay.ledger.service import Service, Settings
from speedpay.units import Amount, MoneyClass


def copy_books(ledger: Path, target: Path) -> None:
    """The database as it is now, and the keys. Not the note of the last head: it would give him away."""
    target.mkdir()
    with (
        sqlite3.connect(f"file:{ledger / 'ledger.sqlite'}?mode=ro", uri=True) as found,
        sqlite3.connect(target / "ledger.sqlite") as made,
    ):
        found.backup(made)
    for key in ledger.glob("*.key"):
        shutil.copy(key, target / key.name)


def rewrite(service: Service, directory: Path, victim: bytes, last_epoch: int) -> Amount:
    """Half of the victim's free tokens move to the first other account. Returns how many."""
    with service.database.write() as connection:
        held = book.balance(connection, chart.user(victim), MoneyClass.TOKEN)
        accounts = connection.exec_driver_sql("SELECT id FROM accounts ORDER BY id").scalars()
        thief = next(account for account in accounts.all() if account != victim)
        taken = held.part_floor(1, 2)
        book.post(
            connection, Kind.SEND, chart.user(victim), chart.user(thief), MoneyClass.TOKEN, taken,
            b"", int(time.time()),
        )  # fmt: skip
        newest = epochs.latest(connection)
    keeper = Keeper(directory, service.database, service.keys, service.now)
    for number in range((newest.number if newest else 0) + 1, last_epoch + 1):
        keeper.publish(keeper.close(number).number)
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(prog="lying_operator.py")
    parser.add_argument("directory", type=Path, help="made by copy_books")
    parser.add_argument("listen", help="HOST:PORT")
    parser.add_argument("victim", help="account, 32 hexadecimal digits")
    parser.add_argument("last_epoch", type=int, help="rewrite up to this one")
    given = parser.parse_args()
    service = Service(given.directory, Settings(unlimited_loopback=True))
    taken = rewrite(service, given.directory, bytes.fromhex(given.victim), given.last_epoch)
    host, _, port = given.listen.rpartition(":")
    server = LedgerServer(service, host, int(port))
    said = json.dumps({"url": server.url, "taken_utok": taken.to_wire()})
    server.run_until_stopped(lambda: print(said, flush=True))
    service.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
