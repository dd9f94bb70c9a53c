"""What can be asked about money in and out; ``routes.py`` joins this table to its own.

``GET /v1/ledger/chain`` is for everybody: it names nobody.
"""

from __future__ import annotations

import sqlalchemy as sa

from speedpay.ledger import book, deposits, withdrawals
from speedpay.ledger.asked import Asked
from speedpay.ledger.chain_side import health
from speedpay.ledger.schema import epochs
from speedpay.ledger_api import strict
from speedpay.ledger_api.chain import MAX_ALARM_CHARS, Ordered, Withdraw, Withdrawals
from speedpay.ledger_api.shapes import Json


def _withdraw(asked: Asked) -> bytes:
    order, owner = Withdraw.from_json(asked.json()), asked.owner()
    key = asked.once(owner.account).key

    def work(connection: sa.Connection, now: int) -> Json:
        number = withdrawals.ask(connection, owner.account, order, key, now)
        return Ordered(number, book.head(connection)).to_json()

    return asked.decide(owner, work)


def _withdrawals(asked: Asked) -> bytes:
    owner, settings, now = asked.own_account(), asked.service.settings, asked.service.now()
    account = owner.account
    asked.numbers()
    limit, interval_s = settings.withdrawals_per_epoch, settings.epoch_interval_s
    with asked.reading(owner) as connection:
        closed_at = connection.execute(sa.select(sa.func.max(epochs.c.closed_at))).scalar()
        next_close = max(now, (closed_at or now) + interval_s)
        listed = withdrawals.of_account(connection, account, limit, next_close, interval_s, now)
        known = health.told(connection, interval_s, limit, now)
        answer = Withdrawals(
            listed,
            withdrawals.released(connection, account),
            deposits.claimed(connection, account),
            limit,
            interval_s,
            "; ".join(known.alarms)[:MAX_ALARM_CHARS] or None,
        )
    return strict.dump(answer.to_json())


def _deposits(asked: Asked) -> bytes:
    owner = asked.own_account()
    asked.numbers()
    with asked.reading(owner) as connection:
        found = deposits.of_account(connection, owner.account)
    return strict.dump(found.to_json())


def _health(asked: Asked) -> bytes:
    settings, now = asked.service.settings, asked.service.now()
    with asked.service.database.read() as connection:
        found = health.told(
            connection, settings.epoch_interval_s, settings.withdrawals_per_epoch, now
        )  # fmt: skip
    return strict.dump(found.to_json())


_ACCOUNT = r"([0-9a-f]{32})"
CHAIN_ROUTES = (
    ("GET", "/v1/ledger/chain", _health),
    ("POST", "/v1/withdrawals", _withdraw),
    ("GET", f"/v1/accounts/{_ACCOUNT}/withdrawals", _withdrawals),
    ("GET", f"/v1/accounts/{_ACCOUNT}/deposits", _deposits),
)
