"""What the journal alone says that is owed, at any size of it: the auditor's own arithmetic.

No balance, channel or leaf is read, so none of them can be believed by mistake. A payer's locked
tokens are still his own; a withdrawal stays its owner's for ever, because leaves and the vault count
what was ever released.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import sqlalchemy as sa

from speedpay.errors import BooksBroken
from speedpay.ledger.chart import BookAccount, Kind, Role
from speedpay.ledger.schema import transfers
from speedpay.proof.leaf import TREASURY
from speedpay.units import MoneyClass


@dataclass(slots=True)
class Owed:
    """µtok. ``tokens`` by owner (16 bytes; fees under the treasury's id). ``issues``: the token rows
    that stand for deposits: sequence → (account, µtok)."""

    tokens: Counter[bytes] = field(default_factory=Counter)
    credit: int = 0
    issues: dict[int, tuple[bytes, int]] = field(default_factory=dict)


def at(connection: sa.Connection, size: int) -> Owed:
    """After the first ``size`` transfers. Raises BooksBroken for a row that no ledger wrote."""
    found = Owed()
    payer: dict[bytes, bytes] = {}
    rows = connection.execute(
        sa.select(transfers).where(transfers.c.sequence <= size).order_by(transfers.c.sequence)
    )
    for row in rows.mappings():
        try:
            debit, credit = BookAccount.of(row["debit"]), BookAccount.of(row["credit"])
            kind, tokens = Kind(row["kind"]), row["class"] == MoneyClass.TOKEN.value
            amount = int(row["amount"])
        except (ValueError, TypeError, AttributeError) as error:
            raise BooksBroken(
                f"is no transfer: {error}", field=f"transfers {row['sequence']}"
            ) from None
        if kind is Kind.LOCK:
            payer.setdefault(row["reference"], debit.owner)
        if not tokens:
            found.credit += amount * ((debit.role is Role.GRANTED) - (credit.role is Role.GRANTED))
            continue
        channel = row["reference"]
        if debit.role is Role.DEPOSITS:
            found.issues[row["sequence"]] = (credit.owner, amount)
        else:
            found.tokens[_owner(debit, debit, payer, channel)] -= amount
        found.tokens[_owner(credit, debit, payer, channel)] += amount
    return found


def _owner(
    side: BookAccount, debit: BookAccount, payer: dict[bytes, bytes], channel: bytes
) -> bytes:
    if side.role is Role.ESCROW:
        return payer.get(channel, b"")
    if side.role is Role.FEES:
        return TREASURY
    return debit.owner if side.role is Role.WITHDRAWALS else side.owner
