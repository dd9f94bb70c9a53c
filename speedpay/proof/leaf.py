"""One account's leaf, and the salt that hides its amounts from whoever does not know the account's key.

The bytes are in the package's docstring. Salts are derived, never drawn: closing an epoch writes only
the leaves that changed, and an owner finds his salts again from his seed phrase.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from speedpay.errors import Malformed
from speedpay.proof.sum_tree import HASH_BYTES, Node, leaf_hash
from speedpay.units import MAX_UTOK, Amount

ADDRESS_BYTES = 20
ACCOUNT_BYTES = 16
SALT_BYTES = 32
#: No payout address is named yet: such a leaf can be proved, and claimed only after one is.
NO_PAYOUT = bytes(ADDRESS_BYTES)
#: The account under which the ledger's own fees stand in the tree.
TREASURY = hashlib.sha256(b"speedpay/v1/treasury").digest()[:ACCOUNT_BYTES]


@dataclass(frozen=True, slots=True)
class Leaf:
    """``chain_id`` and ``vault`` (20 bytes) say which contract owes it, so it proves nothing elsewhere.

    ``withdrawable``: µtok ever released for withdrawal. ``balance``: µtok that are free, in the
    account's own channels and not paid, or queued for withdrawal. ``payout``: 20 bytes.
    """

    chain_id: int
    vault: bytes
    account: bytes
    payout: bytes
    withdrawable: Amount
    balance: Amount
    salt: bytes

    def __post_init__(self) -> None:
        check_chain_id(self.chain_id, "leaf.chain_id")
        check_size(self.vault, ADDRESS_BYTES, "leaf.vault")
        check_size(self.account, ACCOUNT_BYTES, "leaf.account")
        check_size(self.payout, ADDRESS_BYTES, "leaf.payout")
        check_size(self.salt, SALT_BYTES, "leaf.salt")

    def to_bytes(self) -> bytes:
        return (
            self.chain_id.to_bytes(32) + self.vault + self.account + self.payout
            + self.withdrawable.utok.to_bytes(8) + self.balance.utok.to_bytes(8) + self.salt
        )  # fmt: skip

    def node(self) -> Node:
        """Raises Malformed (node.sum) when withdrawable and balance together exceed 2^63−1."""
        return Node(leaf_hash(self.to_bytes()), self.withdrawable.utok + self.balance.utok)


def salt_of(salt_key: bytes, version: int) -> bytes:
    """32 bytes. ``version`` counts how often the leaf's content has changed."""
    check_size(salt_key, HASH_BYTES, "salt_key")
    check_u63(version, "leaf.version")
    return hmac.digest(salt_key, version.to_bytes(8), "sha256")


def own_salt_key(leaf_key: bytes, account: bytes) -> bytes:
    """The salt key of an account whose owner gave none, from the ledger's ``leaf_key`` (32 bytes)."""
    check_size(leaf_key, HASH_BYTES, "leaf_key")
    check_size(account, ACCOUNT_BYTES, "account")
    return hmac.digest(leaf_key, account, "sha256")


def check_size(value: bytes, size: int, field: str) -> None:
    if len(value) != size:
        raise Malformed(f"must be {size} bytes", field=field)


def check_chain_id(chain_id: int, field: str) -> None:
    if not 0 < chain_id < 2**256:
        raise Malformed("must be above 0 and below 2^256", field=field)


def check_u63(number: int, field: str) -> None:
    if not 0 <= number <= MAX_UTOK:
        raise Malformed("is outside 0 … 2^63-1", field=field)
