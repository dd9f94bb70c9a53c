"""Bytes, ids and signatures of transactions: against real ones of the main network, and refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from speedpay.chain import protobuf
from speedpay.devnet import jsonform, wire
from speedpay.devnet.fees import RESULT_BYTES
from speedpay.devnet.schema import TYPE_URL
from speedpay.devnet.transaction import SignatureProblem, build, from_bytes, from_json
from speedpay.errors import Malformed
from tests.unit.devnet.bench import Key

#: A transfer of the main network, in block 54,393,481; its bandwidth was 268 bytes.
REAL = json.loads("""
{"ret":[{"contractRet":"SUCCESS"}],"signature":["1ddad0478c0a1c3c12c970cb90ca09446223d634ea5c315768b4c64cf273545a\
12c186e5de9884117f4933b4635347a38ff8a26d3ab659520adbe60547e071b600"],
"txID":"1abdaae882a5bd80bda189e8722705a4b7d110f580da3ad000d0fe53e61b469f",
"raw_data":{"contract":[{"parameter":{"value":{"amount":40000000,"owner_address":"4179309abcff2cf531070ca9222a1f72\
c4a5136874","to_address":"41c6a137bb170cc0dd40fcb83f18b389fa9426ac46"},"type_url":"type.googleapis.com/\
protocol.TransferContract"},"type":"TransferContract"}],"ref_block_bytes":"fa73","ref_block_hash":"2b2f6684f9986495",
"expiration":1693814418000,"timestamp":1693810760850},
"raw_data_hex":"0a02fa7322082b2f6684f998649540d0d4d3f9a5315a68080112640a2d747970652e676f6f676c65617069732e636f6d2f\
70726f746f636f6c2e5472616e73666572436f6e747261637412330a154179309abcff2cf531070ca9222a1f72c4a5136874121541c6a137bb\
170cc0dd40fcb83f18b389fa9426ac461880b489137092b9f4f7a531"}
""")  # fmt: skip


def with_value(**value: Any) -> dict[str, Any]:
    """The real transaction with some fields of its contract changed, without what would contradict."""
    made = json.loads(json.dumps({"raw_data": REAL["raw_data"]}))
    made["raw_data"]["contract"][0]["parameter"]["value"] |= value
    return made


def test_a_real_transfer_has_its_real_id_bytes_owner_and_bandwidth() -> None:
    made = from_json(REAL, visible=False)
    assert made.txid.hex() == REAL["txID"]
    assert made.raw.hex() == REAL["raw_data_hex"]
    assert made.signer() == made.owner == bytes.fromhex("79309abcff2cf531070ca9222a1f72c4a5136874")
    assert len(made.encoded) + RESULT_BYTES == 268
    assert from_bytes(made.encoded) == made
    assert made.to_json(visible=False, result="SUCCESS") == REAL


def test_both_json_forms_are_one_transaction() -> None:
    made = from_json(REAL, visible=False)
    shown = made.to_json(visible=True)
    value = shown["raw_data"]["contract"][0]["parameter"]["value"]
    assert value["owner_address"].startswith("T")
    assert from_json(shown, visible=True) == made
    with pytest.raises(Malformed):
        from_json(shown, visible=False)
    with pytest.raises(Malformed):
        from_json(REAL, visible=True)


def test_the_encoder_agrees_with_that_of_the_chain_layer() -> None:
    """Two implementations by two hands; a deployment has every kind of field."""
    entry = {
        "name": "f", "type": "function", "stateMutability": "payable", "anonymous": False,
        "inputs": [{"name": "", "type": "uint256", "internalType": "uint256", "indexed": True}],
        "outputs": [{"name": "öffentlich", "type": "bool"}, {}],
    }  # fmt: skip
    new = {
        "origin_address": "41" + 20 * "ab", "abi": {"entrys": [entry, {"type": "receive"}]},
        "bytecode": 300 * "60", "name": "Vault", "consume_user_resource_percent": 100,
        "origin_energy_limit": 10_000_000, "call_value": 0,
    }  # fmt: skip
    raw_data = {
        "contract": [
            {
                "parameter": {
                    "value": {"owner_address": "41" + 20 * "ab", "new_contract": new},
                    "type_url": TYPE_URL + "CreateSmartContract",
                },
                "type": "CreateSmartContract",
            }
        ],
        "ref_block_bytes": "0001", "ref_block_hash": 8 * "01", "expiration": 2**41,
        "timestamp": 2**41 - 1, "fee_limit": 15_000_000_000,
    }  # fmt: skip
    message = jsonform.from_json("raw", raw_data, visible=False)
    ours = wire.encode("raw", message)
    assert ours == protobuf.encode_raw(jsonform.to_json("raw", message, visible=False))
    assert wire.decode("raw", ours) == message


def test_a_negative_number_is_ten_bytes_and_comes_back() -> None:
    made = jsonform.from_json("TransferContract", {"amount": -1}, visible=False)
    encoded = wire.encode("TransferContract", made)
    assert encoded == b"\x18" + 9 * b"\xff" + b"\x01"
    assert wire.decode("TransferContract", encoded) == {"amount": -1}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": 2**63}, "amount"),
        ({"amount": 1.5}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": "12x"}, "amount"),
        ({"to_address": "42" + 20 * "00"}, "to_address"),
        ({"to_address": 20 * "00"}, "to_address"),
        ({"to_address": "T" + 33 * "1"}, "to_address"),
        ({"to_address": 5}, "to_address"),
        ({"owner_address": ""}, "owner_address"),
    ],
)
def test_a_field_that_is_not_what_it_must_be_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(Malformed) as caught:
        from_json(with_value(**change), visible=False)
    assert field in str(caught.value.field)


@pytest.mark.parametrize(
    "raw_data",
    [
        None,
        [],
        {},
        REAL["raw_data"] | {"contract": []},
        REAL["raw_data"] | {"contract": REAL["raw_data"]["contract"] * 2},
        REAL["raw_data"] | {"contract": [REAL["raw_data"]["contract"][0] | {"type": "TriggerSmartContract"}]},
        REAL["raw_data"] | {"contract": [REAL["raw_data"]["contract"][0] | {"type": "VoteWitnessContract"}]},
        REAL["raw_data"] | {"contract": [{"type": "TransferContract"}]},
    ],
)  # fmt: skip
def test_what_is_no_single_known_contract_is_refused(raw_data: Any) -> None:
    with pytest.raises(Malformed):
        from_json({"raw_data": raw_data}, visible=False)


def test_raw_data_hex_that_says_something_else_is_refused() -> None:
    lying = with_value(amount=1) | {"raw_data_hex": REAL["raw_data_hex"]}
    with pytest.raises(Malformed, match="does not agree"):
        from_json(lying, visible=False)


def test_an_id_that_a_client_claims_is_not_believed() -> None:
    claimed = with_value(amount=1) | {"txID": REAL["txID"]}
    assert from_json(claimed, visible=False).txid.hex() != REAL["txID"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw[:-1],
        lambda raw: raw + b"\x98\x06\x01",  # field 99
        lambda raw: raw + b"\x0d1234",  # a fixed32
        lambda raw: raw + b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        lambda raw: raw + 11 * b"\xff",
        lambda raw: raw + b"\x12\x80\x80\x00" + b"",  # a length in three bytes where one is enough
        lambda raw: b"",
    ],
)
def test_bytes_that_are_no_transaction_are_refused(spoil: Any) -> None:
    with pytest.raises(Malformed):
        from_bytes(spoil(from_json(REAL, visible=False).encoded))


def test_every_form_of_v_is_taken_and_no_other() -> None:
    key, unsigned = Key(), build(from_json(REAL, visible=False).raw_data)
    for v in (0, 27):
        assert key.sign(unsigned, v).signer() == key.address
    for v in (2, 29, 254):
        with pytest.raises(SignatureProblem):
            key.sign(unsigned, v).signer()


@pytest.mark.parametrize("signature", [b"", bytes(64), bytes(65), b"\xff" * 65, bytes(66)])
def test_what_is_no_signature_has_no_signer(signature: bytes) -> None:
    unsigned = from_json(REAL, visible=False)
    with pytest.raises(SignatureProblem):
        build(unsigned.raw_data, (signature,)).signer()


@pytest.mark.parametrize("count", [0, 2, 6])
def test_one_account_has_one_key(count: int) -> None:
    real = from_json(REAL, visible=False)
    with pytest.raises(SignatureProblem):
        build(real.raw_data, real.signatures * count).signer()
