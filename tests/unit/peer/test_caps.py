"""A buyer whose user has caps: never a µtok above them, sellers paid for what they delivered, and the
download goes on for free. A real buyer and a real seller; only the books of the caps are the test's own."""

from __future__ import annotations

import random

from speedpay.channel.life import State
from speedpay.market.bidder import Plan
from speedpay.market.budget import Rest, Span, Standing
from speedpay.peer.buyer import Buyer
from speedpay.peer.effects import Note
from speedpay.units import MIB, ZERO, Amount, MoneyClass, Price, Share
from tests.unit.peer.pair import Pair
from tests.vectors.generate import DOMAIN

PRICE = 40_000


class Capped(Pair):
    """A pair whose buyer has ``cap`` µtok for the day."""

    def __init__(self, cap: int, size: int = 4 * MIB) -> None:
        super().__init__(size, ask=1)
        plan = Plan(Share(1_000_000), Amount(100_000_000), size, size, fixed=Price(PRICE))
        self.buyer = Buyer(
            DOMAIN, plan, MoneyClass.CREDIT, self.piece_bytes, caps=self._permit, shade=False
        )
        self.cap, self.spent, self.rest = cap, 0, Rest()
        self.most = cap

    def standing(self) -> Standing:
        return Standing({Span.DAY: Amount(self.cap)}, {Span.DAY: Amount(self.spent)})

    def _permit(self, amount: Amount) -> Amount:
        granted = min(amount, self.standing().available)
        self.spent += granted.utok
        assert not granted or self.spent <= self.cap
        return granted

    def tick(self, seconds: float = 0.1) -> None:
        exposure = self.buyer.exposure(self.now)
        self.rest = self.rest.at(self.standing().available, exposure)
        self.perform("buyer", self.buyer.rests(bool(self.rest), self.now))
        super().tick(seconds)

    @property
    def accepted(self) -> int:
        return sum(channel.accepted.utok for channel in self.seller._channels.values())


def test_random_downloads_under_random_caps_pay_no_utok_above_them() -> None:
    made = random.Random(11)
    met = 0
    for _ in range(100):
        whole = PRICE * 4
        pair = Capped(
            made.choice((0, 1, made.randrange(whole), made.randrange(whole // 4), 2 * whole))
        )
        pair.meet()
        changes = {made.randrange(100): made.randrange(whole) for _ in range(made.randrange(3))}
        for step in range(64):
            if step in changes:
                pair.cap = changes[step]
                pair.most = max(pair.most, pair.cap)
            for _ in range(4):
                if pair.withheld:
                    break
                pair.block(pair.had // MIB, pair.had % MIB // (16 * 1024))
                pair.now += 0.004
            if pair.had and pair.had % MIB == 0:
                pair.buyer.piece_passed(pair.had // MIB - 1)
            pair.tick()
        assert pair.accepted == pair.spent == pair.buyer.spent.utok <= pair.most
        met += bool(pair.rest)
        assert not pair.withheld, "a buyer without money is served in the free lane"
    assert met > 25


def test_what_was_delivered_before_the_cap_is_paid_and_the_rest_is_free() -> None:
    pair = Capped(PRICE)
    pair.start()
    pair.download()
    assert pair.had == 4 * MIB
    assert PRICE // 2 < pair.accepted <= PRICE
    window = pair.buying.window
    assert window.due.floor().utok == pair.accepted, "nothing is left unpaid"
    assert pair.buyer.capped


def test_paying_goes_on_by_itself_once_there_is_more_to_spend() -> None:
    pair = Capped(PRICE // 4)
    pair.start()
    blocks = iter(range(256))
    while not pair.rest:
        pair.block(*divmod(next(blocks), 64))
        pair.tick(0.02)
    pair.tick()
    assert pair.sale.state is State.PAUSED
    assert pair.buying.state is State.PAUSED
    before = pair.accepted
    for _ in range(40):
        pair.block(*divmod(next(blocks), 64))
        pair.tick(1.0)
    assert pair.accepted == before
    pair.cap = 10 * PRICE
    pair.tick()
    pair.tick()
    assert pair.buying.state is State.ACTIVE
    for _ in range(40):
        pair.block(*divmod(next(blocks), 64))
        pair.tick(0.02)
    assert pair.accepted > before


def test_a_limit_that_is_lowered_below_the_escrow_holds_from_the_next_voucher() -> None:
    pair = Capped(10 * PRICE)
    pair.start()
    blocks = iter(range(256))
    while pair.accepted < PRICE // 8:
        pair.block(*divmod(next(blocks), 64))
        pair.tick(0.02)
    before = pair.accepted
    pair.buyer.limit(Amount(before + 5))
    for _ in range(20):
        if not pair.withheld:
            pair.block(*divmod(next(blocks), 64))
        pair.tick(0.02)
    assert before <= pair.accepted <= before + 5
    assert pair.sale.state is State.PAUSED
    (note,) = (note for note in pair.saw(Note) if isinstance(note, Note))
    assert "limit" in note.text
    pair.buyer.limit(None)
    for _ in range(60):
        if not pair.withheld:
            pair.block(*divmod(next(blocks), 64))
        pair.tick(0.1)
    assert pair.accepted > before + 5


def test_a_download_whose_allowance_was_spent_is_paid_again_once_its_limit_is_raised() -> None:
    pair = Capped(100 * PRICE)
    pair.buyer.limit(Amount(PRICE // 8))
    pair.start()
    blocks = iter(range(256))
    for _ in range(30):
        pair.block(*divmod(next(blocks), 64))
        pair.tick(0.02)
    spent = pair.accepted
    assert ZERO < Amount(spent) <= Amount(PRICE // 8)
    assert pair.sale.state is not State.ACTIVE
    (identity,) = pair.buyer.purse.channels
    pair.buyer.closed(identity, Amount(spent))
    pair.buyer.limit(Amount(PRICE))
    for _ in range(20):
        pair.tick()
    assert pair.sale.state is State.ACTIVE
