"""What must hold of epochs on their way to the chain, and of payout addresses: I7 and I8 of
``invariants.py``. Whether the chain says the same is the audit's question.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from speedpay.chain.transaction import Signed
from speedpay.errors import SpeedpayError
from speedpay.ledger import payouts
from speedpay.ledger.anchor_life import Attempt
from speedpay.ledger.broken import Broken
from speedpay.ledger.schema import anchor_attempts, anchors, chain_binding, epochs, ledger
from speedpay.ledger.schema import payouts as payout_table
from speedpay.ledger_api.epochs import EpochState as State
from speedpay.ledger_api.epochs import NamePayout
from speedpay.proof.head import EpochHead
from speedpay.signing import Domain

#: While an epoch is in one of these, one transaction of its own is alive; else none is.
_UNDER_WAY = (State.SIGNED.value, State.SENT.value, State.SEEN.value)


def every(connection: sa.Connection) -> Iterator[Broken]:
    yield from _settled(connection)
    yield from _attempts(connection)
    yield from _bound(connection)
    yield from _payouts(connection)


def _settled(connection: sa.Connection) -> Iterator[Broken]:
    """An epoch says where its anchor stands when it is settled, and only then; in order."""
    rows = connection.execute(
        sa.select(epochs.c.number, epochs.c.state, epochs.c.txid, epochs.c.block, anchors.c.time)
        .outerjoin(anchors, anchors.c.epoch == epochs.c.number)
        .order_by(epochs.c.number)
    )
    waits = False
    for row in rows:
        where, solid = f"epochs {row.number}", row.state == State.SOLID.value
        if any((told is not None) != solid for told in (row.txid, row.block, row.time)):
            yield Broken("I7", where, f"is {row.state}, and does not say where it stands on chain")
        if solid and waits:
            yield Broken("I7", where, "is settled before an earlier one")
        waits = waits or not solid


def _attempts(connection: sa.Connection) -> Iterator[Broken]:
    """I8: each transaction is the one that was signed, and at most one of an epoch is alive."""
    states: dict[int, Any] = {
        row.number: row.state
        for row in connection.execute(sa.select(epochs.c.number, epochs.c.state))
    }
    alive = dict.fromkeys(states, 0)
    numbers: dict[int, int] = {}
    order = (anchor_attempts.c.epoch, anchor_attempts.c.attempt)
    for row in connection.execute(sa.select(anchor_attempts).order_by(*order)):
        where = f"anchor_attempts {row.epoch} {row.attempt}"
        numbers[row.epoch] = numbers.get(row.epoch, 0) + 1
        if row.epoch not in states or row.attempt != numbers[row.epoch]:
            yield Broken("I8", where, "is of no epoch, or one before it is missing")
            return
        try:
            signed = Signed.from_stored(row.raw)
            as_stored = (signed.txid, signed.expires_at) == (row.txid, row.expires_at)
        except (SpeedpayError, ValueError, TypeError, AttributeError):
            as_stored = False
        if not as_stored:
            yield Broken("I8", where, "is not the transaction that was signed")
        is_alive = row.state == Attempt.ALIVE.value
        alive[row.epoch] += is_alive
        if row.state not in list(Attempt) or (row.ended_at is None) != is_alive:
            yield Broken("I8", where, f"has ended or not, and is {row.state}")
    for number, state in states.items():
        if alive[number] != (state in _UNDER_WAY):
            yield Broken("I8", f"epochs {number}", f"is {state} with {alive[number]} transactions")


def _bound(connection: sa.Connection) -> Iterator[Broken]:
    bound = connection.execute(sa.select(chain_binding)).first()
    for number, body in connection.execute(sa.select(epochs.c.number, epochs.c.body)):
        try:
            head = EpochHead.from_bytes(body)
            vault = (head.chain_id.to_bytes(32), head.vault)
        except (SpeedpayError, TypeError):
            continue  # named by epoch_invariants
        if bound is None or vault != (bound.chain_id, bound.vault):
            yield Broken("I7", "chain_binding", f"is not the vault of epoch {number}")
            return


def _payouts(connection: sa.Connection) -> Iterator[Broken]:
    """Whoever has the key of a payout address has consented that the account names it.

    ``salt_key`` is in nothing that is signed and kept, so another one than the owner gave is not found
    here. No money depends on it: a leaf has its salt, and only later salts would come of another key.
    """
    own = connection.execute(sa.select(ledger.c.network, ledger.c.ledger_id)).one()
    domain = Domain(own.network, own.ledger_id)
    for row in connection.execute(sa.select(payout_table)):
        try:
            order = NamePayout(row.payout, row.salt_key, row.public_key, row.signature)
            payouts.check(domain, row.account, order)
        except (SpeedpayError, ValueError, TypeError, AttributeError):
            where = row.account.hex() if isinstance(row.account, bytes) else repr(row.account)
            yield Broken("I7", f"payouts {where}", "was not named by the owner of that address")
