"""How much a seller leaves unredeemed: the loss if the ledger should turn out not to know a channel.

A seller believes the ledger's signed statement that money is locked. Whoever stole the key that signs them
can make such statements, and a seller notices when it redeems. So what is accepted and not redeemed has a
cap in sum, and a smaller one under a key that the ledger has never yet paid for.
"""

from __future__ import annotations

from dataclasses import dataclass

from speedpay.units import ZERO, Amount

#: Until the ledger has paid on a channel under a key, this part of the cap holds for that key.
FIRST_DIVISOR = 10


@dataclass(frozen=True, slots=True)
class Risk:
    """What is accepted and not redeemed: ``total`` in all, ``under_key`` on channels of one response key.
    ``proven``: the ledger has paid on a channel of that key, and has not revoked it."""

    total: Amount
    under_key: Amount
    proven: bool


def first_cap(cap: Amount) -> Amount:
    """At least one µtok, or nothing could ever be proven."""
    return max(Amount(cap.utok // FIRST_DIVISOR), min(cap, Amount(1)))


def room(cap: Amount, risk: Risk) -> Amount:
    """How much more a seller may let run up under this key before the ledger has confirmed."""
    left = cap.minus_or_zero(risk.total)
    return left if risk.proven else min(left, first_cap(cap).minus_or_zero(risk.under_key))


def is_time_to_redeem(cap: Amount, risk: Risk) -> bool:
    """At half of either cap, so that an answer is there before the sale must pause."""
    first = ZERO if risk.proven else first_cap(cap)
    return 2 * risk.total.utok >= cap.utok or bool(first and 2 * risk.under_key.utok >= first.utok)
