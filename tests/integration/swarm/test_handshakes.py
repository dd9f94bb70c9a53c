"""What both ends of a connection know of it alike: it goes into the keys that seal their messages."""

from __future__ import annotations

import libtorrent as lt
import pytest

from speedpay.swarm import events

KIB = 1024


@pytest.mark.parametrize("settings", [{}, {"anonymous_mode": True}])
def test_both_ends_know_the_same_peer_ids_and_infohash(lab, pair, settings):
    seeder, leecher, torrent = pair(
        64 * KIB, seeder=lab.node(**settings), leecher=lab.node(**settings)
    )
    found = lab.agreed(leecher, seeder)
    assert found.infohash == torrent.description.infohash


def test_each_connection_of_a_session_has_a_peer_id_of_its_own(lab, pair):
    seeder, first, _ = pair(64 * KIB)
    second = pair(64 * KIB, seeder=seeder, leecher=lab.node())[1]
    lab.until(lambda: len(seeder.of(events.PeerExtended)) == 2)
    lab.until(lambda: first.of(events.PeerExtended) and second.of(events.PeerExtended))
    seen = {peer.own_id for peer in seeder.of(events.PeerExtended)}
    assert seen == {client.of(events.PeerExtended)[0].peer_id for client in (first, second)}
    assert len(seen) == 2


class Hybrid:
    """A seeder of a torrent that has hashes of both versions (BEP 52)."""

    def __init__(self, lab):
        folder = lab.dir("hybrid")
        (folder / "content.bin").write_bytes(bytes(range(256)) * 256)
        files = lt.file_storage()
        lt.add_files(files, str(folder / "content.bin"))
        made = lt.create_torrent(files, piece_size=16 * KIB)
        lt.set_piece_hashes(made, str(folder))
        self.torrent = lt.torrent_info(made.generate())
        self.v1 = self.torrent.info_hashes().v1.to_bytes()
        self.v2 = self.torrent.info_hashes().v2.to_bytes()
        self.lab, self.seeder = lab, lab.node()
        handle = self.add(self.seeder, lt.add_torrent_params(), folder, self.torrent)
        lab.until(lambda: handle.status().is_seeding and self.seeder.port)

    @staticmethod
    def add(node, parameters, folder, torrent=None):
        if torrent is not None:
            parameters.ti = torrent
        parameters.save_path = str(folder)
        parameters.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
        return node.session.add_torrent(parameters)


@pytest.mark.parametrize(
    ("known_by", "seeder_calls"),
    # A v2 magnet's holder cannot be called by the v1 hash, with which libtorrent calls.
    [("file", False), ("v1", True), ("v2", False)],
)
def test_both_ends_of_a_hybrid_torrent_agree_on_one_infohash(lab, known_by, seeder_calls):
    hybrid, leecher = Hybrid(lab), lab.node()
    magnets = {
        "v1": f"magnet:?xt=urn:btih:{hybrid.v1.hex()}",
        "v2": f"magnet:?xt=urn:btmh:1220{hybrid.v2.hex()}",
    }
    if known_by == "file":
        handle = Hybrid.add(leecher, lt.add_torrent_params(), lab.dir("leecher"), hybrid.torrent)
    else:
        handle = Hybrid.add(leecher, lt.parse_magnet_uri(magnets[known_by]), lab.dir("leecher"))
    if seeder_calls:
        lab.until(lambda: leecher.port)
        at_seeder = hybrid.seeder.session.get_torrents()[0]
        at_seeder.connect_peer((leecher.address, leecher.port))
    else:
        handle.connect_peer((hybrid.seeder.address, hybrid.seeder.port))
    found = lab.agreed(leecher, hybrid.seeder)
    assert found.infohash in (hybrid.v1, hybrid.v2[:20])
    keys = {client.of(events.PeerConnected)[0].infohash for client in (leecher, hybrid.seeder)}
    assert len(keys) == (2 if known_by == "v2" else 1)
