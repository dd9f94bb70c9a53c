"""Which sellers are worth one of the few paid places: by rate and price, and now and then by trying one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from speedpay.units import Price

#: Who takes the place of another promises twice as much, and at least this part of the whole download: each
#: change costs a channel.
BETTER_FACTOR = 2
MATTERS_DIVISOR = 16
#: A seller that nobody knows anything of is tried so often, in place of one that brings at most an eighth of
#: the bytes, and gives the place back if it does not do better: at most 1 % of the download.
EXPLORE_S = 30.0
EXPLORE_DIVISOR = 8


def worth(rate: int, price: Price, maximum: Price) -> int:
    """Rate × (2 × maximum − price): what the user would pay for the bytes, and what is saved on them.

    A seller at the maximum is as good as one at no price that is half as fast.
    """
    return rate * max(0, 2 * maximum.utok_per_mib - price.utok_per_mib)


def promised(rates: Mapping[Price, int], price: Price) -> int:
    """Bytes a second that a seller names for ``price`` or the nearest lower price it was asked about."""
    asked = max((one for one in rates if one <= price), default=None)
    return rates[asked] if asked is not None else 0


def is_better(new: int, old: int, gained_rate: int, whole_rate: int) -> bool:
    """Whether a seller worth ``new`` takes the place of one worth ``old``. ``gained_rate``: how much faster
    it is, of ``whole_rate``, bytes a second."""
    return new > BETTER_FACTOR * old and gained_rate * MATTERS_DIVISOR >= whole_rate


def pick(count: int, seed: bytes, turn: int) -> int:
    """A number below ``count``, drawn from ``seed`` for the ``turn``-th time."""
    drawn = hashlib.sha256(seed + turn.to_bytes(8)).digest()
    return int.from_bytes(drawn[:8]) % count
