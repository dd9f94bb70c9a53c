"""Calls, money and new contracts on TRON, where they differ from Ethereum above all."""

from __future__ import annotations

import dataclasses

import pytest

from speedpay.chain.keccak import keccak256
from speedpay.devnet import energy
from speedpay.devnet.machine import execute
from speedpay.devnet.message import Log, Message, Outcome, Result
from speedpay.devnet.state import State
from tests.unit.devnet.assembler import RETURN_TOP, code, returning
from tests.unit.devnet.machines import (
    BLOCK,
    LIMIT,
    NOBODY,
    OWNER,
    A,
    B,
    C,
    call,
    number,
    state_of,
    to,
    word,
)  # fmt: skip

# ----------------------------------------------------------------------------------------- calls


def test_a_call_that_fails_halts_only_itself_and_takes_all_it_was_given() -> None:
    state = state_of(
        a=f"0 0 0 0 0 {number(B)} 50000 CALL {RETURN_TOP}", b="1 1 SSTORE 0 0 LOG0 9 JUMP"
    )
    outcome = call(state)
    assert outcome.ok
    assert number(outcome.returned) == 0
    assert outcome.logs == ()
    assert state.slot(B, 1) is None
    assert 50_000 < outcome.energy_used < 50_200


def test_a_call_that_reverts_gives_energy_and_data_back() -> None:
    state = state_of(a=f"{to(B)} POP RETURNDATASIZE {RETURN_TOP}", b="1 1 SSTORE 33 0 REVERT")
    outcome = call(state)
    assert number(outcome.returned) == 33
    assert outcome.energy_used < 20_300
    assert state.slot(B, 1) is None


@pytest.mark.parametrize(
    ("opcode", "address", "caller", "value", "written"),
    [
        ("CALL", B, A, 7, B),
        ("CALLCODE", A, A, 7, A),
        ("DELEGATECALL", A, OWNER, 5, A),
    ],
)
def test_whose_address_caller_value_and_storage_a_call_has(
    opcode: str, address: bytes, caller: bytes, value: int, written: bytes
) -> None:
    state = state_of(
        a=f"{to(B, 7, opcode)} POP", b="ADDRESS 0 SSTORE CALLER 1 SSTORE CALLVALUE 2 SSTORE"
    )
    assert call(state, value=5).ok
    assert [state.slot(written, i) for i in range(3)] == [number(address), number(caller), value]


@pytest.mark.parametrize(
    "text",
    [
        "1 0 SSTORE",
        "1 0 TSTORE",
        "0 0 LOG0",
        "0 0 0 CREATE",
        f"0 0 0 0 1 {number(C)} GAS CALL",
    ],
)
def test_nothing_can_be_changed_in_a_static_call_nor_below_it(text: str) -> None:
    static = f"{to(B, 0, 'STATICCALL', '500000')} {RETURN_TOP}"
    below = to(C, given="100000")
    assert number(call(state_of(a=static, b=text, c="")).returned) == 0
    failed_below = state_of(a=static, b=f"{below} 0 MSTORE 32 0 RETURN", c=text)
    assert number(call(failed_below).returned) == 1
    assert (
        failed_below.to_json()
        == state_of(a=static, b=f"{below} 0 MSTORE 32 0 RETURN", c=text).to_json()
    )


def test_a_call_without_value_is_no_change() -> None:
    state = state_of(a=f"{to(B, opcode='STATICCALL')} {RETURN_TOP}", b=f"{to(C)} POP", c="")
    assert number(call(state).returned) == 1


def test_calls_are_64_deep_and_no_deeper() -> None:
    """A counts itself and calls itself again; the call that would be too deep fails, and only it."""
    state = state_of(a=f"0 SLOAD 1 ADD 0 SSTORE 0 0 0 0 0 {number(A)} GAS CALL 1 SSTORE")
    assert call(state, energy_limit=10**8).ok
    assert state.slot(A, 0) == energy.DEPTH_LIMIT + 1  # the message's own frame is depth 0
    assert state.slot(A, 1) == 1


# ----------------------------------------------------------------------------------------- money


def test_value_moves_with_the_message_and_with_calls() -> None:
    state = state_of(a=f"{to(B, 300)} {RETURN_TOP}", b="")
    outcome = call(state, value=50)
    assert number(outcome.returned) == 1
    assert [state.balance(x) for x in (OWNER, A, B)] == [10**6 - 50, 750, 1_300]


def test_more_than_there_is_cannot_be_sent_and_the_call_just_fails() -> None:
    state = state_of(a=f"{to(B, 1_001)} {RETURN_TOP}", b="")
    outcome = call(state)
    assert outcome.ok
    assert number(outcome.returned) == 0
    assert state.balance(B) == 1_000


def test_sending_to_nobody_makes_an_account_for_25_000() -> None:
    """java-tron's TransferToAccountTest asserts the same difference."""
    used = []
    for target in (NOBODY, B):
        state = state_of(a=f"{to(target, 9)} {RETURN_TOP}", b="")
        outcome = call(state)
        assert number(outcome.returned) == 1
        assert target in state.balances
        used.append(outcome.energy_used)
    assert used[0] - used[1] == 25_000


@pytest.mark.parametrize(
    ("target", "value"), [(A, 1), (B, 2**63)], ids=["to itself", "out of long range"]
)
def test_a_transfer_that_cannot_be_ends_the_caller_and_keeps_its_energy(
    target: bytes, value: int
) -> None:
    """java-tron's TransferFailedEnergyTest: TRANSFER_FAILED, and less used than there was."""
    state = state_of(a=f"1 1 SSTORE {to(target, value)} {RETURN_TOP}", b="")
    outcome = call(state)
    assert outcome.result is Result.TRANSFER_FAILED
    assert outcome.energy_used < 40_000
    assert state.slot(A, 1) is None
    before = execute(
        state, BLOCK, Message(OWNER, to=A, energy_limit=LIMIT), energy.LAUNCH
    )  # until the proposal for Constantinople it was UNKNOWN, and cost all
    assert (before.result, before.energy_used) == (Result.UNKNOWN, LIMIT)


def test_a_transfer_that_cannot_be_costs_the_caller_of_the_one_who_tried_all_it_gave() -> None:
    state = state_of(a=f"{to(B, given='50000')} {RETURN_TOP}", b=to(B, 1))
    outcome = call(state)
    assert number(outcome.returned) == 0
    assert 50_000 < outcome.energy_used < 50_200


def test_the_receiver_of_money_has_2300_energy_for_nothing() -> None:
    state = state_of(a=f"0 0 0 0 1 {number(B)} 0 CALL {RETURN_TOP}", b="0 0 LOG0 GAS 0 MSTORE")
    outcome = call(state)
    assert number(outcome.returned) == 1
    assert outcome.logs == (Log(B, (), b""),)
    poor = state_of(a=f"0 0 0 0 1 {number(B)} 0 CALL {RETURN_TOP}", b="1 0 SSTORE")
    assert number(call(poor).returned) == 0


# -------------------------------------------------------------------------------- new contracts


def deploy(state: State, made_by: bytes, **more: object) -> Outcome:
    message = Message(OWNER, create=NOBODY, data=made_by, energy_limit=LIMIT)
    return execute(state, BLOCK, dataclasses.replace(message, **more))  # type: ignore[arg-type]


def test_a_deployment_stores_what_the_constructor_returns_at_200_a_byte() -> None:
    state = state_of()
    short, long = deploy(state_of(), returning(b"\x00")), deploy(state, returning(b"\x00" * 11))
    assert short.ok
    assert long.energy_used - short.energy_used == 2_000
    assert state.code(NOBODY) == long.returned == b"\x00" * 11
    assert NOBODY in state.balances


def test_a_deployment_that_cannot_pay_for_its_code_leaves_no_contract() -> None:
    state = state_of()
    limit = deploy(state_of(), returning(b"\x00")).energy_used - 1
    outcome = deploy(state, returning(b"\x00"), energy_limit=limit)
    assert (outcome.result, outcome.energy_used) == (Result.OUT_OF_ENERGY, limit)
    assert NOBODY not in state.codes
    assert NOBODY not in state.balances


def test_code_must_not_begin_with_ef() -> None:
    outcome = deploy(state_of(), returning(b"\xef\x00"))
    assert (outcome.result, outcome.energy_used) == (Result.INVALID_CODE, LIMIT)


def test_a_constructor_has_its_address_value_and_no_code_yet() -> None:
    state = state_of()
    text = "ADDRESS EXTCODESIZE ADDRESS ISCONTRACT SELFBALANCE ADD ADD CALLDATASIZE ADD 0 SSTORE"
    assert deploy(state, code(text), value=40).ok
    assert state.slot(NOBODY, 0) == 41


def test_a_contract_makes_contracts_at_tron_s_addresses() -> None:
    child = returning(b"\x00")
    word_of_code = number(child.ljust(32, b"\0"))
    make = f"{word_of_code} 0 MSTORE {len(child)} 0 0 CREATE"
    salted = f"{word_of_code} 0 MSTORE 77 {len(child)} 0 0 CREATE2"
    assert len(child) <= 32
    txid = bytes(range(32))
    state = state_of(a=f"{make} 0 SSTORE {make} 1 SSTORE {salted} 2 SSTORE")
    assert call(state, txid=txid).ok
    expected = [
        keccak256(txid + (0).to_bytes(8, "big"))[12:],
        keccak256(txid + (1).to_bytes(8, "big"))[12:],
        keccak256(b"\x41" + A + word(77) + keccak256(child))[12:],
    ]
    assert [state.slot(A, i) for i in range(3)] == [number(b"\x41" + made) for made in expected]
    assert all(state.code(made) == b"\x00" for made in expected)


def test_what_happened_before_counts_for_the_next_address() -> None:
    """A call is counted as well as a new contract, the transfer in between is one."""
    child = returning(b"\x00")
    make = f"{number(child.ljust(32, bytes(1)))} 0 MSTORE {len(child)} 0 0 CREATE"
    state = state_of(a=f"{to(B)} POP {make} 0 SSTORE", b="")
    assert call(state, txid=bytes(32)).ok
    assert state.slot(A, 0) == number(b"\x41" + keccak256(bytes(32) + word(1)[24:])[12:])


def test_a_new_contract_that_reverts_is_none_and_says_why() -> None:
    child = code("0 0 REVERT")
    text = f"{number(child.ljust(32, bytes(1)))} 0 MSTORE {len(child)} 0 9 CREATE {RETURN_TOP}"
    state = state_of(a=text)
    outcome = call(state)
    assert outcome.ok
    assert number(outcome.returned) == 0
    assert state.balance(A) == 1_000
    assert len(state.codes) == 1
