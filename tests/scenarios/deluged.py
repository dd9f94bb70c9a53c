"""Debian's deluged on a loopback address of its own, with our plugin in its folder."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from speedpay.errors import SpeedpayError
from speedpay.integrations.deluge.egg import PLUGIN, install
from speedpay.integrations.deluge.rpc import SYSTEM_PYTHON, Daemon
from tests.scenarios.clients import PORT, WAIT_S, Content, User, address

#: What /usr/bin/deluged does, whose package would start a service of the machine's.
DELUGED = [SYSTEM_PYTHON, "-c", "from deluge.core.daemon_entry import start_daemon; start_daemon()"]


def _core(at: str, folder: Path) -> dict[str, Any]:
    return {
        "listen_ports": [PORT, PORT], "random_port": False, "listen_interface": at,
        "outgoing_interface": at, "download_location": str(folder),
        "dht": False, "lsd": False, "upnp": False, "natpmp": False, "new_release_check": False,
    }  # fmt: skip


class Deluged:
    """``calls`` what Deluge's own clients call; the process is ended by its number."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "deluge"
        self.downloads = folder / "downloads"
        self.log = folder / "deluged.log"
        self.at = address()
        for made in (self.config, self.downloads):
            made.mkdir(parents=True)
        settings = json.dumps({"file": 1, "format": 1}) + json.dumps(_core(self.at, self.downloads))
        (self.config / "core.conf").write_text(settings)
        install(self.config)
        self.begin()

    def begin(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        home = {"HOME": str(self.config), "XDG_DATA_HOME": str(self.config)}
        self.process = subprocess.Popen(
            [*DELUGED, "-d", "-c", str(self.config), "-l", str(self.log), "-L", "info",
             "-u", "127.0.0.1", "-p", str(port)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=os.environ | home,
        )  # fmt: skip
        listening = self.config / "deluged.pid"
        self.until(lambda: listening.is_file() and f";{port}" in listening.read_text())
        self.daemon = self.until(self._connected)

    def _connected(self) -> Daemon | None:
        try:
            return Daemon(self.config)
        except SpeedpayError:
            return None

    def call(self, method: str, *arguments: Any) -> Any:
        return self.daemon.call(method, *arguments)

    def until(self, condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + WAIT_S
        while not (found := condition()):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"not in time: {self.log.read_text()[-4000:]}"
            time.sleep(0.05)
        return found

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.call("speedpay.get_status")
        return found

    def enable(self, user: User, **more: str) -> None:
        """The plugin, with this user's wallet; until it runs."""
        self.call("core.enable_plugin", PLUGIN)
        self.call("speedpay.set_config", {
            "home": str(user.home), "passphrase_file": str(user.home / "passphrase"),
            "ledger_url": user.url, **more,
        })  # fmt: skip
        self.running()

    def running(self) -> None:
        """The plugin with its wallet; Deluge answers before it has loaded its plugins."""
        self.until(lambda: "speedpay.get_status" in self.call("daemon.get_method_list"))
        self.until(lambda: self.status().get("ledger_reached"))

    def add(self, content: Content, folder: Path | None = None) -> str:
        options = {"download_location": str(folder or self.downloads)}
        found: str = self.call(
            "core.add_torrent_file", "content.torrent",
            base64.b64encode(content.made.data).decode(), options,
        )  # fmt: skip
        return found

    def torrent(self, torrent_id: str) -> dict[str, Any]:
        keys = ["state", "progress", "is_finished", "num_peers", "total_uploaded"]
        found: dict[str, Any] = self.call("core.get_torrent_status", torrent_id, keys)
        return found

    def maps(self) -> list[str]:
        """What deluged has in its memory, by file."""
        return Path(f"/proc/{self.process.pid}/maps").read_text().splitlines()

    def payers(self) -> list[int]:
        """The processes beside it."""
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if parent == self.process.pid:
                    found.append(int(folder.name))
        return found

    def end(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        self.daemon.close()
        self.process.send_signal(with_signal)
        return self.process.wait(WAIT_S)


@contextlib.contextmanager
def deluged_in(folder: Path) -> Iterator[Deluged]:
    deluged = Deluged(folder)
    try:
        yield deluged
    finally:
        if deluged.process.poll() is None:
            deluged.end()
