"""Keccak-256 as TRON and Solidity use it: the original padding, not that of SHA-3 (FIPS 202)."""

from __future__ import annotations

from Crypto.Hash import keccak


def keccak256(message: bytes) -> bytes:
    """32 bytes."""
    digest: bytes = keccak.new(digest_bits=256, data=message).digest()
    return digest
