"""Energy to the unit: what java-tron's own tests assert, and what each committee decision changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from speedpay.chain.keccak import keccak256
from speedpay.devnet import energy
from speedpay.devnet.frame import Frame, Transaction
from speedpay.devnet.machine import execute
from speedpay.devnet.message import BlockContext, Halt, Message, Outcome, Result
from speedpay.devnet.operations import OPERATIONS, load
from speedpay.devnet.state import State

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/tvm.json").read_text())
OWNER = bytes.fromhex("abd4b9367799eaa3197fecb144eb71de1e049abc")
CONTRACT = bytes.fromhex("471fd3ad3e9eeadeec4608b92d16ce6b500704cc")
BLOCK = BlockContext(number=5, time_s=1_526_647_838, chain_id=0x5EEDC0DE)


def play(case: dict[str, Any]) -> list[tuple[dict[str, Any], Outcome]]:
    """Deploy and call as the case says, always the contract deployed last."""
    state = State()
    state.add_balance(OWNER, 100_000_000_000_000)
    limit = case["energy_limit"]
    done = []
    for step in case["steps"]:
        value, txid = step.get("value", 0), keccak256(bytes([len(done)]))
        if "call" not in step:
            target, code = keccak256(txid)[12:], bytes.fromhex(case["bytecode"])
            message = Message(
                OWNER, create=target, value=value, data=code, energy_limit=limit, txid=txid
            )
        else:
            data = keccak256(step["call"].encode())[:4] + bytes.fromhex(step.get("arguments", ""))
            message = Message(
                OWNER, to=target, value=value, data=data, energy_limit=limit, txid=txid
            )
        done.append((step, execute(state, BLOCK, message, energy.LAUNCH)))
    return done


@pytest.mark.parametrize("case", VECTORS["contracts"], ids=lambda case: case["test"])
def test_a_contract_costs_what_java_tron_asserts(case: dict[str, Any]) -> None:
    for step, outcome in play(case):
        assert outcome.result.name == step["result"], (step, outcome.reason)
        assert outcome.energy_used == step.get("energy", outcome.energy_used), step


def frame_of(
    code: bytes, limit: int, rules: energy.Rules = energy.LAUNCH, state: State | None = None
) -> Frame:
    state = state or State()
    state.create_account(CONTRACT)
    transaction = Transaction(state, BLOCK, rules, OWNER, bytes(32), load, time_left=100)
    return Frame(transaction, code, address=CONTRACT, caller=OWNER, value=0, data=b"", energy=limit)


@pytest.mark.parametrize("case", VECTORS["operations"], ids=lambda case: case["name"])
def test_an_operation_costs_what_java_tron_asserts(case: dict[str, Any]) -> None:
    state = State()
    for key, value in case.get("storage", {}).items():
        state.set_slot(CONTRACT, int(key, 16), int(value, 16))
    state.codes[CONTRACT] = bytes.fromhex(case.get("own_code", ""))
    limit = case.get("energy_limit", 1_000_000)
    frame = frame_of(bytes.fromhex(case["code"]), limit, state=state)
    frame.static = case.get("static", False)
    own = int.from_bytes(CONTRACT, "big")
    frame.stack += [own if word == "own" else int(word, 16) for word in case.get("stack", [])]
    halt = frame.run()
    assert (halt.result.name if halt else "SUCCESS") == case.get("result", "SUCCESS")
    assert limit - frame.energy == case.get("energy", limit - frame.energy)
    if "top" in case:
        assert frame.stack[-1] == int(case["top"], 16)


def test_all_pushes_duplicates_and_swaps_cost_three() -> None:
    """java-tron's OperationsTest.testPushDupSwapAndLogOperations, which goes through them all."""
    for n in range(1, 33):
        frame = frame_of(bytes([0x5F + n]) + b"\1" * n, 100)
        assert frame.run() is None
        assert (100 - frame.energy, frame.stack) == (3, [int("01" * n, 16)])
    for n in range(1, 17):
        frame = frame_of(b"\x60\1" + b"\x60\2" * (n - 1) + bytes([0x7F + n]), 100)
        assert frame.run() is None
        assert (100 - frame.energy, frame.stack[-1]) == (3 * (n + 1), 1)
        frame = frame_of(b"\x60\1" + b"\x60\2" * n + bytes([0x8F + n]), 100)
        assert frame.run() is None
        assert (100 - frame.energy, frame.stack[-1], frame.stack[0]) == (3 * (n + 2), 1, 2)


def test_each_operation_that_takes_words_wants_them_all_there() -> None:
    """java-tron's OperationsTest.testStackUnderFlow, with one word too few."""
    for opcode, operation in OPERATIONS.items():
        if operation.taken:
            frame = frame_of(bytes([opcode]), 10**9)
            frame.stack += [0] * (operation.taken - 1)
            halt = frame.run()
            assert halt is not None, operation.name
            assert halt.result is Result.STACK_TOO_SMALL, operation.name


def test_the_stack_has_1024_words_and_no_more() -> None:
    """java-tron's OperationsTest.testStackOverFlow."""
    growing = {n: o for n, o in OPERATIONS.items() if o.left > o.taken}
    assert len(growing) > 60
    for opcode, operation in growing.items():
        for words, result in ((1024, Result.STACK_TOO_LARGE), (1023, None)):
            frame = frame_of(bytes([opcode]), 10**9)
            frame.stack += [0] * words
            halt = frame.run()
            assert (halt.result if halt else None) is result, operation.name


# ----------------------------------------------------------------- what no test of theirs asserts


def spent(code: str, rules: energy.Rules = energy.CANCUN, limit: int = 100_000) -> int:
    frame = frame_of(bytes.fromhex(code.replace(" ", "")), limit, rules)
    halt = frame.run()
    assert halt is None, halt
    return limit - frame.energy


@pytest.mark.parametrize(
    ("rules", "extra"), [(energy.LAUNCH, 0), (energy.CANCUN, 1)], ids=["at launch", "since"]
)
def test_touching_memory_costs_one_unit_and_was_free_at_launch(
    rules: energy.Rules, extra: int
) -> None:
    assert spent("5f 51", rules) == 2 + 3 + extra  # MLOAD
    assert spent("5f 5f 52", rules) == 4 + 3 + extra  # MSTORE
    assert spent("5f 5f 53", rules) == 4 + 3 + extra  # MSTORE8


@pytest.mark.parametrize(
    ("writes", "cost"),
    [
        ((1,), 20_000),
        ((0,), 5_000),
        ((1, 2), 25_000),
        ((1, 0), 25_000),
        ((1, 0, 1), 30_000),
        ((0, 1), 10_000),
    ],
)
def test_a_row_of_zero_is_a_row_until_the_transaction_ends(
    writes: tuple[int, ...], cost: int
) -> None:
    """java-tron asks whether there is a row, not what is in it, and drops rows of 0 at the end only."""
    code = "".join(f"60{value:02x} 5f 55" for value in writes)
    assert spent(code) == cost + 5 * len(writes)


def test_nothing_is_refunded_and_a_row_of_zero_is_gone_afterwards() -> None:
    state = State()
    state.add_balance(OWNER, 1)
    state.codes[CONTRACT] = bytes.fromhex("5f355f55")  # slot 0 = the first word of the data
    used = []
    for value in (7, 0, 9):
        message = Message(OWNER, to=CONTRACT, data=value.to_bytes(32, "big"), energy_limit=100_000)
        used.append(execute(state, BLOCK, message).energy_used - 2 - 3 - 2)
        assert state.slot(CONTRACT, 0) == (value or None)
    assert used == [20_000, 5_000, 20_000]


@pytest.mark.parametrize("words", [1, 22, 23, 32, 1000, 98_304])
def test_memory_costs_three_a_word_and_the_square_over_512(words: int) -> None:
    offset = 32 * (words - 1)
    code = f"62{offset:06x} 51"
    assert spent(code, limit=10**9) == 3 + 1 + 3 * words + words * words // 512


def test_three_mebibytes_are_all_the_memory_there_is() -> None:
    frame = frame_of(bytes.fromhex("622fffe151"), 10**9)
    halt = frame.run()
    assert isinstance(halt, Halt)
    assert halt.result is Result.OUT_OF_MEMORY
    assert frame.energy == 0
    assert len(frame.memory) == 0, "nothing is allocated for what is refused"


@pytest.mark.parametrize(
    ("code", "cost"),
    [
        # CALL of an address without code: 40, and all that was given comes back.
        ("5f 5f 5f 5f 5f 61beef 5a f1", 5 * 2 + 3 + 2 + 40),
        # The same by STATICCALL and DELEGATECALL.
        ("5f 5f 5f 5f 61beef 5a fa", 4 * 2 + 3 + 2 + 40),
        ("5f 5f 5f 5f 61beef 5a f4", 4 * 2 + 3 + 2 + 40),
        # With memory for 64 bytes of answer.
        ("6040 5f 5f 5f 5f 61beef 5a f1", 3 + 4 * 2 + 3 + 2 + 40 + 6),
        # sha256 of 33 bytes: 60 + 2·12, and two words of memory.
        ("6020 5f 6021 5f 6002 5a fa", 3 + 2 + 3 + 2 + 3 + 2 + 40 + 6 + 84),
        # ecrecover of nothing: 3,000.
        ("6020 5f 6080 5f 6001 5a fa", 3 + 2 + 3 + 2 + 3 + 2 + 40 + 12 + 3000),
        # identity of 32 bytes: 18.
        ("6020 5f 6020 5f 6004 5a fa", 3 + 2 + 3 + 2 + 3 + 2 + 40 + 3 + 18),
        # KECCAK256 of 64 bytes: 30 + 2·6, two words.
        ("6040 5f 20", 3 + 2 + 42 + 6),
        # MCOPY of 33 bytes to 32: 3 + 2·3, three words.
        ("6021 5f 6020 5e", 3 + 2 + 3 + 9 + 9),
        # EXP by a number of two bytes.
        ("610100 6002 0a", 3 + 3 + 10 + 20),
        # CALLCODE with value, which makes no account and gives 2,300 for nothing.
        ("5f 5f 5f 5f 6001 61beef 5a f2", 5 * 2 + 3 + 3 + 40 + 9_000 - 2_300),
        # CREATE of nothing, and CREATE2 of 32 bytes that are STOP.
        ("5f 5f 5f f0", 6 + 32_000),
        ("5f 6020 5f 5f f5", 9 + 32_000 + 3 + 6),
        ("46", 2), ("48", 2), ("d2", 2), ("d3", 2),
        # EXTCODEHASH, BALANCE, SELFBALANCE, ISCONTRACT.
        ("30 3f", 402), ("30 31", 22), ("47", 5), ("30 d4", 22),
    ],
)  # fmt: skip
def test_the_price_of_calls_and_of_what_depends_on_operands(code: str, cost: int) -> None:
    assert spent(code) == cost


@pytest.mark.parametrize("value", ["5f", "6001"], ids=["without value", "with value"])
def test_a_call_that_would_be_too_deep_costs_its_price_only(value: str) -> None:
    """What the callee would have had comes back, with value the 2,300 on top, as in java-tron."""
    state = State()
    state.add_balance(CONTRACT, 5)
    frame = frame_of(bytes.fromhex(f"5f5f5f5f{value}305af1"), 100_000, energy.CANCUN, state)
    frame.depth = energy.DEPTH_LIMIT
    assert frame.run() is None
    assert frame.stack == [0]
    pushes = 4 * 2 + 2 + 2 + (2 if value == "5f" else 3)
    price = 40 if value == "5f" else 40 + 9_000 - 2_300
    assert 100_000 - frame.energy == pushes + price


def test_a_call_may_take_all_that_is_left_unless_a_64th_is_kept() -> None:
    """EIP-150's rule belongs to a proposal that is not in force (AllowTvmCompatibleEvm)."""
    burner = bytes.fromhex("fe")
    left = []
    for keep in (False, True):
        state = State()
        state.create_account(bytes(19) + b"\x99")
        state.codes[bytes(19) + b"\x99"] = burner
        rules = energy.Rules(1, True, True, keep)
        frame = frame_of(bytes.fromhex("5f5f5f5f5f60995af1"), 64_055, rules, state)
        assert frame.run() is None
        left.append(frame.energy)
    assert left == [0, 1000]
