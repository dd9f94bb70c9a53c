"""Sealing: one connection's messages can be read, made and repeated by nobody but its two ends (SPEC.md, 3).

Both hellos carry a fresh X25519 key (RFC 7748). What both ends have seen of this connection is hashed into
its *transcript*; HKDF-SHA256 (RFC 5869) makes a key for each direction of it, and every later message is
sealed with ChaCha20-Poly1305 (RFC 8439) under its number. Who is at the other end is not known from that:
the long-lived keys of ask and open sign the meeting (``peer/binding.py``).

The secret comes in as an argument; nothing here draws randomness.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from speedpay.errors import BadSeal, Malformed
from speedpay.peer.messages import MAX_MESSAGE_BYTES
from speedpay.signing import Domain

_ID_BYTES = 20
_KEY_BYTES = 32
_TAG_BYTES = 16
_LENGTH_BYTES = 2
#: Plaintexts are filled up to a multiple of this, so that lengths tell little.
PADDING_BYTES = 64
MAX_SEALED_BYTES = _LENGTH_BYTES + MAX_MESSAGE_BYTES + _TAG_BYTES


@dataclass(frozen=True, slots=True)
class Handshake:
    """What both ends know of a connection from its BitTorrent handshakes, 20 bytes each: ``infohash`` as
    the called side answered, and the peer ids."""

    infohash: bytes
    own_id: bytes
    peer_id: bytes

    def __post_init__(self) -> None:
        for name in ("infohash", "own_id", "peer_id"):
            if len(getattr(self, name)) != _ID_BYTES:
                raise Malformed(f"must be {_ID_BYTES} bytes", field=name)


def ephemeral_key(secret: bytes) -> bytes:
    """The public key that goes into hello. ``secret``: 32 fresh random bytes, for one connection only."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


@dataclass(frozen=True, slots=True)
class Side:
    """What one end of a connection has said of itself: peer id, whole hello, and the key in it."""

    peer_id: bytes
    hello: bytes
    ephemeral: bytes


def transcript_of(domain: Domain, infohash: bytes, first: Side, second: Side) -> bytes:
    network = domain.network.encode("ascii")
    return hashlib.sha256(
        b"speedpay/v1/session\x00" + bytes([len(network)]) + network + domain.ledger_id + infohash
        + first.peer_id + second.peer_id
        + len(first.hello).to_bytes(2) + first.hello
        + len(second.hello).to_bytes(2) + second.hello
    ).digest()  # fmt: skip


def meeting_of(first: Side, second: Side) -> bytes:
    """What the long-lived keys sign of a session: fresh keys, and neither content nor peers. A signature of
    the transcript would prove to anybody what its maker bought or sold."""
    body = first.ephemeral + second.ephemeral
    return hashlib.sha256(b"speedpay/v1/meeting\x00" + body).digest()


def _shared_secret(secret: bytes, ephemeral: bytes) -> bytes:
    """Raises Malformed for a point of low order, with which the secret would be known to everybody."""
    own = X25519PrivateKey.from_private_bytes(secret)
    try:
        return own.exchange(X25519PublicKey.from_public_bytes(ephemeral))
    except ValueError as error:
        raise Malformed("is a point of low order", field="hello.ephemeral") from error


def pad(message: bytes) -> bytes:
    """Length (2 bytes), message, and the fewest zeros that reach a multiple of 64 bytes."""
    plaintext = len(message).to_bytes(_LENGTH_BYTES) + message
    return plaintext + bytes(-len(plaintext) % PADDING_BYTES)


def unpad(plaintext: bytes) -> bytes:
    """Raises BadSeal unless ``plaintext`` is what ``pad`` makes of its message."""
    end = _LENGTH_BYTES + int.from_bytes(plaintext[:_LENGTH_BYTES])
    message = plaintext[_LENGTH_BYTES:end]
    if pad(message) != plaintext:
        raise BadSeal("is not padded with the fewest zeros", field="message")
    return message


@dataclass(frozen=True, slots=True)
class Session:
    """One end's. ``transcript`` and ``meeting`` are the same at both ends, the keys the other way round."""

    transcript: bytes
    meeting: bytes
    _sending: ChaCha20Poly1305 = field(repr=False)
    _receiving: ChaCha20Poly1305 = field(repr=False)

    @classmethod
    def between(
        cls, domain: Domain, infohash: bytes, secret: bytes, own: Side, peer: Side
    ) -> Session:
        """``secret`` belongs to the key in our hello. Raises Malformed when the peer's key is ours (our
        own hello came back) or of low order."""
        if own.ephemeral == peer.ephemeral:
            raise Malformed("is our own", field="hello.ephemeral")
        we_are_first = own.ephemeral < peer.ephemeral
        first, second = (own, peer) if we_are_first else (peer, own)
        transcript = transcript_of(domain, infohash, first, second)
        material = HKDF(
            hashes.SHA256(), 2 * _KEY_BYTES, salt=transcript, info=b"speedpay/v1/seal"
        ).derive(_shared_secret(secret, peer.ephemeral))
        from_first = ChaCha20Poly1305(material[:_KEY_BYTES])
        from_second = ChaCha20Poly1305(material[_KEY_BYTES:])
        if we_are_first:
            return cls(transcript, meeting_of(first, second), from_first, from_second)
        return cls(transcript, meeting_of(first, second), from_second, from_first)

    def seal(self, number: int, message: bytes) -> bytes:
        """``number``: of this message among those that we send; never twice in a session."""
        if len(message) > MAX_MESSAGE_BYTES:
            raise Malformed(f"is longer than {MAX_MESSAGE_BYTES} bytes", field="message")
        return self._sending.encrypt(number.to_bytes(12), pad(message), self.transcript)

    def open(self, number: int, payload: bytes) -> bytes:
        """The peer's ``number``-th message. Raises BadSeal, also for one said elsewhere or before."""
        size = len(payload)
        if not _TAG_BYTES < size <= MAX_SEALED_BYTES or (size - _TAG_BYTES) % PADDING_BYTES:
            raise BadSeal("has not the length of a sealed message", field="message")
        try:
            return unpad(self._receiving.decrypt(number.to_bytes(12), payload, self.transcript))
        except InvalidTag:
            raise BadSeal(
                "was not sealed for this connection and number", field="message"
            ) from None
