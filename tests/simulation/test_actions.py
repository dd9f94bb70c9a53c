"""Random courses of events, and kept ones: no promise is broken, and a planted bug is found."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from speedpay.channel.payer import Budget
from tests.simulation.actions import run

CORPUS = Path(__file__).parent.parent / "fuzz" / "corpus" / "actions"
INPUTS, MANY_INPUTS = 100, 20_000
LENGTHS = (50, 150, 300)


def kept() -> list[bytes]:
    return [path.read_bytes() for path in sorted(CORPUS.iterdir())]


def made(number: int) -> bytes:
    draw = random.Random(number)
    return draw.randbytes(draw.choice(LENGTHS))


def run_all(inputs: list[bytes], closing_line: Callable[[str], None]) -> None:
    paid, forged, began = 0, 0, time.perf_counter()
    for data in inputs:
        try:
            world = run(data)
        except Exception as error:
            raise AssertionError(f"{data.hex()}: {type(error).__name__}: {error}") from error
        paid += any(account.paid for account in world.ledger.channels.values())
        forged += world.forged
    assert paid > len(inputs) // 10, "the inputs lead nowhere"
    closing_line(
        f"actions: {len(inputs)} inputs, {paid} with money paid, {forged} forged messages,"
        f" {len(inputs) / (time.perf_counter() - began):.0f} inputs/s, 0 broken"
    )


def test_no_kept_or_random_course_of_events_breaks_a_promise(
    closing_line: Callable[[str], None],
) -> None:
    run_all(kept() + [made(number) for number in range(INPUTS)], closing_line)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_no_course_of_many_breaks_a_promise(closing_line: Callable[[str], None]) -> None:
    run_all([made(number) for number in range(INPUTS, MANY_INPUTS)], closing_line)


# ------------------------------------------------------------------------------------ planted bugs


def found() -> str:
    """By the kept inputs."""
    for data in kept():
        try:
            run(data)
        except AssertionError as error:
            return str(error)
    return "nothing was found"


def test_a_budget_that_forgets_escrow_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Budget, "free", lambda self: self.limit)
    assert "I11" in found()


def test_a_seller_that_believes_any_statement_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "speedpay.channel.voucher.SignedStatement.check", lambda *arguments, **named: None
    )
    assert "more escrow than the ledger holds" in found()
