"""The leaves: what each account is owed, brought up to date from the marks that book.py leaves.

A leaf is the account's free tokens, what its own channels still hold, and what it has asked to
withdraw; credit is in none. Its position never changes, and its version and salt only when its
content does. As it was before goes to ``former_leaves``, for proofs of older epochs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter

import sqlalchemy as sa

from speedpay.errors import BooksBroken
from speedpay.ledger.keys import LedgerKeys
from speedpay.ledger.schema import leaves as table
from speedpay.proof.leaf import NO_PAYOUT, TREASURY, Leaf, own_salt_key, salt_of
from speedpay.proof.sum_tree import leaf_hash
from speedpay.units import MAX_UTOK, Amount

#: Of each account of ``d``: what it holds now, and its leaf as it is. The names of its balances are
#: made here and not in Python: one statement for all of them. The treasury owns the fees, and what
#: somebody deposits on chain for its id, which anybody can.
_HOLDINGS = """
SELECT d.account, p.payout, p.salt_key,
       b.balance + CASE WHEN d.account = :treasury THEN coalesce((SELECT g.balance FROM balances g
         WHERE g.class = 'token' AND g.account = 'user:' || lower(hex(d.account))), 0) ELSE 0 END,
       (SELECT coalesce(sum(c.escrow - c.paid - c.refunded), 0) FROM channels c
         WHERE c.payer = d.account AND c.class = 'token' AND c.state <> 'closed'),
       l.position, l.payout, l.withdrawable, l.balance, l.salt, l.version
  FROM {accounts} d
  LEFT JOIN balances b ON b.class = 'token' AND b.account =
       CASE WHEN d.account = :treasury THEN 'fees' ELSE 'user:' || lower(hex(d.account)) END
  LEFT JOIN payouts p ON p.account = d.account
  LEFT JOIN leaves l ON l.account = d.account
 ORDER BY d.account
"""
_MARKED = _HOLDINGS.format(accounts="dirty")
_UNMARKED = _HOLDINGS.format(
    accounts="(SELECT id AS account FROM accounts UNION SELECT :treasury"
    " EXCEPT SELECT account FROM dirty)"
)
#: Of those: what was ever released for withdrawal, and what is queued and still part of the balance.
_WITHDRAWALS = """
SELECT account, sum(released), sum(amount - released) FROM withdrawals
 WHERE account {marked} (SELECT account FROM dirty) GROUP BY account
"""
_ADD = (
    "INSERT INTO leaves (account, payout, withdrawable, balance, salt, version, position)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_CHANGE = (
    "UPDATE leaves SET payout = ?, withdrawable = ?, balance = ?, salt = ?, version = ?"
    " WHERE position = ?"
)
_KEEP = (
    "INSERT INTO former_leaves"
    " (epoch, position, payout, withdrawable, balance, salt, version) VALUES (?, ?, ?, ?, ?, ?, ?)"
)


@dataclass(frozen=True, slots=True)
class Vault:
    """Where leaves count: ``chain_id`` as 32 bytes, the vault's and its token's 20-byte address."""

    chain_id: bytes
    address: bytes
    token: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """One account's leaf in one epoch, and where it stands in the tree."""

    leaf: Leaf
    position: int


def settle(
    connection: sa.Connection, keys: LedgerKeys, vault: Vault, epoch: int, count: int
) -> tuple[dict[int, bytes], int]:
    """Bring the leaves of all marked accounts up to date and take the marks away.

    ``count``: leaves of the epoch before. Returns position → (leaf hash ‖ sum) of those that changed,
    and how many leaves there are. The treasury always has one. Raises BooksBroken when an account
    cannot have such a leaf.
    """
    if not count:
        connection.exec_driver_sql("INSERT OR IGNORE INTO dirty (account) VALUES (?)", (TREASURY,))
    withdrawals = _withdrawals(connection, "IN")
    prefix = vault.chain_id + vault.address
    changes: dict[int, bytes] = {}
    added: list[tuple[object, ...]] = []
    changed: list[tuple[object, ...]] = []
    former: list[tuple[object, ...]] = []
    marked = connection.exec_driver_sql(_MARKED, (TREASURY,))
    for account, named, salt_key, free, escrow, position, *old in marked:
        if free is None:
            raise BooksBroken("is marked, but has no balance", field=f"account {account.hex()}")
        payout = named or NO_PAYOUT
        withdrawable, queued = withdrawals.get(account, (0, 0))
        balance = free + escrow + queued
        if position is None:
            if not (withdrawable or balance or account == TREASURY):
                continue
            position, version = count, 1
            count += 1
        else:
            if [payout, withdrawable, balance] == old[:3]:
                continue
            version = old[4] + 1
        if not (0 <= balance <= MAX_UTOK - withdrawable and withdrawable >= (old[1] or 0)):
            raise BooksBroken("cannot be owed that", field=f"account {account.hex()}")
        salt = salt_of(salt_key or own_salt_key(keys.leaves, account), version)
        content = (payout, withdrawable, balance, salt, version, position)
        if old[4] is None:
            added.append((account, *content))
        else:
            changed.append(content)
            former.append((epoch, position, *old))
        # The same bytes as Leaf.to_bytes: ten thousand of them are made while writers wait.
        amounts = withdrawable.to_bytes(8) + balance.to_bytes(8)
        hashed = leaf_hash(prefix + account + payout + amounts + salt)
        changes[position] = hashed + (withdrawable + balance).to_bytes(8)
    # In the order of the tables, so that each page is found and written once.
    changed.sort(key=itemgetter(-1))
    former.sort()
    for statement, rows in ((_ADD, added), (_CHANGE, changed), (_KEEP, former)):
        if rows:
            connection.exec_driver_sql(statement, rows)
    connection.exec_driver_sql("DELETE FROM dirty")
    return changes, count


def stale(connection: sa.Connection) -> Iterator[tuple[bytes, object, object]]:
    """Accounts that are not marked and yet have another leaf than they should: (account, what the
    leaf says, what the account holds). None at any time: for fsck."""
    withdrawals = _withdrawals(connection, "NOT IN")
    unmarked = connection.exec_driver_sql(_UNMARKED, {"treasury": TREASURY})
    for account, named, _, free, escrow, _, *old in unmarked:
        withdrawable, queued = withdrawals.get(account, (0, 0))
        holds = (named or NO_PAYOUT, withdrawable, (free or 0) + escrow + queued)
        if tuple(old[:3]) != holds and (old[0] is not None or holds[1:] != (0, 0)):
            yield account, old[1:3], holds[1:]


def _withdrawals(connection: sa.Connection, marked: str) -> dict[bytes, tuple[int, int]]:
    rows = connection.exec_driver_sql(_WITHDRAWALS.format(marked=marked))
    return {row[0]: (row[1], row[2]) for row in rows}


def kept(
    connection: sa.Connection, vault: Vault, account: bytes, epoch: int, last: int
) -> Kept | None:
    """The leaf of ``account`` as it was in ``epoch``; ``last``: the newest closed epoch.

    None when it has none. A position beyond that epoch's leaves: it has one only since.
    """
    now = connection.execute(sa.select(table).where(table.c.account == account)).first()
    if now is None:
        return None
    former = connection.exec_driver_sql(
        "SELECT * FROM former_leaves WHERE position = ?"
        " AND epoch IN (SELECT value FROM json_each(?)) ORDER BY epoch LIMIT 1",
        (now.position, json.dumps(list(range(epoch + 1, last + 1)))),
    ).first()
    row = former or now
    leaf = Leaf(
        int.from_bytes(vault.chain_id), vault.address, account, row.payout,
        Amount(row.withdrawable), Amount(row.balance), row.salt,
    )  # fmt: skip
    return Kept(leaf, now.position)
