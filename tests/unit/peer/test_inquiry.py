"""Asking what a price would get: what a seller answers, and what a buyer takes for an answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedpay.channel.life import State
from speedpay.errors import Malformed, OverLimit
from speedpay.market.allocator import Demand
from speedpay.market.quote import expected_rates
from speedpay.peer.effects import Send
from speedpay.peer.inquirer import PATIENCE_S, Inquirer
from speedpay.peer.messages import MAX_RATE, Bid, Inquiry, Prospect, Quote
from speedpay.units import MIB, NO_PRICE, Price, Share
from tests.unit.peer.pair import Pair

POOL = Share(250_000)


def answer_of(pair: Pair, inquiry: Inquiry) -> Prospect:
    told = pair.seller.message(1, 9, inquiry, pair.now, pair.utc)
    assert len(told) == 1
    assert isinstance(told[0], Send)
    assert isinstance(told[0].message, Prospect)
    return told[0].message


def test_a_seller_says_what_each_price_would_get_beside_everybody_else() -> None:
    pair = Pair(ask=1000).start()
    pair.seller.uplink = 16 * MIB
    pair.seller.ordinary = [Demand(7, NO_PRICE, "seven"), Demand(8, NO_PRICE, "eight")]
    bid = pair.buyer.explain().price
    own = bid.utok_per_mib
    answer = answer_of(pair, Inquiry(5, (NO_PRICE, Price(999), bid, Price(2 * own))))
    # Alone as a payer: three quarters whatever it pays; unpaid, or below the ask: a third.
    third, most = 16 * MIB // 3, 12 * MIB
    assert answer == Prospect(5, (third, third, most, most), 3, 16 * MIB)


def test_the_answer_counts_the_other_payers_at_the_prices_they_committed_to() -> None:
    others = [Demand(2, Price(3000), "two"), Demand(3, NO_PRICE, "three")]
    asked = [Price(1000), Price(3000), NO_PRICE]
    rates = expected_rates(others, Demand(1, NO_PRICE, "one"), asked, Price(1), POOL, 8_000_000)
    assert rates == (1_500_000, 3_000_000, 1_000_000)


@settings(derandomize=True)
@given(
    st.lists(st.integers(0, 10**9), max_size=12),
    st.lists(st.integers(0, 10**9), min_size=1, max_size=8),
    st.integers(0, 10**9),
    st.integers(0, 2**40),
)
def test_a_higher_price_is_never_told_less(
    crowd: list[int], asked: list[int], ask: int, uplink: int
) -> None:
    others = [Demand(n + 2, Price(price), str(n)) for n, price in enumerate(crowd)]
    prices = [Price(price) for price in sorted(asked)]
    paid = [price for price in prices if price and price >= Price(ask)]
    rates = expected_rates(others, Demand(1, NO_PRICE, "one"), prices, Price(ask), POOL, uplink)
    told = rates[len(prices) - len(paid) :]
    assert list(told) == sorted(told)
    assert all(0 <= rate <= uplink for rate in rates)


def test_an_inquiry_changes_nothing() -> None:
    pair = Pair().start()
    before = pair.seller.demands(pair.now), pair.buying.bids, pair.buying.state
    answer_of(pair, Inquiry(1, (Price(10**12),)))
    assert (pair.seller.demands(pair.now), pair.buying.bids, pair.buying.state) == before


def test_a_seller_that_does_not_know_its_uplink_says_so() -> None:
    pair = Pair().start()
    assert answer_of(pair, Inquiry(1, (NO_PRICE, Price(5000)))) == Prospect(1, (0, 0), 1, 0)


def test_an_uplink_beyond_the_message_is_said_as_the_largest() -> None:
    pair = Pair().start()
    pair.seller.uplink = 2**50
    assert answer_of(pair, Inquiry(1, (Price(5000),))) == Prospect(1, (MAX_RATE,), 1, MAX_RATE)


def test_inquiries_have_a_bound_of_their_own() -> None:
    pair = Pair().start()
    for number in range(8):
        answer_of(pair, Inquiry(number + 1, (NO_PRICE,)))
    with pytest.raises(OverLimit):
        pair.seller.message(1, 9, Inquiry(9, (NO_PRICE,)), pair.now, pair.utc)
    pair.now += 1.0
    answer_of(pair, Inquiry(10, (NO_PRICE,)))


def test_a_quote_counts_peers_that_do_not_speak_our_protocol() -> None:
    pair = Pair(ask=1000)
    pair.meet()
    pair.seller.ordinary = [Demand(7, NO_PRICE, "seven")]
    pair.perform("seller", pair.seller.message(1, 2, Bid(1, Price(5000), 1, 180), 0.0, pair.utc))
    quote = pair.sent[-1]
    assert isinstance(quote, Quote)
    assert (quote.expected_share, quote.load) == (Share(750_000), 2)


def test_a_buyer_keeps_the_answer_to_what_it_asked() -> None:
    pair = Pair(shade=False).start()
    pair.seller.uplink = 8 * MIB
    pair.perform("buyer", pair.buyer.inquirer.ask(1, [NO_PRICE, Price(5000)], pair.now))
    answer = pair.buyer.inquirer.answers[1]
    assert answer.rates == {NO_PRICE: 8 * MIB, Price(5000): 8 * MIB}
    assert (answer.load, answer.uplink, answer.at) == (1, 8 * MIB, pair.now)
    assert pair.sale.state is State.ACTIVE
    pair.buyer.gone(1)
    assert not pair.buyer.inquirer.answers


def test_what_nobody_asked_for_is_ignored() -> None:
    inquirer = Inquirer()
    inquirer.heard(1, Prospect(1, (5,), 1, 5), 0.0)
    inquirer.ask(1, [Price(7)], 0.0)
    inquirer.heard(2, Prospect(1, (5,), 1, 5), 0.1)  # from another
    inquirer.heard(1, Prospect(2, (5,), 1, 5), 0.1)  # of another number
    assert not inquirer.answers
    inquirer.heard(1, Prospect(1, (5,), 1, 5), 0.2)
    inquirer.heard(1, Prospect(1, (9,), 1, 9), 0.3)  # a second answer
    assert inquirer.answers[1].rates == {Price(7): 5}


def test_an_answer_of_another_length_is_refused() -> None:
    inquirer = Inquirer()
    inquirer.ask(1, [Price(7), Price(8)], 0.0)
    with pytest.raises(Malformed) as refused:
        inquirer.heard(1, Prospect(1, (5,), 1, 5), 0.1)
    assert refused.value.field == "prospect.rates"
    assert not inquirer.answers


def test_a_silent_seller_is_asked_again_only_after_a_while() -> None:
    inquirer = Inquirer()
    assert inquirer.ask(1, [Price(7)], 0.0)
    assert not inquirer.ask(1, [Price(7)], PATIENCE_S - 0.1)
    assert inquirer.ask(1, [Price(7)], PATIENCE_S)
    inquirer.heard(1, Prospect(2, (5,), 1, 5), PATIENCE_S + 0.1)
    assert not inquirer.ask(1, [Price(8)], PATIENCE_S + 0.5)
    assert inquirer.ask(1, [Price(8)], PATIENCE_S + 1.0)
