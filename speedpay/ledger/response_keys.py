"""Which response key signs now, and what the root key says of it and of those before: ``certificates.json``.

The file names the key in use, so putting another file into its place is the moment in which a rotation
happens: whatever a crash interrupts, the key that it names is on the disk. A key's secret is in a file of
its own, written before it is named and removed after another is. The root key signs here and is never kept.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from speedpay.certificates import (
    MAX_CERTIFICATES,
    MAX_REVOCATIONS,
    CertificateSet,
    Revocation,
)
from speedpay.errors import (
    InvalidSetting,
    KeystoreDamaged,
    NotAllowed,
    NotFound,
    OverLimit,
    SpeedpayError,
)
from speedpay.ledger import durable, secret_files
from speedpay.ledger.secret_files import key_in
from speedpay.ledger_api import strict
from speedpay.ledger_api.answers import (
    certificate_to_json,
    read_certificate,
    read_revocation,
    revocation_to_json,
)
from speedpay.ledger_api.shapes import MAX_LIFETIME_S
from speedpay.ledger_api.signed import key_id
from speedpay.ledger_api.strict import Fields
from speedpay.signing import PUBLIC_KEY_BYTES, Certificate, Domain, SigningKey, ledger_id

CERTIFICATES = "certificates.json"
#: The first key's file; that of a later one has the key's id in its name.
FIRST = "response.key"
CERTIFICATE_S = 90 * 24 * 3600
#: With the root key beside it a serving ledger renews its certificate when this much is left of it;
#: without, it says so from then on that the operator must.
RENEW_S = 30 * 24 * 3600
WARN_S = 14 * 24 * 3600
#: Clients whose clock is behind ours accept it from the start.
BACKDATED_S = 3600
#: A key that was in use until then may have signed a channel that is still shown to sellers.
_SHOWN_S = 2 * MAX_LIFETIME_S


@dataclass(frozen=True, slots=True)
class Named:
    """What the file says. ``key``: the public key in use. ``certificates``: newest first, also of revoked
    keys, until they end."""

    network: str
    key: bytes
    certificates: tuple[Certificate, ...]
    revocations: tuple[Revocation, ...] = ()

    @property
    def certificate(self) -> Certificate:
        return next(one for one in self.certificates if one.response_key == self.key)

    @property
    def domain(self) -> Domain:
        return Domain(self.network, ledger_id(self.certificate.root_key))

    def in_force(self, now: int) -> tuple[Certificate, ...]:
        """What a client is told: of keys that are not revoked, that of the key in use first."""
        revoked = {one.response_key for one in self.revocations}
        others = (one for one in self.certificates if one.response_key not in {self.key, *revoked})
        return (self.certificate, *(one for one in others if one.not_after > now))

    def to_bytes(self) -> bytes:
        made = {
            "network": self.network,
            "key": self.key.hex(),
            "certificates": [certificate_to_json(one) for one in self.certificates],
            "revocations": [revocation_to_json(one) for one in self.revocations],
        }
        return json.dumps(made, indent=1).encode("ascii") + b"\n"


def read(directory: Path) -> Named | None:
    """None when the ledger has no such file yet. Raises KeystoreDamaged."""
    try:
        content = (directory / CERTIFICATES).read_bytes()
    except FileNotFoundError:
        return None
    try:
        fields = Fields(strict.parse(content))
        listed = fields.array("certificates", 1, MAX_CERTIFICATES + MAX_REVOCATIONS)
        revoked = fields.array("revocations", 0, MAX_REVOCATIONS)
        found = Named(
            fields.text("network", 32),
            fields.hex("key", PUBLIC_KEY_BYTES),
            tuple(read_certificate(Fields(one, f"[{at}]")) for at, one in enumerate(listed)),
            tuple(read_revocation(Fields(one, f"[{at}]")) for at, one in enumerate(revoked)),
        )
        known = CertificateSet(found.domain).merged(found.certificates, found.revocations, 0)
        if known.revoked_at(found.key) is not None:
            raise KeystoreDamaged("names a key that was revoked", field=CERTIFICATES)
    except (SpeedpayError, ValueError, StopIteration) as error:
        raise KeystoreDamaged(
            f"is not what was written to it: {error}", field=CERTIFICATES,
            hint="take it from a backup of the keys; it must name every revocation",
        ) from error  # fmt: skip
    return found


def secret_of(directory: Path, named: Named) -> SigningKey:
    """Raises FileNotFoundError when another process has just put another key in its place."""
    first = key_in(directory / FIRST) if (directory / FIRST).exists() else None
    if first is not None and first.public == named.key:
        return first
    path = directory / name_of(named.key)
    found = key_in(path)
    if found.public != named.key:
        raise KeystoreDamaged("holds another key than its name says", field=path.name)
    return found


def name_of(public: bytes) -> str:
    return f"response-{key_id(public)}.key"


def begin(directory: Path, network: str, root: SigningKey, now: int) -> Named:
    """The file of a ledger that has none yet: its response key is certified. Another process may win."""
    with durable.locked(directory):
        known = read(directory)
        if known is not None:
            return known
        if any(directory.glob("response-*.key")):
            raise KeystoreDamaged(
                "is missing, and there are response keys that only it names", field=CERTIFICATES,
                hint="take it from a backup of the keys; it must name every revocation",
            )  # fmt: skip
        key = SigningKey(secret_files.read_or_make(directory / FIRST)).public
        return _put(directory, Named(network, key, (_issue(root, network, key, now),)))


def rotate(directory: Path, root: SigningKey, now: int) -> Named:
    """From now on a new key signs. What earlier ones have signed stays good until they end or are revoked.

    Raises OverLimit when so many were made within two days that a channel's statement could be lost.
    """
    with _acting(directory, root) as known:
        _sweep(directory, known)
        shown = [one for one in known.in_force(now) if one.response_key != known.key]
        dropped = shown[MAX_CERTIFICATES - 2 :]
        if dropped and _superseded(known, dropped[0]) > now - _SHOWN_S:
            raise OverLimit(
                f"{MAX_CERTIFICATES} keys may be in force at once", field="keys",
                hint="revoke one that is not needed any more, or wait two days",
            )  # fmt: skip
        secret = secrets.token_bytes(32)
        key = SigningKey(secret).public
        secret_files.make(directory / name_of(key), secret)
        kept = tuple(
            one for one in known.certificates if one.not_after > now and one not in dropped
        )
        made = replace(
            known, key=key, certificates=(_issue(root, known.network, key, now), *kept)
        )  # fmt: skip
        _put(directory, made)
        _sweep(directory, made)
        return made


def revoke(directory: Path, root: SigningKey, key: bytes, now: int) -> Named:
    """From now on nobody believes ``key``. Doing it twice is doing it once.

    Raises NotAllowed for the key in use, NotFound for one that was never certified here.
    """
    with _acting(directory, root) as known:
        if key in [one.response_key for one in known.revocations]:
            return known
        if key == known.key:
            raise NotAllowed(
                "is the key in use: nothing could be answered any more", field="key",
                hint="first: speedpay ledger keys rotate",
            )  # fmt: skip
        if key not in [one.response_key for one in known.certificates]:
            raise NotFound(f"no key {key.hex()} of this ledger is in force", field="key")
        listed = {one.response_key for one in known.certificates if one.not_after > now}
        kept = known.revocations
        if len(kept) >= MAX_REVOCATIONS:  # of a key that has ended nobody needs to hear
            kept = tuple(one for one in kept if one.response_key in listed)
        if len(kept) >= MAX_REVOCATIONS:
            raise OverLimit(f"{MAX_REVOCATIONS} keys are revoked that have not ended", field="key")
        revocation = Revocation.issue(root, known.network, key, now)
        return _put(directory, replace(known, revocations=(*kept, revocation)))


def renew(directory: Path, root: SigningKey, now: int) -> Named:
    """The key in use is certified for another ninety days, and still from its first day on: a clock that
    was a year ahead once must not leave a certificate that begins next year."""
    with _acting(directory, root) as known:
        begun = min(known.certificate.not_before, now - BACKDATED_S)
        certificate = Certificate.issue(
            root, known.network, known.key, begun, now + CERTIFICATE_S
        )  # fmt: skip
        kept = (one for one in known.certificates if one.response_key != known.key)
        return _put(directory, replace(known, certificates=(certificate, *kept)))


def find(known: Named, given: str) -> bytes:
    """The public key that ``given`` names: all of it in hex, or its id. Raises NotFound."""
    keys = {one.response_key for one in known.certificates}
    keys |= {one.response_key for one in known.revocations}
    for key in keys:
        if given.lower() in (key.hex(), key_id(key)):
            return key
    raise NotFound(
        f"no key {given[:66]!r} of this ledger is known", field="KEY", hint="speedpay ledger keys"
    )


def root_key(path: Path) -> SigningKey:
    """Raises InvalidSetting, or KeystoreDamaged, when ``path`` holds no root key."""
    if not path.exists():
        raise InvalidSetting(
            f"there is no root key in {path}", field="--root",
            hint="name the file that was taken away: --root FILE",
        )  # fmt: skip
    return key_in(path)


@contextmanager
def _acting(directory: Path, root: SigningKey) -> Iterator[Named]:
    with durable.locked(directory):
        known = read(directory)
        if known is None:
            raise NotFound(
                "no ledger has run in this folder yet", field=CERTIFICATES,
                hint="name it with --data; a ledger of an earlier version is started once first",
            )  # fmt: skip
        if ledger_id(root.public) != known.domain.ledger_id:
            raise InvalidSetting("is the root key of another ledger", field="--root")
        yield known


def _issue(root: SigningKey, network: str, key: bytes, now: int) -> Certificate:
    return Certificate.issue(root, network, key, now - BACKDATED_S, now + CERTIFICATE_S)


def _superseded(named: Named, certificate: Certificate) -> int:
    """When the key after that of ``certificate`` came into use, or later."""
    newer = named.certificates[named.certificates.index(certificate) - 1]
    return newer.not_before + BACKDATED_S


def _put(directory: Path, named: Named) -> Named:
    durable.replace(directory / CERTIFICATES, named.to_bytes())
    return named


def _sweep(directory: Path, named: Named) -> None:
    """Remove secrets that nobody signs with any more, also what a crash has left of one."""
    in_use = name_of(named.key)
    for path in [*directory.glob("response*.key"), *directory.glob(".response*.key.*")]:
        if path.name != in_use and not (path.name == FIRST and key_in(path).public == named.key):
            path.unlink(missing_ok=True)
    durable.sync_folder(directory)
