"""Keys of the chain and what is being deployed, on disk: private, durable, never made over.

A key file is 64 hexadecimal digits and a newline, mode 0600. It is made with ``link``, so that of two
processes that start together one wins, and never replaced: another key is another account.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speedpay.chain.keys import ChainKey
from speedpay.errors import AlreadyExists, DiskFull, InvalidSetting, NotFound, SpeedpayError

FILE_MODE = 0o600
FOLDER_MODE = 0o700
_MAX_FILE_BYTES = 1024 * 1024


def load_key(path: Path) -> ChainKey:
    """Raises NotFound; InvalidSetting when others may read it or it holds no key."""
    text = read_private(path).decode("ascii", "replace").strip()
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise InvalidSetting("must hold 64 hexadecimal digits", field=str(path))
    return ChainKey(bytes.fromhex(text))


def make_key(path: Path) -> ChainKey:
    """A new key in a new file. Raises AlreadyExists."""
    secret = secrets.token_bytes(32)
    made = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        _create(made, secret.hex().encode() + b"\n")
        try:
            os.link(made, path)
        finally:
            made.unlink()
        _sync_folder(path.parent)
    except FileExistsError as error:
        raise AlreadyExists("is there already, and is never replaced", field=str(path)) from error
    except OSError as error:
        raise _translated(error, path) from error
    return ChainKey(secret)


def load_or_make_key(path: Path) -> tuple[ChainKey, bool]:
    """The key, and whether it is a new one."""
    if not path.exists():
        try:
            return make_key(path), True
        except AlreadyExists:
            pass
    return load_key(path), False


def read_private(path: Path) -> bytes:
    """At most 1 MiB. Raises NotFound; InvalidSetting when others may read or write the file."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise InvalidSetting(
                    "may be read by others", field=str(path), hint=f"chmod 600 {path}"
                )
            content = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist") from error
    except OSError as error:
        raise _translated(error, path) from error
    if len(content) > _MAX_FILE_BYTES:
        raise InvalidSetting(f"is above {_MAX_FILE_BYTES} bytes", field=str(path))
    return content


def write_private(path: Path, content: bytes) -> None:
    """Replaces the file: a neighbour, fsync, rename, fsync of the folder."""
    made = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        made.unlink(missing_ok=True)
        _create(made, content)
        os.replace(made, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _translated(error, path) from error


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Alone with ``path`` until the end. Raises AlreadyExists while another process is."""
    try:
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
    except OSError as error:
        raise _translated(error, path) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AlreadyExists("another process works here", field=str(path)) from error
        yield
    finally:
        os.close(handle)


def _create(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    handle = os.open(path, flags, FILE_MODE)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _translated(error: OSError, path: Path) -> SpeedpayError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"no room left to write {path}")
    return SpeedpayError(f"cannot use {path}: {error.strerror}")
