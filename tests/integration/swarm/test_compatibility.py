"""libtorrent's features go on with our extension in it, and a withheld stranger stays.

What other programs do with us is in ``test_stock_clients.py``.
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import libtorrent as lt

from speedpay.swarm import events
from tests.integration.swarm.stock import Aria2

MIB = 1024 * 1024


def exchange(lab, seeder, leecher, size=8 * MIB):
    """The whole content goes from one to the other."""
    torrent = lab.content(size)
    at_seeder = seeder.add(torrent, torrent.save_dir)
    lab.until(lambda: at_seeder.status().is_seeding and seeder.port)
    at_leecher = leecher.add(torrent, lab.dir("leecher"))
    at_leecher.connect_peer((seeder.address, seeder.port))
    lab.until(lambda: at_leecher.status().is_seeding)
    original = torrent.save_dir / torrent.description.name
    copy = lab.folder / "leecher" / torrent.description.name
    # A plain session calls itself seeding while the last blocks still wait to be written.
    lab.until(lambda: copy.read_bytes() == original.read_bytes())
    return torrent


def test_the_distributions_libtorrent_is_the_one_that_loads():
    assert str(Path(lt.__file__).resolve()).startswith("/usr/lib/python3/dist-packages/")


def test_we_seed_to_stock_libtorrent(lab):
    seeder = lab.node()
    exchange(lab, seeder, lab.node(stock=True))
    assert seeder.sent_bytes() == 8 * MIB
    assert len(seeder.of(events.PeerConnected)) == 1
    assert seeder.of(events.PeerExtended) == []


def test_we_download_from_stock_libtorrent(lab):
    leecher = lab.node()
    exchange(lab, lab.node(stock=True), leecher)
    lab.until(lambda: leecher.received_bytes() == 8 * MIB)
    assert leecher.of(events.BlocksReceived, asked=False) == []
    assert leecher.of(events.PeerExtended) == []


RC4_ONLY = {
    "out_enc_policy": int(lt.enc_policy.pe_forced),
    "in_enc_policy": int(lt.enc_policy.pe_forced),
    "allowed_enc_level": int(lt.enc_level.pe_rc4),
}


def test_messages_and_data_pass_with_forced_rc4_encryption(lab, pair):
    seeder, leecher, _ = pair(8 * MIB, seeder=lab.node(**RC4_ONLY), leecher=lab.node(**RC4_ONLY))
    lab.until(lambda: leecher.torrent.get_peer_info())
    lab.until(lambda: leecher.connection_to(seeder))
    assert leecher.torrent.get_peer_info()[0].flags & lt.peer_info.rc4_encrypted
    talk_and_compare(lab, seeder, leecher)


def test_messages_and_data_pass_over_utp_alone(lab, pair):
    utp = {"enable_outgoing_utp": True, "enable_outgoing_tcp": False, "enable_incoming_tcp": False}
    seeder, leecher, _ = pair(8 * MIB, seeder=lab.node(**utp), leecher=lab.node(**utp))
    lab.until(lambda: leecher.connection_to(seeder))
    talk_and_compare(lab, seeder, leecher)


def talk_and_compare(lab, seeder, leecher):
    lab.agreed(leecher, seeder)
    for number in range(20):
        leecher.extension.send(leecher.connection_to(seeder), b"%d" % number)
    lab.until(lambda: leecher.torrent.status().is_seeding)
    lab.until(lambda: leecher.received_bytes() == seeder.sent_bytes() == 8 * MIB)
    lab.until(lambda: len(seeder.of(events.Message)) == 20)
    assert leecher.received_by_counters() == seeder.sent_by_counters()


def test_peers_find_each_other_by_ut_pex(lab):
    torrent = lab.content(4 * MIB)
    # The one in the middle has nothing: what the outer two exchange, they got from each other.
    middle, holder, seeker = lab.node(), lab.node(), lab.node()
    at_middle = middle.add(torrent, lab.dir("middle"), pex=True)
    at_holder = holder.add(torrent, torrent.save_dir, pex=True)
    lab.until(lambda: at_holder.status().is_seeding and middle.port)
    at_seeker = seeker.add(torrent, lab.dir("seeker"), pex=True)
    at_holder.connect_peer((middle.address, middle.port))
    lab.until(lambda: middle.of(events.PeerExtended))
    at_seeker.connect_peer((middle.address, middle.port))
    lab.until(lambda: seeker.connection_to(holder) or holder.connection_to(seeker))
    lab.until(lambda: at_seeker.status().is_seeding and at_middle.status().is_seeding)


def test_a_withheld_aria2_stays_and_resumes(lab):
    torrent = lab.content(24 * MIB)
    seeder = lab.node(upload_rate_limit=4 * MIB)
    at_seeder = seeder.add(torrent, torrent.save_dir)
    lab.until(lambda: at_seeder.status().is_seeding and seeder.port)
    file = lab.folder / "aria2.torrent"
    file.write_bytes(torrent.data)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    other = lab.node()
    at_other = other.add(torrent, lab.dir("other"))
    home = lab.dir("home")
    aria2 = Aria2(home, "127.0.0.1", port, file, lab.dir("aria2"))
    with contextlib.closing(aria2):
        lab.until(aria2.listens)
        at_seeder.connect_peer((aria2.address, aria2.port))
        lab.until(lambda: seeder.sent_bytes() > 0)
        connection = seeder.of(events.PeerConnected)[0].connection
        seeder.extension.withhold(connection, True)
        sent = seeder.sent_bytes(connection)
        at_other.connect_peer((seeder.address, seeder.port))
        lab.until(lambda: other.received_bytes() > 6 * MIB)
        assert seeder.sent_bytes(connection) - sent < 200 * 1024
        seeder.extension.withhold(connection, False)
        resumed = seeder.sent_bytes(connection)
        lab.until(lambda: seeder.sent_bytes(connection) > resumed + 2 * MIB)
        assert seeder.of(events.PeerGone) == []
