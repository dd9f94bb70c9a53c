"""The chain: blocks, the transactions that wait for one, and the state they lead to.

Like java-tron's full node, the state that ``wallet/`` calls see includes what is pending: each accepted
transaction is executed at once on top of the head. Making a block undoes that and executes all of them
again, with the block's own number and time. Solid are the blocks 18 below the head and older (19 of 27
witnesses); they are never undone.

Everything happens under one lock. A block is in the log before anybody can see it.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from speedpay.devnet.admission import admit, check_in_time
from speedpay.devnet.block import Block, Witness, check_id, genesis
from speedpay.devnet.block_log import BlockLog
from speedpay.devnet.clock import Clock
from speedpay.devnet.execution import Rejected, apply
from speedpay.devnet.faucet import FUNDS_SUN, Faucet
from speedpay.devnet.fees import SLOT_MS
from speedpay.devnet.message import BlockContext
from speedpay.devnet.receipt import Receipt
from speedpay.devnet.state import Change
from speedpay.devnet.transaction import Transaction
from speedpay.devnet.world import World
from speedpay.errors import InvalidSetting

_log = logging.getLogger("speedpay.devnet")

SOLID_LAG = 18
MAX_PENDING = 2048  # java-tron: 2,000
#: How far back the state can still be shown: an hour of blocks.
KEPT_JOURNALS = 1_200
_STALE_MS = 60 * 60 * 1000


class Chain:
    def __init__(
        self,
        log: BlockLog,
        clock: Clock,
        block_ms: int,
        genesis_id: bytes | None = None,
        funded: Mapping[bytes, int] | None = None,
    ) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.block_ms = block_ms
        self.world = World()
        self._log = log
        self._blocks: list[Block] = []
        self._by_id: dict[bytes, int] = {}
        self._where: dict[bytes, tuple[int, int]] = {}
        self._recent: dict[bytes, bytes] = {}
        #: Of the latest blocks, latest last: what each changed.
        self._journals: deque[list[Change]] = deque(maxlen=KEPT_JOURNALS)
        self._pool: dict[bytes, Transaction] = {}
        self._solid = 0
        self._forks = 0
        self._restore(genesis_id, funded or {})
        self.witness = Witness(self._blocks[0].id)
        self.faucet = Faucet(self._blocks[0].id)
        if self.head.number == 0:
            self._mine()  # block 0 has time 0, so no transaction could be in time

    # ------------------------------------------------------------------------------------ reading

    @property
    def head(self) -> Block:
        return self._blocks[-1]

    @property
    def solid(self) -> int:
        return self._solid

    @property
    def chain_id(self) -> int:
        return int.from_bytes(self._blocks[0].id[-4:])

    @property
    def head_time_ms(self) -> int:
        return self.head.time_ms

    @property
    def next_block_ms(self) -> int:
        """Never more than TRON's own 3 s: who makes blocks by hand makes them when he likes."""
        return self.head.time_ms + min(self.block_ms, SLOT_MS)

    def block(self, number: int) -> Block | None:
        return self._blocks[number] if 0 <= number < len(self._blocks) else None

    def block_by_id(self, block_id: bytes) -> Block | None:
        number = self._by_id.get(block_id)
        return None if number is None else self._blocks[number]

    def find(self, txid: bytes) -> tuple[Transaction, Receipt] | None:
        place = self._where.get(txid)
        if place is None:
            return None
        block = self._blocks[place[0]]
        return block.transactions[place[1]], block.receipts[place[1]]

    def waiting(self, txid: bytes) -> Transaction | None:
        return self._pool.get(txid)

    @property
    def pending(self) -> int:
        return len(self._pool)

    def holds(self, txid: bytes) -> bool:
        return txid in self._where or txid in self._pool

    def reference(self, number_bytes: bytes) -> bytes | None:
        return self._recent.get(number_bytes)

    @contextmanager
    def state_at(self, number: int | None) -> Iterator[World]:
        """The world after a block, or (None) after the head and all that is pending."""
        with self.lock:
            if number is None:
                yield self.world
                return
            back = self.head.number - number
            if back > len(self._journals):
                raise InvalidSetting(
                    f"the state is kept for {KEPT_JOURNALS} blocks", field="blocks"
                )
            journals = [self._journals[-1 - at] for at in range(back)]
            with self.world.rewound(journals):
                yield self.world

    def context(self, number: int, time_ms: int) -> BlockContext:
        return BlockContext(
            number=number, time_s=time_ms // 1000, chain_id=self.chain_id,
            witness=self.witness.address, block_id=lambda wanted: self._blocks[wanted].id,
        )  # fmt: skip

    # ------------------------------------------------------------------------------------ writing

    def broadcast(self, transaction: Transaction) -> None:
        """Accept a transaction into the pool. Raises Rejected; then nothing has changed."""
        with self.lock:
            if len(self._pool) >= MAX_PENDING:
                raise Rejected("SERVER_BUSY", "Server busy.")
            admit(transaction, self)
            self._execute_pending(transaction)
            self._pool[transaction.txid] = transaction

    def mine(self, count: int = 1) -> Block:
        """Make blocks now. The first takes all that is pending."""
        with self.lock:
            for _ in range(count):
                self._mine()
            return self.head

    def _mine(self) -> None:
        state = self.world.state
        state.rollback(0)
        time_ms = max(self.clock.now_ms(), self.head.time_ms + 1)
        context = self.context(self.head.number + 1, time_ms)
        done: list[tuple[Transaction, Receipt]] = []
        for transaction in self._pool.values():
            try:
                check_in_time(transaction, self)
                if transaction.number("expiration") <= time_ms:
                    raise Rejected("TRANSACTION_EXPIRATION_ERROR", "Transaction expired")
                done.append((transaction, apply(self.world, transaction, context, time_ms)))
            except Rejected as error:
                _log.info("%s does not enter a block: %s", transaction.txid.hex(), error)
        transactions, receipts = tuple(one for one, _ in done), tuple(one for _, one in done)
        block = self.witness.seal(self.head, time_ms, transactions, receipts, self._forks)
        journal = state.take_journal()
        try:
            self._log.append(block, self.world.writes(journal))
        except BaseException:
            state.undo(journal)
            self._wait_again(list(self._pool.values()))
            raise
        self._pool = {}
        self._add(block, journal)

    def give(self, to: bytes, sun: int) -> Transaction:
        """A transfer out of the faucet, pending until the next block."""
        with self.lock:
            now_ms = max(self.clock.now_ms(), self.head_time_ms)
            if now_ms - self.head_time_ms > _STALE_MS:
                self._mine()  # a transaction may not outlive the head by more than a day
            solid = self._blocks[self._solid]
            transaction = self.faucet.grant(to, sun, solid.id, now_ms)
            self.broadcast(transaction)
            return transaction

    def advance(self, ms: int) -> None:
        """Move the clock forward, for the blocks to come."""
        with self.lock:
            self.clock.advance(ms)
            self._log.keep("clock_offset_ms", self.clock.offset_ms)

    def close(self) -> None:
        with self.lock:
            self._log.close()

    def reorg(self, depth: int, *, drop: bool = False) -> int:
        """Undo the latest ``depth`` blocks, none of them solid. Their transactions wait for a block
        again, or are forgotten. Returns how many wait. Raises InvalidSetting."""
        with self.lock:
            if not 0 < depth <= self.head.number - max(1, self._solid):
                raise InvalidSetting(
                    "must be at least 1 and leave solid blocks alone", field="depth"
                )
            self.world.state.rollback(0)
            # The blocks to come differ from those that go, whatever the clock says.
            self._forks += 1
            facts = {"forks": self._forks, "solid": self._solid}
            self._log.cut(self.head.number - depth, facts)
            returning: list[Transaction] = []
            for _ in range(depth):
                returning = [*self._remove().transactions, *returning]
            self._wait_again([] if drop else [*returning, *self._pool.values()])
            return len(self._pool)

    def _wait_again(self, transactions: list[Transaction]) -> None:
        """Fill the pool anew, on top of a head that has changed."""
        self._pool = {}
        for transaction in transactions:
            try:
                check_in_time(transaction, self)
                self._execute_pending(transaction)
                self._pool[transaction.txid] = transaction
            except Rejected as error:
                _log.info("%s is lost in a reorg: %s", transaction.txid.hex(), error)

    def _execute_pending(self, transaction: Transaction) -> None:
        context = self.context(self.head.number, self.head.time_ms)
        apply(self.world, transaction, context, self.head.time_ms)

    # ----------------------------------------------------------------------------------- the list

    def _add(self, block: Block, journal: list[Change]) -> None:
        self._blocks.append(block)
        self._by_id[block.id] = block.number
        for at, transaction in enumerate(block.transactions):
            self._where[transaction.txid] = (block.number, at)
        self._recent[block.id[6:8]] = block.id[8:16]
        if block.number:
            self._journals.append(journal)
        self._solid = max(self._solid, block.number - SOLID_LAG)

    def _remove(self) -> Block:
        block = self._blocks.pop()
        del self._by_id[block.id]
        for transaction in block.transactions:
            del self._where[transaction.txid]
        before = self.block(block.number - 2**16)
        if before is None:
            del self._recent[block.id[6:8]]
        else:
            self._recent[block.id[6:8]] = before.id[8:16]
        self.world.state.undo(self._journals.pop())
        return block

    def _restore(self, genesis_id: bytes | None, funded: Mapping[bytes, int]) -> None:
        """Read the log, or begin one with a genesis block."""
        for block, writes in self._log.read():
            self.world.apply(writes)
            self._add(block, self.world.state.take_journal())
        self._forks = self._log.fact("forks")
        self._solid = max(self._solid, self._log.fact("solid"))
        self.clock.offset_ms += self._log.fact("clock_offset_ms")
        if self._blocks:
            check_id(self._blocks[0].id)  # refuses a real chain's id, also out of a file
            if genesis_id not in (None, self._blocks[0].id):
                raise InvalidSetting("is not that of the chain in this directory", field="genesis")
            return
        block = genesis(genesis_id)
        for address, sun in {Faucet(block.id).address: FUNDS_SUN, **funded}.items():
            self.world.state.add_balance(address, sun)
        journal = self.world.state.take_journal()
        self._log.append(block, self.world.writes(journal))
        self._add(block, journal)
