"""What a client needs of a libtorrent session, whoever owns it: ``torrents.py`` one of our own, ``guest.py``
another program's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from speedpay.swarm.events import Event
from speedpay.swarm.torrent import Torrent


class Channel(Protocol):
    """To peers, by connection; see ``Extension``."""

    def send(self, connection: int, payload: bytes) -> None: ...

    def set_weight(self, connection: int, weight: int) -> None: ...

    def withhold(self, connection: int, on: bool) -> None: ...

    def serve(self, connection: int, on: bool) -> None: ...

    def allow(self, connection: int, more: int | None) -> None: ...

    def ban(self, connection: int) -> None: ...


class Session(Protocol):
    """See ``Swarm`` for what each does."""

    @property
    def extension(self) -> Channel: ...

    @property
    def torrents(self) -> tuple[Torrent, ...]: ...

    @property
    def free_slots(self) -> int: ...

    def uplink(self) -> int | None: ...

    def set_slots(self, free: int) -> None: ...

    async def govern_while(self, competing: Callable[[], object]) -> None: ...

    def batches(self) -> AsyncIterator[list[Event]]: ...

    def close(self) -> None: ...
