"""The audit against a real chain: an honest ledger passes, every lie of an operator is named.

The lies are told by a hand in the database, as consistently as such a hand can: balances, the hashes
of the journal and the rows that fsck compares are made to fit.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from speedpay.chain.vault import Vault
from speedpay.errors import NotFound
from speedpay.ledger import audit, book, chart, invariants
from speedpay.ledger.chart import BookAccount, Kind
from speedpay.ledger.database import Database
from speedpay.ledger.schema import balances, deposits, epochs, leaves, transfers
from speedpay.ledger_api import calls, chain
from speedpay.ledger_api import epochs as epoch_calls
from speedpay.ledger_api.chain import Withdraw
from speedpay.ledger_api.shapes import Send
from speedpay.units import Amount, MoneyClass
from tests.unit.ledger.desk import TOKEN, WELCOME, Person, fresh
from tests.unit.ledger.vaulted import DELAY, Vaulted, vaulted

NOT_DEPOSITED = "makes tokens that no deposit brought"
OTHER_JOURNAL = "the transfers are not those whose root is on chain"


def live(one: Vaulted) -> tuple[Person, Person]:
    """Two owners of tokens, a payment, an open channel, a withdrawal; all of it anchored."""
    one.settle_epoch()
    ann, _ = one.payee(5_000_000)
    ben = one.desk.person()
    order = Send(ben.account, TOKEN, Amount(700))
    one.desk.ask(calls.send(ann.key, ann.account, order, fresh()))
    one.desk.line(escrow=1_000, money_class=TOKEN, payer=ann).redeem(400)
    one.desk.ask(chain.withdraw(ann.key, ann.account, Withdraw(Amount(2_000)), fresh()))
    one.settle_epoch()
    return ann, ben


def look(one: Vaulted) -> audit.Audit:
    return audit.examine(one.folder / "ledger.sqlite", one.vault)


# --- honest ---------------------------------------------------------------------------------------


def test_honest_books_match_the_chain_whatever_happens_to_them(tmp_path: Path) -> None:
    with vaulted(tmp_path / "ledger") as one:
        one.node.nodes[0].fault("busy", count=100)
        one.worker.round()
        found = look(one)
        assert (found.broken, found.epoch) == ([], 0)
        one.node.nodes[0].heal()
        one.pass_time(11)
        one.round()
        one.solidify()
        one.round()

        ann, ben = live(one)
        found = look(one)
        assert (found.broken, found.epoch, found.deposit_count) == ([], 3, 1)
        assert found.liabilities == found.deposited == Amount(5_000_000)
        assert found.reserves == 5_000_000
        said = found.lines()
        assert said[-1] == "everything matches"
        assert "network: devnet" in said
        assert any("credit outstanding, which nobody owes" in line for line in said)

        one.pass_time(DELAY)  # a claim
        proof = one.desk.ask(epoch_calls.proof(ann.key, ann.account, 3))
        assert proof is not None
        one.send(one.vault.prepare_claim(one.user.address, proof), one.user)
        found = look(one)
        assert (found.broken, found.paid, found.reserves) == ([], Amount(2_000), 4_998_000)

        one.deposit(ben.account, 77)  # a deposit that nobody can have credited yet
        one.send(one.vault.prepare_freeze(one.guardian.address), one.guardian)
        found = look(one)
        assert (found.broken, found.frozen_epoch, found.deposit_count) == ([], 3, 2)
        assert "the vault is frozen at epoch 3" in found.lines()
        one.send(one.vault.prepare_refund(one.user.address, 2), one.user)
        assert look(one).broken == []


def test_a_deposit_that_is_kept_back_is_found(tmp_path: Path) -> None:
    with vaulted(tmp_path / "ledger") as one:
        ann, _ = live(one)
        one.deposit(ann.account, 77)
        one.pass_time(3600)
        one.solidify()
        assert look(one).broken == []  # the ledger was off
        hand(
            one.folder,
            "UPDATE chain_watch SET next_block = 10000, solid_time = ?",
            int(one.clock()),
        )
        (said,) = look(one).broken
        assert said == "deposit 2 was not credited 60 minutes later"


def test_an_operator_who_anchors_what_the_books_do_not_say_is_found(tmp_path: Path) -> None:
    """Leaves that are worth less than the journal owes, in a tree that is anchored all the same."""
    with vaulted(tmp_path / "ledger") as one:
        ann, ben = live(one)
        cheat = one.desk.person()
        hand(
            one.folder,
            "UPDATE balances SET balance = balance - 600"
            f" WHERE account = 'user:{ben.account.hex()}' AND class = 'token'",
        )
        hand(
            one.folder,
            "UPDATE balances SET balance = balance + 600"
            f" WHERE account = 'user:{cheat.account.hex()}' AND class = 'token'",
        )
        with one.desk.service.database.write() as connection:
            book.mark_dirty(connection, [ben.account, cheat.account])
        one.settle_epoch()
        said = "\n".join(look(one).broken)
        assert f"the journal owes 700 µtok to account {ben.account.hex()}, its leaf has 100" in said
        assert f"owes 0 µtok to account {cheat.account.hex()}, its leaf has 600" in said
        assert ann.account.hex() not in said


# --- lies in the database -------------------------------------------------------------------------


def hand(folder: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(folder / "ledger.sqlite") as connection:
        assert connection.execute(statement, values).rowcount
    connection.close()


@dataclass
class Lied:
    """A copy of an honest ledger's folder, to be lied in; the chain stays as it is."""

    folder: Path
    vault: Vault
    ann: bytes
    ben: bytes

    def __post_init__(self) -> None:
        self.database = Database(self.folder / "ledger.sqlite")

    def write(self, *statements: sa.Executable) -> None:
        with self.database.write() as connection:
            for statement in statements:
                assert connection.execute(statement).rowcount

    def give(self, name: str, money_class: MoneyClass, utok: int) -> None:
        row = sa.and_(balances.c.account == name, balances.c["class"] == money_class.value)
        self.write(balances.update().where(row).values(balance=balances.c.balance + utok))

    def hash_again(self) -> None:
        """Make the journal one chain again after a row of it was changed."""
        with self.database.write() as connection:
            prev = bytes(32)
            rows = connection.execute(sa.select(transfers).order_by(transfers.c.sequence))
            for row in rows.mappings().all():
                transfer = book.Transfer(
                    row["sequence"], row["time"], Kind(row["kind"]), BookAccount.of(row["debit"]),
                    BookAccount.of(row["credit"]), MoneyClass(row["class"]), Amount(row["amount"]),
                    row["reference"],
                )  # fmt: skip
                made = transfer.hash(prev)
                connection.execute(
                    transfers.update()
                    .where(transfers.c.sequence == row["sequence"])
                    .values(prev=prev, hash=made)
                )
                prev = made

    def fsck(self) -> list[str]:
        """What holds of the books by themselves, without the journal's key."""
        with self.database.read() as connection:
            return [str(broken) for broken in invariants.every(connection)]

    def sentences(self) -> str:
        found = audit.examine(self.folder / "ledger.sqlite", self.vault)
        assert found.broken, "nobody noticed"
        assert found.to_json()["ok"] is False
        assert found.lines()[-1] == "the books and the chain do not match"
        return "\n".join(found.broken)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vaulted, Person, Person]]:
    with vaulted(tmp_path_factory.mktemp("audit") / "ledger") as one:
        yield one, *live(one)


@pytest.fixture
def lied(honest: tuple[Vaulted, Person, Person], tmp_path: Path) -> Iterator[Lied]:
    one, ann, ben = honest
    shutil.copytree(one.folder, tmp_path / "ledger")
    made = Lied(tmp_path / "ledger", one.vault, ann.account, ben.account)
    assert audit.examine(made.folder / "ledger.sqlite", one.vault).broken == []
    yield made
    made.database.close()


def test_a_balance_edited_by_hand_is_found(lied: Lied) -> None:
    lied.give(chart.user(lied.ann).name, TOKEN, -5)
    assert "the books themselves" in lied.sentences()


def test_a_payment_rewritten_with_all_its_hashes_is_found_by_the_anchored_root(lied: Lied) -> None:
    """Ben's 700 become 70; journal, balances and leaves are made to agree."""
    sent = sa.and_(transfers.c.kind == "send", transfers.c["class"] == "token")
    lied.write(transfers.update().where(sent).values(amount=70))
    lied.hash_again()
    for account, more in ((lied.ann, 630), (lied.ben, -630)):
        lied.give(chart.user(account).name, TOKEN, more)
        leaf = leaves.c.account == account
        lied.write(leaves.update().where(leaf).values(balance=leaves.c.balance + more))
    assert not [broken for broken in lied.fsck() if broken.startswith(("I1", "I2", "I3", "I4"))]
    said = lied.sentences()
    assert OTHER_JOURNAL in said
    assert f"the journal owes 70 µtok to account {lied.ben.hex()}, its leaf has 700" in said


def test_an_invented_deposit_is_found(lied: Lied) -> None:
    with lied.database.write() as connection:
        posted = book.issue(connection, lied.ben, Amount(9_000), b"\x07" * 32 + bytes(4), 0)
        connection.execute(
            deposits.insert().values(
                seq=2, txid=b"\x07" * 32, log_index=0, account=lied.ben, sender=b"\x0a" * 20,
                amount=9_000, total=5_009_000, block=1, transfer=posted.sequence,
            )
        )  # fmt: skip
    assert lied.fsck() == []
    assert lied.sentences() == "deposit 2 of the books is not on chain as they say"


def test_a_deposit_credited_to_somebody_else_is_found(lied: Lied) -> None:
    lied.write(deposits.update().values(account=lied.ben))
    said = lied.sentences()
    assert "deposit 1 of the books is not on chain as they say" in said
    assert NOT_DEPOSITED in said


def test_tokens_out_of_nothing_are_found(lied: Lied) -> None:
    with lied.database.write() as connection:
        book.issue(connection, lied.ben, Amount(1), b"nothing", 0)
    assert lied.fsck() == []
    assert NOT_DEPOSITED in lied.sentences()


def test_credit_turned_into_tokens_is_found(lied: Lied) -> None:
    """Ben's welcome is rewritten as a deposit, and everything that fsck compares with it."""
    mine = chart.user(lied.ben).name
    grant = sa.and_(transfers.c.kind == "grant", transfers.c.credit == mine)
    turned = {"kind": "issue", "debit": "deposits", "class": "token"}
    lied.write(transfers.update().where(grant).values(turned))
    lied.hash_again()
    for name, money_class, sign in (
        (mine, TOKEN, 1), ("deposits", TOKEN, 1),
        (mine, MoneyClass.CREDIT, -1), ("granted", MoneyClass.CREDIT, -1),
    ):  # fmt: skip
        lied.give(name, money_class, sign * WELCOME)
    assert not [broken for broken in lied.fsck() if broken.startswith(("I1", "I2", "I3", "I4"))]
    said = lied.sentences()
    for sentence in (NOT_DEPOSITED, OTHER_JOURNAL, "of credit in the head"):
        assert sentence in said


def test_a_rewritten_head_is_found_by_the_vaults_running_hash(lied: Lied) -> None:
    """However old: the ring of the last eight anchors need not have it."""
    with lied.database.read() as connection:
        row = connection.execute(sa.select(epochs).where(epochs.c.number == 1)).one()
    body = bytes(row.body)
    changed = body[:-40] + bytes([body[-40] ^ 1]) + body[-39:]
    lied.write(epochs.update().where(epochs.c.number == 1).values(body=changed))
    assert "the history of anchors on chain is not that of the books" in lied.sentences()


def test_a_lost_epoch_is_found(lied: Lied) -> None:
    for table, column in (("anchors", "epoch"), ("anchor_attempts", "epoch"), ("epochs", "number")):
        hand(lied.folder, f"DELETE FROM {table} WHERE {column} = 2")
    assert "epoch 2 is on chain, and the books do not have it" in lied.sentences()


def test_another_vaults_books_are_refused(lied: Lied) -> None:
    other = Vault(lied.vault.tron, b"\x05" * 20)
    with pytest.raises(NotFound):
        audit.examine(lied.folder / "ledger.sqlite", other)
