"""Every refusal of the node has java-tron's code, and leaves nothing behind; fees are TRON's."""

from __future__ import annotations

import secrets

import pytest

from speedpay.devnet import admission, chain, fees
from speedpay.devnet.schema import Fields
from speedpay.devnet.transaction import build
from tests.unit.devnet.bench import FUNDS, TRX, Bench, Key


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def somebody() -> bytes:
    return secrets.token_bytes(20)


# ------------------------------------------------------------------------------------- signatures


def test_a_stranger_cannot_sign_for_an_account(bench: Bench, somebody: bytes) -> None:
    transfer = Key().sign(bench.transfer(somebody, TRX))
    assert "not contained of permission" in bench.refused(transfer, "SIGERROR")


def test_a_transaction_without_a_signature_is_refused(bench: Bench, somebody: bytes) -> None:
    bench.refused(build(bench.transfer(somebody, TRX).raw_data), "SIGERROR")


def test_a_signature_does_not_survive_a_changed_amount(bench: Bench, somebody: bytes) -> None:
    signed = bench.transfer(somebody, TRX)
    more = bench.transfer(somebody, 2 * TRX)
    bench.refused(build(more.raw_data, signed.signatures), "SIGERROR")


def test_a_high_s_signature_is_taken_as_the_network_takes_it(bench: Bench, somebody: bytes) -> None:
    """So nobody may use signature bytes as an id."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    signed = bench.transfer(somebody, TRX)
    raw = signed.signatures[0]
    mirrored = raw[:32] + (order - int.from_bytes(raw[32:64])).to_bytes(32) + bytes([55 - raw[64]])
    high = build(signed.raw_data, (mirrored,))
    assert high.txid == signed.txid
    bench.done(high)
    bench.refused(signed, "DUP_TRANSACTION_ERROR")


def test_a_permission_that_no_account_has_is_refused(bench: Bench, somebody: bytes) -> None:
    raw_data = bench.transfer(somebody, TRX).raw_data
    for permission, taken in ((1, False), (3, False), (-1, False), (2, True)):
        contract = raw_data["contract"][0] | {"Permission_id": permission}
        signed = bench.key.sign(build(raw_data | {"contract": [contract]}))
        if taken:
            bench.done(signed)
        else:
            assert "permission" in bench.refused(signed, "SIGERROR")


# ------------------------------------------------------------------------------- time and place


def test_a_reference_to_an_unknown_block_is_refused(bench: Bench, somebody: bytes) -> None:
    bench.refused(bench.transfer(somebody, TRX, ref_block_hash=bytes(8)), "TAPOS_ERROR")
    bench.refused(bench.transfer(somebody, TRX, ref_block_bytes=b"\xff\xff"), "TAPOS_ERROR")
    bench.refused(bench.transfer(somebody, TRX, ref_block_bytes=b""), "TAPOS_ERROR")
    unknown = bench.transfer(somebody, TRX, ref_block_bytes=b"\xff\xff", ref_block_hash=b"")
    bench.refused(unknown, "TAPOS_ERROR")


def test_a_reference_to_the_head_is_good_until_a_reorg_removes_it(
    bench: Bench, somebody: bytes
) -> None:
    head = bench.chain.mine(3)
    place = {"ref_block_bytes": head.id[6:8], "ref_block_hash": head.id[8:16]}
    transfer = bench.transfer(somebody, TRX, **place)
    bench.chain.reorg(1)
    bench.refused(transfer, "TAPOS_ERROR")
    bench.chain.mine()
    bench.refused(transfer, "TAPOS_ERROR")  # the new block of that number has another id


def test_an_expired_transaction_is_refused(bench: Bench, somebody: bytes) -> None:
    now_ms = bench.chain.head_time_ms
    for expiration in (0, now_ms, now_ms + bench.chain.block_ms - 1):
        transfer = bench.transfer(somebody, TRX, expiration=expiration)
        bench.refused(transfer, "TRANSACTION_EXPIRATION_ERROR")


def test_a_transaction_may_live_for_a_day_and_no_longer(bench: Bench, somebody: bytes) -> None:
    day = bench.chain.head_time_ms + admission.DAY_MS
    longer = bench.transfer(somebody, TRX, expiration=day + 1)
    bench.refused(longer, "TRANSACTION_EXPIRATION_ERROR")
    bench.done(bench.transfer(somebody, TRX, expiration=day))


def test_a_transaction_that_expires_while_it_waits_is_never_mined(
    bench: Bench, somebody: bytes
) -> None:
    transfer = bench.transfer(somebody, TRX)
    bench.chain.broadcast(transfer)
    bench.chain.advance(61_000)
    bench.chain.mine()
    assert not bench.chain.holds(transfer.txid)
    assert bench.balance(somebody) == 0


def test_the_same_transaction_twice_is_a_duplicate_pending_and_mined(
    bench: Bench, somebody: bytes
) -> None:
    transfer = bench.transfer(somebody, TRX)
    bench.chain.broadcast(transfer)
    bench.refused(transfer, "DUP_TRANSACTION_ERROR")
    bench.chain.mine()
    bench.refused(transfer, "DUP_TRANSACTION_ERROR")
    assert bench.balance(somebody) == TRX


def test_a_transaction_that_is_too_big_is_refused(bench: Bench) -> None:
    big = bench.deployment(code=bytes(admission.MAX_TRANSACTION_BYTES))
    assert "maxTxSize 512000" in bench.refused(big, "TOO_BIG_TRANSACTION_ERROR")


def test_a_full_pool_is_busy(
    bench: Bench, somebody: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "MAX_PENDING", 2)
    for sun in (1, 2):
        bench.chain.broadcast(bench.transfer(somebody, sun))
    bench.refused(bench.transfer(somebody, 3), "SERVER_BUSY")
    bench.chain.mine()
    bench.chain.broadcast(bench.transfer(somebody, 3))


# -------------------------------------------------------------------------------------- transfers


def test_a_transfer_that_cannot_be_is_refused(bench: Bench, somebody: bytes) -> None:
    for sun in (0, -1, FUNDS, 2**63 - 1):
        bench.refused(bench.transfer(somebody, sun), "CONTRACT_VALIDATE_ERROR")
    bench.refused(bench.transfer(bench.key.address, 1), "CONTRACT_VALIDATE_ERROR")
    contract = bench.done(bench.deployment()).contract
    assert contract is not None
    words = bench.refused(bench.transfer(contract, 1), "CONTRACT_VALIDATE_ERROR")
    assert "smartContract" in words


def test_an_account_that_does_not_exist_can_do_nothing(bench: Bench, somebody: bytes) -> None:
    words = bench.refused(bench.transfer(somebody, 1, Key()), "CONTRACT_VALIDATE_ERROR")
    assert "does not exist" in words


def test_what_is_pending_cannot_be_spent_again(bench: Bench, somebody: bytes) -> None:
    bench.chain.broadcast(bench.transfer(somebody, FUNDS - 2 * TRX))
    bench.refused(bench.transfer(somebody, 2 * TRX), "CONTRACT_VALIDATE_ERROR")


def test_opening_an_account_costs_a_tenth_and_one_trx(bench: Bench, somebody: bytes) -> None:
    receipt = bench.done(bench.transfer(somebody, 5 * TRX))
    assert (receipt.net_fee, receipt.system_fee, receipt.fee) == (100_000, TRX, 1_100_000)
    assert bench.balance(bench.key.address) == FUNDS - 6_100_000
    assert bench.balance(somebody) == 5 * TRX
    shown = bench.call("wallet/gettransactioninfobyid", {"value": receipt.txid.hex()})
    assert shown["fee"] == 1_100_000
    assert shown["receipt"] == {"net_fee": 100_000}


def test_600_bytes_a_day_are_free_and_more_costs_1000_sun_each(
    bench: Bench, somebody: bytes
) -> None:
    bench.done(bench.transfer(somebody, TRX))
    for _ in range(2):
        receipt = bench.done(bench.transfer(somebody, TRX))
        assert receipt.fee == 0
        assert 260 < receipt.net_usage < 275
    third = bench.transfer(somebody, TRX)
    assert bench.done(third).net_fee == (len(third.encoded) + 64) * 1_000
    bench.chain.advance(12 * 60 * 60 * 1000)
    bench.chain.mine()
    half = bench.call("wallet/getaccountnet", {"address": "41" + bench.key.address.hex()})
    assert half["freeNetUsed"] == pytest.approx(receipt.net_usage, abs=3)  # half of two
    bench.chain.advance(12 * 60 * 60 * 1000)
    bench.chain.mine()
    assert bench.done(bench.transfer(somebody, TRX)).net_fee == 0


def test_bandwidth_that_cannot_be_paid_is_refused(bench: Bench, somebody: bytes) -> None:
    poor = Key()
    bench.done(bench.transfer(poor.address, TRX))
    for _ in range(2):
        bench.done(bench.transfer(somebody, 1, bench.key))
    for _ in range(2):
        bench.done(bench.transfer(bench.key.address, 490_000, poor))
    bench.refused(bench.transfer(bench.key.address, 1, poor), "BANDWITH_ERROR")


def test_a_memo_costs_one_trx(bench: Bench, somebody: bytes) -> None:
    bench.done(bench.transfer(somebody, TRX))
    assert bench.done(bench.transfer(somebody, TRX, data=b"hello")).net_fee == fees.MEMO_FEE


# -------------------------------------------------------------------------------------- contracts


def test_a_contract_is_deployed_called_and_pays_by_energy(bench: Bench) -> None:
    deployed = bench.deployment()
    receipt = bench.done(deployed)
    assert receipt.result == "SUCCESS"
    assert receipt.contract == deployed.new_contract_address
    assert receipt.energy_fee == receipt.energy * 100 > 0
    word = (7).to_bytes(32)
    before = bench.balance(bench.key.address)
    called = bench.done(bench.trigger(deployed.new_contract_address, word))
    assert (called.result, called.returned) == ("SUCCESS", word)
    assert called.energy > 20_000  # a new slot
    assert [log.data for log in called.logs] == [word]
    assert bench.balance(bench.key.address) == before - called.fee
    again = bench.done(bench.trigger(deployed.new_contract_address, word))
    assert called.energy - again.energy == 15_000


def test_a_call_that_reverts_pays_for_what_it_used(bench: Bench) -> None:
    contract = bench.done(bench.deployment()).contract
    assert contract is not None
    receipt = bench.done(bench.trigger(contract, b""))
    assert receipt.result == "REVERT"
    assert 0 < receipt.energy < 100
    shown = receipt.to_json(visible=False)
    assert shown["result"] == "FAILED"
    assert bytes.fromhex(shown["resMessage"]) == b"REVERT opcode executed"
    assert "log" not in shown


def test_a_call_without_enough_energy_burns_the_whole_limit(bench: Bench) -> None:
    contract = bench.done(bench.deployment()).contract
    assert contract is not None
    before = bench.balance(bench.key.address)
    receipt = bench.done(bench.trigger(contract, (1).to_bytes(32), fee_limit=1_000_099))
    assert receipt.result == "OUT_OF_ENERGY"
    assert (receipt.energy, receipt.energy_fee) == (10_000, 1_000_000)
    assert bench.balance(bench.key.address) == before - receipt.fee
    assert bench.call("walletsolidity/getnowblock") != {}


def test_a_deployment_without_enough_energy_leaves_no_contract(bench: Bench) -> None:
    deployed = bench.deployment(fee_limit=200_000)
    receipt = bench.done(deployed)
    assert receipt.result == "OUT_OF_ENERGY"
    shown = {"value": "41" + deployed.new_contract_address.hex()}
    assert bench.call("wallet/getcontract", shown) == {}
    assert bench.call("wallet/getcontractinfo", shown) == {}


def test_energy_is_bounded_by_the_balance_as_well(bench: Bench, somebody: bytes) -> None:
    contract = bench.done(bench.deployment()).contract
    assert contract is not None
    bench.done(bench.transfer(somebody, bench.balance(bench.key.address) - 3 * TRX))
    before = bench.balance(bench.key.address)
    receipt = bench.done(bench.trigger(contract, (1).to_bytes(32)))
    assert receipt.result == "OUT_OF_ENERGY"
    assert receipt.energy == (before - receipt.net_fee) // 100
    assert bench.balance(bench.key.address) < 100


@pytest.mark.parametrize(
    "new",
    [
        {"origin_address": bytes(20)},
        {"name": 33 * "x"},
        {"consume_user_resource_percent": 101},
        {"origin_energy_limit": 0},
        {"call_value": -1},
    ],
)
def test_a_deployment_that_cannot_be_is_refused(bench: Bench, new: Fields) -> None:
    bench.refused(bench.deployment(**new), "CONTRACT_VALIDATE_ERROR")


def test_fee_limits_are_bounded(bench: Bench) -> None:
    for fee_limit in (-1, fees.MAX_FEE_LIMIT + 1):
        bench.refused(bench.deployment(fee_limit=fee_limit), "CONTRACT_VALIDATE_ERROR")


def test_calling_what_is_no_contract_is_refused(bench: Bench, somebody: bytes) -> None:
    bench.refused(bench.trigger(somebody, b""), "CONTRACT_VALIDATE_ERROR")


def test_trc10_tokens_are_refused_by_name(bench: Bench) -> None:
    contract = bench.done(bench.deployment()).contract
    call = {"owner_address": bench.key.address, "contract_address": contract, "token_id": 1_000_001}
    signed = bench.key.sign(bench.unsigned("TriggerSmartContract", call, fee_limit=TRX))
    assert "TRC-10" in bench.refused(signed, "CONTRACT_VALIDATE_ERROR")


def test_a_refusal_in_http_is_hex_or_text(bench: Bench, somebody: bytes) -> None:
    lost = bench.transfer(somebody, TRX, ref_block_hash=bytes(8))
    hexed = bench.call("wallet/broadcasttransaction", lost.to_json(visible=False))
    assert hexed == {
        "code": "TAPOS_ERROR", "txid": lost.txid.hex(), "message": b"Tapos check error.".hex(),
    }  # fmt: skip
    shown = lost.to_json(visible=True) | {"visible": True}
    assert bench.call("wallet/broadcasttransaction", shown)["message"] == "Tapos check error."
    given = {"transaction": lost.encoded.hex()}
    assert bench.call("wallet/broadcasthex", given)["code"] == "TAPOS_ERROR"


def test_faucet_money_is_an_ordinary_transfer(bench: Bench, somebody: bytes) -> None:
    first, second = (bench.chain.give(somebody, TRX) for _ in range(2))
    assert first.txid != second.txid
    assert bench.balance(somebody) == 2 * TRX
    bench.chain.mine()
    assert bench.chain.find(second.txid) is not None
    bench.chain.advance(30 * 60 * 60 * 1000)
    bench.chain.give(somebody, TRX)  # though the head is older than a day
    bench.chain.mine()
    assert bench.balance(somebody) == 3 * TRX
