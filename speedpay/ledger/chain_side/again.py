"""Blocks that were passed over are read again; ``watch.py`` reads them in the first place.

Behind one URL there may be many nodes, and one that does not have a block answers as for an empty one.
What was in it shows later: as a gap in the vault's own count of deposits, or as an anchor that is final
and was never read. Whatever is read twice is recorded once, so the remedy is always to go back.
"""

from __future__ import annotations

import sqlalchemy as sa

from speedpay.chain.vault import Vault
from speedpay.errors import ChainRefused
from speedpay.ledger.database import Database
from speedpay.ledger.schema import chain_watch, deposits

#: How far to go back at first: as many blocks as are read at once.
_BLOCKS = 100
_DEPOSIT_OF = ("address", "uint64", "uint64", "uint64")


def is_passed(connection: sa.Connection, block: int) -> bool:
    next_block = connection.execute(sa.select(chain_watch.c.next_block)).scalar()
    return next_block is not None and block < next_block


def go_back(connection: sa.Connection, block: int) -> None:
    """Read on from ``block``, if that is behind us."""
    connection.execute(
        chain_watch.update().where(chain_watch.c.next_block > block).values(next_block=block)
    )


def uncredited_at(vault: Vault, covered: int) -> int | None:
    """When the deposit after the first ``covered`` was made, unix seconds; None when there is none in
    a final block, by two nodes."""
    try:
        *_, time = vault.tron.view(
            vault.address, "depositOf(uint64)", [covered + 1], _DEPOSIT_OF, agreed=True, solid=True
        )
    except ChainRefused as refusal:
        if refusal.field == "UnknownDeposit":
            return None
        raise
    return int(time)


class Gap:
    """Goes back to the last deposit that was credited; twice as far each time while there is none."""

    def __init__(self) -> None:
        self._blocks = _BLOCKS

    def go_back(self, database: Database) -> None:
        with database.write() as connection:
            last = connection.execute(sa.select(sa.func.max(deposits.c.block))).scalar()
            if last is None:
                reached = connection.execute(sa.select(chain_watch.c.next_block)).scalar() or 0
                last = max(0, reached - self._blocks)
                self._blocks *= 2
            go_back(connection, last)
