"""The exact bytes that get signed, and the one way to sign and check them.

Every digest is domain-separated,

    sha256("speedpay/v1/<kind>" ‖ 0 ‖ len(network) ‖ network ‖ ledger id ‖ body)

so that nothing signed here can pass for another kind of object, for another network or ledger, or
for a TRON transaction (whose id is a bare sha256). Signatures are ECDSA on secp256k1 (SEC 1, nonces
by RFC 6979), 64 bytes r ‖ s with s ≤ n/2; public keys are 33 bytes, compressed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import coincurve
from coincurve import ecdsa

from speedpay.errors import BadSignature, Malformed

PUBLIC_KEY_BYTES = 33
SIGNATURE_BYTES = 64
HASH_BYTES = 32
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_MAX_NETWORK_BYTES = 32


@dataclass(frozen=True, slots=True)
class Domain:
    """Where a signature counts. ``ledger_id`` is the hash of the ledger's cold root key."""

    network: str
    ledger_id: bytes

    def __post_init__(self) -> None:
        printable = all("!" <= character <= "~" for character in self.network)
        if not (printable and 1 <= len(self.network) <= _MAX_NETWORK_BYTES):
            raise Malformed("must be 1 to 32 printable ASCII characters", field="network")
        if len(self.ledger_id) != HASH_BYTES:
            raise Malformed("must be 32 bytes", field="ledger_id")


def ledger_id(root_public_key: bytes) -> bytes:
    return hashlib.sha256(b"speedpay/v1/ledger\x00" + root_public_key).digest()


def digest(kind: str, domain: Domain, body: bytes) -> bytes:
    network = domain.network.encode("ascii")
    return hashlib.sha256(
        b"speedpay/v1/" + kind.encode("ascii") + b"\x00"
        + bytes([len(network)]) + network + domain.ledger_id + body
    ).digest()  # fmt: skip


class SigningKey:
    """A secp256k1 secret. It never shows itself: not in repr, not in an exception."""

    __slots__ = ("_secret", "public")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32 or not 0 < int.from_bytes(secret) < _ORDER:
            raise Malformed("must be 32 bytes inside the curve's order", field="secret_key")
        self._secret = coincurve.PrivateKey(secret)
        self.public: bytes = self._secret.public_key.format(compressed=True)

    def sign(self, kind: str, domain: Domain, body: bytes) -> bytes:
        recoverable = self._secret.sign_recoverable(digest(kind, domain, body), hasher=None)
        signature: bytes = recoverable[:SIGNATURE_BYTES]
        return signature

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex()})"


def check_public_key(public: bytes, field: str) -> None:
    """Raises Malformed unless ``public`` is a point on the curve, compressed."""
    if len(public) != PUBLIC_KEY_BYTES or public[0] not in (2, 3):
        raise Malformed("must be 33 bytes, a compressed secp256k1 key", field=field)
    try:
        coincurve.PublicKey(public)
    except ValueError as error:
        raise Malformed("is not a point on secp256k1", field=field) from error


def verify(
    public: bytes,
    kind: str,
    domain: Domain,
    body: bytes,
    signature: bytes,
    field: str = "signature",
) -> None:
    """Raises BadSignature unless ``signature`` is the canonical one of ``public``'s owner.

    The high-s twin of a valid signature is refused: otherwise two encodings of one voucher would
    exist (BIP 62 rule 5 is the precedent).
    """
    if len(signature) != SIGNATURE_BYTES:
        raise BadSignature(f"must be {SIGNATURE_BYTES} bytes", field=field)
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    if not (0 < r < _ORDER and 0 < s <= _ORDER // 2):
        raise BadSignature("is not in canonical low-s form", field=field)
    check_public_key(public, f"{field}.key")
    der = ecdsa.cdata_to_der(ecdsa.deserialize_compact(signature))
    if not coincurve.PublicKey(public).verify(der, digest(kind, domain, body), hasher=None):
        raise BadSignature("was not made by the key that must have made it", field=field)


@dataclass(frozen=True, slots=True)
class Certificate:
    """The ledger's cold root key says: this response key speaks for me in this time."""

    root_key: bytes
    response_key: bytes
    not_before: int
    not_after: int
    signature: bytes

    @staticmethod
    def body(response_key: bytes, not_before: int, not_after: int) -> bytes:
        return response_key + not_before.to_bytes(8) + not_after.to_bytes(8)

    @classmethod
    def issue(
        cls, root: SigningKey, network: str, response_key: bytes, not_before: int, not_after: int
    ) -> Certificate:
        domain = Domain(network, ledger_id(root.public))
        body = cls.body(response_key, not_before, not_after)
        signature = root.sign("certificate", domain, body)
        return cls(root.public, response_key, not_before, not_after, signature)

    def check(self, domain: Domain, now: int, tolerance_s: int = 120) -> None:
        """Raises BadSignature unless it is the certificate of ``domain``'s ledger and in force."""
        if ledger_id(self.root_key) != domain.ledger_id:
            raise BadSignature("belongs to another ledger", field="certificate.root_key")
        body = self.body(self.response_key, self.not_before, self.not_after)
        verify(self.root_key, "certificate", domain, body, self.signature, "certificate.signature")
        check_public_key(self.response_key, "certificate.response_key")
        if not self.not_before - tolerance_s <= now <= self.not_after + tolerance_s:
            raise BadSignature("is not in force now", field="certificate")
