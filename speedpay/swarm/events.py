"""What happens in swarms, as values: the only things that leave this package besides calls.

A *connection* is a number given to each BitTorrent connection from 1 on, never used twice in a
session. An *infohash* is 20 bytes: a torrent's v1 hash where it has one (BEP 3), else its v2 hash cut
to 20 bytes (BEP 52); a torrent keeps the one it was added with.

**Counters.** Both ends of a connection count the messages of ours (BEP 10) ahead of a block request,
and since all travels over one ordered stream they come to the same number. ``asked_after`` is that
number, at either end: how many of the asker's messages were ahead of the request. A bid that was the
asker's third message holds for blocks with ``asked_after >= 3``.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class PeerConnected(NamedTuple):
    """The BitTorrent handshake with a peer is done. Web seeds are never reported."""

    connection: int
    infohash: bytes
    address: str
    port: int  # the remote port: an ephemeral one when the peer called us
    outgoing: bool


class PeerExtended(NamedTuple):
    """The peer understands our messages: from now on ``Extension.send`` reaches it.

    What both ends read in this connection's handshakes (BEP 3), 20 bytes each. ``infohash`` is the one
    that the called side answered with: of a hybrid torrent that is the v2 hash where both can (BEP 52),
    also if a torrent was added with its v1 hash, so it may differ from that of ``PeerConnected``.
    """

    connection: int
    own_id: bytes
    peer_id: bytes
    infohash: bytes


class PeerGone(NamedTuple):
    """The last event of a connection. ``reason`` is libtorrent's own wording."""

    connection: int
    reason: str


class InterestChanged(NamedTuple):
    """Both sides' interest as it is now; states that nobody drained in between are left out."""

    connection: int
    local: bool  # we want something the peer has
    remote: bool  # the peer wants something we have


class Message(NamedTuple):
    """One of our messages from the peer: its ``sequence``-th on this connection, at most 4,096 B."""

    connection: int
    sequence: int
    payload: bytes


class Flooded(NamedTuple):
    """The peer sent a message above 4,096 B, or more than 128 KiB between two drains.

    Comes once; none of its later messages is delivered or counted.
    """

    connection: int


class BlocksReceived(NamedTuple):
    """``length`` bytes of a piece arrived, in one run of blocks; not verified yet."""

    connection: int
    piece: int
    start: int  # offset in the piece, bytes
    length: int  # bytes
    asked_after: int  # messages we had sent when we wrote the request
    message_sequence: int  # messages received from the peer when the block arrived
    asked: bool  # False: never requested on this connection, or cancelled


class BlocksSent(NamedTuple):
    """Payload left for the peer (the kernel took it): what it may owe, not what it has received.

    Bytes that wait in the send buffer, withheld ones for example, are not counted yet.
    """

    connection: int
    byte_count: int
    asked_after: int  # messages received from the peer when its request arrived
    message_sequence: int  # messages of ours ahead of these blocks in the stream


class PiecePassed(NamedTuple):
    """A piece matches its hash. Also comes for pieces found on disk when files are checked."""

    infohash: bytes
    piece: int


class PieceFailed(NamedTuple):
    """A downloaded piece does not match its hash; it will be downloaded again."""

    infohash: bytes
    piece: int


class MetadataReceived(NamedTuple):
    """A magnet link's torrent description arrived (BEP 9), was checked, and downloading begins."""

    infohash: bytes


class TorrentFinished(NamedTuple):
    """Every wanted piece is verified and written; also said of a torrent found complete on disk."""

    infohash: bytes


class TorrentFailed(NamedTuple):
    """The torrent has stopped on an error, or was removed because its metadata was refused."""

    infohash: bytes
    message: str
    disk_full: bool  # there is no room for what it wanted to write


class ResumeData(NamedTuple):
    """What ``Torrent.save_resume`` asked for; give it back as ``resume`` when adding the torrent."""

    infohash: bytes
    resume: bytes


class PeerBanned(NamedTuple):
    """libtorrent proved that a peer sent corrupt blocks, and banned its address in this torrent."""

    infohash: bytes
    address: str


class Listening(NamedTuple):
    address: str
    port: int


class ListenFailed(NamedTuple):
    address: str
    port: int
    message: str


PeerEvent: TypeAlias = (
    PeerConnected
    | PeerExtended
    | PeerGone
    | InterestChanged
    | Message
    | Flooded
    | BlocksReceived
    | BlocksSent
    | PiecePassed
    | PieceFailed
)

TorrentEvent: TypeAlias = (
    MetadataReceived
    | TorrentFinished
    | TorrentFailed
    | ResumeData
    | PeerBanned
    | Listening
    | ListenFailed
)

Event: TypeAlias = PeerEvent | TorrentEvent
