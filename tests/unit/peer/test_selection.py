"""Eight places for more sellers: by what they give and promise, and now and then one that is unknown."""

from __future__ import annotations

from dataclasses import replace

from speedpay.channel.life import State
from speedpay.market.explore import EXPLORE_S
from speedpay.peer.inquirer import Answer
from speedpay.peer.sale import Rate, Sale, Trail
from speedpay.peer.selection import (
    MAX_PAID_CHANNELS,
    PROVE_S,
    TRIAL_S,
    Explorer,
    View,
    to_make_room,
)
from speedpay.units import KIB, MIB, NO_PRICE, Price
from tests.unit.peer.pair import Pair
from tests.vectors.generate import key

MAXIMUM = Price(1000)
NOW = 1000.0


def paid(number: int, rate: int, since: float = 100.0) -> Sale:
    sale = Sale(number, State.ACTIVE, True, price=MAXIMUM, paid_once=True, active_since=NOW - since)
    sale.rate = Rate(last=rate)
    return sale


def unpaid(number: int, rate: int = 0) -> Sale:
    return replace(paid(number, rate), state=State.PRICED, paid_once=False, rate=Rate(last=rate))


def answer(rate: int, uplink: int = 100 * MIB) -> Answer:
    return Answer({NO_PRICE: rate // 10, MAXIMUM: rate}, 9, uplink, NOW)


def view(answers: dict[int, Answer] | None = None, later: float = 0.0) -> View:
    return View(MAXIMUM, answers or {}, NOW + later)


def test_a_fast_seller_that_came_ninth_has_a_place_before_the_others_had_time_to_show_theirs() -> (
    None
):
    places = [paid(number, 0, since=0.1) for number in range(1, MAX_PAID_CHANNELS + 1)]
    told = {sale.connection: answer(400 * KIB) for sale in places}
    origin = unpaid(9)
    assert to_make_room([*places, origin], origin, view(told)) is None
    found = to_make_room([*places, origin], origin, view(told | {9: answer(12 * MIB)}))
    assert found in places


def test_a_seller_without_a_word_has_time_to_show_what_it_can() -> None:
    places = [paid(number, 0, since=0.1) for number in range(1, MAX_PAID_CHANNELS + 1)]
    origin, told = unpaid(9), {9: answer(12 * MIB)}
    assert to_make_room([*places, origin], origin, view(told)) is None
    assert to_make_room([*places, origin], origin, view(told, later=PROVE_S)) in places


def test_a_promise_is_held_against_the_uplink_and_forgotten_once_it_was_not_kept() -> None:
    boaster = unpaid(1, rate=5)
    assert view({1: answer(2**40, uplink=MIB)}).rate(boaster) == MIB
    proven = paid(1, 5)
    assert view({1: answer(2**40)}).rate(proven) == 5
    boaster.overstated = True
    assert view({1: answer(2**40)}).rate(boaster) == 5


def test_an_unknown_seller_is_tried_and_gives_its_place_back_if_it_is_no_better() -> None:
    explorer, small = Explorer(b"seed"), paid(8, 100 * KIB)
    places = [*(paid(number, MIB) for number in range(1, 8)), small]
    strangers = [unpaid(number) for number in (20, 21)]
    everyone = [*places, *strangers]
    assert explorer.gives_way(everyone, strangers, view()) is None, "not at once"
    assert explorer.gives_way(everyone, strangers, view(later=EXPLORE_S)) is small
    (tried,) = [sale for sale in strangers if explorer.chosen(sale.connection)]
    assert explorer.gives_way(everyone, strangers, view(later=2 * EXPLORE_S)) is None, (
        "one at a time"
    )
    sales = {sale.connection: sale for sale in everyone}
    assert explorer.failed(sales, view(later=EXPLORE_S + 1)) is None
    tried.state, tried.active_since, tried.rate = State.ACTIVE, NOW + EXPLORE_S, Rate(last=50 * KIB)
    assert explorer.failed(sales, view(later=EXPLORE_S + PROVE_S)) is None
    assert explorer.failed(sales, view(later=EXPLORE_S + PROVE_S + 0.1)) == (tried, small)
    assert not explorer.chosen(tried.connection)


def test_a_trial_that_does_better_stays_and_one_that_never_begins_ends() -> None:
    for rate, ends in ((MIB, None), (None, TRIAL_S)):
        explorer, small, stranger = Explorer(b"seed"), paid(8, 100 * KIB), unpaid(20)
        places = [*(paid(number, MIB) for number in range(1, 8)), small]
        sales = {sale.connection: sale for sale in (*places, stranger)}
        explorer.gives_way(sales.values(), [stranger], view())
        assert explorer.gives_way(sales.values(), [stranger], view(later=EXPLORE_S)) is small
        if rate is not None:
            stranger.state, stranger.active_since = State.ACTIVE, NOW + EXPLORE_S
            stranger.rate = Rate(last=rate)
        found = explorer.failed(sales, view(later=EXPLORE_S + (ends or PROVE_S + 1)))
        assert found == ((stranger, small) if ends else None)


def test_nobody_that_brings_much_gives_way_to_an_unknown_one() -> None:
    explorer, stranger = Explorer(b""), unpaid(20)
    places = [paid(number, MIB) for number in range(1, 5)]
    explorer.gives_way([*places, stranger], [stranger], view())
    assert explorer.gives_way([*places, stranger], [stranger], view(later=2 * EXPLORE_S)) is None


def test_a_buyer_with_full_places_tries_a_stranger_within_its_time() -> None:
    pair = Pair(shade=False).start()
    others = {
        number: replace(
            pair.sale,
            connection=number,
            rate=Rate(last=MIB),
            bids=list(pair.sale.bids),
            trail=Trail(),
        )
        for number in range(2, MAX_PAID_CHANNELS + 1)
    }
    stranger = replace(
        pair.sale, connection=99, state=State.PRICED, quoted=True, channel=None, key=None,
        rate=Rate(), paid_once=False, trail=Trail(),
    )  # fmt: skip
    pair.buyer.sales |= others | {99: stranger}
    pair.buyer.inquirer.answers.clear()
    pair.buyer.tick(pair.now)
    pair.now += EXPLORE_S + 1
    pair.buyer.tick(pair.now)
    stopped = [s.connection for s in pair.buyer.sales.values() if s.state is State.STOPPED]
    assert stopped == [1], "it brought nothing"


def test_of_many_that_only_promise_one_at_a_time_has_a_place_and_loses_it_again() -> None:
    pair = Pair(shade=False).start()
    pair.now += 2 * PROVE_S
    pair.buyer.tick(pair.now)
    pair.sale.active_since, pair.sale.rate = NOW - 100, Rate(last=MIB)
    assert pair.sale.ask is not None
    honest = {
        number: replace(pair.sale, connection=number, rate=Rate(last=MIB), trail=Trail())
        for number in range(2, MAX_PAID_CHANNELS + 1)
    }
    liars = {
        number: replace(
            pair.sale, connection=number, state=State.PRICED, quoted=True, channel=None, key=None,
            ask=replace(pair.sale.ask, payee_key=key(f"liar {number}").public), rate=Rate(),
            trail=Trail(), paid_once=False,
        )
        for number in range(90, 98)
    }  # fmt: skip
    pair.buyer.sales |= honest | liars
    price = pair.sale.price
    pair.buyer.inquirer.answers |= {
        number: Answer({price: 100 * MIB}, 9, 100 * MIB, pair.now) for number in liars
    }
    for _ in range(10):
        pair.now += 0.1
        pair.buyer.tick(pair.now)
    states = [sale.state for number, sale in pair.buyer.sales.items() if number not in liars]
    assert states.count(State.STOPPED) == 1
    (tried,) = [sale for sale in pair.buyer.sales.values() if sale.state is State.OPENING]
    (gone,) = [sale for sale in pair.buyer.sales.values() if sale.state is State.STOPPED]
    pair.now += TRIAL_S
    pair.buyer.tick(pair.now)
    assert tried.overstated
    assert gone.retry_at <= pair.now, "it need not rest"
