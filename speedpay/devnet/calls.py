"""Operations that run other code: calls and the making of contracts (java-tron, ``Program.callToAddress``).

Not as on Ethereum: a call is 64 deep at most; it may be given all the energy that is left; what is sent
is in sun and below 2^63; sending to oneself ends the frame with TRANSFER_FAILED; a built-in contract's
answer is written to memory whole, whatever room the caller named. A contract made by a contract is at
keccak256(transaction id ‖ count of calls and contracts so far), with CREATE2 as in EIP-1014 with 0x41
for the 0xff.
"""

from __future__ import annotations

from speedpay.chain.keccak import keccak256
from speedpay.devnet import energy
from speedpay.devnet.frame import Frame, address_of
from speedpay.devnet.message import Halt, NotModelled, Result
from speedpay.devnet.precompiles import NOT_MODELLED, PRECOMPILES

CALL, CALLCODE, DELEGATECALL, STATICCALL = 0xF1, 0xF2, 0xF4, 0xFA


def call(frame: Frame, opcode: int) -> None:
    """All four kinds; ``opcode`` says which."""
    frame.transaction.spend_time()
    stack = frame.stack
    requested, word = stack.pop(), stack.pop()
    value = stack.pop() if opcode in (CALL, CALLCODE) else 0
    offset, size, out_offset, out_size = stack.pop(), stack.pop(), stack.pop(), stack.pop()
    given = _pay(frame, opcode, requested, word, value, (offset, size), (out_offset, out_size))
    if opcode == CALL and value:
        frame.must_not_be_static()
    if value:
        given += energy.CALL_STIPEND
    frame.extend(out_offset, out_size)
    frame.extend(offset, size)
    frame.returned = b""
    if frame.depth == energy.DEPTH_LIMIT:
        frame.energy += given
        stack.append(0)
    elif word in PRECOMPILES:
        _call_builtin(frame, opcode, word, value, given, frame.read(offset, size), out_offset)
    elif word in NOT_MODELLED:
        raise NotModelled(f"the built-in contract {word:#x} is not modelled")
    else:
        data = frame.read(offset, size)
        _call_code(frame, opcode, address_of(word), value, given, data, out_offset, out_size)


def _pay(
    frame: Frame,
    opcode: int,
    requested: int,
    word: int,
    value: int,
    read: tuple[int, int],
    written: tuple[int, int],
) -> int:
    """Pay for the call and for what the callee gets, and say how much that is."""
    cost = energy.CALL
    if value:
        cost += energy.CALL_VALUE
        if opcode == CALL and address_of(word) not in frame.state.balances:
            cost += energy.NEW_ACCOUNT
    cost += max(frame.growth(*read), frame.growth(*written))
    if cost > frame.energy:
        raise Halt(Result.OUT_OF_ENERGY, f"{cost} needed for a call, {frame.energy} left")
    given = min(requested, _to_give(frame, frame.energy - cost))
    frame.spend(cost + given)
    return given


def _to_give(frame: Frame, left: int) -> int:
    return left - left // 64 if frame.transaction.rules.keep_64th else left


def _call_builtin(
    frame: Frame, opcode: int, word: int, value: int, given: int, data: bytes, out_offset: int
) -> None:
    state, target = frame.state, address_of(word)
    cost, function = PRECOMPILES[word]
    if value > energy.SUN_LIMIT:
        raise Halt(Result.UNKNOWN, "more sun than there can be")
    if state.balance(frame.address) < value:
        frame.energy += given
        frame.stack.append(0)
        return
    sends = value and opcode == CALL
    if sends and target not in state.balances:
        raise Halt(Result.UNKNOWN, "a built-in contract that is no account cannot be paid")
    required = cost(data)
    if required > given:
        frame.stack.append(0)
        return
    if sends:
        state.add_balance(frame.address, -value)
        state.add_balance(target, value)
    output = function(data)
    frame.energy += given - required
    frame.stack.append(1)
    frame.returned = output
    if out_offset + len(output) > energy.MEMORY_LIMIT:
        raise Halt(Result.UNKNOWN, "a built-in contract's answer does not fit into memory")
    frame.extend(out_offset, len(output))
    frame.write(out_offset, output)


def _call_code(
    frame: Frame,
    opcode: int,
    target: bytes,
    value: int,
    given: int,
    data: bytes,
    out_offset: int,
    out_size: int,
) -> None:
    state, transaction = frame.state, frame.transaction
    if value > energy.SUN_LIMIT:
        _transfer_failed(frame, given, "more sun than there can be")
    if state.balance(frame.address) < value:
        frame.energy += given
        frame.stack.append(0)
        return
    mark = state.mark()
    if value and opcode == CALL:
        _send(frame, target, value, given)
    transaction.nonce += 1
    code = state.code(target)
    if not code:
        frame.energy += given
        frame.stack.append(1)
        return
    own = opcode in (CALLCODE, DELEGATECALL)
    child = Frame(
        transaction,
        code,
        address=frame.address if own else target,
        caller=frame.caller if opcode == DELEGATECALL else frame.address,
        value=frame.value if opcode == DELEGATECALL else value,
        data=data,
        energy=given,
        static=frame.static or opcode == STATICCALL,
        depth=frame.depth + 1,
    )
    halt = child.run()
    if halt is not None:
        state.rollback(mark)
        _must_go_on(halt)
        frame.stack.append(0)  # and nothing comes back, neither energy nor data
        return
    if child.reverted:
        state.rollback(mark)
        frame.stack.append(0)
    else:
        frame.logs += child.logs
        frame.stack.append(1)
    frame.write(out_offset, child.output[:out_size])
    frame.returned = child.output
    frame.energy += child.energy


def _send(frame: Frame, target: bytes, value: int, given: int) -> None:
    state = frame.state
    if target not in state.balances:
        if not frame.transaction.rules.transfer_creates:
            _transfer_failed(frame, given, "the receiver is no account")
        state.create_account(target)
    if target == frame.address:
        _transfer_failed(frame, given, "a contract cannot send to itself")
    if state.balance(target) + value > energy.SUN_LIMIT:
        _transfer_failed(frame, given, "the receiver would have more sun than there can be")
    state.add_balance(frame.address, -value)
    state.add_balance(target, value)


def _transfer_failed(frame: Frame, given: int, reason: str) -> None:
    if frame.transaction.rules.transfer_failure_keeps_energy:
        frame.energy += given
        raise Halt(Result.TRANSFER_FAILED, reason)
    raise Halt(Result.UNKNOWN, reason)


def _must_go_on(halt: Halt) -> None:
    """What fails in a call fails there only; but when the time is over it is over for all."""
    if halt.result is Result.OUT_OF_TIME:
        raise halt


def create(frame: Frame, salted: int) -> None:
    """CREATE, or CREATE2 when ``salted``."""
    frame.transaction.spend_time()
    stack = frame.stack
    value, offset, size = stack.pop(), stack.pop(), stack.pop()
    cost = energy.CREATE + frame.growth(offset, size)
    if salted:
        cost += energy.KECCAK_WORD * ((size + 31) // 32)
    frame.spend(cost)
    frame.extend(offset, size)
    frame.must_not_be_static()
    salt = stack.pop().to_bytes(32, "big") if salted else b""
    if not salted:
        frame.returned = b""
    if frame.depth == energy.DEPTH_LIMIT:
        stack.append(0)
        return
    code, transaction = frame.read(offset, size), frame.transaction
    if salted:
        seed = b"\x41" + frame.address + salt + keccak256(code)
    else:
        seed = transaction.txid + transaction.nonce.to_bytes(8, "big")
    _create_at(frame, keccak256(seed)[12:], value, code)


def _create_at(frame: Frame, address: bytes, value: int, code: bytes) -> None:
    state, transaction = frame.state, frame.transaction
    if value > energy.SUN_LIMIT:
        raise Halt(Result.UNKNOWN, "more sun than there can be")
    if state.balance(frame.address) < value:
        frame.stack.append(0)
        return
    given = _to_give(frame, frame.energy)
    frame.spend(given)
    transaction.nonce += 1
    if address in state.codes:  # a collision costs all that was given, as any failure does
        frame.stack.append(0)
        return
    mark = state.mark()
    state.create_account(address)
    state.put(state.codes, address, b"")
    if value:
        state.add_balance(frame.address, -value)
        state.add_balance(address, value)
    child = Frame(
        transaction,
        code,
        address=address,
        caller=frame.address,
        value=value,
        data=b"",
        energy=given,
        depth=frame.depth + 1,
    )
    halt = child.run() or (None if child.reverted else deposit(child))
    if halt is not None:
        state.rollback(mark)
        _must_go_on(halt)
        frame.stack.append(0)
        return
    if child.reverted:
        state.rollback(mark)
        frame.stack.append(0)
        frame.returned = child.output
    else:
        frame.logs += child.logs
        frame.stack.append(int.from_bytes(b"\x41" + address, "big"))
    frame.energy += child.energy


def deposit(constructor: Frame) -> Halt | None:
    """Store the code that a constructor returned, at 200 energy a byte."""
    code = constructor.output
    if code[:1] == b"\xef":  # EIP-3541
        constructor.energy = 0
        return Halt(Result.INVALID_CODE, "code must not begin with 0xef")
    cost = energy.CODE_BYTE * len(code)
    if cost > constructor.energy:
        constructor.energy = 0
        return Halt(Result.OUT_OF_ENERGY, f"{cost} needed to store {len(code)} bytes of code")
    constructor.energy -= cost
    constructor.state.put(constructor.state.codes, constructor.address, code)
    return None
