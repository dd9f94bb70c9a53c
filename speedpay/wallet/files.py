"""Small private files that survive a crash, and a lock that dies with its owner.

The rule is old: write a neighbour, fsync it, rename it over, fsync the folder. A reader then sees
the old content or the new, never a part. Whoever writes holds the lock, so the neighbour can have
one fixed name and a crash leaves no litter behind.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from speedpay.errors import DiskFull, NotFound, SpeedpayError

FILE_MODE = 0o600
FOLDER_MODE = 0o700


@contextmanager
def locked(lock_file: Path) -> Iterator[None]:
    """Waits until no other process holds ``lock_file``. The kernel frees it when we die."""
    try:
        lock_file.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(lock_file, flags, FILE_MODE)
    except OSError as error:
        _translate(error, lock_file)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write(path: Path, content: bytes) -> None:
    """Replaces ``path`` durably. The caller holds the lock of this file."""
    neighbour = path.with_name(path.name + ".new")
    try:
        # mkdir's mode is for the last folder only, which is ours.
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(neighbour, flags, FILE_MODE)
        try:
            os.fchmod(handle, FILE_MODE)  # a neighbour left by a crash may have another mode
            with os.fdopen(handle, "wb", closefd=False) as file:
                file.write(content)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(neighbour, path)
        sync_folder(path.parent)
    except OSError as error:
        _translate(error, path)


def remove(path: Path) -> None:
    """Removes ``path`` durably; it may be gone already."""
    try:
        path.unlink(missing_ok=True)
        if path.parent.exists():
            sync_folder(path.parent)
    except OSError as error:
        _translate(error, path)


def read(path: Path, max_bytes: int) -> tuple[bytes, int]:
    """Up to ``max_bytes + 1`` bytes of ``path``, and its permission bits. Raises NotFound.

    One byte more than allowed comes back so that the caller can refuse a file that is too large
    without having read all of it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            return file.read(max_bytes + 1), mode
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist") from error
    except OSError as error:
        _translate(error, path)


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _translate(error: OSError, path: Path) -> NoReturn:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise DiskFull(f"no room left to write {path}") from error
    raise SpeedpayError(f"cannot use {path}: {error.strerror}") from error
