"""Unmodified tronpy against a running node: every call that it makes, and what it makes of refusals."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from tronpy import Contract, Tron
from tronpy.exceptions import (
    AddressNotFound,
    BadSignature,
    BlockNotFound,
    TaposError,
    TransactionError,
    TransactionNotFound,
    TvmError,
    UnknownError,
    ValidationError,
)
from tronpy.keys import PrivateKey
from tronpy.providers import HTTPProvider

from speedpay.chain.artifact import load
from speedpay.devnet.node import Devnet, devnet

TRX = 1_000_000
SOON = 0.02


class Person:
    def __init__(self, chain: Devnet, client: Tron, sun: int = 5_000 * TRX) -> None:
        self.client = client
        self.key = PrivateKey.random()
        self.address = self.key.public_key.to_base58check_address()
        self.raw = bytes.fromhex(self.key.public_key.to_hex_address())[1:]
        if sun:
            chain.faucet(self.raw, sun)

    def send(self, builder: Any, fee_limit: int | None = None) -> dict[str, Any]:
        """Sign, broadcast, and wait for the receipt."""
        if fee_limit is not None:
            builder = builder.fee_limit(fee_limit)
        receipt: dict[str, Any] = (
            builder.build().sign(self.key).broadcast().wait(timeout=30, interval=SOON)
        )
        return receipt

    def pay(self, to: str, sun: int) -> Any:
        return self.client.trx.transfer(self.address, to, sun)


@pytest.fixture(scope="module")
def chain() -> Iterator[Devnet]:
    with devnet(block_time=0.02) as made:
        yield made


@pytest.fixture(scope="module")
def client(chain: Devnet) -> Tron:
    return Tron(HTTPProvider(chain.url, timeout=30))


@pytest.fixture(scope="module")
def alice(chain: Devnet, client: Tron) -> Person:
    return Person(chain, client)


@pytest.fixture(scope="module")
def token(client: Tron, alice: Person) -> Contract:
    """Our own TRC-20, deployed as anybody deploys with tronpy; alice may mint."""
    artifact = load("Token")
    contract = Contract(
        name="Token", abi=list(artifact.interface), bytecode=artifact.bytecode, client=client,
        origin_address=alice.address, owner_address=alice.address,
    )  # fmt: skip
    arguments = contract.constructor.encode_parameter(alice.address, 10**15)
    contract.bytecode = artifact.bytecode + bytes.fromhex(arguments)
    receipt = alice.send(contract.deploy(), fee_limit=1_000 * TRX)
    assert receipt["receipt"]["result"] == "SUCCESS"
    deployed = client.get_contract(receipt["contract_address"])
    deployed.owner_address = alice.address
    return deployed


def test_trx_is_transferred_and_seen_then_solid(chain: Devnet, client: Tron, alice: Person) -> None:
    bob = Person(chain, client, sun=0)
    with pytest.raises(AddressNotFound):
        client.get_account(bob.address)
    sent = alice.pay(bob.address, 5 * TRX).build().sign(alice.key).broadcast()
    receipt = sent.wait(timeout=30, interval=SOON)
    assert receipt["id"] == sent.txid
    assert receipt["fee"] == 1_100_000
    assert client.get_account_balance(bob.address) == Decimal(5)
    solid = sent.wait(timeout=30, interval=SOON, solid=True)
    assert solid == receipt
    assert client.get_latest_solid_block_number() >= receipt["blockNumber"]
    shown = client.get_transaction(sent.txid)
    assert shown["ret"] == [{"contractRet": "SUCCESS"}]
    assert shown["raw_data"]["contract"][0]["parameter"]["value"]["to_address"] == bob.address
    block = client.get_block(receipt["blockNumber"])
    assert sent.txid in [one["txID"] for one in block["transactions"]]
    assert client.get_block(block["blockID"]) == block


def test_a_contract_is_deployed_and_can_be_read(client: Tron, token: Contract) -> None:
    assert token.functions.symbol() == "SPT"
    assert token.functions.decimals() == 6
    assert token.functions.balanceOf(token.address) == 0
    info = client.get_contract_info(token.address)
    assert bytes.fromhex(info["runtimecode"])
    assert info["smart_contract"]["contract_address"] == token.address
    assert client.get_account(token.address)["type"] == "Contract"


def test_a_call_changes_state_and_logs_an_event(alice: Person, token: Contract) -> None:
    before = token.functions.balanceOf(alice.address)
    receipt = alice.send(token.functions.mint(alice.address, 123), fee_limit=100 * TRX)
    assert receipt["receipt"]["result"] == "SUCCESS"
    assert receipt["receipt"]["energy_fee"] == receipt["receipt"]["energy_usage_total"] * 100
    assert token.functions.balanceOf(alice.address) == before + 123
    (event,) = list(token.events.Transfer.process_receipt(receipt))
    assert event["args"]["to"] == alice.address
    assert event["args"]["value"] == 123


def test_an_estimate_is_enough_and_not_far_off(
    chain: Devnet, client: Tron, alice: Person, token: Contract
) -> None:
    bob = Person(chain, client, sun=0)
    words = [bob.raw.rjust(32, b"\0").hex(), (7).to_bytes(32).hex()]
    given = (alice.address, token.address, "mint(address,uint256)", "".join(words))
    energy = client.get_estimated_energy(*given)
    receipt = alice.send(token.functions.mint(bob.address, 7), fee_limit=energy * 100)
    used = receipt["receipt"]["energy_usage_total"]
    assert used < energy <= used + 10_000  # found by halving, to the TRX, as java-tron does
    with pytest.raises(TvmError):
        client.trigger_constant_contract(
            alice.address, token.address, "mint(address,uint256)", "00"
        )


def test_a_revert_is_a_failed_receipt_and_costs_little(alice: Person, token: Contract) -> None:
    call = token.functions.mint(alice.address, 10**30)
    receipt = alice.send(call, fee_limit=100 * TRX)
    assert receipt["result"] == "FAILED"
    assert receipt["receipt"]["result"] == "REVERT"
    assert receipt["resMessage"] == "REVERT opcode executed"
    assert receipt["receipt"]["energy_usage_total"] < 2_000
    assert "log" not in receipt


def test_the_default_fee_limit_is_too_little_to_deploy_and_is_burnt(
    chain: Devnet, client: Tron
) -> None:
    owner = Person(chain, client)
    artifact = load("Token")
    arguments = owner.raw.rjust(32, b"\0") + (10**15).to_bytes(32)
    contract = Contract(
        name="Token", bytecode=artifact.bytecode + arguments, client=client,
        origin_address=owner.address, owner_address=owner.address,
    )  # fmt: skip
    receipt = owner.send(contract.deploy())
    assert receipt["receipt"]["result"] == "OUT_OF_ENERGY"
    assert receipt["receipt"]["energy_fee"] == 10 * TRX
    with pytest.raises(AddressNotFound):
        client.get_account(receipt["contract_address"])


def test_refusals_are_what_tronpy_knows(chain: Devnet, client: Tron, alice: Person) -> None:
    bob = Person(chain, client, sun=0)
    with pytest.raises(ValidationError, match="balance is not sufficient"):
        alice.pay(bob.address, 10**15).build().sign(alice.key).broadcast()
    forged = alice.pay(bob.address, 1).build()
    forged._permission = None
    forged.sign(bob.key)
    with pytest.raises(BadSignature):
        forged.broadcast()
    late = alice.pay(bob.address, 1).expiration(90_000_000_000).build().sign(alice.key)
    with pytest.raises(TransactionError, match="expired"):
        late.broadcast()
    elsewhere = alice.pay(bob.address, 1).build()
    elsewhere._raw_data["ref_block_hash"] = 16 * "0"
    elsewhere.txid = client.get_sign_weight(elsewhere)["transaction"]["txid"]
    elsewhere.sign(alice.key)
    with pytest.raises(TaposError):
        elsewhere.broadcast()
    once = alice.pay(bob.address, 2 * TRX).build().sign(alice.key)
    once.broadcast()
    with pytest.raises(UnknownError) as again:
        once.broadcast()
    assert again.value.args[1] == "DUP_TRANSACTION_ERROR"
    with pytest.raises(TransactionNotFound):
        client.get_transaction(64 * "0")
    with pytest.raises(BlockNotFound):
        client.get_block(10**9)


def test_an_account_shows_its_permission_and_resources(client: Tron, alice: Person) -> None:
    permission = client.get_account_permission(alice.address)
    assert permission["owner"]["keys"] == [{"address": alice.address, "weight": 1}]
    assert client.get_account_resource(alice.address)["freeNetLimit"] == 600
    assert 0 <= client.get_bandwidth(alice.address) <= 600


def test_the_rest_of_what_tronpy_asks_has_an_answer(client: Tron) -> None:
    parameters = {one["key"]: one["value"] for one in client.get_chain_parameters()}
    assert (parameters["getEnergyFee"], parameters["getTransactionFee"]) == (100, 1000)
    assert client.list_witnesses()[0]["isJobs"] is True
    assert client.get_latest_block_number() >= client.get_latest_solid_block_number()
    assert len(client.get_latest_solid_block()["blockID"]) == 64
    assert client.get_node_info()["network"] == "devnet"


def test_blocks_come_by_the_clock(client: Tron) -> None:
    first, began = client.get_latest_block_number(), time.monotonic()
    while client.get_latest_block_number() < first + 5:
        assert time.monotonic() - began < 5
        time.sleep(SOON)
    assert time.monotonic() - began > 0.05
