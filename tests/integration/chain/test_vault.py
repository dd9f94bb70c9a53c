"""The vault in our words against the vault on chain: money in, anchors, money out, the end."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from speedpay.chain import abi, artifact, scan
from speedpay.chain.address import to_base58
from speedpay.chain.keyfile import make_key, write_private
from speedpay.chain.tron import Tron, deployed_address
from speedpay.chain.vault import Vault
from speedpay.chain.vault_events import read
from speedpay.cli import main
from speedpay.devnet.node import devnet
from speedpay.errors import ChainRefused, ChainUnreachable, Malformed, NotFound
from speedpay.proof.balance import BalanceProof
from speedpay.proof.head import EpochHead
from speedpay.proof.leaf import Leaf
from speedpay.proof.sum_tree import path_of, root_of
from speedpay.units import ZERO, Amount
from tests.integration.chain.conftest import SOLID, TRX, Connect, Contracts, done
from tests.integration.chain.liar import liar

ACCOUNT = b"account of alice"


def tok(text: str) -> Amount:
    return Amount.from_tokens(text)


def deposit(c: Contracts, amount: str = "100", account: bytes = ACCOUNT) -> Any:
    unsigned = c.vault.prepare_deposit(c.alice.address, tok(amount), account)
    return done(c.tron, c.alice, unsigned)


@dataclass
class Closed:
    head: EpochHead
    head_hash: bytes
    proof: BalanceProof


def close(c: Contracts, epoch: int = 1, withdrawable: str = "30", balance: str = "70") -> Closed:
    """An epoch with three leaves, of which the second is Alice's."""
    chain_id, vault, salt = c.tron.chain_id, c.vault.address, secrets.token_bytes(32)
    other = Leaf(chain_id, vault, bytes(16), bytes(20), ZERO, ZERO, bytes(32)).node()
    hers = Leaf(
        chain_id, vault, ACCOUNT, c.alice.address, tok(withdrawable), tok(balance), salt
    ).node()
    leaves = [other, hers, other]
    root = root_of(leaves)
    head = EpochHead(
        epoch, 1_700_000_000, chain_id, vault, root.hash, Amount(root.sum), ZERO, 3, 7, bytes(32), 1,
        b"file of the epoch 20", bytes(32) if epoch == 1 else b"p" * 32,
    )  # fmt: skip
    proof = BalanceProof(
        epoch,
        1,
        ACCOUNT,
        c.alice.address,
        tok(withdrawable),
        tok(balance),
        salt,
        path_of(leaves, 1),
    )
    return Closed(head, secrets.token_bytes(32), proof)


def anchor(c: Contracts, closed: Closed) -> Any:
    unsigned = c.vault.prepare_anchor(c.alice.address, closed.head, closed.head_hash)
    return done(c.tron, c.alice, unsigned)


def test_a_deposit_is_read_from_its_receipt_and_from_its_block(contracts: Contracts) -> None:
    receipt = deposit(contracts)
    (made,) = contracts.vault.deposits_in(receipt)
    assert (made.seq, made.account, made.sender) == (1, ACCOUNT, contracts.alice.address)
    assert (made.amount, made.total) == (tok("100"), tok("100"))
    assert (made.txid, made.block) == (receipt.txid, receipt.block)
    deposit(contracts, "1", b"b" * 16)
    contracts.net.mine(SOLID)
    last = contracts.tron.solid().number
    first, second = contracts.vault.deposits(1, last)
    assert first == made
    assert (second.seq, second.amount, second.total) == (2, tok("1"), tok("101"))


def test_the_token_s_own_events_in_the_same_transaction_are_not_the_vault_s(
    contracts: Contracts,
) -> None:
    receipt = deposit(contracts)
    (moved,) = contracts.token.transfers(receipt)
    assert (moved.sender, moved.to, moved.amount) == (
        contracts.alice.address, contracts.vault.address, 100_000_000,
    )  # fmt: skip
    everything = len(receipt.logs)
    assert everything == len(receipt.events(contracts.vault.address)) + len(
        receipt.events(contracts.token.address)
    )
    (made,) = contracts.vault.deposits_in(receipt)
    assert receipt.logs[made.log_index].contract == contracts.vault.address


def test_a_deposit_into_a_vault_for_another_token_is_none_of_ours(contracts: Contracts) -> None:
    """Somebody's own vault and token, the same bytecode: only the address tells them apart."""
    tron, alice = contracts.tron, contracts.alice
    me = alice.address
    made = tron.prepare_deploy(me, artifact.load(artifact.TOKEN), [me, 10**15], 100 * TRX)
    done(tron, alice, made)
    false_token = replace(contracts.token, address=deployed_address(made, me))
    terms = [false_token.address, me, contracts.guardian.address, 1, 3, 600, 600]
    made = tron.prepare_deploy(me, artifact.load(artifact.VAULT), terms, 500 * TRX)
    done(tron, alice, made)
    theirs = replace(contracts, token=false_token, vault=Vault(tron, deployed_address(made, me)))
    done(tron, alice, false_token.prepare_mint(me, me, 10**12))
    done(tron, alice, false_token.prepare_approve(me, theirs.vault.address, 10**12))
    receipt = deposit(theirs, "500000")
    contracts.net.mine(SOLID)
    assert contracts.vault.deposits_in(receipt) == []
    assert contracts.vault.deposits(1, tron.solid().number) == []
    assert theirs.vault.terms().token != contracts.vault.terms().token


def test_events_of_a_block_that_is_not_final_are_not_given(contracts: Contracts) -> None:
    receipt = deposit(contracts)
    with pytest.raises(ChainUnreachable, match="final"):
        contracts.vault.deposits(receipt.block, receipt.block)
    contracts.net.mine(SOLID)
    assert len(contracts.vault.deposits(receipt.block, receipt.block)) == 1


def test_a_scan_is_resumed_at_any_block_and_finds_each_event_once(contracts: Contracts) -> None:
    for number in range(5):
        deposit(contracts, "1", bytes([number + 1]) * 16)
        contracts.net.mine(3)
    contracts.net.mine(SOLID)
    last = contracts.tron.solid().number
    first = last - 40
    for batch in (1, 7, 100):
        found, cursor = [], first
        while cursor <= last:  # each step by a reader of its own, as after a crash
            cursor, events = next(contracts.tron.scan(contracts.vault.address, cursor, last, batch))
            found += events
        assert cursor == last + 1
        assert [d.seq for d in read(found).deposits] == [1, 2, 3, 4, 5]
        assert len(found) == 6  # and the first operator, by the constructor


@pytest.mark.parametrize(("first", "last"), [(5, 4), (-1, 3), (1, 1 + scan.MAX_BLOCKS)])
def test_a_range_that_is_none_or_too_long_is_refused(
    contracts: Contracts, first: int, last: int
) -> None:
    with pytest.raises(Malformed):
        contracts.vault.events(first, last)


def test_an_anchor_is_read_from_the_ring_and_with_its_file_from_its_event(
    contracts: Contracts,
) -> None:
    deposit(contracts)
    closed = close(contracts)
    contracts.net.mine(SOLID)
    assert contracts.vault.last_anchor() is None
    receipt = anchor(contracts, closed)
    assert receipt.energy <= 35_000
    from_ring = contracts.vault.anchor_of(1)
    assert (from_ring.root, from_ring.head) == (closed.head.root, closed.head_hash)
    assert (from_ring.liabilities, from_ring.journal_size) == (tok("100"), 7)
    assert (from_ring.file, from_ring.txid) == (None, None)
    with pytest.raises(NotFound, match="no final block"):
        contracts.vault.anchor_of(1, receipt.txid)
    contracts.net.mine(SOLID)
    from_event = contracts.vault.anchor_of(1, receipt.txid)
    assert from_event == replace(
        from_ring, file=closed.head.file, txid=receipt.txid, block=receipt.block
    )
    assert contracts.vault.last_anchor() == from_ring
    (scanned,) = contracts.vault.anchors(receipt.block, receipt.block)
    assert replace(scanned, time=from_event.time) == from_event
    with pytest.raises(NotFound, match="does not anchor epoch 2"):
        contracts.vault.anchor_of(2, receipt.txid)
    with pytest.raises(NotFound, match="does not hold epoch 2"):
        contracts.vault.anchor_of(2)


def test_the_vault_s_state_follows_what_happened(contracts: Contracts) -> None:
    before = contracts.vault.state()
    assert (before.last_epoch, before.last_time, before.deposit_count) == (0, 0, 0)
    assert (before.operator, before.frozen) == (contracts.alice.address, False)
    assert before.terms.token == contracts.token.address
    assert (before.min_interval, before.terms.delay) == (1, 3)
    deposit(contracts)
    receipt = anchor(contracts, close(contracts))
    after = contracts.vault.state()
    assert (after.last_epoch, after.last_time) == (1, receipt.time_s)
    assert (after.deposit_count, after.total_deposits) == (1, tok("100"))
    assert after.chain_hash != before.chain_hash


def test_what_the_vault_refuses_is_refused_by_its_name_before_it_costs(
    contracts: Contracts,
) -> None:
    deposit(contracts)
    closed = close(contracts)
    before = contracts.tron.trx_balance(contracts.alice.address)
    owing_more = replace(closed.head, liabilities=tok("101"))
    for head, name in (
        (replace(closed.head, epoch=2, prev=b"x" * 32), "WrongEpoch"),
        (owing_more, "LiabilitiesAboveDeposits"),
        (replace(closed.head, deposit_seq=2), "UnknownDeposit"),
    ):
        with pytest.raises(ChainRefused) as caught:
            contracts.vault.prepare_anchor(contracts.alice.address, head, closed.head_hash)
        assert caught.value.field == name
    with pytest.raises(ChainRefused) as caught:
        contracts.vault.prepare_anchor(contracts.guardian.address, closed.head, closed.head_hash)
    assert caught.value.field == "NotOperator"
    assert contracts.tron.trx_balance(contracts.alice.address) == before


def test_a_head_of_another_vault_or_chain_is_not_anchored(contracts: Contracts) -> None:
    head = close(contracts).head
    for other, field in (
        (replace(head, vault=bytes(20)), "head.vault"),
        (replace(head, chain_id=head.chain_id + 1), "head.chain_id"),
    ):
        with pytest.raises(Malformed) as caught:
            contracts.vault.prepare_anchor(contracts.alice.address, other, bytes(32))
        assert caught.value.field == field


def test_a_claim_pays_once_what_the_leaf_releases(contracts: Contracts) -> None:
    c = contracts
    deposit(c)
    closed = close(c)
    anchor(c, closed)
    with pytest.raises(ChainRefused) as caught:
        c.vault.prepare_claim(c.alice.address, closed.proof)
    assert caught.value.field == "TooEarly"
    c.net.advance(5)
    c.net.mine()
    lie = replace(closed.proof, withdrawable=tok("31"), balance=tok("69"))
    with pytest.raises(ChainRefused) as caught:
        c.vault.prepare_claim(c.alice.address, lie)
    assert caught.value.field == "RootDiffers"
    before = c.token.balance_of(c.alice.address)
    relayed = c.vault.prepare_claim(c.guardian.address, closed.proof)  # by anyone
    receipt = done(c.tron, c.guardian, relayed)
    assert c.token.balance_of(c.alice.address) == before + 30_000_000
    (claim,) = c.vault.claims_in(receipt)
    assert (claim.account, claim.payout) == (ACCOUNT, c.alice.address)
    assert (claim.amount, claim.paid, claim.epoch) == (tok("30"), tok("30"), 1)
    assert c.vault.paid_to(ACCOUNT) == tok("30")
    with pytest.raises(ChainRefused) as caught:
        c.vault.prepare_claim(c.alice.address, closed.proof)
    assert caught.value.field == "NothingDue"


def test_a_freeze_and_a_refund_are_read_back(contracts: Contracts) -> None:
    c = contracts
    deposit(c)
    frozen = done(c.tron, c.guardian, c.vault.prepare_freeze(c.guardian.address))
    refunded = done(c.tron, c.alice, c.vault.prepare_refund(c.alice.address, 1))
    c.net.mine(SOLID)
    found = c.vault.events(frozen.block, refunded.block)
    (freeze,), (refund,) = found.frozen, found.refunds
    assert (freeze.epoch, freeze.deposit_seq, freeze.by) == (0, 0, c.guardian.address)
    assert (refund.seq, refund.to, refund.amount) == (1, c.alice.address, tok("100"))
    state = c.vault.state()
    assert (state.frozen, state.frozen_epoch) == (True, 0)


def test_a_new_operator_is_proposed_and_accepts(contracts: Contracts) -> None:
    c = contracts
    done(c.tron, c.alice, c.vault.prepare_propose_operator(c.alice.address, c.alice.address))
    with pytest.raises(ChainRefused) as caught:
        c.vault.prepare_accept_operator(c.alice.address)
    assert caught.value.field == "TooEarly"
    c.net.advance(5)
    c.net.mine()
    assert done(c.tron, c.alice, c.vault.prepare_accept_operator(c.alice.address)).ok


def test_one_node_of_two_cannot_make_an_anchor_unknown(
    contracts: Contracts, connect: Connect
) -> None:
    deposit(contracts)
    anchor(contracts, close(contracts))
    unknown = abi.selector("UnknownEpoch(uint64)") + (1).to_bytes(32)

    def denying(path: str, answer: Any) -> Any:
        if path.endswith("triggerconstantcontract"):
            result = {"result": True, "message": "REVERT opcode executed"}
            return answer | {"result": result, "constant_result": [unknown.hex()]}
        return answer

    with liar(contracts.net.nodes[1].url, denying) as false:
        vault = Vault(connect(contracts.net.url, false.url), contracts.vault.address)
        with pytest.raises(ChainUnreachable, match="do not agree"):
            vault.anchor_of(1)
        with pytest.raises(NotFound):  # with that node alone nobody can know better
            Vault(connect(false.url), contracts.vault.address).anchor_of(1)
    assert contracts.vault.anchor_of(1).epoch == 1


def test_the_vault_s_keys_have_their_commands(
    contracts: Contracts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    c, new = contracts, make_key(tmp_path / "new.key")
    monkeypatch.setenv("SPEEDPAY_HOME", str(tmp_path))
    monkeypatch.setattr(Tron, "pause", lambda _self: c.net.mine())
    c.net.faucet(new.address, 100 * TRX)
    for name, key in (("operator", c.alice), ("guardian", c.guardian)):
        write_private(tmp_path / f"{name}.key", key._secret.secret.hex().encode())

    def run(verb: str, *arguments: str, key: str) -> tuple[int, str]:
        given = ["chain", verb, to_base58(c.vault.address), *arguments, "--nodes", c.net.url]
        code = main([*given, "--key-file", str(tmp_path / f"{key}.key"), "--yes", "--json"])
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    assert run("propose-operator", new.base58, key="operator")[0] == 0
    code, said = run("accept-operator", key="new")
    assert (code, "TooEarly" in said) == (1, True)
    c.net.advance(5)
    c.net.mine()
    code, said = run("accept-operator", key="new")
    assert (code, json.loads(said)["network"]) == (0, "devnet")
    assert c.vault.state().operator == new.address
    code, said = run("freeze", key="operator")
    assert (code, "TooEarly" in said) == (1, True)
    assert run("freeze", key="guardian")[0] == 0
    assert c.vault.state().frozen


# ------------------------------------------------------------------ what nodes leave out, or add


def _malformed(edit: Any) -> Any:
    def edited(path: str, answer: Any) -> Any:
        if path.endswith("gettransactioninfobyblocknum"):
            for entry in answer:
                for log in entry.get("log", []):
                    edit(log)
        return answer

    return edited


@pytest.mark.parametrize(
    "edit",
    [
        lambda log: log.pop("data"),
        lambda log: log.update(data=log["data"] + "00"),
        lambda log: log.update(data="zz"),
        lambda log: log["topics"].append("00" * 32),
        lambda log: log["topics"].pop(),
        lambda log: log.update(topics=["00" * 31]),
        lambda log: log.update(topics="x"),
        lambda log: log["topics"].__setitem__(1, "ff" * 32),  # a seq above 64 bits
        lambda log: log["topics"].__setitem__(2, "00" * 15 + "01" * 17),  # bytes16 with a tail
        lambda log: log["topics"].__setitem__(3, "ff" * 32),  # an address with a head
    ],
)
def test_an_event_that_is_not_of_its_types_is_refused(
    contracts: Contracts, connect: Connect, edit: Any
) -> None:
    receipt = deposit(contracts)
    contracts.net.mine(SOLID)

    def only_ours(log: dict[str, Any]) -> None:
        if log["address"][-40:] == contracts.vault.address.hex():
            edit(log)

    with liar(contracts.net.url, _malformed(only_ours)) as false, pytest.raises(Malformed):
        Vault(connect(false.url), contracts.vault.address).deposits(receipt.block, receipt.block)


def test_an_event_of_another_kind_is_passed_over(contracts: Contracts, connect: Connect) -> None:
    """tronpy would decode it as if it were the one that was asked for."""
    receipt = deposit(contracts)
    contracts.net.mine(SOLID)
    renamed = _malformed(lambda log: log["topics"].__setitem__(0, "ab" * 32))
    bare = _malformed(lambda log: [log.pop(name, None) for name in ("topics", "data")])
    for edit in (renamed, bare):
        with liar(contracts.net.url, edit) as false:
            vault = Vault(connect(false.url), contracts.vault.address)
            assert vault.deposits(receipt.block, receipt.block) == []


def test_a_receipt_in_another_block_than_asked_for_is_refused(
    contracts: Contracts, connect: Connect
) -> None:
    receipt = deposit(contracts)
    contracts.net.mine(SOLID)

    def moved(path: str, answer: Any) -> Any:
        if path.endswith("blocknum"):
            return [entry | {"blockNumber": entry["blockNumber"] + 1} for entry in answer]
        return answer

    with liar(contracts.net.url, moved) as false, pytest.raises(Malformed):
        Vault(connect(false.url), contracts.vault.address).deposits(receipt.block, receipt.block)


def test_the_faucet_is_the_devnet_s_alone(connect: Connect) -> None:
    from speedpay.chain.networks import NILE
    from speedpay.chain.tron import Tron

    with devnet(block_time=None) as net, Tron(NILE, [net.url]) as tron, pytest.raises(ChainRefused):
        tron.dev_faucet(bytes(20), 1)
