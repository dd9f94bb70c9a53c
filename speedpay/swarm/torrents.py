"""The libtorrent session: its torrents, its limits and everything that happens in it.

Nothing of libtorrent's gets out: calls take and return speedpay's values and raise speedpay's errors,
and what happens comes as events.py's values. A Swarm belongs to one thread; calls that ask libtorrent
wait a millisecond or so for its network thread.
"""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import libtorrent as lt

from speedpay.errors import AlreadyExists, Malformed
from speedpay.market.governor import SAMPLE_S
from speedpay.swarm.alerts import ALERT_MASK, AlertReader
from speedpay.swarm.content import check_torrent_file
from speedpay.swarm.events import Event, MetadataReceived
from speedpay.swarm.extension import Extension
from speedpay.swarm.governor import UplinkGovernor
from speedpay.swarm.settings import (
    SwarmSettings,
    free_slots,
    session_settings,
    slot_settings,
)
from speedpay.swarm.torrent import Torrent

#: Between two drains, so that events have time to merge: at hundreds of MB/s Python then sees a few
#: hundred of them a second instead of tens of thousands.
BATCH_S = 0.005

_MAX_MAGNET_CHARACTERS = 8192


class Swarm:
    """A session with our extension in it."""

    def __init__(self, settings: SwarmSettings) -> None:
        """Raises NativeUnavailable when the extension cannot be used here."""
        self._session = lt.session({**session_settings(settings), "alert_mask": ALERT_MASK})
        self._upload_limit = settings.upload_limit
        self._slots = free_slots(settings.upload_limit)
        self._session.set_peer_class_filter(_everybody_in_the_global_class())
        self._extension = Extension(self._session)
        self._torrents: dict[bytes, Torrent] = {}
        self._alerts = AlertReader(self._torrents)
        self._governor = UplinkGovernor(lambda settings: self._session.apply_settings(settings))
        # libtorrent writes a byte into the pipe when its first alert waits; one descriptor, an
        # epoll set, stands for the pipe and for the extension's events.
        self._alert_pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._session.set_alert_fd(self._alert_pipe[1])
        self._epoll = select.epoll()
        self._epoll.register(self._alert_pipe[0], select.EPOLLIN)
        self._epoll.register(self._extension.fd, select.EPOLLIN)

    @property
    def extension(self) -> Extension:
        return self._extension

    # ---- torrents ----

    def add_torrent_file(
        self, data: bytes, save_dir: Path, *, resume: bytes | None = None, paused: bool = False
    ) -> Torrent:
        """Add a .torrent file's content. Files that are in ``save_dir`` already are checked first.

        ``resume`` are bytes of a ``ResumeData`` event, which save that check. Raises Malformed
        (``field`` says where, "resume" for unusable resume data), or AlreadyExists.
        """
        description = check_torrent_file(data)
        try:
            parameters = lt.load_torrent_buffer(data)
        except RuntimeError as error:
            raise Malformed(f"libtorrent refuses it: {error}", field="torrent") from error
        if resume is not None:
            saved = _read_resume(resume)
            saved.ti = parameters.ti
            if not saved.trackers:
                saved.trackers, saved.tracker_tiers = parameters.trackers, parameters.tracker_tiers
                saved.url_seeds = parameters.url_seeds
            parameters = saved
        torrent = self._add(parameters, save_dir, description.name, paused)
        torrent.description = description
        return torrent

    def add_magnet(self, uri: str, save_dir: Path, *, paused: bool = False) -> Torrent:
        """Add a magnet link (BEP 9, BEP 53). ``MetadataReceived`` or ``TorrentFailed`` follows.

        Nothing is written to disk before the metadata has passed the same check as a file.
        """
        if len(uri) > _MAX_MAGNET_CHARACTERS:
            raise Malformed("is too long", field="magnet")
        try:
            parameters = lt.parse_magnet_uri(uri)
        except RuntimeError as error:
            raise Malformed(f"is not a magnet link: {error}", field="magnet") from error
        parameters.file_priorities = []
        # No file is wanted until the check is done: libtorrent asks for no block, and creates no
        # directory, empty file or link.
        parameters.flags |= lt.torrent_flags.default_dont_download
        name = "".join(c for c in parameters.name if c.isprintable())[:255]
        return self._add(parameters, save_dir, name, paused)

    def torrent(self, infohash: bytes) -> Torrent | None:
        return self._torrents.get(infohash)

    @property
    def torrents(self) -> tuple[Torrent, ...]:
        return tuple(self._torrents.values())

    def remove(self, torrent: Torrent, *, delete_files: bool = False) -> None:
        """Forget the torrent; its files stay unless ``delete_files``."""
        if self._torrents.pop(torrent.infohash, None) is not None:
            self._alerts.remove(self._session, torrent, delete_files)

    def _add(self, parameters: Any, save_dir: Path, name: str, paused: bool) -> Torrent:
        flags = lt.torrent_flags
        parameters.save_path = str(save_dir)
        # Never resume's idea of where a file is, and never unchecked files taken for complete.
        parameters.renamed_files = {}
        parameters.flags &= ~(flags.auto_managed | flags.seed_mode | flags.paused)
        parameters.flags |= flags.duplicate_is_error
        if paused:
            parameters.flags |= flags.paused
        hashes = parameters.ti.info_hashes() if parameters.ti else parameters.info_hashes
        infohash = (hashes.v1 if hashes.has_v1() else hashes.get_best()).to_bytes()
        if infohash in self._torrents:
            raise AlreadyExists("this torrent is in the session already", field="torrent")
        try:
            handle = self._session.add_torrent(parameters)
        except RuntimeError as error:
            raise Malformed(f"libtorrent refuses it: {error}", field="torrent") from error
        torrent = Torrent(infohash, handle, name or infohash.hex())
        self._torrents[infohash] = torrent
        self._alerts.added(torrent)
        return torrent

    # ---- the whole session ----

    def uplink(self) -> int | None:
        """Bytes a second that all uploads share: the limit, or what the governor last found the network
        to carry; None while neither is known."""
        return self._upload_limit or self._governor.estimate

    def govern(self, competing: bool, now: float) -> None:
        """Keep the upload just under what the network carries, where there is no upload limit.

        To be called every ``SAMPLE_S``. ``competing``: somebody pays and somebody else wants data; a while
        after the last time there is no limit again. ``now`` is a clock that never goes back.
        """
        if self._upload_limit is None:
            self._governor.tick(competing, now)

    async def govern_while(self, competing: Callable[[], object]) -> None:
        """``govern`` for ever, by the clock; ``competing`` is asked each time."""
        while True:
            await asyncio.sleep(SAMPLE_S)
            self.govern(bool(competing()), time.monotonic())

    @property
    def free_slots(self) -> int:
        """How many peers that do not pay are served at a time, as suits what is known of the uplink."""
        return free_slots(self._upload_limit or self._governor.shape)

    def set_slots(self, free: int) -> None:
        """How many peers are served at a time beside those that ``Extension.serve`` names; ``free_slots``
        to begin with."""
        if free != self._slots:
            self._slots = free
            self._session.apply_settings(slot_settings(free))

    @property
    def listen_port(self) -> int:
        """The TCP port that peers can reach; 0 while there is none."""
        return int(self._session.listen_port())

    # ---- events ----

    @property
    def fd(self) -> int:
        """Readable while events wait: for select, or asyncio's ``add_reader``."""
        return self._epoll.fileno()

    def drain(self) -> list[Event]:
        """Everything that has happened since the last call; never waits.

        Events of one connection are in order, and a torrent's ``TorrentFinished`` comes after its
        last ``PiecePassed``. Raises NativeUnavailable as ``Extension.drain`` does.
        """
        try:
            while os.read(self._alert_pipe[0], 4096):
                pass
        except BlockingIOError:
            pass
        # Alerts are read first: whatever the extension recorded before them, its drain then finds.
        told = [
            event
            for alert in self._session.pop_alerts()
            for event in self._alerts.read(self._session, alert)
        ]
        first = [event for event in told if isinstance(event, MetadataReceived)]
        rest = [event for event in told if not isinstance(event, MetadataReceived)]
        happened = self.extension.drain()
        self._governor.saw(happened)
        return [*first, *happened, *rest]

    def wait(self, timeout_s: float) -> list[Event]:
        """Wait for events at most so long, then drain; for programs without an event loop."""
        self._epoll.poll(timeout_s)
        return self.drain()

    async def batches(self) -> AsyncIterator[list[Event]]:
        """Events as they come, in lists, at most one list every 5 ms. One reader at a time."""
        loop = asyncio.get_running_loop()
        while not self._epoll.closed:
            readable = asyncio.Event()
            loop.add_reader(self.fd, readable.set)
            try:
                await readable.wait()
            finally:
                # Removed while others work, or it would fire on every turn of the loop.
                loop.remove_reader(self.fd)
            if batch := self.drain():
                yield batch
            await asyncio.sleep(BATCH_S)

    def close(self) -> None:
        """Disconnect everybody and end the session's threads; takes up to about a second."""
        if self._epoll.closed:
            return
        self.extension.close()
        self._epoll.close()
        self._torrents.clear()
        self._alerts = AlertReader(self._torrents)
        del self._session
        # Only now: until then the network thread may write to it.
        for descriptor in self._alert_pipe:
            os.close(descriptor)


def _read_resume(resume: bytes) -> Any:
    try:
        return lt.read_resume_data(resume)
    except RuntimeError as error:
        raise Malformed(f"cannot be read: {error}", field="resume") from error


def _everybody_in_the_global_class() -> Any:
    """libtorrent lets loopback and local networks pass outside the rate limit, and so outside the
    weights; here everyone is inside."""
    everybody = lt.ip_filter()
    classes = 1 << lt.session.global_peer_class_id
    everybody.add_rule("0.0.0.0", "255.255.255.255", classes)
    everybody.add_rule("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", classes)
    return everybody
