"""What is sealed opens at the other end of this connection, once, in its turn, and nowhere else."""

from __future__ import annotations

import hashlib
import hmac
import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedpay.errors import BadSeal, BadSignature, Malformed, Refused
from speedpay.peer.binding import check_binding
from speedpay.peer.conversation import Conversation
from speedpay.peer.messages import MAX_MESSAGE_BYTES, Ask, Bid, Message, Open, decode, encode
from speedpay.peer.sealing import (
    MAX_SEALED_BYTES,
    PADDING_BYTES,
    Handshake,
    Session,
    Side,
    ephemeral_key,
    pad,
    unpad,
)
from speedpay.signing import Domain, SigningKey
from tests.vectors.generate import ASK, DOMAIN, FOLDER, MESSAGES, OPEN, PAYEE, PAYER, key
from tests.vectors.session import (
    INFOHASH,
    OTHER,
    PEER_IDS,
    SECRETS,
    handshake,
    hello,
    met,
    session,
    side,
)

VECTORS: dict[str, Any] = json.loads((FOLDER / "session.json").read_text(encoding="utf-8"))
BUYER, SELLER = session(DOMAIN, "buyer"), session(DOMAIN, "seller")
BID = encode(MESSAGES["bid"])

#: Every point of small order, and the same ones written above p: RFC 7748 makes all-zero secrets of them.
_P = 2**255 - 19
_ORDER_8 = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
LOW_ORDER = [number.to_bytes(32, "little") for number in (0, 1, *_ORDER_8, _P - 1, _P, _P + 1)]


def talk(
    domain: Domain = DOMAIN,
    buyer_sees: Handshake | None = None,
    seller_sees: Handshake | None = None,
) -> tuple[Conversation, Conversation]:
    """Both ends of one connection, greeted; each with what it saw in the BitTorrent handshakes."""
    buyer, seller = Conversation(domain), Conversation(domain)
    first = buyer.hello(buyer_sees or handshake("buyer"), SECRETS["buyer"])
    second = seller.hello(seller_sees or handshake("seller"), SECRETS["seller"])
    seller.receive(1, first, 0.0)
    buyer.receive(1, second, 0.0)
    return buyer, seller


# ------------------------------------------------------------------------------------- the vectors


def test_transcript_and_keys_are_what_the_specification_says_computed_by_hand() -> None:
    sides = {
        name: {part: bytes.fromhex(text) for part, text in one.items()}
        for name, one in VECTORS["sides"].items()
    }
    first, second = (sides[VECTORS[order]] for order in ("first", "second"))
    network = VECTORS["network"].encode()
    transcript = hashlib.sha256(
        b"speedpay/v1/session\0" + bytes([len(network)]) + network
        + bytes.fromhex(VECTORS["ledger_id"]) + bytes.fromhex(VECTORS["infohash"])
        + first["peer_id"] + second["peer_id"]
        + len(first["hello"]).to_bytes(2, "big") + first["hello"]
        + len(second["hello"]).to_bytes(2, "big") + second["hello"]
    ).digest()  # fmt: skip
    assert transcript.hex() == VECTORS["transcript"] == BUYER.transcript.hex()
    assert SELLER.transcript == BUYER.transcript
    # RFC 5869 in five lines.
    extracted = hmac.digest(transcript, bytes.fromhex(VECTORS["shared_secret"]), "sha256")
    one = hmac.digest(extracted, b"speedpay/v1/seal\x01", "sha256")
    two = hmac.digest(extracted, one + b"speedpay/v1/seal\x02", "sha256")
    assert VECTORS["keys"] == {
        f"from {VECTORS['first']}": one.hex(),
        f"from {VECTORS['second']}": two.hex(),
    }


@pytest.mark.parametrize("number", range(len(VECTORS["sealed"])))
def test_a_sealed_message_is_its_bytes_both_ways(number: int) -> None:
    known = VECTORS["sealed"][number]
    plain, payload = bytes.fromhex(known["message"]), bytes.fromhex(known["payload"])
    sender = session(DOMAIN, known["from"])
    receiver = session(DOMAIN, OTHER[known["from"]])
    assert sender.seal(known["number"], plain) == payload
    assert receiver.open(known["number"], payload) == plain
    with pytest.raises(BadSeal):
        sender.open(known["number"], payload)


@pytest.mark.parametrize("name", VECTORS["refused_by_the_seller"])
def test_what_the_vectors_refuse_is_refused_and_the_next_message_is_still_heard(name: str) -> None:
    known = VECTORS["refused_by_the_seller"][name]
    seller = met(DOMAIN, "seller")
    with pytest.raises(Refused) as refused:
        seller.receive(known["number"], bytes.fromhex(known["payload"]), 0.0)
    assert refused.value.code == known["code"]
    assert refused.value.is_misbehaviour
    assert seller.receive(4, BUYER.seal(4, BID), 0.0) == MESSAGES["bid"]


@pytest.mark.parametrize("name", VECTORS["refused_bindings"])
def test_a_binding_of_another_session_or_key_is_refused(name: str) -> None:
    message = decode(bytes.fromhex(VECTORS["refused_bindings"][name]["bytes"]))
    assert isinstance(message, Ask | Open)
    with pytest.raises(BadSignature) as refused:
        check_binding(message, DOMAIN, BUYER.meeting)
    assert (refused.value.field or "").endswith(".binding")


@pytest.mark.parametrize("name", VECTORS["refused_hellos_to_the_seller"])
def test_a_hello_that_makes_no_secret_is_refused(name: str) -> None:
    seller = Conversation(DOMAIN)
    seller.hello(handshake("seller"), SECRETS["seller"])
    known = VECTORS["refused_hellos_to_the_seller"][name]
    with pytest.raises(Malformed) as refused:
        seller.receive(1, bytes.fromhex(known["bytes"]), 0.0)
    assert refused.value.field == "hello.ephemeral"
    assert not seller.met


# ----------------------------------------------------------------------------------------- seals


def test_each_end_opens_what_the_other_seals() -> None:
    buyer, seller = talk()
    assert seller.receive(2, buyer.send(MESSAGES["bid"]), 0.0) == MESSAGES["bid"]
    assert buyer.receive(2, seller.send(MESSAGES["quote"]), 0.0) == MESSAGES["quote"]


def test_a_bit_changed_anywhere_in_a_payload_is_refused() -> None:
    payload = BUYER.seal(2, BID)
    for bit in range(8 * len(payload)):
        changed = bytearray(payload)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadSeal):
            SELLER.open(2, bytes(changed))
    assert SELLER.open(2, payload) == BID


def test_a_bit_changed_anywhere_in_a_hello_leaves_both_ends_deaf_to_each_other() -> None:
    """Not noticed by the hello itself, unless it is malformed or of another ledger."""
    first = encode(hello(DOMAIN, "buyer"))
    met_anyway = 0
    for bit in range(8 * len(first)):
        changed = bytearray(first)
        changed[bit // 8] ^= 1 << bit % 8
        buyer, seller = Conversation(DOMAIN), Conversation(DOMAIN)
        buyer.hello(handshake("buyer"), SECRETS["buyer"])
        second = seller.hello(handshake("seller"), SECRETS["seller"])
        with suppress(Refused):
            seller.receive(1, bytes(changed), 0.0)
        buyer.receive(1, second, 0.0)
        if seller.met:
            met_anyway += 1
            with pytest.raises(BadSeal):
                seller.receive(2, buyer.send(MESSAGES["bid"]), 0.0)
    assert met_anyway >= 8 * 32  # each bit of the key, but for a hello that comes back or the like


def test_replayed_reordered_dropped_and_reflected_messages_are_refused() -> None:
    buyer, seller = talk()
    one, two, three = (buyer.send(MESSAGES[name]) for name in ("bid", "voucher", "inquiry"))
    seller.receive(2, one, 0.0)
    with pytest.raises(BadSeal):
        seller.receive(3, one, 0.0)  # once more
    seller, again = met(DOMAIN, "seller"), met(DOMAIN, "seller")
    with pytest.raises(BadSeal):
        seller.receive(2, two, 0.0)  # the two of them exchanged
    with pytest.raises(BadSeal):
        seller.receive(3, one, 0.0)
    seller.receive(4, three, 0.0)  # what comes in its turn is heard
    again.receive(2, one, 0.0)
    with pytest.raises(BadSeal):
        again.receive(3, three, 0.0)  # one left out: nothing after it opens
    with pytest.raises(BadSeal):
        buyer.receive(2, one, 0.0)  # sent back to where it came from


@pytest.mark.parametrize(
    ("infohash", "buyer_id", "seller_id"),
    [
        (bytes(20), PEER_IDS["buyer"], PEER_IDS["seller"]),
        (INFOHASH, bytes(20), PEER_IDS["seller"]),
        (INFOHASH, PEER_IDS["buyer"], bytes(20)),
        (INFOHASH, PEER_IDS["seller"], PEER_IDS["buyer"]),
    ],
    ids=["another swarm", "another buyer", "another seller", "both peer ids exchanged"],
)
def test_ends_that_saw_different_handshakes_do_not_open_each_other(
    infohash: bytes, buyer_id: bytes, seller_id: bytes
) -> None:
    buyer, seller = talk(seller_sees=Handshake(infohash, seller_id, buyer_id))
    with pytest.raises(BadSeal):
        seller.receive(2, buyer.send(MESSAGES["bid"]), 0.0)
    with pytest.raises(BadSeal):
        buyer.receive(2, seller.send(MESSAGES["quote"]), 0.0)


def test_a_message_of_another_connection_between_the_same_two_is_refused() -> None:
    again = hashlib.sha256(b"the buyer's next ephemeral").digest()
    first, _ = talk()
    buyer, seller = Conversation(DOMAIN), Conversation(DOMAIN)
    seller.hello(handshake("seller"), SECRETS["seller"])
    seller.receive(1, buyer.hello(handshake("buyer"), again), 0.0)
    with pytest.raises(BadSeal):
        seller.receive(2, first.send(MESSAGES["voucher"]), 0.0)


@pytest.mark.parametrize("point", LOW_ORDER, ids=[point.hex()[:8] for point in LOW_ORDER])
@pytest.mark.parametrize("top_bit", [0, 0x80])
def test_a_point_of_low_order_is_refused(point: bytes, top_bit: int) -> None:
    theirs = point[:-1] + bytes([point[-1] | top_bit])
    peer = replace(side(DOMAIN, "buyer"), ephemeral=theirs)
    with pytest.raises(Malformed) as refused:
        Session.between(DOMAIN, INFOHASH, SECRETS["seller"], side(DOMAIN, "seller"), peer)
    assert refused.value.field == "hello.ephemeral"


def test_equal_keys_are_refused_whatever_else_the_hello_says() -> None:
    own = side(DOMAIN, "seller")
    other = Side(
        PEER_IDS["buyer"], encode(replace(hello(DOMAIN, "seller"), versions=(1, 2))), own.ephemeral
    )
    with pytest.raises(Malformed, match="our own"):
        Session.between(DOMAIN, INFOHASH, SECRETS["seller"], own, other)


def test_who_comes_first_is_decided_by_the_keys_alone() -> None:
    """Either side may have called, and may buy: the same bytes follow."""
    made = []
    for number in range(8):
        secrets = [hashlib.sha256(b"%d %d" % (number, end)).digest() for end in (0, 1)]
        sides = [
            Side(bytes([end]) * 20, b"hello %d" % end, ephemeral_key(secrets[end]))
            for end in (0, 1)
        ]
        ends = [
            Session.between(DOMAIN, INFOHASH, secrets[end], sides[end], sides[1 - end])
            for end in (0, 1)
        ]
        assert ends[0].transcript == ends[1].transcript
        assert ends[1].open(2, ends[0].seal(2, b"there")) == b"there"
        assert ends[0].open(2, ends[1].seal(2, b"back")) == b"back"
        made.append(sides[0].ephemeral < sides[1].ephemeral)
    assert len(set(made)) == 2


# --------------------------------------------------------------------------------------- padding


def test_payloads_of_any_message_are_of_64_lengths_at_most() -> None:
    seen = set()
    for length in range(MAX_MESSAGE_BYTES + 1):
        plaintext = pad(bytes(length))
        assert unpad(plaintext) == bytes(length)
        assert 0 <= len(plaintext) - length - 2 < PADDING_BYTES
        seen.add(len(plaintext) + 16)
    assert seen == {64 * k + 16 for k in range(1, 64)}
    assert max(seen) == MAX_SEALED_BYTES == 4048
    assert len(BUYER.seal(2, bytes(MAX_MESSAGE_BYTES))) == MAX_SEALED_BYTES
    with pytest.raises(Malformed):
        BUYER.seal(2, bytes(MAX_MESSAGE_BYTES + 1))


@settings(derandomize=True)
@given(st.binary(max_size=200), st.integers(0, 255), st.integers(1, 255))
def test_padding_that_is_not_the_fewest_zeros_is_refused(
    message: bytes, at: int, change: int
) -> None:
    plaintext = pad(message)
    longer = plaintext + bytes(64)
    changed = bytearray(plaintext)
    padding = len(plaintext) - len(message) - 2
    wrong = [longer, plaintext[:-64]]
    if padding:
        changed[len(plaintext) - 1 - at % padding] ^= change
        wrong.append(bytes(changed))
    for one in wrong:
        with pytest.raises(BadSeal):
            unpad(one)


@settings(derandomize=True, max_examples=300)
@given(st.integers(2, 2**32), st.binary(max_size=400))
def test_any_bytes_are_refused_without_harm(number: int, payload: bytes) -> None:
    with pytest.raises(BadSeal):
        SELLER.open(number, payload)


# --------------------------------------------------------------------------------------- bindings


class Middle:
    """Somebody between a buyer and a seller, who passes their BitTorrent handshakes on as they are and
    has a session with each. Both take it for the other."""

    def __init__(self) -> None:
        own = {name: hashlib.sha256(f"middle, to the {name}".encode()).digest() for name in OTHER}
        self.ends, self.sessions = {}, {}
        for name in ("buyer", "seller"):
            end = Conversation(DOMAIN)
            theirs = end.hello(handshake(name), SECRETS[name])
            mine = encode(replace(hello(DOMAIN, name), ephemeral=ephemeral_key(own[name])))
            end.receive(1, mine, 0.0)
            self.ends[name] = end
            self.sessions[name] = Session.between(
                DOMAIN, INFOHASH, own[name],
                Side(PEER_IDS[OTHER[name]], mine, ephemeral_key(own[name])),
                Side(PEER_IDS[name], theirs, ephemeral_key(SECRETS[name])),
            )  # fmt: skip

    def passes_on(self, sender: str, message: Message, by: SigningKey | None = None) -> Message:
        """The sender says it, the one in the middle reads it and says the same to the other."""
        sealed = self.ends[sender].send(message, by)
        plain = self.sessions[sender].open(2, sealed)
        receiver = OTHER[sender]
        return self.ends[receiver].receive(2, self.sessions[receiver].seal(2, plain), 0.0)


def test_who_stands_in_the_middle_can_pass_on_neither_ask_nor_open() -> None:
    assert Middle().passes_on("buyer", MESSAGES["bid"]) == MESSAGES["bid"]  # nobody's key in it
    with pytest.raises(BadSignature) as refused:
        Middle().passes_on("seller", ASK, PAYEE)
    assert refused.value.field == "ask.binding"
    with pytest.raises(BadSignature) as refused:
        Middle().passes_on("buyer", OPEN, PAYER)
    assert refused.value.field == "open.binding"


def test_the_same_ask_and_open_are_heard_with_nobody_in_the_middle() -> None:
    buyer, seller = talk()
    ask = buyer.receive(2, seller.send(ASK, PAYEE), 0.0)
    assert isinstance(ask, Ask)
    ask.check(DOMAIN)  # the binding is not in what ``s`` signs
    assert replace(ask, binding=ASK.binding) == ASK
    assert isinstance(seller.receive(2, buyer.send(OPEN, PAYER), 0.0), Open)


@pytest.mark.parametrize(("message", "owner"), [(ASK, PAYEE), (OPEN, PAYER)])
def test_nobody_shows_the_ask_or_channel_of_another(message: Ask | Open, owner: SigningKey) -> None:
    buyer, seller = talk()
    name = "seller" if isinstance(message, Ask) else "buyer"
    sender, receiver = (seller, buyer) if name == "seller" else (buyer, seller)
    with pytest.raises(BadSignature):
        receiver.receive(2, sender.send(message, key("thief")), 0.0)
    receiver.receive(3, sender.send(message, owner), 0.0)


def test_an_ask_does_not_pass_for_an_open_of_the_same_key() -> None:
    """The role is signed, too."""
    body = BUYER.meeting
    opened = replace(OPEN, binding=PAYER.sign("session", DOMAIN, body + b"\x00"))
    with pytest.raises(BadSignature):
        check_binding(opened, DOMAIN, body)
    check_binding(
        replace(opened, binding=PAYER.sign("session", DOMAIN, body + b"\x01")), DOMAIN, body
    )


def test_what_a_key_signs_of_a_session_names_no_content() -> None:
    """Else each of two that met could prove to others what the owner of a key bought or sold."""
    here, elsewhere = session(DOMAIN, "buyer"), session(DOMAIN, "buyer", bytes(20))
    assert here.transcript != elsewhere.transcript
    first, second = sorted(hello(DOMAIN, name).ephemeral for name in SECRETS)
    met_by_hand = hashlib.sha256(b"speedpay/v1/meeting\0" + first + second).digest()
    assert here.meeting == elsewhere.meeting == SELLER.meeting == met_by_hand
    assert VECTORS["meeting"] == met_by_hand.hex()


def test_no_secret_is_shown_by_what_is_printed() -> None:
    buyer, _ = talk()
    for secret in (*SECRETS.values(), *(bytes.fromhex(made) for made in VECTORS["keys"].values())):
        for shown in (repr(buyer), repr(BUYER), repr(vars(buyer)), str(BadSeal("x", field="y"))):
            assert secret.hex() not in shown
            assert repr(secret) not in shown


def test_a_bid_that_repeats_itself_never_looks_the_same() -> None:
    buyer, _ = talk()
    bid = MESSAGES["bid"]
    assert isinstance(bid, Bid)
    assert len({buyer.send(bid) for _ in range(50)}) == 50
