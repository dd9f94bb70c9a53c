"""The uplink governor at work: what the kernel tells of our connections in, libtorrent's settings out.

Over TCP the kernel knows what peers have acknowledged and what waits. uTP runs inside libtorrent, which
tells nobody: there the blocks that left are counted, and nothing is seen to wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from speedpay.market.governor import SAMPLE_S, Governor, Phase, Sample, step
from speedpay.swarm.events import BlocksSent, Event, PeerConnected, PeerGone
from speedpay.swarm.settings import governed_settings, upload_settings
from speedpay.swarm.sockets import UNBOUNDED, TcpSocket, hold_back, tcp_sockets, tcp_state
from speedpay.units import KIB, MIB

_FIND_EVERY_S = 1.0
#: What the kernel may take of one connection before it can send it: this long at the whole estimate.
_AHEAD_S = 0.05
#: A connection's rate, by which bytes on their way are told from waiting ones, is taken over so long.
_SMOOTHED_S = 0.3
#: Buffers follow the estimate once it is that much away from what they were made for.
_RESHAPE = 0.25


class UplinkGovernor:
    """``apply`` gives settings to the session; before the first ``tick`` that competes, and a while after
    the last, the session has ``upload_settings(None)``."""

    def __init__(self, apply: Callable[[dict[str, int]], None]) -> None:
        self._apply = apply
        self._state = Governor()
        self._applied: dict[str, int] = {}
        #: What buffers and sockets are made for, about the estimate, bytes a second; None ungoverned.
        self.shape: int | None = None
        self._ends: dict[int, tuple[str, int]] = {}
        self._sockets: dict[tuple[str, int], TcpSocket] = {}
        #: By inode: bytes acknowledged, and how many a second of late.
        self._acked: dict[int, tuple[int, float]] = {}
        self._left: dict[int, int] = {}
        self._total = 0
        self._sampled_s = self._found_s = -_FIND_EVERY_S

    @property
    def estimate(self) -> int | None:
        """Bytes a second that the network was last found to carry, without headers; None before."""
        return int(self._state.estimate) or None

    @property
    def governing(self) -> bool:
        return self._state.phase is not Phase.OFF

    def saw(self, events: Iterable[Event]) -> None:
        """All events of the session, as they come."""
        for event in events:
            if isinstance(event, BlocksSent):
                if self.governing:
                    sent = self._left.get(event.connection, 0) + event.byte_count
                    self._left[event.connection] = sent
            elif isinstance(event, PeerConnected):
                self._ends[event.connection] = (event.address, event.port)
            elif isinstance(event, PeerGone):
                self._ends.pop(event.connection, None)
                self._left.pop(event.connection, None)

    def tick(self, competing: bool, now: float) -> None:
        if not (competing or self.governing) or now - self._sampled_s < SAMPLE_S * 0.9:
            return
        elapsed_s, self._sampled_s = now - self._sampled_s, now
        self._state = step(self._state, self._sample(now, elapsed_s), competing)
        if not self.governing:
            self._apply(upload_settings(None))
            self.forget()
            return
        estimate = self._state.estimate
        if estimate and (self.shape is None or abs(estimate / self.shape - 1) > _RESHAPE):
            self.shape = int(estimate)
            self._hold_back(self._sockets.values())
        settings = governed_settings(self._state.limit, self.shape)
        if settings != self._applied:
            self._applied = settings
            self._apply(settings)

    def forget(self) -> None:
        """The session has other settings now; only what the network carries is remembered."""
        for one in self._sockets.values():
            hold_back(one, UNBOUNDED)
        self._state = Governor(estimate=self._state.estimate, probed_s=self._state.probed_s)
        self._applied, self.shape = {}, None
        self._sockets, self._acked, self._left = {}, {}, {}
        self._found_s = self._sampled_s - _FIND_EVERY_S

    def _sample(self, now: float, elapsed_s: float) -> Sample:
        if now - self._found_s >= _FIND_EVERY_S:
            self._found_s = now
            self._find()
        backlog = seen = 0
        for end, one in list(self._sockets.items()):
            state = tcp_state(one)
            if state is None:
                del self._sockets[end]
                continue
            before, rate = self._acked.get(one.inode, (state.acked, 0.0))
            gained = state.acked - before
            rate += (gained / elapsed_s - rate) * min(1.0, elapsed_s / _SMOOTHED_S)
            self._acked[one.inode] = state.acked, rate
            seen += gained
            backlog += state.unsent + max(0, state.in_flight - int(rate * state.rtt_s))
        left, self._left = self._left, {}
        unseen = sum(
            count for connection, count in left.items()
            if self._ends.get(connection) not in self._sockets
        )  # fmt: skip
        self._total += seen + unseen
        return Sample(now, self._total, backlog, blind=unseen > seen)

    def _find(self) -> None:
        ends = set(self._ends.values())
        found = {(one.address, one.port): one for one in tcp_sockets()}
        found = {end: one for end, one in found.items() if end in ends}
        old = {one.inode for one in self._sockets.values()}
        self._sockets = found
        self._hold_back(one for one in found.values() if one.inode not in old)
        inodes = {one.inode for one in found.values()}
        self._acked = {inode: one for inode, one in self._acked.items() if inode in inodes}

    def _hold_back(self, sockets: Iterable[TcpSocket]) -> None:
        if self.shape is not None:
            for one in sockets:
                hold_back(one, max(32 * KIB, min(MIB, int(self.shape * _AHEAD_S))))
