"""The uplink governor against a simulated uplink: a queue, saved-up quota, delay, noise, changes."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from speedpay.market.governor import (
    PAUSE_BYTES_PER_S,
    SAMPLE_S,
    Governor,
    Phase,
    Sample,
    step,
)

MB = 1_000_000
#: Of what libtorrent counts against its limit, payload and its headers make up the rest to one.
YIELD = 0.965
_STEP_S = 0.01
_AHEAD_S = 0.08


@dataclass
class Uplink:
    """``carries``: second → acknowledged bytes a second. ``wants``: what peers ask for at most; ``slow``:
    bytes that always wait for peers that are slow themselves; ``blind``: nothing is seen to wait."""

    carries: Callable[[float], float]
    wants: float = float("inf")
    slow: int = 0
    blind: bool = False
    rtt_s: float = 0.03
    noise: random.Random | None = None
    quota: float = 0.0
    queue: float = 0.0
    travelling: deque[tuple[float, float]] = field(default_factory=deque)
    acked: float = 0.0

    def advance(self, now: float, limit: int | None) -> None:
        rate = self.carries(now)
        room = max(0.0, max(rate * _AHEAD_S, 64_000) - self.queue)
        granted = min(room, self.wants * _STEP_S)
        if limit is not None:
            # As libtorrent does: quota that nobody could use is kept, for three seconds.
            self.quota = min(self.quota + limit * _STEP_S, 3.0 * limit)
            granted = min(granted, self.quota * YIELD)
            self.quota -= granted / YIELD
        self.queue += granted
        jitter = self.noise.uniform(0.7, 1.3) if self.noise else 1.0
        sent = min(self.queue, rate * _STEP_S * jitter)
        self.queue -= sent
        self.travelling.append((now + self.rtt_s, sent))
        while self.travelling and self.travelling[0][0] <= now:
            self.acked += self.travelling.popleft()[1]

    def sample(self, now: float) -> Sample:
        backlog = 0 if self.blind else int(self.queue) + self.slow
        return Sample(now, int(self.acked), backlog, self.blind)


@dataclass
class Course:
    """What happened each hundredth of a second."""

    seconds: list[float] = field(default_factory=list)
    limits: list[int | None] = field(default_factory=list)
    acked: list[float] = field(default_factory=list)
    estimates: list[float] = field(default_factory=list)
    queues: list[float] = field(default_factory=list)

    def rate(self, since: float, until: float) -> float:
        inside = [a for s, a in zip(self.seconds, self.acked, strict=True) if since <= s < until]
        return (inside[-1] - inside[0]) / (until - since)

    def of(self, values: list[float], since: float, until: float) -> list[float]:
        return [v for s, v in zip(self.seconds, values, strict=True) if since <= s < until]


def run(uplink: Uplink, seconds: float, *, governor: Governor | None = None) -> Course:
    governor, course, sampled = governor or Governor(), Course(), -1.0
    for number in range(round(seconds / _STEP_S)):
        now = number * _STEP_S
        uplink.advance(now, governor.limit)
        if now - sampled >= SAMPLE_S - 1e-9:
            sampled = now
            governor = step(governor, uplink.sample(now), True)
        course.seconds.append(now)
        course.limits.append(governor.limit)
        course.acked.append(uplink.acked)
        course.estimates.append(governor.estimate)
        course.queues.append(uplink.queue)
    return course


def test_without_competition_there_is_no_limit_and_nothing_is_remembered() -> None:
    governor = step(Governor(), Sample(1.0, 0, 0), False)
    assert governor.limit is None
    assert governor.samples == ()


@pytest.mark.parametrize("carries", [100_000, MB, 5 * MB, 100 * MB])
@pytest.mark.parametrize("rtt_s", [0.01, 0.1])
def test_it_settles_just_under_what_the_uplink_carries(carries: int, rtt_s: float) -> None:
    course = run(Uplink(lambda _: carries, rtt_s=rtt_s), 20)
    assert 0.95 < course.rate(4, 20) / carries <= 1.0
    assert all(0.9 < e / carries < 1.08 for e in course.of(course.estimates, 4, 20))
    # Most of the time the limit divides, not the network.
    under = [limit is not None and limit * YIELD < carries for limit in course.limits[400:]]
    assert sum(under) / len(under) > 0.5


@pytest.mark.parametrize("seed", range(6))
def test_noise_does_not_move_it(seed: int) -> None:
    course = run(Uplink(lambda _: 5 * MB, noise=random.Random(seed)), 30)
    assert course.rate(4, 30) > 0.93 * 5 * MB
    assert all(0.8 < e / (5 * MB) < 1.1 for e in course.of(course.estimates, 4, 30))


@pytest.mark.parametrize("factor", [0.5, 2.0, 0.25, 4.0])
@pytest.mark.parametrize("when", [10.0, 11.3, 12.9])
def test_it_follows_an_uplink_that_changes_within_ten_seconds(factor: float, when: float) -> None:
    carries = 5 * MB
    course = run(Uplink(lambda now: carries * (factor if now >= when else 1.0)), when + 20)
    assert course.rate(when + 10, when + 20) > 0.93 * carries * factor
    after = course.of(course.estimates, when + 10, when + 20)
    assert all(0.9 < e / (carries * factor) < 1.1 for e in after)


def test_other_traffic_takes_a_part_and_gives_it_back() -> None:
    course = run(Uplink(lambda now: 5 * MB * (0.6 if 10 <= now < 20 else 1.0)), 40)
    assert course.rate(14, 20) > 0.93 * 3 * MB
    assert course.rate(30, 40) > 0.93 * 5 * MB


def test_what_waits_for_a_slow_peer_is_not_taken_for_a_full_uplink() -> None:
    course = run(Uplink(lambda _: 5 * MB, slow=400_000), 30)
    assert course.rate(8, 30) > 0.93 * 5 * MB


def test_a_backlog_never_lasts() -> None:
    """A voucher, too, waits behind it."""
    course = run(Uplink(lambda _: 5 * MB), 30)
    full = [queue > 0.02 * 5 * MB for queue in course.of(course.queues, 4, 30)]
    assert sum(full) / len(full) < 0.5


def test_peers_that_want_less_than_there_is_do_not_raise_the_limit_for_ever() -> None:
    course = run(Uplink(lambda _: 20 * MB, wants=5 * MB), 60)
    assert course.rate(4, 60) > 0.95 * 5 * MB
    assert max(course.of(course.estimates, 4, 60)) < 2 * 5 * MB


def test_peers_that_ask_for_nothing_yet_are_not_limited_and_later_they_are() -> None:
    uplink = Uplink(lambda _: 5 * MB, wants=0)
    governor = Governor()
    for number in range(1000):
        now = number * _STEP_S
        if number == 300:
            assert governor.limit is None
            uplink.wants = float("inf")
        uplink.advance(now, governor.limit)
        if number % 5 == 0:
            governor = step(governor, uplink.sample(now), True)
    assert 0.9 < governor.estimate / (5 * MB) < 1.1


def test_peers_that_pause_find_the_uplink_as_it_was() -> None:
    uplink = Uplink(lambda _: 5 * MB)
    governor = Governor()
    for number in range(2000):
        now = number * _STEP_S
        uplink.wants = 0 if 5 <= now < 15 else float("inf")
        uplink.advance(now, governor.limit)
        if number % 5 == 0:
            governor = step(governor, uplink.sample(now), True)
            if now > 3:
                assert 0.85 < governor.estimate / (5 * MB) < 1.2


def test_without_a_backlog_to_see_it_stays_near_the_uplink() -> None:
    course = run(Uplink(lambda _: 5 * MB, blind=True), 30)
    assert course.rate(4, 30) > 0.9 * 5 * MB
    limits = [limit for limit in course.limits[400:] if limit is not None]
    assert sum(limits) / len(limits) * YIELD < 1.08 * 5 * MB


def test_it_lets_go_two_seconds_after_the_last_payer_and_comes_back_with_what_it_knew() -> None:
    uplink, governor = Uplink(lambda _: 5 * MB), Governor()
    phases = {}
    for number in range(1600):
        now = number * _STEP_S
        uplink.advance(now, governor.limit)
        if number % 5 == 0:
            # A payer whose vouchers lag for a second is not gone.
            competing = not 5 <= now < 6 and not 10 <= now < 14
            governor = step(governor, uplink.sample(now), competing)
            phases[now] = governor
    assert all(g.limit is not None for now, g in phases.items() if 1 <= now < 11.9)
    assert all(g.limit is None for now, g in phases.items() if 12.1 <= now < 14)
    back = phases[14.0]
    assert back.phase is Phase.PROBING
    assert back.limit is not None
    assert 0.9 < back.estimate / (5 * MB) < 1.1


def test_what_it_knew_long_ago_is_measured_again() -> None:
    old = Governor(estimate=100.0 * MB, probed_s=5.0)
    assert step(old, Sample(600.0, 0, 0), True).phase is Phase.MEASURING


def test_a_limit_is_never_beyond_what_libtorrent_takes_nor_none_at_all() -> None:
    for carries in (20_000.0, 1e9, 1e12):
        course = run(Uplink(lambda _, rate=carries: rate), 5)  # type: ignore[misc]
        limits = [limit for limit in course.limits if limit is not None]
        assert limits
        assert all(PAUSE_BYTES_PER_S <= limit < 2**31 for limit in limits)
