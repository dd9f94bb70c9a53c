"""One key of one account, one request, one decision, in the transaction of the money it moves.

What was done stays known for ever. What was refused is kept for as long as the same signed request
could come again: whoever read it on the way may otherwise send it once more when there is money for
it, after its owner was told that nothing was paid and has paid in another way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from speedpay.errors import KeyReused, SpeedpayError
from speedpay.ledger.schema import idempotency, refusals
from speedpay.ledger_api import strict
from speedpay.ledger_api.refusals import decides, error_to_json, read_error
from speedpay.ledger_api.strict import Fields

#: A request is good for at most 4 minutes; an hour also bears a ledger whose clock was set back.
KEEP_REFUSALS_S = 3600


@dataclass(frozen=True, slots=True)
class Once:
    """Who asks for what under which idempotency key."""

    account: bytes
    key: bytes
    request_hash: bytes


def once(
    connection: sa.Connection, request: Once, now: int, work: Callable[[], dict[str, object]]
) -> bytes | SpeedpayError:
    """The JSON answer of ``work``, or its refusal: now, or when this key was first used.

    The caller commits, and only then raises a refusal. Raises KeyReused when the key belongs to
    another request; and what ``work`` raises, if that decides nothing (``refusals.decides``).
    """
    done = _known(connection, idempotency, request)
    if done is not None:
        return done
    refused = _known(connection, refusals, request)
    if refused is not None:
        return read_error(Fields(strict.parse(refused)))
    try:
        with connection.begin_nested():
            answer = strict.dump(work())
    except SpeedpayError as refusal:
        if not decides(refusal):
            raise
        told = strict.dump(error_to_json(refusal))
        connection.execute(refusals.insert().values(_row(request, told, now)))
        return refusal
    connection.execute(idempotency.insert().values(_row(request, answer, now) | {"status": 200}))
    return answer


def forget_refusals(connection: sa.Connection, now: int) -> None:
    connection.execute(refusals.delete().where(refusals.c.time < now - KEEP_REFUSALS_S))


def _known(connection: sa.Connection, table: sa.Table, request: Once) -> bytes | None:
    mine = sa.and_(table.c.account == request.account, table.c.key == request.key)
    row = connection.execute(sa.select(table.c.request_hash, table.c.answer).where(mine)).first()
    if row is None:
        return None
    if row.request_hash != request.request_hash:
        raise KeyReused("belongs to another request", field="speedpay-key")
    answer: bytes = row.answer
    return answer


def _row(request: Once, answer: bytes, now: int) -> dict[str, object]:
    return {
        "account": request.account, "key": request.key, "request_hash": request.request_hash,
        "answer": answer, "time": now,
    }  # fmt: skip
