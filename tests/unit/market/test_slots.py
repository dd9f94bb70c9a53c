"""Payers are served beside the slots; those are the free lane's and divide all of its pool."""

from __future__ import annotations

from fractions import Fraction

from speedpay.market.allocator import DEFAULT_FREE_POOL, Demand
from speedpay.market.slots import serve
from speedpay.units import NO_PRICE, Price


def payers(*prices: int) -> list[Demand]:
    return [
        Demand(number, Price(price), f"10.0.0.{number}") for number, price in enumerate(prices, 1)
    ]


def free(count: int) -> list[Demand]:
    return [Demand(100 + number, NO_PRICE, f"10.1.0.{number}") for number in range(count)]


def test_those_who_have_a_slot_divide_all_of_the_free_pool():
    found = serve([*payers(*[1000] * 8), *free(20)], DEFAULT_FREE_POOL, free_slots=4)
    of_free = {found[100 + number] for number in range(20)}
    assert len(of_free) == 1
    weight = of_free.pop()
    paid = sum(found[number] for number in range(1, 9))
    assert Fraction(4 * weight, 4 * weight + paid) >= Fraction(1, 4)
    assert Fraction(4 * weight, 4 * weight + paid) < Fraction(3, 10)


def test_where_nobody_pays_all_weigh_the_same():
    found = serve(free(30), DEFAULT_FREE_POOL, free_slots=4)
    assert len(set(found.values())) == 1


def test_nobody_wants_anything():
    found = serve([], DEFAULT_FREE_POOL, free_slots=4)
    assert dict(found) == {}


def test_one_place_with_many_connections_does_not_shrink_the_others_part_of_the_pool():
    crowd = [Demand(200 + number, NO_PRICE, "10.2.0.1") for number in range(50)]
    honest = free(3)
    found = serve([*payers(1000, 1000), *crowd, *honest], DEFAULT_FREE_POOL, free_slots=4)
    alone = serve([*payers(1000, 1000), *honest, crowd[0]], DEFAULT_FREE_POOL, free_slots=4)
    assert found[100] == alone[100]


def test_whichever_connections_of_a_place_are_served_they_divide_its_part():
    crowd = [Demand(200 + number, NO_PRICE, "10.2.0.1") for number in range(20)]
    found = serve([*payers(1000), *free(1), *crowd], DEFAULT_FREE_POOL, free_slots=4)
    assert len({found[demand.connection] for demand in crowd}) == 1
    honest, each, paid = (found[number] for number in (100, 200, 1))
    # The crowd has three of the four slots.
    assert Fraction(honest, honest + 3 * each) >= Fraction(49, 100)
    assert Fraction(honest + 3 * each, honest + 3 * each + paid) < Fraction(3, 10)
