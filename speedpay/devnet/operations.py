"""The table of operations: number, name, words taken and left, fixed energy, what it does.

Read it beside ``OperationRegistry`` of java-tron. An energy of 0 means free, or that the function itself
charges, because the price depends on operands. Numbers without a row are illegal operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from speedpay.devnet import arithmetic, calls, environment, flow
from speedpay.devnet.energy import STACK_LIMIT
from speedpay.devnet.frame import Handler, Program, Row, refuse


@dataclass(frozen=True, slots=True)
class Operation:
    name: str
    taken: int
    left: int
    energy: int
    handler: Handler
    argument: int = 0


# fmt: off
OPERATIONS: dict[int, Operation] = {
    0x00: Operation("STOP",            0, 0,   0, flow.stop),
    0x01: Operation("ADD",             2, 1,   3, arithmetic.add),
    0x02: Operation("MUL",             2, 1,   5, arithmetic.mul),
    0x03: Operation("SUB",             2, 1,   3, arithmetic.sub),
    0x04: Operation("DIV",             2, 1,   5, arithmetic.div),
    0x05: Operation("SDIV",            2, 1,   5, arithmetic.sdiv),
    0x06: Operation("MOD",             2, 1,   5, arithmetic.mod),
    0x07: Operation("SMOD",            2, 1,   5, arithmetic.smod),
    0x08: Operation("ADDMOD",          3, 1,   8, arithmetic.addmod),
    0x09: Operation("MULMOD",          3, 1,   8, arithmetic.mulmod),
    0x0A: Operation("EXP",             2, 1,   0, arithmetic.exp),
    0x0B: Operation("SIGNEXTEND",      2, 1,   5, arithmetic.signextend),
    0x10: Operation("LT",              2, 1,   3, arithmetic.lt),
    0x11: Operation("GT",              2, 1,   3, arithmetic.gt),
    0x12: Operation("SLT",             2, 1,   3, arithmetic.slt),
    0x13: Operation("SGT",             2, 1,   3, arithmetic.sgt),
    0x14: Operation("EQ",              2, 1,   3, arithmetic.eq),
    0x15: Operation("ISZERO",          1, 1,   3, arithmetic.iszero),
    0x16: Operation("AND",             2, 1,   3, arithmetic.and_),
    0x17: Operation("OR",              2, 1,   3, arithmetic.or_),
    0x18: Operation("XOR",             2, 1,   3, arithmetic.xor),
    0x19: Operation("NOT",             1, 1,   3, arithmetic.not_),
    0x1A: Operation("BYTE",            2, 1,   3, arithmetic.byte),
    0x1B: Operation("SHL",             2, 1,   3, arithmetic.shl),
    0x1C: Operation("SHR",             2, 1,   3, arithmetic.shr),
    0x1D: Operation("SAR",             2, 1,   3, arithmetic.sar),
    0x20: Operation("KECCAK256",       2, 1,   0, environment.keccak),
    0x30: Operation("ADDRESS",         0, 1,   2, environment.address),
    0x31: Operation("BALANCE",         1, 1,  20, environment.balance),
    0x32: Operation("ORIGIN",          0, 1,   2, environment.origin),
    0x33: Operation("CALLER",          0, 1,   2, environment.caller),
    0x34: Operation("CALLVALUE",       0, 1,   2, environment.callvalue),
    0x35: Operation("CALLDATALOAD",    1, 1,   3, environment.calldataload),
    0x36: Operation("CALLDATASIZE",    0, 1,   2, environment.calldatasize),
    0x37: Operation("CALLDATACOPY",    3, 0,   0, environment.calldatacopy),
    0x38: Operation("CODESIZE",        0, 1,   2, environment.codesize),
    0x39: Operation("CODECOPY",        3, 0,   0, environment.codecopy),
    0x3A: Operation("GASPRICE",        0, 1,   2, environment.zero),
    0x3B: Operation("EXTCODESIZE",     1, 1,  20, environment.extcodesize),
    0x3C: Operation("EXTCODECOPY",     4, 0,   0, environment.extcodecopy),
    0x3D: Operation("RETURNDATASIZE",  0, 1,   2, environment.returndatasize),
    0x3E: Operation("RETURNDATACOPY",  3, 0,   0, environment.returndatacopy),
    0x3F: Operation("EXTCODEHASH",     1, 1, 400, environment.extcodehash),
    0x40: Operation("BLOCKHASH",       1, 1,  20, environment.blockhash),
    0x41: Operation("COINBASE",        0, 1,   2, environment.coinbase),
    0x42: Operation("TIMESTAMP",       0, 1,   2, environment.timestamp),
    0x43: Operation("NUMBER",          0, 1,   2, environment.block_number),
    0x44: Operation("DIFFICULTY",      0, 1,   2, environment.zero),
    0x45: Operation("GASLIMIT",        0, 1,   2, environment.zero),
    0x46: Operation("CHAINID",         0, 1,   2, environment.chainid),
    0x47: Operation("SELFBALANCE",     0, 1,   5, environment.selfbalance),
    0x48: Operation("BASEFEE",         0, 1,   2, environment.basefee),
    0x49: Operation("BLOBHASH",        1, 1,   3, environment.blobhash),
    0x4A: Operation("BLOBBASEFEE",     0, 1,   2, environment.zero),
    0x50: Operation("POP",             1, 0,   2, flow.pop),
    0x51: Operation("MLOAD",           1, 1,   0, flow.mload),
    0x52: Operation("MSTORE",          2, 0,   0, flow.mstore),
    0x53: Operation("MSTORE8",         2, 0,   0, flow.mstore8),
    0x54: Operation("SLOAD",           1, 1,  50, flow.sload),
    0x55: Operation("SSTORE",          2, 0,   0, flow.sstore),
    0x56: Operation("JUMP",            1, 0,   8, flow.jump),
    0x57: Operation("JUMPI",           2, 0,  10, flow.jumpi),
    0x58: Operation("PC",              0, 1,   2, flow.pc),
    0x59: Operation("MSIZE",           0, 1,   2, flow.msize),
    0x5A: Operation("GAS",             0, 1,   2, flow.gas),
    0x5B: Operation("JUMPDEST",        0, 0,   1, flow.jumpdest),
    0x5C: Operation("TLOAD",           1, 1, 100, flow.tload),
    0x5D: Operation("TSTORE",          2, 0, 100, flow.tstore),
    0x5E: Operation("MCOPY",           3, 0,   0, flow.mcopy),
    0x5F: Operation("PUSH0",           0, 1,   2, flow.push),
    0xD0: Operation("CALLTOKEN",       8, 1,   0, refuse("TRC-10 (CALLTOKEN)")),
    0xD1: Operation("TOKENBALANCE",    2, 1,   0, refuse("TRC-10 (TOKENBALANCE)")),
    # No call here can bring a TRC-10, so these two are 0; tronprotocol's compiler puts them everywhere.
    0xD2: Operation("CALLTOKENVALUE",  0, 1,   2, environment.zero),
    0xD3: Operation("CALLTOKENID",     0, 1,   2, environment.zero),
    0xD4: Operation("ISCONTRACT",      1, 1,  20, environment.iscontract),
    0xF0: Operation("CREATE",          3, 1,   0, calls.create),
    0xF1: Operation("CALL",            7, 1,   0, calls.call, calls.CALL),
    0xF2: Operation("CALLCODE",        7, 1,   0, calls.call, calls.CALLCODE),
    0xF3: Operation("RETURN",          2, 0,   0, flow.return_),
    0xF4: Operation("DELEGATECALL",    6, 1,   0, calls.call, calls.DELEGATECALL),
    0xF5: Operation("CREATE2",         4, 1,   0, calls.create, 1),
    0xFA: Operation("STATICCALL",      6, 1,   0, calls.call, calls.STATICCALL),
    0xFD: Operation("REVERT",          2, 0,   0, flow.revert),
    0xFF: Operation("SELFDESTRUCT",    1, 0,   0, refuse("SELFDESTRUCT")),
}
# fmt: on
for n in range(1, 33):
    OPERATIONS[0x5F + n] = Operation(f"PUSH{n}", 0, 1, 3, flow.push)
for n in range(1, 17):
    OPERATIONS[0x7F + n] = Operation(f"DUP{n}", n, n + 1, 3, flow.dup, n)
    OPERATIONS[0x8F + n] = Operation(f"SWAP{n}", n + 1, n + 1, 3, flow.swap, n + 1)
for n in range(5):
    OPERATIONS[0xA0 + n] = Operation(f"LOG{n}", n + 2, 0, 0, flow.log, n)
for n in range(0xD5, 0xE0):
    OPERATIONS[n] = Operation(f"STAKE{n:X}", 0, 0, 0, refuse(f"staking (operation {n:#x})"))


def _row(opcode: int) -> Row:
    operation = OPERATIONS.get(opcode)
    if operation is None:
        return flow.illegal, 0, 0, STACK_LIMIT, 1, opcode
    most = STACK_LIMIT - max(operation.left - operation.taken, 0)
    return operation.handler, operation.energy, operation.taken, most, 1, operation.argument


ROWS = [_row(opcode) for opcode in range(256)]


@lru_cache(maxsize=64)  # code may be long
def load(code: bytes) -> Program:
    """Code made ready to run. Past its end stands STOP, and zeros for what a last PUSH lacks."""
    rows: list[Row] = []
    destinations = []
    at = 0
    while at < len(code):
        opcode = code[at]
        row = ROWS[opcode]
        if 0x60 <= opcode <= 0x7F:
            size = opcode - 0x5F
            word = int.from_bytes(code[at + 1 : at + 1 + size].ljust(size, b"\0"), "big")
            rows.append((*row[:4], size + 1, word))
            rows += [ROWS[0]] * size  # never executed: what a PUSH carries is no code
            at += size + 1
        else:
            if opcode == 0x5B:
                destinations.append(at)
            rows.append(row)
            at += 1
    rows.append(ROWS[0])
    return Program(code, rows, frozenset(destinations))
