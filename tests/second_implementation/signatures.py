"""SPEC.md section 10: what is signed, by which bytes, and how a signature is checked.

Signing is coincurve's; checking is another library's, and all that BIP 62 asks beyond it is done here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from coincurve import PrivateKey
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
STATEMENT_BYTES = 143


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


@dataclass(frozen=True)
class Ledger:
    """A ledger, as signatures name it."""

    network: bytes
    id: bytes

    def digest(self, kind: bytes, body: bytes) -> bytes:
        return sha256(
            b"speedpay/v1/", kind, b"\0", bytes([len(self.network)]), self.network, self.id, body
        )

    def sign(self, secret: bytes, kind: bytes, body: bytes) -> bytes:
        made = PrivateKey(secret).sign_recoverable(self.digest(kind, body), hasher=None)
        return made[:64]

    def is_signed(self, public: bytes, kind: bytes, body: bytes, signature: bytes) -> bool:
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        if len(signature) != 64 or not 0 < r < ORDER or not 0 < s <= ORDER // 2:
            return False
        try:
            key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), public)
            key.verify(
                encode_dss_signature(r, s),
                self.digest(kind, body),
                ec.ECDSA(Prehashed(hashes.SHA256())),
            )
        except (ValueError, InvalidSignature):
            return False
        return True

    def is_certified(
        self, root: bytes, key: bytes, not_before: int, not_after: int, signature: bytes
    ) -> bool:
        """Whether this ledger's root key says that ``key`` answers for it."""
        body = key + not_before.to_bytes(8, "big") + not_after.to_bytes(8, "big")
        return ledger_id(root) == self.id and self.is_signed(root, b"certificate", body, signature)

    def channel_id(self, payer: bytes, payee: bytes, nonce: bytes) -> bytes:
        return sha256(b"speedpay/v1/channel-id\0", self.id, payer, payee, nonce)


def ledger_id(root: bytes) -> bytes:
    return sha256(b"speedpay/v1/ledger\0", root)


def public_of(secret: bytes) -> bytes:
    return PrivateKey(secret).public_key.format()


def is_point(key: bytes) -> bool:
    """Whether 33 bytes are a compressed public key."""
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), key)
    except ValueError:
        return False
    return len(key) == 33 and key[0] in (2, 3)


def voucher_body(channel: bytes, cumulative: int) -> bytes:
    return channel + cumulative.to_bytes(8, "big")


@dataclass(frozen=True)
class Statement:
    """A ledger's word about a channel."""

    channel: bytes
    payer: bytes
    payee: bytes
    nonce: bytes
    money: int  # 0 token, 1 credit
    escrow: int
    expiry: int
    claim_window: int
    fee: int

    @classmethod
    def read(cls, data: bytes) -> Statement:
        """Raises ValueError when no ledger can have meant it."""
        if len(data) != STATEMENT_BYTES:
            raise ValueError("not 143 bytes")
        numbers = [int.from_bytes(data[at:to], "big") for at, to in _NUMBERS]
        made = cls(data[:32], data[32:65], data[65:98], data[98:114], *numbers)
        if made.money > 1 or made.escrow >= 2**63 or max(made.expiry, made.claim_window) >= 2**62:
            raise ValueError("out of bounds")
        if made.fee > 1_000_000 or not (is_point(made.payer) and is_point(made.payee)):
            raise ValueError("a fee above one, or a key off the curve")
        return made


_NUMBERS = ((114, 115), (115, 123), (123, 131), (131, 139), (139, 143))
