"""What executing a message means on TRON: how it ends, what code sees, and what is refused."""

from __future__ import annotations

import hashlib

import pytest

from speedpay.chain.keccak import keccak256
from speedpay.devnet.machine import execute
from speedpay.devnet.message import Invalid, Log, Message, NotModelled, Result
from tests.unit.devnet.assembler import RETURN_TOP, code
from tests.unit.devnet.machines import (
    BLOCK,
    LIMIT,
    NOBODY,
    OWNER,
    A,
    B,
    call,
    number,
    state_of,
    to,
    top,
)  # fmt: skip

# -------------------------------------------------------------------------------------- endings


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("1 POP", Result.SUCCESS),
        ("0 0 REVERT", Result.REVERT),
        ("9 JUMP", Result.BAD_JUMP_DESTINATION),
        ("POP", Result.STACK_TOO_SMALL),
        ("JUMPDEST 1 0 JUMP", Result.STACK_TOO_LARGE),
        ("0x400000 MLOAD", Result.OUT_OF_MEMORY),
        ("JUMPDEST 0 JUMP", Result.OUT_OF_ENERGY),
        ("1 0 0 RETURNDATACOPY", Result.UNKNOWN),
    ],
)
def test_an_ending_has_java_tron_s_name_and_failing_costs_everything(
    text: str, result: Result
) -> None:
    outcome = call(state_of(a=text))
    assert outcome.result is result
    if result not in (Result.SUCCESS, Result.REVERT):
        assert outcome.energy_used == LIMIT
        assert outcome.reason


@pytest.mark.parametrize("opcode", [0x0C, 0x1E, 0x21, 0x4B, 0xA5, 0xB0, 0xEF, 0xFC, 0xFE])
def test_a_number_without_operation_is_illegal(opcode: int) -> None:
    outcome = call(state_of(a=bytes([opcode])))
    assert (outcome.result, outcome.energy_used) == (Result.ILLEGAL_OPERATION, LIMIT)


def test_an_endless_loop_ends_by_time_when_the_energy_would_last_longer() -> None:
    message = Message(OWNER, to=A, energy_limit=10**12)
    outcome = execute(state_of(a="JUMPDEST 0 JUMP"), BLOCK, message, time_limit=1_000)
    assert (outcome.result, outcome.energy_used) == (Result.OUT_OF_TIME, 10**12)


def test_time_that_is_over_in_a_call_is_over_for_the_caller_too() -> None:
    state = state_of(a=f"{to(B)} 1 {RETURN_TOP}", b="JUMPDEST 0 JUMP")
    message = Message(OWNER, to=A, energy_limit=10**12)
    assert execute(state, BLOCK, message, time_limit=1_000).result is Result.OUT_OF_TIME


def test_calls_within_calls_within_calls_end_by_time_too() -> None:
    """Two calls to itself in each frame: 2^64 of them, without one jump."""
    itself = f"0 0 0 0 0 {number(A)} GAS CALL POP"
    message = Message(OWNER, to=A, energy_limit=10**12)
    outcome = execute(state_of(a=f"{itself} {itself}"), BLOCK, message, time_limit=1_000)
    assert outcome.result is Result.OUT_OF_TIME


def test_a_revert_gives_its_data_and_keeps_what_energy_was_left() -> None:
    outcome = call(state_of(a="0xdead 0 MSTORE 2 30 REVERT"))
    assert (outcome.result, outcome.returned) == (Result.REVERT, b"\xde\xad")
    assert outcome.energy_used < 50


@pytest.mark.parametrize("end", ["0 0 REVERT", "9 JUMP"])
def test_what_fails_changes_nothing_and_logs_nothing(end: str) -> None:
    state = state_of(a=f"1 1 SSTORE 0 0 LOG0 {end}", b="")
    before = state.to_json()
    outcome = call(state, value=500)
    assert not outcome.ok
    assert outcome.logs == ()
    assert state.to_json() == before


def test_a_constant_call_answers_and_leaves_nothing_behind() -> None:
    state = state_of(a=f"7 1 SSTORE 0 0 LOG0 1 SLOAD {RETURN_TOP}")
    before = state.to_json()
    outcome = call(state, constant=True, value=5)
    assert number(outcome.returned) == 7
    assert outcome.logs == (Log(A, (), b""),)
    assert state.to_json() == before


# ---------------------------------------------------------------------------- what code can see


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("ADDRESS", number(A)),
        ("CALLER", number(OWNER)),
        ("ORIGIN", number(OWNER)),
        ("CALLVALUE", 3),
        ("SELFBALANCE", 3),
        ("CHAINID", 0x5EED0003),
        ("TIMESTAMP", 1_700_000_000),
        ("NUMBER", 300),
        ("COINBASE", number(b"\x99" * 20)),
        ("BASEFEE", 100),
        ("GASPRICE", 0),
        ("GASLIMIT", 0),
        ("DIFFICULTY", 0),
        ("BLOBBASEFEE", 0),
        ("1 BLOBHASH", 0),
        ("CALLTOKENVALUE", 0),
        ("CALLTOKENID", 0),
        ("299 BLOCKHASH", 299 << 192),
        ("44 BLOCKHASH", 44 << 192),
        ("43 BLOCKHASH", 0),
        ("300 BLOCKHASH", 0),
        ("ADDRESS ISCONTRACT", 1),
        (f"{number(OWNER)} ISCONTRACT", 0),
        (f"{number(OWNER)} BALANCE", 10**6 - 3),
        (f"{number(b'A' + OWNER)} BALANCE", 10**6 - 3),  # the 0x41 in front is ignored
        (f"{number(NOBODY)} BALANCE", 0),
        (f"{number(NOBODY)} EXTCODEHASH", 0),
        (f"{number(OWNER)} EXTCODEHASH", number(keccak256(b""))),
        ("0 0 KECCAK256", number(keccak256(b""))),
    ],
)
def test_what_code_sees_of_its_surroundings(text: str, seen: int) -> None:
    assert top(text, value=3) == seen


def test_code_hash_and_size_are_those_of_the_code() -> None:
    state = state_of(b="1 2 ADD")
    assert top(f"{number(B)} EXTCODEHASH", state) == number(keccak256(code("1 2 ADD")))
    assert top(f"{number(B)} EXTCODESIZE", state) == len(code("1 2 ADD"))


def test_transient_storage_lasts_for_one_transaction() -> None:
    state = state_of(a=f"0 TLOAD 9 0 TSTORE 0 TLOAD ADD {RETURN_TOP}")
    assert [number(call(state).returned) for _ in range(2)] == [9, 9]


def test_a_jump_into_what_a_push_carries_is_no_jump() -> None:
    assert call(state_of(a=bytes.fromhex("6003565b"))).ok
    assert call(state_of(a=bytes.fromhex("600456605b"))).result is Result.BAD_JUMP_DESTINATION


# ---------------------------------------------------------------------- refused, and not modelled


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (Message(OWNER, to=NOBODY), "not a smart contract"),
        (Message(OWNER, to=OWNER), "not a smart contract"),
        (Message(OWNER), "not a smart contract"),
        (Message(OWNER, create=A, data=b"\x00"), "an account at"),
        (Message(OWNER, to=A, value=10**6 + 1), "not sufficient"),
        (Message(NOBODY, to=A, value=1), "not sufficient"),
        (Message(OWNER, to=A, value=-1), ">= 0"),
        (Message(OWNER, to=A, value=2**63), "2\\^63"),
        (Message(OWNER, to=A, energy_limit=-1), ">= 0"),
        (Message(A, to=A, value=1), "to yourself"),
    ],
)
def test_what_a_node_refuses_is_not_run(message: Message, why: str) -> None:
    state = state_of(a="1 0 SSTORE")
    before = state.to_json()
    with pytest.raises(Invalid, match=why):
        execute(state, BLOCK, message)
    assert state.to_json() == before


@pytest.mark.parametrize(
    "text",
    [
        f"{number(B)} SELFDESTRUCT",
        "0 0 0 0 0 0 0 0 CALLTOKEN",
        "0 0 TOKENBALANCE",
        "STAKED5",
        "STAKEDF",
        "0 0 0 0 6 GAS STATICCALL",
        "0 0 0 0 9 GAS STATICCALL",
        "0 0 0 0 0x1000001 GAS STATICCALL",
        "0 0 0 0 0x1000015 GAS STATICCALL",
    ],
)
def test_what_is_not_modelled_is_said_and_changes_nothing(text: str) -> None:
    state = state_of(a=f"{to(B)} POP", b=f"1 0 SSTORE {text}")
    before = state.to_json()
    with pytest.raises(NotModelled, match="not modelled"):
        call(state, value=5)
    assert state.to_json() == before
    assert state.take_journal() == []


# ---------------------------------------------------------------------------- built-in contracts


def built_in(contract: int, data: bytes, room: int = 32) -> bytes:
    """Answer of a built-in contract to code: its return data, whole."""
    stored = "".join(
        f"{number(data[i : i + 32].ljust(32, bytes(1)))} {i} MSTORE "
        for i in range(0, len(data), 32)
    )
    text = (
        f"{stored} {room} 512 {len(data)} 0 {contract} GAS STATICCALL 0 SSTORE "
        "RETURNDATASIZE 0 1024 RETURNDATACOPY RETURNDATASIZE 1024 RETURN"
    )
    state = state_of(a=text)
    outcome = call(state)
    assert outcome.ok, outcome
    assert state.slot(A, 0) == 1
    return outcome.returned


def test_sha256_and_identity_are_what_they_are_elsewhere() -> None:
    assert built_in(2, b"abc") == hashlib.sha256(b"abc").digest()
    assert built_in(4, b"0123456789" * 5) == b"0123456789" * 5


def test_the_third_is_no_ripemd_on_tron() -> None:
    once = hashlib.sha256(b"abc").digest()
    assert built_in(3, b"abc") == hashlib.sha256(once[:20]).digest()


def test_an_answer_is_written_whole_whatever_room_was_named() -> None:
    """On Ethereum it would be cut to the room; MSIZE shows that memory grew, for nothing."""
    text = f"1 0 MSTORE 0 64 32 0 4 GAS STATICCALL POP MSIZE 64 MLOAD ADD {RETURN_TOP}"
    assert number(call(state_of(a=text)).returned) == 96 + 1


def test_too_little_energy_for_a_built_in_contract_is_lost() -> None:
    state = state_of(a=f"32 0 0 0 2 59 STATICCALL {RETURN_TOP}")
    outcome = call(state)
    assert number(outcome.returned) == 0
    enough = state_of(a=f"32 0 0 0 2 60 STATICCALL {RETURN_TOP}")
    assert number(call(enough).returned) == 1
