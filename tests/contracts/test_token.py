"""The token: moves, allowances, the capped mint, and the hand-over of the minter."""

from __future__ import annotations

import pytest

from tests.contracts.backends import Backend
from tests.contracts.deployed import ALICE, BOB, CAP, EVE, MINTER, Contract, artifact, refused

NOBODY = bytes(20)
ENDLESS = 2**256 - 1


def a_token(backend: Backend, minter: bytes = MINTER, cap: int = CAP) -> Contract:
    made = artifact("Token")
    return Contract(backend, made["bytecode"], made["abi"], minter, cap)


@pytest.fixture
def token(backend: Backend) -> Contract:
    token = a_token(backend)
    token.send("mint", ALICE, 1_000, by=MINTER)
    return token


def test_it_says_what_it_is(token: Contract) -> None:
    assert token.view("name") == "speedpay test token"
    assert token.view("symbol") == "SPT"
    assert token.view("decimals") == 6
    assert token.view("cap") == CAP == token.view("MAX_CAP")
    assert token.view("minter") == MINTER
    assert token.made.event("MinterChanged") == {"from": NOBODY, "to": MINTER}


def test_a_transfer_moves_tokens_and_makes_none(token: Contract) -> None:
    sent = token.send("transfer", BOB, 400, by=ALICE)
    assert sent.events == [("Transfer", {"from": ALICE, "to": BOB, "value": 400})]
    assert (token.view("balanceOf", ALICE), token.view("balanceOf", BOB)) == (600, 400)
    assert token.view("totalSupply") == 1_000


def test_a_transfer_to_oneself_changes_nothing(token: Contract) -> None:
    token.send("transfer", ALICE, 1_000, by=ALICE)
    assert token.view("balanceOf", ALICE) == 1_000


def test_more_than_is_held_is_refused(token: Contract) -> None:
    with refused("ERC20InsufficientBalance", ALICE, 1_000, 1_001):
        token.send("transfer", BOB, 1_001, by=ALICE)


def test_a_transfer_to_nobody_is_refused(token: Contract) -> None:
    with refused("ERC20InvalidReceiver", NOBODY):
        token.send("transfer", NOBODY, 1, by=ALICE)


def test_a_spender_moves_what_it_was_allowed_and_no_more(token: Contract) -> None:
    sent = token.send("approve", BOB, 300, by=ALICE)
    assert sent.events == [("Approval", {"owner": ALICE, "spender": BOB, "value": 300})]
    token.send("transferFrom", ALICE, BOB, 200, by=BOB)
    assert token.view("allowance", ALICE, BOB) == 100
    with refused("ERC20InsufficientAllowance", BOB, 100, 101):
        token.send("transferFrom", ALICE, BOB, 101, by=BOB)
    with refused("ERC20InsufficientAllowance", EVE, 0, 1):
        token.send("transferFrom", ALICE, EVE, 1, by=EVE)


def test_an_allowance_does_not_help_against_an_empty_purse(token: Contract) -> None:
    token.send("approve", BOB, 5_000, by=ALICE)
    with refused("ERC20InsufficientBalance", ALICE, 1_000, 5_000):
        token.send("transferFrom", ALICE, BOB, 5_000, by=BOB)
    assert token.view("allowance", ALICE, BOB) == 5_000


def test_the_endless_allowance_is_not_used_up(token: Contract) -> None:
    token.send("approve", BOB, ENDLESS, by=ALICE)
    token.send("transferFrom", ALICE, BOB, 1_000, by=BOB)
    assert token.view("allowance", ALICE, BOB) == ENDLESS


def test_nobody_cannot_be_a_spender(token: Contract) -> None:
    with refused("ERC20InvalidSpender", NOBODY):
        token.send("approve", NOBODY, 1, by=ALICE)


def test_only_the_minter_mints(token: Contract) -> None:
    sent = token.send("mint", BOB, 5, by=MINTER)
    assert sent.events == [("Transfer", {"from": NOBODY, "to": BOB, "value": 5})]
    assert token.view("totalSupply") == 1_005
    with refused("NotMinter", EVE):
        token.send("mint", EVE, 1, by=EVE)
    with refused("ERC20InvalidReceiver", NOBODY):
        token.send("mint", NOBODY, 1, by=MINTER)


@pytest.mark.parametrize("amount", [1, 2**64, 2**256 - 1])
def test_the_cap_holds_also_against_sums_that_overflow(backend: Backend, amount: int) -> None:
    token = a_token(backend, cap=1_000)
    token.send("mint", ALICE, 1_000, by=MINTER)
    with refused("AboveCap", amount, 0):
        token.send("mint", ALICE, amount, by=MINTER)
    assert token.view("totalSupply") == 1_000


@pytest.mark.parametrize("cap", [0, 2**63, 2**256 - 1])
def test_a_cap_that_the_vault_could_not_hold_is_refused(backend: Backend, cap: int) -> None:
    with refused("BadCap", cap):
        a_token(backend, cap=cap)


def test_a_token_without_a_minter_is_refused(backend: Backend) -> None:
    with refused("NoMinter"):
        a_token(backend, minter=NOBODY)


def test_the_minter_changes_in_two_steps(token: Contract) -> None:
    sent = token.send("proposeMinter", BOB, by=MINTER)
    assert sent.events == [("MinterProposed", {"by": MINTER, "proposed": BOB})]
    assert token.view("pendingMinter") == BOB
    assert token.view("minter") == MINTER
    with refused("NotPendingMinter", EVE):
        token.send("acceptMinter", by=EVE)

    sent = token.send("acceptMinter", by=BOB)
    assert sent.events == [("MinterChanged", {"from": MINTER, "to": BOB})]
    assert token.view("minter") == BOB
    token.send("mint", ALICE, 1, by=BOB)
    with refused("NotMinter", MINTER):
        token.send("mint", ALICE, 1, by=MINTER)
    with refused("NotPendingMinter", BOB):
        token.send("acceptMinter", by=BOB)


def test_a_proposal_is_the_minters_and_can_be_taken_back(token: Contract) -> None:
    with refused("NotMinter", EVE):
        token.send("proposeMinter", EVE, by=EVE)
    token.send("proposeMinter", BOB, by=MINTER)
    token.send("proposeMinter", NOBODY, by=MINTER)
    with refused("NotPendingMinter", BOB):
        token.send("acceptMinter", by=BOB)
