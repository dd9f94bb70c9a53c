"""Makes a torrent out of files.

Version 1 (BEP 3): every client reads it, also those without BEP 52, and a hybrid would pad each file
and double the hashing for hashes that libtorrent asks its peers for only after a piece has failed.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speedpay.errors import InvalidSetting, NotFound
from speedpay.swarm.bencoding import Bencoded, encode
from speedpay.swarm.content import (
    MAX_PIECE_BYTES,
    MIN_PIECE_BYTES,
    Description,
    check_torrent_file,
)

#: So many pieces at most when the length is chosen for the user: small pieces verify, and settle,
#: sooner; each costs 20 bytes in the torrent and a message to every peer.
_TARGET_PIECES = 2048
_SMALLEST_AUTOMATIC_PIECE = 64 * 1024
_LARGEST_AUTOMATIC_PIECE = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CreatedTorrent:
    data: bytes  # the .torrent file
    save_dir: Path  # where to seed it from: the content stands there under its name
    description: Description


def create_torrent(
    paths: Sequence[Path],
    *,
    piece_length: int | None = None,
    private: bool = False,
    trackers: Sequence[str] = (),
    comment: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> CreatedTorrent:
    """Hash one file, one directory, or several of both that stand in one directory.

    ``piece_length`` is in bytes, a power of two; None chooses it. ``progress`` is called with bytes
    hashed and bytes in all. Raises NotFound, InvalidSetting, Malformed for a file name that other
    clients would refuse, or OSError when a file cannot be read.
    """
    name, save_dir, files = _listing([path.absolute() for path in paths])
    total = sum(size for _, size in files)
    if total == 0:
        raise InvalidSetting("there is nothing in it", field="paths")
    length = piece_length if piece_length is not None else _automatic_piece_length(total)
    if length & (length - 1) or not MIN_PIECE_BYTES <= length <= MAX_PIECE_BYTES:
        raise InvalidSetting("must be a power of two, 16 KiB to 128 MiB", field="piece_length")

    info: dict[bytes, Bencoded] = {b"name": os.fsencode(name), b"piece length": length}
    relative = [(path.relative_to(save_dir / name).parts, size) for path, size in files]
    if relative[0][0] == ():
        info[b"length"] = total
    else:
        info[b"files"] = [
            {b"length": size, b"path": [os.fsencode(part) for part in parts]}
            for parts, size in relative
        ]
    if private:
        info[b"private"] = 1
    info[b"pieces"] = b"".join(_piece_hashes(files, length, total, progress))

    outer: dict[bytes, Bencoded] = {b"info": info, b"creation date": int(time.time())}
    if trackers:
        outer[b"announce"] = trackers[0].encode()
        outer[b"announce-list"] = [[tracker.encode()] for tracker in trackers]
    if comment:
        outer[b"comment"] = comment.encode()
    data = encode(outer)
    return CreatedTorrent(data, save_dir, check_torrent_file(data))


def _listing(paths: Sequence[Path]) -> tuple[str, Path, list[tuple[Path, int]]]:
    """The torrent's name, the directory it stands in, and its files with their sizes, sorted."""
    if not paths:
        raise InvalidSetting("name at least one file", field="paths")
    for path in paths:
        if not path.exists():
            raise NotFound(f"{path} does not exist", field="paths")
    top = paths[0] if len(paths) == 1 else paths[0].parent
    if any(path.parent != top for path in paths[1:]) or (len(paths) > 1 and not top.name):
        raise InvalidSetting("several paths must stand in one directory", field="paths")
    files: list[tuple[Path, int]] = []
    for path in sorted(set(paths)):
        if path.is_dir():
            files.extend(_regular_files(path))
        else:
            files.append((path, path.stat().st_size))
    if not files:
        raise InvalidSetting("there is nothing in it", field="paths")
    return top.name, top.parent, files


def _regular_files(top: Path) -> Iterator[tuple[Path, int]]:
    for directory, subdirectories, names in os.walk(top, onerror=_raise):
        subdirectories.sort()
        for name in subdirectories:
            if (Path(directory) / name).is_symlink():
                # Followed, it may lead out of the directory, or round in a circle.
                raise InvalidSetting(f"{directory}/{name} links to a directory", field="paths")
        for name in sorted(names):
            path = Path(directory) / name
            if not path.is_file():
                raise InvalidSetting(f"{path} is not a regular file", field="paths")
            yield path, path.stat().st_size


def _raise(error: OSError) -> None:
    raise error


def _automatic_piece_length(total: int) -> int:
    length = _SMALLEST_AUTOMATIC_PIECE
    while length < _LARGEST_AUTOMATIC_PIECE and total > length * _TARGET_PIECES:
        length *= 2
    return length


def _piece_hashes(
    files: Sequence[tuple[Path, int]],
    length: int,
    total: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[bytes]:
    digest, missing, hashed = hashlib.sha1(), length, 0
    for path, size in files:
        left = size
        with path.open("rb") as file:
            while left:
                chunk = file.read(min(missing, left, 1 << 20))
                if not chunk:
                    raise InvalidSetting(f"{path} shrank while it was read", field="paths")
                digest.update(chunk)
                left -= len(chunk)
                missing -= len(chunk)
                hashed += len(chunk)
                if not missing:
                    yield digest.digest()
                    digest, missing = hashlib.sha1(), length
                    if progress is not None:
                        progress(hashed, total)
    if missing != length:
        yield digest.digest()
        if progress is not None:
            progress(hashed, total)
