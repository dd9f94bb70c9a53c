"""Random programs for two machines: three contracts that call each other, and a message to the first.

Valid often enough to get far, wrong often enough to meet the ways to fail. What the two machines do
differently on purpose is left out: gas that is left, contracts that make contracts, built-in contracts
with TRON's own answers, the block's limits. Calls go only downwards, with so much energy at each level
that none runs out of it: prices differ, results must not.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

CONTRACTS = tuple(bytes([n]) * 20 for n in (0xA1, 0xB2, 0xC3))
CALLER = b"\xca" * 20
STRANGER = b"\x77" * 20
#: What each level gives to the one below it.
GIVEN = (10**9, 10**6)
SLOTS = (0, 1, 2, 2**255)
#: Of memory, beyond all other offsets but the one that is too much for any machine.
COUNTER = 4096
WORDS = (
    0, 1, 2, 3, 7, 30, 31, 32, 33, 255, 256, 257, 2**31, 2**63, 2**128, 2**160 - 1, 2**248, 2**255 - 1,
    2**255, 2**255 + 1, 2**256 - 32, 2**256 - 2, 2**256 - 1,
)  # fmt: skip
UNARY = (0x15, 0x19)
BINARY = (
    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x0A, 0x0B, 0x10, 0x11, 0x12, 0x13, 0x14, 0x16, 0x17,
    0x18, 0x1A, 0x1B, 0x1C, 0x1D,
)  # fmt: skip
TERNARY = (0x08, 0x09)
#: ADDRESS ORIGIN CALLER CALLVALUE CALLDATASIZE CODESIZE RETURNDATASIZE COINBASE TIMESTAMP NUMBER CHAINID
#: SELFBALANCE BASEFEE PC MSIZE PUSH0
NULLARY = (
    0x30, 0x32, 0x33, 0x34, 0x36, 0x38, 0x3D, 0x41, 0x42, 0x43, 0x46, 0x47, 0x48, 0x58, 0x59, 0x5F,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    codes: tuple[bytes, ...]
    data: bytes
    value: int


def case(random: Random) -> Case:
    codes = tuple(Writer(random, level).program() for level in range(3))
    return Case(
        codes, random.randbytes(random.choice((0, 4, 31, 36, 100))), random.choice((0, 0, 5))
    )


def push(word: int) -> bytes:
    size = max((word.bit_length() + 7) // 8, 1)
    return bytes([0x5F + size]) + word.to_bytes(size, "big")


class Writer:
    """Writes one program and keeps count of the words on its stack."""

    def __init__(self, random: Random, level: int) -> None:
        self.random = random
        self.level = level
        self.code = bytearray()
        self.depth = 0
        self.calls_left = 3
        self.nesting = 0

    def program(self) -> bytes:
        for _ in range(self.random.randrange(4, 40)):
            self.step()
        self.ending()
        return bytes(self.code)

    def step(self) -> None:
        kinds = (
            (self.arithmetic, 40), (self.nullary, 5), (self.shuffle, 8), (self.memory, 12),
            (self.storage, 8), (self.copying, 8), (self.account, 3), (self.hashing, 3), (self.log, 3),
            (self.branch, 5), (self.loop, 2), (self.call, 9), (self.builtin, 3), (self.mistake, 0.25),
        )  # fmt: skip
        self.random.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]()

    # ------------------------------------------------------------------------------ the pieces

    def op(self, opcode: int, taken: int = 0, left: int = 0) -> None:
        self.code.append(opcode)
        self.depth += left - taken

    def push(self, word: int) -> None:
        self.code += push(word)
        self.depth += 1

    def word(self) -> int:
        pick = self.random.random()
        if pick < 0.5:
            return self.random.choice(WORDS)
        if pick < 0.8:
            return self.random.randrange(300)
        return self.random.getrandbits(256)

    def want(self, words: int) -> None:
        """At least so many on the stack, some of them fresh."""
        while self.depth < words or (words and self.random.random() < 0.4 and self.depth < 60):
            self.push(self.word())

    def offset(self) -> int:
        """Of memory: small, or (seldom) more than any machine has."""
        return self.random.randrange(200) if self.random.random() < 0.995 else 2**200

    def size(self) -> int:
        return self.random.choice((0, 1, 5, 31, 32, 33, 64, 100))

    def arithmetic(self) -> None:
        opcode = self.random.choice(BINARY * 3 + UNARY * 3 + TERNARY * 3)
        taken = 1 if opcode in UNARY else 3 if opcode in TERNARY else 2
        self.want(taken)
        self.op(opcode, taken, 1)

    def nullary(self) -> None:
        self.op(self.random.choice(NULLARY), 0, 1)

    def shuffle(self) -> None:
        self.want(1)
        if self.random.random() < 0.2:
            self.op(0x50, 1, 0)
        elif self.random.random() < 0.5:
            self.op(0x7F + self.random.randint(1, min(self.depth, 16)), 0, 1)
        elif self.depth > 1:
            self.op(0x8F + self.random.randint(1, min(self.depth - 1, 16)))

    def memory(self) -> None:
        kind = self.random.randrange(4)
        if kind == 0:
            self.push(self.offset())
            self.op(0x51, 1, 1)
        elif kind == 3:
            self.push(self.size())
            self.push(self.offset())
            self.push(self.offset())
            self.op(0x5E, 3)
        else:
            self.want(1)
            self.push(self.offset())
            self.op((0, 0x52, 0x53)[kind], 2)

    def storage(self) -> None:
        transient = 8 if self.random.random() < 0.4 else 0
        slot = self.random.choice(SLOTS)
        if self.random.random() < 0.5:
            self.push(slot)
            self.op(0x54 + transient, 1, 1)
        else:
            if self.random.random() < 0.3:
                self.push(0)
            else:
                self.want(1)
            self.push(slot)
            self.op(0x55 + transient, 2)

    def copying(self) -> None:
        if self.random.random() < 0.25:
            self.push(self.random.choice((0, 1, 50, 2**64, 2**255)))
            self.op(0x35, 1, 1)
            return
        if self.random.random() < 0.3:  # of return data, nearly always within it
            if self.random.random() < 0.03:
                self.push(self.size())
            else:
                self.op(0x3D, 0, 1)
            self.push(0)
            self.push(self.offset())
            self.op(0x3E, 3)
            return
        self.push(self.size())
        self.push(self.random.choice((0, 1, 40, 10_000, 2**64, 2**255)))
        self.push(self.offset())
        if self.random.random() < 0.3:
            self.push(self.someone())
            self.op(0x3C, 4)
        else:
            self.op(self.random.choice((0x37, 0x39)), 3)

    def someone(self) -> int:
        address = int.from_bytes(self.random.choice((*CONTRACTS, CALLER, STRANGER)), "big")
        return address | (self.random.getrandbits(96) << 160 if self.random.random() < 0.2 else 0)

    def account(self) -> None:
        self.push(self.someone())
        self.op(self.random.choice((0x31, 0x3B)), 1, 1)  # not EXTCODEHASH: empty accounts differ

    def hashing(self) -> None:
        self.push(self.size())
        self.push(self.offset())
        self.op(0x20, 2, 1)

    def log(self) -> None:
        topics = self.random.randrange(5)
        self.want(topics)
        self.push(self.size())
        self.push(self.offset())
        self.op(0xA0 + topics, topics + 2)

    def branch(self) -> None:
        """Jump over a few steps, or not; what they leave on the stack is evened out."""
        if self.nesting > 2:
            return
        self.want(1)
        place = self.jump(0x57, taken=1)
        self.nesting += 1
        depth = self.depth
        for _ in range(self.random.randrange(1, 4)):
            self.step()
        self.level_to(depth)
        self.nesting -= 1
        self.land(place)

    def loop(self) -> None:
        """Two to five times, counted in memory where nothing else writes."""
        if self.nesting:
            return
        self.nesting += 3
        self.code += push(self.random.randint(2, 5)) + push(COUNTER) + b"\x52"
        start = len(self.code)
        self.op(0x5B)
        depth, calls, self.calls_left = self.depth, self.calls_left, 0
        for _ in range(self.random.randrange(1, 4)):
            self.step()
        self.calls_left = calls
        self.level_to(depth)
        counter = push(COUNTER)
        self.code += counter + bytes.fromhex("51 6001 90 03 80") + counter + b"\x52"
        self.code += push(start) + b"\x57"
        self.nesting -= 3

    def level_to(self, depth: int) -> None:
        while self.depth > depth:
            self.op(0x50, 1)
        while self.depth < depth:
            self.push(0)

    def jump(self, opcode: int, taken: int) -> int:
        """A jump to a place that ``land`` fills in."""
        self.code += b"\x61\x00\x00"
        place = len(self.code) - 2
        self.op(opcode, taken)
        return place

    def land(self, place: int) -> None:
        self.code[place : place + 2] = len(self.code).to_bytes(2, "big")
        self.op(0x5B)

    def call(self) -> None:
        """To a contract further down, or to somebody without code; sometimes with money."""
        if self.level == 2 or not self.calls_left:
            return
        self.calls_left -= 1
        below = self.random.randrange(self.level + 1, 3)
        target = CONTRACTS[below] if self.random.random() < 0.9 else STRANGER
        opcode = self.random.choice((0xF1, 0xF1, 0xF2, 0xF4, 0xFA))
        self.push(self.random.choice((0, 32, 64, 100)))
        self.push(self.random.randrange(200))
        self.push(self.size())
        self.push(self.random.randrange(200))
        if opcode in (0xF1, 0xF2):
            self.push(self.random.choice((0, 0, 0, 1, 7, 10**6, 2**62)))
        word = int.from_bytes(target, "big")
        self.push(word | (self.random.getrandbits(96) << 160 if self.random.random() < 0.1 else 0))
        self.push(GIVEN[self.level])
        self.op(opcode, 7 if opcode in (0xF1, 0xF2) else 6, 1)

    def builtin(self) -> None:
        """SHA-256, identity or a power, with room for all of the answer, which TRON writes whole."""
        contract = self.random.choice((2, 4, 5))
        if contract == 5:
            lengths = [self.random.choice((1, 5, 32)) for _ in range(3)]
            numbers = [self.random.randbytes(n) for n in lengths[:2]]
            modulus = self.random.randbytes(lengths[2] - 1) + b"\x05"
            data = b"".join(n.to_bytes(32, "big") for n in lengths) + b"".join(numbers) + modulus
            for at in range(0, len(data), 32):
                self.push(int.from_bytes(data[at : at + 32].ljust(32, b"\0"), "big"))
                self.push(at)
                self.op(0x52, 2)
            source, size, room = 0, len(data), lengths[2]
        else:
            source, size = self.random.randrange(200), self.size()
            room = max(size, 32)
        self.push(room)
        self.push(self.random.randrange(200))
        self.push(size)
        self.push(source)
        self.push(contract)
        self.push(10**6)
        self.op(0xFA, 6, 1)

    def mistake(self) -> None:
        """No such operation, a jump to nowhere or into data, a word too few, STOP in the middle."""
        self.code += bytes.fromhex(
            self.random.choice(("fe", "0c", "61ffff56", "600056", "605b6001015056", "00", "b0"))
        )

    def ending(self) -> None:
        """The stack goes to memory, and all of it is returned: nothing that went wrong stays hidden."""
        if self.random.random() < 0.05:
            return  # off the end of the code
        for at in range(min(self.depth, 16)):
            self.push(512 + 32 * at)
            self.op(0x52, 2)
        self.push(1024)
        self.push(0)
        self.op(0xF3 if self.random.random() < 0.8 else 0xFD, 2)
