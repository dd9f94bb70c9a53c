"""What a client must not forget: plans, orders under way, channels of both sides, resume data.

When a method returns, its change survives a power cut. A voucher is stored here before it is sent, and an
accepted one before it is acknowledged.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from speedpay.channel.payee import PayeeChannel
from speedpay.channel.payer import PayerChannel
from speedpay.channel.voucher import SignedStatement, Statement, Voucher
from speedpay.client import records, spending, tables
from speedpay.client.database import Database
from speedpay.errors import Malformed
from speedpay.ledger_api.attested import SignedAnswer
from speedpay.market.bidder import Plan
from speedpay.units import ZERO, Amount, MoneyClass

# Built once: they run for every voucher, and building one costs as much as executing it.
_SAVE_PAYER = (
    tables.paying.update()
    .where(tables.paying.c.channel == sa.bindparam("identity"))
    .values(
        {
            name: sa.bindparam(f"new_{name}")
            for name in ("statement", "signature", "signed", "acknowledged")
        }
    )
)
_SAVE_VOUCHER = (
    tables.paid.update()
    .where(tables.paid.c.channel == sa.bindparam("identity"))
    .values({name: sa.bindparam(f"new_{name}") for name in ("cumulative", "voucher")})
)


@dataclass(frozen=True, slots=True)
class StoredPlan:
    id: int
    infohash: bytes
    plan: Plan
    money_class: MoneyClass


@dataclass(frozen=True, slots=True)
class Order:
    """``channel`` is None for opening one, else it is topped up. ``key``: 16 bytes, idempotency."""

    key: bytes
    plan: StoredPlan
    payee_key: bytes
    nonce: bytes
    channel: bytes | None
    amount: Amount
    lifetime_s: int


@dataclass(frozen=True, slots=True)
class Earned:
    """A channel that pays us: its statement and best voucher, and what was redeemed of it."""

    infohash: bytes
    channel: PayeeChannel
    redeemed: Amount


class Store(Database):
    # --- plans and orders ------------------------------------------------------------------------

    def plan_of(self, infohash: bytes) -> StoredPlan | None:
        """The purchase of this torrent that is not done yet."""
        query = sa.select(tables.plans).where(
            tables.plans.c.infohash == infohash, ~tables.plans.c.done
        )
        with self.read() as db:
            row = db.execute(query.order_by(tables.plans.c.id.desc()).limit(1)).first()
        return None if row is None else _plan(row)

    def open_plans(self) -> list[StoredPlan]:
        """Purchases that are not done yet, the newest of each torrent."""
        with self.read() as db:
            rows = db.execute(sa.select(tables.plans).where(~tables.plans.c.done)).all()
        return list({row.infohash: _plan(row) for row in rows}.values())

    def save_plan(self, infohash: bytes, plan: Plan, money_class: MoneyClass) -> StoredPlan:
        """A new purchase, or another plan for the one that goes on: what it has spent stays spent."""
        body = json.dumps(plan.to_json())
        known = self.plan_of(infohash)
        with self.write() as db:
            if known is not None:
                db.execute(
                    tables.plans.update().where(tables.plans.c.id == known.id).values(body=body)
                )
                return StoredPlan(known.id, infohash, plan, known.money_class)
            row = {"infohash": infohash, "body": body, "money_class": money_class, "done": False}
            number = db.execute(tables.plans.insert().values(row)).inserted_primary_key
        assert number is not None
        return StoredPlan(int(number[0]), infohash, plan, money_class)

    def plan_done(self, plan: StoredPlan) -> None:
        with self.write() as db:
            db.execute(tables.plans.update().where(tables.plans.c.id == plan.id).values(done=True))

    def settled(self, plan: StoredPlan) -> Amount:
        """Paid on channels of this plan that the ledger has closed."""
        total = sa.select(sa.func.coalesce(sa.func.sum(tables.paying.c.paid), 0))
        with self.read() as db:
            return Amount(
                int(db.execute(total.where(tables.paying.c.plan == plan.id)).scalar_one())
            )

    def spent(self, plan: StoredPlan) -> Amount:
        """Settled, and signed on channels of this plan that are still open."""
        total = self.settled(plan)
        for channel, _ in self.open_paying(plan):
            total += channel.signed
        return total

    def given(self, money_class: MoneyClass) -> tuple[Amount, Amount]:
        """Of this class: what sellers have surely taken by now, and what they may take at most."""
        settled = sa.func.coalesce(sa.func.sum(tables.paying.c.paid), 0)
        promised = sa.func.coalesce(
            sa.func.sum(sa.func.coalesce(tables.paying.c.paid, tables.paying.c.signed)), 0
        )
        query = sa.select(settled, promised).join(
            tables.plans, tables.paying.c.plan == tables.plans.c.id
        )
        with self.read() as db:
            row = db.execute(query.where(tables.plans.c.money_class == money_class)).one()
        return Amount(int(row[0])), Amount(int(row[1]))

    def payees(self, plan: StoredPlan) -> list[tuple[bytes, Amount]]:
        """(payee key, paid or still promised) of everyone whom this plan has paid anything."""
        query = sa.select(tables.paying).where(tables.paying.c.plan == plan.id)
        totals: dict[bytes, Amount] = {}
        with self.read() as db:
            for row in db.execute(query).all():
                key = Statement.from_bytes(row.statement).payee_key
                paid = Amount(row.signed if row.paid is None else row.paid)
                totals[key] = totals.get(key, ZERO) + paid
        return [(key, paid) for key, paid in totals.items() if paid]

    def add_order(self, order: Order) -> None:
        row = {
            "key": order.key, "plan": order.plan.id, "payee_key": order.payee_key,
            "nonce": order.nonce, "channel": order.channel, "amount": order.amount.utok,
            "lifetime_s": order.lifetime_s,
        }  # fmt: skip
        with self.write() as db:
            db.execute(tables.orders.insert().values(row))

    def drop_order(self, order: Order) -> None:
        """The ledger has refused it for good."""
        with self.write() as db:
            db.execute(tables.orders.delete().where(tables.orders.c.key == order.key))

    def order_filled(self, order: Order, opened: SignedStatement) -> None:
        """The ledger has locked it: the channel is on record in the same step."""
        body = opened.statement
        row = {
            "channel": body.channel, "plan": order.plan.id, "statement": body.to_bytes(),
            "signature": opened.signature, "signed": 0, "acknowledged": 0,
        }  # fmt: skip
        newer = {"statement": row["statement"], "signature": row["signature"]}
        statement = insert(tables.paying).values(row)
        with self.write() as db:
            db.execute(statement.on_conflict_do_update(index_elements=["channel"], set_=newer))
            db.execute(tables.orders.delete().where(tables.orders.c.key == order.key))

    def orders(self) -> list[Order]:
        query = sa.select(tables.orders, tables.plans).join(
            tables.plans, tables.orders.c.plan == tables.plans.c.id
        )
        with self.read() as db:
            rows = db.execute(query).all()
        return [
            Order(
                row.key, _plan(row), row.payee_key, row.nonce, row.channel, Amount(row.amount),
                row.lifetime_s,
            )
            for row in rows
        ]  # fmt: skip

    # --- channels --------------------------------------------------------------------------------

    def save_channels(
        self,
        paying: Iterable[PayerChannel],
        paid: Iterable[tuple[bytes, PayeeChannel, SignedStatement | None]],
        utc: int | None = None,
    ) -> None:
        """One transaction for all that a batch of events changed, before anything is sent.

        ``paying``: our channels as payer. ``paid``: (infohash, channel, statement if new) as payee. What
        was signed since is counted as spent at ``utc`` (now). Raises OverBudget, with nothing saved,
        if it passes a cap of the user's.
        """
        paying = list(paying)
        with self.write() as db:
            spending.record(db, paying, int(time.time()) if utc is None else utc)
            for payer in paying:
                body = payer.opened
                row = {
                    "identity": body.statement.channel, "new_statement": body.statement.to_bytes(),
                    "new_signature": body.signature, "new_signed": payer.signed.utok,
                    "new_acknowledged": payer.acknowledged.utok,
                }  # fmt: skip
                db.execute(_SAVE_PAYER, row)
            for infohash, payee, opened in paid:
                _save_payee(db, infohash, payee, opened)

    def open_paying(self, plan: StoredPlan | None = None) -> list[tuple[PayerChannel, StoredPlan]]:
        """Channels we pay on that the ledger has not closed, of one plan or of all."""
        query = sa.select(tables.paying, tables.plans).join(
            tables.plans, tables.paying.c.plan == tables.plans.c.id
        )
        query = query.where(tables.paying.c.paid.is_(None))
        if plan is not None:
            query = query.where(tables.paying.c.plan == plan.id)
        with self.read() as db:
            rows = db.execute(query).all()
        return [
            (
                PayerChannel(
                    SignedStatement(Statement.from_bytes(row.statement), row.signature),
                    Amount(row.signed), Amount(row.acknowledged),
                ),
                _plan(row),
            )
            for row in rows
        ]  # fmt: skip

    def payer_closed(
        self, channel: bytes, paid: Amount, answer: SignedAnswer | None = None
    ) -> None:
        """``answer``: the ledger's, which says so; it is kept in the same step."""
        query = tables.paying.update().where(tables.paying.c.channel == channel)
        with self.write() as db:
            db.execute(query.values(paid=paid.utok))
            if answer is not None:
                records.keep(db, channel, answer)

    def open_paid(self) -> list[Earned]:
        """Channels that pay us and are not closed."""
        with self.read() as db:
            rows = db.execute(sa.select(tables.paid).where(~tables.paid.c.closed)).all()
        return [_earned(row) for row in rows]

    def earned(self, channel: bytes) -> Earned | None:
        with self.read() as db:
            row = db.execute(sa.select(tables.paid).where(tables.paid.c.channel == channel)).first()
        return None if row is None else _earned(row)

    def redeemed(
        self, channel: bytes, total: Amount, closed: bool, answer: SignedAnswer | None = None
    ) -> None:
        """As ``payer_closed``."""
        query = tables.paid.update().where(tables.paid.c.channel == channel)
        with self.write() as db:
            db.execute(query.values(redeemed=total.utok, closed=closed))
            if answer is not None:
                records.keep(db, channel, answer)

    def earned_total(self, since: int = 0) -> Amount:
        """Accepted in vouchers since then (unix seconds), redeemed or not."""
        total = sa.select(sa.func.coalesce(sa.func.sum(tables.paid.c.cumulative), 0))
        with self.read() as db:
            return Amount(int(db.execute(total.where(tables.paid.c.at >= since)).scalar_one()))

    # --- torrents --------------------------------------------------------------------------------

    def save_resume(self, infohash: bytes, save_dir: Path, data: bytes) -> None:
        row = {"infohash": infohash, "save_dir": str(save_dir), "data": data}
        statement = insert(tables.resumes).values(row)
        with self.write() as db:
            db.execute(statement.on_conflict_do_update(index_elements=["infohash"], set_=row))

    def resume_of(self, infohash: bytes, save_dir: Path) -> bytes | None:
        query = sa.select(tables.resumes.c.data).where(
            tables.resumes.c.infohash == infohash, tables.resumes.c.save_dir == str(save_dir)
        )
        with self.read() as db:
            return db.execute(query).scalar_one_or_none()

    def drop_resume(self, infohash: bytes) -> None:
        with self.write() as db:
            db.execute(tables.resumes.delete().where(tables.resumes.c.infohash == infohash))


def _plan(row: Any) -> StoredPlan:
    try:
        body = json.loads(row.body)
    except ValueError as error:
        raise Malformed("is not JSON", field="store.plans.body") from error
    return StoredPlan(row.id, row.infohash, Plan.from_json(body), MoneyClass(row.money_class))


def _earned(row: Any) -> Earned:
    statement = Statement.from_bytes(row.statement)
    best = None
    if row.voucher is not None:
        best = Voucher(row.channel, Amount(row.cumulative), row.voucher)
    return Earned(row.infohash, PayeeChannel(statement, best), Amount(row.redeemed))


def _save_payee(
    db: sa.Connection, infohash: bytes, channel: PayeeChannel, opened: SignedStatement | None
) -> None:
    best = channel.best
    values: dict[str, object] = {
        "cumulative": (best.cumulative if best else ZERO).utok,
        "voucher": best.signature if best else None,
    }
    identity = channel.statement.channel
    if opened is None:
        row = {f"new_{name}": value for name, value in values.items()}
        db.execute(_SAVE_VOUCHER, row | {"identity": identity})
        return
    values |= {"statement": opened.statement.to_bytes(), "signature": opened.signature}
    fresh = {
        "channel": identity, "infohash": infohash, "redeemed": 0, "closed": False,
        "at": int(time.time()),
    }  # fmt: skip
    statement = insert(tables.paid).values(values | fresh)
    db.execute(statement.on_conflict_do_update(index_elements=["channel"], set_=values))
