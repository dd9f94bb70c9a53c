"""Two machines that run the contracts: ours with TRON's rules, and revm as a second opinion.

Both are driven below blocks and transactions: a caller, an address, some bytes, a time. Addresses are
20 bytes. What a node adds (signatures, fees, solidification) is tested in ``tests/unit/devnet``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from pyrevm import EVM, BlockEnv, CfgEnv, Env

from speedpay.chain.keccak import keccak256
from speedpay.devnet.machine import execute
from speedpay.devnet.message import BlockContext, Log, Message
from speedpay.devnet.state import State

START_S = 1_700_000_000
CHAIN_ID = 0x5EED_0001
DEPLOYER = b"\xde" * 20
ENERGY_LIMIT = 30_000_000


class Reverted(Exception):
    """The call reverted. ``data``: what it reverted with, selector first."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data.hex())
        self.data = data


@dataclass(frozen=True, slots=True)
class Done:
    """A call that went through. ``energy`` has a meaning with TRON's rules only."""

    returned: bytes
    logs: tuple[Log, ...]
    energy: int


class Backend(Protocol):
    """A chain of contracts alone. ``now_s``: the time of the next call."""

    now_s: int

    def deploy(self, code: bytes) -> tuple[bytes, Done]:
        """The new contract's address, and what making it did. Raises Reverted."""

    def call(self, sender: bytes, to: bytes, data: bytes) -> Done:
        """Raises Reverted, and then nothing has changed."""

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """What is done inside, time included, has not happened afterwards."""


class Tvm:
    """``speedpay.devnet``'s machine."""

    def __init__(self) -> None:
        self.now_s = START_S
        self._state = State()
        self._made = 0

    def deploy(self, code: bytes) -> tuple[bytes, Done]:
        self._made += 1
        txid = keccak256(self._made.to_bytes(8))
        address = keccak256(txid + b"\x41" + DEPLOYER)[12:]
        done = self._run(
            Message(DEPLOYER, create=address, data=code, txid=txid, energy_limit=ENERGY_LIMIT)
        )
        return address, done

    def call(self, sender: bytes, to: bytes, data: bytes) -> Done:
        return self._run(Message(sender, to=to, data=data, energy_limit=ENERGY_LIMIT))

    def code(self, address: bytes) -> bytes:
        """What stands on chain for a contract."""
        return self._state.code(address)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        mark, now_s = self._state.mark(), self.now_s
        try:
            yield
        finally:
            self._state.rollback(mark)
            self.now_s = now_s

    def _run(self, message: Message) -> Done:
        block = BlockContext(number=1, time_s=self.now_s, chain_id=CHAIN_ID)
        outcome = execute(self._state, block, message)
        if not outcome.ok:
            assert outcome.result.name == "REVERT", outcome
            raise Reverted(outcome.returned)
        return Done(outcome.returned, outcome.logs, outcome.energy_used)


class Revm:
    """pyrevm: Rust's EVM, with Ethereum's prices."""

    def __init__(self) -> None:
        self.now_s = START_S
        self._evm = EVM(env=Env(cfg=CfgEnv(chain_id=CHAIN_ID)))

    def deploy(self, code: bytes) -> tuple[bytes, Done]:
        made = self._run(lambda: self._evm.deploy(_hex(DEPLOYER), code))
        return bytes.fromhex(made[2:]), self._done(b"")

    def call(self, sender: bytes, to: bytes, data: bytes) -> Done:
        returned = self._run(lambda: self._evm.message_call(_hex(sender), _hex(to), data))
        return self._done(bytes(returned))

    @contextmanager
    def attempt(self) -> Iterator[None]:
        point, now_s = self._evm.snapshot(), self.now_s
        try:
            yield
        finally:
            self._evm.revert(point)
            self.now_s = now_s

    def _done(self, returned: bytes) -> Done:
        result = self._evm.result
        assert result is not None
        logs = tuple(
            Log(
                bytes.fromhex(log.address[2:]),
                tuple(bytes.fromhex(topic[2:]) for topic in log.topics),
                log.data[1],
            )
            for log in result.logs
        )
        return Done(returned, logs, result.gas_used)

    def _run(self, step: Callable[[], Any]) -> Any:
        self._evm.set_block_env(BlockEnv(number=1, timestamp=self.now_s))
        try:
            return step()
        except RuntimeError as error:
            text = str(error)
            if "output: 0x" not in text:
                raise
            raise Reverted(bytes.fromhex(text.split("output: 0x")[1].split(" ")[0])) from None


def _hex(address: bytes) -> str:
    return "0x" + address.hex()


BACKENDS: dict[str, Callable[[], Backend]] = {"tvm": Tvm, "revm": Revm}
