"""How fast may this seeder upload, when nobody set a limit? A controller without a clock or a socket.

libtorrent's weights divide an upload limit; where the network is slower than the limit, the network divides,
and it treats everybody alike. So while payers compete, the limit must be just under what the uplink carries,
and that has to be found out: now and then a little more is granted, and what the network does with it tells.

What it looks at are bytes that peers have acknowledged (what the uplink carries) and bytes that the kernel
was given and nobody has acknowledged although a round trip is over: the backlog. Below the uplink's rate it
is gone again and again; above it, some always stands. So the least backlog of a quarter of a second is the
sign, as in CoDel (RFC 8289).

Whatever was granted beyond the uplink's rate has to be paid back before a limit binds again: libtorrent
saves up to three seconds of unused quota. A pause of less time than the standing backlog lasts empties both,
and the uplink does not idle meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

#: How often ``step`` wants a sample; up to three times as long is well.
SAMPLE_S = 0.05
#: Nobody competes for so long: the limit goes. An estimate that is older is measured anew.
_LET_GO_S, _STALE_S = 2.0, 60.0
#: Of the estimate, what is granted between probes.
UNDER = 0.98
#: The limit while a backlog drains, bytes a second: so little that libtorrent forgets the quota it saved.
PAUSE_BYTES_PER_S = 1024
#: Rates are measured over so long; a backlog stands when it was there all through the shorter one.
_RATE_S, _STANDING_LOOK_S = 0.5, 0.25
#: Between probes: at first, and at most, doubling while they confirm the estimate.
_FIRST_PROBE_S, _LAST_PROBE_S = 0.6, 4.8
#: What each probe grants beyond the estimate, while the one before found nothing standing.
_GAINS = (1.06, 1.15, 1.3, 1.5)
_PROBE_S, _LONGEST_PROBE_S = 0.6, 6.0
#: Of the estimate, while it is read: enough for the backlog to stay.
_WEIGHED = 1.02
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 0.6
#: A rate this near to the estimate confirms it, and moves it by that part of the difference.
_NEAR, _SMOOTHING = 0.1, 0.5
#: Without a backlog to see, the uplink is full when less than this part of what was granted arrives.
_BLIND_SHORT = 0.96
#: One reading alone lowers the estimate to no less than that part of it.
_MOST_FALL = 0.85
#: A backlog that stands for longer than this is one; TCP's bursts alone come to about half.
_STANDING_S = 0.025
_LEAST_STANDING_BYTES = 8 * 1024
_MOST_LIMIT = 2**31 - 1
_LEAST_ESTIMATE = 16 * 1024.0
_MOST_ESTIMATE = 2.0**30
#: Acknowledged bytes for each byte of the limit, which counts headers, too; learned within these bounds.
_YIELD, _LEAST_YIELD = 0.965, 0.5


class Phase(Enum):
    OFF = "off"  # nobody competes: no limit
    MEASURING = "measuring"  # no limit yet: what does the uplink carry?
    CRUISING = "cruising"  # just under the estimate
    PROBING = "probing"  # just above it
    WEIGHING = "weighing"  # at it, with a backlog that stands: now the uplink's rate can be read
    PAUSED = "paused"  # next to nothing, until the backlog is gone


@dataclass(frozen=True, slots=True)
class Sample:
    """``acked``: bytes that peers have confirmed, ever; ``backlog``: given to the kernel and not confirmed,
    but for those that are only on their way.

    ``blind``: most bytes go over connections whose backlog is not known (uTP).
    """

    at_s: float
    acked: int
    backlog: int
    blind: bool = False


@dataclass(frozen=True, slots=True)
class Governor:
    """The whole memory. ``estimate``: acknowledged bytes a second that the uplink carries; 0 unknown."""

    phase: Phase = Phase.OFF
    since_s: float = 0.0
    until_s: float = 0.0
    estimate: float = 0.0
    payload_yield: float = _YIELD
    #: Backlog that is there when the uplink is free: of peers that are slow themselves.
    base: float = 0.0
    gain: int = 0
    probed_s: float = 0.0
    probe_every_s: float = _FIRST_PROBE_S
    competed_s: float = 0.0
    samples: tuple[Sample, ...] = ()

    @property
    def limit(self) -> int | None:
        """Bytes a second for libtorrent, headers counted; None for no limit."""
        match self.phase:
            case Phase.OFF | Phase.MEASURING:
                return None
            case Phase.PAUSED:
                return PAUSE_BYTES_PER_S
            case Phase.CRUISING:
                factor = UNDER
            case Phase.PROBING:
                factor = _GAINS[self.gain]
            case Phase.WEIGHING:
                factor = _WEIGHED
        return min(int(self.estimate * factor / self.payload_yield), _MOST_LIMIT)


def step(governor: Governor, sample: Sample, competing: bool) -> Governor:
    """One more sample; ``competing``: somebody pays, and somebody else wants data."""
    now = sample.at_s
    if competing:
        governor = replace(governor, competed_s=now)
    elif governor.phase is Phase.OFF or now - governor.competed_s > _LET_GO_S:
        return replace(governor, phase=Phase.OFF, samples=())
    kept = tuple(old for old in governor.samples if now - old.at_s <= _RATE_S * 1.2)
    governor = replace(governor, samples=(*kept, sample))
    match governor.phase:
        case Phase.OFF:
            return _begin(governor, now)
        case Phase.MEASURING:
            return _measuring(governor, now)
        case Phase.CRUISING:
            return _cruising(governor, now)
        case Phase.PROBING:
            return _probing(governor, now)
        case Phase.WEIGHING:
            return _weighing(governor, now)
        case Phase.PAUSED:
            return _paused(governor, now)


def _begin(governor: Governor, now: float) -> Governor:
    if governor.estimate and now - governor.probed_s < _STALE_S:
        return _enter(governor, Phase.PROBING, now)
    return _enter(governor, Phase.MEASURING, now)


def _measuring(governor: Governor, now: float) -> Governor:
    rate = _rate(governor)
    rising = _rate(governor, _STANDING_LOOK_S) > (1 + _NEAR) * rate
    if now - governor.since_s < _RATE_S or rate < _LEAST_ESTIMATE or rising:
        return governor
    governor = replace(governor, estimate=_bounded(rate), gain=len(_GAINS) - 1)
    return _enter(governor, Phase.WEIGHING if _standing(governor) else Phase.PROBING, now)


def _cruising(governor: Governor, now: float) -> Governor:
    if now - governor.since_s < _RATE_S:
        return governor
    rate = _rate(governor)
    if _standing(governor):
        # More than the uplink carries now, though less than it did.
        if rate < governor.estimate * (1 - _NEAR):
            governor = _moved(governor, rate)
        return _enter(governor, Phase.WEIGHING, now)
    limit = governor.limit
    assert limit is not None
    found = rate / limit
    if _blind(governor) and found < governor.payload_yield * _BLIND_SHORT:
        lower = max(rate, governor.estimate * _MOST_FALL)
        return _enter(replace(governor, estimate=_bounded(lower)), Phase.CRUISING, now)
    least = _least(governor)
    if abs(found / governor.payload_yield - 1) < _NEAR and least < _stands(governor) / 3:
        learned = governor.payload_yield + 0.02 * (found - governor.payload_yield)
        governor = replace(governor, payload_yield=max(min(learned, 1.0), _LEAST_YIELD))
    governor = replace(governor, base=min(governor.base, least))
    if now - governor.probed_s > governor.probe_every_s:
        return _enter(replace(governor, gain=0), Phase.PROBING, now)
    return governor


def _probing(governor: Governor, now: float) -> Governor:
    lasted = now - governor.since_s
    if lasted < _STANDING_LOOK_S:
        return governor
    if _standing(governor):
        rate = _rate(governor, _STANDING_LOOK_S)
        if rate > governor.estimate * (1 + _NEAR):
            governor = _moved(governor, rate)
        return _enter(governor, Phase.WEIGHING, now)
    # Long enough for what it grants too much to stand: on a slow uplink that takes a while.
    needed = max(_STANDING_S, _LEAST_STANDING_BYTES / governor.estimate) / (
        _GAINS[governor.gain] - 1
    )
    lasts = min(max(_PROBE_S, 1.4 * needed), _LONGEST_PROBE_S)
    if governor.samples[-1].backlog - governor.base > _stands(governor):
        lasts += _STANDING_LOOK_S  # it may be about to stand
    if lasted < lasts:
        return governor
    # Nothing stands, so what was granted has arrived: half of it is believed, or, where a backlog could
    # not be seen, asked for.
    believed = governor.estimate * (1 + _GAINS[governor.gain]) / 2
    if _rate(governor) > (believed if _blind(governor) else governor.estimate * (1 - _NEAR / 2)):
        gain = min(governor.gain + 1, len(_GAINS) - 1)
        return _enter(replace(_moved(governor, believed), gain=gain), Phase.PROBING, now)
    return _enter(
        replace(governor, probed_s=now, gain=0), Phase.CRUISING, now
    )  # nobody wanted more


def _weighing(governor: Governor, now: float) -> Governor:
    if now - governor.since_s < _RATE_S:
        return governor
    rate, before = _rate(governor), governor.estimate
    if not _standing(governor):  # the uplink carries that much, and perhaps more
        if governor.gain:
            return _enter(replace(governor, gain=governor.gain - 1), Phase.PROBING, now)
        return _enter(replace(governor, probed_s=now), Phase.CRUISING, now)
    if abs(rate / before - 1) > _NEAR:
        return _pause(_moved(governor, max(rate, before * _MOST_FALL)), now)
    longer = min(governor.probe_every_s * 2, _LAST_PROBE_S)
    estimate = _bounded(before + _SMOOTHING * (rate - before))
    return _pause(replace(governor, estimate=estimate, probe_every_s=longer), now)


def _moved(governor: Governor, rate: float) -> Governor:
    """The uplink is another one now: look again soon."""
    return replace(governor, estimate=_bounded(rate), probe_every_s=_FIRST_PROBE_S)


def _paused(governor: Governor, now: float) -> Governor:
    newest = governor.samples[-1]
    if newest.backlog - governor.base > _stands(governor) / 3:
        if now < governor.until_s:
            return governor
        # What a pause does not empty is not the uplink's: it waits for peers that are slow themselves.
        governor = replace(governor, base=float(newest.backlog))
    # The pause is no part of any rate.
    return _enter(replace(governor, samples=(newest,)), Phase.CRUISING, now)


def _pause(governor: Governor, now: float) -> Governor:
    lasts = (_least(governor) - governor.base) / governor.estimate
    pause = min(max(1.5 * lasts, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)
    governor = replace(governor, until_s=now + pause, probed_s=now, gain=0)
    return _enter(governor, Phase.PAUSED, now)


def _enter(governor: Governor, phase: Phase, now: float) -> Governor:
    return replace(governor, phase=phase, since_s=now)


def _rate(governor: Governor, over_s: float = _RATE_S) -> float:
    """Acknowledged bytes a second, of late."""
    last = governor.samples[-1]
    first = next(one for one in governor.samples if last.at_s - one.at_s <= over_s * 1.2)
    return (last.acked - first.acked) / max(last.at_s - first.at_s, SAMPLE_S)


def _least(governor: Governor) -> float:
    now = governor.samples[-1].at_s
    return float(
        min(one.backlog for one in governor.samples if now - one.at_s <= _STANDING_LOOK_S * 1.1)
    )


def _standing(governor: Governor) -> bool:
    return _least(governor) - governor.base > _stands(governor)


def _stands(governor: Governor) -> float:
    return max(_STANDING_S * min(governor.estimate, _rate(governor)), _LEAST_STANDING_BYTES)


def _blind(governor: Governor) -> bool:
    return governor.samples[-1].blind


def _bounded(estimate: float) -> float:
    return min(max(estimate, _LEAST_ESTIMATE), _MOST_ESTIMATE)
