"""What is in the golden vectors: ``files()`` gives every file's content, from fixed keys.

Run by ``./scripts/make_vectors``. Tests compare the files with the code; another implementation of
``speedpay/peer/SPEC.md`` needs only the files.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from speedpay.certificates import CertificateSet
from speedpay.channel.receipt import PayeeReceipt, content_commitment
from speedpay.channel.voucher import (
    Assignment,
    Closing,
    SignedStatement,
    Statement,
    Voucher,
    channel_id,
)
from speedpay.errors import Refused
from speedpay.market.allocator import Demand, shares, weights
from speedpay.market.bidder import Formula, Plan, explain
from speedpay.peer import bencode
from speedpay.peer.binding import bind
from speedpay.peer.messages import (
    BY_TYPE,
    Ack,
    Ask,
    Bid,
    DemandMessage,
    ErrorMessage,
    HeadMessage,
    Inquiry,
    Message,
    Open,
    Pause,
    Prospect,
    Quote,
    ReceiptMessage,
    Resume,
    StopMessage,
    TopUp,
    VoucherMessage,
    decode,
    encode,
)
from speedpay.signing import Certificate, Domain, SigningKey, digest, ledger_id
from speedpay.units import GIB, KIB, MIB, Amount, MoneyClass, Price, Share
from tests.vectors.heads import certified, heads, heads_file
from tests.vectors.proof import proof_file
from tests.vectors.session import INFOHASH, hello, session, session_file

FOLDER = Path(__file__).parent
Json = dict[str, Any]
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def key(name: str) -> SigningKey:
    """The secret is sha256 of the name: for tests only."""
    return SigningKey(hashlib.sha256(name.encode()).digest())


ROOT, RESPONSE, PAYER, PAYEE = key("root"), key("response"), key("payer"), key("payee")
DOMAIN = Domain("speedpay-test", ledger_id(ROOT.public))
NONCE = bytes(range(16))
CHANNEL = channel_id(DOMAIN, PAYER.public, PAYEE.public, NONCE)
STATEMENT = Statement(
    CHANNEL, PAYER.public, PAYEE.public, NONCE, MoneyClass.CREDIT, Amount(48_829),
    1_800_003_600, 691_200, Share(1_000),
)  # fmt: skip
TOPPED_UP = Statement(
    CHANNEL, PAYER.public, PAYEE.public, NONCE, MoneyClass.CREDIT, Amount(97_658),
    1_800_086_400, 691_200, Share(1_000),
)  # fmt: skip
SIGNED = SignedStatement.sign(RESPONSE, DOMAIN, STATEMENT)
SIGNED_TOP_UP = SignedStatement.sign(RESPONSE, DOMAIN, TOPPED_UP)
VOUCHER = Voucher.sign(PAYER, DOMAIN, CHANNEL, Amount(1_525))
CERTIFICATE = Certificate.issue(ROOT, DOMAIN.network, RESPONSE.public, 1_790_000_000, 1_900_000_000)
CERTIFICATES = CertificateSet(DOMAIN, (CERTIFICATE,))
#: What asks and opens are bound to, here.
MEETING = session(DOMAIN, "buyer").meeting
ASK = Ask(
    3_000_001, PAYEE.public, Price(24_414), frozenset(MoneyClass), Amount(1_000), Share(250_000),
    1_800_000_600, bytes(64),
).signed(PAYEE, DOMAIN)  # fmt: skip
SALT = hashlib.sha256(b"salt").digest()
COMMITMENT = content_commitment(SALT, INFOHASH)
RECEIPT = PayeeReceipt.sign(
    PAYEE, DOMAIN, CHANNEL, Amount(1_525), 65_536, COMMITMENT, 1_800_000_100
)
HEADS = heads(DOMAIN)
FIRST, TWIN = (certified(HEADS[n], RESPONSE, DOMAIN, CERTIFICATE) for n in ("first", "twin"))
OPEN = Open(STATEMENT, SIGNED.signature, Amount(0))
REOPEN = Open(TOPPED_UP, SIGNED_TOP_UP.signature, Amount(1_525))

MESSAGES: dict[str, Message] = {
    "hello": hello(DOMAIN, "buyer"),
    "hello of one that knows more": replace(hello(DOMAIN, "seller"), versions=(1, 2)),
    "ask": bind(ASK, PAYEE, DOMAIN, MEETING),
    "bid": Bid(7, Price(24_414), 2**20, 180),
    "quote": Quote(7, Price(24_414), 2**20, Share(750_000), 9),
    "open": bind(OPEN, PAYER, DOMAIN, MEETING),
    "open after a reconnect": bind(REOPEN, PAYER, DOMAIN, MEETING),
    "topup": TopUp(TOPPED_UP, SIGNED_TOP_UP.signature),
    "voucher": VoucherMessage(CHANNEL, VOUCHER.cumulative, VOUCHER.signature, 65_536, 16_384),
    "ack": Ack(CHANNEL, Amount(1_525), 131_072),
    "receipt": ReceiptMessage.of(RECEIPT),
    "pause": Pause(CHANNEL, Amount(1_525), 65_536),
    "resume": Resume(CHANNEL, Amount(1_525), 65_536),
    "stop": StopMessage(CHANNEL, Amount(1_525), 65_536),
    "evidence": HeadMessage.of(FIRST, TWIN),
    "head": HeadMessage.of(FIRST),
    "error": ErrorMessage("channel_closed", 4),
    "inquiry": Inquiry(7, (Price(0), Price(12_207), Price(24_414))),
    "prospect": Prospect(7, (524_288, 6_291_456, 8_388_608), 9, 16_777_216),
    "demand": DemandMessage(CHANNEL, SALT, COMMITMENT),
}


def _wire(kind: int, wire: dict[bytes, bencode.Value]) -> bytes:
    return bytes([1, kind]) + bencode.encode(wire)


def refused_encodings() -> dict[str, bytes]:
    """Why it is refused → the bytes."""
    bid = encode(MESSAGES["bid"])
    pause = encode(MESSAGES["pause"])
    body: dict[bytes, bencode.Value] = {b"i": 7, b"p": 24_414, b"t": 180, b"w": 2**20}
    ack: dict[bytes, bencode.Value] = {b"c": CHANNEL, b"n": 1, b"w": 1}
    greeting: dict[bytes, bencode.Value] = {
        b"v": [1], b"l": bytes(32), b"n": b"x", b"x": bytes(32),
    }  # fmt: skip
    statement = STATEMENT.to_bytes()
    unknown_class = statement[:114] + b"\x02" + statement[115:]
    head = bencode.decode(encode(MESSAGES["head"])[2:])
    evidence = bencode.decode(encode(MESSAGES["evidence"])[2:])
    assert isinstance(head, dict)
    assert isinstance(evidence, dict)
    off_curve = statement[:32] + b"\x05" + statement[33:]
    return {
        "empty": b"",
        "no type": b"\x01",
        "version 0": b"\x00" + bid[1:],
        "version 2": b"\x02" + bid[1:],
        "unknown type": _wire(200, {}),
        "longer than 4030 bytes": bid + bytes(4031 - len(bid)),
        "not a dictionary": b"\x01\x02" + bencode.encode([1, 2]),
        "trailing byte": bid + b"\x00",
        "cut short": bid[:-1],
        "unknown key": _wire(2, {**body, b"z": 1}),
        "missing key": _wire(2, {b"i": 7, b"p": 24_414, b"t": 180}),
        "keys out of order": b"\x01\x02d1:pi24414e1:ii7e1:ti180e1:wi1048576ee",
        "key twice": b"\x01\x02d1:ii7e1:ii7e1:pi24414e1:ti180e1:wi1048576ee",
        "leading zero": bid.replace(b"i7e", b"i07e"),
        "minus zero": bid.replace(b"i7e", b"i-0e"),
        "plus sign": bid.replace(b"i7e", b"i+7e"),
        "negative": bid.replace(b"i7e", b"i-7e"),
        "empty integer": bid.replace(b"i7e", b"ie"),
        "integer of 30 digits": bid.replace(b"i7e", b"i" + b"1" * 30 + b"e"),
        "string length with a leading zero": pause.replace(b"32:", b"032:"),
        "deep nesting": b"\x01\x02" + b"l" * 40 + b"e" * 40,
        "text where a number belongs": _wire(2, {**body, b"p": b"24414"}),
        "price zero": _wire(2, {**body, b"p": 0}),
        "price 2^63": _wire(2, {**body, b"p": 2**63}),
        "bid too short": _wire(2, {**body, b"t": 59}),
        "bid too long": _wire(2, {**body, b"t": 301}),
        "bid id zero": _wire(2, {**body, b"i": 0}),
        "amount 2^63": _wire(7, {**ack, b"n": 2**63}),
        "amount below zero": _wire(7, {**ack, b"n": -1}),
        "channel of 31 bytes": _wire(7, {**ack, b"c": CHANNEL[:-1]}),
        "channel of 33 bytes": _wire(7, {**ack, b"c": CHANNEL + b"\x00"}),
        "signature of 65 bytes": _wire(
            6, {b"c": CHANNEL, b"n": 1, b"s": bytes(65), b"v": 0, b"r": 0}
        ),
        "no versions": _wire(0, {**greeting, b"v": []}),
        "versions of text": _wire(0, {**greeting, b"v": [b"1"]}),
        "network with a space": _wire(0, {**greeting, b"n": b"a b"}),
        "hello without a key": _wire(0, {b"v": [1], b"l": bytes(32), b"n": b"x"}),
        "hello with a key of 31 bytes": _wire(0, {**greeting, b"x": bytes(31)}),
        "ask without a binding": encode(ASK).replace(b"1:x64:" + bytes(64), b""),
        "no class of money": encode(ASK).replace(b"1:ci3e", b"1:ci0e"),
        "error code too long": _wire(13, {b"c": b"x" * 33, b"t": 0}),
        "receipt without a commitment": encode(MESSAGES["receipt"]).replace(
            b"1:h32:" + COMMITMENT, b""
        ),
        "demand without a salt": _wire(16, {b"c": CHANNEL, b"z": COMMITMENT}),
        "head of epoch 0": _wire(12, {**head, b"h": bytes(224)}),
        "head of 223 bytes": _wire(12, {**head, b"h": FIRST.signed.head.to_bytes()[:-1]}),
        "head that follows nothing": _wire(12, {**head, b"h": bytes(7) + b"\x02" + bytes(216)}),
        "evidence within evidence": _wire(12, {**head, b"o": evidence}),
        "evidence that is no head": _wire(12, {**head, b"o": {b"h": head[b"h"]}}),
        "statement cut short": _wire(5, {b"b": statement[:-1], b"s": bytes(64)}),
        "statement of unknown money": _wire(5, {b"b": unknown_class, b"s": bytes(64)}),
        "statement with a key off the curve": _wire(5, {b"b": off_curve, b"s": bytes(64)}),
        "statement with an escrow of 2^63": _wire(
            5, {b"b": statement[:115] + b"\x80" + bytes(7) + statement[123:], b"s": bytes(64)}
        ),
    }


def _jsonable(value: bencode.Value) -> Any:
    if isinstance(value, dict):
        return {name.decode(): _jsonable(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_jsonable(entry) for entry in value]
    return value if isinstance(value, int) else {"hex": value.hex()}


def _refusal(payload: bytes) -> Json:
    try:
        decode(payload)
    except Refused as refusal:
        return {"bytes": payload.hex(), "code": refusal.code, "field": refusal.field}
    raise AssertionError(f"{payload!r} was not refused")


def signing_file() -> Json:
    body = b"body"
    kinds = (
        "ask", "session", "statement", "voucher", "assignment", "certificate", "receipt", "head",
    )  # fmt: skip
    signature = PAYER.sign("voucher", DOMAIN, body)
    twin = signature[:32] + (_ORDER - int.from_bytes(signature[32:])).to_bytes(32)
    return {
        "network": DOMAIN.network,
        "ledger_id": DOMAIN.ledger_id.hex(),
        "keys": {
            name: {"secret": hashlib.sha256(name.encode()).hexdigest(), "public": k.public.hex()}
            for name, k in (
                ("root", ROOT),
                ("response", RESPONSE),
                ("payer", PAYER),
                ("payee", PAYEE),
            )
        },
        "body": body.hex(),
        "signed_by": "payer",
        "digests": {kind: digest(kind, DOMAIN, body).hex() for kind in kinds},
        "signatures": {kind: PAYER.sign(kind, DOMAIN, body).hex() for kind in kinds},
        "refused": {
            "voucher, high-s twin": twin.hex(),
            "voucher, trailing byte": signature.hex() + "00",
        },
    }


def channel_file() -> Json:
    assignment = Assignment.sign(PAYEE, DOMAIN, CHANNEL, bytes(range(16)))
    closing = Closing.sign(PAYEE, DOMAIN, CHANNEL, assignment.account, VOUCHER.cumulative)
    return {
        "nonce": NONCE.hex(),
        "channel_id": CHANNEL.hex(),
        "statement": STATEMENT.to_bytes().hex(),
        "statement_signature": SIGNED.signature.hex(),
        "top_up": TOPPED_UP.to_bytes().hex(),
        "top_up_signature": SIGNED_TOP_UP.signature.hex(),
        "voucher": {
            "cumulative": VOUCHER.cumulative.to_wire(),
            "body": Voucher.body(CHANNEL, VOUCHER.cumulative).hex(),
            "signature": VOUCHER.signature.hex(),
        },
        "assignment": {
            "account": assignment.account.hex(),
            "signature": assignment.signature.hex(),
        },
        "close": {
            "account": closing.account.hex(),
            "cumulative": closing.cumulative.to_wire(),
            "signature": closing.signature.hex(),
        },
        "receipt": {
            "infohash": INFOHASH.hex(),
            "salt": SALT.hex(),
            "commitment": COMMITMENT.hex(),
            "byte_count": RECEIPT.byte_count,
            "time": RECEIPT.time,
            "body": PayeeReceipt.body(
                CHANNEL, RECEIPT.cumulative, RECEIPT.byte_count, COMMITMENT, RECEIPT.time
            ).hex(),
            "signature": RECEIPT.signature.hex(),
        },
        "certificate": {
            "not_before": CERTIFICATE.not_before,
            "not_after": CERTIFICATE.not_after,
            "body": Certificate.body(
                RESPONSE.public, CERTIFICATE.not_before, CERTIFICATE.not_after
            ).hex(),
            "signature": CERTIFICATE.signature.hex(),
        },
    }


def messages_file() -> Json:
    accepted = {}
    for name, message in MESSAGES.items():
        payload = encode(message)
        accepted[name] = {
            "type": message.TYPE,
            "keys": _jsonable(bencode.decode(payload[2:])),
            "bytes": payload.hex(),
        }
    return {
        "types": {kind.__name__.removesuffix("Message").lower(): n for n, kind in BY_TYPE.items()},
        "accepted": accepted,
        "refused": {name: _refusal(payload) for name, payload in refused_encodings().items()},
    }


def _bid(name: str, plan: Plan, spent: int, balance: int, remaining: int) -> Json:
    found = explain(plan, Amount(spent), Amount(balance), remaining)
    return {
        "name": name,
        "plan": plan.to_json(),
        "spent": str(spent),
        "balance": str(balance),
        "remaining_bytes": remaining,
        "allowance": plan.allowance.to_wire(),
        "left": found.left.to_wire(),
        "divisor_bytes": found.divisor_bytes,
        "raw": found.raw.utok_per_mib,
        "published": found.published.utok_per_mib,
        "price": found.price.utok_per_mib,
        "clamp": found.clamp.value,
        "stop": found.stop.value if found.stop else None,
        "says": str(found),
    }


def bids_file() -> Json:
    hundred, quarter = Amount(100_000_000), Share(250_000)
    plan = Plan(quarter, hundred, GIB, GIB).start()
    live = Plan(quarter, hundred, GIB, GIB, Formula.PUBLISHED).start()
    capped = Plan(quarter, hundred, GIB, GIB, cap=Price(20_000)).start()
    fixed = Plan(quarter, hundred, GIB, GIB, fixed=Price(5_000)).start()
    limited = Plan(quarter, hundred, GIB, GIB, max_spend=Amount(1_000_000)).start()
    return {
        "prices": "whole µtok per MiB; ÷ 1,024 gives µtok per KB",
        "examples": [
            _bid("the plan's first bid", plan, 0, 100_000_000, GIB),
            _bid("half way, having paid 6.144 tok", plan, 6_144_000, 93_856_000, GIB // 2),
            _bid("the last 16 KB with 18 tok left", plan, 7_000_000, 93_000_000, 16 * KIB),
            _bid("the live formula half way", live, 6_144_000, 93_856_000, GIB // 2),
            _bid("a cap of the user's", capped, 0, 100_000_000, GIB),
            _bid("a fixed price", fixed, 0, 100_000_000, GIB),
            _bid("a hard limit of 1 tok", limited, 0, 100_000_000, GIB),
            _bid("nothing remains", plan, 6_144_000, 93_856_000, 0),
            _bid("the allowance is spent", plan, 25_000_000, 75_000_000, MIB),
        ],
    }


def allocator_file() -> Json:
    cases: dict[str, list[tuple[int, int] | tuple[int, int, str]]] = {
        "two prices and two free": [(1, 300), (2, 100), (3, 0), (4, 0)],
        "free peers only": [(1, 0), (2, 0), (3, 0)],
        "payers only": [(1, 10), (2, 1)],
        "one payer among many": [(1, 24_414), *((n, 0) for n in range(2, 10))],
        "a crowd of small payers": [(1, 10**9), (2, 0), *((n, 1) for n in range(3, 203))],
        "nobody": [],
        "three of one place, paying": [(1, 100), (2, 100, "b"), (3, 50, "b"), (4, 50, "b"), (5, 0)],
        "three of one place, free": [(1, 100), (2, 0), (3, 0, "b"), (4, 0, "b"), (5, 0, "b")],
    }
    made: Json = {"free_pool_ppm": 250_000, "cases": {}}
    for name, case in cases.items():
        demands = [
            Demand(connection, Price(price), place[0] if place else f"place {connection}")
            for connection, price, *place in case
        ]
        due, found = shares(demands, Share(250_000)), weights(demands, Share(250_000))
        made["cases"][name] = [
            {
                "price": demand.price.utok_per_mib,
                "place": demand.place,
                "share": str(due[demand.connection]),
                "weight": found[demand.connection],
            }
            for demand in demands
        ]
    return made


def files() -> dict[str, str]:
    """File name → its text."""
    made = {
        "signing.json": signing_file(),
        "channel.json": channel_file(),
        "messages.json": messages_file(),
        "bids.json": bids_file(),
        "allocator.json": allocator_file(),
        "session.json": session_file(DOMAIN, MESSAGES, PAYER, PAYEE),
        "heads.json": heads_file(DOMAIN, RESPONSE, CERTIFICATE),
        "proof.json": proof_file(DOMAIN, RESPONSE, CERTIFICATE),
    }
    return {
        name: json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        for name, content in made.items()
    }


def main(arguments: list[str]) -> int:
    changed = []
    for name, text in files().items():
        path = FOLDER / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            changed.append(name)
            if "--check" not in arguments:
                path.write_text(text, encoding="utf-8")
    for name in changed:
        print(f"tests/vectors/{name} {'differs' if '--check' in arguments else 'written'}")
    return 1 if changed and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
