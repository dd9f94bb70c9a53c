"""What can be asked about epochs, proofs and the journal; ``routes.py`` joins this table to its own.

Heads and consistency proofs are for everybody: they name nobody. Only what is published is told; see
keeper.py for why.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from speedpay.errors import LedgerFailed, Malformed, NotAllowed, NotFound
from speedpay.ledger import (
    chart,
    epochs,
    head_certificates,
    journal_tree,
    keeper,
    leaves,
    payouts,
    tree,
)
from speedpay.ledger.asked import Asked
from speedpay.ledger.epochs import Epoch
from speedpay.ledger.schema import transfers
from speedpay.ledger_api import strict
from speedpay.ledger_api.epochs import EpochView, Inclusion, NamePayout, path_to_json
from speedpay.ledger_api.shapes import Json
from speedpay.proof import journal
from speedpay.proof.balance import BalanceProof
from speedpay.proof.evidence import CertifiedHead
from speedpay.units import MAX_UTOK


def _latest(asked: Asked) -> bytes:
    with asked.service.database.read() as connection:
        return _view(asked, connection, epochs.latest_published(connection))


def _epoch(asked: Asked) -> bytes:
    with asked.service.database.read() as connection:
        found = epochs.load_published(connection, _named(asked.parts[0], "epoch"))
        return _view(asked, connection, found)


def _view(asked: Asked, connection: sa.Connection, found: Epoch) -> bytes:
    service = asked.service
    certificate = head_certificates.of(connection, found.response_key, found.head.closed_at)
    if certificate is None:
        raise LedgerFailed("the certificate of this head was lost", field="epoch")
    view = EpochView(
        CertifiedHead(found.signed, certificate), found.state, found.txid, found.block,
        service.publisher,
    )  # fmt: skip
    return strict.dump(view.to_json())


def _proof(asked: Asked) -> bytes:
    number = asked.numbers(epoch=MAX_UTOK).get("epoch")
    owner = asked.own_account()
    with asked.reading(owner) as connection:
        newest = epochs.latest_published(connection)
        found = newest if number is None else epochs.load_published(connection, number)
        if found.number < keeper.first_kept(connection):
            raise NotFound("proofs of that epoch are no longer kept", field="epoch")
        proof = _proof_in(connection, found, owner.account)
    return strict.dump({"proof": proof.to_bytes().hex()} if proof else {})


def _proof_in(connection: sa.Connection, epoch: Epoch, account: bytes) -> BalanceProof | None:
    vault, last = epochs.binding(connection), epochs.latest(connection)
    assert vault
    assert last
    kept = leaves.kept(connection, vault, account, epoch.number, last.number)
    if kept is None or kept.position >= epoch.tree.leaf_count:
        return None
    leaf = kept.leaf
    _, path = tree.leaf_and_path(connection, epoch.tree, kept.position)
    return BalanceProof(
        epoch.number, kept.position, account, leaf.payout, leaf.withdrawable, leaf.balance,
        leaf.salt, path,
    )  # fmt: skip


def _inclusion(asked: Asked) -> bytes:
    sequence = _named(asked.parts[0], "sequence")
    size = asked.numbers(size=MAX_UTOK).get("size")
    owner = asked.owner()
    with asked.reading(owner) as connection:
        size = _covered(connection, size, "size")
        if sequence > size:
            raise NotFound("is not in a journal of that size", field="sequence")
        sides = sa.select(transfers.c.debit, transfers.c.credit)
        row = connection.execute(sides.where(transfers.c.sequence == sequence)).one()
        if chart.user(owner.account).name not in (row.debit, row.credit):
            raise NotAllowed("is a transfer of others", field="sequence")
        path = journal.inclusion_path(sequence - 1, size, journal_tree.nodes(connection))
        entry = journal_tree.entry(connection, sequence)
    salt = journal.salt_of(asked.service.keys.journal, sequence)
    return strict.dump(Inclusion(entry, salt, tuple(path)).to_json())


def _consistency(asked: Asked) -> bytes:
    given = asked.numbers(**{"from": MAX_UTOK, "to": MAX_UTOK})
    if "from" not in given:
        raise Malformed("is missing", field="from")
    with asked.service.database.read() as connection:
        size = _covered(connection, given.get("to"), "to")
        if given["from"] > size:
            raise Malformed("is above the newer size", field="from")
        path = journal.consistency_path(given["from"], size, journal_tree.nodes(connection))
    return strict.dump(path_to_json(tuple(path)))


def _covered(connection: sa.Connection, size: int | None, field: str) -> int:
    """``size``, if a published epoch covers so much of the journal; None: all of it."""
    largest = epochs.latest_published(connection).head.journal_size
    if size is not None and size > largest:
        raise NotFound(f"no published epoch covers more than {largest} transfers", field=field)
    return largest if size is None else size


def _name_payout(asked: Asked) -> bytes:
    order, owner = NamePayout.from_json(asked.json()), asked.own_account()

    def work(connection: sa.Connection, now: int) -> Json:
        payouts.check(asked.service.domain, owner.account, order)
        payouts.name(connection, owner.account, order, now)
        return {"payout": order.address.hex()}

    return asked.decide(owner, work)


def _named(text: str, field: str) -> int:
    if int(text) > MAX_UTOK:
        raise NotFound("there is none with that number", field=field)
    return int(text)


_ACCOUNT = r"([0-9a-f]{32})"
_NUMBER = r"([1-9][0-9]{0,18})"
ROUTES: tuple[tuple[str, str, Callable[[Asked], bytes]], ...] = (
    ("GET", "/v1/epochs/latest", _latest),
    ("GET", f"/v1/epochs/{_NUMBER}", _epoch),
    ("GET", f"/v1/accounts/{_ACCOUNT}/proof", _proof),
    ("POST", f"/v1/accounts/{_ACCOUNT}/payout", _name_payout),
    ("GET", f"/v1/journal/inclusion/{_NUMBER}", _inclusion),
    ("GET", "/v1/journal/consistency", _consistency),
)
