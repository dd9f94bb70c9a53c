"""What one connection may say, when, and how often."""

from __future__ import annotations

import pytest

from speedpay.errors import (
    Malformed,
    OutOfOrder,
    OverLimit,
    Refused,
    Stale,
    WrongLedger,
    WrongNetwork,
)
from speedpay.peer.conversation import (
    PAYMENT_BURST,
    PAYMENT_RATE_PER_S,
    RATE_BURST,
    RATE_PER_S,
    Conversation,
)
from speedpay.peer.messages import Hello, encode
from speedpay.signing import Domain
from tests.vectors.generate import DOMAIN, MESSAGES

HELLO, BID = encode(MESSAGES["hello"]), encode(MESSAGES["bid"])
VOUCHER, ACK = encode(MESSAGES["voucher"]), encode(MESSAGES["ack"])


def met() -> Conversation:
    conversation = Conversation(DOMAIN)
    conversation.hello()
    conversation.receive(HELLO, 0.0)
    return conversation


def test_two_hellos_open_a_conversation_and_messages_are_numbered() -> None:
    conversation = met()
    assert conversation.met
    assert conversation.sent_count == 1
    assert conversation.send(MESSAGES["bid"]) == BID
    assert conversation.sent_count == 2
    assert conversation.receive(BID, 0.0) == MESSAGES["bid"]


def test_nothing_comes_before_hello() -> None:
    conversation = Conversation(DOMAIN)
    with pytest.raises(OutOfOrder) as refused:
        conversation.receive(BID, 0.0)
    assert refused.value.field == "message"
    assert not conversation.met
    conversation.receive(HELLO, 0.0)
    assert conversation.met


def test_nothing_is_sent_before_both_hellos() -> None:
    conversation = Conversation(DOMAIN)
    with pytest.raises(OutOfOrder):
        conversation.send(MESSAGES["bid"])
    conversation.hello()
    with pytest.raises(OutOfOrder):
        conversation.send(MESSAGES["bid"])
    assert conversation.sent_count == 1


def test_a_second_hello_is_out_of_order() -> None:
    conversation = met()
    with pytest.raises(OutOfOrder) as refused:
        conversation.receive(HELLO, 0.0)
    assert refused.value.field == "message"
    assert conversation.met


@pytest.mark.parametrize(
    ("hello", "kind", "field"),
    [
        (Hello((1,), bytes(32), DOMAIN.network), WrongLedger, "hello.ledger"),
        (Hello((1,), DOMAIN.ledger_id, "other"), WrongNetwork, "hello.network"),
        (Hello((2, 3), DOMAIN.ledger_id, DOMAIN.network), Stale, "hello.versions"),
    ],
)
def test_a_peer_with_nothing_in_common_stays_an_ordinary_one(
    hello: Hello, kind: type[Refused], field: str
) -> None:
    conversation = Conversation(DOMAIN)
    with pytest.raises(Refused) as refused:
        conversation.receive(encode(hello), 0.0)
    assert type(refused.value) is kind
    assert refused.value.field == field
    assert not conversation.met


def test_a_newer_peer_that_knows_our_version_is_met() -> None:
    conversation = Conversation(DOMAIN)
    conversation.receive(encode(Hello((1, 2), DOMAIN.ledger_id, DOMAIN.network)), 0.0)
    assert conversation.met


def test_ordinary_messages_are_limited_in_rate() -> None:
    conversation = met()
    for _ in range(int(RATE_BURST) - 1):
        conversation.receive(BID, 0.0)
    with pytest.raises(OverLimit) as refused:
        conversation.receive(BID, 0.0)
    assert refused.value.field == "message"
    assert not refused.value.is_misbehaviour
    conversation.receive(VOUCHER, 0.0)  # payments have a limit of their own
    conversation.receive(BID, 1.01 / RATE_PER_S)
    with pytest.raises(OverLimit):
        conversation.receive(BID, 1.01 / RATE_PER_S)


def test_vouchers_and_acks_share_a_wider_limit() -> None:
    conversation = met()
    for number in range(int(PAYMENT_BURST)):
        conversation.receive(VOUCHER if number % 2 else ACK, 0.0)
    for payload in (VOUCHER, ACK):
        with pytest.raises(OverLimit):
            conversation.receive(payload, 0.0)
    conversation.receive(BID, 0.0)
    for _ in range(int(PAYMENT_RATE_PER_S)):
        conversation.receive(VOUCHER, 1.001)


def test_garbage_counts_against_the_rate_as_well() -> None:
    conversation = met()
    for _ in range(int(RATE_BURST) - 1):
        with pytest.raises(Malformed):
            conversation.receive(b"\x01\xffgarbage", 0.0)
    with pytest.raises(OverLimit):
        conversation.receive(BID, 0.0)


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    conversation = met()
    for _ in range(int(RATE_BURST) - 1):
        conversation.receive(BID, 0.0)
    for now in (-100.0, -50.0, 0.0):
        with pytest.raises(OverLimit):
            conversation.receive(BID, now)


def test_the_domain_is_what_counts() -> None:
    other = Conversation(Domain("other", DOMAIN.ledger_id))
    with pytest.raises(WrongNetwork):
        other.receive(HELLO, 0.0)
