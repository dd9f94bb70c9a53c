"""The ledger's keys on disk: root, response, and those of the address-block hash and of salts.

Each file is made once, mode 0600, by the one recipe that survives a crash (temporary file, fsync,
link, fsync of the directory), and never made again over a damaged one: a new root key would be
another ledger. ``link`` instead of ``rename`` lets one of two processes that start together win.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from speedpay.errors import KeystoreDamaged
from speedpay.signing import Certificate, Domain, SigningKey, ledger_id

CERTIFICATE_S = 90 * 24 * 3600
#: A certificate is made new when this much of its time is left.
RENEW_S = 30 * 24 * 3600
#: Clients whose clock is behind ours accept it from the start.
_BACKDATED_S = 3600


@dataclass(frozen=True, slots=True, repr=False)
class LedgerKeys:
    """``leaves``: of the salts of leaves whose owners share no key; ``journal``: of its entries'."""

    network: str
    root: SigningKey
    response: SigningKey
    block_salt: bytes
    leaves: bytes
    journal: bytes

    @property
    def domain(self) -> Domain:
        return Domain(self.network, ledger_id(self.root.public))

    def certificate(self, now: int) -> Certificate:
        return Certificate.issue(
            self.root, self.network, self.response.public, now - _BACKDATED_S, now + CERTIFICATE_S
        )


def load_or_make(directory: Path, network: str) -> LedgerKeys:
    """Raises KeystoreDamaged when a file is not what was written."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return LedgerKeys(
        network,
        SigningKey(_secret(directory, "root.key")),
        SigningKey(_secret(directory, "response.key")),
        _secret(directory, "blocks.key"),
        _secret(directory, "leaves.key"),
        _secret(directory, "journal.key"),
    )


def journal_key(directory: Path) -> bytes | None:
    """For whoever examines the books and makes no keys. Raises KeystoreDamaged."""
    name = "journal.key"
    return _secret(directory, name) if (directory / name).exists() else None


def _secret(directory: Path, name: str) -> bytes:
    path = directory / name
    if not path.exists():
        _make(path, secrets.token_bytes(32))
    try:
        text, checksum = path.read_text("ascii").split()
        secret = bytes.fromhex(text)
    except ValueError as error:
        raise KeystoreDamaged("is not a key file of a ledger", field=name) from error
    if len(secret) != 32 or checksum != _checksum(secret):
        raise KeystoreDamaged("does not hold what was written to it", field=name)
    return secret


def _checksum(secret: bytes) -> str:
    return hashlib.sha256(b"speedpay/v1/key-file\x00" + secret).hexdigest()[:16]


def _make(path: Path, secret: bytes) -> None:
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
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
