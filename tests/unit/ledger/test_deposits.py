"""Deposits on a real development chain: each is credited once, when it is final, to whom it is for."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from speedpay.chain.artifact import load
from speedpay.chain.token import Token
from speedpay.chain.tron import deployed_address
from speedpay.chain.vault import Deposit, Events, Vault
from speedpay.errors import BooksBroken, ChainUnreachable, LedgerFailed
from speedpay.ledger import audit, deposits
from speedpay.ledger.chain_side import watch
from speedpay.ledger.chain_side.worker import ChainSettings, ChainWorker
from speedpay.ledger.schema import chain_watch, transfers
from speedpay.ledger.schema import deposits as table
from speedpay.ledger_api import calls, chain
from speedpay.ledger_api.signed import account_id
from speedpay.proof.leaf import TREASURY
from speedpay.units import Amount
from tests.unit.ledger.desk import WELCOME, Desk, Person, fresh, new_key
from tests.unit.ledger.vaulted import FEE_SUN, SOLID, Vaulted, vaulted


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Vaulted]:
    with vaulted(tmp_path / "ledger") as made:
        made.round()
        yield made
        assert made.desk.broken() == []


def tokens(desk: Desk, who: Person) -> int:
    return desk.balance(who).token.utok


def told(account: bytes, seq: int, utok: int = 10, total: int | None = None) -> Deposit:
    """What a node might tell."""
    return Deposit(
        seq, account, b"\x0a" * 20, Amount(utok), Amount(10 * seq if total is None else total),
        os.urandom(32), 0, 100 + seq,
    )  # fmt: skip


def record(desk: Desk, *seen: Deposit) -> int:
    with desk.service.database.write() as connection:
        return len(deposits.record(connection, Events(list(seen), [], [], [], []), 0))


# --- on the chain ---------------------------------------------------------------------------------


def test_a_deposit_is_credited_once_its_block_is_final_and_not_before(one: Vaulted) -> None:
    ann = one.desk.person()
    txid = one.deposit(ann.account, 5_000)
    for _ in range(SOLID - 1):
        one.round()
        assert tokens(one.desk, ann) == 0
        one.node.mine()
    one.round()
    assert tokens(one.desk, ann) == 5_000
    one.solidify()
    one.round()
    assert tokens(one.desk, ann) == 5_000
    (shown,) = one.desk.ask(chain.deposits(ann.key, ann.account)).deposits
    assert (shown.seq, shown.txid, shown.amount) == (1, txid, Amount(5_000))
    assert shown.sender == one.user.address


def test_a_deposit_whose_block_vanishes_was_never_credited(one: Vaulted) -> None:
    ann = one.desk.person()
    one.deposit(ann.account, 5_000)
    one.round()
    one.node.reorg(1, drop=True)
    one.solidify()
    one.solidify()
    one.round()
    assert tokens(one.desk, ann) == 0


def test_deposits_of_several_are_each_their_own_and_one_base_unit_is_enough(one: Vaulted) -> None:
    ann, ben = one.desk.person(), one.desk.person()
    for owner, utok in ((ann, 1), (ben, 7), (ann, 30)):
        one.deposit(owner.account, utok)
    one.solidify()
    one.round()
    assert (tokens(one.desk, ann), tokens(one.desk, ben)) == (31, 7)


def test_a_deposit_opens_an_account_whose_key_and_welcome_come_later(one: Vaulted) -> None:
    key = new_key()
    account = account_id(key.public)
    one.deposit(account, 5_000)
    one.solidify()
    one.round()
    for _ in range(2):
        opened = one.desk.ask(calls.open_account(key, fresh()))
        assert opened.account == account
    assert one.desk.balance(Person(key, account)).credit == Amount(WELCOME)
    assert tokens(one.desk, Person(key, account)) == 5_000


def test_a_gift_to_the_ledgers_own_treasury_stops_nothing(one: Vaulted) -> None:
    """Its id is public, and a deposit names any account: one base unit must not end an epoch."""
    one.solidify()
    one.deposit(TREASURY, 1)
    one.solidify()
    one.round()
    assert one.settle_epoch() == 2
    found = audit.examine(one.folder / "ledger.sqlite", one.vault)
    assert (found.broken, found.liabilities) == ([], Amount(1))


def test_deposits_of_a_wrong_token_or_into_another_vault_are_ignored(one: Vaulted) -> None:
    """Into another vault of the same token, and of a worthless token into a vault of its own; the
    same event with the same account, from a contract that is not ours."""
    ann = one.desk.person()
    owner = one.owner.address
    made = one.tron.prepare_deploy(owner, load("Token"), [owner, 10**15], FEE_SUN)
    one.send(made, one.owner)
    worthless = Token(one.tron, deployed_address(made, owner))
    mint = worthless.prepare_mint(owner, one.user.address, 10**9)
    one.send(mint, one.owner)
    others = (one.new_vault(), one.new_vault(worthless))
    for token, vault in zip((one.token, worthless), others, strict=True):
        one.send(token.prepare_approve(one.user.address, vault, 10**9), one.user)
        one.deposit(ann.account, 5_000, vault)
    transfer = worthless.prepare_transfer(one.user.address, one.vault.address, 77)
    one.send(transfer, one.user)
    straight = one.token.prepare_transfer(one.user.address, one.vault.address, 99)
    one.send(straight, one.user)
    one.solidify()
    one.round()
    assert tokens(one.desk, ann) == 0
    assert Vault(one.tron, others[1]).state().total_deposits == Amount(5_000)


def test_a_ledger_that_was_off_for_long_reads_on_round_by_round(
    one: Vaulted, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = one.desk.person()
    one.round()
    monkeypatch.setattr(watch, "BATCH", 10)
    one.node.mine(watch.BATCH * watch.BATCHES)
    one.deposit(ann.account, 5_000)
    one.solidify()
    one.round()
    assert tokens(one.desk, ann) == 0
    one.round()
    assert tokens(one.desk, ann) == 5_000


def test_two_processes_that_read_the_same_blocks_credit_them_once(one: Vaulted) -> None:
    ann = one.desk.person()
    other = one.another_worker()
    assert other.round()
    one.deposit(ann.account, 5_000)
    one.solidify()
    one.round()
    assert other.round()
    first = one.rows(chain_watch.c.next_block, sa.true())[0][0]
    with one.desk.service.database.write() as connection:  # as if it had looked before
        connection.execute(chain_watch.update().values(next_block=1))
    assert other.round()
    assert tokens(one.desk, ann) == 5_000
    assert one.rows(chain_watch.c.next_block, sa.true())[0][0] == first


def test_a_crash_while_crediting_has_credited_nothing_and_the_next_start_does(
    one: Vaulted, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = one.desk.person()
    one.deposit(ann.account, 5_000)
    one.deposit(ann.account, 6_000)
    one.solidify()

    class PulledPlug(BaseException):
        pass

    def pull(*_: object) -> None:
        raise PulledPlug

    before = one.desk.everything()
    with monkeypatch.context() as patch:
        patch.setattr(watch.anchoring, "settle", pull)  # after the money, in its transaction
        with pytest.raises(PulledPlug):
            one.worker.round()
    assert one.desk.everything() == before
    one.worker = one.another_worker()
    one.round()
    assert tokens(one.desk, ann) == 11_000


def test_a_vault_with_a_history_is_read_from_the_block_that_is_named(tmp_path: Path) -> None:
    with vaulted(tmp_path / "ledger") as one:
        ann = one.desk.person()
        one.deposit(ann.account, 5_000)
        one.solidify()
        assert not one.worker.round()
        assert "used already" in one.health().alarms[0]
        assert one.health().next_block is None
        settings = ChainSettings(from_block=1)
        one.worker = ChainWorker(one.desk.service, one.vault, one.operator, settings)
        one.round()
        assert tokens(one.desk, ann) == 5_000


# --- what a node may tell -------------------------------------------------------------------------


def test_a_deposit_that_is_reported_twice_is_credited_once(desk: Desk) -> None:
    ann = desk.person()
    first, second = told(ann.account, 1), told(ann.account, 2)
    assert record(desk, first, first, second, first) == 2
    assert record(desk, second, first) == 0
    assert tokens(desk, ann) == 20


def test_after_a_gap_nothing_is_credited(desk: Desk) -> None:
    ann = desk.person()
    first, second, third = (told(ann.account, seq) for seq in (1, 2, 3))
    with pytest.raises(ChainUnreachable, match="deposit 3"):
        record(desk, first, third)
    assert tokens(desk, ann) == 0
    assert record(desk, third, second, first) == 3  # in whatever order a node lists them
    assert tokens(desk, ann) == 30


def test_totals_that_do_not_add_up_are_not_believed(desk: Desk) -> None:
    ann = desk.person()
    with pytest.raises(ChainUnreachable):
        record(desk, told(ann.account, 1, 10, 11))
    assert record(desk, told(ann.account, 1)) == 1
    with pytest.raises(ChainUnreachable):
        record(desk, told(ann.account, 2, 10, 10))
    assert tokens(desk, ann) == 10


def test_another_deposit_in_the_place_of_a_credited_one_is_found_out(desk: Desk) -> None:
    ann, ben = desk.person(), desk.person()
    first = told(ann.account, 1)
    record(desk, first)
    changes = (
        {"account": ben.account},
        {"amount": Amount(9)},
        {"txid": bytes(32)},
        {"log_index": 1},
    )
    for change in changes:
        with pytest.raises(BooksBroken):
            record(desk, replace(first, **change))  # type: ignore[arg-type]


def test_each_deposit_names_the_transfer_that_credited_it(desk: Desk) -> None:
    ann = desk.person()
    one = told(ann.account, 1)
    record(desk, one)
    with desk.service.database.read() as connection:
        row = connection.execute(sa.select(table)).one()
        posted = connection.execute(
            sa.select(transfers).where(transfers.c.sequence == row.transfer)
        ).one()
    assert (posted.kind, posted.amount) == ("issue", 10)
    assert posted.reference == one.txid + bytes(4)


def test_a_chain_that_contradicts_what_was_credited_stops_the_ledger(one: Vaulted) -> None:
    ann = one.desk.person()
    one.deposit(ann.account, 5_000)
    one.solidify()
    one.round()
    with one.desk.service.database.write() as connection:
        connection.execute(table.update().values(amount=4_999))
        connection.execute(chain_watch.update().values(next_block=1))
    with pytest.raises(LedgerFailed, match="deposit 1"):
        one.worker.round()
    with pytest.raises(LedgerFailed):
        one.desk.service.issue(ann.account, Amount(1), b"more")
    with sqlite3.connect(one.folder / "ledger.sqlite") as books:  # sound again for the fixture
        books.execute("UPDATE deposits SET amount = 5000")
    books.close()
