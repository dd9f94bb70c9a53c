"""SPEC.md on sealing: two hellos and the BitTorrent handshake make a session, a session seals payloads."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.second_implementation.messages import MAX_BYTES, Refused, read
from tests.second_implementation.signatures import Ledger, sha256

STEP = 64
TAG = 16


@dataclass(frozen=True)
class Side:
    """One end of a connection: its peer id (BEP 3) and the whole payload of its hello."""

    peer_id: bytes
    hello: bytes

    @property
    def ephemeral(self) -> bytes:
        found: bytes = read(self.hello)["x"]
        return found


@dataclass(frozen=True)
class Session:
    transcript: bytes
    meeting: bytes
    send_key: bytes
    receive_key: bytes

    @classmethod
    def agree(
        cls, ledger: Ledger, infohash: bytes, mine: Side, theirs: Side, secret: bytes
    ) -> Session:
        """``secret``: of the X25519 key in our hello. Raises Refused, ``malformed``."""
        if mine.ephemeral == theirs.ephemeral:
            raise Refused("malformed", 0)
        first, second = sorted((mine, theirs), key=lambda side: side.ephemeral)
        transcript = sha256(
            b"speedpay/v1/session\0", bytes([len(ledger.network)]), ledger.network, ledger.id,
            infohash, first.peer_id, second.peer_id, _counted(first.hello), _counted(second.hello),
        )  # fmt: skip
        try:
            shared = X25519PrivateKey.from_private_bytes(secret).exchange(
                X25519PublicKey.from_public_bytes(theirs.ephemeral)
            )
        except ValueError:  # all zeros
            raise Refused("malformed", 0) from None
        keys = HKDF(SHA256(), 64, transcript, b"speedpay/v1/seal").derive(shared)
        low, high = keys[:32], keys[32:]
        meeting = sha256(b"speedpay/v1/meeting\0", first.ephemeral, second.ephemeral)
        mine_first = (low, high) if mine is first else (high, low)
        return cls(transcript, meeting, *mine_first)

    def seal(self, number: int, message: bytes) -> bytes:
        plain = _padded(message)
        return ChaCha20Poly1305(self.send_key).encrypt(_nonce(number), plain, self.transcript)

    def open(self, number: int, payload: bytes) -> bytes:
        """Raises Refused, ``bad_seal``."""
        if (len(payload) - TAG) % STEP or not 0 < len(payload) - TAG <= 63 * STEP:
            raise Refused("bad_seal")
        try:
            plain = ChaCha20Poly1305(self.receive_key).decrypt(
                _nonce(number), payload, self.transcript
            )
        except InvalidTag:
            raise Refused("bad_seal") from None
        message = plain[2 : 2 + int.from_bytes(plain[:2], "big")]
        if len(message) > MAX_BYTES or _padded(message) != plain:
            raise Refused("bad_seal")
        return message

    def binding_body(self, role: int) -> bytes:
        """``role``: 0 for an ask, 1 for an open."""
        return self.meeting + bytes([role])


def ephemeral_of(secret: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def _counted(hello: bytes) -> bytes:
    return len(hello).to_bytes(2, "big") + hello


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _padded(message: bytes) -> bytes:
    counted = len(message).to_bytes(2, "big") + message
    return counted + bytes(-len(counted) % STEP)
