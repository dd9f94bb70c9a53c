"""Operations that ask about the call, the block, accounts, and data outside memory (groups 30s and 40s).

Where TRON differs from Ethereum: BALANCE and the like cost little; copying has no base price; DIFFICULTY,
GASLIMIT and GASPRICE are 0; BASEFEE is the price of energy in sun; blobs do not exist and cost nothing
(TIP-745); CHAINID is the last four bytes of the genesis block's id.
"""

from __future__ import annotations

from speedpay.chain.keccak import keccak256
from speedpay.devnet import energy
from speedpay.devnet.frame import Frame, address_of, window
from speedpay.devnet.message import Halt, Result

EMPTY_HASH = int.from_bytes(keccak256(b""), "big")


def number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def address(frame: Frame, _: int) -> None:
    frame.stack.append(number(frame.address))


def balance(frame: Frame, _: int) -> None:
    stack = frame.stack
    stack[-1] = frame.state.balance(address_of(stack[-1]))


def origin(frame: Frame, _: int) -> None:
    frame.stack.append(number(frame.transaction.origin))


def caller(frame: Frame, _: int) -> None:
    frame.stack.append(number(frame.caller))


def callvalue(frame: Frame, _: int) -> None:
    frame.stack.append(frame.value)


def calldataload(frame: Frame, _: int) -> None:
    stack = frame.stack
    stack[-1] = number(window(frame.data, stack[-1], 32))


def calldatasize(frame: Frame, _: int) -> None:
    frame.stack.append(len(frame.data))


def calldatacopy(frame: Frame, _: int) -> None:
    _copy(frame, frame.data, 0)


def codesize(frame: Frame, _: int) -> None:
    frame.stack.append(len(frame.program.code))


def codecopy(frame: Frame, _: int) -> None:
    _copy(frame, frame.program.code, 0)


def _copy(frame: Frame, source: bytes, base: int) -> None:
    target, offset, size = frame.stack.pop(), frame.stack.pop(), frame.stack.pop()
    cost = base + frame.growth(target, size)  # memory first: too much of it has its own name
    frame.spend(cost + energy.copy(size))
    frame.extend(target, size)
    frame.write(target, window(source, offset, size))


def extcodesize(frame: Frame, _: int) -> None:
    stack = frame.stack
    stack[-1] = len(frame.state.code(address_of(stack[-1])))


def extcodecopy(frame: Frame, _: int) -> None:
    code = frame.state.code(address_of(frame.stack.pop()))
    _copy(frame, code, energy.EXTERNAL_CODE)


def extcodehash(frame: Frame, _: int) -> None:
    """0 for what is no account (EIP-1052)."""
    stack = frame.stack
    target = address_of(stack[-1])
    if target not in frame.state.balances:
        stack[-1] = 0
    else:
        code = frame.state.code(target)
        stack[-1] = number(keccak256(code)) if code else EMPTY_HASH


def returndatasize(frame: Frame, _: int) -> None:
    frame.stack.append(len(frame.returned))


def returndatacopy(frame: Frame, _: int) -> None:
    """Unlike the other copies, it must stay within the data (EIP-211)."""
    target, offset, size = frame.stack.pop(), frame.stack.pop(), frame.stack.pop()
    cost = frame.growth(target, size)
    frame.spend(cost + energy.copy(size))
    if offset + size > len(frame.returned):
        raise Halt(Result.UNKNOWN, "return data read out of bounds")
    frame.extend(target, size)
    frame.write(target, frame.returned[offset : offset + size])


def blockhash(frame: Frame, _: int) -> None:
    stack = frame.stack
    block, wanted = frame.transaction.block, stack[-1]
    known = max(block.number - 256, 0) <= wanted < block.number
    stack[-1] = number(block.block_id(wanted)) if known else 0


def coinbase(frame: Frame, _: int) -> None:
    frame.stack.append(number(frame.transaction.block.witness))


def timestamp(frame: Frame, _: int) -> None:
    frame.stack.append(frame.transaction.block.time_s)


def block_number(frame: Frame, _: int) -> None:
    frame.stack.append(frame.transaction.block.number)


def zero(frame: Frame, _: int) -> None:
    """What TRON answers with 0: DIFFICULTY, GASLIMIT, GASPRICE, BLOBBASEFEE, and a call's TRC-10."""
    frame.stack.append(0)


def blobhash(frame: Frame, _: int) -> None:
    frame.stack[-1] = 0


def chainid(frame: Frame, _: int) -> None:
    frame.stack.append(frame.transaction.block.chain_id)


def selfbalance(frame: Frame, _: int) -> None:
    frame.stack.append(frame.state.balance(frame.address))


def basefee(frame: Frame, _: int) -> None:
    frame.stack.append(frame.transaction.block.sun_per_energy)


def iscontract(frame: Frame, _: int) -> None:
    """TRON's own (TIP-44)."""
    stack = frame.stack
    stack[-1] = int(address_of(stack[-1]) in frame.state.codes)


def keccak(frame: Frame, _: int) -> None:
    stack = frame.stack
    offset, size = stack.pop(), stack[-1]
    cost = frame.growth(offset, size)
    frame.spend(energy.KECCAK + cost + energy.KECCAK_WORD * ((size + 31) // 32))
    frame.extend(offset, size)
    stack[-1] = number(keccak256(frame.read(offset, size)))
