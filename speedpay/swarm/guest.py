"""A session that belongs to another program: our extension in it, and as little else of ours as possible.

What is changed of the host's settings is in ``SETTINGS``; while payers compete, and the host has no upload
limit, there is one that ``governor.py`` finds. All of it is as it was after ``give_back``. Rate limits that
the host sets, its slots, its peer classes, its banned addresses, its alerts and torrents are never touched.

To begin, ``look_again``, ``sight`` and ``give_back`` wait for libtorrent's network thread and may be called
on another thread than the rest, which does not wait.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from speedpay.errors import NotFound
from speedpay.swarm.content import Description, check_info
from speedpay.swarm.events import PeerEvent
from speedpay.swarm.extension import Extension
from speedpay.swarm.governor import UplinkGovernor
from speedpay.swarm.torrent import Holdings, Torrent, TorrentStatus

#: For as long as we are there; the reasons are in ``settings.py``.
SETTINGS: Mapping[str, Any] = {"tick_interval": 10, "allowed_fast_set_size": 0}
#: What the host means by as many slots as anybody wants.
_UNLIMITED_SLOTS = 64
_LIMIT = "upload_rate_limit"
_SLOTS = "unchoke_slots_limit"


@dataclass(frozen=True, slots=True)
class Sight:
    """One torrent of the host's as it is now. ``description`` is None until its metadata is there."""

    status: TorrentStatus
    description: Description | None
    offered: bool
    holdings: Holdings


class Guest:
    """Raises NativeUnavailable when the extension cannot be used here; then nothing has changed."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._lock = threading.RLock()
        #: What the host had where we set something, and what we set.
        self._before: dict[str, Any] = {}
        self._ours: dict[str, Any] = {}
        self._changes = 0
        self._left = False
        self._torrents: dict[bytes, Torrent] = {}
        self._governor = UplinkGovernor(self._govern)
        self._settings: Mapping[str, Any] = self._session.get_settings()
        # Before the extension, which ticks as the session does.
        self._apply(SETTINGS)
        try:
            self.extension = Extension(session)
        except BaseException:
            self.give_back()
            raise

    # ---- the host's settings ----

    @property
    def changed(self) -> dict[str, Any]:
        """What is set by us now, by libtorrent's names."""
        with self._lock:
            return dict(self._ours)

    def look_again(self) -> None:
        """The host may have set something since: what it says holds."""
        changes = self._changes
        settings = self._session.get_settings()
        with self._lock:
            if self._left or self._changes != changes:
                return  # it was read before our last change
            self._settings = settings
            for name, ours in list(self._ours.items()):
                if self._settings[name] != ours:
                    self._before[name] = self._settings[name]
                    del self._ours[name]
            if self._governor.governing and self._limit() is not None:
                self._governor.forget()
                self._restore(name for name in list(self._ours) if name.startswith("send_buffer"))

    def uplink(self) -> int | None:
        """As ``Swarm.uplink``."""
        return self._limit() or self._governor.estimate

    @property
    def free_slots(self) -> int:
        """As many peers as the host serves at a time."""
        slots = self._hosts(_SLOTS)
        return slots if slots >= 0 else _UNLIMITED_SLOTS

    def govern(self, competing: bool, now: float) -> None:
        """As ``Swarm.govern``, where the host has no upload limit."""
        with self._lock:
            if self._limit() is None:
                self._governor.tick(competing, now)

    def give_back(self) -> None:
        """All settings as the host had them, or has set them since; nothing is changed any more."""
        with self._lock:
            if self._left:
                return
            self._settings = self._session.get_settings()
            self._governor.forget()
            self._restore(list(self._ours))
            self._left = True

    def _limit(self) -> int | None:
        limit = self._hosts(_LIMIT)
        return limit if limit > 0 else None

    def _hosts(self, name: str) -> int:
        with self._lock:
            return int(self._before[name] if name in self._ours else self._settings[name])

    def _govern(self, settings: Mapping[str, Any]) -> None:
        if self._governor.governing:
            self._apply(settings)
        else:
            self._restore(settings)

    def _apply(self, wanted: Mapping[str, Any]) -> None:
        with self._lock:
            if self._left:
                return
            for name in wanted:
                if name not in self._ours:
                    self._before[name] = self._settings[name]
            self._ours |= wanted
            self._changes += 1
            self._session.apply_settings(dict(wanted))

    def _restore(self, names: Iterable[str]) -> None:
        with self._lock:
            if self._left:
                return
            now, back = self._session.get_settings(), {}
            self._changes += 1
            for name in names:
                if name in self._ours and now[name] == self._ours.pop(name):
                    back[name] = self._before[name]
            if back:
                self._session.apply_settings(back)
            self._settings = {**now, **back}

    # ---- peers and torrents ----

    def drain(self) -> list[PeerEvent]:
        """As ``Extension.drain``."""
        happened = self.extension.drain()
        with self._lock:
            self._governor.saw(happened)
        return happened

    def sight(self, infohash: bytes, handle: Any) -> Sight | None:
        """A torrent of the host's; None once it has been removed. Raises Malformed where its description is
        one that we refuse."""
        torrent = self._torrents.get(infohash)
        if torrent is None or torrent._handle != handle:
            torrent = Torrent(infohash, handle, infohash.hex())
            self._torrents[infohash] = torrent
        try:
            if torrent.description is None and handle.status().has_metadata:
                torrent.description = check_info(handle.torrent_file().info_section())
            status = torrent.status()
            return Sight(status, torrent.description, torrent.offered(), torrent.holdings())
        except (NotFound, RuntimeError):
            self._torrents.pop(infohash, None)
            return None

    def close(self) -> None:
        """Peers get back their ordinary share, and nothing happens here any more."""
        self.give_back()
        self.extension.close()


def infohash_of(handle: Any) -> bytes:
    """What events call it: the v1 hash where a torrent has one, else the v2 hash cut to 20 bytes."""
    hashes = handle.info_hashes()
    return bytes((hashes.v1 if hashes.has_v1() else hashes.get_best()).to_bytes())
