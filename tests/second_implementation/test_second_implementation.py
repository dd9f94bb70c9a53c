"""The protocol written a second time, from SPEC.md alone: it agrees with the vectors, and with itself."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.second_implementation import sealing
from tests.second_implementation.bencoding import encode
from tests.second_implementation.buyer import Buyer
from tests.second_implementation.connection import Connection
from tests.second_implementation.harness import call, listening, read_torrent
from tests.second_implementation.messages import TABLE, Message, Refused, body_of, read
from tests.second_implementation.prices import Bids, whole_utok
from tests.second_implementation.sealing import Session, Side
from tests.second_implementation.seller import Seller
from tests.second_implementation.signatures import (
    Ledger,
    Statement,
    ledger_id,
    public_of,
    voucher_body,
)

HERE = Path(__file__).resolve().parent
VECTORS = HERE.parent / "vectors"
SIGNING, CHANNEL, MESSAGES, SESSION = (
    json.loads((VECTORS / f"{name}.json").read_text())
    for name in ("signing", "channel", "messages", "session")
)
OTHERS = {"coincurve", "cryptography"}


def test_it_imports_nothing_of_speedpay() -> None:
    files = [path for path in HERE.glob("*.py") if not path.name.startswith("test_")]
    assert len(files) >= 8
    assert {name for path in files for name in _foreign(path.read_text())} <= OTHERS


def test_an_import_of_speedpay_would_be_seen() -> None:
    assert _foreign("def f():\n    from speedpay.peer import messages") == {"speedpay"}
    assert _foreign("import tests.scenarios.clients") == {"tests.scenarios.clients"}


def _foreign(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
        elif isinstance(node, ast.Name):
            assert node.id not in ("__import__", "import_module")
    return {
        name if name.startswith("tests.") else name.split(".")[0]
        for name in names
        if not name.startswith("tests.second_implementation")
        and name.split(".")[0] not in sys.stdlib_module_names
    }


# --- vectors ------------------------------------------------------------------------------------

LEDGER = Ledger(SIGNING["network"].encode(), bytes.fromhex(SIGNING["ledger_id"]))
SECRETS = {who: bytes.fromhex(pair["secret"]) for who, pair in SIGNING["keys"].items()}
PUBLIC = {who: bytes.fromhex(pair["public"]) for who, pair in SIGNING["keys"].items()}


def test_keys_ids_digests_and_signatures_are_those_of_the_vectors() -> None:
    assert {who: public_of(secret) for who, secret in SECRETS.items()} == PUBLIC
    assert ledger_id(PUBLIC["root"]) == LEDGER.id
    body, by = bytes.fromhex(SIGNING["body"]), SIGNING["signed_by"]
    for kind, digest in SIGNING["digests"].items():
        assert LEDGER.digest(kind.encode(), body).hex() == digest
        signature = LEDGER.sign(SECRETS[by], kind.encode(), body)
        assert signature.hex() == SIGNING["signatures"][kind]
        assert LEDGER.is_signed(PUBLIC[by], kind.encode(), body, signature)
        assert not LEDGER.is_signed(PUBLIC[by], kind.encode() + b"x", body, signature)
    for refused in SIGNING["refused"].values():
        assert not LEDGER.is_signed(PUBLIC[by], b"voucher", body, bytes.fromhex(refused))


def test_the_objects_of_a_channel_are_those_of_the_vectors() -> None:
    at = CHANNEL
    for name in ("statement", "top_up"):
        data, signature = bytes.fromhex(at[name]), bytes.fromhex(at[f"{name}_signature"])
        found = Statement.read(data)
        assert found.channel.hex() == at["channel_id"]
        assert found.channel == LEDGER.channel_id(found.payer, found.payee, found.nonce)
        assert (found.payer, found.payee) == (PUBLIC["payer"], PUBLIC["payee"])
        assert LEDGER.sign(SECRETS["response"], b"statement", data) == signature
    channel = bytes.fromhex(at["channel_id"])
    voucher = voucher_body(channel, int(at["voucher"]["cumulative"]))
    assert voucher.hex() == at["voucher"]["body"]
    account = bytes.fromhex(at["assignment"]["account"])
    total = int(at["close"]["cumulative"]).to_bytes(8, "big")
    certificate = at["certificate"]
    start, end = certificate["not_before"], certificate["not_after"]
    times = start.to_bytes(8, "big") + end.to_bytes(8, "big")
    certified = bytes.fromhex(certificate["signature"])
    assert LEDGER.is_certified(PUBLIC["root"], PUBLIC["response"], start, end, certified)
    assert not LEDGER.is_certified(PUBLIC["response"], PUBLIC["response"], start, end, certified)
    assert not LEDGER.is_certified(PUBLIC["root"], PUBLIC["payer"], start, end, certified)
    for who, kind, body in (
        ("payer", "voucher", voucher),
        ("payee", "assignment", channel + account),
        ("payee", "close", channel + account + total),
        ("root", "certificate", PUBLIC["response"] + times),
    ):
        assert LEDGER.sign(SECRETS[who], kind.encode(), body).hex() == at[kind]["signature"], kind


def _plain(value: Any) -> Any:
    """As the vectors write values: strings of bytes in a dictionary of their own."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict) and "hex" in value:
        return bytes.fromhex(value["hex"])
    if isinstance(value, dict):
        return {key.encode(): _plain(inner) for key, inner in value.items()}
    return value


def test_every_type_of_the_vectors_is_known_by_its_number() -> None:
    assert MESSAGES["types"] == {name: number for number, (name, _) in TABLE.items()}


@pytest.mark.parametrize("name", MESSAGES["accepted"])
def test_a_message_of_the_vectors_is_read_and_written_alike(name: str) -> None:
    vector = MESSAGES["accepted"][name]
    keys = {key: _plain(value) for key, value in vector["keys"].items()}
    payload = bytes.fromhex(vector["bytes"])
    message = read(payload)
    assert (message.keys, message.encoded()) == (keys, payload)
    if message.name == "ask":
        signed = body_of({key: value for key, value in keys.items() if key not in "sx"})
        assert LEDGER.is_signed(keys["k"], b"ask", signed, keys["s"])


@pytest.mark.parametrize("name", MESSAGES["refused"])
def test_a_message_that_the_vectors_refuse_is_refused(name: str) -> None:
    vector = MESSAGES["refused"][name]
    with pytest.raises(Refused) as refused:
        read(bytes.fromhex(vector["bytes"]))
    assert refused.value.code == vector["code"]


SIDES = {
    who: Side(bytes.fromhex(side["peer_id"]), bytes.fromhex(side["hello"]))
    for who, side in SESSION["sides"].items()
}


def _session(who: str) -> Session:
    other = next(name for name in SIDES if name != who)
    secret = bytes.fromhex(SESSION["sides"][who]["secret"])
    infohash = bytes.fromhex(SESSION["infohash"])
    return Session.agree(LEDGER, infohash, SIDES[who], SIDES[other], secret)


def test_both_sides_of_the_vectors_come_to_the_same_session() -> None:
    for who in SIDES:
        session = _session(who)
        assert session.transcript.hex() == SESSION["transcript"]
        assert session.send_key.hex() == SESSION["keys"][f"from {who}"]
    for name, role, who in (("ask", 0, "payee"), ("open", 1, "payer")):
        vector = SESSION["bindings"][name]
        body = _session("buyer").binding_body(role)
        assert body.hex() == vector["body"]
        assert LEDGER.sign(SECRETS[who], b"session", body).hex() == vector["signature"]


def test_sealed_payloads_are_those_of_the_vectors_and_open() -> None:
    for vector in SESSION["sealed"]:
        sender, message = vector["from"], bytes.fromhex(vector["message"])
        payload = bytes.fromhex(vector["payload"])
        receiver = next(name for name in SIDES if name != sender)
        assert _session(sender).seal(vector["number"], message) == payload
        assert _session(receiver).open(vector["number"], payload) == message


PLANTED = {
    "padding": ("STEP", 32),
    "byte order": ("_nonce", lambda number: number.to_bytes(12, "little")),
    "a hello without its length": ("_counted", lambda hello: hello),
}


@pytest.mark.parametrize(("name", "value"), PLANTED.values(), ids=PLANTED.keys())
def test_a_fault_that_is_planted_in_it_is_caught_by_the_vectors(
    monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    monkeypatch.setattr(sealing, name, value)
    with pytest.raises((AssertionError, Refused)):
        test_sealed_payloads_are_those_of_the_vectors_and_open()


@pytest.mark.parametrize("name", SESSION["refused_by_the_seller"])
def test_a_payload_that_the_vectors_refuse_is_refused(name: str) -> None:
    vector = SESSION["refused_by_the_seller"][name]
    seller = Connection(None, None, LEDGER, b"", b"", b"")  # type: ignore[arg-type]
    seller.session, seller.received = _session("seller"), vector["number"] - 1
    with pytest.raises(Refused) as refused:
        seller.on_payload(bytes.fromhex(vector["payload"]))
    assert refused.value.code == vector["code"]


@pytest.mark.parametrize("name", SESSION["refused_hellos_to_the_seller"])
def test_a_hello_that_the_vectors_refuse_is_refused(name: str) -> None:
    vector = SESSION["refused_hellos_to_the_seller"][name]
    theirs = Side(SIDES["buyer"].peer_id, bytes.fromhex(vector["bytes"]))
    secret = bytes.fromhex(SESSION["sides"]["seller"]["secret"])
    with pytest.raises(Refused) as refused:
        Session.agree(LEDGER, bytes(20), SIDES["seller"], theirs, secret)
    assert refused.value.code == vector["code"]


@pytest.mark.parametrize("name", SESSION["refused_bindings"])
def test_a_binding_that_the_vectors_refuse_is_refused(name: str) -> None:
    message = read(bytes.fromhex(SESSION["refused_bindings"][name]["bytes"]))
    role = 0 if message.name == "ask" else 1
    key = message["k"] if message.name == "ask" else Statement.read(message["b"]).payer
    body = _session("buyer").binding_body(role)
    assert not LEDGER.is_signed(key, b"session", body, message["x"])


def test_a_block_has_the_price_of_the_bid_that_came_before_its_request() -> None:
    bids = Bids()
    for number, price in ((2, 100), (5, 200), (7, 200), (9, 300)):
        bids.add(number, price)
    assert bids.made == [(2, 100), (5, 200), (9, 300)]
    assert [bids.price_of(n) for n in (1, 2, 4, 5, 8, 9, 20)] == [100, 100, 100, 200, 200, 300, 300]


# --- with itself --------------------------------------------------------------------------------


def _content(length: int, piece_length: int) -> tuple[bytes, bytes]:
    data = random.Random(length).randbytes(length)
    hashes = b"".join(
        hashlib.sha1(data[at : at + piece_length]).digest() for at in range(0, length, piece_length)
    )
    info = {b"name": b"a", b"length": length, b"piece length": piece_length, b"pieces": hashes}
    return data, encode({b"info": info})


@pytest.mark.parametrize("length", [1, 3 << 20, (1 << 20) + 12_345])
def test_its_buyer_and_its_seller_trade_and_count_alike(length: int) -> None:
    data, file = _content(length, 64 * 1024)
    torrent = read_torrent(file)
    own = Ledger(b"devnet", os.urandom(32))
    response = os.urandom(32)

    async def lock(payer: bytes, payee: bytes, escrow: int) -> tuple[bytes, bytes]:
        nonce, expiry = os.urandom(16), int(time.time()) + 3600
        numbers = b"\1" + b"".join(n.to_bytes(8, "big") for n in (escrow, expiry, 60)) + bytes(4)
        made = own.channel_id(payer, payee, nonce) + payer + payee + nonce + numbers
        return made, own.sign(response, b"statement", made)

    async def scene() -> tuple[Buyer, Seller]:
        async with listening(
            "127.0.0.1", 0, own, torrent,
            lambda connection: Seller(
                connection, torrent, data, 500, time.time, frozenset({public_of(response)})
            ),
        ) as (port, done):  # fmt: skip
            connection = await call("127.0.0.1", port, "127.0.0.1", own, torrent)
            buyer = Buyer(connection, torrent, 1_000, 1_000_000, lock, time.time)
            await asyncio.wait_for(buyer.run(), 60)
            return buyer, await asyncio.wait_for(done.get(), 60)

    buyer, seller = asyncio.run(scene())
    assert b"".join(buyer.content[piece] for piece in range(len(torrent.hashes))) == data
    assert buyer.due == seller.due == length * 1_000
    assert buyer.signed == seller.held == whole_utok(length * 1_000)
    assert "error" not in buyer.heard
    assert seller.heard[-1] == "stop"


def test_a_message_has_the_bytes_of_its_dictionary() -> None:
    assert Message("bid", {"w": 4, "t": 60, "p": 1, "i": 1}).encoded() == (
        b"\1\2d1:ii1e1:pi1e1:ti60e1:wi4ee"
    )
