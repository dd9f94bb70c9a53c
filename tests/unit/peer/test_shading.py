"""One sale whose bid is shaded, with a seller that says the truth, one that lies, and a silent one."""

from __future__ import annotations

import pytest

from speedpay.channel.life import State
from speedpay.market.allocator import Demand
from speedpay.market.bidder import REBIDS_PER_MINUTE, Plan
from speedpay.market.gain import Rules
from speedpay.market.shading import CHECK_S, PROBE_S, least
from speedpay.peer.effects import Send
from speedpay.peer.messages import Bid, Inquiry, Prospect
from speedpay.peer.offers import ANSWER_S
from speedpay.units import MIB, NO_PRICE, Amount, Price, Share
from tests.unit.peer.pair import Pair

SIZE = 512 * MIB
BLOCKS_A_TICK = 8  # of 16 KiB, ten times a second


def pair_of(ask: int = 1000, **plan: object) -> Pair:
    money = Plan(Share(250_000), Amount(100_000_000), SIZE, SIZE, **plan)  # type: ignore[arg-type]
    pair = Pair(size=SIZE, ask=ask, plan=money, rules=Rules(cost=0.0))
    pair.seller.uplink = 16 * MIB
    return pair


def bids(pair: Pair) -> list[Price]:
    return [message.price for message in pair.sent if isinstance(message, Bid)]


def run(pair: Pair, seconds: float, blocks: int = BLOCKS_A_TICK) -> None:
    """Blocks arrive evenly; pieces are verified as they are complete."""
    for _ in range(int(seconds * 10)):
        for _ in range(blocks):
            if not pair.withheld:
                piece, index = divmod(pair.had // 16384, 64)
                pair.block(piece, index)
                if index == 63:
                    pair.buyer.piece_passed(piece)
                    pair.buyer.remaining_bytes -= MIB
        pair.tick()


def test_alone_it_pays_the_ask_from_the_first_bid_on() -> None:
    pair = pair_of(ask=1000).start()
    assert pair.buyer.explain().price > Price(40_000)
    run(pair, 10)
    assert set(bids(pair)) == {Price(1000)}
    assert pair.sale.state is State.ACTIVE
    assert pair.buyer.spent <= Price(1000).cost_ceil(pair.had)


def test_without_an_ask_it_pays_a_small_part_of_the_maximum() -> None:
    pair = pair_of(ask=0).start()
    assert bids(pair) == [least(NO_PRICE, pair.buyer.explain().price)]
    run(pair, 2)
    assert pair.buyer.spent


def test_a_competitor_is_answered_within_the_time_between_bids_and_never_above_the_maximum() -> (
    None
):
    pair = pair_of().start()
    run(pair, 6)
    maximum = pair.buyer.explain().price
    rival = Demand(2, maximum, "rival")
    honest = pair.seller.demands
    pair.seller.demands = lambda now: [*honest(now), rival]  # type: ignore[method-assign]
    run(pair, 10)
    assert bids(pair)[0] == Price(1000)
    assert bids(pair)[-1] >= Price(maximum.utok_per_mib * 8 // 10)
    assert max(bids(pair)) <= pair.buyer.explain().price


def test_a_fixed_price_is_committed_as_it_is() -> None:
    pair = pair_of(fixed=Price(7777)).start()
    run(pair, 30)
    assert set(bids(pair)) == {Price(7777)}
    assert not any(isinstance(message, Inquiry) for message in pair.sent)


def silent(pair: Pair) -> None:
    """The seller's answers are lost."""
    said = pair.say
    pair.say = lambda side, message, by=None: (  # type: ignore[method-assign]
        None if isinstance(message, Prospect) else said(side, message, by)
    )


def test_a_seller_that_does_not_answer_is_bid_the_maximum_and_then_less_as_long_as_it_is_as_fast() -> (
    None
):
    pair = pair_of()
    silent(pair)
    pair.meet()
    maximum = pair.buyer.explain().price
    assert bids(pair) == []
    for _ in range(int(ANSWER_S * 10) + 5):
        pair.tick()
    assert bids(pair) == [maximum]
    assert pair.sale.state is State.ACTIVE
    run(pair, PROBE_S + 2 * CHECK_S)
    assert bids(pair)[1] == Price(maximum.utok_per_mib * 3 // 4)
    run(pair, PROBE_S + CHECK_S)
    assert bids(pair)[2] < bids(pair)[1]


def test_a_lower_price_that_costs_speed_is_taken_back() -> None:
    pair = pair_of()
    silent(pair)
    pair.meet()
    run(pair, PROBE_S)
    while len(bids(pair)) == 1:
        run(pair, 0.1)
    run(pair, 3 * CHECK_S, blocks=BLOCKS_A_TICK // 2)
    assert len(bids(pair)) == 3
    assert bids(pair)[2] >= bids(pair)[0] > bids(pair)[1]
    run(pair, 40, blocks=BLOCKS_A_TICK)
    assert len(bids(pair)) == 3, "it is held for a minute"


@pytest.mark.parametrize("lie", ["only the most buys anything", "anything is enough", "noise"])
def test_a_liar_is_paid_at_most_what_the_formula_says_and_hears_few_bids(lie: str) -> None:
    pair = pair_of()
    answer = pair.seller.message

    def lying(connection, number, message, now, utc):  # type: ignore[no-untyped-def]
        if not isinstance(message, Inquiry):
            return answer(connection, number, message, now, utc)
        count = len(message.prices)
        rates = {
            "only the most buys anything": (*[0] * (count - 1), 2**40),
            "anything is enough": (2**40,) * count,
            "noise": tuple(hash((n, int(now))) % 2**40 for n in range(count)),
        }[lie]
        return [Send(connection, Prospect(message.inquiry_id, rates, 0, 2**40))]

    pair.seller.message = lying  # type: ignore[method-assign]
    pair.meet()
    begin, maximum = pair.now, pair.buyer.explain().price
    run(pair, 60)
    sent = [message for message in pair.sent if isinstance(message, Bid)]
    assert all(bid.price <= Price(maximum.utok_per_mib * 3 // 2) for bid in sent)
    assert len(sent) <= (pair.now - begin) / 60 * REBIDS_PER_MINUTE + 2
    assert pair.buyer.spent <= Price(maximum.utok_per_mib * 3 // 2).cost_ceil(pair.had)
