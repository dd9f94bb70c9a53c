"""What nodes say: fields they leave out, and fields that cannot be."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedpay.chain import answers
from speedpay.chain.protobuf import parameter, transaction_id
from speedpay.devnet.transaction import from_json
from speedpay.errors import Malformed

TXID = "ab" * 32
ADDRESS = "41" + "11" * 20
LOG = {"address": "11" * 20, "topics": ["22" * 32], "data": "33"}


def test_a_receipt_of_which_a_node_left_out_everything_empty_is_a_success() -> None:
    receipt = answers.receipt({"id": TXID, "blockNumber": 5})
    assert (receipt.ok, receipt.block, receipt.energy, receipt.fee_sun) == (True, 5, 0, 0)
    assert (receipt.logs, receipt.contract, receipt.output) == ((), None, b"")


def test_a_full_receipt_is_read() -> None:
    receipt = answers.receipt({
        "id": TXID, "blockNumber": 5, "blockTimeStamp": 1_700_000_000_999, "fee": 7,
        "contractResult": ["beef"], "contract_address": ADDRESS, "log": [LOG, {"address": "11" * 20}],
        "receipt": {"result": "SUCCESS", "energy_usage_total": 9},
    })  # fmt: skip
    assert (receipt.time_s, receipt.energy, receipt.output) == (1_700_000_000, 9, b"\xbe\xef")
    assert receipt.contract == b"\x11" * 20
    first, second = receipt.events(b"\x11" * 20)
    assert (first.index, first.topics, first.data) == (0, (b"\x22" * 32,), b"\x33")
    assert (second.index, second.topics, second.data) == (1, (), b"")
    assert receipt.events(b"\x12" * 20) == []


@pytest.mark.parametrize(
    "result", ["REVERT", "OUT_OF_ENERGY", "OUT_OF_TIME", "UNKNOWN", "NEW_WORD"]
)
def test_every_result_but_success_is_a_failure(result: str) -> None:
    assert not answers.receipt({"id": TXID, "receipt": {"result": result}}).ok
    assert not answers.receipt({"id": TXID, "result": "FAILED"}).ok


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": None}, "receipt.id"), ({"id": "ab"}, "receipt.id"), ({"id": "zz" * 32}, "receipt.id"),
        ({"blockNumber": -1}, "receipt.blockNumber"), ({"blockNumber": "5"}, "receipt.blockNumber"),
        ({"blockNumber": True}, "receipt.blockNumber"), ({"fee": 2**63}, "receipt.fee"),
        ({"fee": 1.5}, "receipt.fee"), ({"receipt": []}, "receipt.receipt"),
        ({"receipt": {"result": 5}}, "receipt.result"), ({"log": {}}, "receipt.log"),
        ({"log": [5]}, "receipt.log[0]"), ({"log": [LOG, {}]}, "receipt.log[1].address"),
        ({"log": [LOG] * 5000}, "receipt.log"), ({"log": [LOG | {"data": "0"}]}, "receipt.log[0].data"),
        ({"log": [LOG | {"data": "00" * 65_537}]}, "receipt.log[0].data"),
        ({"log": [LOG | {"topics": ["22" * 32] * 5}]}, "receipt.log[0].topics"),
        ({"log": [LOG | {"topics": ["22"]}]}, "receipt.log[0].topics"),
        ({"contractResult": "x"}, "receipt.contractResult"),
        ({"contractResult": [" 00"]}, "receipt.contractResult"),
        ({"contract_address": "41"}, "receipt.contract_address"),
    ],
)  # fmt: skip
def test_a_receipt_that_cannot_be_is_refused_by_its_field(
    change: dict[str, Any], field: str
) -> None:
    with pytest.raises(Malformed) as caught:
        answers.receipt({"id": TXID, "blockNumber": 5} | change)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "theirs",
    [{"address": "12" * 20, "data": "00" * 70_000}, {"address": "12" * 20, "topics": ["0"] * 9}, 5, {},
     {"address": 5}, {"address": "T" * 34}],
)  # fmt: skip
def test_no_log_of_others_keeps_us_from_ours(theirs: Any) -> None:
    """Otherwise anybody could stop every ledger's deposits with one transaction."""
    entry = {"id": TXID, "blockNumber": 5, "log": [theirs] * 5000 + [LOG, theirs]}
    (event,) = answers.events(entry, b"\x11" * 20)
    assert (event.index, event.data, event.block) == (5000, b"\x33", 5)
    assert answers.events({"log": "x", "fee": "odd"}, b"\x11" * 20) == []


def test_a_failed_transaction_has_no_events() -> None:
    assert answers.events({"id": TXID, "log": [LOG], "result": "FAILED"}, b"\x11" * 20) == []


def test_a_block_s_id_begins_with_its_number() -> None:
    header = {"raw_data": {"number": 7, "timestamp": 3000}}
    good = {"blockID": (7).to_bytes(8).hex() + "cd" * 24, "block_header": header}
    found = answers.block(good)
    assert (found.number, found.time_s) == (7, 3)
    with pytest.raises(Malformed) as caught:
        answers.block(good | {"blockID": (8).to_bytes(8).hex() + "cd" * 24})
    assert caught.value.field == "blockID"


def test_free_bandwidth_is_the_better_of_two_purses_not_their_sum() -> None:
    said = {
        "freeNetLimit": 600,
        "freeNetUsed": 100,
        "NetLimit": 400,
        "EnergyLimit": 9,
        "EnergyUsed": 10,
    }
    assert answers.resources(said) == answers.Resources(energy=0, bandwidth=500)
    assert answers.resources({}) == answers.Resources(0, 0)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("11" * 20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["id", "log", "receipt", "result", "blockNumber", "topics", "data", "address", "block_header",
         "raw_data", "blockID", "contractResult", "contract_address", "fee"]), inner, max_size=5),
)  # fmt: skip


@given(_JSON)
def test_nothing_that_a_node_says_raises_anything_but_malformed(said: Any) -> None:
    for read in (answers.receipt, answers.block, answers.resources):
        with suppress(Malformed):
            read(said)


# --------------------------------------------------------------------- two writers of the same bytes

_HEX = st.binary(max_size=40).map(bytes.hex)
_ADDRESS = st.binary(min_size=20, max_size=20).map(lambda raw: "41" + raw.hex())
_NUMBER = st.integers(0, 2**63 - 1)
_WORD = st.text(st.characters(codec="utf-8"), max_size=12)
_PARAM = st.fixed_dictionaries(
    {}, optional={"name": _WORD, "type": _WORD, "indexed": st.booleans()}
)
_ENTRY = st.fixed_dictionaries({}, optional={
    "name": _WORD, "anonymous": st.booleans(), "constant": st.booleans(), "payable": st.booleans(),
    "inputs": st.lists(_PARAM, max_size=3), "outputs": st.lists(_PARAM, max_size=2),
    "type": st.sampled_from(["Constructor", "Function", "Event", "Error", "Fallback", "Receive"]),
    "stateMutability": st.sampled_from(["Pure", "View", "Nonpayable", "Payable"]),
})  # fmt: skip
_CONTRACTS = st.one_of(
    st.fixed_dictionaries({"owner_address": _ADDRESS}, optional={
        "to_address": _ADDRESS, "amount": _NUMBER}).map(lambda v: parameter("TransferContract", v)),
    st.fixed_dictionaries({"owner_address": _ADDRESS}, optional={
        "contract_address": _ADDRESS, "call_value": _NUMBER, "data": _HEX, "token_id": _NUMBER,
        "call_token_value": _NUMBER}).map(lambda v: parameter("TriggerSmartContract", v)),
    st.fixed_dictionaries({"owner_address": _ADDRESS, "new_contract": st.fixed_dictionaries({}, optional={
        "origin_address": _ADDRESS, "bytecode": _HEX, "name": _WORD, "call_value": _NUMBER,
        "consume_user_resource_percent": _NUMBER, "origin_energy_limit": _NUMBER,
        "abi": st.fixed_dictionaries({"entrys": st.lists(_ENTRY, max_size=3)})})}).map(
            lambda v: parameter("CreateSmartContract", v)),
)  # fmt: skip
_RAW = st.fixed_dictionaries({"contract": st.lists(_CONTRACTS, min_size=1, max_size=1)}, optional={
    "ref_block_bytes": _HEX, "ref_block_hash": _HEX, "expiration": _NUMBER, "timestamp": _NUMBER,
    "fee_limit": _NUMBER, "data": _HEX, "ref_block_num": _NUMBER,
})  # fmt: skip


@given(_RAW)
def test_the_development_chain_writes_the_same_bytes(raw_data: dict[str, Any]) -> None:
    """Two encoders that share no code; what both got wrong, published transactions show."""
    theirs = from_json({"raw_data": raw_data, "signature": []}, visible=False)
    assert transaction_id(raw_data) == theirs.txid


def test_importing_the_package_loads_neither_tronpy_nor_eth_abi() -> None:
    modules = "tron, vault, token, deploy, selftest, keyfile, nodes"
    code = (
        f"import sys; from speedpay.chain import {modules}; "
        "print([m for m in ('tronpy', 'eth_abi', 'httpx', 'requests') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
