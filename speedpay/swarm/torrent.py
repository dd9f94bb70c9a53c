"""One torrent of a session."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import libtorrent as lt

from speedpay.errors import Malformed, NotFound
from speedpay.swarm.content import Description


class TorrentState(Enum):
    """What a torrent is doing."""

    CHECKING = "checking"  # reading files that may be there already
    METADATA = "metadata"  # asking peers for the torrent's description (BEP 9)
    DOWNLOADING = "downloading"
    FINISHED = "finished"  # all that is wanted is here
    SEEDING = "seeding"  # all is here
    PAUSED = "paused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class TorrentStatus:
    state: TorrentState
    name: str
    wanted_bytes: int  # of the files that are to be downloaded
    verified_bytes: int  # of the wanted bytes, in pieces that match their hash
    total_bytes: int  # of all files
    download_rate: int  # payload bytes/s
    upload_rate: int  # payload bytes/s
    uploaded_bytes: int  # payload sent since the torrent was added
    peers: int  # connections, seeds included
    seeds: int  # of these, the ones that have everything
    piece_length: int  # bytes; 0 without metadata
    have_metadata: bool
    finished: bool
    seeding: bool
    error: str  # empty when there is none


@dataclass(frozen=True, slots=True)
class Holder:
    """A connected peer: whether it holds every piece that we want and lack, and the payload bytes that
    came from it so far."""

    address: str
    port: int
    complete: bool
    received_bytes: int


@dataclass(frozen=True, slots=True)
class Holdings:
    """``stock_bytes``: the pieces that we lack and that peers hold who are not complete, each counted
    once; the last piece as if it were as long as the others."""

    holders: tuple[Holder, ...]
    stock_bytes: int


class Torrent:
    """A handle; every call raises NotFound once the torrent has been removed."""

    def __init__(self, infohash: bytes, handle: Any, name: str) -> None:
        self.infohash = infohash
        self.description: Description | None = None  # None until the metadata is here
        self._handle = handle
        self._name = name

    @property
    def name(self) -> str:
        """The content's name; for a magnet link without metadata what the link says, or hex."""
        return self.description.name if self.description else self._name

    def status(self) -> TorrentStatus:
        # Without query_accurate_download_counters blocks of unverified pieces are not counted.
        status = self._call(self._handle.status, 0)
        description = self.description
        finished = description is not None and status.is_finished
        return TorrentStatus(
            state=_state(status, description),
            name=self.name,
            wanted_bytes=status.total_wanted,
            verified_bytes=status.total_wanted_done,
            total_bytes=description.total_bytes if description else 0,
            download_rate=status.download_payload_rate,
            upload_rate=status.upload_payload_rate,
            uploaded_bytes=status.total_payload_upload,
            peers=status.num_peers,
            seeds=status.num_seeds,
            piece_length=description.piece_length if description else 0,
            have_metadata=description is not None,
            finished=finished,
            seeding=finished and status.is_seeding,
            error=status.errc.message() if status.errc.value() else "",
        )

    def connect(self, host: str, port: int) -> None:
        """Try a peer at an IP address. Whether it answers shows in the events."""
        self._call(self._handle.connect_peer, (ip_address(host), port))

    def offered(self) -> bool:
        """Whether a connected peer holds any piece."""
        return any(peer.num_pieces for peer in self._call(self._handle.get_peer_info))

    def holdings(self, *, from_nothing: bool = False) -> Holdings:
        """Who is connected, and what they hold of what we lack, or would lack ``from_nothing``.

        Takes milliseconds with many peers.
        """
        if self.description is None:
            return Holdings((), 0)
        wanted = self._call(self._handle.get_piece_priorities)
        missing = _mask(bool(priority) for priority in wanted)
        if not from_nothing:
            status = self._call(self._handle.status, lt.torrent_handle.query_pieces)
            missing &= ~_mask(status.pieces)
        holders, stock = [], 0
        for peer in self._call(self._handle.get_peer_info):
            if peer.flags & (lt.peer_info.handshake | lt.peer_info.connecting):
                continue
            held = _mask(peer.pieces)
            complete = not missing & ~held
            if not complete:
                stock |= missing & held
            address, port = peer.ip
            holders.append(Holder(address, port, complete, peer.total_download))
        return Holdings(tuple(holders), stock.bit_count() * self.description.piece_length)

    def pause(self) -> None:
        """Disconnect every peer of this torrent until ``resume``."""
        self._call(self._handle.pause)

    def resume(self) -> None:
        """Go on after ``pause`` or an error."""
        self._call(self._handle.clear_error)
        self._call(self._handle.unset_flags, lt.torrent_flags.upload_mode)
        self._call(self._handle.resume)

    def save_resume(self) -> None:
        """Ask for resume data: a ``ResumeData`` event brings it, also when nothing has changed.

        It holds the verified pieces and the metadata, not where the files are. All that it calls
        verified has left this process when the event comes: a killed process loses none of it.
        """
        self._call(self._handle.save_resume_data, lt.torrent_handle.save_info_dict)

    def _call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return method(*arguments)
        except RuntimeError as error:
            raise NotFound(f"{self.name}: {error}", field="torrent") from error


def _mask(pieces: Iterable[bool]) -> int:
    """One byte for each piece, so that sets of pieces are compared at once."""
    return int.from_bytes(bytes(pieces), "little")


def ip_address(text: str, field: str = "address") -> str:
    """The canonical form of an IP address; Malformed for anything else, host names included."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise Malformed("must be an IP address", field=field) from error


_STATES = {
    lt.torrent_status.checking_files: TorrentState.CHECKING,
    lt.torrent_status.checking_resume_data: TorrentState.CHECKING,
    lt.torrent_status.downloading_metadata: TorrentState.METADATA,
    lt.torrent_status.downloading: TorrentState.DOWNLOADING,
    lt.torrent_status.finished: TorrentState.FINISHED,
    lt.torrent_status.seeding: TorrentState.SEEDING,
}


def _state(status: Any, description: Description | None) -> TorrentState:
    if status.errc.value():
        return TorrentState.FAILED
    if status.flags & lt.torrent_flags.paused:
        return TorrentState.PAUSED
    if description is None:
        # Metadata that has arrived but is not checked yet is not there for anybody else.
        return TorrentState.METADATA
    return _STATES.get(status.state, TorrentState.CHECKING)
