"""Attacks with a stolen operator's key, with false trees, and by tokens that call back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from speedpay.chain.abi import encode_call
from tests.contracts.backends import Backend
from tests.contracts.deployed import (
    ACCOUNT_A,
    ACCOUNT_B,
    ALICE,
    BOB,
    EVE,
    GUARDIAN,
    OPERATOR,
    Deployed,
    Refused,
    Times,
    Tree,
    refused,
)

CLAIM = "claim(bytes16,address,uint64,uint64,bytes32,uint64,uint64,bytes32[],uint64[])"
REFUND, DEPOSIT = "refund(uint64)", "deposit(uint64,bytes16)"


def honest(deployed: Deployed) -> Tree:
    return Tree((deployed.leaf(ACCOUNT_A, ALICE, 100, 900),))


def false(deployed: Deployed) -> Tree:
    """Everything is Eve's, and released."""
    return Tree((deployed.leaf(ACCOUNT_A, EVE, 1_000, 0),))


def anchor_as_fast_as_it_goes(deployed: Deployed, tree: Tree, until_s: int) -> int:
    """From now; how many."""
    count = 0
    while deployed.backend.now_s <= until_s:
        deployed.anchor(tree)
        deployed.wait(deployed.times.min_interval)
        count += 1
    deployed.backend.now_s = until_s
    return count


# ------------------------------------------------------------------------------- the operator's key


@pytest.mark.parametrize(
    "times",
    [
        Times(),
        # The tightest ring that the constructor lets pass.
        Times(min_interval=600, delay=2_099),
        Times(min_interval=1, delay=3, silence=4, deposit_grace=1),
        Times(min_interval=3_600, delay=12_599),
    ],
    ids=lambda times: f"{times.min_interval} s, {times.delay} s",
)
def test_a_stolen_operator_key_cannot_evict_every_good_root(backend: Backend, times: Times) -> None:
    """Anchoring false roots as fast as the vault takes them, the thief finds the last good root still
    in the ring when the first false one is about to be final: the guardian's freeze goes back to it,
    and everybody else could have claimed against it meanwhile."""
    deployed = Deployed.fresh(backend, replace(times, silence=max(times.silence, 10 * times.delay)))
    deployed.deposit(1_000)
    good = honest(deployed)
    epoch = deployed.final(good)
    stolen_at = deployed.backend.now_s

    anchor_as_fast_as_it_goes(deployed, false(deployed), stolen_at + times.delay - 1)
    with refused("TooEarly"):
        deployed.vault.send("claim", *false(deployed).claim(0, epoch + 1), by=EVE)
    with deployed.backend.attempt():
        deployed.vault.send("claim", *good.claim(0, epoch), by=ALICE)

    assert deployed.vault.send("freeze", by=GUARDIAN).event("Frozen")["epoch"] == epoch
    deployed.vault.send("claim", *good.claim(0, epoch), by=ALICE)
    assert (deployed.held(ALICE), deployed.held(EVE)) == (1_000, 0)


def test_the_last_good_root_stays_for_claims_longer_than_the_delay(deployed: Deployed) -> None:
    deployed.deposit(1_000)
    good = honest(deployed)
    deployed.anchor_later(good)
    deployed.wait(deployed.times.min_interval)
    stolen_at = deployed.backend.now_s
    # One second before the thief's eighth root: the good one became final an interval after the theft
    # at the latest, and has been so for more than another delay.
    anchor_as_fast_as_it_goes(
        deployed, false(deployed), stolen_at + 7 * deployed.times.min_interval - 1
    )
    good_final_for = deployed.backend.now_s - (
        stolen_at - deployed.times.min_interval + deployed.times.delay
    )
    assert good_final_for > deployed.times.delay
    deployed.vault.send("claim", *good.claim(0, 1), by=ALICE)
    assert deployed.held(ALICE) == 100


@pytest.mark.parametrize(("interval", "delay"), [(1, 8), (60, 600), (600, 4_800)])
def test_the_refused_times_would_have_let_a_thief_evict_them(
    backend: Backend, hostile: dict[str, Any], interval: int, delay: int
) -> None:
    times = Times(min_interval=interval, delay=delay)
    with refused("RingTooShort"):
        Deployed.fresh(backend, times)

    deployed = Deployed.fresh(backend, times, vault=hostile["SpoiltVault"])
    deployed.deposit(1_000)
    good = honest(deployed)
    epoch = deployed.final(good)
    anchor_as_fast_as_it_goes(deployed, false(deployed), deployed.backend.now_s + delay - 1)
    # Still within the guardian's time, and there is nothing left to go back to.
    assert deployed.vault.send("freeze", by=GUARDIAN).event("Frozen")["epoch"] != epoch
    with refused("UnknownEpoch", epoch):
        deployed.vault.send("claim", *good.claim(0, epoch), by=ALICE)


def test_without_the_guardian_a_false_root_wins(deployed: Deployed) -> None:
    """Not a wish: it is what the vault does not give, and the documentation says so."""
    deployed.deposit(1_000)
    deployed.final(honest(deployed))
    epoch = deployed.final(false(deployed))
    deployed.vault.send("claim", *false(deployed).claim(0, epoch), by=EVE)
    assert deployed.held(EVE) == 1_000


def test_false_roots_never_reach_into_deposits_they_do_not_cover(deployed: Deployed) -> None:
    """The thief empties what is covered, twice over if he could; later deposits are still refunded."""
    deployed.deposit(1_000)
    first = Tree((deployed.leaf(ACCOUNT_A, EVE, 1_000, 0),))
    epoch = deployed.final(first)
    deployed.deposit(500, ACCOUNT_B, by=BOB)
    deployed.vault.send("claim", *first.claim(0, epoch), by=EVE)

    second = Tree((deployed.leaf(ACCOUNT_B, EVE, 500, 0),))
    deployed.anchor(second, deposit_seq=1)
    deployed.wait(deployed.times.delay)
    with refused("ClaimsAboveDeposits", 1_500, 1_000):
        deployed.vault.send("claim", *second.claim(0, 2), by=EVE)
    deployed.vault.send("freeze", by=GUARDIAN)
    with refused("ClaimsAboveDeposits", 1_500, 1_000):
        deployed.vault.send("claim", *second.claim(0, 2), by=EVE)
    deployed.vault.send("refund", 2, by=BOB)
    assert deployed.held(BOB) == 500


def test_a_thief_who_proposes_himself_is_too_slow_for_the_guardian(deployed: Deployed) -> None:
    deployed.vault.send("proposeOperator", EVE, by=OPERATOR)
    deployed.wait(deployed.times.delay - 1)
    deployed.vault.send("freeze", by=GUARDIAN)
    deployed.wait(1)
    with refused("IsFrozen"):
        deployed.vault.send("acceptOperator", by=EVE)


def test_an_operator_who_ignores_a_deposit_is_stopped_and_it_is_refunded(
    deployed: Deployed,
) -> None:
    deployed.deposit(100, by=ALICE)
    for _ in range(2):  # the grace is one interval and a half
        deployed.anchor_later(deposit_seq=0)
    with refused("DepositUncovered", 1):
        deployed.anchor_later(deposit_seq=0)
    deployed.wait(deployed.times.silence + 1)
    deployed.vault.send("freeze", by=EVE)
    deployed.vault.send("refund", 1, by=EVE)
    assert deployed.held(ALICE) == 100


# ------------------------------------------------------------------------------ tokens that call back


@pytest.fixture
def calling(backend: Backend, hostile: dict[str, Any]) -> Deployed:
    return Deployed.fresh(backend, token=hostile["CallsBack"])


def arm(deployed: Deployed, signature: str, arguments: list[Any], before_moving: bool) -> None:
    data = encode_call(signature, arguments)
    deployed.token.send("arm", deployed.vault.address, data, before_moving, by=EVE)


def two(deployed: Deployed, released: int = 100) -> Tree:
    return Tree(
        (
            deployed.leaf(ACCOUNT_A, ALICE, released, 300 - released),
            deployed.leaf(ACCOUNT_B, BOB, 200, 0),
        )
    )


@pytest.mark.parametrize("before_moving", [True, False])
def test_a_claim_inside_the_same_claim_finds_it_paid(
    calling: Deployed, before_moving: bool
) -> None:
    calling.deposit(500)
    tree = two(calling)
    epoch = calling.final(tree)
    arm(calling, CLAIM, tree.claim(0, epoch), before_moving)
    calling.vault.send("claim", *tree.claim(0, epoch), by=EVE)
    assert calling.token.view("answered") == 1
    assert (calling.held(ALICE), calling.held()) == (100, 400)


@pytest.mark.parametrize("before_moving", [True, False])
def test_another_claim_inside_a_claim_undoes_both_and_neither_is_lost(
    calling: Deployed, before_moving: bool
) -> None:
    calling.deposit(500)
    tree = two(calling)
    epoch = calling.final(tree)
    arm(calling, CLAIM, tree.claim(1, epoch), before_moving)
    with refused("TokenNotMoved", 100):
        calling.vault.send("claim", *tree.claim(0, epoch), by=EVE)
    assert calling.vault.view("totalPaid") == 0
    calling.vault.send("claim", *tree.claim(1, epoch), by=EVE)
    assert calling.held(BOB) == 200


@pytest.mark.parametrize("before_moving", [True, False])
def test_a_deposit_inside_a_deposit_is_not_counted_twice(
    calling: Deployed, before_moving: bool
) -> None:
    """The token deposits its own tokens while Alice's are on their way: measured by balances alone,
    hers would look as if both had come from her."""
    calling.token.send("mint", calling.token.address, 70, by=EVE)
    calling.token.send("mint", ALICE, 100, by=EVE)
    arm(calling, DEPOSIT, [70, ACCOUNT_B], before_moving)
    with refused("TokenNotMoved", 100):
        calling.vault.send("deposit", 100, ACCOUNT_A, by=ALICE)
    assert (calling.vault.view("totalDeposits"), calling.held()) == (0, 0)


@pytest.mark.parametrize("before_moving", [True, False])
def test_a_refund_inside_the_same_refund_finds_it_paid(
    calling: Deployed, before_moving: bool
) -> None:
    calling.deposit(100, by=ALICE)
    calling.deposit(100, by=BOB)
    calling.vault.send("freeze", by=GUARDIAN)
    arm(calling, REFUND, [1], before_moving)
    calling.vault.send("refund", 1, by=EVE)
    assert calling.token.view("answered") == 1
    assert (calling.held(ALICE), calling.held()) == (100, 100)


def test_a_recipient_that_cannot_be_paid_stops_nobody_else(calling: Deployed) -> None:
    calling.deposit(500)
    tree = two(calling)
    epoch = calling.final(tree)
    calling.token.send("refuse", ALICE, by=EVE)
    with pytest.raises(Refused):
        calling.vault.send("claim", *tree.claim(0, epoch), by=ALICE)
    calling.vault.send("claim", *tree.claim(1, epoch), by=BOB)
    assert calling.held(BOB) == 200
    # Nothing was counted as paid: hers is still there when she can be paid again.
    calling.token.send("refuse", bytes(20), by=EVE)
    calling.vault.send("claim", *tree.claim(0, epoch), by=EVE)
    assert calling.held(ALICE) == 100


@pytest.mark.parametrize("name", ["SaysNothing", "SaysFalse"])
def test_claims_and_refunds_are_paid_whatever_the_token_answers(
    backend: Backend, hostile: dict[str, Any], name: str
) -> None:
    deployed = Deployed.fresh(backend, token=hostile[name])
    deployed.deposit(300)
    tree = Tree((deployed.leaf(ACCOUNT_A, ALICE, 100, 200),))
    epoch = deployed.final(tree)
    deployed.deposit(40, by=BOB)
    deployed.vault.send("claim", *tree.claim(0, epoch), by=EVE)
    deployed.vault.send("freeze", by=GUARDIAN)
    deployed.vault.send("claim", *tree.claim(0, epoch), by=EVE)
    deployed.vault.send("refund", 2, by=EVE)
    assert (deployed.held(ALICE), deployed.held(BOB), deployed.held()) == (300, 40, 0)
