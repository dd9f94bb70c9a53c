"""A small world for tests of the machine: an owner, contracts a, b and c, and one block."""

from __future__ import annotations

import dataclasses

from speedpay.devnet.machine import execute
from speedpay.devnet.message import BlockContext, Message, Outcome
from speedpay.devnet.state import State
from tests.unit.devnet.assembler import RETURN_TOP, code

OWNER, A, B, C, NOBODY = (bytes([n]) * 20 for n in (0x0F, 0xAA, 0xBB, 0xCC, 0xEE))
BLOCK = BlockContext(
    number=300,
    time_s=1_700_000_000,
    chain_id=0x5EED0003,
    sun_per_energy=100,
    witness=b"\x99" * 20,
    block_id=lambda number: number.to_bytes(8, "big") + bytes(24),
)
LIMIT = 1_000_000


def word(value: int | bytes) -> bytes:
    return value.rjust(32, b"\0") if isinstance(value, bytes) else value.to_bytes(32, "big")


def number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def state_of(**codes: bytes | str) -> State:
    """Contracts a, b, c with 1,000 sun each, an owner with a million."""
    state = State()
    state.add_balance(OWNER, 10**6)
    for name, given in codes.items():
        address = {"a": A, "b": B, "c": C}[name]
        state.add_balance(address, 1_000)
        state.codes[address] = code(given) if isinstance(given, str) else given
    state.take_journal()
    return state


def call(state: State, data: bytes = b"", **more: object) -> Outcome:
    message = dataclasses.replace(Message(OWNER, to=A, data=data, energy_limit=LIMIT), **more)  # type: ignore[arg-type]
    return execute(state, BLOCK, message)


def top(text: str, state: State | None = None, **more: object) -> int:
    """What the code leaves on top of the stack."""
    state = state or state_of()
    state.add_balance(A, 0)
    state.codes[A] = code(f"{text} {RETURN_TOP}")
    outcome = call(state, **more)
    assert outcome.ok, outcome
    return number(outcome.returned)


def to(address: bytes, value: int = 0, opcode: str = "CALL", given: str = "GAS") -> str:
    """Call without data and with room for 32 bytes at 0; by default with all the energy there is."""
    sent = f"{value} " if opcode in ("CALL", "CALLCODE") else ""
    return f"32 0 0 0 {sent}{number(address)} {given} {opcode}"
