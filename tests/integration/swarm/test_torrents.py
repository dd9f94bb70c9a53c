"""Torrents in a session of ours: files, magnet links, resuming, corrupt peers and the end."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys

import libtorrent as lt
import pytest

from speedpay.errors import AlreadyExists, InvalidSetting, Malformed, NotFound
from speedpay.swarm import events
from speedpay.swarm.bencoding import decode, encode
from speedpay.swarm.create import CreatedTorrent, create_torrent
from speedpay.swarm.settings import SwarmSettings
from speedpay.swarm.torrent import TorrentState
from speedpay.swarm.torrents import Swarm

MIB = 1024 * 1024


def seeding(lab, torrent, **settings):
    seeder = lab.swarm(**settings)
    handle = seeder.swarm.add_torrent_file(torrent.data, torrent.save_dir)
    lab.until(lambda: handle.status().seeding and seeder.port)
    return seeder, handle


def magnet(torrent: CreatedTorrent) -> str:
    return f"magnet:?xt=urn:btih:{torrent.description.infohash.hex()}&dn=content"


def test_a_torrent_file_is_downloaded_and_its_status_tells_so(lab):
    torrent = lab.content(8 * MIB)
    seeder, _ = seeding(lab, torrent)
    leecher = lab.swarm()
    handle = leecher.swarm.add_torrent_file(torrent.data, lab.dir("leecher"))
    assert handle.infohash == torrent.description.infohash
    handle.connect(seeder.address, seeder.port)
    lab.until(lambda: leecher.of(events.TorrentFinished, infohash=handle.infohash))

    status = handle.status()
    assert (status.state, status.finished, status.seeding) == (TorrentState.SEEDING, True, True)
    assert status.verified_bytes == status.wanted_bytes == status.total_bytes == 8 * MIB
    assert (status.name, status.piece_length, status.error) == ("content.bin", 256 * 1024, "")
    assert (status.peers, status.seeds) == (1, 1)
    finished = next(n for n, e in enumerate(leecher.seen) if isinstance(e, events.TorrentFinished))
    passed = [n for n, e in enumerate(leecher.seen) if isinstance(e, events.PiecePassed)]
    assert max(passed) < finished
    assert leecher.of(events.Listening)[0].port == leecher.port
    assert leecher.swarm.torrents == (handle,)


def test_unverified_bytes_are_not_counted_as_verified(lab):
    # One piece of 4 MiB: until the last block is there nothing has been verified.
    torrent = lab.content(4 * MIB, piece_length=4 * MIB)
    seeder, _ = seeding(lab, torrent, upload_limit=MIB)
    leecher = lab.swarm()
    handle = leecher.swarm.add_torrent_file(torrent.data, lab.dir("leecher"))
    handle.connect(seeder.address, seeder.port)
    lab.until(lambda: leecher.received_bytes() > MIB)
    assert handle.status().verified_bytes == 0
    assert handle.status().state is TorrentState.DOWNLOADING


def test_a_magnet_link_gets_its_metadata_from_peers(lab):
    torrent = lab.content(4 * MIB)
    seeder, _ = seeding(lab, torrent)
    leecher = lab.swarm()
    handle = leecher.swarm.add_magnet(magnet(torrent), lab.dir("leecher"))
    assert handle.infohash == torrent.description.infohash
    assert handle.status().state is TorrentState.METADATA
    assert not handle.status().have_metadata
    assert handle.name == "content"
    handle.connect(seeder.address, seeder.port)
    lab.until(lambda: leecher.of(events.TorrentFinished))

    assert len(leecher.of(events.TorrentFinished)) == 1
    assert handle.description == torrent.description
    order = [type(event) for event in leecher.seen]
    assert order.index(events.MetadataReceived) < order.index(events.BlocksReceived)
    assert (lab.folder / "leecher" / "content.bin").read_bytes() == (
        torrent.save_dir / "content.bin"
    ).read_bytes()


def hostile(lab, changes=()) -> bytes:
    """A valid torrent with an empty file, a folder and a real file, then changed."""
    tree = lab.dir("hostile")
    (tree / "folder").mkdir()
    (tree / "empty").write_bytes(b"")
    (tree / "folder" / "file").write_bytes(random.Random(0).randbytes(MIB))
    outer = decode(create_torrent([tree]).data, "torrent")
    outer[b"info"].update(changes)
    return encode(outer)


def test_refused_metadata_writes_nothing_and_removes_the_torrent(lab):
    data = hostile(lab, {b"name": "gpj.\u202eexe".encode()})
    server = lab.node(stock=True)
    parameters = lt.load_torrent_buffer(data)
    parameters.save_path = str(lab.dir("server"))
    server.session.add_torrent(parameters)
    lab.until(lambda: server.port)

    folder = lab.dir("leecher")
    leecher = lab.swarm()
    infohash = parameters.ti.info_hash().to_bytes()
    handle = leecher.swarm.add_magnet(f"magnet:?xt=urn:btih:{infohash.hex()}", folder)
    handle.connect(server.address, server.port)
    lab.until(lambda: leecher.of(events.TorrentFailed))

    failed = leecher.of(events.TorrentFailed)[0]
    assert failed.infohash == infohash
    assert "info.name" in failed.message
    assert "direction" in failed.message
    assert list(folder.iterdir()) == []
    assert leecher.of(events.MetadataReceived) == leecher.of(events.TorrentFinished) == []
    assert leecher.swarm.torrents == ()
    with pytest.raises(NotFound):
        lab.until(lambda: handle.status() and False)


def test_metadata_is_not_written_anywhere_before_it_was_checked(lab):
    # The same torrent with nothing wrong in it: files appear only once the event has been drained.
    data = hostile(lab)
    server = lab.node(stock=True)
    parameters = lt.load_torrent_buffer(data)
    parameters.save_path = str(lab.folder)
    server.session.add_torrent(parameters)
    lab.until(lambda: server.port)
    folder = lab.dir("leecher")
    leecher = lab.swarm()
    infohash = parameters.ti.info_hash().to_bytes()
    handle = leecher.swarm.add_magnet(f"magnet:?xt=urn:btih:{infohash.hex()}", folder)
    handle.connect(server.address, server.port)
    undrained, lab.clients = leecher, [server]
    # Not drained, libtorrent has the metadata and would have created the empty file.
    lab.until(lambda: undrained.swarm._session.get_torrents()[0].status().has_metadata)
    lab.until(lambda: undrained.swarm._session.get_torrents()[0].status().is_finished)
    assert list(folder.iterdir()) == []
    assert handle.status().state is TorrentState.METADATA
    lab.clients = [server, leecher]
    lab.until(lambda: leecher.of(events.TorrentFinished))
    assert (folder / "hostile" / "empty").exists()


def test_a_stopped_download_goes_on_from_its_resume_data(lab):
    torrent = lab.content(16 * MIB)
    seeder, _ = seeding(lab, torrent, upload_limit=4 * MIB)
    first = lab.swarm()
    handle = first.swarm.add_torrent_file(torrent.data, lab.dir("leecher"))
    handle.connect(seeder.address, seeder.port)
    lab.until(lambda: len(first.of(events.PiecePassed)) >= 8)
    handle.pause()
    lab.until(lambda: handle.status().state is TorrentState.PAUSED and not handle.status().peers)
    handle.save_resume()
    lab.until(lambda: first.of(events.ResumeData))
    verified = handle.status().verified_bytes
    resume = first.of(events.ResumeData)[0].resume
    lab.clients.remove(first)
    first.close()

    second = lab.swarm()
    handle = second.swarm.add_torrent_file(torrent.data, lab.dir("leecher"), resume=resume)
    lab.until(lambda: handle.status().state is TorrentState.DOWNLOADING)
    # One piece or two may have been verified or written in between; most must be there.
    resumed = handle.status().verified_bytes
    assert resumed >= verified // 2 > 0
    handle.connect(seeder.address, seeder.port)
    lab.until(lambda: second.of(events.TorrentFinished))
    # Less even: the blocks of unfinished pieces are kept as well.
    assert 0 < second.received_bytes() <= 16 * MIB - resumed
    copy = (lab.folder / "leecher" / "content.bin").read_bytes()
    assert copy == (torrent.save_dir / "content.bin").read_bytes()


def test_damaged_resume_data_is_refused_by_name(lab):
    torrent = lab.content(MIB)
    client = lab.swarm()
    for damaged in (b"", b"garbage", b"d4:name3:xyze"):
        with pytest.raises(Malformed) as caught:
            client.swarm.add_torrent_file(torrent.data, lab.dir("leecher"), resume=damaged)
        assert caught.value.field == "resume"


def test_files_that_are_there_are_checked_not_trusted(lab):
    torrent = lab.content(4 * MIB)
    copy = lab.dir("leecher") / "content.bin"
    damaged = bytearray((torrent.save_dir / "content.bin").read_bytes())
    damaged[MIB] ^= 1
    copy.write_bytes(damaged)
    client = lab.swarm()
    handle = client.swarm.add_torrent_file(torrent.data, lab.dir("leecher"))
    lab.until(lambda: handle.status().state is TorrentState.DOWNLOADING)
    assert handle.status().verified_bytes == 4 * MIB - 256 * 1024


def test_a_torrent_is_added_once_and_can_be_removed(lab):
    torrent = lab.content(MIB)
    client = lab.swarm()
    handle = client.swarm.add_torrent_file(torrent.data, torrent.save_dir)
    with pytest.raises(AlreadyExists):
        client.swarm.add_magnet(magnet(torrent), lab.dir("leecher"))
    client.swarm.remove(handle)
    client.swarm.remove(handle)
    assert client.swarm.torrent(handle.infohash) is None
    assert (torrent.save_dir / "content.bin").exists()
    client.swarm.add_torrent_file(torrent.data, torrent.save_dir)


@pytest.mark.parametrize("link", ["", "magnet:", "http://x", "magnet:?xt=urn:btih:zz", "m" * 9000])
def test_what_is_no_magnet_link_is_refused(lab, link):
    client = lab.swarm()
    with pytest.raises(Malformed) as caught:
        client.swarm.add_magnet(link, lab.dir("leecher"))
    assert caught.value.field == "magnet"


def test_a_host_name_is_no_address_of_a_peer(lab):
    torrent = lab.content(MIB)
    handle = lab.swarm().swarm.add_torrent_file(torrent.data, torrent.save_dir)
    with pytest.raises(Malformed) as caught:
        handle.connect("localhost", 1)
    assert caught.value.field == "address"


def test_a_corrupt_seeder_is_named_by_the_failed_piece_and_banned(lab):
    torrent = lab.content(4 * MIB)
    honest, _ = seeding(lab, torrent)
    folder = lab.dir("corrupt")
    data = bytearray((torrent.save_dir / "content.bin").read_bytes())
    for at in range(0, len(data), 64 * 1024):
        data[at] ^= 0xFF
    (folder / "content.bin").write_bytes(data)
    corrupt = lab.node(disable_hash_checks=True)
    parameters = lt.load_torrent_buffer(torrent.data)
    parameters.save_path = str(folder)
    parameters.flags |= lt.torrent_flags.seed_mode
    corrupt.session.add_torrent(parameters)
    lab.until(lambda: corrupt.port)

    leecher = lab.swarm()
    handle = leecher.swarm.add_torrent_file(torrent.data, lab.dir("leecher"))
    handle.connect(corrupt.address, corrupt.port)
    lab.until(lambda: leecher.of(events.PeerBanned))
    assert leecher.of(events.PeerBanned)[0] == (handle.infohash, corrupt.address)
    failed = leecher.of(events.PieceFailed)
    assert failed
    # Every block of the failed piece came from the one connection.
    blocks = leecher.of(events.BlocksReceived, piece=failed[0].piece)
    connections = {event.connection for event in blocks}
    assert connections == {leecher.of(events.PeerConnected)[0].connection}

    handle.connect(honest.address, honest.port)
    lab.until(lambda: leecher.of(events.TorrentFinished))


def test_a_banned_address_is_disconnected_and_stays_out(lab):
    torrent = lab.content(16 * MIB)
    seeder, _ = seeding(lab, torrent, upload_limit=MIB)
    leecher = lab.swarm()
    handle = leecher.swarm.add_torrent_file(torrent.data, lab.dir("leecher"))
    handle.connect(seeder.address, seeder.port)
    lab.until(lambda: leecher.connection_to(seeder))
    leecher.swarm.extension.ban(leecher.connection_to(seeder))
    lab.until(lambda: leecher.of(events.PeerGone))
    assert "IP filter" in leecher.of(events.PeerGone)[0].reason

    ended = len(seeder.of(events.PeerGone))
    handle.connect(seeder.address, seeder.port)
    lab.until(lambda: len(seeder.of(events.PeerGone)) > ended)
    assert len(leecher.of(events.PeerConnected)) == 1


def test_events_come_to_an_asyncio_loop_in_batches(lab):
    torrent = lab.content(16 * MIB)
    seeder, _ = seeding(lab, torrent)
    leecher = lab.swarm()
    handle = leecher.swarm.add_torrent_file(torrent.data, lab.dir("leecher"))

    async def download() -> list[list[events.Event]]:
        batches = []
        handle.connect(seeder.address, seeder.port)
        async for batch in leecher.swarm.batches():
            batches.append(batch)
            if any(isinstance(event, events.TorrentFinished) for event in batch):
                return batches
        raise AssertionError("the session ended")

    batches = asyncio.run(asyncio.wait_for(download(), 20))
    assert all(batches)
    received = [e for batch in batches for e in batch if isinstance(e, events.BlocksReceived)]
    assert sum(event.length for event in received) == 16 * MIB
    # Merged: far fewer events than the 1,024 blocks.
    assert len(received) < 700


def test_a_session_closed_in_mid_transfer_ends_cleanly():
    # In a process of its own: the failure would be a crash of the interpreter.
    program = """
import os, random, sys, tempfile
from pathlib import Path
from speedpay.swarm.create import create_torrent
from speedpay.swarm.settings import SwarmSettings
from speedpay.swarm.torrents import Swarm

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "content.bin")
    path.write_bytes(random.Random(1).randbytes(32 << 20))
    torrent = create_torrent([path])
    ends = [Swarm(SwarmSettings(listen=f"127.{1 + os.getpid() % 60}.9.{n}:0", upload_limit=8 << 20,
                                dht=False, lsd=False))
            for n in (1, 2)]
    for closed_first in (0, 1):
        seeder, leecher = ends
        at_seeder = seeder.add_torrent_file(torrent.data, torrent.save_dir)
        while not (at_seeder.status().seeding and seeder.listen_port):
            seeder.wait(0.02)
        at_leecher = leecher.add_torrent_file(torrent.data, Path(folder, f"copy {closed_first}"))
        at_leecher.connect(f"127.{1 + os.getpid() % 60}.{9 + closed_first}.1", seeder.listen_port)
        while at_leecher.status().verified_bytes == 0:
            leecher.wait(0.02)
            for event in seeder.drain():
                if type(event).__name__ == "PeerExtended":
                    seeder.extension.set_weight(event.connection, 7)
                    seeder.extension.withhold(event.connection, True)
                    seeder.extension.withhold(event.connection, False)
                    seeder.extension.send(event.connection, b"hello")
        ends[closed_first].close()
        ends[closed_first].close()
        ends[1 - closed_first].wait(0.02)
        ends[1 - closed_first].close()
        ends = [Swarm(SwarmSettings(listen=f"127.{1 + os.getpid() % 60}.10.{n}:0", dht=False,
                lsd=False)) for n in (1, 2)]
    # The last two are not closed at all.
print("ended")
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.returncode, run.stdout) == (0, "ended\n"), run.stderr


def test_loopback_clients_call_from_the_address_they_listen_on(lab):
    torrent = lab.content(MIB)
    seeder, _ = seeding(lab, torrent)
    leecher = lab.swarm()
    handle = leecher.swarm.add_torrent_file(torrent.data, lab.dir("leecher"))
    handle.connect(seeder.address, seeder.port)
    lab.until(lambda: seeder.of(events.PeerConnected))
    assert seeder.of(events.PeerConnected)[0].address == leecher.address


@pytest.mark.parametrize("listen", ["", "localhost:1", "127.0.0.1", "127.0.0.1:70000", "1.2.3.4:x"])
def test_a_listen_address_must_be_an_address_and_a_port(listen):
    with pytest.raises(InvalidSetting) as caught:
        SwarmSettings(listen=listen)
    assert caught.value.field == "listen"


def test_a_port_in_use_is_reported(lab):
    first = lab.swarm()
    lab.until(lambda: first.port)
    second = Swarm(SwarmSettings(listen=f"{first.address}:{first.port}", dht=False, lsd=False))
    try:
        seen: list[events.Event] = []
        lab.until(lambda: seen.extend(second.drain()) or seen)
        assert any(isinstance(event, events.ListenFailed) for event in seen)
    finally:
        second.close()
