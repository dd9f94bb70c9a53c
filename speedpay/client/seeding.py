"""Seeding: torrents of one process on one uplink, until the user stops or none of them can be served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from speedpay.client.lanes import Uplink
from speedpay.client.loop import Client, Watch
from speedpay.client.records import Records
from speedpay.errors import NotFound, Unfinished
from speedpay.swarm.torrent import Torrent, TorrentState
from speedpay.units import ZERO, Amount

_LOOK_S = 0.5
_CHECK_S = 0.05


@dataclass(frozen=True, slots=True)
class Offered:
    """One torrent and the folder that its files are in."""

    torrent: Torrent
    save_dir: Path


@dataclass(frozen=True, slots=True)
class Moment:
    """What seeding looks like now. ``sent_bytes`` of all torrents, ``bytes_per_s`` likewise."""

    sent_bytes: int
    bytes_per_s: int
    peers: int
    earned: Amount
    uplink: Uplink


class Seeding:
    """``note`` gets a sentence about each torrent that cannot be served any more."""

    def __init__(
        self, client: Client, offered: Sequence[Offered], note: Callable[[str], None]
    ) -> None:
        self._client = client
        self._note = note
        self._offered = list(offered)
        self._watches: dict[bytes, Watch] = {}
        #: Sent by torrent, also by those that have failed since.
        self.sent: dict[bytes, int] = {}

    async def checked(self, stop: asyncio.Event) -> bool:
        """Whether all files are there and good; False when ``stop`` came first. Raises NotFound."""
        for one in self._offered:
            self._watches[one.torrent.infohash] = self._client.add(one.torrent)
        for one in self._offered:
            while (status := one.torrent.status()).state is TorrentState.CHECKING:
                if stop.is_set():
                    return False
                await asyncio.sleep(_CHECK_S)
            if not status.seeding:
                raise NotFound(
                    f"{one.save_dir} does not hold all of {one.torrent.name}",
                    hint="download it first: speedpay get",
                )
        return True

    async def run(self, stop: asyncio.Event, show: Callable[[Moment], None]) -> None:
        """Until ``stop``. Raises Unfinished when the last torrent has failed."""
        while not stop.is_set():
            self._drop_failed()
            show(self.moment())
            try:
                await asyncio.wait_for(stop.wait(), _LOOK_S)
            except TimeoutError:
                continue

    def moment(self) -> Moment:
        statuses = {one.torrent.infohash: one.torrent.status() for one in self._offered}
        self.sent |= {infohash: status.uploaded_bytes for infohash, status in statuses.items()}
        return Moment(
            sum(self.sent.values()),
            sum(status.upload_rate for status in statuses.values()),
            sum(status.peers for status in statuses.values()),
            self._client.earned(),
            self._client.uplink(),
        )

    def earned(self) -> dict[bytes, Amount]:
        """Accepted in vouchers since this client was made, by torrent."""
        found: dict[bytes, Amount] = {}
        for row in Records(self._client.store).sold(self._client.since):
            found[row.infohash] = found.get(row.infohash, ZERO) + row.cumulative
        return found

    def _drop_failed(self) -> None:
        for one in list(self._offered):
            failure = self._watches[one.torrent.infohash].failure
            if failure is None:
                continue
            said = f"{one.torrent.name} cannot be served: {failure.message}"
            self._offered.remove(one)
            if not self._offered:
                raise Unfinished(said, hint="look at its files, then seed it again")
            self._note(said)
