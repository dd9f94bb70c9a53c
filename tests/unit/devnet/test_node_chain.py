"""Blocks: numbers, ids, times, solidity; what a reorg undoes and a restart keeps; what each view sees."""

from __future__ import annotations

import random
import secrets
import threading
from pathlib import Path

import pytest

from speedpay.devnet.block import REAL_CHAINS, genesis
from speedpay.devnet.block_log import FILE, BlockLog
from speedpay.devnet.chain import KEPT_JOURNALS, SOLID_LAG, Chain
from speedpay.devnet.clock import Clock
from speedpay.devnet.execution import apply
from speedpay.errors import InvalidSetting
from tests.unit.devnet.bench import FUNDS, TRX, Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def somebody() -> bytes:
    return secrets.token_bytes(20)


def hexed(address: bytes) -> dict[str, str]:
    return {"address": "41" + address.hex()}


def test_blocks_are_a_chain_of_ids(bench: Bench) -> None:
    bench.chain.mine(5)
    for number in range(1, 6):
        block, parent = bench.chain.block(number), bench.chain.block(number - 1)
        assert block is not None
        assert parent is not None
        assert block.id[:8] == number.to_bytes(8)
        assert block.header["parentHash"] == parent.id
        assert block.time_ms > parent.time_ms
        assert bench.chain.block_by_id(block.id) is block
    shown = bench.call("wallet/getblockbynum", {"num": 0})
    assert bench.chain.chain_id == int(shown["blockID"][-8:], 16)


def test_two_chains_have_two_ids() -> None:
    assert genesis().id != genesis().id
    assert genesis(bytes(8) + bytes(24)).id == bytes(32)


@pytest.mark.parametrize("real", REAL_CHAINS)
def test_the_id_of_a_real_chain_is_refused(real: str) -> None:
    with pytest.raises(InvalidSetting, match="never bears it"):
        genesis(bytes(28) + bytes.fromhex(real))


@pytest.mark.parametrize("given", [b"", bytes(31), b"\x01" + bytes(31)])
def test_what_is_no_genesis_id_is_refused(given: bytes) -> None:
    with pytest.raises(InvalidSetting):
        genesis(given)


def test_a_block_is_solid_when_18_stand_on_it(bench: Bench, somebody: bytes) -> None:
    receipt = bench.done(bench.transfer(somebody, TRX))
    given = {"value": receipt.txid.hex()}
    bench.chain.mine(SOLID_LAG - 1)
    assert bench.call("wallet/gettransactioninfobyid", given) != {}
    assert bench.call("walletsolidity/gettransactioninfobyid", given) == {}
    assert bench.call("walletsolidity/getaccount", hexed(somebody)) == {}
    bench.chain.mine()
    assert bench.chain.solid == receipt.block
    assert bench.call("walletsolidity/gettransactioninfobyid", given)["id"] == given["value"]
    assert bench.call("walletsolidity/getaccount", hexed(somebody))["balance"] == TRX
    header = bench.call("walletsolidity/getnowblock")["block_header"]["raw_data"]
    assert header["number"] == receipt.block


def test_time_goes_on_from_block_to_block_and_can_be_moved(bench: Bench) -> None:
    before = bench.chain.head_time_ms
    bench.chain.mine(3)
    assert bench.chain.head_time_ms >= before + 3
    bench.chain.advance(3_600_000)
    bench.chain.mine()
    assert 3_600_000 <= bench.chain.head_time_ms - before < 3_700_000


def test_an_accepted_transaction_shows_before_its_block(bench: Bench, somebody: bytes) -> None:
    transfer = bench.transfer(somebody, TRX)
    bench.chain.broadcast(transfer)
    given = {"value": transfer.txid.hex()}
    assert bench.call("wallet/getaccount", hexed(somebody))["balance"] == TRX
    assert "ret" not in bench.call("wallet/gettransactionbyid", given)
    assert bench.call("wallet/gettransactioninfobyid", given) == {}
    assert bench.call("walletsolidity/gettransactionbyid", given) == {}
    assert bench.call("wallet/getpendingsize") == {"pendingSize": 1}
    bench.chain.mine()
    assert bench.call("wallet/gettransactionbyid", given)["ret"] == [{"contractRet": "SUCCESS"}]


# ----------------------------------------------------------------------------------------- reorgs


def test_a_reorg_puts_transactions_back_and_their_blocks_differ(
    bench: Bench, somebody: bytes
) -> None:
    receipt = bench.done(bench.transfer(somebody, TRX))
    before, ids = bench.chain.world.dump(), []
    for number in range(receipt.block, receipt.block + 3):
        bench.chain.mine(number - bench.chain.head.number)
        ids.append(bench.chain.head.id)
    assert bench.chain.reorg(3) == 1
    assert bench.chain.head.number == receipt.block - 1
    assert bench.call("wallet/gettransactioninfobyid", {"value": receipt.txid.hex()}) == {}
    bench.chain.mine()
    found = bench.chain.find(receipt.txid)
    assert found is not None
    assert found[1].block == receipt.block
    assert bench.chain.head.id != ids[0]
    assert bench.chain.block_by_id(ids[0]) is None
    after = bench.chain.world.dump()
    assert after.pop("created").keys() == before.pop("created").keys()
    assert after == before


def test_a_reorg_may_lose_transactions(bench: Bench, somebody: bytes) -> None:
    before = bench.chain.world.dump()
    receipt = bench.done(bench.transfer(somebody, TRX))
    assert bench.chain.reorg(1, drop=True) == 0
    bench.chain.mine()
    assert not bench.chain.holds(receipt.txid)
    assert bench.chain.world.dump() == before


def test_what_depended_on_a_lost_transaction_is_lost_with_it(bench: Bench) -> None:
    deployed = bench.deployment()
    receipt = bench.done(deployed)
    head = bench.chain.head
    place = {"ref_block_bytes": head.id[6:8], "ref_block_hash": head.id[8:16]}
    assert receipt.contract is not None
    call = {"owner_address": bench.key.address, "contract_address": receipt.contract}
    unsigned = bench.unsigned("TriggerSmartContract", call, fee_limit=TRX, **place)
    called = bench.key.sign(unsigned)
    bench.done(called)
    assert bench.chain.reorg(2) == 1  # the call refers to a block that is gone
    assert bench.chain.waiting(deployed.txid) is not None
    assert bench.chain.waiting(called.txid) is None


def test_solid_blocks_are_never_undone(bench: Bench) -> None:
    bench.chain.mine(40)
    solid = bench.chain.solid
    for depth in (0, -1, SOLID_LAG + 1, 10**9):
        with pytest.raises(InvalidSetting):
            bench.chain.reorg(depth)
    with pytest.raises(InvalidSetting):
        Bench().chain.reorg(1)  # the first block comes with the chain
    bench.chain.reorg(SOLID_LAG)
    assert bench.chain.solid == solid == bench.chain.head.number
    with pytest.raises(InvalidSetting):
        bench.chain.reorg(1)
    bench.chain.mine(SOLID_LAG)
    assert bench.chain.solid == solid


# --------------------------------------------------------------------------------------- restarts


def reopened(data: Path, genesis_id: bytes | None = None) -> Chain:
    return Chain(BlockLog(data), Clock(), 3_000, genesis_id)


def test_a_restart_keeps_everything_but_the_pool(tmp_path: Path, somebody: bytes) -> None:
    bench = Bench(tmp_path)
    contract = bench.done(bench.deployment()).contract
    assert contract is not None
    bench.done(bench.trigger(contract, (5).to_bytes(32)))
    bench.done(bench.transfer(somebody, TRX))
    bench.chain.mine(30)
    bench.chain.reorg(10)
    bench.chain.advance(50_000)
    last = bench.done(bench.trigger(contract, (6).to_bytes(32)))
    expected = bench.chain.world.dump()
    blocks = [bench.chain.block(number) for number in range(bench.chain.head.number + 1)]
    solid = bench.chain.solid
    bench.chain.broadcast(bench.transfer(somebody, TRX))
    bench.chain.close()

    again = reopened(tmp_path)
    assert again.world.dump() == expected
    assert [again.block(number) for number in range(len(blocks))] == blocks
    assert (again.solid, again.pending, again.chain_id) == (solid, 0, bench.chain.chain_id)
    assert again.find(last.txid) == bench.chain.find(last.txid)
    assert again.clock.offset_ms == 50_000
    again.reorg(1)  # the journals are there, too
    with again.state_at(again.head.number) as world:
        assert world.state.slot(contract, 0) == 5
    again.mine()
    assert again.world.state.slot(contract, 0) == 6
    again.close()


def test_the_log_holds_what_executing_every_transaction_anew_gives(tmp_path: Path) -> None:
    """Random transfers, deployments, calls, reorgs and restarts, then all blocks from the beginning."""
    chance = random.Random(20_26)
    bench = Bench(tmp_path)
    chain, contracts, people = bench.chain, [], [secrets.token_bytes(20) for _ in range(4)]
    for _ in range(120):
        act = chance.randrange(8)
        if act == 0:
            contracts.append(bench.deployment(fee_limit=chance.choice((TRX, 100 * TRX))))
            chain.broadcast(contracts[-1])
        elif act < 4 and contracts:
            place = chance.choice(contracts).new_contract_address
            if chain.world.state.code(place):
                chain.broadcast(bench.trigger(place, chance.randrange(3).to_bytes(32)))
        elif act == 4:
            chain.mine(chance.randrange(1, 4))
        elif act == 5 and chain.head.number > max(1, chain.solid):
            depth = chance.randint(1, min(4, chain.head.number - max(1, chain.solid)))
            chain.reorg(depth, drop=chance.random() < 0.3)
        elif act == 6 and chance.random() < 0.3:
            chain.close()
            bench.chain = chain = reopened(tmp_path)
        else:
            chain.broadcast(bench.transfer(chance.choice(people), chance.randrange(1, TRX)))
    chain.mine(2)
    blocks = [chain.block(number) for number in range(chain.head.number + 1)]
    genesis_id = blocks[0].id if blocks[0] else b""
    assert sum(len(block.transactions) for block in blocks if block) > 20

    anew = Chain(BlockLog(None), Clock(), 3_000, genesis_id, {bench.key.address: FUNDS})
    for block in blocks[2:]:  # the first is empty
        assert block is not None
        context = anew.context(block.number, block.time_ms)
        for transaction, receipt in zip(block.transactions, block.receipts, strict=True):
            assert apply(anew.world, transaction, context, block.time_ms) == receipt
    assert anew.world.dump() == chain.world.dump()
    chain.close()


def test_a_chain_is_opened_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(InvalidSetting, match="cannot be used"):
        BlockLog(tmp_path)
    bench.chain.close()
    with pytest.raises(InvalidSetting, match="is not that of the chain"):
        reopened(tmp_path, bytes(32))


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"something else, longer than a header " * 100)
    with pytest.raises(InvalidSetting, match="cannot be used"):
        BlockLog(tmp_path)


def test_a_block_that_cannot_be_logged_is_not_made(
    bench: Bench, somebody: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfer = bench.transfer(somebody, TRX)
    bench.chain.mine()
    before, head = bench.chain.world.dump(), bench.chain.head

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(BlockLog, "append", full)
        bench.chain.broadcast(transfer)
        with pytest.raises(OSError, match="no space"):
            bench.chain.mine()
    assert bench.chain.head is head
    with bench.chain.state_at(head.number) as world:
        assert world.dump() == before
    assert bench.chain.waiting(transfer.txid) is not None
    assert bench.done(bench.transfer(somebody, 2 * TRX)).block == head.number + 1
    assert bench.balance(somebody) == 3 * TRX


# ------------------------------------------------------------------------------------------ views


def test_an_earlier_state_is_shown_and_nothing_is_changed_by_looking(
    bench: Bench, somebody: bytes
) -> None:
    contract = bench.done(bench.deployment()).contract
    assert contract is not None
    for value in (5, 6, 0, 7):
        bench.done(bench.trigger(contract, value.to_bytes(32)))
    bench.chain.broadcast(bench.trigger(contract, (8).to_bytes(32)))
    head, now = bench.chain.head.number, bench.chain.world.dump()
    seen = []
    for back in range(5):
        with bench.chain.state_at(head - back) as world:
            seen.append(world.state.slot(contract, 0))
    assert seen == [7, None, 6, 5, None]
    with bench.chain.state_at(None) as world:
        assert world.state.slot(contract, 0) == 8
    assert bench.chain.world.dump() == now
    bench.chain.mine()
    assert bench.chain.world.state.slot(contract, 0) == 8


def test_the_state_is_not_kept_for_ever(bench: Bench) -> None:
    bench.chain.mine(KEPT_JOURNALS + 5)
    with pytest.raises(InvalidSetting), bench.chain.state_at(1):
        pass


def test_readers_and_the_miner_do_not_disturb_one_another(bench: Bench, somebody: bytes) -> None:
    contract = bench.done(bench.deployment()).contract
    assert contract is not None
    wrong: list[object] = []
    stop = threading.Event()

    def read() -> None:
        given = {
            "owner_address": "41" + somebody.hex(), "contract_address": "41" + contract.hex(),
            "data": (9).to_bytes(32).hex(),
        }  # fmt: skip
        while not stop.is_set():
            for group in ("wallet", "walletsolidity"):
                shown = bench.call(f"{group}/triggerconstantcontract", given)
                result = shown.get("constant_result")
                if group == "wallet" and result != [given["data"]]:
                    wrong.append(shown)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for value in range(40):
        bench.done(bench.trigger(contract, (value % 3).to_bytes(32)))
    stop.set()
    for thread in threads:
        thread.join(10)
    assert wrong == []
    assert bench.chain.world.state.slot(contract, 0) is None  # 39 % 3 == 0: a row of zero goes
