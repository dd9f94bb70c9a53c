"""By which certificate each head's signer spoke for the ledger: kept with the heads, for ever.

A rotated or revoked key signs no more, and what it signed before must still be shown as the ledger's.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from speedpay.errors import InvalidSetting
from speedpay.ledger.keys import LedgerKeys
from speedpay.ledger.response_keys import BACKDATED_S, CERTIFICATE_S
from speedpay.ledger.schema import certificates as table
from speedpay.ledger.schema import epochs
from speedpay.signing import Certificate


def keep(connection: sa.Connection, certificate: Certificate) -> None:
    row = {
        "response_key": certificate.response_key, "not_after": certificate.not_after,
        "not_before": certificate.not_before, "root_key": certificate.root_key,
        "signature": certificate.signature,
    }  # fmt: skip
    connection.execute(insert(table).values(row).on_conflict_do_nothing())


def of(connection: sa.Connection, response_key: bytes, closed_at: int) -> Certificate | None:
    """The one that was in force when that key signed the head of an epoch closed at ``closed_at``; after a
    clock that was wrong at the close, the last of that key."""
    query = sa.select(table).where(table.c.response_key == response_key)
    query = query.order_by((table.c.not_after < closed_at).asc(), table.c.not_after)
    rows = connection.execute(query).all()
    if not rows:
        return None
    row = rows[0] if rows[0].not_after >= closed_at else rows[-1]
    return Certificate(row.root_key, row.response_key, row.not_before, row.not_after, row.signature)


def complete(connection: sa.Connection, keys: LedgerKeys) -> None:
    """Heads of an earlier version have none: the root key gives them one. There was one response key then.

    Raises InvalidSetting when the root key is not there to do so.
    """
    certified = sa.select(table.c.not_after).where(table.c.response_key == epochs.c.response_key)
    bare = sa.select(sa.func.min(epochs.c.closed_at), sa.func.max(epochs.c.closed_at)).where(
        epochs.c.response_key == keys.response.public, ~sa.exists(certified)
    )
    first, last = connection.execute(bare).one()
    if first is None:
        return
    try:
        root = keys.root
    except InvalidSetting as error:
        error.hint = "its heads want a certificate, once: put root.key back for one start"
        raise
    keep(
        connection,
        Certificate.issue(
            root, keys.domain.network, keys.response.public, first - BACKDATED_S,
            last + CERTIFICATE_S,
        ),
    )  # fmt: skip
