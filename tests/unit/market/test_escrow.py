"""Escrow over several sellers: never above the allowance, in parts that follow what each delivers."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedpay.channel.payer import Budget
from speedpay.market.escrow import first_escrow, is_low, top_up
from speedpay.market.metering import UNIT_MIN_BYTES
from speedpay.units import MIB, ZERO, Amount, Price

PRICE = Price(1000)


class Spread:
    """Sellers at fixed rates (bytes a second) that are paid for what they deliver, while money lasts. The
    ledger answers at moments drawn from ``seed``."""

    def __init__(self, rates: list[int], allowance: int, size: int, seed: int) -> None:
        self.rates, self.size, self.draw = rates, size, random.Random(seed)
        self.budget = Budget(Amount(allowance))
        self.escrow = [ZERO] * len(rates)
        self.signed = [ZERO] * len(rates)
        self.bytes = [0] * len(rates)
        self.asked: dict[int, Amount] = {}

    @property
    def left(self) -> Amount:
        return self.budget.limit.minus_or_zero(Amount(sum(one.utok for one in self.signed)))

    def ask(self, number: int, amount: Amount) -> None:
        if amount:
            self.budget = self.budget.lock(amount)
            self.asked[number] = amount

    def tick(self) -> None:
        remaining = self.size - sum(self.bytes)
        order = list(range(len(self.rates)))
        self.draw.shuffle(order)
        for number in order:
            if number in self.asked:
                if self.draw.random() < 0.5:
                    self.escrow[number] += self.asked.pop(number)
            elif not self.escrow[number]:
                self.ask(number, first_escrow(self.budget.limit, PRICE, ZERO, self.budget.free()))
            elif is_low(self.escrow[number], self.signed[number], PRICE, self.rates[number]):
                part = self.rates[number] / sum(self.rates)
                fair = self.left.part_floor(self.rates[number], sum(self.rates))
                wanted = top_up(
                    self.escrow[number], self.signed[number], PRICE, self.rates[number],
                    int(remaining * part), fair,
                )  # fmt: skip
                self.ask(number, min(wanted, self.budget.free()))
            due = min(PRICE.cost_floor(self.rates[number] // 10), self.idle(number))
            self.signed[number] += due
            self.bytes[number] += due.bytes_at_floor(PRICE)

    def idle(self, number: int) -> Amount:
        return self.escrow[number] - self.signed[number]


rates = st.lists(st.integers(50_000, 10**7), min_size=2, max_size=8)


@settings(derandomize=True, max_examples=60)
@given(rates, st.integers(1000, 10**6), st.integers(1, 10**6))
def test_never_above_the_allowance_and_nobody_holds_more_than_its_part_while_another_starves(
    drawn: list[int], allowance: int, seed: int
) -> None:
    spread = Spread(drawn, allowance, 1024 * MIB, seed)
    unit = PRICE.cost_ceil(UNIT_MIN_BYTES)
    for _ in range(200):
        before = spread.left
        spread.tick()
        held = sum(one.utok for one in spread.escrow) + sum(a.utok for a in spread.asked.values())
        assert held == spread.budget.in_escrow.utok <= allowance
        starving = [
            n for n in range(len(drawn))
            if spread.escrow[n] and n not in spread.asked and spread.idle(n) < unit
            and not spread.budget.free()
        ]  # fmt: skip
        if not starving:
            continue
        for number, rate in enumerate(drawn):
            first = max(Amount(allowance // 20), unit)
            fair = before.part_floor(rate * 5, sum(drawn) * 4) + unit + unit
            slack = PRICE.cost_ceil(rate)  # what it held when the others' part was larger
            assert spread.idle(number) <= max(first, fair) + slack, number


@pytest.mark.parametrize("seed", range(5))
def test_a_small_allowance_goes_to_those_that_deliver(seed: int) -> None:
    """What the others hold of it at first is small, and they get no more than their part later."""
    spread = Spread([10 * MIB, *[100_000] * 7], 20_000, 1024 * MIB, seed)
    for _ in range(100):
        spread.tick()
    assert spread.signed[0].utok >= sum(one.utok for one in spread.signed) * 8 // 10
    assert sum(spread.idle(number).utok for number in range(1, 8)) <= 20_000 * 7 // 20


def test_a_top_up_is_its_part_of_what_is_left_where_that_does_not_pay_for_everything() -> None:
    generous = top_up(Amount(10_000), Amount(9_000), PRICE, MIB, 50 * MIB)
    fair = top_up(Amount(10_000), Amount(9_000), PRICE, MIB, 50 * MIB, Amount(4_000))
    assert generous == Amount(10_000)
    assert fair == Amount(4_000 + 1_000 + 63 - 1_000)
