"""Keeps a ledger's epochs: closes the next, publishes it, throws away what nobody can ask for.

Each step may be repeated, and starts where a crash has left the one before: a closed epoch waits in
the database, its head is noted outside the database, its file and torrent are put into ``epochs/``,
and only then it is published, which is when others are told of it. All of this is safe in several
processes at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from speedpay.errors import AlreadyExists, BooksBroken
from speedpay.ledger import durable, epochs, leaves_file, tree
from speedpay.ledger.database import Database
from speedpay.ledger.epochs import Epoch
from speedpay.ledger.keys import LedgerKeys
from speedpay.ledger.last_head import LastHead
from speedpay.ledger.leaves import Vault
from speedpay.ledger.schema import epochs as table
from speedpay.ledger_api.epochs import EpochState
from speedpay.proof.sum_tree import NODE_BYTES
from speedpay.units import ZERO, Amount

#: The vault pays against its last 8 anchors.
RING = 8
#: Twice as many: a proof that somebody has just asked for outlives the ring that he meant it for.
KEPT = 2 * RING
#: Bounds the time for which throwing away keeps other writers out.
_PRUNED_AT_ONCE = 1000


class Keeper:
    """``now``: unix seconds; ``limit``: of withdrawals released at each close. The vault is named by
    ``bind`` before the first close."""

    def __init__(
        self,
        directory: Path,
        database: Database,
        keys: LedgerKeys,
        now: Callable[[], int],
        limit: Amount = ZERO,
    ) -> None:
        self.folder = directory / "epochs"
        self.last_head = LastHead(directory, keys.domain)
        self._database = database
        self._keys = keys
        self._now = now
        self._limit = limit
        #: The newest epoch's file, 40 bytes a leaf, so that neither publishing it nor closing the
        #: next one has to read them all again.
        self._newest: tuple[int, bytearray] | None = None

    def bind(self, vault: Vault) -> None:
        with self._database.write() as connection:
            epochs.bind(connection, vault)

    def check(self) -> None:
        """Raises BooksBroken when the database is older than the last head that was given out."""
        with self._database.read() as connection:
            self.last_head.check(connection)

    def close(self, number: int) -> Epoch:
        """Close epoch ``number``: one more than the latest, as the caller knows it.

        The file of the epoch before is read before other writers are kept out.
        """
        with self._database.read() as connection:
            last = epochs.latest(connection)
        content = None
        if last and last.number == number - 1:
            content = self._file_of(last)
        self._newest = None
        with self._database.write(large=True) as connection:
            self.last_head.check(connection)
            closed, made = epochs.close(
                connection, self._keys, number, self._now(), content, self._limit
            )
        self._newest = (number, made) if made is not None else None
        return closed

    def publish(self, number: int) -> Epoch:
        """Put the epoch's file and torrent into place and say that it is published.

        Raises AlreadyExists, naming the file, when something else is in its place.
        """
        self._database.checkpoint()
        with self._database.read() as connection:
            self.last_head.check(connection)
            epoch = epochs.load(connection, number)
            if epoch.state is not EpochState.CLOSED:
                return epoch
            content = self._cached(number) or b"".join(tree.leaf_nodes(connection, epoch.tree))
        name = self.name_of(number)
        torrent = leaves_file.torrent(name, content)
        if leaves_file.infohash_of(torrent) != epoch.head.file:
            raise BooksBroken("its tree is not the one that was signed", field=f"epoch {number}")
        self.last_head.advance(epoch.signed)
        with durable.locked(self.folder):
            _put(self.folder / name, content)
            _put(self.folder / f"{name}.torrent", torrent)
        with self._database.write() as connection:
            epochs.published(connection, number)
            return epochs.load(connection, number)

    def resume(self) -> list[Epoch]:
        """Publish whatever is closed, in order. Returns the epochs that were published by it."""
        with self._database.read() as connection:
            waiting = epochs.waiting(connection)
        return [self.publish(number) for number in waiting]

    def prune(self) -> None:
        """Throw away files and old versions of leaves and tree that only older epochs need."""
        with self._database.read() as connection:
            first = first_kept(connection)
        more = True
        while more:
            with self._database.write() as connection:
                more = _prune_some(connection, first)
        if not self.folder.exists():
            return
        with durable.locked(self.folder):
            for path in self.folder.iterdir():
                found = re.fullmatch(
                    r"speedpay-[0-9a-f]{16}-epoch-(\d+)\.leaves(\.torrent)?", path.name
                )
                if found and int(found[1]) < first:
                    path.unlink()
            durable.sync_folder(self.folder)

    def name_of(self, number: int) -> str:
        return leaves_file.name_of(self._keys.domain.ledger_id, number)

    def _cached(self, number: int) -> bytearray | None:
        return self._newest[1] if self._newest and self._newest[0] == number else None

    def _file_of(self, epoch: Epoch) -> bytearray | None:
        """The published file, if it is there and undamaged."""
        cached = self._cached(epoch.number)
        if cached is not None:
            return cached
        name = self.name_of(epoch.number)
        try:
            content = bytearray((self.folder / name).read_bytes())
        except OSError:
            return None
        whole = len(content) == NODE_BYTES * epoch.head.leaf_count
        return content if whole and leaves_file.infohash(name, content) == epoch.head.file else None


def first_kept(connection: sa.Connection) -> int:
    """Proofs are made for epochs from this one on: the last ``KEPT``, the ring of the vault, and
    all that have not reached the chain for good, which the vault may still come to hold."""
    last = connection.execute(sa.select(sa.func.max(table.c.number))).scalar() or 0
    solid = table.c.state == EpochState.SOLID.value
    last_solid = connection.execute(sa.select(sa.func.max(table.c.number)).where(solid)).scalar()
    return max(1, min(last - KEPT, (last_solid or 0) - RING) + 1)


def _prune_some(connection: sa.Connection, first: int) -> bool:
    rows = connection.exec_driver_sql(
        "SELECT epoch, node FROM former_nodes WHERE epoch <= ? ORDER BY epoch, node LIMIT ?",
        (first, _PRUNED_AT_ONCE),
    ).all()
    if rows:
        pairs = [tuple(row) for row in rows]
        connection.exec_driver_sql(
            "DELETE FROM tree_nodes WHERE id = ?", [(node,) for _, node in pairs]
        )
        connection.exec_driver_sql("DELETE FROM former_nodes WHERE epoch = ? AND node = ?", pairs)
    leaves = connection.exec_driver_sql(
        "DELETE FROM former_leaves WHERE (epoch, position) IN"
        " (SELECT epoch, position FROM former_leaves WHERE epoch <= ? ORDER BY epoch LIMIT ?)",
        (first, _PRUNED_AT_ONCE),
    )
    return bool(rows) or leaves.rowcount > 0


def _put(path: Path, content: bytes | bytearray) -> None:
    if not path.exists():
        durable.replace(path, content)
    elif path.read_bytes() != content:
        raise AlreadyExists(
            "is in the place of an epoch's file, and is another", field=str(path),
            hint="move it away, then start the ledger again",
        )  # fmt: skip
