"""Heads, proofs, the journal and payout addresses, as anybody may ask for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from speedpay.chain import address
from speedpay.errors import (
    AlreadyExists,
    BadSignature,
    Malformed,
    NotAllowed,
    NotFound,
)
from speedpay.ledger_api import epochs
from speedpay.ledger_api.epochs import EpochState, NamePayout
from speedpay.proof import journal
from speedpay.proof.leaf import NO_PAYOUT, salt_of
from speedpay.signing import SigningKey
from speedpay.units import Amount
from tests.unit.ledger.closing import VAULT, Closing
from tests.unit.ledger.desk import Person, fresh, new_key


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Closing]:
    made = Closing(tmp_path / "ledger")
    yield made
    assert made.broken() == []
    made.service.close()


def named(desk: Closing, who: Person, key: SigningKey | None = None) -> NamePayout:
    key = key or new_key()
    own = address.of_public_key(key.public)
    return NamePayout.sign(key, own, os.urandom(32), desk.service.domain, who.account)


def name(desk: Closing, who: Person, order: NamePayout) -> None:
    desk.ask(epochs.name_payout(who.key, who.account, order, fresh()))


# --- heads and proofs ------------------------------------------------------------------------------


def test_the_identity_names_the_vault(desk: Closing) -> None:
    chain = desk.service.identity().chain
    assert chain
    assert (chain.vault, chain.token) == (VAULT.address, VAULT.token)
    assert chain.chain_id == int.from_bytes(VAULT.chain_id)


def test_anybody_may_ask_for_a_head_and_the_newest_is_the_one_that_is_published(
    desk: Closing,
) -> None:
    with desk.refused(NotFound, "epoch"):
        desk.ask(epochs.epoch())
    desk.close()
    desk.service.publisher = "127.0.0.1:6881"
    made = desk.close()
    desk.close_only()
    newest = desk.ask(epochs.epoch())
    assert newest == desk.ask(epochs.epoch(2))
    assert newest.head.signed == made.signed
    assert newest.state is EpochState.PUBLISHED
    assert newest.publisher == "127.0.0.1:6881"
    assert newest.txid is None


def test_where_the_anchor_stands_is_told(desk: Closing) -> None:
    desk.close()
    with desk.service.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE epochs SET state = 'solid', txid = ?, block = 7", (b"\x07" * 32,)
        )
        connection.exec_driver_sql("INSERT INTO anchors (epoch, time) VALUES (1, 1)")
    view = desk.ask(epochs.epoch(1))
    assert (view.state, view.txid, view.block) == (EpochState.SOLID, b"\x07" * 32, 7)


def test_a_head_stays_certified_after_the_certificate_was_renewed(desk: Closing) -> None:
    """Whoever verifies asks whether the certificate was in force when the epoch was closed."""
    desk.close()
    desk.clock.now += 200 * 24 * 3600
    desk.restart()
    view = desk.ask(epochs.epoch(1))
    view.head.certificate.check(desk.service.domain, view.head.signed.head.closed_at)
    view.head.check(desk.service.domain)


@pytest.mark.parametrize(
    "target", ["/v1/epochs/0", "/v1/epochs/-1", "/v1/epochs/1.0", "/v1/epochs/x"]
)
def test_what_is_no_number_of_an_epoch_is_not_found(desk: Closing, target: str) -> None:
    desk.close()
    assert desk.raw("GET", target, b"").status == 404


@pytest.mark.parametrize("number", [2, 2**63 - 1, 2**63, 10**19 - 1])
def test_an_epoch_that_is_not_there_is_not_found(desk: Closing, number: int) -> None:
    desk.close()
    with desk.refused(NotFound, "epoch"):
        desk.ask(epochs.epoch(number))


def test_another_owners_proof_is_refused(desk: Closing) -> None:
    ann, ben = desk.person(tokens=5), desk.person(tokens=6)
    desk.close()
    target = f"/v1/accounts/{ann.account.hex()}/proof?epoch=1"
    status, said = desk.signed(ben, "GET", target, b"")
    assert (status, said["error"]["field"]) == (404, "account")


# --- the journal ------------------------------------------------------------------------------------


def test_a_transfer_of_ones_own_is_proved_to_be_in_the_journal(desk: Closing) -> None:
    ann, ben = desk.person(tokens=500), desk.person()
    for utok in range(1, 9):
        desk.send(ann, ben, utok)
    head = desk.close().head
    for row in desk.everything()["transfers"]:
        sides = {f"user:{ann.account.hex()}": ann, f"user:{ben.account.hex()}": ben}
        who = sides.get(str(row[3])) or sides.get(str(row[4]))
        assert who
        sequence = int(str(row[0]))
        shown = desk.ask(
            epochs.inclusion(who.key, who.account, sequence, head.journal_size)
        )  # fmt: skip
        leaf = journal.leaf_of(shown.salt, shown.entry)
        journal.verify_inclusion(
            leaf, sequence - 1, head.journal_size, shown.path, head.journal_root
        )
        assert shown.entry == journal.entry(*row[:8])  # type: ignore[arg-type]


def test_a_transfer_of_others_is_not_shown(desk: Closing) -> None:
    ann, ben, eve = desk.person(tokens=500), desk.person(), desk.person()
    desk.send(ann, ben, 3)
    size = desk.close().head.journal_size
    with desk.refused(NotAllowed, "sequence"):
        desk.ask(epochs.inclusion(eve.key, eve.account, size, size))
    with desk.refused(NotFound, "sequence"):
        desk.ask(epochs.inclusion(ann.key, ann.account, size, size - 1))
    with desk.refused(NotFound, "size"):
        desk.ask(epochs.inclusion(ann.key, ann.account, size, size + 1))


def test_every_journal_begins_with_every_older_one(desk: Closing) -> None:
    ann = desk.person(tokens=500)
    heads = []
    for _ in range(6):
        desk.send(ann, desk.person(), 1)
        heads.append(desk.close().head)
    for at, newer in enumerate(heads):
        for older in heads[: at + 1]:
            path = desk.ask(epochs.consistency(older.journal_size, newer.journal_size))
            journal.verify_consistency(
                older.journal_size, newer.journal_size, older.journal_root, newer.journal_root, path
            )


def test_a_consistency_that_cannot_be_is_refused(desk: Closing) -> None:
    desk.person(tokens=5)
    size = desk.close().head.journal_size
    desk.person(tokens=5)
    with desk.refused(NotFound, "to"):
        desk.ask(epochs.consistency(1, size + 1))
    with desk.refused(Malformed, "from"):
        desk.ask(epochs.consistency(size, size - 1))
    for query in ("", "?to=1", "?from=0", "?from=x&to=1", "?from=1&to=1&by=2"):
        assert desk.raw("GET", f"/v1/journal/consistency{query}", b"").status == 422, query


# --- payout addresses --------------------------------------------------------------------------------


def test_a_named_payout_address_is_in_the_next_leaf(desk: Closing) -> None:
    ann = desk.person(tokens=5)
    desk.close()
    order = named(desk, ann)
    name(desk, ann, order)
    desk.close()
    before, after = desk.verified(ann, 1), desk.verified(ann, 2)
    assert (before.payout, after.payout) == (NO_PAYOUT, order.address)
    assert (before.position, before.balance) == (after.position, after.balance)
    assert after.salt == salt_of(order.salt_key, 2)  # which the owner can derive himself


def test_an_account_without_tokens_may_name_one_and_has_a_leaf_with_its_first_token(
    desk: Closing,
) -> None:
    ann = desk.person()
    order = named(desk, ann)
    name(desk, ann, order)
    desk.close()
    assert desk.proof(ann, 1) is None
    desk.service.issue(ann.account, Amount(3), b"deposit")
    desk.close()
    assert desk.verified(ann, 2).payout == order.address


def test_a_payout_address_is_named_once_for_ever(desk: Closing) -> None:
    ann = desk.person(tokens=5)
    first = named(desk, ann)
    name(desk, ann, first)
    name(desk, ann, first)
    with pytest.raises(AlreadyExists) as caught:
        name(desk, ann, named(desk, ann))
    assert caught.value.field == "address"
    desk.close()
    assert desk.verified(ann, 1).payout == first.address


def test_a_payout_address_of_another_key_is_refused(desk: Closing) -> None:
    ann, other = desk.person(tokens=5), new_key()
    key = new_key()
    theirs = address.of_public_key(other.public)
    order = NamePayout.sign(key, theirs, bytes(32), desk.service.domain, ann.account)
    with desk.refused(BadSignature, "address"):
        name(desk, ann, order)


def test_a_payout_address_whose_owner_does_not_consent_is_refused(desk: Closing) -> None:
    """Otherwise a thief could have the vault pay him in somebody else's name, who is then asked."""
    ann, ben = desk.person(tokens=5), desk.person(tokens=5)
    for_ben = named(desk, ben)
    with desk.refused(BadSignature, "signature"):
        name(desk, ann, for_ben)
    forged = NamePayout(for_ben.address, bytes(32), for_ben.public_key, bytes(63) + b"\x01")
    with desk.refused(BadSignature, "signature"):
        name(desk, ben, forged)


def test_another_accounts_payout_address_is_not_named(desk: Closing) -> None:
    ann, eve = desk.person(tokens=5), desk.person()
    order = named(desk, ann)
    target = f"/v1/accounts/{ann.account.hex()}/payout"
    before = desk.everything()
    status, said = desk.signed(eve, "POST", target, epochs.dump(order.to_json()))
    assert (status, said["error"]["field"]) == (404, "account")
    assert desk.everything() == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("address", "00" * 20), ("address", "00" * 19), ("address", 5), ("salt_key", "0" * 63),
        ("public_key", "05" * 33), ("signature", "AA" * 64), ("extra", "1"),
    ],
)  # fmt: skip
def test_a_malformed_naming_is_refused(desk: Closing, field: str, value: object) -> None:
    ann = desk.person(tokens=5)
    body = named(desk, ann).to_json() | {field: value}
    target = f"/v1/accounts/{ann.account.hex()}/payout"
    before = desk.everything()
    status, said = desk.signed(ann, "POST", target, epochs.dump(body))
    assert (status, said["error"]["field"]) == (422, field)
    assert desk.everything() == before
