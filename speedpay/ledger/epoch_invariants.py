"""What must hold of epochs: the promises I6 and I7 of ``invariants.py`` for leaves, trees and heads.

``quick`` compares sums. ``every`` computes the last tree and the journal's from what they are made
of, all heads from their bytes, and asks of each unmarked account whether its leaf says what it holds.
Older trees, as far as they are kept: ``kept_invariants.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from speedpay.errors import BadSignature, SpeedpayError
from speedpay.ledger import epochs, head_certificates, journal_tree, kept_invariants, leaves, tree
from speedpay.ledger.broken import Broken
from speedpay.ledger.epochs import Epoch
from speedpay.ledger.schema import epochs as table
from speedpay.ledger.schema import leaves as leaf_table
from speedpay.ledger.schema import ledger
from speedpay.proof import journal
from speedpay.proof.head import NO_HEAD, EpochHead
from speedpay.proof.leaf import Leaf
from speedpay.proof.sum_tree import Node, root_of
from speedpay.signing import Domain
from speedpay.units import Amount


def quick(connection: sa.Connection) -> Iterator[Broken]:
    """The leaves add up to what the last head says that is owed."""
    row = connection.execute(
        sa.select(table.c.number, table.c.liabilities, table.c.leaf_count)
        .order_by(table.c.number.desc())
        .limit(1)
    ).first()
    if row is None:
        return
    # As text: SQLite's sum() stops at an overflow, and a hand may have written anything.
    count, high, low = connection.exec_driver_sql(
        "SELECT count(*), coalesce(sum((withdrawable >> 31) + (balance >> 31)), 0),"
        " coalesce(sum((withdrawable & 2147483647) + (balance & 2147483647)), 0) FROM leaves"
    ).one()
    if (count, (high << 31) + low) != (row.leaf_count, row.liabilities):
        yield Broken(
            "I6", "leaves",
            f"{count} leaves add up to {(high << 31) + low} µtok; the head of epoch {row.number} "
            f"says {row.leaf_count} and {row.liabilities}",
        )  # fmt: skip


def every(connection: sa.Connection, journal_key: bytes | None) -> Iterator[Broken]:
    """Without ``journal_key`` (32 bytes) the journal's leaves are believed, all above them is not."""
    last: Epoch | None = None
    try:
        yield from _heads(connection)
        last = epochs.latest(connection)
    except (SpeedpayError, ValueError, TypeError) as error:
        yield Broken("I7", "epochs", f"cannot be read: {error}")
    if last is None:
        return
    seen: tree.Seen = {}
    yield from _tree(connection, last, seen)
    yield from kept_invariants.every(connection, last, seen)
    yield from _unmarked(connection)
    yield from _journal(connection, last.head, journal_key)


def _heads(connection: sa.Connection) -> Iterator[Broken]:
    """I7: heads are numbered from 1 without a gap, each names the one before, all are signed."""
    own = connection.execute(sa.select(ledger.c.network, ledger.c.ledger_id)).one()
    domain = Domain(own.network, own.ledger_id)
    prev, number, size = NO_HEAD, 0, 0
    for row in connection.execute(sa.select(table).order_by(table.c.number)).mappings():
        where, number = f"epochs {row['number']}", number + 1
        epoch = epochs.of_row(row)
        head = epoch.head
        if row["number"] != number:
            yield Broken("I7", f"epochs {number}", "is missing")
        said = epochs.columns(epoch)
        if any(row[name] != said[name] for name in said):
            yield Broken("I7", where, "its columns are not what its head says")
        if row["head"] != head.hash(domain):
            yield Broken("I7", where, "was edited: its hash is another")
        if head.prev != prev:
            yield Broken("I7", where, "does not follow the head before it")
        if head.journal_size < size:
            yield Broken("I7", where, "covers less of the journal than the head before it")
        try:
            epoch.signed.check(domain, row["response_key"])
        except BadSignature:
            yield Broken("I7", where, "its signature is not the ledger's")
        yield from _certified(connection, epoch, domain, where)
        prev, number, size = row["head"], row["number"], head.journal_size


def _certified(
    connection: sa.Connection, epoch: Epoch, domain: Domain, where: str
) -> Iterator[Broken]:
    closed_at = epoch.head.closed_at
    certificate = head_certificates.of(connection, epoch.response_key, closed_at)
    if certificate is None:
        yield Broken("I7", where, "has no certificate of the key that signed it")
        return
    try:
        certificate.check(domain, certificate.not_before)
    except SpeedpayError:
        yield Broken("I7", where, "the certificate of the key that signed it is not the root key's")


def _tree(connection: sa.Connection, last: Epoch, seen: tree.Seen) -> Iterator[Broken]:
    """I6: the last tree is that of the leaves, which stand from 0 on, one for each account."""
    head, where = last.head, f"epochs {last.number}"
    nodes: list[Node] = []
    owners: set[bytes] = set()
    for row in connection.execute(sa.select(leaf_table).order_by(leaf_table.c.position)):
        here = f"leaves {row.position}"
        if row.position != len(nodes):
            yield Broken("I6", f"leaves {len(nodes)}", "is missing")
            return
        if row.account in owners:
            yield Broken("I6", here, "is another leaf of an account that has one")
        owners.add(row.account)
        try:
            leaf = Leaf(
                head.chain_id, head.vault, row.account, row.payout, Amount(row.withdrawable),
                Amount(row.balance), row.salt,
            )  # fmt: skip
            nodes.append(leaf.node())
        except (SpeedpayError, TypeError) as error:
            yield Broken("I6", here, f"is no leaf: {error}")
            return
    root = root_of(nodes)
    if (root.hash, root.sum, len(nodes)) != (head.root, head.liabilities.utok, head.leaf_count):
        yield Broken("I6", where, "its root is not that of the leaves")
    for why in tree.broken_rows(connection, last.tree, seen):
        yield Broken("I6", where, why)
    try:
        stored = b"".join(tree.leaf_nodes(connection, last.tree))
    except SpeedpayError as error:
        yield Broken("I6", where, str(error))
        return
    if stored != b"".join(node.to_bytes() for node in nodes):
        yield Broken("I6", where, "its tree does not stand over the leaves")


def _unmarked(connection: sa.Connection) -> Iterator[Broken]:
    """Whose leaf is not to be made anew has the right one: no mark was ever forgotten."""
    for account, said, holds in leaves.stale(connection):
        yield Broken(
            "I6", f"leaf of {account.hex()}", f"says {said}, the account holds {holds} µtok"
        )  # fmt: skip


def _journal(
    connection: sa.Connection, head: EpochHead, journal_key: bytes | None
) -> Iterator[Broken]:
    """I7: the signed root is that of the transfers, and so is every stored node below it."""
    size, known = head.journal_size, journal_tree.nodes(connection)
    try:
        if journal.root(size, known) != head.journal_root:
            yield Broken("I7", f"epochs {head.epoch}", "its journal root is not the stored one")
        for level, position in journal_tree.wrong_nodes(connection):
            yield Broken("I7", f"journal_nodes {level} {position}", "was edited")
        if journal_key is not None:
            found = journal_tree.root_from_transfers(connection, size, journal_key)
            if found != head.journal_root:
                yield Broken("I7", f"epochs {head.epoch}", "its journal is not the transfers'")
    except SpeedpayError as error:
        yield Broken("I7", f"epochs {head.epoch}", str(error))
