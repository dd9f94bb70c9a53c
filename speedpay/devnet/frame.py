"""One call being executed: its stack, memory, energy, and the loop that runs its code.

A ``Program`` is code made ready: for each byte the row of the table in ``operations.py`` with its
argument, so that the loop looks nothing up. Each operation is a function of the frame and that argument;
it returns True to end the frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from speedpay.devnet import energy
from speedpay.devnet.message import BlockContext, Halt, Log, NotModelled, Result
from speedpay.devnet.state import State

WORD = 2**256
MASK = WORD - 1
ADDRESS = 2**160 - 1

#: Handler, fixed energy, fewest and most words on the stack before it, length in bytes, argument.
Row = tuple["Handler", int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Program:
    code: bytes
    rows: list[Row]
    jump_destinations: frozenset[int]


@dataclass(slots=True)
class Transaction:
    """What all frames of one message share."""

    state: State
    block: BlockContext
    rules: energy.Rules
    origin: bytes
    txid: bytes
    load: Callable[[bytes], Program]
    #: How many contracts and calls contracts have made: part of a new contract's address.
    nonce: int = 0
    #: How many jumps and calls are left.
    time_left: int = 0

    def spend_time(self) -> None:
        """Once for each jump and call: nothing else lets code run longer than it is."""
        self.time_left -= 1
        if self.time_left < 0:
            raise Halt(Result.OUT_OF_TIME, "too many jumps and calls for one transaction")


class Frame:
    """``address`` is whose storage and balance it uses; with DELEGATECALL not the owner of the code."""

    __slots__ = (
        "address", "caller", "data", "depth", "energy", "logs", "memory", "output",
        "pc", "program", "returned", "reverted", "stack", "state", "static", "transaction", "value",
    )  # fmt: skip

    def __init__(
        self,
        transaction: Transaction,
        code: bytes,
        *,
        address: bytes,
        caller: bytes,
        value: int,
        data: bytes,
        energy: int,
        static: bool = False,
        depth: int = 0,
    ) -> None:
        self.transaction = transaction
        self.state = transaction.state
        self.program = transaction.load(code)
        self.address = address
        self.caller = caller
        self.value = value
        self.data = data
        self.energy = energy
        self.static = static
        self.depth = depth
        self.pc = 0
        self.stack: list[int] = []
        #: Always whole words.
        self.memory = bytearray()
        #: What this frame returns, and whether by REVERT.
        self.output = b""
        self.reverted = False
        #: What its last call returned: RETURNDATACOPY.
        self.returned = b""
        self.logs: list[Log] = []

    def run(self) -> Halt | None:
        """Execute to the end. A ``Halt`` that comes back has cost all energy, but for a failed transfer.

        Changes to the state are the caller's to roll back, after a halt as after ``reverted``.
        """
        rows = self.program.rows
        stack = self.stack
        try:
            while True:
                handler, cost, fewest, most, length, argument = rows[self.pc]
                if not fewest <= len(stack) <= most:
                    if len(stack) < fewest:
                        raise Halt(
                            Result.STACK_TOO_SMALL, f"{fewest} words needed, {len(stack)} there"
                        )
                    raise Halt(
                        Result.STACK_TOO_LARGE, f"more than {energy.STACK_LIMIT} words on the stack"
                    )
                left = self.energy - cost
                if left < 0:
                    raise Halt(Result.OUT_OF_ENERGY, f"{cost} needed, {self.energy} left")
                self.energy = left
                self.pc += length
                if handler(self, argument):
                    return None
        except Halt as halt:
            if halt.result is not Result.TRANSFER_FAILED:
                self.energy = 0
            return halt

    def spend(self, cost: int) -> None:
        left = self.energy - cost
        if left < 0:
            raise Halt(Result.OUT_OF_ENERGY, f"{cost} needed, {self.energy} left")
        self.energy = left

    def growth(self, offset: int, size: int) -> int:
        """The price of memory up to ``offset + size``; nothing is needed for no bytes."""
        if not size:
            return 0
        end = offset + size
        have = len(self.memory)
        if end <= have:
            return 0
        if end > energy.MEMORY_LIMIT:
            raise Halt(Result.OUT_OF_MEMORY, f"{end} bytes of memory")
        return energy.memory((end + 31) // 32) - energy.memory(have // 32)

    def extend(self, offset: int, size: int) -> None:
        """Make the memory that was paid for."""
        if size:
            missing = (offset + size + 31) // 32 * 32 - len(self.memory)
            if missing > 0:
                self.memory.extend(bytes(missing))

    def use(self, cost: int, offset: int, size: int) -> None:
        """Pay ``cost`` and the memory, and have it."""
        self.spend(cost + self.growth(offset, size))
        self.extend(offset, size)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of memory that is there already."""
        return bytes(self.memory[offset : offset + size]) if size else b""

    def write(self, offset: int, data: bytes) -> None:
        """Into memory that is there already."""
        if data:
            self.memory[offset : offset + len(data)] = data

    def must_not_be_static(self) -> None:
        if self.static:
            raise Halt(Result.UNKNOWN, "a change of state in a static call")


Handler = Callable[[Frame, int], "bool | None"]


def refuse(what: str) -> Handler:
    """An operation that TRON has and this chain does not."""

    def handler(frame: Frame, argument: int) -> bool | None:
        raise NotModelled(f"{what} is not modelled by the development chain")

    return handler


def window(data: bytes, offset: int, size: int) -> bytes:
    """``size`` bytes of ``data`` from ``offset``, zeros where it has none."""
    return data[offset : offset + size].ljust(size, b"\0") if offset < len(data) else bytes(size)


def address_of(word: int) -> bytes:
    """The last 20 of 32 bytes: TRON ignores the rest, its own 0x41 among it."""
    return (word & ADDRESS).to_bytes(20, "big")
