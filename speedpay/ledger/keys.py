"""The ledger's keys on disk: root, response, and those of the address-block hash and of salts.

The root key is the ledger's identity. It may be taken away: a ledger serves with its response key and the
root key's word for it (response_keys.py). Other processes may rotate that key at any time, so the file that
names it is looked at whenever something is signed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from speedpay.certificates import Revocation
from speedpay.errors import (
    BooksBroken,
    InvalidSetting,
    KeystoreDamaged,
    LedgerFailed,
    SpeedpayError,
)
from speedpay.ledger import response_keys, secret_files
from speedpay.ledger.response_keys import CERTIFICATES, RENEW_S, WARN_S, Named
from speedpay.signing import Certificate, Domain, SigningKey

_log = logging.getLogger("speedpay.ledger")
_ROOT = "root.key"
#: Between two warnings that the certificate nears its end.
_SAY_EVERY_S = 24 * 3600
_RENEW = "speedpay ledger keys renew --root FILE"
#: Another process may rotate between two of our steps, but hardly so often.
_TRIES = 5


@dataclass(frozen=True, slots=True, repr=False)
class Voice:
    """What the ledger speaks with now: a response key, and what the root key says of it."""

    key: SigningKey
    named: Named

    @property
    def certificate(self) -> Certificate:
        return self.named.certificate

    @property
    def revocations(self) -> tuple[Revocation, ...]:
        return self.named.revocations

    def check(self, now: int) -> None:
        """Raises LedgerFailed once nobody believes it any more."""
        if now > self.certificate.not_after:
            raise LedgerFailed(
                f"the certificate of the ledger's key ended on {_day(self.certificate.not_after)}:"
                " its operator must renew it"
            )


class LedgerKeys:
    """``leaves``: of the salts of leaves whose owners share no key; ``journal``: of its entries'.
    ``block_salt``: hides the addresses by which welcome grants are limited."""

    def __init__(self, directory: Path, network: str, now: int) -> None:
        """Makes what is missing in a new folder. Raises KeystoreDamaged when a file is not what was
        written, BooksBroken for keys of another network."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        named = response_keys.read(directory)
        if named is None:
            root = SigningKey(secret_files.read_or_make(directory / _ROOT))
            named = response_keys.begin(directory, network, root, now)
        if (directory / _ROOT).exists() and self.root.public != named.certificate.root_key:
            raise KeystoreDamaged("is not the root key of this ledger", field=_ROOT)
        if named.network != network:
            raise BooksBroken(
                f"the keys are those of a ledger of network {named.network}", field=CERTIFICATES
            )
        self.domain: Domain = named.domain
        self.block_salt = secret_files.read_or_make(directory / "blocks.key")
        self.leaves = secret_files.read_or_make(directory / "leaves.key")
        self.journal = secret_files.read_or_make(directory / "journal.key")
        self._said_at: int | None = None
        self._voice: tuple[tuple[int, ...], Voice] | None = None
        self.voice()

    @property
    def root(self) -> SigningKey:
        """From its file each time. Raises InvalidSetting where that was taken away."""
        return response_keys.root_key(self._directory / _ROOT)

    @property
    def response(self) -> SigningKey:
        return self.voice().key

    def voice(self) -> Voice:
        """As the file says now. Raises KeystoreDamaged."""
        for _ in range(_TRIES):
            stat = (self._directory / CERTIFICATES).stat()
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if self._voice is not None and self._voice[0] == seen:
                return self._voice[1]
            try:
                named = response_keys.read(self._directory)
                if named is None:
                    break
                voice = Voice(response_keys.secret_of(self._directory, named), named)
            except FileNotFoundError:
                continue
            except KeystoreDamaged as error:
                if self._voice is None:
                    raise
                _log.error("the key before is used on: %s", error)
                voice = self._voice[1]
            self._voice = seen, voice
            return voice
        raise KeystoreDamaged("names a key that is not there", field=CERTIFICATES)

    def look_after(self, now: int) -> None:
        """Renew the certificate in time if the root key is here; else say in time that it must be done."""
        left_s = self.voice().certificate.not_after - now
        if left_s >= RENEW_S:
            return
        if (self._directory / _ROOT).exists():
            try:
                response_keys.renew(self._directory, self.root, now)
            except SpeedpayError as error:
                _log.error("the certificate of the response key could not be renewed: %s", error)
        elif left_s < WARN_S and (self._said_at is None or now - self._said_at >= _SAY_EVERY_S):
            self._said_at = now
            _log.log(*self._warning(left_s))

    def _warning(self, left_s: int) -> tuple[int, str]:
        day = _day(self.voice().certificate.not_after)
        if left_s < 0:
            return (
                logging.CRITICAL,
                f"nothing is answered since the certificate ended on {day}: {_RENEW}",
            )
        return logging.WARNING, f"the certificate of the response key ends on {day}: {_RENEW}"

    def refuse_if_ended(self, now: int) -> None:
        """Raises InvalidSetting, at a start: there is nothing to serve with."""
        certificate = self.voice().certificate
        if now > certificate.not_after:
            raise InvalidSetting(
                f"the certificate of the response key ended on {_day(certificate.not_after)}",
                field=CERTIFICATES, hint=_RENEW,
            )  # fmt: skip


def journal_key(directory: Path) -> bytes | None:
    """For whoever examines the books and makes no keys. Raises KeystoreDamaged."""
    path = directory / "journal.key"
    return secret_files.read(path) if path.exists() else None


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
