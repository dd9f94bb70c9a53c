"""Key files of a ledger: 32 secret bytes each, mode 0600, made once and never over a damaged one.

A new root key in the place of a damaged one would be another ledger.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from speedpay.errors import KeystoreDamaged
from speedpay.ledger import durable
from speedpay.signing import SigningKey


def read_or_make(path: Path) -> bytes:
    """The 32 bytes of a key file, made once. Raises KeystoreDamaged when it is not what was written."""
    if not path.exists():
        make(path, secrets.token_bytes(32))
    return read(path)


def read(path: Path) -> bytes:
    try:
        text, checksum = path.read_text("ascii").split()
        secret = bytes.fromhex(text)
    except ValueError as error:
        raise KeystoreDamaged("is not a key file of a ledger", field=path.name) from error
    if len(secret) != 32 or checksum != _checksum(secret):
        raise KeystoreDamaged("does not hold what was written to it", field=path.name)
    return secret


def make(path: Path, secret: bytes) -> None:
    """Mode 0600, by the recipe that survives a crash: temporary file, fsync, link, fsync of the folder.
    ``link`` instead of ``rename`` lets one of two processes that start together win."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{secret.hex()} {_checksum(secret)}\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return  # another process has made it; its key is the ledger's
    finally:
        os.unlink(temporary)
    durable.sync_folder(path.parent)


def key_in(path: Path) -> SigningKey:
    return SigningKey(read(path))


def _checksum(secret: bytes) -> str:
    return hashlib.sha256(b"speedpay/v1/key-file\x00" + secret).hexdigest()[:16]
