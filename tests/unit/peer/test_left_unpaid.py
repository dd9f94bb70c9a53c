"""What a buyer can leave unpaid, by its window, its channel and its place, whatever it bids meanwhile."""

from __future__ import annotations

import pytest

from speedpay.channel.voucher import Voucher
from speedpay.errors import ChannelClosed
from speedpay.market.debts import ALLOWED_BYTES
from speedpay.market.metering import BLOCK_BYTES
from speedpay.market.window import FORGIVEN_BYTES, WINDOW_MIN_BYTES, Window
from speedpay.peer.effects import Send
from speedpay.peer.messages import Bid, Open, StopMessage, VoucherMessage
from speedpay.peer.seller import Seller, Terms
from speedpay.units import MIB, ZERO, Amount, MoneyClass, Price, Share
from tests.unit.peer.pair import UTC, statement
from tests.vectors.generate import CERTIFICATES, DOMAIN, PAYEE, key

LOW, HIGH = Price(1000), Price(2**40)
ESCROW, ANY = Amount(10**9), Amount(2**60)
PLACE = "192.0.2.1"


class Taker:
    """Buys from a real seller by hand: connection ``at`` shows channel ``number``."""

    def __init__(self, risk_cap: Amount = ANY) -> None:
        self.seller = Seller(
            DOMAIN, CERTIFICATES,
            Terms(Price(1), frozenset(MoneyClass), Share(250_000), risk_cap=risk_cap),
        )  # fmt: skip
        self.at = 0
        self.said = 0

    def connect(self, number: int, bid: Price = LOW, signed: Amount = ZERO) -> None:
        self.at, self.said = self.at + 1, 0
        self.seller.met(self.at, PAYEE, PLACE, True, UTC)
        self.bid(bid)
        self.show(number, signed)

    def show(self, number: int, signed: Amount = ZERO) -> None:
        opened = statement(number, ESCROW, UTC + 80_000)
        self.said += 1
        effects = self.seller.message(
            self.at, self.said, Open(opened.statement, opened.signature, signed), 0.0, UTC
        )
        for at, effect in enumerate(effects, 2):
            if isinstance(effect, Send):
                self.seller.left(self.at, at, effect.message)

    def bid(self, price: Price) -> None:
        self.said += 1
        self.seller.message(self.at, self.said, Bid(self.said, price, 0, 180), 0.0, UTC)

    def pay(self, number: int, utok: int, refused: int = 0) -> None:
        channel = statement(number, ESCROW, UTC + 80_000).statement.channel
        made = Voucher.sign(key(f"channel {number}"), DOMAIN, channel, Amount(utok))
        self.said += 1
        self.seller.message(
            self.at, self.said,
            VoucherMessage(channel, made.cumulative, made.signature, 0, refused), 0.0, UTC,
        )  # fmt: skip

    def take(self, asked_after: int | None = None, most: int = 8 * MIB) -> int:
        """Blocks until the window is full; bytes."""
        buying, taken = self.seller._buying[self.at], 0
        while not buying.withheld and taken < most:
            after = self.said if asked_after is None else asked_after
            self.seller.served(self.at, BLOCK_BYTES, after, 99, 0.0)
            taken += BLOCK_BYTES
        return taken

    def leave(self) -> None:
        self.seller.gone(self.at, 0.0)

    @property
    def owed(self) -> int:
        return self.seller._debts.owed(PLACE, 0.0)


def test_a_bid_raised_in_mid_window_does_not_widen_it_for_what_was_asked_for_before():
    taker = Taker()
    taker.connect(1)
    low = taker.said
    assert taker.take() == WINDOW_MIN_BYTES
    taker.bid(HIGH)
    assert taker.take(asked_after=low) <= BLOCK_BYTES


def test_refused_bytes_are_forgiven_at_the_price_at_which_they_were_billed():
    taker = Taker()
    taker.connect(1)
    low = taker.said
    taker.pay(1, 1, refused=FORGIVEN_BYTES)
    taker.bid(HIGH)
    assert taker.take(asked_after=low) <= FORGIVEN_BYTES + WINDOW_MIN_BYTES + 2 * BLOCK_BYTES


def test_the_window_does_not_grow_by_payments_at_a_bid_lowered_for_them():
    taker = Taker()
    taker.connect(1)
    taken = 0
    for paid in range(1, 9):
        taken += taker.take()
        taker.bid(Price(1))
        taker.pay(1, paid)
        taker.bid(LOW)
    assert taken <= WINDOW_MIN_BYTES + BLOCK_BYTES


@pytest.mark.parametrize("last", ["leaves", "bids high and leaves", "stops", "says it was refused"])
def test_what_is_left_unpaid_is_counted_however_the_sale_ends(last: str):
    taker = Taker()
    taker.connect(1)
    taken = taker.take()
    channel = statement(1, ESCROW, UTC + 80_000).statement.channel
    if last == "bids high and leaves":
        taker.bid(HIGH)
    elif last == "stops":
        taker.seller.message(1, 9, StopMessage(channel, ZERO, 0), 0.0, UTC)
    elif last == "says it was refused":
        taker.seller.message(1, 9, VoucherMessage(channel, ZERO, bytes(64), 0, MIB), 0.0, UTC)
    taker.leave()
    assert taker.owed == taken


def test_who_comes_back_with_a_claim_owes_no_less_until_it_has_paid():
    taker = Taker()
    taker.connect(1)
    taken = taker.take()
    taker.leave()
    taker.connect(1, Price(1), Amount(1))
    taker.bid(HIGH)
    taker.leave()
    assert taken - BLOCK_BYTES <= taker.owed <= taken


def test_who_comes_back_and_pays_owes_nothing():
    taker = Taker()
    taker.connect(1)
    taken = taker.take()
    taker.leave()
    cost = LOW.cost_ceil(taken)
    taker.connect(1, LOW, cost)
    taker.pay(1, cost.utok)
    taker.leave()
    assert taker.owed == 0


def test_a_channel_that_left_too_much_is_not_taken_again_by_a_higher_bid():
    taker, taken = Taker(), 0
    while taken <= FORGIVEN_BYTES:
        taker.connect(1, HIGH)
        taker.bid(LOW)
        taken += taker.take()
        taker.leave()
    with pytest.raises(ChannelClosed):
        taker.connect(1, HIGH)


def test_a_fast_buyer_that_paid_for_much_and_vanishes_does_not_shut_out_its_neighbours():
    taker = Taker()
    taker.connect(1)
    due = 0
    for _ in range(40):
        due += taker.take(most=64 * MIB)
        taker.pay(1, LOW.cost_ceil(due).utok)
    taken = taker.take(most=64 * MIB)
    assert taken > 2 * ALLOWED_BYTES
    taker.leave()
    assert taker.owed == 0


def test_who_does_not_pay_holds_up_no_others_by_what_may_be_unredeemed():
    taker = Taker(Amount(10_000_000))
    taker.connect(1, Price(10_000_000))
    assert 0 < taker.take() < WINDOW_MIN_BYTES
    taker.seller.tick(1.0, UTC)
    taker.bid(Price(10_000_000))
    taker.seller.tick(62.0, UTC)
    assert taker.seller._buying[1].channel is None


@pytest.mark.parametrize("price", [*range(1, 40), 1000, 2**40])
def test_what_a_full_window_lets_out_is_enough_to_pay_for_in_whole_blocks(price: int):
    window, at, sent, paid = Window(), Price(price), 0, 0
    while sent < 4 * MIB:
        room = window.room_bytes(at, Amount(2**50))
        assert room, f"stuck after {sent} bytes"
        sent += room
        window = window.served(room, at)
        payable = at.cost_floor(sent // BLOCK_BYTES * BLOCK_BYTES).utok
        assert payable > paid, f"nothing to pay after {sent} bytes"
        window = window.paid_up(Amount(payable - paid), 0, at)
        paid = payable
