"""Money in: the sequence of deposits, its totals, and tokens that do not do what they say."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts.backends import Backend
from tests.contracts.deployed import (
    ACCOUNT_A,
    ACCOUNT_B,
    ALICE,
    BOB,
    MINTER,
    Deployed,
    refused,
)


def test_deposits_are_numbered_and_summed(deployed: Deployed) -> None:
    first = deployed.deposit(600, ACCOUNT_A, by=ALICE).event("Deposited")
    assert first == {"seq": 1, "account": ACCOUNT_A, "from": ALICE, "amount": 600, "total": 600}
    deployed.wait(30)
    second = deployed.deposit(50, ACCOUNT_B, by=BOB).event("Deposited")
    assert second == {"seq": 2, "account": ACCOUNT_B, "from": BOB, "amount": 50, "total": 650}

    vault = deployed.vault
    assert (vault.view("depositCount"), vault.view("totalDeposits")) == (2, 650)
    assert deployed.held() == 650
    assert vault.view("depositOf", 1) == (ALICE, 600, 600, deployed.backend.now_s - 30)
    assert vault.view("depositOf", 2) == (BOB, 50, 650, deployed.backend.now_s)


def test_a_deposit_that_does_not_exist_is_named(deployed: Deployed) -> None:
    deployed.deposit(1)
    for seq in (0, 2):
        with refused("UnknownDeposit", seq, 1):
            deployed.vault.view("depositOf", seq)


def test_a_deposit_of_nothing_or_for_nobody_is_refused(deployed: Deployed) -> None:
    with refused("NothingToDeposit"):
        deployed.vault.send("deposit", 0, ACCOUNT_A, by=ALICE)
    with refused("NothingToDeposit"):
        deployed.vault.send("deposit", 1, bytes(16), by=ALICE)


def test_a_deposit_without_tokens_or_allowance_leaves_no_trace(deployed: Deployed) -> None:
    with pytest.raises(Exception, match=r"fb8f41b2"):  # ERC20InsufficientAllowance, the token's
        deployed.vault.send("deposit", 5, ACCOUNT_A, by=ALICE)
    deployed.token.send("approve", deployed.vault.address, 5, by=ALICE)
    with pytest.raises(Exception, match=r"e450d38c"):  # ERC20InsufficientBalance
        deployed.vault.send("deposit", 5, ACCOUNT_A, by=ALICE)
    assert deployed.vault.view("depositCount") == deployed.vault.view("totalDeposits") == 0


def test_deposits_never_sum_up_to_more_than_63_bits(deployed: Deployed) -> None:
    whole = 2**63 - 1
    deployed.token.send("mint", ALICE, whole, by=MINTER)
    deployed.token.send("approve", deployed.vault.address, whole, by=ALICE)
    with refused("TooManyDeposits", 2**64 - 1):
        deployed.vault.send("deposit", 2**64 - 1, ACCOUNT_A, by=ALICE)
    deployed.vault.send("deposit", whole, ACCOUNT_A, by=ALICE)
    with refused("TooManyDeposits", 2**63):
        deployed.vault.send("deposit", 1, ACCOUNT_A, by=ALICE)


def test_tokens_sent_without_a_deposit_count_for_nothing(deployed: Deployed) -> None:
    deployed.deposit(10)
    deployed.token.send("mint", deployed.vault.address, 1_000, by=MINTER)
    assert deployed.vault.view("totalDeposits") == 10
    with refused("LiabilitiesAboveDeposits", 11, 10):
        deployed.anchor(liabilities=11)


@pytest.mark.parametrize("name", ["SaysNothing", "SaysFalse"])
def test_a_token_that_moves_the_money_may_answer_what_it_likes(
    backend: Backend, hostile: dict[str, Any], name: str
) -> None:
    """USDT on TRON answers false; tokens of 2017 nothing."""
    deployed = Deployed.fresh(backend, token=hostile[name])
    deployed.deposit(600)
    assert deployed.held() == 600


@pytest.mark.parametrize("name", ["TakesAFee", "OnlySaysTrue", "OnlySaysFalse"])
def test_a_token_that_does_not_move_exactly_the_amount_is_refused(
    backend: Backend, hostile: dict[str, Any], name: str
) -> None:
    deployed = Deployed.fresh(backend, token=hostile[name])
    with refused("TokenNotMoved", 600):
        deployed.deposit(600)
    assert deployed.vault.view("depositCount") == 0
