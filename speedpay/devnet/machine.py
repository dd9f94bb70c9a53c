"""The TRON virtual machine, as much of it as Solidity for ``evmVersion`` cancun needs: ``execute``.

It keeps TRON's rules of energy and results, which no Ethereum engine does, to the unit: the figures in
``tests/vectors/tvm.json`` are those of java-tron's own tests. Sources: java-tron (``VM``, ``Program``,
``EnergyCost``, ``VMActuator``), the Yellow Paper and the EIPs for what both have in common.

Not modelled, and refused with ``NotModelled`` when code reaches it: SELFDESTRUCT, TRC-10 and staking
operations, the built-in contracts from 6 on. Time is not measured, so that every run gives the same:
instead of 80 ms a transaction has a number of jumps and calls.
"""

from __future__ import annotations

from speedpay.devnet import calls, energy
from speedpay.devnet.frame import Frame, Transaction
from speedpay.devnet.message import (
    BlockContext,
    Halt,
    Invalid,
    Message,
    NotModelled,
    Outcome,
    Result,
)
from speedpay.devnet.operations import load
from speedpay.devnet.state import State

#: In jumps and calls: about two seconds of this machine, which only an endless loop needs.
TIME_LIMIT = 1_000_000


def execute(
    state: State,
    block: BlockContext,
    message: Message,
    rules: energy.Rules = energy.CANCUN,
    time_limit: int = TIME_LIMIT,
) -> Outcome:
    """Run one message. The state afterwards is that of a success, or as it was before.

    The fee is not taken here: the caller has put into ``energy_limit`` what the owner can pay.
    Raises ``Invalid`` for what a node refuses before running it: no such contract, an address in
    use, less sun than ``value``; ``NotModelled`` as said above. Both leave the state as it was.
    """
    target = _check(state, message)
    transaction = Transaction(
        state, block, rules, message.caller, message.txid, load, time_left=time_limit
    )
    mark = state.mark()
    try:
        if message.create is not None:
            state.create_account(target)
            state.put(state.codes, target, b"")
        if message.value:
            state.add_balance(message.caller, -message.value)
            state.add_balance(target, message.value)
        frame = Frame(
            transaction,
            state.code(target) if message.create is None else message.data,
            address=target,
            caller=message.caller,
            value=message.value,
            data=message.data if message.create is None else b"",
            energy=message.energy_limit,
        )
        halt = frame.run()
        if message.create is not None and halt is None and not frame.reverted:
            halt = calls.deposit(frame)
        outcome = _outcome(frame, halt, message.energy_limit)
    except NotModelled:
        state.rollback(mark)
        state.settle()
        raise
    if message.constant or not outcome.ok:
        state.rollback(mark)
    state.settle()
    return outcome


def _check(state: State, message: Message) -> bytes:
    """The address of the contract that is called or made."""
    if message.energy_limit < 0 or not 0 <= message.value <= energy.SUN_LIMIT:
        raise Invalid("energy limit and value must be >= 0 and below 2^63")
    if message.create is not None:
        target = message.create
        if target in state.balances:
            raise Invalid("there is an account at the new contract's address")
    elif message.to is not None and state.code(message.to):
        target = message.to
    else:
        raise Invalid("no contract or not a smart contract")
    if message.value:
        if state.balance(message.caller) < message.value:
            raise Invalid("the balance is not sufficient")
        if message.caller == target:
            raise Invalid("cannot transfer TRX to yourself")
    return target


def _outcome(frame: Frame, halt: Halt | None, limit: int) -> Outcome:
    used = limit - frame.energy
    if halt is not None:
        return Outcome(halt.result, used, b"", reason=str(halt))
    if frame.reverted:
        return Outcome(Result.REVERT, used, frame.output, reason="REVERT opcode executed")
    return Outcome(Result.SUCCESS, used, frame.output, tuple(frame.logs))
