"""Programs of the distribution that know nothing of us, each with one torrent: aria2, Transmission, and the
session of libtorrent's own binding; and a tracker by which they find us, since they cannot be told."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from speedpay.swarm.bencoding import encode

#: Ways in which a program can be set up. Transmission calls by uTP first, and by TCP only when it is told
#: to have no uTP: where nobody answers its uTP it does not call again for minutes.
ENCRYPTED = "encrypted"
NO_UTP = "no uTP"


def is_listening(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        return probe.connect_ex((address, port)) == 0


class Program:
    """A process that is ended by its id. Its home, and all that it keeps, is ``folder``."""

    def __init__(self, folder: Path, address: str, port: int) -> None:
        self.folder, self.address, self.port = folder, address, port
        folder.mkdir(exist_ok=True)

    def start(self, *command: str) -> None:
        with (self.folder / "said.txt").open("wb") as said:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C.UTF-8"},
            )  # fmt: skip

    def listens(self) -> bool:
        assert self.process.poll() is None, (self.folder / "said.txt").read_text()
        return is_listening(self.address, self.port)

    def interrupt(self) -> None:
        """As Ctrl-C; ``close`` waits for its end."""
        self.process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Ends it as Ctrl-C does, and by force when that is not enough."""
        self.interrupt()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Aria2(Program):
    """It has no uTP."""

    NAME: ClassVar[str] = "aria2"

    def __init__(
        self, folder: Path, address: str, port: int, torrent: Path, content: Path, *wanted: str
    ) -> None:
        super().__init__(folder, address, port)
        encrypted = ("--bt-require-crypto=true", "--bt-min-crypto-level=arc4")
        self.start(
            "aria2c", "--no-conf", "--enable-dht=false", "--enable-dht6=false",
            "--bt-enable-lpd=false", "--enable-peer-exchange=false", "--file-allocation=none",
            "--check-integrity=true", "--seed-ratio=0.0", "--summary-interval=0", "--bt-tracker-interval=5",
            f"--interface={address}", f"--listen-port={port}", f"--dir={content}",
            *(encrypted if ENCRYPTED in wanted else ()), str(torrent),
        )  # fmt: skip


class Transmission(Program):
    """transmission-cli: the daemon's package would start a service of the machine's."""

    NAME: ClassVar[str] = "Transmission"

    def __init__(
        self, folder: Path, address: str, port: int, torrent: Path, content: Path, *wanted: str
    ) -> None:
        super().__init__(folder, address, port)
        settings = {
            "bind-address-ipv4": "0.0.0.0" if ":" in address else address,
            "bind-address-ipv6": address if ":" in address else "::1",
            "peer-port": port, "peer-port-random-on-start": False,
            "dht-enabled": False, "lpd-enabled": False, "pex-enabled": False,
            "utp-enabled": NO_UTP not in wanted,
            "port-forwarding-enabled": False, "rpc-enabled": False, "preallocation": 0,
        }  # fmt: skip
        (folder / "settings.json").write_text(json.dumps(settings))
        self.start(
            "transmission-cli", "--no-portmap", "--no-blocklist", "--verify",
            "--config-dir", str(folder), "--download-dir", str(content), "--port", str(port),
            "--encryption-required" if ENCRYPTED in wanted else "--encryption-tolerated",
            str(torrent),
        )  # fmt: skip


_SESSION = """
import json, sys, libtorrent as lt
settings, torrent, folder = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
session = lt.session(settings)
parameters = lt.load_torrent_file(torrent)
parameters.save_path = folder
session.add_torrent(parameters)
while True:
    session.wait_for_alert(1000)
    session.pop_alerts()
"""


class Libtorrent(Program):
    """The distribution's session as it comes, in a process without any of our code."""

    NAME: ClassVar[str] = "libtorrent"

    def __init__(
        self, folder: Path, address: str, port: int, torrent: Path, content: Path, *wanted: str
    ) -> None:
        super().__init__(folder, address, port)
        at = f"[{address}]" if ":" in address else address
        settings = {
            "listen_interfaces": f"{at}:{port}", "outgoing_interfaces": address,
            "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
        }  # fmt: skip
        if ENCRYPTED in wanted:
            # pe_forced both ways, and RC4 instead of a plain connection after the handshake.
            settings |= {"out_enc_policy": 0, "in_enc_policy": 0, "allowed_enc_level": 2}
        self.start(
            sys.executable, "-I", "-c", _SESSION, json.dumps(settings), str(torrent), str(content)
        )


class Tracker:
    """Answers every announce (BEP 3) with the peers that it was given, whoever asks."""

    def __init__(self, address: str) -> None:
        self.peers: list[tuple[str, int]] = []
        tracker = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = encode(tracker.answer())
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
            daemon_threads = True

        self._server = Server((address, 0), Handler)
        at = f"[{address}]" if ":" in address else address
        self.url = f"http://{at}:{self._server.server_port}/announce"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def answer(self) -> dict[bytes, Any]:
        """Compact, as BEP 23 and BEP 7 have it."""
        lists = {4: b"", 6: b""}
        for address, port in self.peers:
            ip = ipaddress.ip_address(address)
            lists[ip.version] += ip.packed + struct.pack(">H", port)
        return {b"interval": 5, b"peers": lists[4], b"peers6": lists[6]}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


PROGRAMS: dict[str, type[Aria2] | type[Transmission] | type[Libtorrent]] = {
    program.NAME: program for program in (Libtorrent, Aria2, Transmission)
}
