"""Transactions between the wish and the final block: refused before they cost, lost, doubled, undone."""

from __future__ import annotations

import secrets
import time

import pytest

from speedpay.chain.carry import carry
from speedpay.chain.keys import ChainKey
from speedpay.chain.protobuf import parameter
from speedpay.chain.transaction import Signed, unsigned
from speedpay.chain.tron import Tron, succeeded
from speedpay.devnet.node import Devnet
from speedpay.errors import ChainRefused, ChainUnreachable, Malformed
from speedpay.units import Amount
from tests.integration.chain.conftest import SOLID, TRX, Connect, Contracts, done, new_net, rich

BOB = bytes(19) + b"\x0b"


@pytest.fixture(autouse=True)
def bob(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new Bob for each test: what arrived is what it sent."""
    monkeypatch.setitem(globals(), "BOB", secrets.token_bytes(20))


def pay(tron: Tron, key: ChainKey, sun: int = TRX) -> Signed:
    return tron.prepare_transfer(key.address, BOB, sun).sign(key)


# ------------------------------------------------------------------------- before it is signed


def test_a_transfer_arrives_and_costs_what_was_estimated(tron: Tron, alice: ChainKey) -> None:
    tron.wait(_sent(tron, pay(tron, alice)))  # makes Bob's account, for 1.1 TRX
    before = tron.trx_balance(alice.address)
    made = tron.prepare_transfer(alice.address, BOB, 5)
    receipt = done(tron, alice, made)
    assert receipt.ok
    assert tron.trx_balance(BOB) == TRX + 5
    assert tron.trx_balance(alice.address) == before - 5 - receipt.fee_sun
    assert receipt.fee_sun <= made.estimated_sun <= receipt.fee_sun + 3000


def _sent(tron: Tron, signed: Signed) -> Signed:
    tron.broadcast(signed)
    return signed


def test_two_equal_payments_are_two_payments(tron: Tron, alice: ChainKey) -> None:
    for _ in range(2):
        tron.wait(_sent(tron, pay(tron, alice, 7)))
    assert tron.trx_balance(BOB) == 14


def test_an_account_without_trx_signs_nothing(tron: Tron, net: Devnet) -> None:
    poor = rich(net, sun=100)
    with pytest.raises(ChainRefused, match="needs about") as caught:
        pay(tron, poor)
    assert caught.value.field == "balance"


def test_a_call_that_its_owner_cannot_pay_for_is_not_signed(contracts: Contracts) -> None:
    poor = rich(contracts.net, sun=100_000)
    with pytest.raises(ChainRefused) as caught:
        contracts.token.prepare_approve(poor.address, BOB, 1)
    assert caught.value.field == "balance"


def test_a_call_that_costs_more_than_the_bound_is_not_signed(contracts: Contracts) -> None:
    with pytest.raises(ChainRefused, match="at most 1 are allowed") as caught:
        contracts.tron.prepare_call(
            contracts.alice.address,
            contracts.token.address,
            "approve(address,uint256)",
            [BOB, 1],
            TRX,
        )
    assert caught.value.field == "fee_limit"


def test_the_fee_limit_follows_from_the_estimate_and_stays_below_the_bound(
    contracts: Contracts,
) -> None:
    def limit(bound_sun: int) -> int:
        return contracts.tron.prepare_call(
            contracts.alice.address, contracts.token.address, "approve(address,uint256)", [BOB, 1],
            bound_sun,
        ).fee_limit_sun  # fmt: skip

    assert 2 * TRX < limit(100 * TRX) < 4 * TRX
    assert limit(int(2.3 * TRX)) == int(2.3 * TRX)


def test_a_call_that_would_fail_is_refused_with_the_contract_s_reason(contracts: Contracts) -> None:
    with pytest.raises(ChainRefused, match="ERC20InsufficientBalance") as caught:
        contracts.token.prepare_transfer(contracts.guardian.address, BOB, 1)
    assert caught.value.field == "ERC20InsufficientBalance"


def test_the_expiry_goes_by_the_chain_s_clock_not_by_ours(net: Devnet, connect: Connect) -> None:
    skewed = connect(clock=lambda: time.time() + 500)
    alice = rich(net)
    signed = pay(skewed, alice)
    assert signed.expires_at - skewed.head().time_s in range(55, 61)
    skewed.broadcast(signed)
    assert skewed.wait(signed).ok


@pytest.mark.parametrize("lifetime_s", [0, -1, 24 * 3600])
def test_a_lifetime_that_tron_does_not_allow_is_refused(
    tron: Tron, alice: ChainKey, lifetime_s: int
) -> None:
    with pytest.raises(Malformed):
        tron.prepare_transfer(alice.address, BOB, 1, lifetime_s=lifetime_s)


# --------------------------------------------------------------------------------- on the way


def test_the_same_transaction_sent_twice_counts_once(tron: Tron, alice: ChainKey) -> None:
    signed = pay(tron, alice)
    tron.broadcast(signed)
    tron.broadcast(signed)  # "duplicate transaction" is a yes
    assert tron.wait(signed).ok
    tron.broadcast(Signed.from_stored(signed.text))  # also when it is in a block
    tron.pause()
    assert tron.trx_balance(BOB) == TRX


def test_an_answer_that_got_lost_was_a_yes(net: Devnet, tron: Tron, alice: ChainKey) -> None:
    signed = pay(tron, alice)
    net.nodes[0].fault("lost_but_mined", count=1)
    tron.broadcast(signed)
    assert tron.wait(signed).ok
    assert tron.trx_balance(BOB) == TRX


def test_a_node_that_says_yes_and_keeps_it_back_does_not_matter_beside_another(
    net: Devnet, tron: Tron, alice: ChainKey
) -> None:
    signed = pay(tron, alice)
    net.nodes[0].fault("accepted_never_mined", count=1)
    tron.broadcast(signed)
    assert tron.wait(signed).ok


def test_a_refusal_counts_only_when_every_node_was_reached(
    net: Devnet, connect: Connect, alice: ChainKey
) -> None:
    """The silent one may have taken it."""
    tron = connect(net.url, "http://127.0.0.1:1")
    signed = tron.prepare_transfer(alice.address, BOB, TRX, lifetime_s=1).sign(alice)
    net.advance(5)
    net.mine()
    with pytest.raises(ChainUnreachable):
        tron.broadcast(signed)
    with pytest.raises(ChainRefused):
        connect().broadcast(signed)


def test_a_busy_network_is_asked_again_and_then_given_up(
    net: Devnet, tron: Tron, alice: ChainKey
) -> None:
    signed = pay(tron, alice)
    for node in net.nodes:
        node.fault("busy", count=3)
    tron.broadcast(signed)
    assert tron.wait(signed).ok
    again = pay(tron, alice)
    for node in net.nodes:
        node.fault("busy", count=100)
    with pytest.raises(ChainUnreachable, match="Server busy"):
        tron.broadcast(again)


def test_a_transaction_that_came_too_late_is_refused_and_unknown(
    net: Devnet, tron: Tron, alice: ChainKey
) -> None:
    signed = pay(tron, alice)
    assert not tron.expired(signed)
    net.advance(70)
    net.mine()
    with pytest.raises(ChainRefused) as caught:
        tron.broadcast(signed)
    assert caught.value.field == "TRANSACTION_EXPIRATION_ERROR"
    assert not tron.expired(signed)  # the block that says so is not final yet
    net.mine(SOLID)
    assert tron.expired(signed)
    assert not tron.known(signed.txid)
    assert tron.receipt(signed.txid) is None


def test_a_refusal_of_what_is_in_a_block_already_is_a_yes(
    net: Devnet, tron: Tron, alice: ChainKey
) -> None:
    signed = _sent(tron, pay(tron, alice))
    tron.wait(signed)
    net.advance(70)
    net.mine(2)
    tron.broadcast(signed)  # expired, says the node; but it is there


def test_a_transaction_of_another_chain_is_refused(connect: Connect) -> None:
    with new_net() as here, new_net() as other:
        elsewhere = pay(connect(other.url), rich(other))
        with pytest.raises(ChainRefused) as caught:
            connect(here.url).broadcast(elsewhere)
    assert caught.value.field == "TAPOS_ERROR"


def test_a_receipt_is_seen_first_and_final_later(net: Devnet, tron: Tron, alice: ChainKey) -> None:
    signed = _sent(tron, pay(tron, alice))
    assert tron.receipt(signed.txid) is None
    assert tron.known(signed.txid)
    net.mine()
    seen = tron.receipt(signed.txid)
    assert seen is not None
    assert tron.receipt(signed.txid, solid=True) is None
    net.mine(SOLID)
    assert tron.receipt(signed.txid, solid=True) == seen


def test_a_reorg_takes_back_what_was_only_seen_and_the_same_bytes_bring_it_again(
    net: Devnet, tron: Tron, alice: ChainKey
) -> None:
    net.mine(5)
    signed = _sent(tron, pay(tron, alice))
    tron.wait(signed)
    net.reorg(2, drop=True)
    assert tron.receipt(signed.txid) is None
    assert not tron.known(signed.txid)
    tron.broadcast(signed)
    assert tron.wait(signed).ok
    assert tron.trx_balance(BOB) == TRX


# -------------------------------------------------------------------------------------- carried


def test_accepted_but_never_mined_is_signed_anew_only_when_the_old_one_can_never_be(
    net: Devnet, tron: Tron, alice: ChainKey
) -> None:
    stored: list[str] = []
    for node in net.nodes:
        node.fault("accepted_never_mined", count=1)

    def prepare() -> object:
        if stored:
            assert tron.expired(Signed.from_stored(stored[-1]))
        return tron.prepare_transfer(alice.address, BOB, TRX)

    waits = 0

    def pause(_s: float) -> None:
        nonlocal waits
        waits += 1
        net.advance(10)
        net.mine()

    tron._nodes.sleep = pause
    signed, receipt = carry(tron, alice, prepare, None, stored.append)  # type: ignore[arg-type]
    assert receipt.ok
    assert [Signed.from_stored(text).txid for text in stored][-1] == signed.txid
    assert len(stored) == 2
    assert waits > SOLID
    assert tron.trx_balance(BOB) == TRX


def test_carrying_on_after_a_crash_sends_the_same_bytes(
    net: Devnet, connect: Connect, alice: ChainKey
) -> None:
    """Killed after storing, after sending, after the block, after the final block."""
    stored: list[str] = []

    class Killed(BaseException):
        pass

    def store_and_die(text: str) -> None:
        stored.append(text)
        raise Killed

    tron = connect()

    def prepare() -> object:
        return tron.prepare_transfer(alice.address, BOB, TRX)

    with pytest.raises(Killed):
        carry(tron, alice, prepare, None, store_and_die)  # type: ignore[arg-type]
    for blocks in (0, 1, SOLID, SOLID):
        net.mine(blocks) if blocks else None
        signed, _ = carry(
            tron,
            alice,
            prepare,
            stored[0],
            store_and_die,
            solid=blocks > 1,  # type: ignore[arg-type]
        )
        assert signed.text == stored[0]
    assert tron.trx_balance(BOB) == TRX


# ------------------------------------------------------------------------------- burned for nothing


def test_running_out_of_energy_is_told_apart_from_success(contracts: Contracts) -> None:
    """Signed by hand: ``prepare_call`` would not let it pass."""
    tron, alice = contracts.tron, contracts.alice
    good = contracts.token.prepare_approve(alice.address, BOB, 1)
    value = dict(good.raw_data["contract"][0]["parameter"]["value"])
    raw_data = dict(good.raw_data) | {
        "fee_limit": 100_000, "contract": [parameter("TriggerSmartContract", value)],
    }  # fmt: skip
    signed = _sent(tron, unsigned(raw_data).sign(alice))
    with pytest.raises(ChainRefused, match="OUT_OF_ENERGY"):
        tron.wait(signed)
    receipt = tron.receipt(signed.txid)
    assert receipt is not None
    assert not receipt.ok
    assert receipt.fee_sun >= 100_000


def test_a_call_that_reverts_in_its_block_says_why(contracts: Contracts) -> None:
    """Between the try and the block somebody else was faster: both prepare, one deposit is left."""
    tron, vault, alice = contracts.tron, contracts.vault, contracts.alice
    all_of_it = Amount.from_tokens("1000")
    first = vault.prepare_deposit(alice.address, all_of_it, b"a" * 16).sign(alice)
    second = vault.prepare_deposit(alice.address, all_of_it, b"b" * 16).sign(alice)
    tron.broadcast(first)
    tron.broadcast(second)
    assert tron.wait(first).ok
    with pytest.raises(ChainRefused, match="ERC20Insufficient"):
        tron.wait(second)
    receipt = tron.receipt(second.txid)
    assert receipt is not None
    with pytest.raises(ChainRefused):
        succeeded(receipt)
