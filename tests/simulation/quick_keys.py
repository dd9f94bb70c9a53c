"""Signatures and key agreement that cost next to nothing, for most worlds; every twentieth has the real ones.

Half of a simulated market's time went into secp256k1 and X25519. Everything around them stays: what is
signed and by whom, the one canonical form, that a signature under another key, kind, domain or body does
not count, and every byte that is sealed. Only that nobody without the secret can make one is not so, and
our forgers know no better.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from types import SimpleNamespace
from unittest import mock

from speedpay import signing
from speedpay.peer import sealing
from speedpay.signing import Domain, SigningKey, digest

#: Every so many-th world has real signatures and key agreement.
REAL = 20


def keys_of(seed: int) -> contextlib.AbstractContextManager[None]:
    """Quick ones for most seeds."""
    return quick_keys() if seed % REAL else contextlib.nullcontext()


def _hash(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def _made(public: bytes, of: bytes) -> bytes:
    r = _hash(public, of)
    return r + (int.from_bytes(_hash(r)) >> 2).to_bytes(32)


class _PublicKey:
    def __init__(self, public: bytes) -> None:
        self._public = public

    def verify(self, signature: bytes, of: bytes, hasher: None = None) -> bool:
        return signature == _made(self._public, of)


def _sign(key: SigningKey, kind: str, domain: Domain, body: bytes) -> bytes:
    return _made(key.public, digest(kind, domain, body))


class _Exchanged:
    """Either half of a key agreement."""

    def __init__(self, public: bytes) -> None:
        self._public = public

    @classmethod
    def from_private_bytes(cls, secret: bytes) -> _Exchanged:
        return cls(_hash(secret))

    @classmethod
    def from_public_bytes(cls, public: bytes) -> _Exchanged:
        return cls(public)

    def public_key(self) -> _Exchanged:
        return self

    def public_bytes_raw(self) -> bytes:
        return self._public

    def exchange(self, other: _Exchanged) -> bytes:
        return _hash(*sorted((self._public, other._public)))


@contextlib.contextmanager
def quick_keys() -> Iterator[None]:
    curve = SimpleNamespace(PrivateKey=signing.coincurve.PrivateKey, PublicKey=_PublicKey)
    plain = SimpleNamespace(deserialize_compact=bytes, cdata_to_der=bytes)
    with (
        mock.patch.object(signing, "coincurve", curve),
        mock.patch.object(signing, "ecdsa", plain),
        mock.patch.object(SigningKey, "sign", _sign),
        mock.patch.object(sealing, "X25519PrivateKey", _Exchanged),
        mock.patch.object(sealing, "X25519PublicKey", _Exchanged),
    ):
        yield
