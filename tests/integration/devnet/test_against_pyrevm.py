"""Our machine against revm: the same random programs and calls must have the same effects.

revm has Ethereum's prices, so it is given more gas than anything here can use, and gas is not compared.
That the comparison sees anything is tested with planted bugs, each of which must be found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

import pytest
from coincurve import PrivateKey
from pyrevm import EVM

from speedpay.devnet import arithmetic, environment, flow, operations
from speedpay.devnet.frame import MASK, Frame, Handler
from speedpay.devnet.precompiles import ORDER, PRECOMPILES
from speedpay.devnet.state import State
from tests.integration.devnet.pair import ours, revm, text
from tests.integration.devnet.programs import CALLER, Case, case
from tests.integration.devnet.token_and_vault import World

PROGRAMS = 2_500
CALLS = 500


def differences(seeds: range) -> Iterator[tuple[int, Case]]:
    for seed in seeds:
        tried = case(Random(seed))
        if ours(tried) != revm(tried):
            yield seed, tried


def compare(seeds: range) -> Counter[str]:
    """How the programs ended. Fails at the first difference, with all that is needed to repeat it."""
    endings: Counter[str] = Counter()
    for seed in seeds:
        tried = case(Random(seed))
        effect = ours(tried)
        assert effect == revm(tried), (seed, tried)
        endings[effect.ending] += 1
        endings["with logs"] += bool(effect.logs)
    return endings


def test_random_programs_have_the_same_effects() -> None:
    endings = compare(range(PROGRAMS))
    assert min(endings.values()) > PROGRAMS // 40, endings
    assert endings["success"] > PROGRAMS // 2, endings


@pytest.mark.long
@pytest.mark.parametrize("million", range(1, 5))
def test_many_more_random_programs_have_the_same_effects(million: int) -> None:
    compare(range(million * 10**6, million * 10**6 + 15_000))


def test_random_calls_to_token_and_vault_have_the_same_effects() -> None:
    endings = World(Random(1)).compare(CALLS)
    assert endings["done"] > CALLS // 3, endings
    assert endings["reverted"] > CALLS // 10, endings


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_many_more_calls_to_token_and_vault_have_the_same_effects(seed: int) -> None:
    World(Random(f"long {seed}")).compare(4_000)


# ------------------------------------------------------------------------------- built-in contracts


def built_in(evm: EVM, contract: int, data: bytes) -> tuple[bytes, bytes]:
    """What ours and theirs answer."""
    theirs = bytes(evm.message_call(text(CALLER), text(contract.to_bytes(20, "big")), data))
    return PRECOMPILES[contract][1](data), theirs


def test_signatures_are_recovered_alike_but_for_tron_s_first_byte() -> None:
    random, evm, found = Random(2), EVM(spec_id="CANCUN"), 0
    for _ in range(300):
        key, digest = PrivateKey(random.randbytes(31).rjust(32, b"\1")), random.randbytes(32)
        signature = key.sign_recoverable(digest, hasher=None)
        r, s, v = signature[:32], signature[32:64], 27 + signature[64]
        if random.random() < 0.3:  # the other signature of the same: high s
            s, v = (ORDER - int.from_bytes(s, "big")).to_bytes(32, "big"), 55 - v
        fields = [digest, v.to_bytes(32, "big"), r, s]
        if random.random() < 0.3:
            edge = random.choice((0, 1, 26, 29, ORDER - 1, ORDER, 2**256 - 1))
            fields[random.randrange(1, 4)] = edge.to_bytes(32, "big")
        data = b"".join(fields)[: random.choice((128, 128, 128, 127, 96, 64, 0))]
        mine, theirs = built_in(evm, 1, data + random.choice((b"", b"more")))
        assert bool(mine) == bool(theirs)
        if mine:
            found += 1
            assert mine == bytes(11) + b"\x41" + theirs[12:]
    assert 100 < found < 300


def test_powers_are_alike_but_for_a_modulus_of_nothing() -> None:
    random, evm = Random(3), EVM(spec_id="CANCUN")
    for _ in range(300):
        lengths = [random.choice((0, 1, 2, 31, 32, 33, 64)) for _ in range(3)]
        numbers = [random.choice((random.randbytes(n), bytes(n), b"\xff" * n)) for n in lengths]
        data = b"".join(n.to_bytes(32, "big") for n in lengths) + b"".join(numbers)
        data = data[: random.choice((len(data), len(data), random.randrange(len(data) + 1)))]
        mine, theirs = built_in(evm, 5, data)
        assert mine.rjust(len(theirs), b"\0") == theirs
        assert mine in (theirs, b"")


# ------------------------------------------------------------------------------------ planted bugs


def binary(wrong: Callable[[int, int], int]) -> Handler:
    def handler(frame: Frame, _: int) -> None:
        stack = frame.stack
        stack[-1] = wrong(stack.pop(), stack[-1]) & MASK

    return handler


def sdiv_rounding_down(a: int, b: int) -> int:
    a, b = arithmetic.signed(a), arithmetic.signed(b)
    return a // b if b else 0


def sdiv_without_sign(a: int, b: int) -> int:
    return a // b if b else 0


def smod_with_the_divisor_s_sign(a: int, b: int) -> int:
    a, b = arithmetic.signed(a), arithmetic.signed(b)
    return a % b if b else 0


def signextend_by_one_bit_too_few(k: int, word: int) -> int:
    bit = 1 << (8 * k + 6) if k < 31 else 0
    return (word & (bit - 1)) - (word & bit) if bit else word


def addmod_cut_to_256_bits(frame: Frame, _: int) -> None:
    stack = frame.stack
    a, b, n = stack.pop(), stack.pop(), stack[-1]
    stack[-1] = ((a + b) & MASK) % n if n else 0


def mcopy_byte_by_byte(frame: Frame, _: int) -> None:
    target, source, size = (frame.stack.pop() for _ in range(3))
    frame.use(0, max(target, source), size)
    for i in range(size):
        frame.memory[target + i] = frame.memory[source + i]


def msize_not_in_words(frame: Frame, _: int) -> None:
    frame.stack.append(max(len(frame.memory) - 1, 0))


def log_with_topics_reversed(frame: Frame, topics: int) -> None:
    flow.log(frame, topics)
    last = frame.logs.pop()
    frame.logs.append(type(last)(last.address, last.topics[::-1], last.data))


def returndatacopy_filling_up(frame: Frame, _: int) -> None:
    frame.returned += bytes(200)
    try:
        environment.returndatacopy(frame, 0)
    finally:
        frame.returned = frame.returned[:-200]


def calldataload_of_64_bits(frame: Frame, _: int) -> None:
    frame.stack[-1] &= 2**64 - 1
    environment.calldataload(frame, 0)


WRONG_OPERATIONS: dict[str, tuple[int, Handler]] = {
    "SDIV rounds down": (0x05, binary(sdiv_rounding_down)),
    "SDIV without sign": (0x05, binary(sdiv_without_sign)),
    "SMOD with the divisor's sign": (0x07, binary(smod_with_the_divisor_s_sign)),
    "ADDMOD cut to 256 bits": (0x08, addmod_cut_to_256_bits),
    "SIGNEXTEND by one bit too few": (0x0B, binary(signextend_by_one_bit_too_few)),
    "SLT without sign": (0x12, arithmetic.lt),
    "BYTE from the wrong end": (0x1A, binary(lambda i, w: w >> (8 * i) & 0xFF if i < 32 else 0)),
    "SHL by no more than 255": (0x1B, binary(lambda n, w: w << (n & 255))),
    "SAR without sign": (0x1D, arithmetic.shr),
    "CALLDATALOAD with 64 bits": (0x35, calldataload_of_64_bits),
    "RETURNDATACOPY beyond the data": (0x3E, returndatacopy_filling_up),
    "MCOPY byte by byte": (0x5E, mcopy_byte_by_byte),
    "MSIZE not in words": (0x59, msize_not_in_words),
    "LOG2 with topics reversed": (0xA2, log_with_topics_reversed),
    "TLOAD is SLOAD": (0x5C, flow.sload),
}


@pytest.fixture
def fresh_programs() -> Iterator[None]:
    """Ready-made code holds the operations that it was made with."""
    operations.load.cache_clear()
    yield
    operations.load.cache_clear()


def is_found() -> bool:
    return next(differences(range(PROGRAMS)), None) is not None


@pytest.mark.usefixtures("fresh_programs")
@pytest.mark.parametrize("bug", WRONG_OPERATIONS)
def test_a_wrong_operation_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opcode, handler = WRONG_OPERATIONS[bug]
    rows = list(operations.ROWS)
    rows[opcode] = (handler, *rows[opcode][1:])
    monkeypatch.setattr(operations, "ROWS", rows)
    assert is_found()


@pytest.mark.usefixtures("fresh_programs")
@pytest.mark.parametrize(
    ("owner", "name"),
    [(State, "rollback"), (Frame, "must_not_be_static")],
    ids=["failed calls keep their changes", "static calls may change things"],
)
def test_a_missing_rule_is_found(owner: type, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, name, lambda *arguments: None)
    assert is_found()


@pytest.mark.usefixtures("fresh_programs")
def test_a_delegated_call_in_the_wrong_context_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list(operations.ROWS)
    rows[0xF4] = rows[0xFA]  # both take six words
    monkeypatch.setattr(operations, "ROWS", rows)
    assert is_found()
