"""One sealed session in vectors: two hellos, what follows from them, and what a receiver must refuse."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from speedpay.errors import Refused
from speedpay.peer.binding import bind, bound_key, check_binding
from speedpay.peer.conversation import Conversation
from speedpay.peer.messages import MAX_MESSAGE_BYTES, Ask, Hello, Message, Open, encode
from speedpay.peer.sealing import Handshake, Session, Side, ephemeral_key, pad
from speedpay.signing import Domain, SigningKey

Json = dict[str, Any]

SECRETS = {
    name: hashlib.sha256(f"{name}'s ephemeral".encode()).digest() for name in ("buyer", "seller")
}
PEER_IDS = {"buyer": b"-SP0100-buyer0123456", "seller": b"-SP0100-seller012345"}
INFOHASH = hashlib.sha256(b"content").digest()[:20]
OTHER = {"buyer": "seller", "seller": "buyer"}


def handshake(name: str) -> Handshake:
    return Handshake(INFOHASH, PEER_IDS[name], PEER_IDS[OTHER[name]])


def hello(domain: Domain, name: str) -> Hello:
    return Hello((1,), domain.ledger_id, domain.network, ephemeral_key(SECRETS[name]))


def side(domain: Domain, name: str) -> Side:
    said = hello(domain, name)
    return Side(PEER_IDS[name], encode(said), said.ephemeral)


def session(domain: Domain, name: str, infohash: bytes = INFOHASH) -> Session:
    """``name``'s end of it."""
    own, peer = side(domain, name), side(domain, OTHER[name])
    return Session.between(domain, infohash, SECRETS[name], own, peer)


def met(domain: Domain, name: str) -> Conversation:
    """``name``'s end, both hellos having been said."""
    conversation = Conversation(domain)
    conversation.hello(handshake(name), SECRETS[name])
    conversation.receive(1, encode(hello(domain, OTHER[name])), 0.0)
    return conversation


def keys(domain: Domain) -> dict[str, bytes]:
    """Name → the key with which it seals; from the libraries themselves, not by ``peer/sealing.py``."""
    own = X25519PrivateKey.from_private_bytes(SECRETS["buyer"])
    theirs = X25519PublicKey.from_public_bytes(hello(domain, "seller").ephemeral)
    salt = session(domain, "buyer").transcript
    made = HKDF(SHA256(), 64, salt=salt, info=b"speedpay/v1/seal").derive(own.exchange(theirs))
    first = min(SECRETS, key=lambda name: hello(domain, name).ephemeral)
    return {first: made[:32], OTHER[first]: made[32:]}


def refused_payloads(
    domain: Domain, messages: Mapping[str, Message]
) -> dict[str, tuple[int, bytes]]:
    """Why the seller refuses it → the number under which it comes, and the payload."""
    buyer, seller = session(domain, "buyer"), session(domain, "seller")
    cipher, transcript = ChaCha20Poly1305(keys(domain)["buyer"]), buyer.transcript
    bid, asked = encode(messages["bid"]), encode(messages["ask"])
    good = buyer.seal(2, bid)

    def sealed(plaintext: bytes) -> bytes:
        return cipher.encrypt((2).to_bytes(12), plaintext, transcript)

    padded = pad(bid)
    return {
        "not sealed": (2, bid),
        "a second hello, not sealed": (2, encode(hello(domain, "buyer"))),
        "a second hello, sealed": (2, buyer.seal(2, encode(hello(domain, "buyer")))),
        "empty": (2, b""),
        "only a tag": (2, good[-16:]),
        "cut short": (2, good[:-1]),
        "a block too short": (2, good[:64]),
        "a byte more": (2, good + b"\x00"),
        "a bit of the ciphertext": (2, bytes([good[0] ^ 1]) + good[1:]),
        "a bit of the tag": (2, good[:-1] + bytes([good[-1] ^ 0x80])),
        "said again": (3, good),
        "before its turn": (2, buyer.seal(3, bid)),
        "our own, sent back": (2, seller.seal(2, asked)),
        "of another swarm": (2, session(domain, "buyer", bytes(20)).seal(2, bid)),
        "padding that is not zero": (2, sealed(padded[:-1] + b"\x01")),
        "a block of zeros too many": (2, sealed(padded + bytes(64))),
        "a length beyond the end": (2, sealed(b"\xff\xff" + padded[2:])),
        "a length that is too small": (2, sealed((1).to_bytes(2) + padded[2:])),
        "nothing inside": (2, buyer.seal(2, b"")),
        "longer than 4048 bytes": (2, sealed(pad(bid + bytes(MAX_MESSAGE_BYTES + 1 - len(bid))))),
    }  # fmt: skip


def refused_bindings(
    domain: Domain, messages: Mapping[str, Message], payer: SigningKey, payee: SigningKey
) -> dict[str, Ask | Open]:
    """Why it is refused in this session → the message."""
    ask, opened = messages["ask"], messages["open"]
    assert isinstance(ask, Ask)
    assert isinstance(opened, Open)
    here = session(domain, "buyer").meeting
    elsewhere = hashlib.sha256(b"another meeting").digest()
    return {
        "an ask of another connection": bind(ask, payee, domain, elsewhere),
        "an ask by another key": bind(ask, payer, domain, here),
        "an ask on another network": bind(ask, payee, Domain("other", domain.ledger_id), here),
        "an open of another connection": bind(opened, payer, domain, elsewhere),
        "an open by another key": bind(opened, payee, domain, here),
    }


def _sealed(domain: Domain, name: str, number: int, message: Message) -> Json:
    plain = encode(message)
    payload = session(domain, name).seal(number, plain)
    return {"from": name, "number": number, "message": plain.hex(), "payload": payload.hex()}


def _refusal(domain: Domain, number: int, payload: bytes) -> Json:
    try:
        met(domain, "seller").receive(number, payload, 0.0)
    except Refused as refusal:
        return {"number": number, "payload": payload.hex(), "code": refusal.code}
    raise AssertionError(f"{payload!r} was not refused")


def _bound(domain: Domain, message: Ask | Open) -> Json:
    body = session(domain, "buyer").meeting + (b"\x00" if isinstance(message, Ask) else b"\x01")
    check_binding(message, domain, body[:-1])
    return {
        "key": bound_key(message).hex(), "kind": "session", "body": body.hex(),
        "signature": message.binding.hex(), "message": encode(message).hex(),
    }  # fmt: skip


def session_file(
    domain: Domain, messages: Mapping[str, Message], payer: SigningKey, payee: SigningKey
) -> Json:
    ask, opened = messages["ask"], messages["open"]
    assert isinstance(ask, Ask)
    assert isinstance(opened, Open)
    first, second = sorted(SECRETS, key=lambda name: hello(domain, name).ephemeral)
    shared = X25519PrivateKey.from_private_bytes(SECRETS["buyer"]).exchange(
        X25519PublicKey.from_public_bytes(hello(domain, "seller").ephemeral)
    )
    low_order = Hello((1,), domain.ledger_id, domain.network, bytes(32))
    wrong = refused_bindings(domain, messages, payer, payee)
    return {
        "network": domain.network,
        "ledger_id": domain.ledger_id.hex(),
        "infohash": INFOHASH.hex(),
        "sides": {
            name: {
                "secret": SECRETS[name].hex(),
                "peer_id": PEER_IDS[name].hex(),
                "hello": encode(hello(domain, name)).hex(),
            }
            for name in SECRETS
        },
        "first": first,
        "second": second,
        "transcript": session(domain, "buyer").transcript.hex(),
        "meeting": session(domain, "buyer").meeting.hex(),
        "shared_secret": shared.hex(),
        "keys": {f"from {name}": key.hex() for name, key in keys(domain).items()},
        "sealed": [
            _sealed(domain, "seller", 2, ask),
            _sealed(domain, "buyer", 2, messages["bid"]),
            _sealed(domain, "seller", 3, messages["quote"]),
            _sealed(domain, "buyer", 3, opened),
            _sealed(domain, "seller", 4, messages["ack"]),
            _sealed(domain, "buyer", 300, messages["voucher"]),
        ],
        "bindings": {"ask": _bound(domain, ask), "open": _bound(domain, opened)},
        "refused_by_the_seller": {
            name: _refusal(domain, number, payload)
            for name, (number, payload) in refused_payloads(domain, messages).items()
        },
        "refused_bindings": {
            name: {"bytes": encode(message).hex(), "code": "bad_signature"}
            for name, message in wrong.items()
        },
        "refused_hellos_to_the_seller": {
            "its own": {"bytes": encode(hello(domain, "seller")).hex(), "code": "malformed"},
            "a point of low order": {"bytes": encode(low_order).hex(), "code": "malformed"},
        },
    }
