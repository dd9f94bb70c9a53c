"""The bytes that are signed: published transactions, and what must never be signed or sent again."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from speedpay.chain.keys import ChainKey, signer_of
from speedpay.chain.protobuf import encode_raw, parameter, transaction_id
from speedpay.chain.transaction import Signed, hex_address, unsigned
from speedpay.errors import Malformed, NotAllowed

PUBLISHED = json.loads((Path(__file__).parents[2] / "vectors/tron_transactions.json").read_text())
ALICE, BOB = ChainKey(bytes(31) + b"\x01"), ChainKey(bytes(31) + b"\x02")
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def raw_transfer(**changes: Any) -> dict[str, Any]:
    value = {
        "owner_address": hex_address(ALICE.address), "to_address": hex_address(BOB.address), "amount": 5,
    }  # fmt: skip
    return {
        "ref_block_bytes": "0001", "ref_block_hash": "00" * 8, "expiration": 1_700_000_060_000,
        "timestamp": 1_700_000_000_000, "contract": [parameter("TransferContract", value)],
    } | changes  # fmt: skip


@pytest.mark.parametrize("vector", PUBLISHED, ids=lambda vector: vector["what"])
def test_a_published_transaction_has_its_published_id(vector: dict[str, Any]) -> None:
    assert transaction_id(vector["raw_data"]).hex() == vector["txID"]


def test_a_published_key_makes_the_published_signature() -> None:
    vector = next(v for v in PUBLISHED if "secret" in v)
    txid, signature = ChainKey(bytes.fromhex(vector["secret"])).sign(vector["raw_data"])
    assert (txid.hex(), signature.hex()) == (vector["txID"], vector["signature"])


def test_every_signature_has_the_low_s_and_names_its_signer() -> None:
    for amount in range(1, 65):
        raw = raw_transfer()
        raw["contract"][0]["parameter"]["value"]["amount"] = amount
        txid, signature = ALICE.sign(raw)
        assert int.from_bytes(signature[32:64]) <= ORDER // 2
        assert signer_of(txid, signature) == ALICE.address


def test_the_high_s_twin_of_a_signature_is_refused() -> None:
    txid, signature = ALICE.sign(raw_transfer())
    high = ORDER - int.from_bytes(signature[32:64])
    twin = signature[:32] + high.to_bytes(32) + bytes([signature[64] ^ 1])
    with pytest.raises(Malformed, match="low-s"):
        signer_of(txid, twin)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"scripts": "00"}, "raw_data.scripts"),  # no field of ours: the node might read it
        ({"expiration": -1}, "raw_data.expiration"),
        ({"expiration": 2**63}, "raw_data.expiration"),
        ({"fee_limit": True}, "raw_data.fee_limit"),
        ({"timestamp": "1"}, "raw_data.timestamp"),
        ({"data": "0"}, "raw_data.data"),
        ({"ref_block_bytes": 1}, "raw_data.ref_block_bytes"),
        (
            {"contract": [{"type": "VoteWitnessContract", "parameter": {}}]},
            "raw_data.contract.type",
        ),
        ({"contract": "x"}, "raw_data.contract"),
    ],
)
def test_what_cannot_be_a_transaction_of_ours_is_refused_by_its_field(
    change: dict[str, Any], field: str
) -> None:
    with pytest.raises(Malformed) as caught:
        encode_raw(raw_transfer(**change))
    assert caught.value.field == field


def test_a_contract_under_another_type_s_name_is_refused() -> None:
    raw = raw_transfer()
    raw["contract"][0]["parameter"]["type_url"] = (
        "type.googleapis.com/protocol.TriggerSmartContract"
    )
    with pytest.raises(Malformed, match="TransferContract"):
        encode_raw(raw)


def test_an_unknown_field_deep_inside_a_contract_is_refused() -> None:
    raw = raw_transfer()
    raw["contract"][0]["parameter"]["value"]["visible"] = True
    with pytest.raises(Malformed) as caught:
        encode_raw(raw)
    assert caught.value.field == "raw_data.contract.parameter.value.visible"


def test_only_the_owner_s_key_signs() -> None:
    with pytest.raises(NotAllowed):
        unsigned(raw_transfer()).sign(BOB)


def test_two_contracts_in_one_transaction_are_refused() -> None:
    raw = raw_transfer()
    raw["contract"] = raw["contract"] * 2
    with pytest.raises(Malformed):
        unsigned(raw)


def test_a_stored_transaction_comes_back_the_same() -> None:
    signed = unsigned(raw_transfer()).sign(ALICE)
    assert Signed.from_stored(signed.text) == signed
    assert signed.expires_at == 1_700_000_060


def _changed(path: list[Any], value: Any) -> str:
    body = copy.deepcopy(unsigned(raw_transfer()).sign(ALICE).body)
    place = body
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return json.dumps(body)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "{" * 5000,
        _changed(["txID"], "00" * 32),
        _changed(["raw_data", "contract", 0, "parameter", "value", "amount"], 6),
        _changed(["raw_data", "expiration"], 1_700_000_061_000),
        _changed(["signature"], []),
        _changed(["signature"], ["00" * 65]),
        _changed(["signature"], [7]),
        _changed(["signature"], [BOB.sign(raw_transfer())[1].hex()]),
        _changed(["extra"], 1),
    ],
)  # fmt: skip
def test_a_stored_transaction_that_was_changed_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        Signed.from_stored(text)


def test_a_key_never_shows_itself() -> None:
    secret = bytes(range(1, 33))
    key = ChainKey(secret)
    assert secret.hex() not in repr(key) + str(key)
    assert repr(key) == f"ChainKey({key.base58})"


@pytest.mark.parametrize("secret", [b"", bytes(32), b"\xff" * 32, bytes(31)])
def test_a_secret_outside_the_curve_s_order_is_refused(secret: bytes) -> None:
    with pytest.raises(Malformed):
        ChainKey(secret)
