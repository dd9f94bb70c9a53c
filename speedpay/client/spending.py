"""What the user may spend in a UTC day and month: the books of it, shared by all processes of one home.

**Never above a cap, and why.** A voucher leaves this process only after the transaction that saves it. That
transaction counts what the voucher adds, and is refused when the sum passes a cap (``record``). SQLite lets
one process write at a time, so two cannot spend the same µtok; after a kill at any instruction either all of
it is there or nothing. ``permit`` opens that transaction before the voucher is signed: a cap that another
process has lowered holds for the very next one.

**Leases.** So that a seller need not wait for bytes that it has delivered, a process sets aside what it may
yet owe; others leave that alone. Nothing rests on leases but fairness: one that lapses early lets another
process pay first, and never more than the cap.

**A clock that is set back** opens no day again: a day's sum is of that day and all later ones.
"""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from speedpay.channel.payer import PayerChannel
from speedpay.errors import OverBudget
from speedpay.market.budget import Rest, Span, Standing
from speedpay.units import ZERO, Amount

if TYPE_CHECKING:
    from speedpay.client.database import Database

_DAY_S = 86_400
#: A process that died leaves what it had set aside to the others after this.
LEASE_S = 15
_RENEW_S = 10
# One statement: it runs for every voucher.
_STANDING = """
SELECT (SELECT utok FROM caps WHERE span = 'day'), (SELECT utok FROM caps WHERE span = 'month'),
    (SELECT coalesce(sum(utok), 0) FROM spent WHERE day >= ?),
    (SELECT coalesce(sum(utok), 0) FROM spent WHERE day >= ?),
    (SELECT coalesce(sum(utok), 0) FROM leases WHERE holder != ? AND until > ? AND until <= ?)
"""
# Nothing is written where a cap would be passed: that this adds a row is the permission to commit.
_COUNT = """
INSERT INTO spent SELECT :day, :added WHERE
    :added + (SELECT coalesce(sum(utok), 0) FROM spent WHERE day >= :day)
        <= coalesce((SELECT utok FROM caps WHERE span = 'day'), 9223372036854775807)
    AND :added + (SELECT coalesce(sum(utok), 0) FROM spent WHERE day >= :first)
        <= coalesce((SELECT utok FROM caps WHERE span = 'month'), 9223372036854775807)
ON CONFLICT (day) DO UPDATE SET utok = utok + excluded.utok
"""
_LEASE = """
INSERT INTO leases VALUES (?, ?, ?)
ON CONFLICT (holder) DO UPDATE SET utok = excluded.utok, until = excluded.until
"""
_LIMIT = "SELECT json_extract(body, '$.max_spend') FROM plans WHERE id = ?"
_SIGNED = "SELECT coalesce(sum(coalesce(paid, signed)), 0) FROM paying WHERE plan = ?"


def day_of(utc: int) -> int:
    """UTC days since 1970."""
    return utc // _DAY_S


def first_of_month(utc: int) -> int:
    """The day with which this UTC month began."""
    return _first_of_month(day_of(utc))


@functools.cache
def _first_of_month(day: int) -> int:
    return day_of(int(datetime.fromtimestamp(day * _DAY_S, UTC).replace(day=1).timestamp()))


def starts_anew(span: Span, utc: int) -> int:
    """Unix seconds of the next UTC midnight, or of the next month's first one."""
    if span is Span.DAY:
        return (day_of(utc) + 1) * _DAY_S
    return first_of_month(first_of_month(utc) * _DAY_S + 32 * _DAY_S) * _DAY_S


def standing(db: sa.Connection, utc: int, holder: bytes = b"") -> Standing:
    """The caps, and what counts against them, at ``utc``; ``holder``'s own lease does not."""
    arguments = (day_of(utc), first_of_month(utc), holder, utc, utc + LEASE_S)
    row = db.exec_driver_sql(_STANDING, arguments).one()
    caps = {
        span: Amount(utok) for span, utok in zip(Span, row[:2], strict=True) if utok is not None
    }
    spent = {span: Amount(utok) for span, utok in zip(Span, row[2:4], strict=True)}
    return Standing(caps, spent, Amount(row[4]))


def record(db: sa.Connection, paying: Iterable[PayerChannel], utc: int) -> None:
    """Count what these channels signed since they were last saved, in the transaction that saves them.

    Raises OverBudget when that passes a cap: then the transaction must not be committed.
    """
    added = 0
    for channel in paying:
        known = db.exec_driver_sql(
            "SELECT signed FROM paying WHERE channel = ?", (channel.statement.channel,)
        ).scalar()
        added += max(0, channel.signed.utok - (known or 0))
    if not added:
        return
    row = {"day": day_of(utc), "first": first_of_month(utc), "added": added}
    if not db.exec_driver_sql(_COUNT, row).rowcount:
        raise OverBudget(
            f"{Amount(added)} more would pass what you may spend today or this month",
            hint="speedpay budget",
        )


def _limit(db: sa.Connection, plan: int) -> Amount | None:
    utok = db.exec_driver_sql(_LIMIT, (plan,)).scalar()
    return None if utok is None else Amount.from_wire(utok, "plan.max_spend")


class Spending:
    """One process and the user's caps. ``clock``: unix seconds."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._holder = secrets.token_bytes(8)
        self._leased, self._until = ZERO, 0
        self._rest = Rest()
        #: What was permitted in the transaction that is held, by plan, and when.
        self._permitted: dict[int, int] = {}
        self._permitted_at = 0

    @property
    def utc(self) -> int:
        """The time at which what is saved now counts: that of its permission, if it has one."""
        return self._permitted_at if self._database.is_held else int(self._clock())

    def standing(self) -> Standing:
        with self._database.read() as db:
            return standing(db, int(self._clock()), self._holder)

    def set_cap(self, span: Span, cap: Amount | None) -> None:
        """From the next voucher on, of every process; None lifts it."""
        with self._database.write() as db:
            db.exec_driver_sql("DELETE FROM caps WHERE span = ?", (span.value,))
            if cap is not None:
                db.exec_driver_sql("INSERT INTO caps VALUES (?, ?)", (span.value, cap.utok))

    def limit(self, plan: int) -> Amount | None:
        """The hard limit of this plan (its row's number), as it is now."""
        with self._database.read() as db:
            return _limit(db, plan)

    def permit(self, plan: int, amount: Amount) -> Amount:
        """How much of ``amount`` may be signed now for this plan (its row's number).

        Holds the transaction that saves the voucher: what it says is still true then.
        """
        if not self._database.is_held:
            self._permitted, self._permitted_at = {}, int(self._clock())
        with self._database.held() as db:
            available = standing(db, self._permitted_at, self._holder).available
            found = available.minus_or_zero(Amount(sum(self._permitted.values())))
            limit = _limit(db, plan)
            if limit is not None:
                signed = db.exec_driver_sql(_SIGNED, (plan,)).scalar_one()
                spent = Amount(signed + self._permitted.get(plan, 0))
                found = min(found, limit.minus_or_zero(spent))
        found = min(amount, found)
        self._permitted[plan] = self._permitted.get(plan, 0) + found.utok
        return found

    def set_aside(self, amount: Amount) -> Standing:
        """Lease ``amount`` of the caps, or as much as there is, for what this process may yet have to pay.

        Up to twice as much is set aside, so that not every change is a write.
        """
        utc = int(self._clock())
        with self._database.read() as db:
            found = standing(db, utc, self._holder)
        target = min(found.available, amount.times(2)) if found.caps else ZERO
        fits = amount <= self._leased <= min(found.available, amount.times(4))
        fresh = _RENEW_S <= self._until - utc <= LEASE_S
        if (fits or self._leased == target) and (fresh or not self._leased):
            return found
        with self._database.write() as db:
            found = standing(db, utc, self._holder)
            self._leased = min(found.available, target)
            self._until = utc + LEASE_S
            db.exec_driver_sql(
                "DELETE FROM leases WHERE until <= ? OR until > ?", (utc, self._until)
            )
            db.exec_driver_sql(_LEASE, (self._holder, self._leased.utok, self._until))
        return found

    def rests(self, exposure: Amount) -> tuple[bool, str | None]:
        """Whether paying is to rest until there is more to spend, and what to tell the user if that is new.

        ``exposure``: what sellers may yet have to be paid if they are paused now.
        """
        found = self.set_aside(exposure)
        before, self._rest = self._rest, self._rest.at(found.available, exposure)
        if self._rest and not before:
            return True, _used_up(found)
        if before and not self._rest:
            return False, "there is room in the budget again: paying goes on"
        return bool(self._rest), None

    def give_back(self) -> None:
        """This process pays nothing more."""
        if self._leased:
            with self._database.write() as db:
                db.exec_driver_sql("DELETE FROM leases WHERE holder = ?", (self._holder,))
            self._leased = ZERO


def _used_up(found: Standing) -> str:
    span = found.nearest or Span.DAY
    whose = "today's" if span is Span.DAY else "this month's"
    return (
        f"{whose} budget of {found.caps.get(span, ZERO)} tok is used up but for what is still on its"
        f" way: the download goes on in the free lane; more: speedpay budget --{span} TOK"
    )
