"""The key of an account on the chain. It signs transactions and nothing else.

A transaction's id is a bare sha256, so a signature under any other hash could be one under somebody's
transaction. This key therefore never signs a hash: it takes the transaction's content, writes the bytes
itself and hashes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import coincurve

from speedpay.chain import address
from speedpay.chain.protobuf import encode_raw
from speedpay.errors import Malformed

SIGNATURE_BYTES = 65
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class ChainKey:
    """A secp256k1 secret. It never shows itself: not in repr, not in an exception."""

    __slots__ = ("_secret", "address", "public")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32 or not 0 < int.from_bytes(secret) < _ORDER:
            raise Malformed("must be 32 bytes inside the curve's order", field="secret_key")
        self._secret = coincurve.PrivateKey(secret)
        self.public: bytes = self._secret.public_key.format(compressed=True)
        self.address: bytes = address.of_public_key(self.public)  # 20 bytes

    @property
    def base58(self) -> str:
        return address.to_base58(self.address)

    def sign(self, raw_data: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """The id of the transaction ``raw_data``, and its signature: 65 bytes r ‖ s ‖ v, s ≤ n/2."""
        txid = hashlib.sha256(encode_raw(raw_data)).digest()
        # libsecp256k1 gives the lower s by itself; a test holds it to that.
        signature: bytes = self._secret.sign_recoverable(txid, hasher=None)
        return txid, signature

    def __repr__(self) -> str:
        return f"ChainKey({self.base58})"


def signer_of(txid: bytes, signature: bytes) -> bytes:
    """The address that signed ``txid``. Raises Malformed for a signature that is none of ours."""
    if len(signature) != SIGNATURE_BYTES or signature[64] > 3:
        raise Malformed("must be 65 bytes: r, s and a recovery id", field="signature")
    if not 0 < int.from_bytes(signature[32:64]) <= _ORDER // 2:
        raise Malformed("is not in canonical low-s form", field="signature")
    try:
        found = coincurve.PublicKey.from_signature_and_message(signature, txid, hasher=None)
    except Exception as error:  # coincurve raises a bare Exception when nothing can be recovered
        raise Malformed("is no signature", field="signature") from error
    return address.of_public_key(found.format(compressed=True))
