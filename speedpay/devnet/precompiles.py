"""Contracts that are built in: what they cost and what they do (java-tron, ``PrecompiledContracts``).

Not as on Ethereum: 3 is no RIPEMD-160 but SHA-256 twice, cut to 20 bytes in between; ecrecover returns
21 bytes, TRON's 0x41 first, in its word. Those for elliptic curve pairings (6 to 8), batches of
signatures (9, 10), shielded tokens, votes and staking (0x1000001 and on) are not modelled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from coincurve import PublicKey

from speedpay.chain.keccak import keccak256
from speedpay.devnet.frame import window

#: The price for the data, and the function.
Precompile = tuple[Callable[[bytes], int], Callable[[bytes], bytes]]

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def _words(data: bytes) -> int:
    return (len(data) + 31) // 32


def ecrecover(data: bytes) -> bytes:
    """hash 32 ‖ v 32 ‖ r 32 ‖ s 32 to the signer's address as a word; nothing for no signature."""
    data = window(data, 0, 128)
    v, r, s = (int.from_bytes(data[i : i + 32], "big") for i in (32, 64, 96))
    if v not in (27, 28) or not 0 < r < ORDER or not 0 < s < ORDER:
        return b""
    try:
        key = PublicKey.from_signature_and_message(
            data[64:128] + bytes([v - 27]), data[:32], hasher=None
        )
    except Exception:  # coincurve raises plain Exception or ValueError for a point off the curve
        return b""
    return bytes(11) + b"\x41" + keccak256(key.format(compressed=False)[1:])[12:]


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def sha256_twice(data: bytes) -> bytes:
    return sha256(sha256(data)[:20])


def _lengths(data: bytes) -> tuple[int, int, int]:
    """Of base, exponent and modulus; java-tron cuts each to 31 bits."""
    limit = 2**31 - 1
    base, exponent, modulus = (
        min(int.from_bytes(window(data, i, 32), "big"), limit) for i in (0, 32, 64)
    )
    return base, exponent, modulus


def modexp_cost(data: bytes) -> int:
    """EIP-198: (complexity of max(base, modulus)) × (bits of the exponent) ÷ 20."""
    base, exponent, modulus = _lengths(data)
    x = max(base, modulus)
    if x <= 64:
        complexity = x * x
    elif x <= 1024:
        complexity = x * x // 4 + 96 * x - 3072
    else:
        complexity = x * x // 16 + 480 * x - 199_680
    head = int.from_bytes(window(data, 96 + base, min(exponent, 32)), "big")
    bits = max(head.bit_length() - 1, 0) + 8 * max(exponent - 32, 0)
    return complexity * max(bits, 1) // 20


def modexp(data: bytes) -> bytes:
    """base^exponent mod modulus. A modulus of 0 gives nothing at all, on Ethereum zeros."""
    base_length, exponent_length, length = _lengths(data)
    at = 96 + base_length + exponent_length
    modulus = int.from_bytes(window(data, at, length), "big") if at < len(data) else 0
    if not modulus:
        return b""  # before the others are read: with no modulus their size is not paid for
    base = int.from_bytes(window(data, 96, base_length), "big")
    exponent = int.from_bytes(window(data, 96 + base_length, exponent_length), "big")
    return pow(base, exponent, modulus).to_bytes(length, "big")


#: By the whole word that was called, as java-tron compares it.
PRECOMPILES: dict[int, Precompile] = {
    1: (lambda data: 3000, ecrecover),
    2: (lambda data: 60 + 12 * _words(data), sha256),
    3: (lambda data: 600 + 120 * _words(data), sha256_twice),
    4: (lambda data: 15 + 3 * _words(data), lambda data: data),
    5: (modexp_cost, modexp),
}

NOT_MODELLED = frozenset((*range(6, 11), *range(0x1000001, 0x1000016)))
