"""Money out by proof: who is paid what, once, and every proof that is not the account's own."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedpay.proof.leaf import NO_PAYOUT
from tests.contracts.backends import CHAIN_ID, Backend, Tvm
from tests.contracts.deployed import (
    ACCOUNT_A,
    ACCOUNT_B,
    ACCOUNT_C,
    ALICE,
    BOB,
    CAROL,
    EVE,
    Deployed,
    Refused,
    Tree,
    changed,
    refused,
)


def three(deployed: Deployed, withdrawable: int = 100) -> Tree:
    """Alice, Bob and Carol; 1,000 µtok in all."""
    return Tree(
        (
            deployed.leaf(ACCOUNT_A, ALICE, withdrawable, 500 - withdrawable),
            deployed.leaf(ACCOUNT_B, BOB, 0, 300),
            deployed.leaf(ACCOUNT_C, CAROL, 200, 0),
        )
    )


@pytest.fixture
def tree(deployed: Deployed) -> Tree:
    deployed.deposit(1_000)
    return three(deployed)


def test_a_claim_pays_what_was_released_to_the_leafs_payout_whoever_sends_it(
    deployed: Deployed, tree: Tree
) -> None:
    epoch = deployed.final(tree)
    sent = deployed.vault.send("claim", *tree.claim(0, epoch), by=EVE)
    assert sent.event("Claimed") == {
        "account": ACCOUNT_A, "payout": ALICE, "amount": 100, "paid": 100, "epoch": epoch,
    }  # fmt: skip
    assert (deployed.held(ALICE), deployed.held(EVE), deployed.held()) == (100, 0, 900)
    assert deployed.vault.view("paidTo", ACCOUNT_A) == deployed.vault.view("totalPaid") == 100


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 11])
def test_every_leaf_of_a_tree_of_any_size_is_paid(deployed: Deployed, count: int) -> None:
    deployed.deposit(2 * sum(range(1, count + 1)))
    accounts = [bytes([number]) * 16 for number in range(count)]
    payouts = [bytes([0xC0 + number]) * 20 for number in range(count)]
    tree = Tree(tuple(deployed.leaf(accounts[n], payouts[n], n + 1, n + 1) for n in range(count)))
    epoch = deployed.final(tree)
    for number in range(count):
        deployed.vault.send("claim", *tree.claim(number, epoch), by=EVE)
        assert deployed.held(payouts[number]) == number + 1


def test_a_claim_waits_for_the_delay(deployed: Deployed, tree: Tree) -> None:
    deployed.anchor_later(tree)
    final_from = deployed.backend.now_s + deployed.times.delay
    deployed.wait(deployed.times.delay - 1)
    with refused("TooEarly", final_from):
        deployed.vault.send("claim", *tree.claim(0, 1), by=ALICE)
    deployed.wait(1)
    deployed.vault.send("claim", *tree.claim(0, 1), by=ALICE)


def test_a_replayed_claim_finds_nothing_due(deployed: Deployed, tree: Tree) -> None:
    epoch = deployed.final(tree)
    deployed.vault.send("claim", *tree.claim(0, epoch), by=ALICE)
    with refused("NothingDue", 100, 100):
        deployed.vault.send("claim", *tree.claim(0, epoch), by=ALICE)
    with refused("NothingDue", 0, 0):
        deployed.vault.send("claim", *tree.claim(1, epoch), by=BOB)


def test_a_later_epoch_pays_the_difference_and_an_earlier_one_no_more(
    deployed: Deployed, tree: Tree
) -> None:
    early = deployed.final(tree)
    later_tree = three(deployed, withdrawable=160)
    later = deployed.final(later_tree)
    sent = deployed.vault.send("claim", *later_tree.claim(0, later), by=ALICE)
    assert sent.event("Claimed")["amount"] == 160
    with refused("NothingDue", 160, 100):
        deployed.vault.send("claim", *tree.claim(0, early), by=ALICE)
    assert deployed.held(ALICE) == 160


def test_the_same_account_twice_in_a_tree_is_paid_once(deployed: Deployed) -> None:
    deployed.deposit(1_000)
    tree = Tree(
        (
            deployed.leaf(ACCOUNT_A, ALICE, 100, 0),
            deployed.leaf(ACCOUNT_A, EVE, 130, 0),
            deployed.leaf(ACCOUNT_A, ALICE, 90, 0),
        )
    )
    epoch = deployed.final(tree)
    deployed.vault.send("claim", *tree.claim(0, epoch), by=ALICE)
    deployed.vault.send("claim", *tree.claim(1, epoch), by=ALICE)
    with refused("NothingDue", 130, 90):
        deployed.vault.send("claim", *tree.claim(2, epoch), by=ALICE)
    assert (deployed.held(ALICE), deployed.held(EVE)) == (100, 30)


def test_an_epoch_that_left_the_ring_cannot_be_claimed_against(
    deployed: Deployed, tree: Tree
) -> None:
    epoch = deployed.final(tree)
    for _ in range(7):
        deployed.anchor_later(tree)
    deployed.vault.send("claim", *tree.claim(2, epoch), by=CAROL)
    deployed.anchor_later(tree)
    with refused("UnknownEpoch", epoch):
        deployed.vault.send("claim", *tree.claim(0, epoch), by=ALICE)
    deployed.wait(deployed.times.delay)
    deployed.vault.send("claim", *tree.claim(0, 9), by=ALICE)


def test_a_leaf_without_a_payout_address_cannot_be_claimed(deployed: Deployed) -> None:
    deployed.deposit(100)
    tree = Tree((deployed.leaf(ACCOUNT_A, NO_PAYOUT, 100, 0),))
    epoch = deployed.final(tree)
    with refused("NoPayout"):
        deployed.vault.send("claim", *tree.claim(0, epoch), by=ALICE)


# ------------------------------------------------------------------------------- proofs that are not


@pytest.mark.parametrize(
    "change",
    [
        {"account": ACCOUNT_B}, {"payout": EVE}, {"withdrawable": 101}, {"balance": 401},
        {"withdrawable": 400, "balance": 100}, {"salt": bytes(32)}, {"position": 1},
    ],
    ids=lambda change: "+".join(change),
)  # fmt: skip
def test_a_claim_with_one_thing_changed_leads_to_another_root(
    deployed: Deployed, tree: Tree, change: dict[str, Any]
) -> None:
    epoch = deployed.final(tree)
    with refused("RootDiffers"):
        deployed.vault.send("claim", *changed(tree.claim(0, epoch), **change), by=EVE)
    assert deployed.vault.view("totalPaid") == 0


@given(st.data())
@settings(max_examples=60)
def test_no_changed_byte_of_a_claim_is_ever_paid(data: st.DataObject) -> None:
    deployed, tree, epoch = with_claims()
    claim = tree.claim(data.draw(st.sampled_from([0, 2])), epoch)
    part = data.draw(st.sampled_from(range(len(claim))))
    value = claim[part]
    if isinstance(value, list):
        value, at = list(value), data.draw(st.integers(0, len(value) - 1))
        item = value[at]
        value[at] = _flipped(item, data)
    else:
        value = _flipped(value, data)
    claim[part] = value
    with pytest.raises(Refused), deployed.backend.attempt():
        deployed.vault.send("claim", *claim, by=EVE)


@cache
def with_claims() -> tuple[Deployed, Tree, int]:
    deployed = Deployed.fresh(Tvm())
    deployed.deposit(1_000)
    tree = three(deployed)
    return deployed, tree, deployed.final(tree)


def _flipped(value: Any, data: st.DataObject) -> Any:
    if isinstance(value, int):
        return value ^ 1 << data.draw(st.integers(0, 63))
    bit = data.draw(st.integers(0, 8 * len(value) - 1))
    return (int.from_bytes(value) ^ 1 << bit).to_bytes(len(value))


def test_a_proof_from_another_vault_is_worth_nothing_here(backend: Backend) -> None:
    here, there = Deployed.fresh(backend), Deployed.fresh(backend)
    here.deposit(1_000)
    # The operator anchored the other vault's root here too; its leaves name the other vault.
    tree = three(there)
    epoch = here.final(tree)
    with refused("RootDiffers"):
        here.vault.send("claim", *tree.claim(0, epoch), by=ALICE)


def test_a_proof_from_another_chain_is_worth_nothing_here(deployed: Deployed) -> None:
    deployed.deposit(100)
    tree = Tree((deployed.leaf(withdrawable=100, chain_id=CHAIN_ID + 1),))
    epoch = deployed.final(tree)
    with refused("RootDiffers"):
        deployed.vault.send("claim", *tree.claim(0, epoch), by=ALICE)


def test_a_stale_proof_does_not_fit_a_later_epoch(deployed: Deployed, tree: Tree) -> None:
    deployed.final(tree)
    later = deployed.final(three(deployed, withdrawable=160))
    with refused("RootDiffers"):
        deployed.vault.send("claim", *tree.claim(0, later), by=ALICE)


def test_a_position_has_no_bits_above_the_depth(deployed: Deployed, tree: Tree) -> None:
    epoch = deployed.final(tree)
    for position in (4, 2**63, 2**64 - 1):
        with refused("PositionOutsideTree", position, 2):
            deployed.vault.send("claim", *changed(tree.claim(0, epoch), position=position), by=EVE)


def test_a_path_has_as_many_sums_as_hashes_and_at_most_40(deployed: Deployed, tree: Tree) -> None:
    epoch = deployed.final(tree)
    claim = tree.claim(0, epoch)
    with refused("BadProofLength", 2, 1):
        deployed.vault.send("claim", *changed(claim, sums=claim[-1][:1]), by=EVE)
    with refused("BadProofLength", 0, 2):
        deployed.vault.send("claim", *changed(claim, hashes=[]), by=EVE)
    long = changed(claim, hashes=[bytes(32)] * 41, sums=[0] * 41)
    with refused("BadProofLength", 41, 41):
        deployed.vault.send("claim", *long, by=EVE)
    deep = changed(claim, hashes=[bytes(32)] * 40, sums=[0] * 40)
    with refused("RootDiffers"):
        deployed.vault.send("claim", *deep, by=EVE)


def test_an_inner_node_cannot_pose_as_a_leaf(deployed: Deployed, tree: Tree) -> None:
    """The root itself as a proof of length none: a leaf's hash never starts from a node's bytes."""
    epoch = deployed.final(tree)
    claim = changed(tree.claim(0, epoch), withdrawable=1_000, balance=0, hashes=[], sums=[])
    with refused("RootDiffers"):
        deployed.vault.send("claim", *claim, by=EVE)


# -------------------------------------------------------------------------------------------- sums


@pytest.mark.parametrize(
    ("withdrawable", "balance", "sums", "total"),
    [
        (2**63, 0, [0, 0], 2**63),
        (2**63 - 1, 2**63 - 1, [0, 0], 2**64 - 2),
        (2**64 - 1, 2**64 - 1, [0, 0], 2**65 - 2),
        (1, 2**63 - 2, [1, 0], 2**63),
        (1, 0, [2**64 - 1, 0], 2**64),
        (1, 0, [2**62, 2**62], 2**63 + 1),
    ],
)
def test_sums_above_63_bits_are_refused_wherever_they_arise(
    deployed: Deployed, tree: Tree, withdrawable: int, balance: int, sums: list[int], total: int
) -> None:
    """A sum that wraps around is a negative child: it would let somebody's balance vanish."""
    epoch = deployed.final(tree)
    claim = changed(tree.claim(0, epoch), withdrawable=withdrawable, balance=balance, sums=sums)
    with refused("SumTooLarge", total):
        deployed.vault.send("claim", *claim, by=EVE)


def test_a_leaf_alone_is_checked_for_its_sum_too(deployed: Deployed) -> None:
    deployed.deposit(100)
    tree = Tree((deployed.leaf(withdrawable=100),))
    epoch = deployed.final(tree)
    with refused("SumTooLarge", 2**63):
        deployed.vault.send("claim", *changed(tree.claim(0, epoch), withdrawable=2**63), by=EVE)


def test_a_tree_may_owe_all_that_63_bits_hold(deployed: Deployed) -> None:
    whole = 2**63 - 1
    deployed.deposit(whole)
    tree = Tree(
        (deployed.leaf(ACCOUNT_A, ALICE, whole - 2, 1), deployed.leaf(ACCOUNT_B, BOB, 1, 0))
    )
    epoch = deployed.final(tree)
    for position in (0, 1):
        deployed.vault.send("claim", *tree.claim(position, epoch), by=EVE)
    assert (deployed.held(ALICE), deployed.held(BOB)) == (whole - 2, 1)


def test_a_tree_that_owes_more_than_its_anchor_says_pays_nobody(
    deployed: Deployed, tree: Tree
) -> None:
    deployed.anchor_later(tree, liabilities=999)
    deployed.wait(deployed.times.delay)
    with refused("SumDiffers", 1_000, 999):
        deployed.vault.send("claim", *tree.claim(0, 1), by=ALICE)


def test_a_node_that_hashes_only_the_total_cannot_be_climbed(deployed: Deployed) -> None:
    """Maxwell's tree (ePrint 2018/1139): with hash(left ‖ right ‖ total), the operator shows each of
    two users a sibling that owes nothing, and owes the larger of two balances instead of both. Here
    the sums are hashed apart: the sibling's sum that fits one proof is the only one that does."""
    deployed.deposit(300)
    leaves = (deployed.leaf(ACCOUNT_A, ALICE, 300, 0), deployed.leaf(ACCOUNT_B, BOB, 200, 0))
    tree = Tree(leaves)
    deployed.anchor_later(tree, liabilities=300)
    deployed.wait(deployed.times.delay)
    for position, hidden in ((0, 0), (1, 100)):
        lie = changed(tree.claim(position, 1), sums=[hidden])
        with refused("RootDiffers"):
            deployed.vault.send("claim", *lie, by=EVE)
        with refused("SumDiffers", 500, 300):
            deployed.vault.send("claim", *tree.claim(position, 1), by=EVE)
