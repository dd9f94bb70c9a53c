"""fsck of leaves, trees, heads and the journal's tree: whatever is edited by hand is named."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from speedpay.errors import BooksBroken
from speedpay.ledger.fsck import examine
from speedpay.ledger_api import calls
from speedpay.ledger_api.shapes import Send
from speedpay.proof.leaf import TREASURY
from speedpay.units import Amount
from tests.unit.ledger.closing import Closing
from tests.unit.ledger.desk import TOKEN, Person, fresh


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of three epochs, made once: most of what a test here takes."""
    made = Closing(tmp_path_factory.mktemp("sound") / "ledger")
    ann = made.person(tokens=500)
    for _ in range(19):
        made.person(tokens=3)
    for _ in range(3):
        made.send(ann, made.person(), 7)
        made.close()
    made.line(escrow=50, money_class=TOKEN, payer=ann).redeem(20)
    assert made.broken() == []
    assert examine(made.service.database.path).epoch_count == 3
    made.service.close()
    return made.folder


@pytest.fixture
def desk(sound: Path, tmp_path: Path) -> Iterator[Closing]:
    """A copy, which this file breaks on purpose."""
    shutil.copytree(sound, tmp_path / "ledger")
    made = Closing(tmp_path / "ledger")
    yield made
    made.service.close()


def edit(desk: Closing, statement: str, *values: object) -> str:
    """What is found after an edit behind the ledger's back, schema checks off."""
    with sqlite3.connect(desk.service.database.path) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        assert connection.execute(statement, values).rowcount > 0
    found = examine(desk.service.database.path)
    assert found.broken
    return "\n".join(str(one) for one in found.broken)


@pytest.mark.parametrize(
    ("column", "value", "names"),
    [
        ("balance", 4, "leaves: 24 leaves add up to"),
        ("balance", -1, "leaves 5: is no leaf"),
        ("balance", "much", "leaves 5: is no leaf"),
        ("salt", bytes(32), "its root is not that of the leaves"),
        ("payout", bytes([1]) * 20, "its root is not that of the leaves"),
        ("account", bytes(16), "its root is not that of the leaves"),
        ("position", 99, "leaves 5: is missing"),
    ],
)
def test_an_edited_leaf_is_named(desk: Closing, column: str, value: object, names: str) -> None:
    assert names in edit(desk, f"UPDATE leaves SET {column} = ? WHERE position = 5", value)


def test_a_leaf_of_somebody_who_holds_something_else_is_named(desk: Closing) -> None:
    """Also when the tree agrees with it: the account was not marked when its money moved."""
    with sqlite3.connect(desk.service.database.path) as connection:
        (account,) = connection.execute("SELECT account FROM dirty LIMIT 1").fetchone()
    found = edit(desk, "DELETE FROM dirty WHERE account = ?", account)
    assert f"leaf of {account.hex()}" in found


def test_the_same_account_twice_in_a_tree_is_refused_by_the_schema_and_named(desk: Closing) -> None:
    path = desk.service.database.path
    with sqlite3.connect(path) as connection:
        twice = "INSERT INTO leaves SELECT 24, account, payout, 0, 0, salt, 1 FROM leaves LIMIT 1"
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(twice)
        connection.execute("CREATE TABLE copied AS SELECT * FROM leaves")
        connection.execute("DROP TABLE leaves")
        connection.execute("ALTER TABLE copied RENAME TO leaves")
    found = edit(desk, twice)
    assert "leaves 24: is another leaf of an account that has one" in found


def test_an_edited_row_of_the_tree_is_named(desk: Closing) -> None:
    last = "(SELECT max(id) FROM tree_nodes)"
    change = "UPDATE tree_nodes SET body = CAST({} AS BLOB) WHERE id = {}"
    middle = "substr(body, 1, 640) || zeroblob(320) || substr(body, 961)"
    found = edit(desk, change.format(middle, f"{last} - 1"))
    assert "its hashes do not follow from each other" in found
    found = edit(desk, change.format("zeroblob(length(body))", last))
    assert "epochs 3: its tree does not stand over the leaves" in found
    found = edit(desk, f"DELETE FROM tree_nodes WHERE id = {last}")
    assert "is missing" in found


OLD_ROOT = "(SELECT node FROM epochs WHERE number = 1)"
OFTEN = "(SELECT position FROM former_leaves WHERE epoch = 3 ORDER BY version DESC LIMIT 1)"
#: A row of epoch 1's tree that later ones share or replaced, below its root.
OLD_ROW = "(SELECT node FROM former_nodes WHERE epoch = 2 ORDER BY node LIMIT 1)"


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (
            f"UPDATE tree_nodes SET body = zeroblob(length(body)) WHERE id = {OLD_ROOT}",
            "epochs 1: ",
        ),
        (f"UPDATE tree_nodes SET body = zeroblob(length(body)) WHERE id = {OLD_ROW}", "epochs 1: "),
        (f"DELETE FROM tree_nodes WHERE id = {OLD_ROW}", "epochs 1: "),
        (
            "UPDATE epochs SET node = (SELECT node FROM epochs WHERE number = 3) WHERE number = 2",
            "epochs 2: its kept tree does not lead to its root",
        ),
        (
            "INSERT INTO former_nodes SELECT 2, node FROM epochs WHERE number = 3",
            "is still needed",
        ),
        ("UPDATE former_leaves SET balance = balance + 1 WHERE epoch = 3", "epochs 2: its kept"),
        ("UPDATE former_leaves SET payout = zeroblob(19) WHERE epoch = 3", "is no leaf"),
        ("UPDATE former_leaves SET salt = zeroblob(32) WHERE epoch = 2", "epochs 1: its kept"),
        ("UPDATE former_leaves SET balance = 'much' WHERE epoch = 2", "is no leaf"),
        ("DELETE FROM former_leaves WHERE epoch = 2", "epochs 1: its kept leaves"),
        ("INSERT INTO former_leaves SELECT 3, 99, x'', 0, 0, x'', 1", "former_leaves 3 99"),
        ("UPDATE former_leaves SET version = 3 WHERE epoch = 3", "after version 3"),
        (f"UPDATE leaves SET version = version - 1 WHERE position = {OFTEN}", "after version"),
        (
            "UPDATE former_leaves SET salt = (SELECT salt FROM leaves l WHERE"
            f" l.position = {OFTEN}) WHERE epoch = 2 AND position = {OFTEN}",
            "twice",
        ),
    ],
)
def test_an_edited_proof_of_an_older_epoch_is_named(desk: Closing, change: str, names: str) -> None:
    assert names in edit(desk, change)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ("root = zeroblob(32)", "its columns are not what its head says"),
        ("liabilities = 5", "its columns are not what its head says"),
        ("head = zeroblob(32)", "its hash is another"),
        ("signature = zeroblob(64)", "its signature is not the ledger's"),
        ("prev = x'01'", "its columns are not what its head says"),
        ("number = 9", "epochs 2: is missing"),
        ("state = 'gone'", "epochs: cannot be read"),
    ],
)
def test_an_edited_head_is_named(desk: Closing, change: str, names: str) -> None:
    assert names in edit(desk, f"UPDATE epochs SET {change} WHERE number = 2")


def test_a_head_that_follows_another_one_is_named(desk: Closing) -> None:
    body = "body = CAST(substr(body, 1, 8) || zeroblob(8) || substr(body, 17) AS BLOB)"
    assert "epochs 2: was edited" in edit(desk, f"UPDATE epochs SET {body} WHERE number = 2")


@pytest.mark.parametrize("level", [0, 1, 3])
def test_an_edited_node_of_the_journals_tree_is_named(desk: Closing, level: int) -> None:
    change = "UPDATE journal_nodes SET hash = zeroblob(32) WHERE level = ? AND position = 1"
    assert "journal_nodes" in edit(desk, change, level)


def test_a_transfer_that_was_exchanged_is_named_by_the_journals_root(desk: Closing) -> None:
    found = edit(desk, "UPDATE transfers SET reference = x'00' WHERE sequence = 3")
    assert "its journal is not the transfers'" in found


def test_a_serving_ledger_stops_when_the_leaves_are_not_what_was_signed(desk: Closing) -> None:
    desk.service.check_books()
    edit(desk, "UPDATE leaves SET balance = balance + 1 WHERE account <> ?", TREASURY)
    with pytest.raises(BooksBroken, match="leaves add up to"):
        desk.service.check_books()


def test_a_leaf_that_changes_is_named_by_nobody(desk: Closing) -> None:
    """The checks follow the ledger's own work between two closes."""
    ann: Person = desk.person(tokens=9)
    other = desk.person()
    for _ in range(3):
        order = Send(other.account, TOKEN, Amount(1))
        desk.ask(calls.send(ann.key, ann.account, order, fresh()))
        assert desk.broken() == []
    desk.close()
    assert desk.broken() == []
