"""Which bids a quote asks about and which it shows, and how it says them."""

from __future__ import annotations

from speedpay.cli.quote import _as_json, _as_text
from speedpay.client.quoting import Lane, Quotation, _offers, _worth_showing
from speedpay.market.bidder import Explanation, Plan, explain
from speedpay.market.preview import Certainty, Prediction
from speedpay.units import MIB, NO_PRICE, ZERO, Amount, Price, Share

SIZE = 100 * MIB


def bid_of(balance: int) -> Explanation:
    plan = Plan(Share(250_000), Amount(balance), SIZE, SIZE).start()
    return explain(plan, ZERO, Amount(balance), SIZE)


def said(price: Price, seconds: float | None, cost: int = 0) -> Prediction:
    return Prediction(
        price, seconds, seconds, None if seconds is None else 2 * seconds,
        Amount(cost), ZERO, price.cost_ceil(SIZE), Certainty.GOOD, "2 of 2 peers answered",
    )  # fmt: skip


def test_parts_and_multiples_of_the_automatic_bid_are_asked_about_and_one_ask_above() -> None:
    bid = bid_of(4_000_000)  # 10,000 µtok/MiB
    assert [p.utok_per_mib for p in _offers(bid, [])] == [157, 625, 2500, 5000, 10_000, 20_000]
    asks = [Price(1), Price(90_000), Price(15_000), Price(30_000)]
    assert Price(15_000) in _offers(bid, asks)
    assert len(_offers(bid, asks)) == 7
    assert _offers(None, asks) == []


def test_no_part_of_a_tiny_bid_is_the_free_lane_twice() -> None:
    assert [p.utok_per_mib for p in _offers(bid_of(1600), [])] == [1, 2, 4, 8]


def test_half_automatic_and_double_are_shown_and_others_where_they_differ() -> None:
    bid = bid_of(4_000_000)
    seconds = {157: 63.0, 2500: 60.0, 5000: 31.0, 10_000: 20.0, 20_000: 19.0}
    found = [(Price(price), said(Price(price), s)) for price, s in seconds.items()]
    lanes = _worth_showing(said(NO_PRICE, 64.0), found, bid, Amount(4_000_000))
    assert [lane.name for lane in lanes] == ["free", "half", "automatic", "double"]
    faster = [found[0], (Price(2500), said(Price(2500), 40.0)), *found[2:]]
    lanes = _worth_showing(said(NO_PRICE, 64.0), faster, bid, Amount(4_000_000))
    assert [lane.name for lane in lanes] == ["free", "other", "half", "automatic", "double"]


def test_what_could_cost_more_than_there_is_is_not_shown() -> None:
    bid = bid_of(4_000_000)
    found = [(price, said(price, 20.0)) for price in _offers(bid, [])]
    lanes = _worth_showing(said(NO_PRICE, 64.0), found, bid, Amount(1_500_000))
    assert [lane.name for lane in lanes] == ["free", "other", "half", "automatic"]
    assert lanes[1].prediction.price == Price(157)


def test_a_quote_is_a_table_with_its_reasons_once() -> None:
    lanes = (
        Lane("free", said(NO_PRICE, 640.0)),
        Lane("automatic", said(Price(10_000), 16.0, 500_000)),
        Lane("double", said(Price(20_000), None)),
    )
    found = Quotation("a\x1b[2J", SIZE, SIZE, 2, 2, 4.0, MIB, bid_of(4_000_000), lanes)
    assert _as_text(found).splitlines() == [
        "a: 100.0 MiB, 2 peers, 1.0 MiB/s free as measured for 4 s",
        "  lane       pays up to     takes                      costs             sure",
        "  free       nothing        11 min (11 min to 21 min)  nothing           good",
        "  automatic  10.24 tok/GiB  16 s (16 s to 32 s)        0.5 tok (0 to 1)  good",
        "  double     20.48 tok/GiB  not known                  at most 2 tok     good",
        "  2 of 2 peers answered",
    ]
    assert _as_json(found)["lanes"][2] == {  # type: ignore[index]
        "lane": "double", "price_utok_per_mib": 20_000, "seconds": None, "low_seconds": None,
        "high_seconds": None, "cost_utok": "0", "low_cost_utok": "0",
        "high_cost_utok": "2000000", "sure": "good", "why": "2 of 2 peers answered",
    }  # fmt: skip


def test_without_money_only_the_free_lane_is_said() -> None:
    lanes = _worth_showing(said(NO_PRICE, 64.0), [], None, ZERO)
    found = Quotation("a", SIZE, SIZE, 2, 2, 0.0, 0, None, lanes)
    assert _as_text(found).splitlines()[-1] == "  there is nothing in the account to bid with"
