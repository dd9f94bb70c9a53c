"""What one connection may say, when, and how often."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from speedpay.errors import (
    BadSeal,
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
from speedpay.peer.messages import Bid, ErrorMessage, Hello, Message, VoucherMessage, encode
from speedpay.signing import Domain
from tests.vectors.generate import DOMAIN, MESSAGES
from tests.vectors.session import SECRETS, handshake, hello, met

HELLO = encode(hello(DOMAIN, "buyer"))
BID, VOUCHER, ACK = MESSAGES["bid"], MESSAGES["voucher"], MESSAGES["ack"]


class Peer:
    """The buyer's end, which says anything, to a seller that hears it."""

    def __init__(self) -> None:
        self.own, self.other = met(DOMAIN, "buyer"), met(DOMAIN, "seller")

    def says(self, message: Message, now: float = 0.0) -> Message:
        return self.hears(self.own.send(message), now)

    def hears(self, payload: bytes, now: float = 0.0) -> Message:
        return self.other.receive(self.own.sent_count, payload, now)

    def garbage(self) -> bytes:
        """A payload in the place of our next message."""
        self.own.send(BID)
        return b"\x01\xffgarbage"


def greeted() -> Conversation:
    conversation = Conversation(DOMAIN)
    conversation.hello(handshake("seller"), SECRETS["seller"])
    return conversation


def test_two_hellos_open_a_conversation_and_messages_are_numbered() -> None:
    peer = Peer()
    assert peer.own.met
    assert peer.own.sent_count == 1
    assert peer.says(BID) == BID
    assert peer.own.sent_count == 2
    assert peer.says(VOUCHER) == VOUCHER


def test_nothing_comes_before_hello() -> None:
    conversation = greeted()
    with pytest.raises(OutOfOrder) as refused:
        conversation.receive(1, encode(BID), 0.0)
    assert refused.value.field == "message"
    assert not conversation.met
    conversation.receive(2, HELLO, 0.0)
    assert conversation.met


def test_a_hello_before_the_handshake_of_its_sender_is_out_of_order() -> None:
    with pytest.raises(OutOfOrder):
        Conversation(DOMAIN).receive(1, HELLO, 0.0)


def test_nothing_is_sent_before_both_hellos() -> None:
    conversation = Conversation(DOMAIN)
    with pytest.raises(OutOfOrder):
        conversation.send(BID)
    conversation.hello(handshake("seller"), SECRETS["seller"])
    with pytest.raises(OutOfOrder):
        conversation.send(BID)
    assert conversation.sent_count == 1


def test_a_second_hello_does_not_open_and_a_sealed_one_is_out_of_order() -> None:
    peer = Peer()
    with pytest.raises(BadSeal):
        peer.other.receive(2, HELLO, 0.0)
    with pytest.raises(OutOfOrder) as refused:
        peer.says(hello(DOMAIN, "buyer"))
    assert refused.value.field == "message"
    assert peer.other.met


GREETING = hello(DOMAIN, "buyer")


@pytest.mark.parametrize(
    ("hello", "kind", "field"),
    [
        (replace(GREETING, ledger=bytes(32)), WrongLedger, "hello.ledger"),
        (replace(GREETING, network="other"), WrongNetwork, "hello.network"),
        (replace(GREETING, versions=(2, 3)), Stale, "hello.versions"),
    ],
)
def test_a_peer_with_nothing_in_common_stays_an_ordinary_one(
    hello: Hello, kind: type[Refused], field: str
) -> None:
    conversation = greeted()
    with pytest.raises(Refused) as refused:
        conversation.receive(1, encode(hello), 0.0)
    assert type(refused.value) is kind
    assert refused.value.field == field
    assert not conversation.met
    with pytest.raises(OutOfOrder):  # nor does it get a second try
        conversation.receive(2, HELLO, 0.0)


def test_a_newer_peer_that_knows_our_version_is_met() -> None:
    conversation = greeted()
    conversation.receive(1, encode(replace(GREETING, versions=(1, 2))), 0.0)
    assert conversation.met


def test_ordinary_messages_are_limited_in_rate() -> None:
    peer = Peer()
    for _ in range(int(RATE_BURST) - 1):
        peer.says(BID)
    with pytest.raises(OverLimit) as refused:
        peer.says(BID)
    assert refused.value.field == "message"
    assert not refused.value.is_misbehaviour
    peer.says(VOUCHER)  # payments have a limit of their own
    peer.says(BID, 1.01 / RATE_PER_S)
    with pytest.raises(OverLimit):
        peer.says(BID, 1.01 / RATE_PER_S)


def test_vouchers_and_acks_share_a_wider_limit() -> None:
    peer = Peer()
    for number in range(int(PAYMENT_BURST)):
        peer.says(VOUCHER if number % 2 else ACK)
    for message in (VOUCHER, ACK):
        with pytest.raises(OverLimit):
            peer.says(message)
    peer.says(BID)
    for _ in range(int(PAYMENT_RATE_PER_S)):
        peer.says(VOUCHER, 1.001)


def test_garbage_is_opened_at_most_as_often_as_all_messages_together() -> None:
    peer = Peer()
    for _ in range(int(RATE_BURST + PAYMENT_BURST) - 1):
        with pytest.raises(BadSeal):
            peer.hears(peer.garbage())
    with pytest.raises(OverLimit):
        peer.hears(peer.garbage())
    assert peer.other.heard_type == 0
    # What was refused had its number: the next one is not sealed under it.
    peer.says(BID, 1.0)


def test_messages_inside_their_seal_count_against_the_rate_whatever_they_say() -> None:
    peer = Peer()
    for _ in range(int(RATE_BURST) - 1):
        with pytest.raises(OutOfOrder):
            peer.says(hello(DOMAIN, "buyer"))
    with pytest.raises(OverLimit):
        peer.says(BID)


def test_what_was_refused_is_named_by_its_type_once_it_is_opened() -> None:
    peer = Peer()
    peer.says(VOUCHER)
    assert peer.other.heard_type == VoucherMessage.TYPE
    with pytest.raises(BadSeal):
        peer.hears(peer.garbage())
    assert peer.other.heard_type == 0
    for _ in range(int(RATE_BURST)):
        try:
            peer.says(BID)
        except OverLimit:
            break
    assert peer.other.heard_type == Bid.TYPE


def test_refusals_are_answered_no_oftener_than_the_peer_may_say_them_itself() -> None:
    """Else who floods has an answer sealed and sent for each message, at no cost to itself."""
    peer = Peer()
    answers = []
    for _ in range(1000):
        with suppress(Refused):
            peer.hears(b"", 0.0)
        answers.append(peer.other.answer(OverLimit("too many", field="message"), 0.0))
    assert answers.count(ErrorMessage("over_limit", 0)) == RATE_BURST
    assert answers[int(RATE_BURST) :] == [None] * (1000 - int(RATE_BURST))
    assert peer.other.answer(OverLimit("too many", field="message"), 1.0) is not None


def test_nobody_is_answered_before_both_hellos_and_no_error_is() -> None:
    refusal = OverLimit("too many", field="message")
    assert greeted().answer(refusal, 0.0) is None
    peer = Peer()
    peer.says(ErrorMessage("stale", Bid.TYPE))
    assert peer.other.answer(refusal, 0.0) is None
    peer.says(BID)
    assert peer.other.answer(refusal, 0.0) == ErrorMessage("over_limit", Bid.TYPE)


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    peer = Peer()
    for _ in range(int(RATE_BURST) - 1):
        peer.says(BID)
    for now in (-100.0, -50.0, 0.0):
        with pytest.raises(OverLimit):
            peer.says(BID, now)


def test_the_domain_is_what_counts() -> None:
    other = Conversation(Domain("other", DOMAIN.ledger_id))
    other.hello(handshake("seller"), SECRETS["seller"])
    with pytest.raises(WrongNetwork):
        other.receive(1, HELLO, 0.0)


def test_an_empty_message_in_its_seal_is_malformed() -> None:
    peer = Peer()
    session = peer.own._session
    assert session is not None
    with pytest.raises(Malformed):
        peer.other.receive(2, session.seal(2, b""), 0.0)
