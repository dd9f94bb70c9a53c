"""Epochs: closing one, in one transaction, and finding it again. keeper.py does what comes after.

Closing takes in what has changed since the last close and signs a head over all of it; from then on
its content is fixed. Signatures are deterministic (RFC 6979), so nothing that is repeated after a
crash can sign other bytes, and the primary key lets one of two processes close an epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from speedpay.errors import BooksBroken, NotFound, OutOfOrder, WrongNetwork
from speedpay.ledger import (
    book,
    chart,
    deposits,
    head_certificates,
    journal_tree,
    leaves,
    leaves_file,
    tree,
    withdrawals,
)
from speedpay.ledger.keys import LedgerKeys
from speedpay.ledger.leaves import Vault
from speedpay.ledger.schema import chain_binding
from speedpay.ledger.schema import epochs as table
from speedpay.ledger.tree import NO_TREE, Tree
from speedpay.ledger_api.epochs import EpochState
from speedpay.proof.head import NO_HEAD, EpochHead, SignedHead
from speedpay.units import ZERO, Amount, MoneyClass


@dataclass(frozen=True, slots=True)
class Epoch:
    """``hash``: the head's. ``txid`` (32 bytes) and ``block``: of its anchor, once seen."""

    signed: SignedHead
    hash: bytes
    response_key: bytes
    tree: Tree
    state: EpochState
    txid: bytes | None = None
    block: int | None = None

    @property
    def head(self) -> EpochHead:
        return self.signed.head

    @property
    def number(self) -> int:
        return self.head.epoch


def bind(connection: sa.Connection, vault: Vault) -> None:
    """Name the vault of this ledger, once for ever. Raises WrongNetwork for another one."""
    known = binding(connection)
    if known is None:
        row = {"chain_id": vault.chain_id, "vault": vault.address, "token": vault.token}
        connection.execute(chain_binding.insert().values(id=1, **row))
    elif known != vault:
        raise WrongNetwork("this ledger is bound to another vault", field="vault")


def binding(connection: sa.Connection) -> Vault | None:
    row = connection.execute(sa.select(chain_binding)).first()
    return Vault(row.chain_id, row.vault, row.token) if row else None


def latest(connection: sa.Connection) -> Epoch | None:
    """The newest closed epoch, which need not be published yet."""
    row = (
        connection.execute(sa.select(table).order_by(table.c.number.desc()).limit(1))
        .mappings()
        .first()
    )
    return of_row(row) if row else None


def load(connection: sa.Connection, number: int) -> Epoch:
    """Raises NotFound."""
    row = connection.execute(sa.select(table).where(table.c.number == number)).mappings().first()
    if row is None:
        raise NotFound(f"there is no epoch {number}", field="epoch")
    return of_row(row)


def latest_published(connection: sa.Connection) -> Epoch:
    """What others may be told of. Raises NotFound."""
    query = sa.select(table).where(table.c.state != EpochState.CLOSED.value)
    row = connection.execute(query.order_by(table.c.number.desc()).limit(1)).mappings().first()
    if row is None:
        raise NotFound("no epoch is published yet", field="epoch")
    return of_row(row)


def load_published(connection: sa.Connection, number: int) -> Epoch:
    """Raises NotFound, also for one that is only closed."""
    found = load(connection, number)
    if found.state is EpochState.CLOSED:
        raise NotFound(f"epoch {number} is not published yet", field="epoch")
    return found


def waiting(connection: sa.Connection) -> list[int]:
    """Epochs that are closed and not published, the oldest first."""
    closed = table.c.state == EpochState.CLOSED.value
    query = sa.select(table.c.number).where(closed).order_by(table.c.number)
    return list(connection.execute(query).scalars())


def published(connection: sa.Connection, number: int) -> None:
    """From closed to published; later states stay."""
    closed = table.c.state == EpochState.CLOSED.value
    connection.execute(
        table.update()
        .where(table.c.number == number, closed)
        .values(state=EpochState.PUBLISHED.value)
    )


def close(
    connection: sa.Connection,
    keys: LedgerKeys,
    number: int,
    now: int,
    content: bytearray | None = None,
    limit: Amount = ZERO,
) -> tuple[Epoch, bytearray | None]:
    """Close epoch ``number``, also when nothing has changed; or find it, if that was done.

    Returns it with its file; None when it was closed before. ``content``: the file of epoch
    ``number`` − 1, checked against its head; it becomes the file of this one. Without it the file is
    made anew from the tree, which takes O(accounts). ``limit``: how much of the queue of withdrawals
    is released. Raises NotFound without a vault; LedgerFailed when nobody would believe the head's
    signature; BooksBroken, and nothing has changed, when the
    leaves and the journal do not say that the same is owed.
    """
    vault = binding(connection)
    if vault is None:
        raise NotFound("this ledger is bound to no vault", field="vault")
    last = latest(connection)
    if last and last.number >= number:
        return load(connection, number), None
    if number != (last.number if last else 0) + 1:
        raise OutOfOrder(f"epoch {number} cannot be next", field="epoch")
    withdrawals.release(connection, number, limit)
    before = last.tree if last else NO_TREE
    changes, leaf_count = leaves.settle(connection, keys, vault, number, before.leaf_count)
    updated = tree.update(connection, before, changes, leaf_count)
    if updated.replaced:
        connection.exec_driver_sql(
            "INSERT INTO former_nodes (epoch, node) VALUES (?, ?)",
            [(number, row) for row in updated.replaced],
        )
    owed = book.balance(connection, chart.DEPOSITS, MoneyClass.TOKEN)
    if updated.root.sum != owed.utok:
        raise BooksBroken(
            f"the leaves add up to {updated.root.sum} µtok, {owed.utok} are owed", field="leaves"
        )
    known = last.head.journal_size if last else 0
    journal_size, journal_root = journal_tree.extend(connection, known, keys.journal)
    if content is None:
        content = bytearray(b"".join(tree.leaf_nodes(connection, updated.tree)))
    else:
        leaves_file.patched(content, changes, leaf_count)
    name = leaves_file.name_of(keys.domain.ledger_id, number)
    head = EpochHead(
        epoch=number,
        closed_at=max(now, last.head.closed_at if last else 0),
        chain_id=int.from_bytes(vault.chain_id),
        vault=vault.address,
        root=updated.root.hash,
        liabilities=owed,
        credit=book.balance(connection, chart.GRANTED, MoneyClass.CREDIT),
        leaf_count=leaf_count,
        journal_size=journal_size,
        journal_root=journal_root,
        deposit_seq=deposits.covered(connection),
        file=leaves_file.infohash(name, content),
        prev=last.hash if last else NO_HEAD,
    )
    keys.look_after(now)
    voice = keys.voice()
    voice.check(now)
    signed = SignedHead.sign(voice.key, keys.domain, head)
    made = Epoch(
        signed, head.hash(keys.domain), voice.key.public, updated.tree, EpochState.CLOSED
    )  # fmt: skip
    connection.execute(table.insert().values(columns(made)))
    head_certificates.keep(connection, voice.certificate)
    return made, content


def columns(epoch: Epoch) -> dict[str, object]:
    """The row as it is when the epoch is closed."""
    head = epoch.head
    return {
        "number": head.epoch, "closed_at": head.closed_at, "root": head.root,
        "liabilities": head.liabilities.utok, "credit": head.credit.utok,
        "leaf_count": head.leaf_count, "journal_size": head.journal_size,
        "journal_root": head.journal_root, "deposit_seq": head.deposit_seq, "prev": head.prev,
        "head": epoch.hash, "body": head.to_bytes(), "signature": epoch.signed.signature,
        "response_key": epoch.response_key, "node": epoch.tree.row, "state": epoch.state.value,
    }  # fmt: skip


def of_row(row: sa.RowMapping) -> Epoch:
    signed = SignedHead(EpochHead.from_bytes(row["body"]), row["signature"])
    return Epoch(
        signed, row["head"], row["response_key"], Tree(row["node"], signed.head.leaf_count),
        EpochState(row["state"]), row["txid"], row["block"],
    )  # fmt: skip
