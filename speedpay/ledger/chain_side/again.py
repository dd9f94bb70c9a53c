"""Blocks that were passed over are read again; ``watch.py`` reads them in the first place.

Behind one URL there may be many nodes, and one that does not have a block answers as for an empty one.
What was in it shows later: as a gap in the vault's own count of deposits, as an anchor that is final and
was never read, or as a vault that is frozen and takes no more. Whatever is read twice is recorded once,
so the remedy is always to go back.
"""

from __future__ import annotations

import sqlalchemy as sa

from speedpay.chain.vault import Vault
from speedpay.errors import ChainRefused
from speedpay.ledger import freeze
from speedpay.ledger.database import Database
from speedpay.ledger.schema import chain_watch, deposits, epochs

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
    """Goes back to where the last of something was recorded that comes before what is missing; twice
    as far each time while there is none."""

    def __init__(self) -> None:
        self._blocks = _BLOCKS

    def find_deposit(self, database: Database) -> None:
        """After the last one that was credited, whatever was anchored since."""
        self._go_back(database, deposits.c.block)

    def find_freeze(self, database: Database, vault: Vault) -> bool:
        """False when none was passed over. It is believed in a final block, by two nodes; and looked
        for only once all is read, or a long way would begin anew before its end."""
        final = vault.tron.solid().number
        with database.read() as connection:
            if freeze.epoch(connection) is not None or not is_passed(connection, final):
                return False
        (frozen,) = vault.tron.view(
            vault.address, "frozen()", [], ["bool"], agreed=True, solid=True
        )
        if frozen:  # a frozen vault takes neither deposits nor anchors
            self._go_back(database, deposits.c.block, epochs.c.block)
        return bool(frozen)

    def _go_back(self, database: Database, *blocks: sa.Column[int]) -> None:
        with database.write() as connection:
            newest = [connection.execute(sa.select(sa.func.max(one))).scalar() for one in blocks]
            last = max((block for block in newest if block is not None), default=None)
            if last is None:
                reached = connection.execute(sa.select(chain_watch.c.next_block)).scalar() or 0
                last = max(0, reached - self._blocks)
                self._blocks *= 2
            go_back(connection, last)
