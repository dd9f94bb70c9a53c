"""How the ledger stands with its chain: what is kept for every process to tell, and what is wrong.

The worker writes the one row of ``chain_watch``; ``told`` makes the public answer from it, so that all
processes of a ledger say the same. An alarm is a plain sentence under a name; it is logged once when
it comes and once when it goes.
"""

from __future__ import annotations

import logging

import sqlalchemy as sa

from speedpay.ledger import withdrawals
from speedpay.ledger.schema import anchors, chain_watch, epochs
from speedpay.ledger_api.chain import MAX_ALARM_CHARS, ChainHealth, LastAnchor
from speedpay.ledger_api.epochs import EpochState as State
from speedpay.units import Amount

_log = logging.getLogger("speedpay.ledger.chain")

#: The newest anchor may be this many intervals old before it is an alarm; and a block takes a minute
#: to be final, which counts when intervals are short.
LATE_INTERVALS = 2
_FINAL_S = 120


def last_anchor(connection: sa.Connection) -> LastAnchor | None:
    row = connection.execute(
        sa.select(epochs.c.number, epochs.c.txid, epochs.c.block, anchors.c.time)
        .join(anchors, anchors.c.epoch == epochs.c.number)
        .where(epochs.c.state == State.SOLID.value)
        .order_by(epochs.c.number.desc())
        .limit(1)
    ).first()
    return LastAnchor(row.number, row.txid, row.block, row.time) if row else None


def late(connection: sa.Connection, interval_s: int, now: int) -> str | None:
    """A sentence when the chain has not taken an epoch for too long; None when all is well."""
    anchored = last_anchor(connection)
    first = connection.execute(sa.select(sa.func.min(epochs.c.closed_at))).scalar()
    since = anchored.time if anchored else first
    limit_s = max(LATE_INTERVALS * interval_s, interval_s + _FINAL_S)
    if since is None or now - since <= limit_s:
        return None
    return f"the chain has taken no epoch for more than {limit_s // 60} minutes"


def told(connection: sa.Connection, interval_s: int, limit: Amount, now: int) -> ChainHealth:
    closed = connection.execute(sa.select(sa.func.max(epochs.c.number))).scalar()
    anchored = last_anchor(connection)
    length, amount = withdrawals.queue(connection)
    watch = connection.execute(sa.select(chain_watch)).first()
    return ChainHealth(
        closed=closed or 0,
        anchor=anchored,
        age_s=max(0, now - anchored.time) if anchored else None,
        interval_s=interval_s,
        limit=limit,
        queued=amount,
        queue_length=length,
        next_block=watch.next_block if watch else None,
        low_trx=bool(watch and watch.low_trx),
        frozen_epoch=watch.frozen_epoch if watch else None,
        alarms=tuple(watch.alarms.splitlines()) if watch else (),
    )


class Alarms:
    """What is wrong now, by name. ``keep`` logs only what has changed."""

    def __init__(self) -> None:
        self._sounding: dict[str, str] = {}

    def keep(self, found: dict[str, str]) -> list[str]:
        """``found`` replaces what was known. Returns the sentences, each bounded and in one line."""
        clean = {name: _one_line(text) for name, text in found.items()}
        for name in sorted(clean.keys() - self._sounding.keys()):
            _log.error("%s: %s", name, clean[name])
        for name in sorted(self._sounding.keys() - clean.keys()):
            _log.warning("%s: over", name)
        self._sounding = clean
        return [clean[name] for name in sorted(clean)]


def _one_line(text: str) -> str:
    """Nodes and contracts have a say in these texts."""
    return "".join(c for c in text[:MAX_ALARM_CHARS] if c.isprintable())
