"""libtorrent's alerts turned into our events, and metadata from peers checked on its way in."""

from __future__ import annotations

import errno
from collections.abc import Iterator, MutableMapping
from typing import Any

import libtorrent as lt

from speedpay.errors import Malformed
from speedpay.swarm.content import Description, check_info
from speedpay.swarm.events import (
    ListenFailed,
    Listening,
    MetadataReceived,
    PeerBanned,
    ResumeData,
    TorrentEvent,
    TorrentFailed,
    TorrentFinished,
)
from speedpay.swarm.torrent import Torrent

_CATEGORIES = lt.alert.category_t

#: Only what is read below: every alert costs the network thread time.
ALERT_MASK = (
    _CATEGORIES.error_notification
    | _CATEGORIES.status_notification
    | _CATEGORIES.storage_notification
    | _CATEGORIES.peer_notification
)

# libtorrent's own priority scale: 0 is "do not download", 4 is ordinary.
_WANTED = 4


class AlertReader:
    """Knows which torrent an alert is about; ``torrents`` is the session's, by infohash."""

    def __init__(self, torrents: MutableMapping[bytes, Torrent]) -> None:
        self._torrents = torrents
        self._by_handle: dict[Any, Torrent] = {}
        # libtorrent hashes a piece, and calls it verified, while its blocks still wait to be written.
        # What says that data is there is held back until a flush that was ordered after it is done.
        self._told_finished: set[bytes] = set()
        self._resume_to_tell: dict[bytes, bytes] = {}

    def added(self, torrent: Torrent) -> None:
        self._by_handle[torrent._handle] = torrent

    def remove(self, session: Any, torrent: Torrent, delete_files: bool) -> None:
        self._torrents.pop(torrent.infohash, None)
        self._by_handle.pop(torrent._handle, None)
        self._told_finished.discard(torrent.infohash)
        self._resume_to_tell.pop(torrent.infohash, None)
        session.remove_torrent(torrent._handle, session.delete_files if delete_files else 0)

    def check(self, torrent_info: Any) -> Description:
        return check_info(torrent_info.info_section())

    def read(self, session: Any, alert: Any) -> Iterator[TorrentEvent]:
        match alert:
            case lt.listen_succeeded_alert():
                # The UDP socket of the same port has an alert of its own.
                if alert.socket_type == lt.socket_type_t.tcp:
                    yield Listening(alert.address, alert.port)
            case lt.listen_failed_alert():
                yield ListenFailed(alert.address, alert.port, alert.error.message())
            case lt.torrent_alert():
                torrent = self._by_handle.get(alert.handle)
                if torrent is not None:
                    yield from self._read_torrent(session, torrent, alert)

    def _read_torrent(self, session: Any, torrent: Torrent, alert: Any) -> Iterator[TorrentEvent]:
        infohash = torrent.infohash
        match alert:
            case lt.metadata_received_alert():
                yield self._metadata(session, torrent)
            case lt.torrent_finished_alert():
                torrent._handle.flush_cache()
            case lt.cache_flushed_alert():
                yield from self._flushed(torrent)
            case lt.torrent_error_alert():
                yield TorrentFailed(infohash, alert.error.message(), _is_full(alert.error))
            case lt.file_error_alert():
                yield TorrentFailed(infohash, alert.error.message(), _is_full(alert.error))
            case lt.save_resume_data_alert():
                self._resume_to_tell[infohash] = bytes(lt.write_resume_data_buf(alert.params))
                torrent._handle.flush_cache()
            case lt.peer_ban_alert():
                yield PeerBanned(infohash, alert.ip[0])

    def _flushed(self, torrent: Torrent) -> Iterator[TorrentEvent]:
        infohash = torrent.infohash
        if infohash not in self._told_finished:
            # A magnet link wants nothing before its metadata was checked, and all of that is here.
            status = torrent.status()
            if status.finished and status.wanted_bytes:
                self._told_finished.add(infohash)
                yield TorrentFinished(infohash)
        resume = self._resume_to_tell.pop(infohash, None)
        if resume is not None:
            yield ResumeData(infohash, resume)

    def _metadata(self, session: Any, torrent: Torrent) -> TorrentEvent:
        torrent_info = torrent._handle.torrent_file()
        try:
            description = self.check(torrent_info)
        except Malformed as error:
            self.remove(session, torrent, False)
            return TorrentFailed(torrent.infohash, f"metadata refused: {error}", False)
        torrent.description = description
        torrent._handle.prioritize_files([_WANTED] * torrent_info.num_files())
        return MetadataReceived(torrent.infohash)


def _is_full(error: Any) -> bool:
    return error.value() in (errno.ENOSPC, errno.EDQUOT)
