"""Fetches an epoch's file of leaves from the swarm: what anybody needs to add up the whole ledger.

The infohash comes from a head that the chain holds, and the content is checked against the anchored
root by ``proof/``, so nobody who takes part in the swarm is believed. The file has 40 bytes for each
leaf; a torrent that wants more is refused before it is downloaded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from speedpay.config import Endpoint
from speedpay.errors import NoPeers, ProofBroken, Unfinished
from speedpay.proof.head import EpochHead
from speedpay.proof.sum_tree import NODE_BYTES, Node
from speedpay.swarm.events import ResumeData
from speedpay.swarm.settings import SwarmSettings
from speedpay.swarm.torrent import Torrent, TorrentState
from speedpay.swarm.torrents import Swarm

#: Until the torrent's description is there, and between two moments of progress.
PATIENCE_S = 60.0
_TURN_S = 0.1
_RECONNECT_S = 5.0


def fetch_leaves(
    head: EpochHead,
    peers: Sequence[Endpoint],
    listen: Endpoint,
    folder: Path,
    show: Callable[[int, int], None] = lambda done, total: None,
    patience_s: float = PATIENCE_S,
) -> list[Node]:
    """The leaves of ``head``'s epoch, in order. ``folder`` is for temporary files; ``show`` hears bytes.

    Raises NoPeers when nobody has it, Unfinished when it stops, ProofBroken when the torrent is not
    such a file.
    """
    if head.leaf_count == 0:
        return []
    loopback = listen.host.startswith("127.") or listen.host == "::1"
    settings = SwarmSettings(str(listen), dht=not loopback, lsd=not loopback)
    with TemporaryDirectory(dir=folder, prefix="leaves-") as here:
        swarm = Swarm(settings)
        try:
            magnet = f"magnet:?xt=urn:btih:{head.file.hex()}"
            torrent = swarm.add_magnet(magnet, Path(here))
            _wait(swarm, torrent, head, peers, show, patience_s)
            file = Path(here) / torrent.name
        finally:
            swarm.close()
        # After the session's end: its threads for the disk have written all by then.
        content = file.read_bytes()
    if len(content) != head.leaf_count * NODE_BYTES:
        raise ProofBroken(
            "the file of leaves has another size than the head says", field="head.file"
        )
    return [
        Node.from_bytes(content[at : at + NODE_BYTES]) for at in range(0, len(content), NODE_BYTES)
    ]


def _wait(
    swarm: Swarm,
    torrent: Torrent,
    head: EpochHead,
    peers: Sequence[Endpoint],
    show: Callable[[int, int], None],
    patience_s: float,
) -> None:
    total = head.leaf_count * NODE_BYTES
    had, until, connect_at = -1, time.monotonic() + patience_s, 0.0
    asked = False
    while True:
        events = swarm.wait(_TURN_S)
        status = torrent.status()
        if torrent.description is not None:
            _check(torrent, total)
        if any(isinstance(event, ResumeData) for event in events):
            return
        if status.finished and status.verified_bytes == total and not asked:
            asked = True
            torrent.save_resume()
        if status.state is TorrentState.FAILED:
            raise Unfinished(f"the file of leaves cannot be had: {status.error}")
        now = time.monotonic()
        if status.verified_bytes > had and torrent.description is not None:
            had, until = status.verified_bytes, now + patience_s
            show(had, total)
        if now >= connect_at and not status.peers:
            connect_at = now + _RECONNECT_S
            for peer in peers:
                torrent.connect(peer.host, peer.port)
        if now > until:
            raise NoPeers(
                f"nobody gave the file of leaves of epoch {head.epoch} within {patience_s:g} s",
                hint="name a peer that has it: --peer ADDRESS:PORT",
            )


def _check(torrent: Torrent, total: int) -> None:
    description = torrent.description
    assert description is not None
    if description.total_bytes != total or len(description.files) != 1:
        raise ProofBroken(
            f"the torrent named in the head holds {description.total_bytes} bytes, the leaves are {total}",
            field="head.file",
        )
