"""The operator's key changes in two steps, with the delay between them."""

from __future__ import annotations

from tests.contracts.deployed import BOB, CAROL, EVE, GUARDIAN, OPERATOR, Deployed, refused

NOBODY = bytes(20)


def test_the_first_operator_is_told_by_an_event(deployed: Deployed) -> None:
    told = deployed.vault.made.event("OperatorChanged")
    assert told == {"from": NOBODY, "to": OPERATOR}


def test_a_proposed_operator_accepts_after_the_delay(deployed: Deployed) -> None:
    vault, now_s = deployed.vault, deployed.backend.now_s
    acceptable_from = now_s + deployed.times.delay
    event = vault.send("proposeOperator", BOB, by=OPERATOR).event("OperatorProposed")
    assert event == {"by": OPERATOR, "proposed": BOB, "acceptableFrom": acceptable_from}
    assert (vault.view("pendingOperator"), vault.view("pendingSince")) == (BOB, now_s)

    deployed.wait(deployed.times.delay - 1)
    with refused("TooEarly", acceptable_from):
        vault.send("acceptOperator", by=BOB)
    deployed.wait(1)
    assert vault.send("acceptOperator", by=BOB).event("OperatorChanged") == {
        "from": OPERATOR,
        "to": BOB,
    }
    assert (vault.view("operator"), vault.view("pendingOperator")) == (BOB, NOBODY)


def test_the_old_operator_anchors_until_the_new_one_accepts_and_not_after(
    deployed: Deployed,
) -> None:
    deployed.vault.send("proposeOperator", BOB, by=OPERATOR)
    deployed.anchor()
    with refused("NotOperator", BOB):
        deployed.anchor_later(by=BOB)
    deployed.wait(deployed.times.delay)
    deployed.vault.send("acceptOperator", by=BOB)
    with refused("NotOperator", OPERATOR):
        deployed.anchor()
    deployed.anchor(by=BOB)
    assert deployed.vault.view("lastEpoch") == 2


def test_only_the_operator_proposes_and_only_the_proposed_accepts(deployed: Deployed) -> None:
    for who in (EVE, GUARDIAN):
        with refused("NotOperator", who):
            deployed.vault.send("proposeOperator", who, by=who)
    deployed.vault.send("proposeOperator", BOB, by=OPERATOR)
    deployed.wait(deployed.times.delay)
    for who in (EVE, OPERATOR, NOBODY):
        with refused("NotPendingOperator", who):
            deployed.vault.send("acceptOperator", by=who)


def test_nobody_is_proposed_at_first(deployed: Deployed) -> None:
    deployed.wait(deployed.times.delay)
    with refused("NotPendingOperator", EVE):
        deployed.vault.send("acceptOperator", by=EVE)


def test_a_proposal_is_taken_back_by_another_or_by_none(deployed: Deployed) -> None:
    deployed.vault.send("proposeOperator", BOB, by=OPERATOR)
    deployed.wait(deployed.times.delay)
    deployed.vault.send("proposeOperator", CAROL, by=OPERATOR)
    with refused("NotPendingOperator", BOB):
        deployed.vault.send("acceptOperator", by=BOB)
    with refused("TooEarly"):  # the delay begins anew
        deployed.vault.send("acceptOperator", by=CAROL)
    deployed.vault.send("proposeOperator", NOBODY, by=OPERATOR)
    deployed.wait(deployed.times.delay)
    with refused("NotPendingOperator", CAROL):
        deployed.vault.send("acceptOperator", by=CAROL)


def test_the_guardian_never_becomes_operator(deployed: Deployed) -> None:
    with refused("BadKeys", GUARDIAN, GUARDIAN):
        deployed.vault.send("proposeOperator", GUARDIAN, by=OPERATOR)


def test_a_change_is_accepted_once(deployed: Deployed) -> None:
    deployed.vault.send("proposeOperator", BOB, by=OPERATOR)
    deployed.wait(deployed.times.delay)
    deployed.vault.send("acceptOperator", by=BOB)
    with refused("NotPendingOperator", BOB):
        deployed.vault.send("acceptOperator", by=BOB)
