"""Peers of one ledger show each other its newest head, so that it cannot show them different books.

Whatever comes, from a peer or from the ledger, is judged by ``proof/heads.py`` alone. Of an epoch that a
peer shows and the ledger has not shown us, the ledger is asked for its own head: a few questions, whatever
peers send. Two heads that contradict are written down, then the market stops, then peers are told.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from speedpay.certificates import CertificateSet
from speedpay.client.heads import Contradiction, Heads, write_evidence
from speedpay.errors import Malformed, NotFound, OverLimit, Refused, SpeedpayError
from speedpay.ledger_api.epochs import EpochView
from speedpay.peer.bucket import Bucket
from speedpay.peer.messages import HeadMessage
from speedpay.proof.evidence import CertifiedHead
from speedpay.proof.heads import Standing, believed, convicts, judge

_log = logging.getLogger(__name__)

#: How often the ledger is asked for its newest head: epochs are minutes long.
LOOK_S = 120.0
#: Between two questions, however many heads peers show.
PAUSE_S = 1.0
#: Epochs about which the ledger is yet to be asked, the newest.
MAX_WANTED = 8
#: Heads a second from one peer: each that is new costs two signature checks.
HEADS_PER_S, HEAD_BURST = 1.0, 8.0


class Ledger(Protocol):
    """The part of ``AsyncLedgerClient`` that is asked."""

    async def epoch(self, number: int | None = None) -> EpochView: ...


class Gossip:
    """``certificates()``: whose word counts as the ledger's, by now. ``send(connection, message)``;
    ``stop(contradiction)``: the market must end, now; ``note`` tells the user something. ``clock``: unix
    seconds."""

    def __init__(
        self,
        heads: Heads,
        ledger: Ledger,
        certificates: Callable[[], CertificateSet],
        send: Callable[[int, HeadMessage], None],
        stop: Callable[[Contradiction], None],
        note: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._heads, self._ledger, self._certificates = heads, ledger, certificates
        self._send, self._stop, self._note, self._clock = send, stop, note, clock
        self.known = heads.known()
        self.contradiction: Contradiction | None = None
        self._settled = heads.settled()
        #: By connection: the newest epoch that it knows, from us or without us.
        self._told: dict[int, int] = {}
        self._pace: dict[int, Bucket] = {}
        self._wanted: set[int] = set()
        self._denied: set[int] = set()
        self._wake = asyncio.Event()

    # --- peers -----------------------------------------------------------------------------------

    def met(self, connection: int) -> None:
        """Both hellos were said."""
        self._told.setdefault(connection, 0)
        self._pace.setdefault(connection, Bucket(HEADS_PER_S, HEAD_BURST, HEAD_BURST))
        if self.contradiction is not None:
            self._send(connection, self.contradiction.message())
        else:
            self._tell(connection)

    def gone(self, connection: int) -> None:
        self._told.pop(connection, None)
        self._pace.pop(connection, None)

    def heard(self, connection: int, message: HeadMessage, now: float, utc: int) -> None:
        """Raises OverLimit, BadSignature, Stale, and Malformed where evidence proves nothing."""
        pace = self._pace.get(connection)
        if pace is not None and not pace.take(now):
            raise OverLimit("too many heads", field="head")
        if self.contradiction is not None:
            return  # nothing more is to be learned of this ledger
        shown = message.certified()
        if message.other is not None:
            other = message.other.certified()
            says = convicts(shown, other, self._certificates(), utc)
            if says is None:
                raise Malformed("does not contradict the head beside it", field="head.other")
            if min(one.signed.head.closed_at for one in (shown, other)) > self._settled:
                self._convict(shown, other, says, utc)
            return
        epoch, standing = shown.signed.head.epoch, self._take(shown, utc, by=connection)
        if standing in (Standing.NEWER, Standing.OLDER):
            self._wanted = set(sorted({*self._wanted, epoch})[-MAX_WANTED:])
            self._wake.set()

    # --- the ledger ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Asks the ledger for its newest head now and then, and for those that peers show: one question in
        ``PAUSE_S``. Ends when it is convicted."""
        looked_at = -LOOK_S
        while self.contradiction is None:
            now = time.monotonic()
            self._wake.clear()
            if now - looked_at >= LOOK_S:
                looked_at = now
                self._look_aside()
                await self.look()
            elif self._wanted:
                await self.look(max(self._wanted))
            if not self._wanted:
                rest = max(0.0, looked_at + LOOK_S - time.monotonic())
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), rest)
            await asyncio.sleep(PAUSE_S)

    def _look_aside(self) -> None:
        """Another client of this user may have found a contradiction."""
        found = self._heads.contradiction()
        if found is not None and self.contradiction is None:
            self._end(found)

    async def look(self, epoch: int | None = None) -> None:
        """Holds the ledger's own head of ``epoch`` (None: its newest) against all that are known."""
        self._wanted.discard(epoch or 0)
        try:
            shown = (await self._ledger.epoch(epoch)).head
        except SpeedpayError as error:
            _log.info("the ledger's head was not had: %s", error)
            if epoch is not None and isinstance(error, NotFound):
                self._deny(epoch)
            return
        if self.contradiction is not None or epoch not in (None, shown.signed.head.epoch):
            return
        try:
            self._take(shown, int(self._clock()))
        except Refused as error:
            _log.warning("what the ledger shows as its head is none: %s", error)

    def _deny(self, epoch: int) -> None:
        """No evidence that others could check: what it signs about an epoch that it denies is no head."""
        if epoch not in self._denied and len(self._denied) < MAX_WANTED:
            self._denied.add(epoch)
            self._note(
                f"the ledger says that it has no epoch {epoch}, and a peer has the head that it signed for"
                " it: look at it again with speedpay heads"
            )

    # --- steps -----------------------------------------------------------------------------------

    def _take(self, shown: CertifiedHead, utc: int, by: int | None = None) -> Standing:
        """``by``: the connection on which it came. Raises as ``check`` of ``proof/heads.py``."""
        ledger = self._certificates()
        found = judge(self._believed(), shown, ledger, utc, self._settled)
        if found.standing not in (Standing.SAME, Standing.TOO_OLD):
            self.known = self._heads.known()  # another client of this user may have seen more
            found = judge(self._believed(), shown, ledger, utc, self._settled)
        if by is not None:
            self._told[by] = max(shown.signed.head.epoch, self._told.get(by, 0))
        if found.standing is Standing.CONTRADICTION:
            assert found.against is not None
            self._convict(found.against, shown, found.says, utc)
        elif found.standing in (Standing.NEWER, Standing.OLDER):
            self._heads.keep(shown)
            self.known = self._heads.known()
            if found.standing is Standing.NEWER:
                for connection in self._told:
                    self._tell(connection)
        return found.standing

    def _believed(self) -> dict[int, CertifiedHead]:
        self.known = believed(self.known, self._certificates())
        return self.known

    def _tell(self, connection: int) -> None:
        newest = max(self._believed(), default=0)
        if newest > self._told[connection]:
            self._told[connection] = newest
            self._send(connection, HeadMessage.of(self.known[newest]))

    def _convict(self, one: CertifiedHead, other: CertifiedHead, says: str, utc: int) -> None:
        """In this order: a crash in between finds it written down, and the rest is done by the next start."""
        self._end(self._heads.convict(one, other, says, utc))

    def _end(self, found: Contradiction) -> None:
        self.contradiction = found
        try:
            write_evidence(found)
        except SpeedpayError as error:
            _log.warning("the evidence is kept, but not as a file yet: %s", error)
        self._stop(found)
        for connection in self._told:
            self._send(connection, found.message())
        self._wake.set()
