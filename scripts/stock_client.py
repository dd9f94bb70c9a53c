"""A plain libtorrent session, nothing of ours in it: the measure of the benchmarks. It says the same events.

Every setting is libtorrent's default but for the upload limit, the addresses, what would look for peers
outside (DHT and the like), and uTP: like our client it calls by TCP. On loopback uTP is several times slower
(measured: 7 to 41 MiB/s), and beating that would prove nothing.

usage: stock_client.py TORRENT DIR ADDR:PORT UPLOAD_LIMIT PEER…
"""

from __future__ import annotations

import json
import signal
import sys
import time

import libtorrent as lt

_LOOK_S, _PROGRESS_S = 0.05, 1.0


def main() -> None:
    torrent, folder, listen, limit, *peers = sys.argv[1:]
    session = lt.session({
        "listen_interfaces": listen,
        "outgoing_interfaces": listen.rpartition(":")[0],
        "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
        "enable_outgoing_utp": False,
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
        time.sleep(_LOOK_S)
    seeding = handle.status().is_seeding
    say("seeding" if seeding else "started")
    for peer in peers:
        host, _, port = peer.rpartition(":")
        handle.connect_peer((host, int(port)))
    said_at = time.monotonic()
    while not stop:
        if not seeding:
            # 0: as in our client, blocks of unverified pieces are not counted.
            status = handle.status(0)
            seeding, now = status.is_seeding, time.monotonic()
            if seeding or now - said_at >= _PROGRESS_S:
                said_at = now
                say(
                    "progress", done_bytes=status.total_wanted_done, total_bytes=status.total_wanted
                )
            if seeding:
                say("finished")
        time.sleep(_LOOK_S)


def say(event: str, **fields: int) -> None:
    print(json.dumps({"event": event} | fields), flush=True)


if __name__ == "__main__":
    main()
