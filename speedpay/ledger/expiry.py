"""What time does to channels.

A channel expires by the wall clock, but its claim window of 8 days is counted in seconds during
which the ledger was **up**: a payee must have had the chance to ask. ``beat`` keeps that count in
the database. Every serving process beats; the seconds since anybody's last beat are added, unless
the gap is so long that nobody was there (or a clock jumped): then none are. A channel that expired
during an outage begins its window at the first beat after it, so no outage shortens any window.
"""

from __future__ import annotations

import sqlalchemy as sa

from speedpay.errors import ChannelClosed
from speedpay.ledger import channels, redemption
from speedpay.ledger.schema import channels as table
from speedpay.ledger.schema import ledger
from speedpay.ledger_api.shapes import ChannelState

BEAT_S = 10
#: A longer silence than this was an outage.
MAX_GAP_S = 60
#: Bounds the time for which one transaction of this task keeps other writers out.
MAX_AT_ONCE = 100


def beat(connection: sa.Connection, now: int) -> int:
    """Count the time since the last beat. Returns the ledger's uptime in seconds."""
    gap = now - ledger.c.beat_at
    counted = sa.case((sa.and_(gap > 0, gap <= MAX_GAP_S), gap), else_=0)
    row = connection.execute(
        ledger.update()
        .values(uptime_s=ledger.c.uptime_s + counted, beat_at=now)
        .returning(ledger.c.uptime_s)
    ).one()
    uptime_s: int = row.uptime_s
    return uptime_s


def begin_claims(connection: sa.Connection, now: int, uptime_s: int) -> int:
    """Channels past their expiry enter the claim window. Returns how many."""
    changed = connection.execute(
        table.update()
        .where(
            table.c.state.in_(channels.FOLLOWS[ChannelState.EXPIRED]),
            table.c.expiry <= now,
        )
        .values(state=ChannelState.EXPIRED.value, claim_from=uptime_s)
    )
    return changed.rowcount


def end_claims(connection: sa.Connection, now: int, uptime_s: int) -> int:
    """Channels past their claim window are settled. Returns how many; call again if any.

    The highest deposited voucher is paid if its payee's account is known; if not, it stays
    redeemable and only the rest goes back.
    """
    due = connection.execute(
        sa.select(table)
        .where(
            table.c.state == ChannelState.EXPIRED.value,
            table.c.claim_from + table.c.claim_s <= uptime_s,
        )
        .limit(MAX_AT_ONCE)
    ).mappings()
    settled = 0
    for row in due.all():
        known = channels.Channel.of(row)
        try:
            with connection.begin_nested():
                if known.payee is None and known.signed:
                    redemption.keep_unclaimed(connection, known, now)
                else:
                    redemption.close(connection, known, now)
        except ChannelClosed:
            continue  # its payee was faster
        settled += 1
    return settled
