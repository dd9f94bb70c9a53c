"""fsck on deposits and withdrawals: whatever row of them somebody edits by hand, it is named."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from speedpay.chain.vault import Deposit, Events
from speedpay.ledger import deposits, withdrawals
from speedpay.ledger.fsck import examine
from speedpay.ledger_api import chain
from speedpay.ledger_api.chain import Withdraw
from speedpay.units import Amount
from tests.unit.ledger.desk import Desk, fresh
from tests.unit.ledger.test_withdrawals import payee


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Two deposits, two withdrawals of which one is released and one only in part."""
    made = Desk(tmp_path / "ledger")
    ann = payee(made, 0)
    with made.service.database.write() as connection:
        for seq in (1, 2):
            told = Deposit(
                seq, ann.account, bytes(20), Amount(500), Amount(500 * seq), os.urandom(32), 3, seq
            )
            deposits.record(connection, Events([told], [], [], [], []), 0)
    for utok in (300, 200):
        made.ask(chain.withdraw(ann.key, ann.account, Withdraw(Amount(utok)), fresh()))
    with made.service.database.write() as connection:
        withdrawals.release(connection, 1, Amount(400))
    assert made.broken() == []
    yield made
    made.service.close()


@pytest.mark.parametrize(
    ("table", "change", "named"),
    [
        ("deposits", "amount = 499", "deposits 2"),
        ("deposits", "total = 999", "deposits 2"),
        ("deposits", "log_index = 4", "deposits 2"),
        ("deposits", "txid = zeroblob(32)", "deposits 2"),
        ("deposits", "account = zeroblob(16)", "deposits 2"),
        ("deposits", "transfer = 4", "deposits 2"),
        ("deposits", "seq = 3", "deposits 2: is missing"),
        ("withdrawals", "amount = 201", "withdrawals 2"),
        ("withdrawals", "account = zeroblob(16)", "withdrawals 2"),
        ("withdrawals", "key = zeroblob(16)", "withdrawals 2"),
        ("withdrawals", "released = 201", "withdrawals 2"),
        ("withdrawals", "state = 'released'", "withdrawals 2"),
        ("withdrawals", "epoch = NULL", "withdrawals 2"),
    ],
)
def test_an_edited_row_is_named(desk: Desk, table: str, change: str, named: str) -> None:
    column = "seq" if table == "deposits" else "number"
    assert any(
        named in one for one in edit(desk, f"UPDATE {table} SET {change} WHERE {column} = 2")
    )


@pytest.mark.parametrize(
    ("table", "row"), [("deposits", 1), ("withdrawals", 2), ("idempotency", 3)]
)
def test_a_deleted_row_is_missed(desk: Desk, table: str, row: int) -> None:
    found = edit(desk, f"DELETE FROM {table} WHERE rowid = {row}")
    assert any(table in one for one in found)


def edit(desk: Desk, statement: str) -> list[str]:
    """Behind the ledger's back, with the rules of the schema off."""
    with sqlite3.connect(desk.service.database.path) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        assert connection.execute(statement).rowcount == 1
    connection.close()
    return [str(one) for one in examine(desk.service.database.path).broken]
