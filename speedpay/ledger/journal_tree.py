"""The RFC 9162 tree over the journal, on disk: complete subtrees, each stored once and for ever.

What is hashed, and all proofs: ``proof/journal.py``. Transfers enter it when an epoch is closed, in
the transaction that signs the new root; transfer number 1 is leaf number 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from speedpay.errors import BooksBroken
from speedpay.proof import journal
from speedpay.proof.journal import Lookup

_ROWS = "SELECT sequence, time, kind, debit, credit, class, amount, reference FROM transfers"


def extend(connection: sa.Connection, size: int, journal_key: bytes) -> tuple[int, bytes]:
    """Take in all transfers after the first ``size``. Returns the new size and root.

    Raises BooksBroken when one is missing.
    """
    made: dict[tuple[int, int], bytes] = {}
    stored = nodes(connection)

    def node(level: int, position: int) -> bytes:
        found = made.get((level, position))
        return stored(level, position) if found is None else found

    for sequence, leaf in _leaves(connection, size, journal_key):
        if sequence != size + 1:
            raise BooksBroken("is missing", field=f"transfers {size + 1}")
        for level, position, digest in journal.completed_by(size, leaf, node):
            made[level, position] = digest
        size += 1
    if made:
        connection.exec_driver_sql(
            "INSERT INTO journal_nodes (level, position, hash) VALUES (?, ?, ?)",
            [(level, position, digest) for (level, position), digest in sorted(made.items())],
        )
    return size, journal.root(size, node)


def nodes(connection: sa.Connection) -> Lookup:
    """Raises BooksBroken for a node that is not there."""

    def node(level: int, position: int) -> bytes:
        found: bytes | None = connection.exec_driver_sql(
            "SELECT hash FROM journal_nodes WHERE level = ? AND position = ?", (level, position)
        ).scalar()
        if found is None:
            raise BooksBroken("is missing", field=f"journal_nodes {level} {position}")
        return found

    return node


def entry(connection: sa.Connection, sequence: int) -> bytes:
    """The bytes of one transfer as they are committed to; the transfer is there."""
    row = connection.exec_driver_sql(f"{_ROWS} WHERE sequence = ?", (sequence,)).one()
    return journal.entry(*row)


def root_from_transfers(connection: sa.Connection, size: int, journal_key: bytes) -> bytes:
    """The root over the first ``size`` transfers, computed without the stored nodes: for fsck."""
    stack: list[bytes] = []
    for index, (_, leaf) in enumerate(_leaves(connection, 0, journal_key)):
        if index == size:
            break
        made, rest = leaf, index
        while rest % 2:
            made = journal.node_hash(stack.pop(), made)
            rest //= 2
        stack.append(made)
    if not stack:
        return journal.NOTHING
    made = stack.pop()
    while stack:
        made = journal.node_hash(stack.pop(), made)
    return made


def wrong_nodes(connection: sa.Connection) -> Iterator[tuple[int, int]]:
    """Stored nodes that do not follow from the two below them: (level, position), for fsck."""
    rows = connection.exec_driver_sql(
        "SELECT n.level, n.position, n.hash, l.hash, r.hash FROM journal_nodes n"
        " LEFT JOIN journal_nodes l ON l.level = n.level - 1 AND l.position = 2 * n.position"
        " LEFT JOIN journal_nodes r ON r.level = n.level - 1 AND r.position = 2 * n.position + 1"
        " WHERE n.level > 0"
    )
    for level, position, made, left, right in rows:
        if left is None or right is None or journal.node_hash(left, right) != made:
            yield level, position


def _leaves(
    connection: sa.Connection, after: int, journal_key: bytes
) -> Iterator[tuple[int, bytes]]:
    rows = connection.exec_driver_sql(
        f"{_ROWS} WHERE sequence > ? ORDER BY sequence", (after,)
    )  # fmt: skip
    for row in rows:
        salt = journal.salt_of(journal_key, row[0])
        yield row[0], journal.leaf_of(salt, journal.entry(*row))
