"""Receipts: demanded before the stop, signed by the payee for this content alone, checked and kept."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from speedpay.channel.receipt import PayeeReceipt, content_commitment
from speedpay.errors import BadSignature, ChannelUnknown, OverLimit, Stale, WrongChannel
from speedpay.market.gain import Rules
from speedpay.peer.buying import RECEIPT_BURST
from speedpay.peer.effects import SaveReceipt, Send
from speedpay.peer.messages import (
    DemandMessage,
    ErrorMessage,
    ReceiptMessage,
    StopMessage,
    VoucherMessage,
)
from speedpay.units import MIB, Amount
from tests.unit.peer.pair import Pair
from tests.vectors.generate import DOMAIN, INFOHASH, PAYEE, PAYER, RECEIPT, SALT

NOWHERE = bytes(20)


def sold(size: int = 2 * MIB) -> Pair:
    pair = Pair(size=size, rules=Rules(cost=0.0)).start()
    pair.download()
    return pair


def demand(pair: Pair, salt: bytes = SALT, infohash: bytes = NOWHERE) -> DemandMessage:
    identity = pair.channel.statement.channel
    return DemandMessage(identity, salt, content_commitment(salt, infohash))


def ask(pair: Pair, message: DemandMessage) -> ReceiptMessage:
    (told,) = pair.seller.message(pair.connection, 99, message, pair.now, pair.utc)
    assert isinstance(told, Send)
    assert isinstance(told.message, ReceiptMessage)
    return told.message


def test_a_receipt_is_demanded_between_the_last_voucher_and_the_stop_and_is_kept() -> None:
    pair = sold()
    kinds = [type(message) for message in pair.sent]
    at = kinds.index(DemandMessage)
    assert kinds[at + 1 :].count(StopMessage) == 1
    assert VoucherMessage in kinds[:at]
    assert VoucherMessage not in kinds[at:]
    (saved,) = [effect for effect in pair.told if isinstance(effect, SaveReceipt)]
    receipt = saved.receipt
    assert receipt.cumulative == pair.buyer.spent
    assert receipt.byte_count == pair.sale.billed_bytes
    assert receipt.commitment == content_commitment(saved.salt, NOWHERE)
    receipt.check(DOMAIN, PAYEE.public)
    assert not pair.buyer.demanded, "nothing is waited for"


def test_the_commitment_hides_the_content_from_whoever_lacks_the_salt() -> None:
    assert (
        RECEIPT.commitment == hashlib.sha256(b"speedpay/v1/content\x00" + SALT + INFOHASH).digest()
    )
    assert content_commitment(bytes(32), INFOHASH) != RECEIPT.commitment
    first, second = sold(), sold()
    salts = {e.salt for pair in (first, second) for e in pair.told if isinstance(e, SaveReceipt)}
    assert len(salts) == 1, "one secret and one channel: one salt"
    other = Pair(size=MIB)
    other.buyer.demanded._secret = b"another run"
    told = other.start().buyer.demanded.demand(1, other.channel)
    assert isinstance(told.message, DemandMessage)
    assert told.message.salt not in salts


@pytest.mark.parametrize("field", ["channel", "cumulative", "byte_count", "commitment", "time"])
def test_no_part_of_a_receipt_can_be_changed(field: str) -> None:
    changed = {
        "channel": bytes(32), "cumulative": RECEIPT.cumulative + Amount(1), "byte_count": 1,
        "commitment": bytes(32), "time": RECEIPT.time + 1,
    }[field]  # fmt: skip
    RECEIPT.check(DOMAIN, PAYEE.public)
    with pytest.raises(BadSignature, match=r"receipt\.signature"):
        replace(RECEIPT, **{field: changed}).check(DOMAIN, PAYEE.public)  # type: ignore[arg-type]


@pytest.mark.parametrize(("more", "kept"), [(0, 1), (1, 0)])
def test_a_payee_that_signs_for_more_than_was_paid_is_not_believed(more: int, kept: int) -> None:
    """Its word would stand in the buyer's records for good, as what does not match them."""
    pair = sold()
    channel = pair.channel
    asked = pair.buyer.demanded.demand(pair.connection, channel).message
    assert isinstance(asked, DemandMessage)
    said = ReceiptMessage.of(PayeeReceipt.sign(
        PAYEE, DOMAIN, asked.channel, channel.signed + Amount(more), 1, asked.commitment, pair.utc
    ))  # fmt: skip
    assert len(pair.buyer.message(pair.connection, said, pair.now, pair.utc)) == kept
    assert not pair.buyer.demanded, "nothing better will come"


def test_a_seller_answers_while_a_channel_is_in_use_and_after_its_stop() -> None:
    pair = Pair(size=2 * MIB).start()
    pair.block(0, 0)
    pair.tick(0.3)
    running = ask(pair, demand(pair))
    assert running.cumulative == pair.channel.acknowledged
    assert running.byte_count == pair.sale.billed_bytes
    done = sold()
    after = ask(done, demand(done))
    assert (after.cumulative, after.byte_count) == (done.buyer.spent, done.sale.billed_bytes)


def test_a_seller_signs_for_no_other_content() -> None:
    pair = sold()
    with pytest.raises(WrongChannel, match=r"demand\.commitment"):
        ask(pair, demand(pair, infohash=INFOHASH))


def test_a_demand_for_a_channel_of_somebody_else_is_refused() -> None:
    pair = sold()
    strange = replace(demand(pair), channel=bytes(32))
    with pytest.raises(ChannelUnknown, match=r"demand\.channel"):
        ask(pair, strange)


def test_a_flood_of_demands_is_answered_once_a_second() -> None:
    pair = Pair(size=2 * MIB).start()
    for _ in range(int(RECEIPT_BURST)):
        ask(pair, demand(pair))
    with pytest.raises(OverLimit, match="demand"):
        ask(pair, demand(pair))
    pair.now += 1.0
    ask(pair, demand(pair))
    with pytest.raises(OverLimit):
        ask(pair, demand(pair))


def waiting() -> tuple[Pair, ReceiptMessage]:
    """A buyer that has demanded and was not answered yet, and the answer."""
    pair = Pair(size=2 * MIB).start()
    asked = pair.buyer.demanded.demand(1, pair.channel).message
    assert isinstance(asked, DemandMessage)
    return pair, ask(pair, asked)


def hear(pair: Pair, message: ReceiptMessage | ErrorMessage) -> list[object]:
    return list(pair.buyer.message(1, message, pair.now, pair.utc))


def test_a_receipt_is_checked_before_it_is_kept() -> None:
    pair, answer = waiting()
    forged = PayeeReceipt.sign(
        PAYER, DOMAIN, answer.channel, answer.cumulative, answer.byte_count, answer.commitment,
        answer.time,
    )  # fmt: skip
    with pytest.raises(BadSignature):
        hear(pair, ReceiptMessage.of(forged))
    with pytest.raises(WrongChannel, match=r"receipt\.commitment"):
        hear(pair, replace(answer, commitment=bytes(32)))
    with pytest.raises(Stale, match=r"receipt\.time"):
        hear(pair, replace(answer, time=answer.time - 121))
    assert pair.buyer.demanded, "still waited for"
    (saved,) = hear(pair, answer)
    assert saved == SaveReceipt(answer.receipt(), saved.salt)  # type: ignore[attr-defined]
    assert hear(pair, answer) == [], "the second says nothing new"


def test_a_receipt_that_nobody_demanded_is_ignored() -> None:
    pair, answer = waiting()
    assert hear(pair, replace(answer, channel=bytes(32))) == []
    pair.buyer.demanded.gone(1)
    assert hear(pair, answer) == []


def test_nobody_waits_for_a_seller_that_refuses_or_goes() -> None:
    pair, _ = waiting()
    hear(pair, ErrorMessage("over_limit", DemandMessage.TYPE))
    assert not pair.buyer.demanded
    pair, _ = waiting()
    pair.buyer.gone(1)
    assert not pair.buyer.demanded
