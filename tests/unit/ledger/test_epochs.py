"""Closing an epoch: what is in the leaves, what is signed, and what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from speedpay.errors import BooksBroken, NotFound, OutOfOrder, WrongNetwork
from speedpay.ledger import epochs, leaves_file
from speedpay.ledger.keeper import Keeper
from speedpay.ledger.leaves import Vault
from speedpay.ledger.service import Settings
from speedpay.peer.bencode import decode
from speedpay.proof.head import NO_HEAD
from speedpay.proof.leaf import NO_PAYOUT, TREASURY, own_salt_key, salt_of
from speedpay.proof.sum_tree import NODE_BYTES, Node, root_of
from speedpay.units import MAX_UTOK, Amount, Share
from tests.unit.ledger.closing import VAULT, Closing
from tests.unit.ledger.desk import CREDIT, TOKEN, Desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Closing]:
    made = Closing(tmp_path / "ledger")
    yield made
    assert made.broken() == []
    made.service.close()


def file_of(desk: Closing, number: int) -> bytes:
    return (desk.keeper.folder / desk.keeper.name_of(number)).read_bytes()


def test_every_owner_can_prove_what_he_is_owed(desk: Closing) -> None:
    ann, ben = desk.person(tokens=5000), desk.person(tokens=300)
    desk.send(ann, ben, 250)
    head = desk.close().head
    assert desk.verified(ann, 1).balance == Amount(4750)
    assert desk.verified(ben, 1).balance == Amount(550)
    assert head.liabilities == Amount(5300)
    assert head.leaf_count == 3  # with the treasury's
    assert head.prev == NO_HEAD


def test_escrow_is_the_payers_until_it_is_paid(desk: Closing) -> None:
    ann = desk.person(tokens=5000)
    line = desk.line(escrow=1000, money_class=TOKEN, payer=ann)
    desk.close()
    assert desk.verified(ann, 1).balance == Amount(5000)
    assert desk.proof(line.payee, 1) is None
    line.redeem(400)
    desk.close()
    assert desk.verified(ann, 2).balance == Amount(4600)
    assert desk.verified(line.payee, 2).balance == Amount(400)
    line.redeem(400, close=True)
    assert desk.close().head.liabilities == Amount(5000)
    assert desk.verified(ann, 3).balance == Amount(4600)


def test_credit_is_in_no_leaf_and_in_no_liabilities(desk: Closing) -> None:
    ann = desk.person(tokens=7)
    desk.line(escrow=1000, money_class=CREDIT, payer=ann).redeem(600)
    head = desk.close().head
    assert desk.verified(ann, 1).total == head.liabilities == Amount(7)
    assert head.credit == Amount(20_000_000)


def test_credit_in_liabilities_is_refused(desk: Closing) -> None:
    """A leaf that owes more than was ever deposited: nothing is signed, and nothing has changed."""
    ann = desk.person(tokens=7)
    with desk.service.database.write() as connection:
        name = f"user:{ann.account.hex()}"
        connection.exec_driver_sql(
            "UPDATE balances SET balance = 10000007 WHERE account = ? AND class = 'token'", (name,)
        )
    with desk.refused(BooksBroken, "leaves"):
        desk.close()
    with desk.service.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE balances SET balance = 7 WHERE account = ? AND class = 'token'", (name,)
        )


@pytest.mark.parametrize("escrow", [-8, MAX_UTOK])
def test_a_negative_or_overflowing_sum_is_refused(desk: Closing, escrow: int) -> None:
    ann = desk.person(tokens=7)
    line = desk.line(escrow=5, money_class=TOKEN, payer=ann)
    change = "UPDATE channels SET escrow = ? WHERE id = ?"
    with desk.service.database.write() as connection:
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        connection.exec_driver_sql(change, (escrow, line.id))
    with desk.refused(BooksBroken, f"account {ann.account.hex()}"):
        desk.close()
    with desk.service.database.write() as connection:
        connection.exec_driver_sql(change, (5, line.id))
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")


def test_a_forgotten_mark_is_noticed_before_anything_is_signed(desk: Closing) -> None:
    ann, ben = desk.person(tokens=7), desk.person(tokens=1)
    with desk.service.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM dirty WHERE account = ?", (ben.account,))
    with desk.refused(BooksBroken, "leaves"):
        desk.close()
    desk.send(ann, ben, 1)
    desk.close()


def test_an_epoch_in_which_nothing_happened_is_closed_all_the_same(desk: Closing) -> None:
    """Its anchor is the sign of life without which anybody may freeze the vault."""
    desk.person(tokens=7)
    first, second = desk.close().head, desk.close().head
    assert (second.epoch, second.root, second.leaf_count) == (2, first.root, first.leaf_count)
    assert second.file != first.file  # its torrent has another name


def test_a_ledger_without_tokens_has_the_treasurys_leaf_alone(desk: Closing) -> None:
    head = desk.close().head
    assert (head.leaf_count, head.liabilities) == (1, Amount(0))
    assert len(file_of(desk, 1)) == NODE_BYTES


def test_fees_have_a_leaf_of_their_own(tmp_path: Path) -> None:
    desk = Closing(tmp_path, Settings(unlimited_loopback=True, fee=Share(100_000)))
    ann = desk.person(tokens=1000)
    desk.line(escrow=1000, money_class=TOKEN, payer=ann).redeem(400)
    desk.close()
    (leaf,) = (row for row in desk.everything()["leaves"] if row[1] == TREASURY)
    assert leaf[2:5] == (NO_PAYOUT, 0, 40)
    assert desk.broken() == []
    desk.service.close()


def test_heads_form_one_chain_that_the_response_key_has_signed(desk: Closing) -> None:
    ann = desk.person(tokens=7)
    domain, made = desk.service.domain, []
    for _ in range(3):
        desk.send(ann, desk.person(), 1)
        made.append(desk.close())
    for before, after in pairwise(made):
        assert after.head.prev == before.hash == before.head.hash(domain)
        assert after.head.journal_size > before.head.journal_size
    for one in made:
        assert one.signed.check(domain, desk.service.keys.response.public) == one.head


def test_salt_and_position_of_a_leaf_that_did_not_change_stay(desk: Closing) -> None:
    ann, ben = desk.person(tokens=5), desk.person(tokens=5)
    desk.close()
    first = desk.verified(ann, 1), desk.verified(ben, 1)
    desk.send(ann, desk.person(), 2)
    desk.send(ben, ann, 2)
    desk.send(ann, ben, 2)
    desk.close()
    second = desk.verified(ann, 2), desk.verified(ben, 2)
    assert second[1].salt == first[1].salt
    assert second[0].salt != first[0].salt
    assert [one.position for one in second] == [one.position for one in first]
    keys = desk.service.keys
    assert second[0].salt == salt_of(own_salt_key(keys.leaves, ann.account), 2)


def test_a_clock_that_was_set_back_does_not_set_epochs_back(desk: Closing) -> None:
    first = desk.close().head.closed_at
    desk.clock.now -= 100_000
    assert desk.close().head.closed_at == first
    desk.clock.now += 200_000
    assert desk.close().head.closed_at == first + 100_000


def test_the_file_holds_the_tree_and_its_torrent_is_the_one_that_is_signed(desk: Closing) -> None:
    for _ in range(20):
        desk.person(tokens=3)
    head = desk.close().head
    content = file_of(desk, 1)
    nodes = [
        Node.from_bytes(content[at : at + NODE_BYTES]) for at in range(0, len(content), NODE_BYTES)
    ]
    assert root_of(nodes) == Node(head.root, head.liabilities.utok)
    name = desk.keeper.name_of(1)
    metainfo = decode((desk.keeper.folder / f"{name}.torrent").read_bytes())
    assert isinstance(metainfo, dict)
    assert metainfo == {
        b"info": {
            b"length": len(content),
            b"name": name.encode(),
            b"piece length": 2**18,
            b"pieces": hashlib.sha1(content, usedforsecurity=False).digest(),
        }
    }
    assert leaves_file.infohash(name, content) == head.file


def test_closing_without_a_vault_is_refused(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    service = desk.service
    keeper = Keeper(tmp_path, service.database, service.keys, service.now)
    with desk.refused(NotFound, "vault"):
        keeper.close(1)
    service.close()


def test_a_ledger_is_bound_to_one_vault_for_ever(desk: Closing) -> None:
    desk.keeper.bind(VAULT)
    with desk.refused(WrongNetwork, "vault"):
        desk.keeper.bind(Vault(VAULT.chain_id, bytes(20), VAULT.token))
    identity = desk.service.identity()
    assert identity.chain
    assert identity.chain.vault == VAULT.address


def test_an_epoch_is_closed_once(desk: Closing) -> None:
    desk.person(tokens=7)
    first = desk.close()
    desk.person(tokens=8)
    assert desk.keeper.close(1).head == first.head
    with desk.refused(OutOfOrder, "epoch"):
        desk.keeper.close(3)


def test_the_file_of_an_epoch_is_the_same_made_from_the_last_one_or_anew(desk: Closing) -> None:
    people = [desk.person(tokens=5) for _ in range(30)]
    desk.close()
    desk.send(people[0], desk.person(), 2)
    with desk.service.database.read() as connection:
        before = bytearray(file_of(desk, 1))
        assert epochs.latest(connection)
    keys, now, made = desk.service.keys, desk.service.now(), []

    for content in (before, None):
        with desk.service.database.write() as connection, connection.begin_nested() as undone:
            made.append(epochs.close(connection, keys, 2, now, content)[0])
            undone.rollback()
    assert made[0] == made[1]


def test_a_damaged_file_of_the_last_epoch_is_not_built_upon(desk: Closing) -> None:
    people = [desk.person(tokens=5) for _ in range(30)]
    desk.close()
    path = desk.keeper.folder / desk.keeper.name_of(1)
    path.write_bytes(b"\x01" + path.read_bytes()[1:])
    desk.restart()
    desk.send(people[0], desk.person(), 2)
    head = desk.close().head
    assert leaves_file.infohash(desk.keeper.name_of(2), file_of(desk, 2)) == head.file
    desk.verified(people[1], 2)
