"""Which response keys speak for a ledger: what its cold root key has certified, and what it took back. Pure.

A response key answers every day and may be stolen; the root key may lie in a safe. Whoever holds a set of
these accepts what any certified key signed while its certificate is in force, until a revocation says
otherwise. Revocations only ever come to a set, and never leave it: whoever stole a key can answer in the
ledger's name with an older list, and must not make anybody forget that the key was taken back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from speedpay.errors import BadSignature, Stale
from speedpay.signing import (
    Certificate,
    Domain,
    SigningKey,
    check_public_key,
    ledger_id,
    verify,
)

#: What one answer of a ledger may list. Channels live for a day: eight keys are a rotation every three hours.
MAX_CERTIFICATES = 8
MAX_REVOCATIONS = 64
TOLERANCE_S = 120


@dataclass(frozen=True, slots=True)
class Revocation:
    """The root key says: what ``response_key`` signs from ``at`` on (unix seconds) is not my word."""

    root_key: bytes
    response_key: bytes
    at: int
    signature: bytes

    @staticmethod
    def body(response_key: bytes, at: int) -> bytes:
        return response_key + at.to_bytes(8)

    @classmethod
    def issue(cls, root: SigningKey, network: str, response_key: bytes, at: int) -> Revocation:
        domain = Domain(network, ledger_id(root.public))
        signature = root.sign("revocation", domain, cls.body(response_key, at))
        return cls(root.public, response_key, at, signature)

    def check(self, domain: Domain) -> None:
        """Raises BadSignature unless ``domain``'s root key said so."""
        if ledger_id(self.root_key) != domain.ledger_id:
            raise BadSignature("belongs to another ledger", field="revocation.root_key")
        check_public_key(self.response_key, "revocation.response_key")
        body = self.body(self.response_key, self.at)
        verify(self.root_key, "revocation", domain, body, self.signature, "revocation.signature")


@dataclass(frozen=True, slots=True)
class CertificateSet:
    """All in it were checked: by ``merged``, or by whoever signed them. One certificate for each key."""

    domain: Domain
    certificates: tuple[Certificate, ...] = ()
    revocations: tuple[Revocation, ...] = ()

    def merged(
        self, certificates: Iterable[Certificate], revocations: Iterable[Revocation], now: int
    ) -> CertificateSet:
        """This set and what is new, less certificates that have ended. Raises BadSignature or Malformed,
        and nothing has changed, when the root key did not sign one of them.

        Of two certificates of a key that which ends later counts; of two revocations the earlier.
        """
        kept = {one.response_key: one for one in self.certificates}
        for certificate in certificates:
            known = kept.get(certificate.response_key)
            if known is None or known.not_after < certificate.not_after:
                certificate.check(self.domain, certificate.not_before)
                kept[certificate.response_key] = certificate
        taken = {one.response_key: one for one in self.revocations}
        for revocation in revocations:
            before = taken.get(revocation.response_key)
            if before is None or revocation.at < before.at:
                revocation.check(self.domain)
                taken[revocation.response_key] = revocation
        ended = now - TOLERANCE_S
        in_time = tuple(one for one in kept.values() if one.not_after >= ended)
        made = replace(self, certificates=in_time, revocations=tuple(taken.values()))
        return self if made == self else made

    def revoked_at(self, response_key: bytes) -> int | None:
        """From when on (unix seconds) that key is not believed."""
        found = (one.at for one in self.revocations if one.response_key == response_key)
        return next(found, None)

    def in_force(self, now: int) -> list[Certificate]:
        """Of the keys that are believed now."""
        return [
            one
            for one in self.certificates
            if one.not_before - TOLERANCE_S <= now <= one.not_after + TOLERANCE_S
            and self.revoked_at(one.response_key) is None
        ]

    def check_at(self, certificate: Certificate, at: int) -> None:
        """Raises BadSignature or Stale unless what ``certificate``'s key signed at ``at`` is the ledger's
        word: it is about something that was there by then, and not only says so."""
        certificate.check(self.domain, at, TOLERANCE_S)
        revoked_at = self.revoked_at(certificate.response_key)
        if revoked_at is not None and at >= revoked_at:
            raise Stale("was signed by a key that the ledger has revoked", field="certificate")

    def signer(self, kind: str, body: bytes, signature: bytes, now: int, field: str) -> bytes:
        """The response key (33 bytes) in force that signed ``body``.

        Raises Stale when a key signed it that was revoked or has ended, BadSignature when none that is
        known here did: the ledger may have a newer one.
        """
        believed = [one.response_key for one in self.in_force(now)]
        for key in believed:
            if _made_by(key, kind, self.domain, body, signature, field):
                return key
        others = [one.response_key for one in self.certificates]
        others += [one.response_key for one in self.revocations]
        for key in dict.fromkeys(others):
            if key not in believed and _made_by(key, kind, self.domain, body, signature, field):
                raise Stale("was signed by a key that is not in force any more", field=field)
        raise BadSignature("was not made by a key of the ledger", field=field)


def _made_by(
    key: bytes, kind: str, domain: Domain, body: bytes, signature: bytes, field: str
) -> bool:
    try:
        verify(key, kind, domain, body, signature, field)
    except BadSignature:
        return False
    return True
