"""What must hold of older epochs for which proofs are still made: I6 of ``invariants.py``.

Each kept tree leads to the root that was signed, and over the former leaves that a proof shows. Read
back from the newest epoch on, whose tree ``epoch_invariants.py`` has examined; rows that epochs share
are read once, so this costs as much as what is kept.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from speedpay.errors import SpeedpayError
from speedpay.ledger import epochs, keeper, tree
from speedpay.ledger.broken import Broken
from speedpay.ledger.epochs import Epoch
from speedpay.ledger.schema import former_leaves, former_nodes
from speedpay.ledger.schema import leaves as leaf_table
from speedpay.proof.head import EpochHead
from speedpay.proof.leaf import Leaf
from speedpay.proof.sum_tree import NODE_BYTES
from speedpay.units import Amount


def every(connection: sa.Connection, last: Epoch, seen: tree.Seen) -> Iterator[Broken]:
    """``seen``: the rows of the tree of ``last``."""
    yield from _versions(connection)
    try:
        content = bytearray(b"".join(tree.leaf_nodes(connection, last.tree)))
    except SpeedpayError:
        return  # named where that tree was examined
    for number in range(last.number - 1, keeper.first_kept(connection) - 1, -1):
        where = f"epochs {number}"
        for row in connection.execute(
            sa.select(former_nodes.c.node).where(former_nodes.c.epoch == number + 1)
        ).scalars():
            if row in seen:
                yield Broken("I6", f"former_nodes {number + 1} {row}", "is still needed")
        try:
            epoch = epochs.load(connection, number)
            for why in tree.broken_rows(connection, epoch.tree, seen):
                yield Broken("I6", where, why)
            root, head = tree.root(connection, epoch.tree), epoch.head
            if (root.hash, root.sum) != (head.root, head.liabilities.utok):
                yield Broken("I6", where, "its kept tree does not lead to its root")
            yield from _put_back(connection, content, head)
            stored = b"".join(tree.leaf_nodes(connection, epoch.tree))
        except (SpeedpayError, ValueError, TypeError) as error:
            yield Broken("I6", where, f"its proofs cannot be made: {error}")
            return
        if stored != content:
            yield Broken("I6", where, "its kept leaves are not those of its tree")
        content = bytearray(stored)


def _put_back(connection: sa.Connection, content: bytearray, head: EpochHead) -> Iterator[Broken]:
    """Make ``content``, the leaves of the epoch after ``head``'s, that epoch's own."""
    del content[NODE_BYTES * head.leaf_count :]
    rows = connection.execute(
        sa.select(former_leaves, leaf_table.c.account)
        .outerjoin(leaf_table, leaf_table.c.position == former_leaves.c.position)
        .where(former_leaves.c.epoch == head.epoch + 1)
    )
    for row in rows:
        try:
            leaf = Leaf(
                head.chain_id, head.vault, row.account, row.payout, Amount(row.withdrawable),
                Amount(row.balance), row.salt,
            )  # fmt: skip
            if row.position not in range(head.leaf_count):
                raise ValueError("nobody stood there")
            start = NODE_BYTES * row.position
            content[start : start + NODE_BYTES] = leaf.node().to_bytes()
        except (SpeedpayError, ValueError, TypeError) as error:
            yield Broken("I6", f"former_leaves {row.epoch} {row.position}", f"is no leaf: {error}")


def _versions(connection: sa.Connection) -> Iterator[Broken]:
    """A leaf's versions only rise and no salt of it comes again: whoever knows an old one could tell
    from the published leaves that it says the same as before."""
    rows = connection.exec_driver_sql(
        "SELECT position, version, salt, 0, epoch FROM former_leaves UNION ALL"
        " SELECT position, version, salt, 1, 0 FROM leaves"
        " WHERE position IN (SELECT position FROM former_leaves) ORDER BY 1, 4, 5"
    )
    at, version, salts = None, 0, set[object]()
    for position, next_version, salt, *_ in rows:
        if position != at:
            at, version, salts = position, 0, set()
        where = f"leaves {position}"
        if type(next_version) is not int or next_version <= version:
            yield Broken("I6", where, f"has version {next_version!r} after version {version}")
        else:
            version = next_version
        if salt in salts:
            yield Broken("I6", where, f"has the salt of version {next_version} twice")
        salts.add(salt)
