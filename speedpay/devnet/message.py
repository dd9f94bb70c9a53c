"""What goes into the machine and what comes out: message, block, outcome, and the ways to fail.

``Result`` has the names of java-tron's ``contractResult`` (``core/Tron.proto``), which nodes report as
``receipt.result``. Addresses are 20 bytes, without TRON's leading 0x41; amounts are sun.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum


class Result(Enum):
    """How a call ended."""

    SUCCESS = "SUCCESS"
    REVERT = "REVERT"
    BAD_JUMP_DESTINATION = "BAD_JUMP_DESTINATION"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    STACK_TOO_SMALL = "STACK_TOO_SMALL"
    STACK_TOO_LARGE = "STACK_TOO_LARGE"
    ILLEGAL_OPERATION = "ILLEGAL_OPERATION"
    OUT_OF_ENERGY = "OUT_OF_ENERGY"
    OUT_OF_TIME = "OUT_OF_TIME"
    TRANSFER_FAILED = "TRANSFER_FAILED"
    INVALID_CODE = "INVALID_CODE"
    #: All that java-tron has no name for: writing in a static call, return data out of bounds,
    #: more than 2^63 - 1 sun for a new contract.
    UNKNOWN = "UNKNOWN"


class Halt(Exception):
    """Ends a frame. Inside the machine only; callers get an ``Outcome``."""

    def __init__(self, result: Result, reason: str) -> None:
        super().__init__(reason)
        self.result = result


class Invalid(Exception):
    """java-tron's ContractValidateException: the node refuses the transaction before anything is run."""


class NotModelled(Exception):
    """The code uses what this chain does not have, though TRON does. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class BlockContext:
    """The block in which a message is executed."""

    number: int
    #: Seconds since 1970, as TIMESTAMP gives them (java-tron's headers have milliseconds).
    time_s: int
    #: The last four bytes of the genesis block's id, as a number (TIP-474).
    chain_id: int
    #: What BASEFEE gives on TRON.
    sun_per_energy: int = 100
    #: The address of the witness that makes the block.
    witness: bytes = bytes(20)
    #: The 32-byte id of one of the last 256 blocks.
    block_id: Callable[[int], bytes] = field(default=lambda number: bytes(32))


@dataclass(frozen=True, slots=True)
class Message:
    """A TriggerSmartContract (``to``) or a CreateSmartContract (``create``, and ``data`` is its code)."""

    caller: bytes
    to: bytes | None = None
    #: Where the new contract shall be: keccak256(transaction id ‖ 0x41 ‖ owner)[12:].
    create: bytes | None = None
    value: int = 0
    data: bytes = b""
    energy_limit: int = 0
    #: Only addresses of contracts made by contracts depend on it.
    txid: bytes = bytes(32)
    #: ``triggerconstantcontract``: run as ever, but leave nothing changed.
    constant: bool = False


@dataclass(frozen=True, slots=True)
class Log:
    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """``energy_used`` is what the receipt calls energy_usage_total. A failed message has no logs."""

    result: Result
    energy_used: int
    #: What was returned, the data of a revert, or the code of the new contract.
    returned: bytes
    logs: tuple[Log, ...] = ()
    #: Why it failed, in words; empty on success.
    reason: str = ""

    @property
    def ok(self) -> bool:
        return self.result is Result.SUCCESS
