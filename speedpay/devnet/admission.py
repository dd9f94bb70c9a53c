"""What a node checks of a signed transaction before it executes it. All refusals have java-tron's code.

java-tron has no rule about ``timestamp``; neither is there one here.
"""

from __future__ import annotations

from typing import Protocol

from speedpay.chain.address import to_base58
from speedpay.devnet.execution import Rejected
from speedpay.devnet.transaction import SignatureProblem, Transaction

MAX_TRANSACTION_BYTES = 500 * 1024
DAY_MS = 24 * 60 * 60 * 1000
_RESULT_ROOM = 2 * 64
_PERMISSIONS = (0, 2)  # owner and active: every account has both, with its one key


class Known(Protocol):
    """What the rules need to know of the chain."""

    @property
    def head_time_ms(self) -> int: ...

    @property
    def next_block_ms(self) -> int:
        """When the next block is due, by the chain's interval."""

    def reference(self, number_bytes: bytes) -> bytes | None:
        """8 bytes of the id of the latest block whose number ends with these two."""

    def holds(self, txid: bytes) -> bool:
        """In a block, or waiting for one."""


def admit(transaction: Transaction, chain: Known) -> None:
    """Raises Rejected."""
    if transaction.number("expiration") < chain.next_block_ms:
        raise Rejected("TRANSACTION_EXPIRATION_ERROR", "Transaction expired")
    check_signature(transaction)
    check_in_time(transaction, chain)
    if chain.holds(transaction.txid):
        raise Rejected("DUP_TRANSACTION_ERROR", "Dup transaction.")


def check_in_time(transaction: Transaction, chain: Known) -> None:
    """The rules that a later block can break: once more before a transaction enters a block."""
    raw = transaction.raw_data
    wanted = raw.get("ref_block_hash", b"")
    if chain.reference(raw.get("ref_block_bytes", b"")) != wanted or not wanted:
        raise Rejected("TAPOS_ERROR", "Tapos check error.")
    size = len(transaction.encoded)
    if size + _RESULT_ROOM > MAX_TRANSACTION_BYTES:
        raise Rejected(
            "TOO_BIG_TRANSACTION_ERROR",
            f"Too big transaction with result, TxId {transaction.txid.hex()}, the size is "
            f"{size + _RESULT_ROOM} bytes, maxTxSize {MAX_TRANSACTION_BYTES}",
        )
    expiration = transaction.number("expiration")
    if not chain.head_time_ms < expiration <= chain.head_time_ms + DAY_MS:
        raise Rejected("TRANSACTION_EXPIRATION_ERROR", "Transaction expired")


def check_signature(transaction: Transaction) -> None:
    if transaction.permission not in _PERMISSIONS:
        raise Rejected("SIGERROR", "Validate signature error: permission isn't exit")
    try:
        signer = transaction.signer()
    except SignatureProblem as problem:
        raise Rejected("SIGERROR", f"Validate signature error: {problem}") from problem
    if signer != transaction.owner:
        raise Rejected(
            "SIGERROR",
            f"Validate signature error: {transaction.signatures[0].hex()} is signed by "
            f"{to_base58(signer)} but it is not contained of permission.",
        )
