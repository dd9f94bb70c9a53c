"""A block: header, transactions, receipts, and what executing it changed.

id = number (8 bytes) ‖ the last 24 bytes of sha256(header). The genesis block's id is drawn at
random or given; its last 4 bytes are the chain's id (opcode CHAINID).
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import coincurve

from speedpay.chain.address import of_public_key
from speedpay.devnet import jsonform, wire
from speedpay.devnet.receipt import Receipt
from speedpay.devnet.schema import Fields
from speedpay.devnet.transaction import Transaction
from speedpay.errors import InvalidSetting

#: Last four bytes of the genesis ids of mainnet, Nile and Shasta.
REAL_CHAINS = {"2b6653dc": "mainnet", "cd8690dc": "nile", "94a9059e": "shasta"}
_VERSION = 31  # of the header; java-tron 4.8


@dataclass(frozen=True)
class Block:
    number: int
    id: bytes
    time_ms: int
    header: Fields
    witness_signature: bytes
    transactions: tuple[Transaction, ...] = ()
    receipts: tuple[Receipt, ...] = ()

    def to_json(self, visible: bool) -> dict[str, Any]:
        header: dict[str, Any] = {"raw_data": jsonform.to_json("BlockHeader", self.header, visible)}
        if self.witness_signature:
            header["witness_signature"] = self.witness_signature.hex()
        out: dict[str, Any] = {"blockID": self.id.hex(), "block_header": header}
        if self.transactions:
            out["transactions"] = [
                transaction.to_json(visible, receipt.result)
                for transaction, receipt in zip(self.transactions, self.receipts, strict=True)
            ]
        return out


class Witness:
    """Signs the blocks. Its key follows from the chain's id: it protects nothing."""

    def __init__(self, genesis_id: bytes) -> None:
        self._key = coincurve.PrivateKey(hashlib.sha256(b"devnet witness" + genesis_id).digest())

    @cached_property
    def address(self) -> bytes:
        return of_public_key(self._key.public_key.format())

    def seal(
        self,
        parent: Block,
        time_ms: int,
        transactions: tuple[Transaction, ...],
        receipts: tuple[Receipt, ...],
        forks: int,
    ) -> Block:
        """``forks``: how many reorgs there were; it makes the blocks after one differ from those before."""
        number = parent.number + 1
        header: Fields = {
            "timestamp": time_ms,
            "txTrieRoot": _trie_root(transactions),
            "parentHash": parent.id,
            "number": number,
            "witness_address": self.address,
            "version": _VERSION,
        }
        if forks:
            header["witness_id"] = forks
        digest = hashlib.sha256(wire.encode("BlockHeader", header)).digest()
        signature = self._key.sign_recoverable(digest, hasher=None)
        block_id = number.to_bytes(8) + digest[8:]
        return Block(number, block_id, time_ms, header, signature, transactions, receipts)


def genesis(given: bytes | None = None) -> Block:
    """Block 0, with time 0 as on the real networks. ``given``: its id, see ``check_id``."""
    block_id = bytes(8) + secrets.token_bytes(24) if given is None else given
    check_id(block_id)
    header: Fields = {
        "txTrieRoot": bytes(32),
        "parentHash": hashlib.sha256(b"speedpay devnet").digest(),
    }
    return Block(0, block_id, 0, header, b"")


def check_id(block_id: bytes) -> None:
    """32 bytes that begin with 8 zero bytes, and not the id of a real chain; else InvalidSetting."""
    if len(block_id) != 32 or block_id[:8] != bytes(8):
        raise InvalidSetting("must be 32 bytes, the first 8 zero", field="genesis")
    real = REAL_CHAINS.get(block_id[-4:].hex())
    if real is not None:
        raise InvalidSetting(f"is the id of {real}: a devnet never bears it", field="genesis")


def _trie_root(transactions: tuple[Transaction, ...]) -> bytes:
    """A Merkle tree whose odd node moves up unchanged (java-tron's MerkleTree)."""
    level = [hashlib.sha256(one.encoded).digest() for one in transactions]
    if not level:
        return bytes(32)
    while len(level) > 1:
        pairs = [level[at : at + 2] for at in range(0, len(level), 2)]
        level = [
            hashlib.sha256(b"".join(pair)).digest() if len(pair) == 2 else pair[0] for pair in pairs
        ]
    return level[0]
