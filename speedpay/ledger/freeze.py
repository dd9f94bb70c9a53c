"""The end of a vault: after a freeze tokens are settled by proof on chain, and move nowhere else.

From then on the chain counts the balances of one old epoch. Whatever is paid in tokens after it is
worth nothing to whoever takes it, so no order to pay with them is taken any more; credit goes on.
"""

from __future__ import annotations

import sqlalchemy as sa

from speedpay.errors import NotAllowed
from speedpay.ledger.chart import Kind
from speedpay.ledger.schema import chain_watch
from speedpay.units import MoneyClass

#: What starts a payment. A voucher that was signed before may still be redeemed, for what it is worth.
_ORDERS = frozenset({Kind.SEND, Kind.LOCK, Kind.WITHDRAW})


def epoch(connection: sa.Connection) -> int | None:
    """The last epoch that counts (0: none), once the vault is frozen; None while it lives."""
    return connection.execute(sa.select(chain_watch.c.frozen_epoch)).scalar()


def check(connection: sa.Connection, kind: Kind, money_class: MoneyClass) -> None:
    """Raises NotAllowed for an order to pay with tokens of a frozen vault."""
    if money_class is not MoneyClass.TOKEN or kind not in _ORDERS:
        return
    last = epoch(connection)
    if last is not None:
        raise NotAllowed(
            f"the vault is frozen: it pays whole balances by the proof of epoch {last}",
            field="class" if kind is not Kind.WITHDRAW else "amount",
        )
