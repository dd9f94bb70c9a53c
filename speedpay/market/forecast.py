"""What seeding may earn in the time to come, from what it earned lately. Pure.

A forecast is the recent rate, kept up. How sure it is comes from the recent days themselves: the range is
that of the worst and the best slice of the time looked at, and few payers make it a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from speedpay.units import MAX_UTOK, Amount

DAY_S = 86_400
WINDOW_S = 7 * DAY_S
#: Into so many slices the time looked at is cut.
_SLICES = 7
#: Payments (channels) from which on the rate is more than chance, and time without which it is a guess.
_ENOUGH_PAYERS = 10
_ENOUGH_S = DAY_S
#: A minute's rate, kept up for a month, says nothing.
_LEAST_S = 3600


class Sureness(StrEnum):
    """``UNKNOWN``: nothing was offered yet, or for too short a time to say anything. ``NOBODY``: there was
    something to buy, and nobody paid."""

    UNKNOWN = "unknown"
    NOBODY = "nobody paid"
    GUESS = "a guess"
    ROUGH = "rough"
    FAIR = "fair"


@dataclass(frozen=True, slots=True)
class Income:
    """What one payer gave, and when its first payment came (unix seconds)."""

    at: int
    amount: Amount


@dataclass(frozen=True, slots=True)
class Forecast:
    """``low`` … ``high``: the same time in the worst and the best slice of ``looked_at_s`` seconds. With
    UNKNOWN the amounts mean nothing."""

    expected: Amount
    low: Amount
    high: Amount
    sureness: Sureness
    looked_at_s: int
    payers: int


def forecast(
    incomes: Sequence[Income], offered_since: int | None, now: int, ahead_s: int
) -> Forecast:
    """``offered_since``: when seeding was first seen, None for never; times are unix seconds.

    At most the last ``WINDOW_S`` are looked at. The rate is per second of time that passed, whether
    seeding or not: whoever seeds at night only goes on doing so.
    """
    nothing = Amount(0)
    if offered_since is None or offered_since > now:
        return Forecast(nothing, nothing, nothing, Sureness.UNKNOWN, 0, 0)
    looked_at = min(WINDOW_S, now - offered_since)
    if looked_at < _LEAST_S:
        return Forecast(nothing, nothing, nothing, Sureness.UNKNOWN, looked_at, 0)
    begin = now - looked_at
    recent = [income for income in incomes if begin <= income.at <= now and income.amount]
    if not recent:
        return Forecast(nothing, nothing, nothing, Sureness.NOBODY, looked_at, 0)
    slices = [0] * _SLICES
    for income in recent:
        at = min(_SLICES - 1, (income.at - begin) * _SLICES // looked_at)
        slices[at] += income.amount.utok
    earned = sum(slices)
    return Forecast(
        _scaled(earned, ahead_s, looked_at),
        _scaled(min(slices) * _SLICES, ahead_s, looked_at),
        _scaled(max(slices) * _SLICES, ahead_s, looked_at),
        _sureness(slices, len(recent), looked_at),
        looked_at,
        len(recent),
    )


def _sureness(slices: Sequence[int], payers: int, looked_at_s: int) -> Sureness:
    if payers < _ENOUGH_PAYERS or looked_at_s < _ENOUGH_S:
        return Sureness.GUESS
    return Sureness.FAIR if max(slices) <= 2 * min(slices) else Sureness.ROUGH


def _scaled(utok: int, ahead_s: int, looked_at_s: int) -> Amount:
    return Amount(min(MAX_UTOK, utok * ahead_s // looked_at_s))
