"""The last head that was signed and given out, kept outside the database: an old backup shows.

Without it, whoever restores last week's database would sign other heads for the same epochs, and
every balance of the week would be gone. The file lies in a folder of its own beside the keys, so
that it is not in a backup of the database; it is written before a head leaves, and never goes back.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from speedpay.errors import BooksBroken, SpeedpayError
from speedpay.ledger import durable
from speedpay.ledger.schema import epochs
from speedpay.proof.head import EpochHead, SignedHead
from speedpay.signing import Domain

_NAME = "heads/last"
_HINT = "restore a newer backup of the database; this file is right"


@dataclass(frozen=True, slots=True)
class LastHead:
    """``directory``: the ledger's."""

    directory: Path
    domain: Domain

    def read(self) -> SignedHead | None:
        """None when no head was ever given out. Raises BooksBroken when the file is damaged."""
        try:
            content = (self.directory / _NAME).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BooksBroken(f"cannot be read: {error.strerror}", field=_NAME) from error
        try:
            body, signature, checksum = (bytes.fromhex(one) for one in content.decode().split())
            head = EpochHead.from_bytes(body)
        except (ValueError, SpeedpayError) as error:
            raise BooksBroken("is not what was written to it", field=_NAME) from error
        if checksum != _checksum(body, signature):
            raise BooksBroken("is not what was written to it", field=_NAME)
        return SignedHead(head, signature)

    def check(self, connection: sa.Connection) -> None:
        """Raises BooksBroken when the database does not hold the last head that was given out."""
        last = self.read()
        if last is None:
            return
        number = last.head.epoch
        query = sa.select(epochs.c.head).where(epochs.c.number == number)
        held = connection.execute(query).scalar()
        if held is None:
            raise BooksBroken(
                f"the database is older than epoch {number}, whose head was given out",
                field=_NAME, hint=_HINT,
            )  # fmt: skip
        if held != last.head.hash(self.domain):
            raise BooksBroken(
                f"another head of epoch {number} was given out than the database holds",
                field=_NAME, hint=_HINT,
            )  # fmt: skip

    def advance(self, signed: SignedHead) -> None:
        """Durably remember ``signed``, before anybody sees it. Raises BooksBroken rather than
        remember two heads of one epoch."""
        path = self.directory / _NAME
        with durable.locked(path.parent):
            known = self.read()
            if known and known.head.epoch >= signed.head.epoch:
                if known.head.epoch == signed.head.epoch and known.head != signed.head:
                    raise BooksBroken(
                        f"another head of epoch {signed.head.epoch} was given out", field=_NAME
                    )
                return
            body = signed.head.to_bytes()
            parts = (body, signed.signature, _checksum(body, signed.signature))
            durable.replace(path, " ".join(part.hex() for part in parts).encode() + b"\n")


def _checksum(body: bytes, signature: bytes) -> bytes:
    return hashlib.sha256(b"speedpay/v1/last-head\x00" + body + signature).digest()[:8]
