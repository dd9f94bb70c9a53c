"""A plain libtorrent session, nothing of ours in it: the measure of the benchmarks. It says the same events.

usage: stock_client.py TORRENT DIR ADDR:PORT UPLOAD_LIMIT PEER…
"""

from __future__ import annotations

import json
import signal
import sys
import time

import libtorrent as lt


def main() -> None:
    torrent, folder, listen, limit, *peers = sys.argv[1:]
    session = lt.session({
        "listen_interfaces": listen,
        "outgoing_interfaces": listen.rpartition(":")[0],
        "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
        "upload_rate_limit": int(limit),
    })  # fmt: skip
    # Loopback peers are exempt from limits unless they are put into the global class.
    everybody = lt.ip_filter()
    everybody.add_rule("0.0.0.0", "255.255.255.255", 1 << lt.session.global_peer_class_id)
    session.set_peer_class_filter(everybody)
    parameters = lt.load_torrent_file(torrent)
    parameters.save_path = folder
    handle = session.add_torrent(parameters)
    handle.unset_flags(lt.torrent_flags.auto_managed)
    handle.resume()
    stop: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: stop.append(number))
    while str(handle.status().state) in ("checking_files", "checking_resume_data"):
        time.sleep(0.05)
    seeding = handle.status().is_seeding
    say("seeding" if seeding else "started")
    for peer in peers:
        host, _, port = peer.rpartition(":")
        handle.connect_peer((host, int(port)))
    while not stop:
        if not seeding and handle.status().is_seeding:
            seeding = True
            say("finished")
        time.sleep(0.05)


def say(event: str) -> None:
    print(json.dumps({"event": event}), flush=True)


if __name__ == "__main__":
    main()
