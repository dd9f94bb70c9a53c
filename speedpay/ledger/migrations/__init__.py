"""Alembic migrations, run inside one writer's transaction: interrupted, nothing has happened.

``versions/`` holds them; a test compares what they make with schema.py.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from speedpay.errors import BooksBroken
from speedpay.ledger import book, chart
from speedpay.ledger.database import Database
from speedpay.ledger.schema import ledger
from speedpay.signing import Domain


def upgrade(connection: sa.Connection, revision: str = "head") -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def bring_up_to_date(database: Database, domain: Domain, now: int) -> None:
    """Make or upgrade the tables and enter the ledger itself, once.

    Raises BooksBroken when the database is another ledger's: its keys were lost or exchanged.
    """
    with database.write() as connection:
        upgrade(connection)
        known = connection.execute(sa.select(ledger.c.network, ledger.c.ledger_id)).first()
        if known is None:
            connection.execute(
                ledger.insert().values(
                    id=1, network=domain.network, ledger_id=domain.ledger_id, uptime_s=0,
                    beat_at=now,
                )
            )  # fmt: skip
            for account in chart.SYSTEM:
                book.open_account(connection, account)
        elif tuple(known) != (domain.network, domain.ledger_id):
            raise BooksBroken(
                "the database belongs to another ledger or network", field="ledger.sqlite",
                hint="its root.key must lie beside it",
            )  # fmt: skip
