"""Operations on words: arithmetic, comparison and bits (Yellow Paper, appendix H, groups 0s and 10s).

Words are unsigned; ``signed`` reads one as two's complement. The top of the stack is the first operand.
"""

from __future__ import annotations

from speedpay.devnet import energy
from speedpay.devnet.frame import MASK, WORD, Frame

SIGN = 2**255


def signed(word: int) -> int:
    return word - WORD if word & SIGN else word


def add(frame: Frame, _: int) -> None:
    stack = frame.stack
    stack[-1] = (stack.pop() + stack[-1]) & MASK


def mul(frame: Frame, _: int) -> None:
    stack = frame.stack
    stack[-1] = (stack.pop() * stack[-1]) & MASK


def sub(frame: Frame, _: int) -> None:
    stack = frame.stack
    stack[-1] = (stack.pop() - stack[-1]) & MASK


def div(frame: Frame, _: int) -> None:
    """Division by 0 gives 0, here and below."""
    stack = frame.stack
    a, b = stack.pop(), stack[-1]
    stack[-1] = a // b if b else 0


def sdiv(frame: Frame, _: int) -> None:
    """Rounds towards 0; -2^255 ÷ -1 stays -2^255."""
    stack = frame.stack
    a, b = signed(stack.pop()), signed(stack[-1])
    quotient = abs(a) // abs(b) if b else 0
    stack[-1] = (-quotient if (a < 0) != (b < 0) else quotient) & MASK


def mod(frame: Frame, _: int) -> None:
    stack = frame.stack
    a, b = stack.pop(), stack[-1]
    stack[-1] = a % b if b else 0


def smod(frame: Frame, _: int) -> None:
    """Takes the sign of the dividend."""
    stack = frame.stack
    a, b = signed(stack.pop()), signed(stack[-1])
    rest = abs(a) % abs(b) if b else 0
    stack[-1] = (-rest if a < 0 else rest) & MASK


def addmod(frame: Frame, _: int) -> None:
    """The sum is not cut to 256 bits first."""
    stack = frame.stack
    a, b, n = stack.pop(), stack.pop(), stack[-1]
    stack[-1] = (a + b) % n if n else 0


def mulmod(frame: Frame, _: int) -> None:
    stack = frame.stack
    a, b, n = stack.pop(), stack.pop(), stack[-1]
    stack[-1] = (a * b) % n if n else 0


def exp(frame: Frame, _: int) -> None:
    stack = frame.stack
    exponent = stack[-2]
    frame.spend(energy.EXP + energy.EXP_BYTE * ((exponent.bit_length() + 7) // 8))
    stack[-1] = pow(stack.pop(), exponent, WORD)


def signextend(frame: Frame, _: int) -> None:
    """``k`` counts bytes from the least significant; from 31 on the word is whole already."""
    stack = frame.stack
    k, word = stack.pop(), stack[-1]
    if k < 31:
        bit = 1 << (8 * k + 7)
        stack[-1] = (word & (bit - 1)) - (word & bit) & MASK


def lt(frame: Frame, _: int) -> None:
    stack = frame.stack
    stack[-1] = int(stack.pop() < stack[-1])


def gt(frame: Frame, _: int) -> None:
    stack = frame.stack
    stack[-1] = int(stack.pop() > stack[-1])


def slt(frame: Frame, _: int) -> None:
    stack = frame.stack
    stack[-1] = int(signed(stack.pop()) < signed(stack[-1]))


def sgt(frame: Frame, _: int) -> None:
    stack = frame.stack
    stack[-1] = int(signed(stack.pop()) > signed(stack[-1]))


def eq(frame: Frame, _: int) -> None:
    stack = frame.stack
    stack[-1] = int(stack.pop() == stack[-1])


def iszero(frame: Frame, _: int) -> None:
    stack = frame.stack
    stack[-1] = int(not stack[-1])


def and_(frame: Frame, _: int) -> None:
    stack = frame.stack
    stack[-1] = stack.pop() & stack[-1]


def or_(frame: Frame, _: int) -> None:
    stack = frame.stack
    stack[-1] = stack.pop() | stack[-1]


def xor(frame: Frame, _: int) -> None:
    stack = frame.stack
    stack[-1] = stack.pop() ^ stack[-1]


def not_(frame: Frame, _: int) -> None:
    stack = frame.stack
    stack[-1] ^= MASK


def byte(frame: Frame, _: int) -> None:
    """Counts from the most significant."""
    stack = frame.stack
    position, word = stack.pop(), stack[-1]
    stack[-1] = (word >> (8 * (31 - position))) & 0xFF if position < 32 else 0


def shl(frame: Frame, _: int) -> None:
    stack = frame.stack
    shift, word = stack.pop(), stack[-1]
    stack[-1] = (word << shift) & MASK if shift < 256 else 0


def shr(frame: Frame, _: int) -> None:
    stack = frame.stack
    shift, word = stack.pop(), stack[-1]
    stack[-1] = word >> shift if shift < 256 else 0


def sar(frame: Frame, _: int) -> None:
    """Fills with the sign."""
    stack = frame.stack
    shift, word = stack.pop(), signed(stack[-1])
    stack[-1] = word >> min(shift, 255) & MASK
