"""What one request may see: the head of a full node, the solid part, or what a node that lags knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from speedpay.devnet.block import Block
from speedpay.devnet.chain import Chain
from speedpay.devnet.message import BlockContext
from speedpay.devnet.receipt import Receipt
from speedpay.devnet.transaction import Transaction
from speedpay.devnet.world import World


class View:
    """``lag``: how many blocks the node is behind. ``genesis_id``: what it says instead of the truth."""

    def __init__(
        self,
        chain: Chain,
        *,
        solid_only: bool = False,
        lag: int = 0,
        genesis_id: bytes | None = None,
    ) -> None:
        self.chain = chain
        self._genesis_id = genesis_id
        self._lag = lag
        self.solid = max(0, chain.solid - lag)
        self.top = self.solid if solid_only else max(0, chain.head.number - lag)
        self._pending = not solid_only and not lag

    @property
    def head(self) -> Block:
        block = self.block(self.top)
        assert block is not None, "a view is made and used under the chain's lock"
        return block

    def block(self, number: int) -> Block | None:
        return self.chain.block(number) if number <= self.top else None

    def block_by_id(self, block_id: bytes) -> Block | None:
        block = self.chain.block_by_id(block_id)
        return block if block is not None and block.number <= self.top else None

    def id_of(self, block: Block) -> bytes:
        """As this node says it."""
        if block.number == 0 and self._genesis_id is not None:
            return self._genesis_id
        return block.id

    def find(self, txid: bytes) -> tuple[Transaction, Receipt] | None:
        found = self.chain.find(txid)
        return found if found is not None and found[1].block <= self.top else None

    def waiting(self, txid: bytes) -> Transaction | None:
        return self.chain.waiting(txid) if self._pending else None

    @contextmanager
    def state(self) -> Iterator[World]:
        with self.chain.state_at(None if self._pending else self.top) as world:
            yield world

    def context(self) -> BlockContext:
        """For calls that no block will hold: number and time of the head."""
        return self.chain.context(self.top, self.head.time_ms)
