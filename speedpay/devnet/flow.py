"""Operations on stack, memory, storage, logs and the flow of control (groups 50s to a0s, and endings)."""

from __future__ import annotations

from speedpay.devnet import energy
from speedpay.devnet.frame import Frame
from speedpay.devnet.message import Halt, Log, Result


def stop(frame: Frame, _: int) -> bool:
    return True


def return_(frame: Frame, _: int) -> bool:
    offset, size = frame.stack.pop(), frame.stack.pop()
    frame.use(0, offset, size)
    frame.output = frame.read(offset, size)
    return True


def revert(frame: Frame, _: int) -> bool:
    frame.reverted = True
    return return_(frame, 0)


def illegal(frame: Frame, opcode: int) -> bool:
    raise Halt(Result.ILLEGAL_OPERATION, f"there is no operation {opcode:#04x}")


def push(frame: Frame, word: int) -> None:
    frame.stack.append(word)


def dup(frame: Frame, depth: int) -> None:
    frame.stack.append(frame.stack[-depth])


def swap(frame: Frame, depth: int) -> None:
    stack = frame.stack
    stack[-1], stack[-depth] = stack[-depth], stack[-1]


def pop(frame: Frame, _: int) -> None:
    frame.stack.pop()


def mload(frame: Frame, _: int) -> None:
    stack = frame.stack
    offset = stack[-1]
    frame.use(frame.transaction.rules.memory_access, offset, 32)
    stack[-1] = int.from_bytes(frame.memory[offset : offset + 32], "big")


def mstore(frame: Frame, _: int) -> None:
    offset, word = frame.stack.pop(), frame.stack.pop()
    frame.use(frame.transaction.rules.memory_access, offset, 32)
    frame.memory[offset : offset + 32] = word.to_bytes(32, "big")


def mstore8(frame: Frame, _: int) -> None:
    offset, word = frame.stack.pop(), frame.stack.pop()
    frame.use(frame.transaction.rules.memory_access, offset, 1)
    frame.memory[offset] = word & 0xFF


def mcopy(frame: Frame, _: int) -> None:
    """Source and target may overlap (EIP-5656, TIP-651)."""
    target, source, size = frame.stack.pop(), frame.stack.pop(), frame.stack.pop()
    furthest = max(target, source)
    cost = frame.growth(furthest, size)
    frame.spend(energy.MCOPY + cost + energy.copy(size))
    frame.extend(furthest, size)
    frame.write(target, frame.read(source, size))


def msize(frame: Frame, _: int) -> None:
    frame.stack.append(len(frame.memory))


def sload(frame: Frame, _: int) -> None:
    stack = frame.stack
    stack[-1] = frame.state.slot(frame.address, stack[-1]) or 0


def sstore(frame: Frame, _: int) -> None:
    key, value = frame.stack.pop(), frame.stack.pop()
    frame.spend(energy.store(frame.state.slot(frame.address, key), value))
    frame.must_not_be_static()
    frame.state.set_slot(frame.address, key, value)


def tload(frame: Frame, _: int) -> None:
    """Storage for the length of a transaction (EIP-1153, TIP-650)."""
    stack = frame.stack
    stack[-1] = frame.state.transient.get((frame.address, stack[-1]), 0)


def tstore(frame: Frame, _: int) -> None:
    frame.must_not_be_static()
    key, value = frame.stack.pop(), frame.stack.pop()
    frame.state.put(frame.state.transient, (frame.address, key), value)


def jump(frame: Frame, _: int) -> None:
    _go(frame, frame.stack.pop())


def jumpi(frame: Frame, _: int) -> None:
    target, condition = frame.stack.pop(), frame.stack.pop()
    if condition:
        _go(frame, target)


def _go(frame: Frame, target: int) -> None:
    if target not in frame.program.jump_destinations:
        raise Halt(Result.BAD_JUMP_DESTINATION, f"no jump destination at {target:#x}")
    frame.transaction.spend_time()
    frame.pc = target


def pc(frame: Frame, _: int) -> None:
    frame.stack.append(frame.pc - 1)


def gas(frame: Frame, _: int) -> None:
    frame.stack.append(frame.energy)


def jumpdest(frame: Frame, _: int) -> None:
    return None


def log(frame: Frame, topics: int) -> None:
    stack = frame.stack
    offset, size = stack.pop(), stack.pop()
    if frame.energy < energy.LOG_BYTE * size:  # before memory, as java-tron has it
        raise Halt(Result.OUT_OF_ENERGY, f"a log of {size} bytes")
    frame.use(energy.LOG + energy.LOG_TOPIC * topics + energy.LOG_BYTE * size, offset, size)
    frame.must_not_be_static()
    words = tuple(stack.pop().to_bytes(32, "big") for _ in range(topics))
    frame.logs.append(Log(frame.address, words, frame.read(offset, size)))
