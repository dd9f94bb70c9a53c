"""The development chain as a whole: one chain, its miner, and one or more nodes over it.

::

    with devnet(block_time=0.05, nodes=2) as chain:
        chain.faucet(address, 1_000 * 10**6)         # 20 bytes, sun
        client = Tron(HTTPProvider(chain.url))       # = chain.nodes[0].url
        chain.nodes[1].fault("timeout", count=1, path="wallet/getnowblock")
        chain.mine(19); chain.advance(3600); chain.reorg(3)

It is a TRON network of its own: real transactions, energy, bandwidth and refusals, an id of its own,
blocks by the clock. Not modelled: staking and votes (so all energy and all bandwidth beyond the free
bytes is paid in TRX), multi-sig and permissions, TRC-10 tokens, witnesses and their elections.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from speedpay.devnet.block import check_id as check_genesis
from speedpay.devnet.block_log import BlockLog
from speedpay.devnet.chain import Chain
from speedpay.devnet.clock import Clock
from speedpay.devnet.faults import Fault
from speedpay.devnet.server import NodeServer
from speedpay.devnet.server import listen as listen_on
from speedpay.errors import InvalidSetting

_log = logging.getLogger("speedpay.devnet")

_MIN_BLOCK_TIME_S, _MAX_BLOCK_TIME_S = 0.01, 3_600.0
MAX_NODES = 8


class Node:
    """One HTTP front end."""

    def __init__(self, server: NodeServer) -> None:
        self._server = server
        self.url = server.url

    def fault(
        self,
        kind: str,
        count: int | None = None,
        path: str | None = None,
        *,
        seconds: float = 30.0,
        blocks: int = 0,
        genesis: bytes | None = None,
    ) -> Fault:
        """Let something go wrong with this node; kinds and defaults: ``faults.py``."""
        return self._server.faults.add(
            kind, count, path, seconds=seconds, blocks=blocks, genesis=genesis
        )

    def heal(self) -> None:
        self._server.faults.clear()


class Devnet:
    """``block_time`` in seconds; None: blocks only by ``mine``. ``data`` None: kept in memory."""

    def __init__(
        self,
        *,
        block_time: float | None = 3.0,
        listen: Sequence[tuple[str, int]] = (("127.0.0.1", 0),),
        data: Path | None = None,
        genesis: bytes | None = None,
        funded: Mapping[bytes, int] | None = None,
    ) -> None:
        if block_time is not None and not _MIN_BLOCK_TIME_S <= block_time <= _MAX_BLOCK_TIME_S:
            raise InvalidSetting(
                f"must be {_MIN_BLOCK_TIME_S} to {_MAX_BLOCK_TIME_S:.0f} s", field="--block-time"
            )
        if not 0 < len(listen) <= MAX_NODES:
            raise InvalidSetting(f"must be given 1 to {MAX_NODES} times", field="--listen")
        self._block_time = block_time
        self._stopping = threading.Event()
        self.failed: BaseException | None = None
        if genesis is not None:
            check_genesis(genesis)
        interval_ms = round((3.0 if block_time is None else block_time) * 1000)
        with ExitStack() as undo:  # what cannot listen makes no files
            sockets = [undo.enter_context(listen_on(host, port)) for host, port in listen]
            self.chain = Chain(BlockLog(data), Clock(), interval_ms, genesis, funded)
            undo.pop_all()
        self._servers = [NodeServer(self.chain, one) for one in sockets]
        self.nodes = [Node(server) for server in self._servers]
        self._miner = threading.Thread(target=self._mine, name="devnet miner", daemon=True)

    @property
    def url(self) -> str:
        return self.nodes[0].url

    @property
    def genesis_id(self) -> bytes:
        block = self.chain.block(0)
        assert block is not None
        return block.id

    def start(self) -> None:
        for server in self._servers:
            server.start()
        if self._block_time is not None:
            self._miner.start()

    def wait(self) -> None:
        """For ever, but for exceptions out of signal handlers; when mining fails, raises why."""
        self._stopping.wait()
        if self.failed is not None:
            raise self.failed

    def close(self) -> None:
        self._stopping.set()
        for server in self._servers:
            server.stop()
        if self._miner.is_alive():
            self._miner.join(10)
        self.chain.close()

    def _mine(self) -> None:
        assert self._block_time is not None
        while not self._stopping.wait(self._block_time):
            try:
                self.chain.mine()
            except Exception as error:
                # A chain that stands still without a word would look like a slow one.
                _log.critical("the devnet cannot make blocks", exc_info=error)
                self.failed = error
                self._stopping.set()

    # --------------------------------------------------------------------------------- for tests

    def faucet(self, address: bytes, sun: int) -> bytes:
        """Returns the txid of a pending transfer; ``wallet/`` calls show the money at once."""
        return self.chain.give(address, sun).txid

    def mine(self, blocks: int = 1) -> int:
        """Make blocks now; returns the head's number."""
        return self.chain.mine(blocks).number

    def reorg(self, depth: int, *, drop: bool = False) -> int:
        return self.chain.reorg(depth, drop=drop)

    def advance(self, seconds: float) -> None:
        """Move the clock of the blocks to come."""
        self.chain.advance(round(seconds * 1000))


@contextmanager
def devnet(
    block_time: float | None = 0.05,
    nodes: int = 1,
    *,
    data: Path | None = None,
    genesis: bytes | None = None,
    funded: Mapping[bytes, int] | None = None,
) -> Iterator[Devnet]:
    """A running chain with nodes on free ports of 127.0.0.1."""
    listen = [("127.0.0.1", 0)] * nodes
    made = Devnet(block_time=block_time, listen=listen, data=data, genesis=genesis, funded=funded)
    try:
        made.start()
        yield made
    finally:
        made.close()
