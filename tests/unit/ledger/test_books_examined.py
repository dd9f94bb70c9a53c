"""fsck: whatever row somebody edits by hand, it is named."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from speedpay.cli.ledger import ledger as command
from speedpay.errors import BooksBroken, LedgerFailed, NotFound
from speedpay.ledger import invariants
from speedpay.ledger.fsck import examine
from speedpay.ledger_api import calls
from speedpay.ledger_api.shapes import Send
from speedpay.units import Amount
from tests.unit.ledger.desk import CREDIT, Desk, Line, Person, fresh


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A ledger whose books this file breaks on purpose: sound when handed over."""
    made = Desk(tmp_path / "ledger")
    yield made
    made.service.close()


@pytest.fixture
def line(desk: Desk) -> Line:
    made = desk.line(escrow=1000)
    made.redeem(400)
    payer, payee = made.payer, made.payee
    desk.ask(calls.send(payer.key, payer.account, Send(payee.account, CREDIT, Amount(7)), fresh()))
    desk.line(escrow=50).redeem(20, close=True)
    assert desk.broken() == []
    return made


def edit(desk: Desk, statement: str, *values: object) -> list[str]:
    """Edit behind the ledger's back, schema checks off, and examine."""
    with sqlite3.connect(desk.service.database.path) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        assert connection.execute(statement, values).rowcount == 1
    return [str(one) for one in examine(desk.service.database.path).broken]


def named(found: list[str], *parts: str) -> bool:
    return any(all(part in one for part in parts) for one in found)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("amount", 1001),
        ("time", 1),
        ("kind", "refund"),
        ("debit", "user:" + "00" * 16),
        ("credit", "fees"),
        ("class", "token"),
        ("reference", b"another"),
        ("hash", b"\x00" * 32),
        ("prev", b"\x01" * 32),
        ("amount", -5),
        ("amount", 1.5),
        ("kind", "gift"),
        ("debit", "nobody"),
        ("debit", b"\xff"),
        ("reference", "text"),
    ],
)
def test_an_edited_transfer_is_named(desk: Desk, line: Line, column: str, value: object) -> None:
    found = edit(desk, f'UPDATE transfers SET "{column}" = ? WHERE sequence = 3', value)
    assert named(found, "transfers 3") or (column == "hash" and named(found, "transfers 4"))


def test_a_deleted_transfer_is_named(desk: Desk, line: Line) -> None:
    found = edit(desk, "DELETE FROM transfers WHERE sequence = 4")
    assert named(found, "I6", "transfers 4", "missing")


def test_an_edited_balance_is_named(desk: Desk, line: Line) -> None:
    name = f"user:{line.payee.account.hex()}"
    change = "UPDATE balances SET balance = balance + 1 WHERE account = ? AND class = 'credit'"
    found = edit(desk, change, name)
    assert named(found, "I6", f"balances {name} credit")
    assert named(found, "I1", "credit")


def test_two_edits_that_cancel_out_are_named_both(desk: Desk, line: Line) -> None:
    names = [f"user:{who.account.hex()}" for who in (line.payer, line.payee)]
    change = "UPDATE balances SET balance = balance + ? WHERE account = ? AND class = 'credit'"
    edit(desk, change, -5, names[0])
    found = edit(desk, change, 5, names[1])
    assert all(named(found, "I6", name) for name in names)
    assert not named(found, "I1")


@pytest.mark.parametrize("change", ["paid = 399", "escrow = 1001", "refunded = 1", "signed = 5"])
def test_an_edited_channel_is_named(desk: Desk, line: Line, change: str) -> None:
    found = edit(desk, f"UPDATE channels SET {change} WHERE id = ?", line.id)
    assert named(found, f"channel {line.id.hex()}")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("account", "nobody"),
        ("account", b"\x00\xff"),
        ("account", "user:xyz"),
        ("class", "gold"),
        ("balance", "many"),
        ("balance", 0.5),
        ("balance", -1),
    ],
)
def test_nonsense_in_a_balance_is_named_and_does_not_stop_the_examination(
    desk: Desk, line: Line, column: str, value: object
) -> None:
    change = f"UPDATE balances SET {column} = ? WHERE account = 'escrow' AND class = 'credit'"
    found = edit(desk, change, value)
    assert named(found, "I2", "balances")
    assert named(found, "I6", "balances")


@pytest.mark.parametrize(
    ("column", "value"), [("state", "ajar"), ("class", 7), ("paid", "all"), ("paid", b"1")]
)
def test_nonsense_in_a_channel_is_named(desk: Desk, line: Line, column: str, value: object) -> None:
    found = edit(desk, f"UPDATE channels SET {column} = ? WHERE id = ?", value, line.id)
    assert named(found, "I2", f"channel {line.id.hex()}")


def test_a_reopened_channel_is_noticed(desk: Desk, line: Line) -> None:
    line.redeem(400, close=True)
    change = "UPDATE channels SET state = 'open', refunded = 0 WHERE id = ?"
    found = edit(desk, change, line.id)
    assert named(found, "I3", line.id.hex())
    assert named(found, "I1", "escrow")


@pytest.mark.parametrize("column", ["public_key", "account"])
def test_a_key_that_is_not_its_accounts_own_is_named(desk: Desk, line: Line, column: str) -> None:
    """Whoever's key stands under an account orders what becomes of its money."""
    thief = desk.person()
    edit(desk, "DELETE FROM account_keys WHERE account = ?", thief.account)
    value = thief.key.public if column == "public_key" else thief.account
    change = f"UPDATE account_keys SET {column} = ? WHERE account = ?"
    found = edit(desk, change, value, line.payer.account)
    named_account = line.payer.account if column == "public_key" else thief.account
    assert named(found, "I3", f"account {named_account.hex()}", "key")


def test_another_key_under_an_account_is_named(desk: Desk, line: Line) -> None:
    stolen = "INSERT INTO account_keys SELECT ?, account, 0 FROM account_keys WHERE account = ?"
    key = desk.person().key.public[:1] + bytes(32)
    found = edit(desk, stolen, key, line.payer.account)
    assert named(found, "I3", f"account {line.payer.account.hex()}", "key")


def test_a_lost_idempotency_row_of_a_send_is_named(desk: Desk, line: Line) -> None:
    account = line.payer.account
    change = (
        "DELETE FROM idempotency WHERE account = ? AND key IN"
        " (SELECT reference FROM transfers WHERE kind = 'send')"
    )
    assert named(edit(desk, change, account), "I4", account.hex())


def test_a_head_that_was_given_out_is_found_again_and_another_is_not(
    desk: Desk, line: Line
) -> None:
    head = desk.balance(line.payer).journal_head
    desk.line(escrow=5)
    with desk.service.database.read() as connection:
        assert invariants.holds(connection, head)
        assert not invariants.holds(connection, type(head)(head.sequence, bytes(32)))
        assert not invariants.holds(connection, type(head)(head.sequence + 99, head.hash))


def test_a_ledger_whose_books_do_not_balance_stops_writing_and_goes_on_reading(
    desk: Desk, line: Line
) -> None:
    change = (
        "UPDATE balances SET balance = balance + 1 WHERE account = 'escrow' AND class = 'credit'"
    )
    edit(desk, change)
    with pytest.raises(BooksBroken):
        desk.service.check_books()
    ann: Person = line.payer
    desk.balance(ann)
    one = Send(line.payee.account, CREDIT, Amount(1))
    with pytest.raises(LedgerFailed, match="do not balance"):
        desk.ask(calls.send(ann.key, ann.account, one, fresh()))


def test_fsck_says_what_it_found_and_exits_with_1_only_when_something_is_wrong(
    desk: Desk, line: Line
) -> None:
    folder = str(desk.folder)
    good = CliRunner().invoke(command, ["fsck", "--data", folder])
    assert good.exit_code == 0
    assert "the books balance" in good.output
    edit(desk, "UPDATE transfers SET amount = 1 WHERE sequence = 3")
    bad = CliRunner().invoke(command, ["fsck", "--data", folder])
    assert isinstance(bad.exception, BooksBroken)
    assert bad.exception.exit_code == 1
    assert "transfers 3: was edited" in bad.output


def test_fsck_of_nothing_is_not_found(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["fsck", "--data", str(tmp_path)])
    assert isinstance(result.exception, NotFound)


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to be looked at" * 40])
def test_fsck_of_something_else_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(content)
    result = CliRunner().invoke(command, ["fsck", "--data", str(tmp_path)])
    assert isinstance(result.exception, BooksBroken | LedgerFailed)
