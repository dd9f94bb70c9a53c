"""How much faster a download is for being paid, measured while it runs, and when that is too little.

Now and then one paid seller is asked to serve for free for a moment (a *slice*); what it then gives, against
what it gave before, is a *sample* of what paying that seller is worth. Over a download the bytes that came
are compared with those that would have come: paid bytes, each divided by its seller's ratio, and all others
as they are. A seller without samples of its own counts as the others do: how much a bid matters is decided by
the same rule at each.

A slice costs speed. ``Control`` begins one only while all of them together cost at most 2 % of the download's
time, so a seller that brings most of the bytes is sampled late, and in a short download not at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

#: Slices end a little late: so much of what they may cost is planned with.
PLANNED = 0.95
#: A slice lasts so much longer than its length: words to and fro, and what it takes to be fast again.
OVERHEAD_S = 0.05
#: After so many seconds, the time that a download will still take is more than a guess.
FORESEE_S = 3.0
#: Samples older than this say little about now.
SAMPLE_S = 120.0
#: A free rate of nothing counts as this: no ratio is infinite.
_LEAST_RATE = 4 * 1024
#: How far a ratio may be off by one sample of it, and by none, as logarithms: factors of 1.6 and 2.7.
_ONE_SAMPLE, _NO_SAMPLE = 0.5, 1.0
#: By how much rates differ that are the same.
_NOISE = 0.1


@dataclass(frozen=True, slots=True)
class Rules:
    """Seconds, and parts of one. ``slice_s``: how long a seller is paused, at least ``shortest_s`` where its
    part of the download is large; the first ``settle_s`` of it are not counted: what left ahead of its turn
    with our messages is paid back then. ``every_s``: between
    slices, ``same_s``: between two of one seller.
    ``cost``: the part of the download's time that all slices together may cost. Paying stops when the gain
    has been below ``least`` for ``stop_after_s``, by at least ``fewest_samples``, and is tried again after
    ``again_after_s``. Nothing is said before those sellers were sampled that brought ``known_part`` of the
    bytes."""

    slice_s: float = 2.0
    shortest_s: float = 1.6
    settle_s: float = 1.0
    every_s: float = 1.5
    same_s: float = 8.0
    cost: float = 0.02
    least: float = 1.1
    stop_after_s: float = 30.0
    again_after_s: float = 300.0
    fewest_samples: int = 3
    known_part: float = 0.25


@dataclass(frozen=True, slots=True)
class Gain:
    """``times`` as fast as free, probably between ``low`` and ``high``, from so many ``samples``."""

    times: float
    low: float
    high: float
    samples: int

    @property
    def certainty(self) -> float:
        """1: exact; 0: the range is as wide as twice the figure, or wider."""
        return max(0.0, 1 - (self.high - self.low) / (2 * self.times))


@dataclass(frozen=True, slots=True)
class Sample:
    """One seller's bytes a second paid and free, one after the other.

    ``sliced``: measured at this seller itself; False where another one's free rate stands for its own.
    """

    seller: int
    paid: int
    free: int
    at: float
    sliced: bool = True

    @property
    def ratio(self) -> float:
        return max(1.0, self.paid / max(self.free, _LEAST_RATE))


@dataclass(frozen=True, slots=True)
class Paid:
    """A seller that is paid now: bytes a second, and its part of what arrives from everybody."""

    seller: int
    rate: int
    part: float


class Control:
    """Samples and bytes of one download. ``now`` is any steady clock in seconds."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.samples: list[Sample] = []
        #: Seconds of the whole download that slices have cost so far.
        self.cost_s = 0.0
        self._paid_bytes: dict[int, int] = {}
        self._free_bytes = 0
        self._count: dict[int, int] = {}
        self._sliced_at: dict[int, float] = {}
        self._last_at = -math.inf
        self._below_since: float | None = None
        #: The estimate when paying last stopped: it stands until there are samples again.
        self._before: Gain | None = None

    # --- what arrives ----------------------------------------------------------------------------

    def arrived(self, seller: int, byte_count: int, paid: bool) -> None:
        if paid:
            self._paid_bytes[seller] = self._paid_bytes.get(seller, 0) + byte_count
        else:
            self._free_bytes += byte_count

    def sampled(self, sample: Sample, part: float, lasted_s: float) -> None:
        """A slice has ended. ``part``: the seller's of the download before; ``lasted_s``: until it served as
        before."""
        self.samples = [one for one in self.samples if sample.at - one.at < SAMPLE_S]
        self.samples.append(sample)
        self._count[sample.seller] = self._count.get(sample.seller, 0) + 1
        self.cost_s += lasted_s * part * (1 - 1 / sample.ratio)

    # --- the estimate ----------------------------------------------------------------------------

    def ratio(self, seller: int | None = None) -> float | None:
        """Paid ÷ free rate of this seller, or of all that were sampled; None without a sample."""
        return self._ratio(self.samples, seller)

    @staticmethod
    def _ratio(samples: Sequence[Sample], seller: int | None) -> float | None:
        own = [one for one in samples if one.seller == seller] or samples
        if not own:
            return None
        paid, free = sum(one.paid for one in own), sum(one.free for one in own)
        return max(1.0, paid / max(free, _LEAST_RATE * len(own)))

    def estimate(self) -> Gain | None:
        """Over all bytes so far; None while the sellers that were sampled brought too few of them."""
        paid = sum(self._paid_bytes.values())
        sampled = {one.seller for one in self.samples}
        known = sum(count for seller, count in self._paid_bytes.items() if seller in sampled)
        if not known or known < self.rules.known_part * paid:
            return self._before
        whole, freely, most, least = paid + self._free_bytes, 0.0, 0.0, 0.0
        for seller, count in self._paid_bytes.items():
            ratio, spread = self.ratio(seller) or 1.0, self._spread(seller)
            freely += count / ratio
            most += min(count, count * spread / ratio)
            least += count / (ratio * spread)
        times, low, high = (whole / (self._free_bytes + part) for part in (freely, most, least))
        return Gain(times, low, high, len(self.samples))

    def _spread(self, seller: int) -> float:
        """The factor by which this seller's ratio is probably off: a standard error, as a logarithm."""
        logs = [math.log(one.ratio) for one in self.samples if one.seller == seller]
        if not logs:
            return math.exp(_NO_SAMPLE)
        mean = sum(logs) / len(logs)
        squares = _ONE_SAMPLE**2 + sum((one - mean) ** 2 for one in logs)
        return math.exp(math.sqrt(squares) / len(logs))

    def is_useless(self, gain_now: float | None, now: float) -> bool:
        """Whether paying has made less than ``least`` of a difference for ``stop_after_s``."""
        if gain_now is None or gain_now >= self.rules.least:
            self._below_since = None
            return False
        if self._below_since is None:
            self._below_since = now
        since = self._below_since
        fresh = sum(one.at >= since and one.sliced for one in self.samples)
        return now - since >= self.rules.stop_after_s and fresh >= self.rules.fewest_samples

    def gain_now(self, paid: Sequence[Paid], whole_rate: int) -> float | None:
        """The gain at this moment's rates; ``whole_rate``: from everybody, bytes a second.

        By slices alone: it decides whether paying stops, and a seller that gives for nothing and names
        whichever uplink it likes could have everybody stop.
        """
        slices = [one for one in self.samples if one.sliced]
        if not slices or not paid or not whole_rate:
            return None
        sampled = {one.seller for one in slices}
        known = sum(one.rate for one in paid if one.seller in sampled)
        if known < self.rules.known_part * sum(one.rate for one in paid):
            return None
        lost = sum(one.rate * (1 - 1 / (self._ratio(slices, one.seller) or 1.0)) for one in paid)
        return whole_rate / max(1.0, whole_rate - lost)

    def restart(self) -> None:
        """Paying begins again after it had stopped: earlier samples say nothing."""
        self._before = self.estimate()
        self.samples.clear()
        self._count.clear()
        self._below_since = None

    # --- whose turn it is ------------------------------------------------------------------------

    def next_slice(
        self, paid: Sequence[Paid], elapsed_s: float, left_s: float, now: float
    ) -> tuple[int, float] | None:
        """Whom to pause for how long, if anybody: the seller about which most bytes hang and least is known.

        ``elapsed_s``: since paying began; ``left_s``: until the download will be complete.
        """
        if now - self._last_at < self.rules.every_s:
            return None
        ahead = left_s if elapsed_s >= FORESEE_S else 0.0
        allowed = PLANNED * self.rules.cost * (elapsed_s + min(ahead, FORESEE_S + elapsed_s))
        ranked = sorted(paid, key=lambda one: -one.part / (1 + self._count.get(one.seller, 0)) ** 2)
        for rank, one in enumerate(ranked):
            # Half is saved for the first, or the cheap ones would use up what it needs.
            budget = (allowed if rank == 0 else allowed / 2) - self.cost_s
            lost = max(one.part, 1e-6) * self._worst_loss(one.seller)
            length = min(self.rules.slice_s, budget / lost - OVERHEAD_S)
            rested = now - self._sliced_at.get(one.seller, -math.inf) >= self.rules.same_s
            if rested and length >= self.rules.shortest_s:
                self._last_at = self._sliced_at[one.seller] = now
                return one.seller, length
        return None

    def _worst_loss(self, seller: int) -> float:
        """The part of its rate that a seller may give less of while paused: all, before it has been."""
        own = self.ratio(seller) if seller in self._count else None
        return min(1.0, 1 - 1 / own + _NOISE) if own is not None else 1.0


def alike(sample: Sample, uplink: int, other_uplink: int) -> Sample | None:
    """``sample.free`` was measured at another, unpaid seller: as of this one's uplink, if both are named and
    at most a factor of two apart; None otherwise."""
    if not uplink or not other_uplink or not uplink <= 2 * other_uplink <= 4 * uplink:
        return None
    return replace(sample, free=sample.free * uplink // other_uplink, sliced=False)
