"""How much to lock for one seller: little at first, more as it delivers, never beyond the budget."""

from __future__ import annotations

from speedpay.market.metering import UNIT_MIN_BYTES
from speedpay.units import KIB, MIB, ZERO, Amount, Price

#: An unknown payee gets at most this part of the allowance, and not more than these bytes cost.
FIRST_DIVISOR = 20
FIRST_BYTES = 256 * KIB
#: Unused escrow is at most what this many seconds of the seller's traffic cost.
TRAFFIC_S = 60


def first_escrow(allowance: Amount, price: Price, min_escrow: Amount, free: Amount) -> Amount:
    """What to lock for a payee that has not delivered yet; zero when it would be of no use.

    ``min_escrow``: the seller's; ``free``: what the budget still allows. A stranger's minimum never
    gets more than the part of an unknown payee, or one greedy ask would lock the whole budget.
    """
    unit = price.cost_ceil(UNIT_MIN_BYTES)
    most = max(Amount(allowance.utok // FIRST_DIVISOR), unit)
    amount = min(max(min(most, price.cost_ceil(FIRST_BYTES)), min_escrow), free)
    return amount if max(unit, min_escrow) <= amount <= most else ZERO


def worth_opening(left: Amount, ask: Price, remaining_bytes: int) -> bool:
    """What is left of the allowance buys 1 MiB, or all that remains, at the seller's own price."""
    return left >= ask.cost_ceil(min(MIB, remaining_bytes))


def is_low(escrow: Amount, signed: Amount, price: Price, rate_bytes_s: int) -> bool:
    """70 % of the escrow is used, or what is left would be gone within a second."""
    left = escrow.utok - signed.utok
    return signed.utok * 10 >= escrow.utok * 7 or left < price.cost_ceil(rate_bytes_s).utok


def is_urgent(escrow: Amount, signed: Amount, price: Price, rate_bytes_s: int) -> bool:
    """What is left would be gone within a quarter of a second: time to take back what others hold.

    Not sooner: a seller that is stopped slows down with blocks still asked of it, which the whole
    download then waits for.
    """
    return escrow.utok - signed.utok < price.cost_ceil(rate_bytes_s // 4).utok


def top_up(
    escrow: Amount,
    signed: Amount,
    price: Price,
    rate_bytes_s: int,
    expected_bytes: int,
    fair: Amount | None = None,
) -> Amount:
    """What to add: the escrow once more, at most 60 s of traffic and what this seller may yet deliver.

    ``expected_bytes``: its part of what remains, by its rate; a quarter more is locked, since rates move.
    ``fair``: the same part of the money that is left, where that does not pay for all that remains.
    """
    traffic = price.cost_ceil(max(TRAFFIC_S * rate_bytes_s, 4 * FIRST_BYTES))
    wanted = price.cost_ceil(expected_bytes + expected_bytes // 4 + UNIT_MIN_BYTES)
    if fair is not None:
        wanted = min(wanted, Amount(fair.utok + fair.utok // 4) + price.cost_ceil(UNIT_MIN_BYTES))
    target = min(2 * escrow.utok, signed.utok + min(traffic, wanted).utok)
    return Amount(max(0, target - escrow.utok))
