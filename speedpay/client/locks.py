"""One process per torrent: its channels are recovered only when nobody else is using them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Container
from pathlib import Path

#: Under the user's home.
LOCKS = "locks"


def anybody(folder: Path) -> bool:
    """Does another process hold a torrent of this folder?"""
    for file in folder.glob("*.lock"):
        descriptor = os.open(file, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False


class TorrentLocks:
    """Advisory locks in a folder of the user's; the kernel drops them when the process ends."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._held: dict[bytes, int] = {}

    def take(self, infohash: bytes) -> bool:
        """Whether this process now holds the torrent (also when it did before)."""
        if infohash in self._held:
            return True
        descriptor = os.open(self._folder / f"{infohash.hex()}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._held[infohash] = descriptor
        return True

    def keep_only(self, infohashes: Container[bytes]) -> None:
        for infohash in [held for held in self._held if held not in infohashes]:
            os.close(self._held.pop(infohash))

    def close(self) -> None:
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()
