"""A chain without sockets whose blocks are made by hand, and a key that holds TRX on it."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import coincurve
import pytest

from speedpay.chain.address import of_public_key
from speedpay.devnet.block_log import BlockLog
from speedpay.devnet.chain import Chain
from speedpay.devnet.clock import Clock
from speedpay.devnet.dispatch import answer
from speedpay.devnet.execution import Rejected
from speedpay.devnet.faults import Faults
from speedpay.devnet.receipt import Receipt
from speedpay.devnet.schema import TYPE_URL, Fields
from speedpay.devnet.transaction import Transaction, build

TRX = 1_000_000
FUNDS = 1_000 * TRX

#: Called with a word, it stores it in slot 0, logs it and returns it; called with nothing, it reverts.
RUNTIME = bytes.fromhex(
    "36600757"  # CALLDATASIZE, to 7 unless it is 0
    "5f5ffd"  # revert
    "5b5f3580"  # 7: the word, twice
    "5f55"  # slot 0
    "5f52"  # memory 0
    "60205fa0"  # LOG0
    "60205ff3"  # return
)
CODE = bytes.fromhex(f"60{len(RUNTIME):02x}600a5f3960{len(RUNTIME):02x}5ff3") + RUNTIME


class Key:
    def __init__(self) -> None:
        self.secret = coincurve.PrivateKey(secrets.token_bytes(32))
        self.address = of_public_key(self.secret.public_key.format())

    def sign(self, transaction: Transaction, v: int = 27) -> Transaction:
        signature = self.secret.sign_recoverable(transaction.txid, hasher=None)
        signed = signature[:64] + bytes([signature[64] + v])
        return build(transaction.raw_data, (signed,))


class Bench:
    def __init__(self, data: Path | None = None, chain: Chain | None = None) -> None:
        """``chain``: one that runs already; its faucet pays."""
        self.key = Key()
        self._counter = itertools.count()
        if chain is None:
            funds = {self.key.address: FUNDS}
            self.chain = Chain(BlockLog(data), Clock(), block_ms=3_000, funded=funds)
        else:
            self.chain = chain
            chain.give(self.key.address, FUNDS)

    def unsigned(self, kind: str, contract: Fields, **raw: Any) -> Transaction:
        reference = self.chain.block(self.chain.solid)
        assert reference is not None
        now_ms = self.chain.clock.now_ms()
        raw_data = {
            "ref_block_bytes": reference.id[6:8],
            "ref_block_hash": reference.id[8:16],
            "expiration": now_ms + 60_000,
            "timestamp": now_ms + next(self._counter),  # no two in one millisecond are the same
            "contract": [
                {"type": kind, "parameter": {"type_url": TYPE_URL + kind, "value": contract}}
            ],
        }
        return build(raw_data | raw)

    def transfer(self, to: bytes, sun: int, key: Key | None = None, **raw: Any) -> Transaction:
        key = key or self.key
        contract = {"owner_address": key.address, "to_address": to, "amount": sun}
        return key.sign(self.unsigned("TransferContract", contract, **raw))

    def deployment(self, code: bytes = CODE, fee_limit: int = 100 * TRX, **new: Any) -> Transaction:
        owner = self.key.address
        contract = {
            "origin_address": owner, "bytecode": code, "name": "Kept",
            "consume_user_resource_percent": 100, "origin_energy_limit": 1,
        }  # fmt: skip
        create = {"owner_address": owner, "new_contract": contract | new}
        return self.key.sign(self.unsigned("CreateSmartContract", create, fee_limit=fee_limit))

    def trigger(self, to: bytes, data: bytes, fee_limit: int = 100 * TRX) -> Transaction:
        contract = {"owner_address": self.key.address, "contract_address": to, "data": data}
        return self.key.sign(self.unsigned("TriggerSmartContract", contract, fee_limit=fee_limit))

    def done(self, transaction: Transaction) -> Receipt:
        """Broadcast, make a block, and the receipt."""
        self.chain.broadcast(transaction)
        self.chain.mine()
        found = self.chain.find(transaction.txid)
        assert found is not None
        return found[1]

    def refused(self, transaction: Transaction, code: str) -> str:
        """It is refused with this code, and nothing has changed; the words of the refusal."""
        before = self.chain.world.dump(), self.chain.pending
        with pytest.raises(Rejected) as caught:
            self.chain.broadcast(transaction)
        assert caught.value.code == code, caught.value.message
        assert (self.chain.world.dump(), self.chain.pending) == before
        return caught.value.message

    def call(self, path: str, given: Mapping[str, Any] | None = None) -> Any:
        """An answer as HTTP would give it, from a node without faults."""
        return answer(self.chain, Faults(), path, dict(given or {})).body

    def balance(self, address: bytes) -> int:
        return self.chain.world.balance(address)
