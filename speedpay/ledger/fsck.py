"""Check a ledger's database without trusting it: all invariants, and what the books add up to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from speedpay.errors import BooksBroken, NotFound
from speedpay.ledger import book, chart, invariants, keys
from speedpay.ledger.broken import Broken
from speedpay.ledger.database import Database
from speedpay.ledger.schema import accounts, channels, epochs, transfers
from speedpay.ledger_api.answers import JournalHead
from speedpay.units import Amount


@dataclass(frozen=True, slots=True)
class Findings:
    """``issued``: per class, what the ledger owes in all."""

    broken: list[Broken]
    journal_head: JournalHead
    issued: dict[str, Amount]
    account_count: int
    channel_count: int
    transfer_count: int
    epoch_count: int

    def to_json(self) -> dict[str, object]:
        return {
            "ok": not self.broken,
            "broken": [
                {"invariant": one.invariant, "row": one.row, "why": one.why} for one in self.broken
            ],
            "journal_head": self.journal_head.to_json(),
            "issued_utok": {name: amount.to_wire() for name, amount in self.issued.items()},
            "accounts": self.account_count,
            "channels": self.channel_count,
            "transfers": self.transfer_count,
            "epochs": self.epoch_count,
        }

    def lines(self) -> list[str]:
        issued = ", ".join(f"{amount} {name}" for name, amount in self.issued.items())
        return [
            f"{self.account_count} accounts, {self.channel_count} channels, "
            f"{self.transfer_count} transfers, {self.epoch_count} epochs; issued: {issued}",
            f"journal head {self.journal_head.sequence} {self.journal_head.hash.hex()}",
            *(str(one) for one in self.broken),
            "the books balance" if not self.broken else "the books do not balance",
        ]


def examine(path: Path) -> Findings:
    """One consistent view of the database, which others may be writing to.

    Raises NotFound; BooksBroken when it is no ledger's database at all.
    """
    if not path.exists():
        raise NotFound("there is no ledger here", field=str(path), hint="name it with --data")
    journal_key = keys.journal_key(path.parent)
    database = Database(path)
    try:
        with database.read() as connection:

            def count(table: sa.Table) -> int:
                return connection.execute(
                    sa.select(sa.func.count()).select_from(table)
                ).scalar_one()

            issued = {
                money_class.value: book.balance(connection, account, money_class)
                for account in (chart.DEPOSITS, chart.GRANTED)
                for money_class in chart.CLASSES[account.role]
            }
            return Findings(
                invariants.every(connection, journal_key), book.head(connection), issued,
                count(accounts), count(channels), count(transfers), count(epochs),
            )  # fmt: skip
    except sa.exc.SQLAlchemyError as error:
        raise BooksBroken("is not the database of a ledger", field=path.name) from error
    finally:
        database.close()
