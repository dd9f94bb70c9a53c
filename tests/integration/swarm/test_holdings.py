"""Who holds what of what we lack."""

from __future__ import annotations

from pathlib import Path

MIB = 1024 * 1024


def test_complete_peers_are_told_from_those_that_hold_a_part_which_is_counted_once(lab):
    torrent = lab.content(4 * MIB)
    content = (Path(torrent.save_dir) / "content.bin").read_bytes()
    seeder = lab.swarm()
    assert seeder.swarm.add_torrent_file(torrent.data, torrent.save_dir)
    halves = []
    for _ in range(2):  # both hold the first half
        folder = Path(lab.dir(f"half{len(halves)}"))
        (folder / "content.bin").write_bytes(content[: 2 * MIB] + bytes(2 * MIB))
        halves.append(lab.swarm())
        handle = halves[-1].swarm.add_torrent_file(torrent.data, folder)
        lab.until(lambda handle=handle: handle.status().verified_bytes == 2 * MIB)

    asker = lab.swarm(download_limit=512 * 1024)
    handle = asker.swarm.add_torrent_file(torrent.data, lab.dir("asker"))
    assert not handle.offered()
    assert handle.holdings().holders == ()
    for peer in halves:
        handle.connect(peer.address, peer.port)
    lab.until(lambda: len(handle.holdings(from_nothing=True).holders) == 2 and handle.offered())
    lab.until(lambda: handle.holdings(from_nothing=True).stock_bytes == 2 * MIB)
    assert not any(holder.complete for holder in handle.holdings().holders)

    handle.connect(seeder.address, seeder.port)
    lab.until(lambda: any(holder.complete for holder in handle.holdings(from_nothing=True).holders))
    complete = [h.address for h in handle.holdings(from_nothing=True).holders if h.complete]
    assert complete == [seeder.address]
    lab.until(lambda: any(holder.received_bytes for holder in handle.holdings().holders))
    lab.until(lambda: handle.holdings().stock_bytes < 2 * MIB)
    assert handle.holdings(from_nothing=True).stock_bytes == 2 * MIB
