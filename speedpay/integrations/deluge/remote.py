"""deluged's session as the payer has it: what ``swarm/session.py`` asks for, at the other end of a pipe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import NamedTuple

from speedpay.integrations.deluge import wire
from speedpay.market.governor import SAMPLE_S
from speedpay.swarm.events import (
    Event,
    Message,
    PeerConnected,
    PeerEvent,
    PeerExtended,
    PeerGone,
    TorrentFinished,
)
from speedpay.swarm.guest import Sight
from speedpay.swarm.torrent import Holdings, Torrent, TorrentStatus

Tell = Callable[[NamedTuple], None]


class RemoteTorrent(Torrent):
    """A torrent as it was seen last."""

    def __init__(self, infohash: bytes, sight: Sight) -> None:
        super().__init__(infohash, None, sight.status.name)
        self._sight = sight
        self.saw(sight)

    def saw(self, sight: Sight) -> None:
        self._sight = sight
        self.description = self.description or sight.description

    def status(self) -> TorrentStatus:
        return self._sight.status

    def offered(self) -> bool:
        return self._sight.offered

    def holdings(self, *, from_nothing: bool = False) -> Holdings:
        """As they are for what is missing, whatever is asked: nobody quotes here."""
        return self._sight.holdings


class RemoteChannel:
    """``heard``: the payload that left, as far as the client knows."""

    def __init__(self, tell: Tell, heard: Mapping[int, int]) -> None:
        self._tell = tell
        self._heard = heard

    def send(self, connection: int, payload: bytes) -> None:
        self._tell(wire.Send(connection, payload))

    def set_weight(self, connection: int, weight: int) -> None:
        self._tell(wire.Weigh(connection, weight))

    def withhold(self, connection: int, on: bool) -> None:
        self._tell(wire.Withhold(connection, on))

    def serve(self, connection: int, on: bool) -> None:
        self._tell(wire.Serve(connection, on))

    def allow(self, connection: int, more: int | None) -> None:
        self._tell(wire.Allow(connection, more, self._heard.get(connection, 0)))

    def ban(self, connection: int) -> None:
        self._tell(wire.Ban(connection))


class RemoteSwarm:
    """A session as ``swarm/session.py`` has it. ``hold`` says whether the channels of a torrent are ours;
    where they are not, because another speedpay of the same user has them, its peers stay ordinary."""

    def __init__(self, tell: Tell, uplink: int | None, free_slots: int) -> None:
        self._tell = tell
        self._uplink = uplink
        self._free_slots = free_slots
        self._heard: dict[int, int] = {}
        self._channel = RemoteChannel(tell, self._heard)
        self._torrents: dict[bytes, RemoteTorrent] = {}
        self._finished: set[bytes] = set()
        self._waiting: list[Event] = []
        self._some = asyncio.Event()
        self._closed = False
        self._infohashes: dict[int, bytes] = {}
        self._ordinary: set[int] = set()
        self.hold: Callable[[bytes], bool] = lambda infohash: True

    # ---- what deluged says ----

    def happened(self, events: list[PeerEvent]) -> None:
        self._waiting += [event for event in events if self._ours(event)]
        self._some.set()

    def looks(self, told: wire.Uplink) -> None:
        self._uplink, self._free_slots = told

    def saw(self, infohash: bytes, sight: Sight) -> RemoteTorrent:
        torrent = self._torrents.get(infohash)
        if torrent is None:
            torrent = self._torrents[infohash] = RemoteTorrent(infohash, sight)
        torrent.saw(sight)
        if sight.status.finished and infohash not in self._finished:
            self._finished.add(infohash)
            self._waiting.append(TorrentFinished(infohash))
            self._some.set()
        return torrent

    def forget(self, infohash: bytes) -> None:
        self._torrents.pop(infohash, None)
        self._finished.discard(infohash)

    def _ours(self, event: PeerEvent) -> bool:
        match event:
            case PeerConnected(connection, infohash):
                self._infohashes[connection] = infohash
            case PeerExtended(connection) | Message(connection):
                if isinstance(event, PeerExtended) and not self.hold(self._infohashes[connection]):
                    self._ordinary.add(connection)
                return connection not in self._ordinary
            case PeerGone(connection):
                self._infohashes.pop(connection, None)
                self._ordinary.discard(connection)
            case _:
                pass
        return True

    # ---- what a client asks for ----

    @property
    def extension(self) -> RemoteChannel:
        return self._channel

    @property
    def torrents(self) -> tuple[Torrent, ...]:
        return tuple(self._torrents.values())

    @property
    def free_slots(self) -> int:
        return self._free_slots

    def uplink(self) -> int | None:
        return self._uplink

    def set_slots(self, free: int) -> None:
        """How many peers deluged serves is deluged's; payers are served beside them."""

    async def govern_while(self, competing: Callable[[], object]) -> None:
        told = False
        while True:
            await asyncio.sleep(SAMPLE_S)
            if bool(competing()) is not told:
                told = not told
                self._tell(wire.Competing(told))

    async def batches(self) -> AsyncIterator[list[Event]]:
        while not self._closed:
            await self._some.wait()
            self._some.clear()
            batch, self._waiting = self._waiting, []
            if batch:
                wire.tally(self._heard, batch)
                yield batch

    def close(self) -> None:
        self._closed = True
        self._some.set()
