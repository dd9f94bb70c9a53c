"""Files of the ledger that survive a crash: complete and on disk, or not there.

A neighbour is written and fsynced, then renamed, then the folder is fsynced. Whoever writes in a
folder holds its lock, so the neighbour has one name and a crash leaves no litter.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speedpay.errors import DiskFull, LedgerFailed


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Waits until no other process or thread writes in ``folder``, which is made if need be.

    Errors of the disk inside become DiskFull or LedgerFailed.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"no room left in {folder}") from error
        raise LedgerFailed(f"cannot write in {folder}: {error.strerror}") from error


def replace(path: Path, content: bytes | bytearray) -> None:
    """The caller holds the lock of the folder."""
    neighbour = path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    handle = os.open(neighbour, flags, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(neighbour, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
