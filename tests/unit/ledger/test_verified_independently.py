"""Closed epochs before ``scripts/verify_independent``: it agrees with honest books, and sees every edit."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from speedpay.ledger import withdrawals
from speedpay.ledger.keeper import Keeper
from speedpay.ledger.leaves import Vault
from speedpay.ledger.schema import payouts
from speedpay.ledger.service import Settings
from speedpay.ledger_api.chain import Withdraw
from speedpay.units import Amount, Share
from tests.independent import disagreement, script
from tests.unit.ledger.desk import TOKEN, WELCOME, Desk, Person, fresh

PAYOUT = b"\x22" * 20
verifier = script()


class Books:
    """Two closed epochs with something of every kind, and transfers after the last of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.desk = Desk(folder, Settings(unlimited_loopback=True, fee=Share(10_000)))
        service = self.desk.service
        self.keeper = Keeper(folder, service.database, service.keys, service.now, Amount(300))
        self.keeper.bind(Vault((0x5350DE00).to_bytes(32), b"\x11" * 20, b"\x12" * 20))
        self.ann, self.ben = self.desk.person(10_000), self.desk.person(77)
        self.name_payout(self.ann)
        self.close(1)
        line = self.desk.line(escrow=2_000, money_class=TOKEN, payer=self.ann)
        line.redeem(700)
        self.desk.line(escrow=500, payer=self.ben)
        self.withdraw(self.ann, 250)
        self.withdraw(self.ann, 100)
        self.close(2)
        line.redeem(1_100, close=True)
        self.desk.service.issue(self.ben.account, Amount(5), b"later")

    def name_payout(self, who: Person) -> None:
        with self.desk.service.database.write() as connection:
            connection.execute(
                payouts.insert().values(
                    account=who.account, payout=PAYOUT, salt_key=b"\x33" * 32,
                    public_key=b"\x02" * 33, signature=b"\x44" * 64, named_at=0,
                )
            )  # fmt: skip

    def withdraw(self, who: Person, utok: int) -> None:
        with self.desk.service.database.write() as connection:
            withdrawals.ask(connection, who.account, Withdraw(Amount(utok)), fresh(), 0)

    def close(self, number: int) -> None:
        self.keeper.close(number)
        self.keeper.publish(number)

    @property
    def database(self) -> Path:
        return self.folder / "ledger.sqlite"

    def edited(self, statement: str) -> Path:
        """A copy of the ledger in which somebody has been. Not under the name that is always checked."""
        folder = self.folder / "edited"
        folder.mkdir(exist_ok=True)
        copy = folder / "copy.sqlite"
        copy.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.database)) as base, closing(sqlite3.connect(copy)) as to:
            base.backup(to)
            assert to.execute(statement).rowcount > 0
            to.commit()
        for key in self.folder.glob("*.key"):
            shutil.copy(key, folder)
        return copy


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    made = Books(tmp_path_factory.mktemp("ledger"))
    yield made
    made.desk.service.close()


def test_honest_books_agree_although_they_have_moved_on(books: Books) -> None:
    found = verifier.check_database(books.database)
    assert found["epoch"] == 2
    assert found["liabilities_utok"] == "10077"
    assert disagreement(books.database) is None


def test_the_salts_of_the_journal_are_not_needed(books: Books) -> None:
    copy = books.edited("UPDATE ledger SET uptime_s = uptime_s + 1")
    copy.with_name("journal.key").unlink()
    assert verifier.check_database(copy)["epoch"] == 2


def test_a_ledger_without_an_epoch_is_no_contradiction(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "ledger")
    desk.person(5)
    desk.service.close()
    assert verifier.check_database(tmp_path / "ledger/ledger.sqlite")["epoch"] is None


_LAST = "(SELECT max(number) FROM epochs)"
EDITS = {
    "an amount of the journal": ("UPDATE transfers SET amount = amount + 1 WHERE sequence = 2", "edited"),
    "a receiver": ("UPDATE transfers SET credit = debit || 'x' WHERE kind = 'pay'", "edited"),
    "a transfer taken out": ("DELETE FROM transfers WHERE sequence = 3", "transfer 3 is missing"),
    "the last transfers taken out": (
        "DELETE FROM transfers WHERE sequence > 4", "missing at the journal's end",
    ),
    "a leaf with more": ("UPDATE leaves SET balance = balance + 1 WHERE position = 1", "transfers"),
    "a leaf with less": ("UPDATE leaves SET balance = balance - 1 WHERE position = 1", "transfers"),
    "a leaf taken out": ("DELETE FROM leaves WHERE position = 1", "stands at position 2"),
    "the last leaf taken out": (
        "DELETE FROM leaves WHERE position = (SELECT max(position) FROM leaves)", "has no leaf",
    ),
    "released and not asked for": (
        "UPDATE leaves SET withdrawable = withdrawable + 1, balance = balance - 1"
        " WHERE payout <> zeroblob(20)",
        "not what withdrawals released",
    ),
    "another payout": (
        "UPDATE leaves SET payout = randomblob(20) WHERE payout <> zeroblob(20)", "another address",
    ),
    "another salt": ("UPDATE leaves SET salt = randomblob(32) WHERE position = 0", "root of epoch 2"),
    "the journal's tree": (
        "UPDATE journal_nodes SET hash = randomblob(32) WHERE level = 0 AND position = 1",
        "other transfers",
    ),
    "a head": (f"UPDATE epochs SET body = zeroblob(224) WHERE number = {_LAST}", "does not follow"),
    "a head's hash": (
        f"UPDATE epochs SET head = randomblob(32) WHERE number = {_LAST}", "does not follow",
    ),
    "an epoch taken out": ("DELETE FROM epochs WHERE number = 1", "does not follow"),
    "another network": ("UPDATE ledger SET network = 'nile'", "does not follow"),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "words"), EDITS.values(), ids=EDITS.keys())
def test_an_edit_is_seen(books: Books, statement: str, words: str) -> None:
    with pytest.raises(verifier.Broken, match=words):
        verifier.check_database(books.edited(statement))


def test_the_same_account_twice_in_a_tree_is_seen(books: Books) -> None:
    copy = books.edited("UPDATE leaves SET version = version")
    with closing(
        sqlite3.connect(copy)
    ) as base:  # the ledger's own table has a constraint against it
        base.executescript(
            "CREATE TABLE twice AS SELECT * FROM leaves; DROP TABLE leaves;"
            "ALTER TABLE twice RENAME TO leaves;"
            "INSERT INTO leaves SELECT max(position) + 1, account, payout, withdrawable, balance,"
            " salt, version FROM leaves WHERE balance > 0;"
        )
    with pytest.raises(verifier.Broken, match="is not the 0 µtok of its transfers"):
        verifier.check_database(copy)


def test_credit_is_in_the_head_and_owed_by_nobody(books: Books) -> None:
    with closing(sqlite3.connect(books.database)) as base:
        body = base.execute(f"SELECT body FROM epochs WHERE number = {_LAST}").fetchone()[0]
    fields, _ = verifier.head_of(body, "devnet", bytes(32))
    assert fields["credit"] == 4 * WELCOME
    assert fields["liabilities"] == 10_077
