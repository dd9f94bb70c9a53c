"""What a torrent says it contains, checked before libtorrent is given it.

A torrent description comes from strangers, as a file (BEP 3, BEP 52) or from peers (BEP 9), and names
files that we are about to write. libtorrent cleans up what it dislikes; here it is refused, by name,
so that what the user was shown is what is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from speedpay.errors import Malformed
from speedpay.swarm.bencoding import Bencoded, decode_dict_with_span
from speedpay.swarm.names import NameSpace, path_element

MAX_TORRENT_FILE_BYTES = 16 * 1024 * 1024
MAX_FILES = 100_000
#: Above every torrent in use; a torrent of zeros may claim any size for a few hashes.
MAX_TOTAL_BYTES = 8 * 1024**4
MIN_PIECE_BYTES = 16 * 1024
MAX_PIECE_BYTES = 128 * 1024 * 1024

# BEP 47: p is padding, which nobody writes; x executable, h hidden; l a symbolic link.
_PADDING = b"p"
_SYMLINK = b"l"


@dataclass(frozen=True, slots=True)
class ContentFile:
    path: str  # relative to the save directory, "/" between elements
    length: int  # bytes


@dataclass(frozen=True, slots=True)
class Description:
    """A torrent that passed the check."""

    infohash: bytes  # 20 bytes: v1, or v2 cut, as in events.py
    name: str
    piece_length: int  # bytes
    total_bytes: int  # without padding
    files: tuple[ContentFile, ...]
    private: bool  # BEP 27: peers from its trackers only


def read_torrent_file(path: Path) -> bytes:
    """A torrent file's bytes, not read beyond the limit. Raises Malformed, or OSError."""
    with path.open("rb") as file:
        data = file.read(MAX_TORRENT_FILE_BYTES + 1)
    _check_size(data, "torrent")
    return data


def check_torrent_file(data: bytes) -> Description:
    """Check a whole .torrent file. Raises Malformed with a field like ``info.files[3].path``."""
    _check_size(data, "torrent")
    outer, info_bytes = decode_dict_with_span(data, b"info", "torrent")
    info = outer.get(b"info")
    if not isinstance(info, dict):
        raise Malformed("must be a dictionary", field="info")
    return _check(info, info_bytes)


def check_info(info_bytes: bytes) -> Description:
    """Check the info dictionary alone, as peers send it (BEP 9)."""
    _check_size(info_bytes, "info")
    info, _ = decode_dict_with_span(info_bytes, b"", "info")
    return _check(info, info_bytes)


def _check_size(data: bytes, field: str) -> None:
    if len(data) > MAX_TORRENT_FILE_BYTES:
        raise Malformed(f"is longer than {MAX_TORRENT_FILE_BYTES} bytes", field=field)


def _check(info: dict[bytes, Bencoded], info_bytes: bytes) -> Description:
    version = info.get(b"meta version", 1)
    if version not in (1, 2):
        raise Malformed("must be 1 or 2", field="info.meta version")
    has_v1 = b"pieces" in info
    has_v2 = version == 2
    if not has_v1 and not has_v2:
        raise Malformed("is missing", field="info.pieces")

    name = path_element(info.get(b"name"), "info.name")
    if b"name.utf-8" in info:
        # libtorrent prefers it, so it is the one that counts.
        name = path_element(info[b"name.utf-8"], "info.name.utf-8")
    piece_length = _integer(info, b"piece length", "info.piece length")
    if not MIN_PIECE_BYTES <= piece_length <= MAX_PIECE_BYTES:
        raise Malformed("must be 16 KiB to 128 MiB", field="info.piece length")
    if has_v2 and piece_length & (piece_length - 1):
        raise Malformed("must be a power of two", field="info.piece length")

    listed: tuple[list[ContentFile], int] | None = None
    if has_v2:
        listed = _collect(_files_v2(info, name), name)
    if has_v1:
        files, padding = _collect(_files_v1(info, name), name)
        # A hybrid says everything twice; two different contents would be a way to hide one.
        if listed is not None and listed[0] != files:
            raise Malformed("does not list the same files as info.files", field="info.file tree")
        listed = files, padding
        total_v1 = sum(file.length for file in files) + padding
        _check_pieces(info, total_v1, piece_length)
    assert listed is not None
    files = listed[0]
    digest = hashlib.sha1(info_bytes) if has_v1 else hashlib.sha256(info_bytes)
    return Description(
        infohash=digest.digest()[:20],
        name=name,
        piece_length=piece_length,
        total_bytes=sum(file.length for file in files),
        files=tuple(files),
        private=info.get(b"private") == 1,
    )


def _collect(
    entries: Iterator[tuple[list[str], int, bool, str]], name: str
) -> tuple[list[ContentFile], int]:
    """The files in order, and the bytes of padding between them."""
    names = NameSpace()
    files: list[ContentFile] = []
    count = total = padding = 0
    for path, length, is_padding, field in entries:
        count += 1
        if count > MAX_FILES:
            raise Malformed(f"lists more than {MAX_FILES:,} files", field="info.files")
        if not 0 <= length <= MAX_TOTAL_BYTES:
            raise Malformed("must be 0 to 8 TiB", field=f"{field}.length")
        total += length
        if total > MAX_TOTAL_BYTES:
            raise Malformed("comes to more than 8 TiB", field="info.files")
        if is_padding:
            padding += length
            continue
        names.add(path, f"{field}.path")
        files.append(ContentFile("/".join(path), length))
    if not any(file.length for file in files):
        raise Malformed("has no content", field="info")
    return files, padding


def _files_v1(info: dict[bytes, Bencoded], name: str) -> Iterator[tuple[list[str], int, bool, str]]:
    if (b"files" in info) == (b"length" in info):
        raise Malformed("must have either length or files", field="info")
    if b"files" not in info:
        _refuse_symlink(info, "info")
        yield [name], _integer(info, b"length", "info.length"), False, "info"
        return
    entries = info[b"files"]
    if not isinstance(entries, list):
        raise Malformed("must be a list", field="info.files")
    for number, entry in enumerate(entries):
        field = f"info.files[{number}]"
        if not isinstance(entry, dict):
            raise Malformed("must be a dictionary", field=field)
        _refuse_symlink(entry, field)
        path = _path(entry.get(b"path"), f"{field}.path")
        if b"path.utf-8" in entry:
            path = _path(entry[b"path.utf-8"], f"{field}.path.utf-8")
        length = _integer(entry, b"length", f"{field}.length")
        yield [name, *path], length, _is_padding(entry), field


def _files_v2(info: dict[bytes, Bencoded], name: str) -> Iterator[tuple[list[str], int, bool, str]]:
    tree = info.get(b"file tree")
    if not isinstance(tree, dict):
        raise Malformed("must be a dictionary", field="info.file tree")
    # One file whose name is the torrent's stands by itself, without a directory (BEP 52).
    only = tree.get(name.encode())
    alone = len(tree) == 1 and isinstance(only, dict) and b"" in only
    pending: list[tuple[list[str], Bencoded, str]] = [
        ([] if alone else [name], tree, "info.file tree")
    ]
    while pending:
        path, node, field = pending.pop()
        if not isinstance(node, dict) or not node:
            raise Malformed("must be a dictionary with entries", field=field)
        leaf = node.get(b"")
        if leaf is None:
            for key in sorted(node, reverse=True):
                below = f"{field}.{key.decode('utf-8', 'replace')}"
                pending.append(([*path, path_element(key, below)], node[key], below))
            continue
        if len(node) != 1 or not isinstance(leaf, dict):
            raise Malformed("must be either a file or a directory", field=field)
        _refuse_symlink(leaf, field)
        length = _integer(leaf, b"length", f"{field}.length")
        root = leaf.get(b"pieces root")
        if length and (not isinstance(root, bytes) or len(root) != 32):
            raise Malformed("must be 32 bytes", field=f"{field}.pieces root")
        yield path, length, _is_padding(leaf), field


def _check_pieces(info: dict[bytes, Bencoded], total: int, piece_length: int) -> None:
    pieces = info[b"pieces"]
    if not isinstance(pieces, bytes) or len(pieces) != 20 * -(-total // piece_length):
        raise Malformed("must be 20 bytes for each piece", field="info.pieces")


def _path(value: Bencoded | None, field: str) -> list[str]:
    if not isinstance(value, list) or not value:
        raise Malformed("must be a list of names", field=field)
    return [path_element(element, field) for element in value]


def _integer(container: dict[bytes, Bencoded], key: bytes, field: str) -> int:
    value = container.get(key)
    if not isinstance(value, int):
        raise Malformed("must be an integer", field=field)
    return value


def _is_padding(entry: dict[bytes, Bencoded]) -> bool:
    attributes = entry.get(b"attr", b"")
    return isinstance(attributes, bytes) and _PADDING in attributes


def _refuse_symlink(entry: dict[bytes, Bencoded], field: str) -> None:
    attributes = entry.get(b"attr", b"")
    if not isinstance(attributes, bytes):
        raise Malformed("must be a string", field=f"{field}.attr")
    if _SYMLINK in attributes or b"symlink path" in entry:
        raise Malformed("a symbolic link is not accepted", field=f"{field}.attr")
