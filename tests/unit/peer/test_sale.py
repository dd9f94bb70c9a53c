"""Buyer and seller together, and each refusal and each way in which a sale could stick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedpay.channel.life import State
from speedpay.channel.voucher import Voucher
from speedpay.errors import (
    AboveEscrow,
    BadSignature,
    ChannelClosed,
    ChannelUnknown,
    OutOfOrder,
    OverLimit,
    Refused,
    Stale,
    WrongChannel,
    WrongLedger,
)
from speedpay.market.bidder import Plan
from speedpay.market.gain import Rules
from speedpay.market.metering import BLOCK_BYTES, on_account_limit
from speedpay.peer.bids import keep_bids, price_in_force
from speedpay.peer.collecting import KEEP_IDLE_S
from speedpay.peer.effects import (
    AddEscrow,
    AwaitClose,
    Ban,
    LockEscrow,
    Note,
    Redeem,
    SavePayee,
    SavePayer,
    Send,
)
from speedpay.peer.funding import CONFIRM_S, ROLL_S
from speedpay.peer.messages import (
    Ack,
    Ask,
    Bid,
    ErrorMessage,
    Message,
    Open,
    Pause,
    Quote,
    Resume,
    StopMessage,
    TopUp,
    VoucherMessage,
)
from speedpay.peer.sale import Rate
from speedpay.peer.selection import MAX_PAID_CHANNELS, PROVE_S
from speedpay.peer.seller import Seller, Terms
from speedpay.signing import Domain
from speedpay.units import KIB, MIB, ZERO, Amount, MoneyClass, Price, Share
from tests.unit.peer.pair import UTC, Pair, statement
from tests.vectors.generate import CERTIFICATES, DOMAIN, PAYEE, key

TOO_EARLY = Voucher.sign(key("channel 1"), DOMAIN, bytes(32), Amount(1))


# -------------------------------------------------------------------------------------- whole sales


@pytest.mark.parametrize(
    ("size", "piece_bytes"), [(64 * MIB, 16 * MIB), (4 * MIB, 16 * 1024), (16 * MIB, MIB)]
)
def test_a_torrent_from_one_seller_completes_paid_to_the_last_unit(
    size: int, piece_bytes: int
) -> None:
    price = Price(24_414)
    plan = Plan(Share(250_000), Amount(10_000_000), size, size, fixed=price)
    pair = Pair(size=size, piece_bytes=piece_bytes, plan=plan, rules=Rules(cost=0.0)).start()
    pair.download()
    saved = [e.channel for e in pair.told if isinstance(e, SavePayee)][-1]
    assert saved.accepted == pair.buyer.spent
    assert price.cost_floor(size).utok - 1 <= saved.accepted.utok <= price.cost_floor(size).utok
    assert pair.sale.state is State.STOPPED
    assert [e.channel for e in pair.told if isinstance(e, Redeem) and e.close] == [
        saved.statement.channel
    ]


@pytest.mark.parametrize("balance", [40, 100, 1000, 10_000])
def test_the_lowest_prices_are_paid_without_sticking(balance: int) -> None:
    pair = Pair(size=8 * MIB, balance=balance, ask=1)
    pair.start()
    pair.download()
    assert pair.buyer.spent.utok <= balance // 4
    assert pair.buyer.spent.utok >= balance // 4 * 8 // 10


def test_the_price_of_a_block_is_that_of_its_request() -> None:
    bids = keep_bids(keep_bids(keep_bids([], 3, Price(30)), 5, Price(50)), 9, Price(90))
    found = [price_in_force(bids, after).utok_per_mib for after in (0, 2, 3, 4, 5, 8, 9, 99, 4, 0)]
    assert found == [30, 30, 30, 30, 50, 50, 90, 90, 30, 30]
    assert price_in_force([], 5) == Price(0)


def test_who_requests_at_low_bids_and_raises_them_at_once_is_weighed_by_what_is_billed() -> None:
    pair = Pair(balance=1_000_000_000, shade=False, ask=1000).start()
    first = pair.buying.price
    high = Price(64 * first.utok_per_mib)
    pair.seller.message(1, 50, Bid(90, high, 1, 180), pair.now, pair.utc)
    for _ in range(
        8 * MIB // BLOCK_BYTES
    ):  # on their way when the bid was raised, as with any buyer
        pair.seller.served(1, BLOCK_BYTES, 49, 999, pair.now)
    assert [demand.price for demand in pair.seller.demands(pair.now)] == [high]
    number = 50
    for _ in range(4):
        low = Bid(number + 1, first, 1, 180)
        pair.seller.message(1, number + 1, low, pair.now, pair.utc)
        pair.seller.message(1, number + 2, Bid(number + 2, high, 1, 180), pair.now, pair.utc)
        number += 2
        for _ in range(8 * MIB // BLOCK_BYTES):
            pair.seller.served(1, BLOCK_BYTES, number - 1, 999, pair.now)
    assert pair.buying.price == high
    assert [demand.price for demand in pair.seller.demands(pair.now)] == [first]
    for _ in range(40 * MIB // BLOCK_BYTES):
        pair.seller.served(1, BLOCK_BYTES, number, 999, pair.now)
    assert [demand.price for demand in pair.seller.demands(pair.now)] == [high]


def test_a_seller_that_does_not_pause_when_asked_is_paid_no_longer() -> None:
    pair = Pair().start()
    pair.buyer.paused = True
    for second in range(int(CONFIRM_S) + 3):  # nothing of what the buyer says is heeded
        pair.now += 1
        pair.buyer.received(1, 0, second * BLOCK_BYTES, BLOCK_BYTES, 99, True, pair.now)
        pair.buyer.tick(pair.now)
    assert pair.sale.state is State.STOPPED
    paid = pair.buyer.spent
    pair.buyer.received(1, 1, 0, MIB, 99, True, pair.now)
    pair.now += 1
    pair.buyer.tick(pair.now)
    assert pair.buyer.spent == paid


def test_bids_are_kept_within_a_bound() -> None:
    bids: list[tuple[int, Price]] = []
    for number in range(1, 1000):
        bids = keep_bids(bids, number, Price(number))
    assert len(bids) == 64
    assert price_in_force(bids, 999) == Price(999)


def test_billing_begins_with_the_acknowledgement_of_open() -> None:
    pair = Pair()
    pair.wait_for_lock()
    assert pair.sale.state is State.OPENING
    pair.block(0, 0)
    pair.ledger = True
    pair.answer()
    pair.block(0, 1)
    assert pair.buying.window.billed_bytes == pair.sale.billed_bytes == BLOCK_BYTES


def test_duplicates_and_unasked_blocks_are_reported_and_not_paid() -> None:
    pair = Pair().start()
    for index in (0, 1, 2, 3):
        pair.block(0, index)
    pair.tick(0.3)
    paid = pair.channel.signed
    for _ in range(2):
        pair.block(0, 0)
        pair.block(7, 0, asked=False)
    pair.tick(0.3)
    assert pair.channel.signed == paid
    last = [m for m in pair.sent if isinstance(m, VoucherMessage)][-1]
    assert (last.cumulative, last.refused_bytes) == (paid, 4 * BLOCK_BYTES)
    assert pair.buying.window.refused_bytes == 4 * BLOCK_BYTES
    assert pair.buying.window.exposure(pair.buying.price) < MIB


def test_after_a_failed_piece_nothing_more_is_paid_until_its_cost_is_made_up() -> None:
    pair = Pair(piece_bytes=4 * BLOCK_BYTES).start()
    for index in (0, 1, 2):
        pair.block(0, index)
    pair.buyer.received(99, 0, 3 * BLOCK_BYTES, BLOCK_BYTES, 0, True, pair.now)
    pair.tick(0.3)
    paid = pair.channel.signed
    assert paid
    pair.perform("buyer", pair.buyer.piece_failed(0))
    assert pair.saw(Ban) == []  # two senders: nobody is proven
    for index in (0, 1, 2):
        pair.block(1, index)
        pair.tick(0.3)
        assert pair.channel.signed <= paid
    pair.block(1, 3)
    pair.tick(0.3)
    assert pair.channel.signed > paid


def test_the_sender_of_a_whole_bad_piece_is_stopped_unpaid_and_banned() -> None:
    pair = Pair(piece_bytes=2 * BLOCK_BYTES).start()
    pair.block(0, 0)
    pair.block(0, 1)
    before = pair.channel.signed
    effects = pair.buyer.piece_failed(0)
    assert Ban(1, "sent all of piece 0, which fails its hash") in effects
    assert pair.buyer.spent == before
    assert pair.sale.state is State.STOPPED


def test_unverified_bytes_are_paid_on_account_up_to_the_limit_only() -> None:
    pair = Pair(piece_bytes=MIB, size=64 * MIB).start()
    limit = on_account_limit(MIB)
    for piece in range(60):  # one block of each: none can verify
        if not pair.withheld:
            pair.block(piece, 0)
        for _ in range(3):
            pair.tick()
        assert pair.channel.signed <= pair.sale.price.cost_floor(limit)


# ------------------------------------------------------------------------------------ refusals: seller


def _refused(pair: Pair, message: Message, kind: type[Refused], field: str) -> Refused:
    """Refused by name, and nothing has changed."""
    buying, before = pair.buying, _state(pair)
    with pytest.raises(Refused) as refused:
        pair.seller.message(pair.connection, 99, message, pair.now, pair.utc)
    assert type(refused.value) is kind
    assert refused.value.field == field
    assert pair.buying is buying
    assert _state(pair) == before
    return refused.value


def _state(pair: Pair) -> tuple[object, ...]:
    b = pair.buying
    return (b.state, b.channel, b.window, list(b.bids), list(b.billing), b.bid_until,
            dict(pair.seller._channels), dict(pair.seller._closed), dict(pair.seller._idle))  # fmt: skip


def _voucher(pair: Pair, utok: int, **changes: object) -> VoucherMessage:
    by, domain = changes.pop("by", "channel 1"), changes.pop("domain", DOMAIN)
    assert isinstance(by, str)
    assert isinstance(domain, Domain)
    voucher = Voucher.sign(key(by), domain, pair.channel.statement.channel, Amount(utok))
    message = VoucherMessage(voucher.channel, voucher.cumulative, voucher.signature, 0, 0)
    return replace(message, **changes)  # type: ignore[arg-type]


def test_a_voucher_before_its_channel_is_known_is_refused_without_a_ban() -> None:
    pair = Pair()
    pair.meet()
    early = VoucherMessage(bytes(32), Amount(1), TOO_EARLY.signature, 0, 0)
    refusal = _refused(pair, early, ChannelUnknown, "channel")
    assert not refusal.is_misbehaviour


@pytest.mark.parametrize(
    ("make", "kind", "field"),
    [
        (lambda p: _voucher(p, 10, by="stranger"), BadSignature, "voucher.signature"),
        (lambda p: _voucher(p, 10, channel=bytes(32)), WrongChannel, "channel"),
        (lambda p: _voucher(p, 10, domain=Domain("other", DOMAIN.ledger_id)), BadSignature,
         "voucher.signature"),
        (lambda p: _voucher(p, 10, domain=Domain(DOMAIN.network, bytes(32))), BadSignature,
         "voucher.signature"),
        (lambda p: _voucher(p, 10**12), AboveEscrow, "voucher.cumulative"),
        (lambda p: _voucher(p, 10, signature=bytes(64)), BadSignature, "voucher.signature"),
        (lambda p: Open(p.channel.statement, p.channel.opened.signature, ZERO), OverLimit,
         "statement.channel"),
        (lambda p: Pause(bytes(32), ZERO, 0), WrongChannel, "channel"),
        (lambda p: Resume(p.channel.statement.channel, ZERO, 0), OutOfOrder, "message"),
        (lambda p: Ack(p.channel.statement.channel, ZERO, 0), OutOfOrder, "message"),
        (lambda p: Quote(1, Price(1), 0, Share(0), 0), OutOfOrder, "message"),
        (lambda p: TopUp(replace(p.channel.statement, fee=Share(5)), bytes(64)), WrongChannel,
         "statement"),
        (lambda p: TopUp(replace(p.channel.statement, escrow=Amount(10**9)), bytes(64)), BadSignature,
         "statement.signature"),
    ],
)  # fmt: skip
def test_a_wrong_message_on_an_active_sale_is_refused_by_name(
    make: Callable[[Pair], Message], kind: type[Refused], field: str
) -> None:
    pair = Pair().start()
    _refused(pair, make(pair), kind, field)


def test_a_repeated_and_a_lower_voucher_are_acknowledged_and_change_nothing() -> None:
    pair = Pair().start()
    for index in range(8):
        pair.block(0, index)
    pair.tick(0.3)
    known = pair.channel.signed
    before = pair.buying.channel
    for utok in (known.utok, 1):
        answer = pair.seller.message(1, 99, _voucher(pair, utok), pair.now, pair.utc)
        assert [type(e) for e in answer] == [Send]
        assert isinstance(answer[0], Send)
        assert isinstance(answer[0].message, Ack)
        assert answer[0].message.cumulative == known
    assert pair.buying.channel == before


def _opening(**changes: object) -> tuple[Pair, Open]:
    """A pair whose buyer is about to show a channel."""
    pair = Pair()
    pair.wait_for_lock()
    opened = statement(1, Amount(10_000), UTC + 90_000)
    body = replace(opened.statement, **changes)  # type: ignore[arg-type]
    return pair, Open(body, opened.signature, ZERO)


@pytest.mark.parametrize(
    ("changes", "kind", "field"),
    [
        ({"payee_key": key("stranger").public}, WrongChannel, "statement.payee_key"),
        ({"expiry": UTC + 1200}, ChannelClosed, "statement.expiry"),
        ({"channel": bytes(32)}, WrongLedger, "statement.channel"),
        ({"nonce": bytes(16)}, WrongLedger, "statement.channel"),
        ({"escrow": Amount(20_000)}, BadSignature, "statement.signature"),
        ({"fee": Share(1)}, BadSignature, "statement.signature"),
    ],
)
def test_a_channel_that_the_ledger_did_not_promise_is_refused(
    changes: dict[str, object], kind: type[Refused], field: str
) -> None:
    pair, message = _opening(**changes)
    _refused(pair, message, kind, field)


def test_a_channel_below_the_minimum_or_of_other_money_is_refused() -> None:
    pair, message = _opening()
    pair.seller.terms = replace(pair.terms, min_escrow=Amount(10_001))
    _refused(pair, message, WrongChannel, "statement.escrow")
    pair.seller.terms = replace(pair.terms, classes=frozenset({MoneyClass.TOKEN}))
    _refused(pair, message, WrongChannel, "statement.class")
    pair.seller.terms = pair.terms
    _refused(pair, replace(message, signed=Amount(10_001)), AboveEscrow, "open.signed")
    assert pair.seller.message(1, 99, message, pair.now, pair.utc)


def test_a_channel_without_a_bid_is_out_of_order() -> None:
    pair = Pair()
    pair.perform("seller", pair.seller.met(1, PAYEE, "127.0.0.1", True, pair.utc))
    opened = statement(1, Amount(10_000), UTC + 90_000)
    _refused(pair, Open(opened.statement, opened.signature, ZERO), OutOfOrder, "message")


def test_a_channel_that_was_closed_is_refused_without_a_ban() -> None:
    pair = Pair().start()
    shown = Open(pair.channel.statement, pair.channel.opened.signature, ZERO)
    pair.perform("buyer", pair.buyer.finish(pair.now))
    refusal = _refused(pair, shown, ChannelClosed, "statement.channel")
    assert not refusal.is_misbehaviour


def test_a_message_from_a_peer_that_was_not_met_is_out_of_order() -> None:
    seller = Seller(DOMAIN, CERTIFICATES, Terms(Price(1), frozenset(MoneyClass), Share(0)))
    with pytest.raises(OutOfOrder):
        seller.message(1, 1, Bid(1, Price(1), 0, 60), 0.0, UTC)


# ------------------------------------------------------------------------------------- refusals: buyer


@pytest.mark.parametrize(
    "message",
    [
        Ack(bytes(32), ZERO, 0), Pause(bytes(32), ZERO, 0), Resume(bytes(32), ZERO, 0),
        StopMessage(bytes(32), ZERO, 0),
    ],
    ids=lambda m: type(m).__name__,
)  # fmt: skip
def test_a_word_about_a_strange_channel_is_refused(message: Message) -> None:
    pair = Pair().start()
    with pytest.raises(WrongChannel) as refused:
        pair.buyer.message(1, message, pair.now, pair.utc)
    assert refused.value.field == "channel"
    assert pair.sale.state is State.ACTIVE


def test_an_ask_that_is_over_forged_or_of_another_key_is_refused() -> None:
    pair = Pair().start()
    assert pair.sale.ask is not None
    ask = pair.sale.ask
    for wrong, kind, field in (
        (replace(ask, valid_until=UTC), Stale, "ask.valid_until"),
        (replace(ask, price=Price(1)), BadSignature, "ask.signature"),
        (replace(ask, payee_key=key("stranger").public), WrongChannel, "ask.payee_key"),
        (ask.signed(PAYEE, Domain("other", DOMAIN.ledger_id)), BadSignature, "ask.signature"),
    ):
        with pytest.raises(Refused) as refused:
            pair.buyer.message(1, wrong, pair.now, pair.utc)
        assert type(refused.value) is kind
        assert refused.value.field == field
    assert pair.sale.ask == ask


def test_an_acknowledgement_above_what_was_signed_pays_nothing_and_ends_an_opening() -> None:
    pair = Pair()
    pair.wait_for_lock()
    opened = statement(1, Amount(10_000), UTC + 90_000)
    effects = pair.buyer.locked(1, opened, key("channel 1"))
    assert any(isinstance(e, Send) and isinstance(e.message, Open) for e in effects)
    identity = opened.statement.channel
    effects = pair.buyer.message(1, Ack(identity, Amount(5), 0), pair.now, pair.utc)
    assert AwaitClose(identity) in effects
    assert pair.sale.state is State.STOPPED
    assert pair.buyer.spent == ZERO


# ------------------------------------------------------------------------- pauses, stops, reconnects


def test_the_user_can_pause_and_go_on_and_pays_nothing_between() -> None:
    pair = Pair().start()
    pair.buyer.paused = True
    pair.tick()
    assert pair.sale.state is State.PAUSED
    assert pair.buying.state is State.PAUSED
    for index in range(4):
        pair.block(0, index)
    for _ in range(20):
        pair.tick()
    assert pair.buying.state is State.PAUSED
    assert pair.buyer.spent == ZERO
    assert pair.buying.window.billed_bytes == 0
    pair.buyer.paused = False
    pair.tick()
    pair.tick()
    assert pair.sale.state is State.ACTIVE
    assert pair.buying.state is State.ACTIVE


def test_a_bid_that_lapses_buys_the_free_lane_and_is_not_billed() -> None:
    pair = Pair().start()
    pair.sale.interested = False  # no renewals
    for _ in range(20):
        pair.tick(10.0)
    assert pair.buying.state is State.PAUSED
    pair.block(0, 0)
    assert pair.buying.window.billed_bytes == 0
    pair.perform("buyer", pair.buyer.interest(1, True, pair.now))
    pair.tick()
    assert pair.buying.state is State.ACTIVE


def test_a_higher_ask_does_not_touch_a_bid_that_was_quoted() -> None:
    pair = Pair().start()
    pair.seller.terms = replace(pair.terms, price=Price(10**9))
    pair.tick()
    assert [demand.price for demand in pair.seller.demands(pair.now)] == [pair.sale.price]
    for _ in range(13):
        pair.tick(10.0)  # the renewal meets the new ask
    assert pair.buying.state is State.PAUSED


def test_a_torrent_may_have_an_ask_of_its_own_and_a_bid_below_it_buys_the_free_lane() -> None:
    dear, cheap = bytes([1]) * 20, bytes([2]) * 20
    terms = Terms(Price(10), frozenset(MoneyClass), Share(250_000), own={dear: Price(500)})
    seller, utc = Seller(DOMAIN, CERTIFICATES, terms), 1_900_000_000
    for connection, infohash, price in ((1, dear, 500), (2, cheap, 10)):
        (said,) = seller.met(connection, PAYEE, f"place{connection}", True, utc, infohash)
        assert isinstance(said, Send)
        assert isinstance(said.message, Ask)
        assert said.message.price == Price(price)
        quoted, *_ = seller.message(connection, 1, Bid(1, Price(100), 30, 1024), 0.0, utc)
        assert isinstance(quoted, Send)
        assert isinstance(quoted.message, Quote)
        assert quoted.message.price == Price(max(price, 100))


def test_stopping_what_we_buy_from_a_peer_does_not_end_the_billing_of_what_it_buys() -> None:
    pair = Pair().start()
    pair.seller.left(1, 50, StopMessage(bytes(32), ZERO, 0))
    assert pair.buying.bills(51)
    pair.seller.left(1, 52, Pause(pair.channel.statement.channel, ZERO, 0))
    assert not pair.buying.bills(53)


def test_words_that_cross_the_sellers_stop_are_not_punished_and_a_last_voucher_is_taken() -> None:
    pair = Pair().start()
    held = pair.channel
    identity = held.statement.channel
    stopped = pair.seller.finish()
    assert Redeem(identity) in stopped
    assert pair.seller.has_channel(1, identity)
    late = _voucher(pair, 10)
    effects = pair.seller.message(1, 90, late, pair.now, pair.utc)
    assert [type(e) for e in effects] == [SavePayee, Send, Redeem]
    for message in (
        late, _voucher(pair, 10**12), TopUp(held.statement, held.opened.signature),
        Pause(identity, ZERO, 0), StopMessage(identity, ZERO, 0),
    ):  # fmt: skip
        assert pair.seller.message(1, 91, message, pair.now, pair.utc) == []
    pair.seller.forget(identity)
    assert pair.seller.message(1, 92, _voucher(pair, 20), pair.now, pair.utc) == []


def test_late_words_about_an_earlier_channel_are_ignored() -> None:
    pair = Pair().start()
    old = pair.channel.statement.channel
    pair.buyer.closed(old, ZERO)
    pair.ledger = False
    pair.buying.state, pair.buying.channel = State.SETTLED, None
    for _ in range(3):
        pair.tick()
    assert pair.sale.state is State.OPENING
    assert pair.buyer.message(1, Ack(old, ZERO, 0), pair.now, pair.utc) == []
    assert pair.buyer.message(1, StopMessage(old, ZERO, 0), pair.now, pair.utc) == []


def test_a_reconnect_goes_on_from_the_last_total() -> None:
    pair = Pair(size=8 * MIB, piece_bytes=MIB).start()
    for index in range(40):
        if pair.withheld:
            pair.tick(0.3)
        pair.block(0, index)
    pair.reconnect()
    signed = pair.buyer.spent
    assert signed
    for _ in range(3):
        pair.tick()
    assert pair.sale.state is State.ACTIVE
    shown = [m for m in pair.sent if isinstance(m, Open)][-1]
    assert shown.signed == signed
    assert pair.buying.channel is not None
    assert pair.buying.channel.accepted == signed
    assert len(pair.saw(LockEscrow)) == 1


def test_a_channel_still_used_on_a_dead_connection_is_tried_again_and_nobody_is_banned() -> None:
    pair = Pair().start()
    shown = Open(pair.channel.statement, pair.channel.opened.signature, ZERO)
    pair.seller.met(2, PAYEE, "127.0.0.1", True, pair.utc)
    pair.seller.message(2, 2, Bid(1, pair.sale.price, 0, 60), pair.now, pair.utc)
    with pytest.raises(OverLimit) as refused:
        pair.seller.message(2, 3, shown, pair.now, pair.utc)
    assert not refused.value.is_misbehaviour
    pair.seller.gone(1, pair.now)
    assert pair.seller.message(2, 4, shown, pair.now, pair.utc)


def test_a_buyer_told_that_its_channel_is_in_use_or_closed_asks_again_later() -> None:
    for code, again in (("over_limit", True), ("channel_closed", True), ("wrong_channel", False)):
        pair = Pair()
        pair.wait_for_lock()
        opened = statement(1, Amount(10_000), UTC + 90_000)
        pair.buyer.locked(1, opened, key("channel 1"))
        pair.buyer.message(1, ErrorMessage(code, Open.TYPE), pair.now, pair.utc)
        assert pair.sale.state is State.PRICED
        assert not any(isinstance(e, Send) for e in pair.buyer.tick(pair.now + 1))
        later = pair.buyer.tick(pair.now + 11)
        shown = [e for e in later if isinstance(e, Send) and isinstance(e.message, Open)]
        assert bool(shown) is again


def test_one_channel_is_never_used_on_two_connections() -> None:
    pair = Pair().start()
    assert pair.sale.ask is not None
    pair.buyer.message(7, pair.sale.ask, pair.now, pair.utc)  # somebody repeats the ask
    pair.buyer.interest(7, True, pair.now)
    other = pair.buyer.sales[7]
    pair.buyer.message(7, Quote(other.bid_id, other.price, 0, Share(0), 1), pair.now, pair.utc)
    effects = pair.buyer.tick(pair.now + 1)
    assert other.state is State.PRICED
    assert not any(isinstance(e, LockEscrow) for e in effects)


def test_a_lock_that_was_asked_for_before_a_reconnect_is_not_asked_for_twice() -> None:
    pair = Pair()
    pair.wait_for_lock()
    pair.reconnect()
    pair.tick()
    assert len(pair.saw(LockEscrow)) == 1
    pair.ledger = True
    pair.answer()
    pair.tick()
    assert pair.sale.state is State.ACTIVE
    assert pair.buyer.purse.budget.in_escrow == pair.channel.statement.escrow


def test_a_top_up_reaches_the_connection_that_replaced_its_own() -> None:
    pair = Pair(size=64 * MIB).start()
    pair.ledger = False
    index = 0
    while not pair.saw(AddEscrow):
        pair.block(0 + index // 64, index % 64)
        index += 1
        pair.tick(0.3)
    before = pair.channel.statement.escrow
    pair.reconnect()
    pair.tick()
    assert len(pair.saw(AddEscrow)) == 1
    pair.ledger = True
    pair.answer()
    assert pair.channel.statement.escrow > before
    assert pair.buyer.purse.budget.in_escrow == pair.channel.statement.escrow
    assert pair.buying.channel is not None
    assert pair.buying.channel.statement == pair.channel.statement


def test_a_top_up_of_a_channel_that_was_closed_meanwhile_frees_its_budget() -> None:
    pair = Pair(size=64 * MIB).start()
    pair.ledger = False
    index = 0
    while not pair.saw(AddEscrow):
        pair.block(0 + index // 64, index % 64)
        index += 1
        pair.tick(0.3)
    held, effect = pair.channel, pair.waiting.popleft()
    assert isinstance(effect, AddEscrow)
    pair.buyer.closed(held.statement.channel, held.signed)
    late = statement(1, held.statement.escrow + effect.amount, held.statement.expiry)
    assert pair.buyer.topped_up(1, late) == []
    assert pair.buyer.purse.budget.in_escrow == ZERO
    assert pair.buyer.purse.budget.settled == held.signed


def test_a_refused_lock_frees_its_budget_also_when_the_peer_is_gone() -> None:
    pair = Pair()
    pair.wait_for_lock()
    effect = pair.waiting.popleft()
    assert isinstance(effect, LockEscrow)
    pair.buyer.gone(1)
    assert pair.buyer.purse.budget.in_escrow == effect.amount
    told = pair.buyer.lock_refused(1, effect.amount, "no", pair.now)
    assert [type(e) for e in told] == [Note]
    assert pair.buyer.purse.budget.in_escrow == ZERO


def test_a_seller_that_never_acknowledges_gives_its_place_to_others() -> None:
    pair = Pair()
    pair.wait_for_lock()
    opened = statement(1, Amount(10_000), UTC + 90_000)
    pair.buyer.locked(1, opened, key("channel 1"))
    pair.buyer.tick(pair.now)
    assert pair.sale.state is State.OPENING
    effects = pair.buyer.tick(pair.now + CONFIRM_S)
    assert pair.sale.state is State.STOPPED
    assert AwaitClose(opened.statement.channel) in effects


def test_a_channel_near_its_expiry_is_replaced_by_another() -> None:
    pair = Pair(lifetime_s=3600).start()
    first = pair.channel
    for _ in range((3600 - ROLL_S) // 60 + 1):
        pair.tick(60.0)
    assert Redeem(first.statement.channel) in pair.told
    pair.buyer.closed(first.statement.channel, first.signed)
    for _ in range(3):
        pair.tick()
    assert pair.sale.state is State.ACTIVE
    assert pair.channel.statement.channel != first.statement.channel


def test_a_seller_redeems_what_its_store_remembers_and_what_nobody_comes_back_for() -> None:
    pair = Pair().start()
    assert pair.buying.channel is not None
    held = pair.buying.channel
    seller = Seller(DOMAIN, CERTIFICATES, pair.terms, [held])
    assert seller.tick(5000.0, UTC) == []
    assert seller.tick(5000.0 + KEEP_IDLE_S, UTC) == [Redeem(held.statement.channel)]
    pair.seller.gone(1, pair.now)
    assert pair.seller.tick(pair.now + KEEP_IDLE_S - 1, UTC) == []
    assert pair.seller.tick(pair.now + KEEP_IDLE_S + 1, UTC) == [Redeem(held.statement.channel)]


def test_a_buyer_that_leaves_debts_behind_is_not_served_on_that_channel_again() -> None:
    pair = Pair(size=64 * MIB, piece_bytes=16 * MIB).start()
    held = pair.channel
    shown = Open(held.statement, held.opened.signature, ZERO)
    for connection in range(2, 60):
        pair.seller.gone(connection - 1, pair.now)
        pair.seller.met(connection, PAYEE, "127.0.0.1", True, pair.utc)
        pair.seller.message(connection, 2, Bid(1, pair.sale.price, 0, 60), pair.now, pair.utc)
        try:
            effects = pair.seller.message(connection, 3, shown, pair.now, pair.utc)
        except ChannelClosed:
            break
        for number, effect in enumerate(effects, 2):
            if isinstance(effect, Send):
                pair.seller.left(connection, number, effect.message)
        pair.seller.served(connection, 4 * BLOCK_BYTES, 2, 50, pair.now)
    assert connection * 4 * BLOCK_BYTES <= 2 * MIB


def test_an_unpaid_window_is_withheld_then_free_then_over() -> None:
    pair = Pair().start()
    for index in range(4):
        pair.seller.served(1, BLOCK_BYTES, 2, 99, pair.now)
        assert pair.buying.withheld is (index == 3)
    seen = []
    for later in (4.0, 6.0, 59.0, 61.0):
        effects = pair.seller.tick(pair.now + later, pair.utc)
        seen.append([type(e.message) for e in effects if isinstance(e, Send)])
    assert seen == [[], [Pause], [], [StopMessage]]


def test_a_slower_seller_is_stopped_for_a_starved_one_and_may_sell_again_later() -> None:
    pair = Pair(plan=Plan(Share(1_000_000), Amount(2_000), 16 * MIB, 16 * MIB), ask=1).start()
    sale = pair.sale
    sale.retry_at = 0.0
    slow = replace(sale, connection=2, rate=type(sale.rate)())
    pair.buyer.sales[2] = slow
    pair.buyer.purse.budget = replace(
        pair.buyer.purse.budget, limit=pair.buyer.purse.budget.in_escrow
    )
    for index in range(64):
        if pair.withheld:
            pair.tick(0.3)
        pair.block(0, index)
    assert slow.state is State.STOPPED
    assert not slow.retired
    assert slow.retry_at > pair.now


def test_a_fast_seller_in_the_free_lane_takes_the_place_of_a_slow_paid_one() -> None:
    pair = Pair().start()
    others = {
        number: replace(
            pair.sale, connection=number, rate=Rate(last=100 * KIB), bids=list(pair.sale.bids)
        )
        for number in range(2, MAX_PAID_CHANNELS + 1)
    }
    unpaid = replace(
        pair.sale, connection=99, state=State.PRICED, quoted=True, channel=None, key=None,
        rate=Rate(last=190 * KIB),
    )  # fmt: skip
    pair.buyer.sales |= others | {99: unpaid}
    pair.sale.rate = Rate(last=100 * KIB)
    pair.now += PROVE_S + 1

    def stopped() -> list[int]:
        told = [e for e in pair.buyer.tick(pair.now) if isinstance(e, Send)]
        return [e.connection for e in told if isinstance(e.message, StopMessage)]

    assert stopped() == []
    unpaid.rate = Rate(last=MIB)
    assert len(stopped()) == 1
    assert unpaid.state is State.PRICED


# ---------------------------------------------------------------------------------- whatever peers do

steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["block", "block", "dup", "unasked", "pass", "fail", "tick", "ack", "pause", "resume",
             "stop", "ask", "quote", "gone", "lock", "refuse", "add", "closed", "error"]
        ),
        st.integers(1, 3), st.integers(0, 2**20),
    ),
    max_size=80,
)  # fmt: skip


@settings(derandomize=True, max_examples=150)
@given(steps, st.sampled_from([100, 5_000, 10**7]), st.none() | st.integers(0, 10**6))
def test_spending_never_passes_the_allowance_whatever_peers_and_ledger_do(
    drawn: list[tuple[str, int, int]], balance: int, max_spend: int | None
) -> None:
    size, piece_bytes = 64 * BLOCK_BYTES, 4 * BLOCK_BYTES
    limit = None if max_spend is None else Amount(max_spend)
    plan = Plan(Share(250_000), Amount(balance), size, size, max_spend=limit)
    pair = Pair(size, piece_bytes, plan=plan)
    buyer, waiting, number = pair.buyer, pair.waiting, 0
    payees = {n: key(f"payee {n}") for n in (1, 2, 3)}
    locked: dict[bytes, tuple[Amount, Amount]] = {}  # channel → (escrow, highest total signed)
    settled = 0
    messages = 1

    def perform(effects: list[object]) -> None:
        nonlocal messages
        for effect in effects:
            if isinstance(effect, LockEscrow | AddEscrow):
                waiting.append(effect)
            elif isinstance(effect, SavePayer):
                body = effect.channel.statement
                assert effect.channel.signed <= body.escrow
                known = locked.get(body.channel, (ZERO, ZERO))
                assert effect.channel.signed >= known[1], "a signed total fell"
                locked[body.channel] = body.escrow, effect.channel.signed
            elif isinstance(effect, Send) and isinstance(effect.message, Bid):
                messages += 1
                buyer.bid_left(effect.connection, messages)

    begin = [("ask", n, 0) for n in (1, 2, 3)] + [("tick", n, 0) for n in (1, 2, 3)]
    begin += [("quote", n, 0) for n in (1, 2, 3)] + [("tick", 1, 0)]
    begin += [("lock", 1, 0)] * 3 + [("ack", n, 0) for n in (1, 2, 3)]
    for what, peer, amount in begin + drawn:
        pair.now += 0.05
        sale = buyer.sales.get(peer)
        identity = sale.channel.statement.channel if sale and sale.channel else bytes(32)
        made: list[object] = []
        try:
            if what in ("block", "dup", "unasked"):
                for _ in range(4):
                    piece, index = divmod(number % 64, 4)
                    made += buyer.received(peer, piece, index * BLOCK_BYTES, BLOCK_BYTES, messages,
                                           what != "unasked", pair.now)  # fmt: skip
                    number += what == "block"
            elif what == "pass":
                buyer.piece_passed(amount % 16)
            elif what == "fail":
                made += buyer.piece_failed(amount % 16)
            elif what == "tick":
                pair.now += amount % 30
                made += buyer.interest(peer, True, pair.now)
                made += buyer.tick(pair.now)
            elif what == "ask":
                terms = Ask(1, payees[peer].public, Price(1), frozenset(MoneyClass), ZERO, Share(0),
                            pair.utc + 600, bytes(64)).signed(payees[peer], DOMAIN)  # fmt: skip
                made += buyer.message(peer, terms, pair.now, pair.utc)
            elif what == "quote" and sale:
                quote = Quote(max(1, sale.bid_id), sale.price, 0, Share(0), 0)
                made += buyer.message(peer, quote, pair.now, pair.utc)
            elif what in ("ack", "pause", "resume", "stop"):
                kinds = {"ack": Ack, "pause": Pause, "resume": Resume, "stop": StopMessage}
                word = kinds[what](identity, Amount(amount), 0)
                made += buyer.message(peer, word, pair.now, pair.utc)
            elif what == "error":
                error = ErrorMessage("channel_closed" if amount % 2 else "stale", Open.TYPE)
                made += buyer.message(peer, error, pair.now, pair.utc)
            elif what == "gone":
                made += buyer.gone(peer)
            elif what == "closed" and locked:
                closing = sorted(locked)[amount % len(locked)]
                settled += locked.pop(closing)[1].utok
                paid = next(
                    c.signed
                    for c, _ in buyer.purse.channels.values()
                    if c.statement.channel == closing
                )
                buyer.closed(closing, paid)
            elif what in ("lock", "add", "refuse") and waiting:
                effect = waiting.popleft()
                assert isinstance(effect, LockEscrow | AddEscrow)
                if what == "refuse":
                    made += buyer.lock_refused(effect.connection, effect.amount, "no", pair.now)
                elif isinstance(effect, LockEscrow):
                    pair.channels += 1
                    opened = statement(
                        pair.channels, effect.amount, pair.utc + 9000, effect.payee_key
                    )
                    channel_key = key(f"channel {pair.channels}")
                    made += buyer.locked(effect.connection, opened, channel_key)
                else:
                    held = buyer.purse.channel(effect.channel)
                    if held is None:
                        made += buyer.lock_refused(effect.connection, effect.amount, "no", pair.now)
                    else:
                        body = replace(held.statement, escrow=held.statement.escrow + effect.amount)
                        opened = replace(held.opened, statement=body)
                        made += buyer.topped_up(effect.connection, opened)
        except Refused:
            pass
        perform(made)
        at_risk = settled + sum(escrow.utok for escrow, _ in locked.values())
        assert at_risk <= plan.allowance.utok
        assert buyer.spent <= plan.allowance
        assert (buyer.purse.budget.in_escrow + buyer.purse.budget.settled) <= plan.allowance
        asked = sum(e.amount.utok for e in waiting if isinstance(e, LockEscrow | AddEscrow))
        assert buyer.purse.budget.in_escrow.utok == asked + sum(e.utok for e, _ in locked.values())
