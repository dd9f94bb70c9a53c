"""Reads the vault's solid blocks, each once, into the books: deposits, claims, anchors, a freeze.

The cursor (``chain_watch.next_block``) moves in the transaction that records what was read; a crash
repeats a range or nothing. What stands in a solid block stays, so nothing is ever taken back here.
"""

from __future__ import annotations

import logging

import sqlalchemy as sa

from speedpay.chain.vault import Events, Vault
from speedpay.errors import InvalidSetting
from speedpay.ledger import anchoring, deposits
from speedpay.ledger.database import Database
from speedpay.ledger.schema import chain_watch
from speedpay.proof.balance import Anchored

_log = logging.getLogger("speedpay.ledger.chain")

#: Blocks in one reading, hence in one transaction: five minutes of TRON.
BATCH = 100
#: Readings in one round, so that a ledger that was off for days still anchors, and ends when asked to.
BATCHES = 5


def make_row(database: Database, now: int) -> None:
    """The one row of ``chain_watch``, for alarms of a chain that was never reached as well."""
    with database.write() as connection:
        if not connection.execute(sa.select(chain_watch.c.id)).first():
            connection.execute(
                chain_watch.insert().values(
                    id=1, solid_time=0, delay_s=0, low_trx=False, alarms="", seen_at=now
                )
            )


def begin(database: Database, vault: Vault, from_block: int | None) -> None:
    """Set the cursor, once: where the vault was deployed, or here when it is still unused.

    Raises InvalidSetting for a vault with a history when nobody says where that begins.
    """
    with database.read() as connection:
        if connection.execute(sa.select(chain_watch.c.next_block)).scalar_one() is not None:
            return
    solid, state = vault.tron.solid(), vault.state()
    if from_block is None and (state.deposit_count or state.last_epoch):
        raise InvalidSetting(
            "the vault has been used already", field="--from-block",
            hint="name a block from before its deployment",
        )  # fmt: skip
    first = solid.number if from_block is None else from_block
    with database.write() as connection:
        connection.execute(
            chain_watch.update()
            .where(chain_watch.c.next_block.is_(None))
            .values(next_block=first, solid_time=solid.time_s, delay_s=state.terms.delay)
        )


def catch_up(database: Database, vault: Vault, now: int) -> None:
    """Read on towards the newest solid block. Raises ChainUnreachable; what was recorded stays."""
    solid = vault.tron.solid()
    for _ in range(BATCHES):
        with database.read() as connection:
            first = connection.execute(sa.select(chain_watch.c.next_block)).scalar_one()
        if first > solid.number:
            return
        last = min(solid.number, first + BATCH - 1)
        events = vault.events(first, last)
        anchored = [vault.anchor_of(one.epoch, one.txid) for one in events.anchors]
        with database.write() as connection:
            credited = _record(connection, first, last, events, anchored, now)
            if last == solid.number:
                connection.execute(chain_watch.update().values(solid_time=solid.time_s))
        for amount in credited:
            _log.info("credited %s", amount)


def _record(
    connection: sa.Connection,
    first: int,
    last: int,
    events: Events,
    anchored: list[Anchored],
    now: int,
) -> list[str]:
    moved = connection.execute(
        chain_watch.update().where(chain_watch.c.next_block == first).values(next_block=last + 1)
    )
    if moved.rowcount != 1:
        return []  # another process of this ledger was faster
    credited = deposits.record(connection, events, now)
    anchoring.settle(connection, anchored, now)
    for frozen in events.frozen:
        connection.execute(chain_watch.update().values(frozen_epoch=frozen.epoch))
    return [f"deposit {one.seq}, {one.amount} tok" for one in credited]


def keep_low_trx(connection: sa.Connection, low: bool) -> None:
    connection.execute(chain_watch.update().values(low_trx=low))


def keep_alarms(connection: sa.Connection, alarms: list[str], now: int) -> None:
    """For every process to tell."""
    connection.execute(chain_watch.update().values(alarms="\n".join(alarms), seen_at=now))
