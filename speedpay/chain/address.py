"""TRON addresses: 20 bytes inside the program, ``T…`` in base58check for people, 0x41 in front on the wire.

Base58check is Bitcoin's: the payload and the first four bytes of its double sha256, in base 58.
"""

from __future__ import annotations

import hashlib

import coincurve

from speedpay.chain.keccak import keccak256
from speedpay.errors import Malformed

ADDRESS_BYTES = 20
PREFIX = b"\x41"
ZERO = bytes(ADDRESS_BYTES)
_TEXT_LENGTH = 34  # of every address with this prefix
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS = {character: value for value, character in enumerate(_ALPHABET)}


def to_base58(address: bytes) -> str:
    """``T…``, 34 characters, from 20 bytes."""
    payload = PREFIX + check_address(address)
    number = int.from_bytes(payload + _checksum(payload))
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return text


def from_base58(text: str, field: str = "address") -> bytes:
    """20 bytes from ``T…``. Raises Malformed for every other text, also the empty one."""
    if len(text) != _TEXT_LENGTH or text[0] != "T" or not all(c in _DIGITS for c in text):
        raise Malformed("must be a TRON address: T and 33 more characters", field=field)
    number = 0
    for character in text:
        number = number * 58 + _DIGITS[character]
    if number >> 200:
        raise Malformed("is no TRON address", field=field)
    whole = number.to_bytes(25)
    payload, checksum = whole[:21], whole[21:]
    if _checksum(payload) != checksum or payload[:1] != PREFIX:
        raise Malformed("is mistyped: its checksum does not match", field=field)
    return payload[1:]


def of_public_key(public: bytes) -> bytes:
    """The address of a secp256k1 key: the last 20 bytes of the keccak of its point.

    ``public``: 33 bytes compressed or 65 bytes. Raises Malformed when it is no point of the curve.
    """
    try:
        point = coincurve.PublicKey(public).format(compressed=False)
    except ValueError as error:
        raise Malformed("is not a point on secp256k1", field="public_key") from error
    return keccak256(point[1:])[12:]


def of_contract(txid: bytes, owner: bytes) -> bytes:
    """Where a CreateSmartContract transaction puts its contract: keccak(txid ‖ 0x41 ‖ owner)[12:]."""
    return keccak256(txid + PREFIX + check_address(owner, "owner"))[12:]


def check_address(address: bytes, field: str = "address") -> bytes:
    if type(address) is not bytes or len(address) != ADDRESS_BYTES:
        raise Malformed(f"must be {ADDRESS_BYTES} bytes", field=field)
    return address


def from_node(text: object, field: str) -> bytes:
    """20 bytes from what a node writes: hexadecimal with or without 41 in front, or base58."""
    if not isinstance(text, str):
        raise Malformed("must be an address", field=field)
    if len(text) == _TEXT_LENGTH:
        return from_base58(text, field)
    try:
        raw = bytes.fromhex(text)
    except ValueError as error:
        raise Malformed("must be an address", field=field) from error
    if len(raw) == ADDRESS_BYTES + 1 and raw[:1] == PREFIX:
        return raw[1:]
    return check_address(raw, field)


def _checksum(payload: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]
