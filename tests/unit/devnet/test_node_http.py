"""A node on a socket: each fault, two nodes of one chain, and what is too much for it."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from speedpay.devnet.faults import THIEF
from speedpay.devnet.node import Devnet, devnet
from speedpay.devnet.server import MAX_REQUEST_BYTES
from speedpay.devnet.transaction import Transaction, from_json
from speedpay.errors import InvalidSetting
from tests.unit.devnet.bench import TRX, Bench

WHERE = {"owner_address": "41" + 20 * "11", "to_address": "41" + 20 * "22"}


@pytest.fixture(scope="module")
def chain() -> Iterator[Devnet]:
    with devnet(block_time=None, nodes=2) as made:
        made.mine(40)
        yield made


@pytest.fixture(autouse=True)
def healed(chain: Devnet) -> Iterator[None]:
    yield
    for node in chain.nodes:
        node.heal()


def post(url: str, path: str, given: Any = None, timeout: float = 5) -> httpx.Response:
    return httpx.post(f"{url}/{path}", json=given or {}, timeout=timeout)


@pytest.fixture
def signed(chain: Devnet) -> Transaction:
    """A transfer that any node of the chain would accept."""
    return Bench(chain=chain.chain).transfer(secrets.token_bytes(20), TRX)


def test_everything_says_devnet(chain: Devnet) -> None:
    answer = post(chain.url, "wallet/getnodeinfo")
    assert answer.headers["x-network"] == "devnet"
    assert answer.json()["network"] == "devnet"
    assert httpx.get(f"{chain.url}/dev/state").json()["network"] == "devnet"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "localhost", ""])
def test_it_listens_on_this_machine_only(host: str) -> None:
    with pytest.raises(InvalidSetting, match="this machine alone"):
        Devnet(listen=[(host, 0)])


def test_a_port_in_use_is_said(chain: Devnet) -> None:
    port = urlsplit(chain.url).port
    assert port is not None
    with pytest.raises(InvalidSetting, match="cannot listen"):
        Devnet(listen=[("127.0.0.1", port)])


# ----------------------------------------------------------------------------------------- faults


def test_a_busy_node_refuses_as_often_as_told_and_changes_nothing(
    chain: Devnet, signed: Transaction
) -> None:
    chain.nodes[0].fault("busy", count=2)
    for _ in range(2):
        answer = post(chain.url, "wallet/broadcasttransaction", signed.to_json(visible=False))
        assert answer.json()["code"] == "SERVER_BUSY"
        assert not chain.chain.holds(signed.txid)
    other = post(chain.nodes[1].url, "wallet/broadcasttransaction", signed.to_json(visible=False))
    assert other.json() == {"result": True, "txid": signed.txid.hex()}


def test_a_node_that_is_too_busy_to_read_says_so(chain: Devnet) -> None:
    chain.nodes[0].fault("busy", path="wallet/getnowblock")
    answer = post(chain.url, "wallet/getnowblock")
    assert "lack of computing resources" in answer.json()["Error"]
    assert "blockID" in post(chain.url, "wallet/getnowblock").json()


@pytest.mark.parametrize(("kind", "status"), [("429", 429), ("http500", 500)])
def test_a_status_strikes_the_paths_it_is_told(chain: Devnet, kind: str, status: int) -> None:
    chain.nodes[0].fault(kind, path="walletsolidity/*")
    assert post(chain.url, "wallet/getnowblock").status_code == 200
    assert post(chain.url, "walletsolidity/getnowblock").status_code == status
    assert post(chain.url, "walletsolidity/getnowblock").status_code == 200


def test_a_slow_node_does_nothing_and_answers_nothing(chain: Devnet, signed: Transaction) -> None:
    chain.nodes[0].fault("timeout", seconds=5)
    with pytest.raises(httpx.ReadTimeout):
        post(chain.url, "wallet/broadcasttransaction", signed.to_json(visible=False), timeout=0.2)
    assert not chain.chain.holds(signed.txid)
    chain.nodes[0].fault("timeout", seconds=0)
    with pytest.raises(httpx.TransportError):
        post(chain.url, "wallet/broadcasttransaction", signed.to_json(visible=False))
    assert not chain.chain.holds(signed.txid)


def test_an_answer_may_be_lost_though_the_transaction_is_mined(
    chain: Devnet, signed: Transaction
) -> None:
    chain.nodes[0].fault("lost_but_mined")
    with pytest.raises(httpx.TransportError):
        post(chain.url, "wallet/broadcasttransaction", signed.to_json(visible=False))
    again = post(chain.url, "wallet/broadcasttransaction", signed.to_json(visible=False))
    assert again.json()["code"] == "DUP_TRANSACTION_ERROR"
    chain.mine()
    assert chain.chain.find(signed.txid) is not None


def test_a_success_may_be_a_lie(chain: Devnet, signed: Transaction) -> None:
    chain.nodes[0].fault("accepted_never_mined")
    answer = post(chain.url, "wallet/broadcasttransaction", signed.to_json(visible=False))
    assert answer.json()["result"] is True
    chain.mine()
    assert not chain.chain.holds(signed.txid)


def test_a_liar_gives_another_transaction_to_sign(chain: Devnet, signed: Transaction) -> None:
    unsigned = {"raw_data": signed.to_json(visible=False)["raw_data"]}
    honest = post(chain.url, "wallet/getsignweight", unsigned).json()["transaction"]
    assert honest["txid"] == honest["transaction"]["txID"] == signed.txid.hex()
    chain.nodes[0].fault("lie_txid", count=2)
    lie = post(chain.url, "wallet/getsignweight", unsigned).json()["transaction"]["transaction"]
    assert lie["txID"] != signed.txid.hex()
    assert from_json(lie, visible=False).contract["to_address"] == THIEF
    given = {"owner_address": "41" + signed.owner.hex(), "to_address": "41" + 20 * "22"}
    built = post(chain.url, "wallet/createtransaction", given | {"amount": 5 * TRX}).json()
    assert from_json(built, visible=False).contract["to_address"] == THIEF
    built = post(chain.url, "wallet/createtransaction", given | {"amount": 5 * TRX}).json()
    assert from_json(built, visible=False).contract["to_address"] == bytes.fromhex(20 * "22")


def test_a_node_may_be_behind(chain: Devnet) -> None:
    first = secrets.token_bytes(20)
    chain.faucet(first, TRX)
    block = chain.mine()
    chain.mine(30)
    behind, current = chain.nodes[0].url, chain.nodes[1].url
    chain.nodes[0].fault("behind", blocks=35)
    assert (
        post(behind, "wallet/getnowblock").json()["block_header"]["raw_data"]["number"] == block - 5
    )
    info = post(behind, "wallet/getnodeinfo").json()
    assert info["block"].startswith(f"Num:{block - 5},ID:")
    assert info["solidityBlock"].startswith(f"Num:{block + 30 - 18 - 35},ID:")
    given = {"address": "41" + first.hex()}
    for group in ("wallet", "walletsolidity"):
        assert post(behind, f"{group}/getaccount", given).json() == {}
        assert post(behind, f"{group}/getblockbynum", {"num": block}).json() == {}
        assert post(current, f"{group}/getaccount", given).json()["balance"] == TRX
    chain.nodes[0].heal()
    assert post(behind, "wallet/getaccount", given).json()["balance"] == TRX


def test_a_node_may_be_of_another_network(chain: Devnet) -> None:
    mainnet = bytes(8) + secrets.token_bytes(20) + bytes.fromhex("2b6653dc")
    chain.nodes[0].fault("wrong_genesis", genesis=mainnet)
    for path, given in (("getblockbynum", {"num": 0}), ("getblock", {"id_or_num": "0"})):
        assert post(chain.url, f"wallet/{path}", given).json()["blockID"] == mainnet.hex()
        honest = post(chain.nodes[1].url, f"wallet/{path}", given).json()
        assert honest["blockID"] == chain.genesis_id.hex()
    assert (
        post(chain.url, "wallet/getblockbynum", {"num": 1}).json()["blockID"][:16] == 15 * "0" + "1"
    )


def test_a_fault_that_is_none_is_refused(chain: Devnet) -> None:
    for wrong in (
        {"kind": "flood"},
        {"kind": "busy", "count": 0},
        {"kind": "busy", "blocks": 5},
        {"kind": "behind"},
        {"kind": "timeout", "seconds": 601},
    ):
        assert post(chain.url, "dev/fault", wrong).status_code == 400
    assert post(chain.url, "dev/state").json()["faults"] == []


# ------------------------------------------------------------------------------------------ /dev/


def test_the_chain_is_driven_over_http(chain: Devnet) -> None:
    to = secrets.token_bytes(20)
    given = {"address": "41" + to.hex(), "amount_sun": 7}
    txid = post(chain.url, "dev/faucet", given).json()["txid"]
    head = post(chain.url, "dev/state").json()["head"]
    assert post(chain.url, "dev/mine", {"blocks": 3}).json()["head"] == head + 3
    info = post(chain.url, "wallet/gettransactioninfobyid", {"value": txid}).json()
    assert info["blockNumber"] == head + 1
    after = post(chain.url, "dev/reorg", {"depth": 3, "drop": True}).json()
    assert (after["head"], after["pending"]) == (head, 0)
    before = after["now_ms"]
    assert post(chain.url, "dev/time", {"advance_s": 100}).json()["now_ms"] >= before + 100_000
    assert post(chain.url, "dev/fault", {"kind": "http500", "count": 3}).json()["faults"]
    assert post(chain.url, "dev/fault", {"kind": "none"}).json()["faults"] == []


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("dev/faucet", {"address": "T1", "amount_sun": 1}),
        ("dev/faucet", {"address": "41" + 20 * "11", "amount_sun": 0}),
        ("dev/mine", {"blocks": 5_001}),
        ("dev/reorg", {"depth": 0}),
        ("dev/time", {"advance_s": -1}),
    ],
)
def test_what_the_chain_cannot_do_is_a_400(chain: Devnet, path: str, given: Any) -> None:
    assert post(chain.url, path, given).status_code == 400


# ----------------------------------------------------------------------------------- hostile input


def test_unknown_calls_are_404(chain: Devnet) -> None:
    for path in (
        "wallet/createwitness",
        "walletsolidity/broadcasttransaction",
        "",
        "dev/rm",
        "x/y",
    ):
        assert post(chain.url, path).status_code == 404


def test_a_request_that_is_too_big_is_refused(chain: Devnet) -> None:
    body = b'{"x":"' + MAX_REQUEST_BYTES * b"0" + b'"}'
    answer = httpx.post(f"{chain.url}/wallet/getnowblock", content=body)
    assert answer.status_code == 400
    assert "more than" in answer.json()["Error"]


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff\xff", 100_000 * b"["])
def test_a_body_that_is_no_object_is_refused(chain: Devnet, body: bytes) -> None:
    answer = httpx.post(f"{chain.url}/wallet/getnowblock", content=body)
    assert "Error" in answer.json()


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("getblockbynum", {"num": "x"}),
        ("getblockbynum", {"num": 2**70}),
        ("getblockbyid", {"value": "zz"}),
        ("getblockbylimitnext", {"startNum": 0, "endNum": 10**9}),
        ("getblockbylatestnum", {"num": 10**9}),
        ("getaccount", {"address": 5}),
        ("getaccount", {}),
        ("getaccount", {"address": "T" + 33 * "9", "visible": True}),
        ("getsignweight", {}),
        ("broadcasttransaction", {"raw_data": {"contract": [7]}}),
        ("broadcasttransaction", {"raw_data": {}, "signature": 1000 * ["00"]}),
        ("broadcasthex", {"transaction": "0a"}),
        ("createtransaction", WHERE | {"amount": 1}),
    ],
)
def test_parameters_that_are_none_are_refused_with_a_word(
    chain: Devnet, path: str, given: dict[str, Any]
) -> None:
    answer = post(chain.url, f"wallet/{path}", given)
    assert answer.status_code == 200
    assert answer.json()["Error"].startswith("class ")


def test_a_call_that_cannot_run_says_why(chain: Devnet) -> None:
    given = {"owner_address": "41" + 20 * "11", "contract_address": "41" + 20 * "22"}
    for path in ("triggerconstantcontract", "triggersmartcontract", "estimateenergy"):
        answer = post(chain.url, f"wallet/{path}", given | {"function_selector": "f()"})
        assert answer.json()["result"]["code"] == "CONTRACT_VALIDATE_ERROR"


def test_get_works_as_post_does(chain: Devnet) -> None:
    by_get = httpx.get(f"{chain.url}/wallet/getblockbynum", params={"num": 1, "visible": "true"})
    assert (
        by_get.json() == post(chain.url, "wallet/getblockbynum", {"num": 1, "visible": True}).json()
    )


def test_a_client_that_sends_half_a_request_harms_nobody(chain: Devnet) -> None:
    address = urlsplit(chain.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as half:
        head = f"POST /wallet/getnowblock HTTP/1.1\r\nhost: {address.netloc}\r\n"
        half.sendall((head + "content-length: 100\r\n\r\n{").encode())
        assert "blockID" in post(chain.url, "wallet/getnowblock").json()
    assert json.loads(post(chain.url, "dev/state").text)["network"] == "devnet"
