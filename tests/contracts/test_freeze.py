"""The freeze: who may, back to where, and that afterwards everybody gets what the frozen epoch says."""

from __future__ import annotations

import pytest

from tests.contracts.deployed import (
    ACCOUNT_A,
    ACCOUNT_B,
    ALICE,
    BOB,
    EVE,
    GUARDIAN,
    OPERATOR,
    Deployed,
    Tree,
    refused,
)


def two(deployed: Deployed, alice: int, bob: int, released: int = 0) -> Tree:
    return Tree(
        (
            deployed.leaf(ACCOUNT_A, ALICE, released, alice - released),
            deployed.leaf(ACCOUNT_B, BOB, 0, bob),
        )
    )


def claim(deployed: Deployed, tree: Tree, position: int, epoch: int) -> int:
    """What was paid."""
    sent = deployed.vault.send("claim", *tree.claim(position, epoch), by=EVE)
    amount: int = sent.event("Claimed")["amount"]
    return amount


# ---------------------------------------------------------------------------------- who, and when


def test_the_guardian_freezes_at_once(deployed: Deployed) -> None:
    deployed.deposit(5)
    epoch = deployed.final(two(deployed, 5, 0))
    event = deployed.vault.send("freeze", by=GUARDIAN).event("Frozen")
    assert event == {"epoch": epoch, "depositSeq": 1, "by": GUARDIAN}
    assert deployed.vault.view("frozen") is True
    assert deployed.vault.view("frozenEpoch") == epoch


@pytest.mark.parametrize("who", [EVE, OPERATOR])
def test_anybody_else_freezes_only_after_silence(deployed: Deployed, who: bytes) -> None:
    deployed.anchor()
    silent_from = deployed.backend.now_s + deployed.times.silence
    deployed.wait(deployed.times.silence)
    with refused("TooEarly", silent_from + 1):
        deployed.vault.send("freeze", by=who)
    deployed.wait(1)
    assert deployed.vault.send("freeze", by=who).event("Frozen")["epoch"] == 1


def test_each_anchor_ends_the_silence(deployed: Deployed) -> None:
    for _ in range(3):
        deployed.wait(deployed.times.silence)
        deployed.anchor()
    with refused("TooEarly"):
        deployed.vault.send("freeze", by=EVE)


def test_silence_begins_with_the_deployment(deployed: Deployed) -> None:
    made_at = deployed.backend.now_s
    with refused("TooEarly", made_at + deployed.times.silence + 1):
        deployed.vault.send("freeze", by=EVE)


def test_a_vault_that_never_saw_an_anchor_can_be_frozen_and_gives_everything_back(
    deployed: Deployed,
) -> None:
    deployed.deposit(600, by=ALICE)
    deployed.deposit(50, by=BOB)
    deployed.wait(deployed.times.silence + 1)
    event = deployed.vault.send("freeze", by=EVE).event("Frozen")
    assert (event["epoch"], event["depositSeq"]) == (0, 0)
    deployed.vault.send("refund", 1, by=EVE)
    deployed.vault.send("refund", 2, by=EVE)
    assert (deployed.held(ALICE), deployed.held(BOB), deployed.held()) == (600, 50, 0)


def test_a_second_freeze_is_refused_and_changes_nothing(deployed: Deployed) -> None:
    deployed.deposit(5)
    deployed.final(two(deployed, 5, 0))
    deployed.anchor_later(two(deployed, 4, 1))
    deployed.vault.send("freeze", by=GUARDIAN)
    deployed.wait(10 * deployed.times.silence)
    for who in (GUARDIAN, EVE):
        with refused("IsFrozen"):
            deployed.vault.send("freeze", by=who)
    assert deployed.vault.view("frozenEpoch") == 1


def test_after_a_freeze_there_are_no_deposits_anchors_or_operators(deployed: Deployed) -> None:
    deployed.vault.send("proposeOperator", BOB, by=OPERATOR)
    deployed.wait(deployed.times.delay)
    deployed.vault.send("freeze", by=GUARDIAN)
    with refused("IsFrozen"):
        deployed.deposit(1)
    with refused("IsFrozen"):
        deployed.anchor_later()
    with refused("IsFrozen"):
        deployed.vault.send("proposeOperator", BOB, by=OPERATOR)
    with refused("IsFrozen"):
        deployed.vault.send("acceptOperator", by=BOB)


# -------------------------------------------------------------------------------------- back to where


def test_a_freeze_goes_back_to_the_last_epoch_that_is_the_delay_old(deployed: Deployed) -> None:
    deployed.deposit(5)
    first = deployed.backend.now_s
    for _ in range(4):
        deployed.anchor(two(deployed, 5, 0))
        deployed.wait(deployed.times.min_interval)
    for seconds, epoch in ((-1, 0), (0, 1), (599, 1), (600, 2), (10**6, 4)):
        with deployed.backend.attempt():
            deployed.backend.now_s = first + deployed.times.delay + seconds
            assert deployed.vault.send("freeze", by=GUARDIAN).event("Frozen")["epoch"] == epoch


def test_a_freeze_undoes_payments_made_inside_the_ledger_since(deployed: Deployed) -> None:
    deployed.deposit(100)
    good = two(deployed, 100, 0)
    epoch = deployed.final(good)
    deployed.anchor(two(deployed, 0, 100))
    deployed.vault.send("freeze", by=GUARDIAN)
    assert claim(deployed, good, 0, epoch) == 100
    assert (deployed.held(ALICE), deployed.held(BOB)) == (100, 0)


def test_epochs_after_the_frozen_one_count_no_more_however_old_they_get(deployed: Deployed) -> None:
    deployed.deposit(100)
    epoch = deployed.final(two(deployed, 100, 0))
    bad = Tree((deployed.leaf(ACCOUNT_B, EVE, 100, 0),))
    deployed.anchor(bad)
    deployed.vault.send("freeze", by=GUARDIAN)
    deployed.wait(10 * deployed.times.delay)
    with refused("EpochAfterFreeze", epoch + 1, epoch):
        deployed.vault.send("claim", *bad.claim(0, epoch + 1), by=EVE)


def test_a_claim_and_a_freeze_in_one_second_agree_on_what_is_final(deployed: Deployed) -> None:
    """Whichever of the two comes first: the epoch that is final in this second is paid against, and is
    the one that is frozen to."""
    deployed.deposit(100)
    tree = two(deployed, 60, 40, released=10)
    epoch = deployed.final(tree)
    with deployed.backend.attempt():
        assert claim(deployed, tree, 0, epoch) == 10
        assert deployed.vault.send("freeze", by=GUARDIAN).event("Frozen")["epoch"] == epoch
        assert claim(deployed, tree, 0, epoch) == 50
    deployed.vault.send("freeze", by=GUARDIAN)
    assert claim(deployed, tree, 0, epoch) == 60


def test_an_anchor_that_comes_before_the_freeze_in_the_same_second_changes_nothing(
    deployed: Deployed,
) -> None:
    deployed.deposit(100)
    epoch = deployed.final(two(deployed, 100, 0))
    deployed.anchor(two(deployed, 0, 100))
    assert deployed.vault.send("freeze", by=GUARDIAN).event("Frozen")["epoch"] == epoch


# ----------------------------------------------------------------------------------------- afterwards


def test_after_a_freeze_balances_are_paid_too_and_exactly_once(deployed: Deployed) -> None:
    deployed.deposit(100)
    tree = two(deployed, 70, 30, released=20)
    epoch = deployed.final(tree)
    assert claim(deployed, tree, 0, epoch) == 20
    deployed.vault.send("freeze", by=GUARDIAN)
    assert claim(deployed, tree, 0, epoch) == 50
    assert claim(deployed, tree, 1, epoch) == 30
    for position, paid in ((0, 70), (1, 30)):
        with refused("NothingDue", paid, paid):
            claim(deployed, tree, position, epoch)
    assert (deployed.held(ALICE), deployed.held(BOB), deployed.held()) == (70, 30, 0)


def test_an_earlier_epoch_still_pays_what_it_released_but_no_balance(deployed: Deployed) -> None:
    """Somebody may have only an older proof: the operator gave none for the frozen epoch."""
    deployed.deposit(100)
    early_tree = two(deployed, 100, 0, released=10)
    early = deployed.final(early_tree)
    later_tree = two(deployed, 40, 60, released=15)
    later = deployed.final(later_tree)
    deployed.vault.send("freeze", by=GUARDIAN)
    assert claim(deployed, early_tree, 0, early) == 10
    assert claim(deployed, later_tree, 0, later) == 30
    assert claim(deployed, later_tree, 1, later) == 60
    assert deployed.held() == 0


def test_no_age_ends_the_claims_of_a_frozen_vault(deployed: Deployed) -> None:
    deployed.deposit(100)
    tree = two(deployed, 70, 30)
    epoch = deployed.final(tree)
    deployed.vault.send("freeze", by=GUARDIAN)
    deployed.wait(20 * 365 * 86_400)
    assert claim(deployed, tree, 0, epoch) == 70


def test_later_deposits_go_back_to_their_senders_once(deployed: Deployed) -> None:
    deployed.deposit(100, by=ALICE)
    deployed.final(two(deployed, 100, 0))
    deployed.deposit(7, ACCOUNT_A, by=BOB)
    deployed.deposit(8, ACCOUNT_B, by=EVE)
    with refused("NotFrozen"):
        deployed.vault.send("refund", 2, by=BOB)
    deployed.vault.send("freeze", by=GUARDIAN)

    with refused("DepositCovered", 1, 1):
        deployed.vault.send("refund", 1, by=ALICE)
    for seq in (0, 4):
        with refused("UnknownDeposit", seq, 3):
            deployed.vault.send("refund", seq, by=ALICE)
    event = deployed.vault.send("refund", 3, by=ALICE).event("Refunded")
    assert event == {"seq": 3, "to": EVE, "amount": 8}
    assert deployed.vault.view("depositOf", 3)[:3] == (bytes(20), 8, 115)
    with refused("AlreadyRefunded", 3):
        deployed.vault.send("refund", 3, by=EVE)
    deployed.vault.send("refund", 2, by=ALICE)
    assert (deployed.held(BOB), deployed.held(EVE), deployed.held()) == (7, 8, 100)


def test_a_deposit_that_only_a_frozen_out_epoch_covered_is_refunded(deployed: Deployed) -> None:
    deployed.deposit(100)
    deployed.final(two(deployed, 100, 0))
    deployed.deposit(40, ACCOUNT_B, by=BOB)
    deployed.anchor(two(deployed, 100, 40))
    deployed.vault.send("freeze", by=GUARDIAN)
    deployed.vault.send("refund", 2, by=EVE)
    assert (deployed.held(BOB), deployed.held()) == (40, 100)
