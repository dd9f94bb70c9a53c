"""BIP-32: a tree of secret keys below one seed. Only the private half, which is all that a wallet needs.

Our own, because the package for it holds coincurve at a release that has no wheels for Python 3.13.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import NamedTuple

from coincurve import PrivateKey

_HARDENED = 2**31
_PATH = re.compile(r"m(/[0-9]{1,10}'?)*")


class _Node(NamedTuple):
    secret: bytes  # 32 bytes, never shown
    chain_code: bytes  # 32 bytes

    def __repr__(self) -> str:
        return "_Node()"


def private_key(seed: bytes, path: str) -> bytes:
    """The 32-byte secret at a path such as ``m/44'/195'/1'``; ``'`` marks hardened steps.

    Raises ValueError for what is no path, and in the one of 2^127 cases in which BIP-32 has no key there.
    """
    if not _PATH.fullmatch(path):
        raise ValueError(f"not a path of BIP-32: {path!r}")
    node = _split(hmac.digest(b"Bitcoin seed", seed, hashlib.sha512))
    for step in path.split("/")[1:]:
        node = _child(node, _index(step))
    return node.secret


def _index(step: str) -> int:
    number = int(step.removesuffix("'"))
    if number >= _HARDENED:
        raise ValueError(f"a step of a path is below 2^31: {number}")
    return number + _HARDENED if step.endswith("'") else number


def _child(parent: _Node, index: int) -> _Node:
    key = PrivateKey(parent.secret)
    shown = b"\x00" + parent.secret if index >= _HARDENED else key.public_key.format()
    digest = hmac.digest(parent.chain_code, shown + index.to_bytes(4, "big"), hashlib.sha512)
    # coincurve refuses a sum that is zero and a summand outside the curve's order, as BIP-32 asks.
    return _Node(key.add(digest[:32]).secret, digest[32:])


def _split(digest: bytes) -> _Node:
    PrivateKey(digest[:32])  # raises ValueError outside the curve's order
    return _Node(digest[:32], digest[32:])
