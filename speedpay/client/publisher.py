"""Seeds the files of leaves that a ledger puts into a folder: a torrent for every ``*.torrent`` there.

The operator's ``speedpay ledger serve --publish`` runs it, and so can anybody else with a copy of the
folder: with the leaves of the last epoch everybody can prove his balance, whatever becomes of the
ledger. One thread owns the session; files that vanish from the folder are no longer seeded.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from speedpay.config import Endpoint
from speedpay.errors import LedgerFailed, SpeedpayError
from speedpay.swarm.content import MAX_TORRENT_FILE_BYTES
from speedpay.swarm.settings import SwarmSettings
from speedpay.swarm.torrent import Torrent
from speedpay.swarm.torrents import Swarm

_log = logging.getLogger("speedpay.publisher")

#: How often the folder is looked at when nobody calls ``look``.
LOOK_S = 5.0
_TURN_S = 0.25


class Publisher:
    """``listen``: port 0 takes a free one. Start it with ``running``."""

    def __init__(self, folder: Path, listen: Endpoint) -> None:
        self._folder = folder
        self._settings = SwarmSettings(
            listen=str(listen), dht=not ip_address(listen.host).is_loopback, lsd=False
        )
        self._seeded: dict[str, Torrent] = {}
        self._look = threading.Event()
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._failure: Exception | None = None
        self.port = 0

    def look(self) -> None:
        """The folder has changed. Any thread may call this."""
        self._look.set()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Raises NativeUnavailable, or LedgerFailed when the port cannot be used."""
        thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        thread.start()
        try:
            self._ready.wait(10)
            if self._failure is not None:
                raise self._failure
            if not self.port:
                raise LedgerFailed(
                    f"cannot listen on {self._settings.listen}", hint="is the port taken?"
                )
            yield
        finally:
            self._stop.set()
            thread.join(10)

    def _run(self) -> None:
        try:
            swarm = Swarm(self._settings)
        except Exception as error:
            self._failure = error
            self._ready.set()
            return
        try:
            self._wait_for_port(swarm)
            while not self._stop.is_set():
                self._look.clear()
                self._match(swarm)
                for _ in range(int(LOOK_S / _TURN_S)):
                    swarm.wait(_TURN_S)  # events are only to be taken away
                    if self._stop.is_set() or self._look.is_set():
                        break
        except Exception:
            _log.exception("publishing has ended")
        finally:
            swarm.close()

    def _wait_for_port(self, swarm: Swarm) -> None:
        for _ in range(40):
            swarm.wait(0.05)
            self.port = swarm.listen_port
            if self.port:
                break
        self._ready.set()

    def _match(self, swarm: Swarm) -> None:
        """Seed what is in the folder, and nothing else."""
        there = {path.name: path for path in self._folder.glob("*.torrent")}
        for name in self._seeded.keys() - there.keys():
            swarm.remove(self._seeded.pop(name))
        for name in sorted(there.keys() - self._seeded.keys()):
            try:
                with there[name].open("rb") as file:
                    data = file.read(MAX_TORRENT_FILE_BYTES + 1)
                self._seeded[name] = swarm.add_torrent_file(data, self._folder)
            except (OSError, SpeedpayError) as error:
                _log.warning("cannot seed %s: %s", name, error)
