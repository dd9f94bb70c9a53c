"""Nodes that are down, slow, busy, late, on another network or lying; one test for each."""

from __future__ import annotations

import time
from typing import Any

import pytest

from speedpay.chain.keys import ChainKey
from speedpay.chain.networks import DEVNET, MAINNET_GENESIS, NILE, SHASTA
from speedpay.chain.tron import Tron
from speedpay.devnet.node import Devnet, devnet
from speedpay.errors import (
    ChainRefused,
    ChainUnreachable,
    InvalidSetting,
    Malformed,
    WrongNetwork,
)
from tests.integration.chain.conftest import SOLID, TRX, Connect, Contracts, done, new_net
from tests.integration.chain.liar import Raw, liar

NOBODY = "http://127.0.0.1:1"  # a port on which nothing listens


def test_head_and_solid_block_are_those_of_the_chain(net: Devnet, tron: Tron) -> None:
    number = net.mine(5)
    assert tron.head().number == number
    assert tron.solid().number == number - SOLID + 1  # 18 blocks stand on it
    assert tron.genesis == net.genesis_id
    assert tron.chain_id == int.from_bytes(net.genesis_id[-4:])


# ------------------------------------------------------------------------------ down, slow and busy


def test_while_one_node_is_down_the_other_answers(net: Devnet, connect: Connect) -> None:
    number = net.mine()
    assert connect(NOBODY, net.url).head().number >= number


def test_what_money_depends_on_is_not_believed_of_one_node_when_two_are_configured(
    net: Devnet, connect: Connect, alice: ChainKey
) -> None:
    tron = connect(NOBODY, net.url)
    with pytest.raises(ChainUnreachable, match="two nodes must agree"):
        tron.solid()
    with pytest.raises(ChainUnreachable, match="two nodes must agree"):
        tron.receipt(bytes(32), solid=True)
    with pytest.raises(ChainUnreachable, match="two nodes must agree"):
        tron.events(alice.address, 1, 2)
    with pytest.raises(ChainUnreachable):  # it may be known to the one that is silent
        tron.known(bytes(32))


def test_when_no_node_answers_all_are_named(connect: Connect) -> None:
    tron = connect(NOBODY, "http://127.0.0.1:2")
    with pytest.raises(ChainUnreachable) as caught:
        tron.head()
    assert "127.0.0.1:1" in str(caught.value)
    assert "127.0.0.1:2" in str(caught.value)
    assert caught.value.exit_code == 6


def test_a_slow_node_costs_its_time_out_and_no_more(net: Devnet, connect: Connect) -> None:
    tron = connect(net.nodes[0].url, net.nodes[1].url, timeout_s=0.2, attempts=1)
    tron.check_network()
    net.nodes[0].fault("timeout", count=1, seconds=30)
    number, begun = net.mine(), time.monotonic()
    assert tron.head().number == number
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("kind", ["429", "http500", "busy"])
def test_a_busy_node_is_asked_again(net: Devnet, connect: Connect, kind: str) -> None:
    tron = connect(net.url, attempts=4)
    tron.check_network()
    net.nodes[0].fault(kind, count=3, path="wallet/getnowblock")
    number = net.mine()
    assert tron.head().number == number + 3  # a block is made in each wait


def test_a_node_that_stays_busy_is_given_up(net: Devnet, connect: Connect) -> None:
    tron = connect(net.url)
    tron.check_network()
    net.nodes[0].fault("429", count=100)
    with pytest.raises(ChainUnreachable, match="429"):
        tron.head()


def test_a_public_node_that_cuts_us_off_is_given_longer_than_it_takes(net: Devnet) -> None:
    """TronGrid: 30 s of nothing but 403 for whoever asks too often."""
    waits: list[float] = []
    net.nodes[0].fault("wrong_genesis", genesis=NILE.genesis)
    net.nodes[0].fault("429", count=3, path="wallet/getnowblock")
    with Tron(NILE, [net.url], sleep=waits.append) as tron:
        tron.head()
    waited = sorted(waits)[-3:]
    assert sum(waited) > 30
    assert waited[0] < waited[1] < waited[2] <= 37.5


def test_a_public_node_is_asked_less_than_15_times_a_second(net: Devnet) -> None:
    net.nodes[0].fault("wrong_genesis", genesis=NILE.genesis)
    with Tron(NILE, [net.url]) as tron:
        tron.check_network()
        begun = time.monotonic()
        for _ in range(5):
            tron.head()
        assert time.monotonic() - begun >= 5 / 15


# ------------------------------------------------------------------------------- another network


def test_a_node_on_another_network_is_refused(net: Devnet, connect: Connect) -> None:
    net.nodes[1].fault("wrong_genesis")
    with pytest.raises(WrongNetwork, match="another chain"):
        connect().check_network()
    with pytest.raises(WrongNetwork):
        connect().solid()


@pytest.mark.parametrize("genesis", [MAINNET_GENESIS, NILE.genesis, SHASTA.genesis])
def test_a_real_chain_is_no_devnet_and_mainnet_is_nothing(
    net: Devnet, connect: Connect, genesis: bytes
) -> None:
    net.nodes[0].fault("wrong_genesis", genesis=genesis)
    with pytest.raises(WrongNetwork):
        connect(net.url).head()


@pytest.mark.parametrize("network", [NILE, SHASTA])
def test_mainnet_and_a_devnet_are_no_test_network(net: Devnet, network: Any) -> None:
    for genesis in (None, MAINNET_GENESIS):
        net.nodes[0].heal()
        if genesis:
            net.nodes[0].fault("wrong_genesis", genesis=genesis)
        with Tron(network, [net.url], attempts=1) as tron, pytest.raises(WrongNetwork):
            tron.check_network()


def test_nodes_of_two_devnets_are_not_taken_for_one(net: Devnet, connect: Connect) -> None:
    with devnet(block_time=None) as other, pytest.raises(WrongNetwork):
        connect(net.url, other.url).check_network()


# ------------------------------------------------------------------------------------------ late


def test_a_node_an_hour_behind_the_other_is_not_believed(connect: Connect) -> None:
    with new_net() as net:
        net.mine(30)
        net.advance(3600)
        net.mine(40)
        net.nodes[1].fault("behind", blocks=60)
        urls = [node.url for node in net.nodes]
        with pytest.raises(ChainUnreachable, match=r"is (59|60) minutes behind") as caught:
            connect(*urls).solid()
    assert all(url in str(caught.value) for url in urls)


def test_a_node_an_hour_behind_our_clock_is_not_believed(net: Devnet, connect: Connect) -> None:
    late = connect(net.url, clock=lambda: time.time() + 3600)
    for ask in (late.head, late.solid):
        with pytest.raises(ChainUnreachable, match=r"(59|60) minutes behind"):
            ask()


def test_a_public_node_an_hour_ahead_of_our_clock_is_not_believed(net: Devnet) -> None:
    """By its time a transaction would live an hour longer than it should."""
    net.nodes[0].fault("wrong_genesis", genesis=NILE.genesis)
    tron = Tron(NILE, [net.url], attempts=1, clock=lambda: time.time() - 3600)
    with tron, pytest.raises(ChainUnreachable, match="minutes ahead"):
        tron.head()


def test_a_node_a_few_blocks_behind_only_holds_up(net: Devnet, connect: Connect) -> None:
    number = net.mine(20)
    net.nodes[1].fault("behind", blocks=3)
    assert connect().solid().number == number - 18 - 3


def test_events_of_a_block_that_one_node_does_not_have_yet_are_not_taken_for_none(
    contracts: Contracts,
) -> None:
    net = contracts.net
    net.mine(SOLID)
    last = contracts.tron.solid().number
    net.nodes[1].fault("behind", blocks=2)
    with pytest.raises(ChainUnreachable, match="final blocks up to"):
        contracts.vault.events(last, last)


# ----------------------------------------------------------------------------------------- lying


def test_a_node_that_gives_another_txid_to_sign_gets_nothing_signed(
    net: Devnet, connect: Connect, alice: ChainKey
) -> None:
    tron = connect(net.url)
    net.nodes[0].fault("lie_txid", count=10)
    with pytest.raises(Malformed) as caught:
        tron.prepare_transfer(alice.address, bytes(19) + b"\x01", TRX)
    assert caught.value.field == "txID"


def test_beside_a_lying_node_an_honest_one_serves(
    net: Devnet, connect: Connect, alice: ChainKey
) -> None:
    net.nodes[0].fault("lie_txid", count=10)
    tron = connect()
    receipt = done(tron, alice, tron.prepare_transfer(alice.address, bytes(19) + b"\x01", TRX))
    assert receipt.ok
    assert tron.trx_balance(bytes(19) + b"\x01") == TRX


def _without_logs(path: str, answer: Any) -> Any:
    if path.endswith("gettransactioninfobyblocknum"):
        return [{k: v for k, v in entry.items() if k != "log"} for entry in answer]
    return answer


def test_two_nodes_that_tell_different_events_are_both_named_and_neither_believed(
    contracts: Contracts, connect: Connect
) -> None:
    contracts.net.mine(SOLID)
    with liar(contracts.net.nodes[1].url, _without_logs) as false:
        tron = connect(contracts.net.url, false.url)
        last = tron.solid().number
        with pytest.raises(ChainUnreachable, match="do not agree") as caught:
            tron.events(contracts.token.address, last - 30, last)
    assert false.url in str(caught.value)
    assert contracts.net.url in str(caught.value)


def test_two_nodes_that_tell_different_receipts_are_not_believed(
    contracts: Contracts, connect: Connect
) -> None:
    receipt = done(
        contracts.tron, contracts.alice,
        contracts.token.prepare_transfer(contracts.alice.address, contracts.guardian.address, 5),
    )  # fmt: skip
    contracts.net.mine(SOLID)

    def failed(path: str, answer: Any) -> Any:
        return answer | {"result": "FAILED"} if path.endswith("infobyid") and answer else answer

    with liar(contracts.net.nodes[1].url, failed) as false:
        tron = connect(contracts.net.url, false.url)
        with pytest.raises(ChainUnreachable, match="do not agree"):
            tron.receipt(receipt.txid, solid=True)
    found = contracts.tron.receipt(receipt.txid, solid=True)
    assert found is not None
    assert found.ok


def test_two_nodes_with_different_final_blocks_are_not_believed(
    net: Devnet, connect: Connect
) -> None:
    net.mine(10)

    def forked(path: str, answer: Any) -> Any:
        if path.endswith(("block", "blockbynum")):
            number = answer["block_header"]["raw_data"].get("number", 0)
            if number:
                return answer | {"blockID": answer["blockID"][:16] + "ab" * 24}
        return answer

    refused = pytest.raises(ChainUnreachable, match="do not agree on block")
    with liar(net.nodes[1].url, forked) as false, refused:
        connect(net.url, false.url).solid()


def test_a_receipt_of_another_transaction_is_refused(
    contracts: Contracts, connect: Connect
) -> None:
    def another(path: str, answer: Any) -> Any:
        return answer | {"id": "ab" * 32} if path.endswith("infobyid") else answer

    with liar(contracts.net.url, another) as false, pytest.raises(Malformed) as caught:
        connect(false.url).receipt(bytes(32))
    assert caught.value.field == "receipt.id"


# ------------------------------------------------------------------- answers that are no answers


@pytest.mark.parametrize(
    "said",
    [b"", b"nonsense", b"[" * 100_000, b"\xff\xfe", b"[]", b"7", b'{"block_header":5}',
     b'{"blockID":"zz"}', Raw(200, b"{}", (("content-encoding", "gzip"),)), Raw(404, b"{}"),
     Raw(302, b"", (("location", "http://127.0.0.1:1/"),))],
)  # fmt: skip
def test_an_answer_that_is_none_is_refused(net: Devnet, connect: Connect, said: Any) -> None:
    refused = pytest.raises((Malformed, ChainUnreachable))
    with liar(net.url, lambda path, a: a if path.endswith("bynum") else said) as false, refused:
        connect(false.url).head()


def test_an_answer_without_end_is_cut_off(net: Devnet, connect: Connect) -> None:
    endless = b" " * (17 * 1024 * 1024)
    refused = pytest.raises(Malformed, match="above")
    with liar(net.url, lambda path, a: a if path.endswith("bynum") else endless) as false, refused:
        connect(false.url, timeout_s=5.0).head()


def test_a_node_that_dribbles_is_left(net: Devnet, connect: Connect) -> None:
    slow = Raw(200, b" " * 1000, pieces_s=0.05)
    with liar(net.url, lambda path, a: a if path.endswith("bynum") else slow) as false:
        begun = time.monotonic()
        with pytest.raises(ChainUnreachable, match="too slowly"):
            connect(false.url, timeout_s=0.2, attempts=1).head()
        assert time.monotonic() - begun < 5


def test_the_api_key_is_the_user_s_and_no_other(net: Devnet, connect: Connect) -> None:
    with liar(net.url) as honest:
        connect(honest.url).head()
        assert "tron-pro-api-key" not in honest.headers  # tronpy would send its authors' keys
        connect(honest.url, api_key="mine").head()
        assert honest.headers["tron-pro-api-key"] == "mine"


@pytest.mark.parametrize("urls", [[], ["http://a"] * 2, [f"http://a{n}" for n in range(5)]])
def test_one_to_four_different_nodes_are_asked(urls: list[str]) -> None:
    with pytest.raises(InvalidSetting):
        Tron(DEVNET, urls)


def test_a_contract_that_is_none_is_refused(tron: Tron) -> None:
    with pytest.raises(ChainRefused):
        tron.view(bytes(19) + b"\x05", "totalSupply()", [], ["uint256"])
