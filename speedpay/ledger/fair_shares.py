"""How one epoch's limit of withdrawals is shared out: equally, and nobody gets more than he waits for.

The max-min fair shares: what small ones do not need goes to the others, as water finds one level. Pure,
integers only, and the same for everybody who computes it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate


def fair_shares(needs: Sequence[int], limit: int) -> list[int]:
    """What each of ``needs`` gets of ``limit``; together exactly min(limit, sum of the needs).

    Whoever gets less than he needs gets at most 1 less than anybody else: units that cannot be divided
    go to the first. Sorts once.
    """
    total = left = min(limit, sum(needs))
    level = 0
    for done, need in enumerate(sorted(needs)):
        level = left // (len(needs) - done)
        if need > level:
            break
        left -= need
    shares = [min(need, level) for need in needs]
    undivided = total - sum(shares)
    for at, need in enumerate(needs):
        if undivided and need > level:
            shares[at] += 1
            undivided -= 1
    return shares


class Levels:
    """How much ``needs`` have got together once the level has risen to a height.

    Shares of many epochs rise to the level to which their sum would rise at once, but for units that
    cannot be divided. So a need is filled when the limits that were shared out reach ``below`` it.
    """

    def __init__(self, needs: Iterable[int]) -> None:
        self._sorted = sorted(needs)
        self._sums = [0, *accumulate(self._sorted)]

    def below(self, level: int) -> int:
        """The sum of min(need, ``level``)."""
        smaller = bisect_left(self._sorted, level)
        return self._sums[smaller] + level * (len(self._sorted) - smaller)
