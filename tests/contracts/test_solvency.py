"""Whenever the vault is frozen, everybody is paid: entitlements + refunds ≤ what it holds.

Seeded random runs of an honest ledger. After each step the vault is frozen for trial, by the guardian and
by silence; then everybody claims and refunds all there is, in random order, and the trial is undone.
Nothing may be refused, and what is left must be exactly what leaves without a payout address own.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from speedpay.proof.leaf import NO_PAYOUT, Leaf
from tests.contracts.backends import BACKENDS, Backend, Revm
from tests.contracts.deployed import (
    EVE,
    GUARDIAN,
    Deployed,
    Refused,
    Times,
    Tree,
)
from tests.contracts.planted import BUGS

TIMES = Times(min_interval=10, delay=30, silence=200, deposit_grace=15)


@dataclass
class Account:
    id: bytes
    payout: bytes
    balance: int = 0
    withdrawable: int = 0


@dataclass
class Epoch:
    tree: Tree
    deposit_seq: int


@dataclass
class HonestLedger:
    """A ledger that credits each deposit, moves money only from where it is, and closes in order."""

    deployed: Deployed
    chance: random.Random
    accounts: list[Account] = field(default_factory=list)
    deposits: list[tuple[int, int]] = field(default_factory=list)  # account, amount
    made_at: list[int] = field(default_factory=list)
    credited: int = 0
    epochs: dict[int, Epoch] = field(default_factory=dict)
    closed: Epoch | None = None
    anchored_at: list[int] = field(default_factory=list)

    def step(self) -> None:
        steps = [
            self.deposit,
            self.pay,
            self.release,
            self.wait,
            self.close,
            self.anchor,
            self.claim,
        ]
        weights = [3, 3, 4, 3, 5, 8, 5]
        self.chance.choices(steps, weights)[0]()

    # ------------------------------------------------------------------------------- inside the ledger

    def deposit(self) -> None:
        if len(self.accounts) < 9 and self.chance.random() < 0.5:
            number = len(self.accounts) + 1
            payout = NO_PAYOUT if number % 4 == 0 else bytes([0xD0 + number]) * 20
            self.accounts.append(Account(bytes([number]) * 16, payout))
        if not self.accounts:
            return
        account = self.chance.randrange(len(self.accounts))
        amount = self.chance.choice([1, 7, 10**6, self.chance.randrange(1, 10**9)])
        sender = bytes([0x10 + account]) * 20
        self.deployed.deposit(amount, self.accounts[account].id, by=sender)
        self.deposits.append((account, amount))
        self.made_at.append(self.deployed.backend.now_s)

    def pay(self) -> None:
        if len(self.accounts) >= 2:
            payer, payee = self.chance.sample(self.accounts, 2)
            amount = self.chance.choice([payer.balance, self.chance.randint(0, payer.balance)])
            payer.balance -= amount
            payee.balance += amount

    def release(self) -> None:
        holders = [account for account in self.accounts if account.balance]
        if holders:
            account = self.chance.choice(holders)
            amount = self.chance.choice([account.balance, self.chance.randint(0, account.balance)])
            account.balance -= amount
            account.withdrawable += amount

    def wait(self) -> None:
        self.deployed.wait(self.chance.choice([1, 5, TIMES.min_interval, TIMES.delay]))

    def close(self) -> None:
        """After the anchor before was seen; the vault says what must be covered then."""
        if self.closed is not None:
            return
        must = 0
        if self.anchored_at:
            old = self.anchored_at[-1] - TIMES.deposit_grace
            must = sum(1 for made in self.made_at if made < old)
        cover = self.chance.randint(max(must, self.credited), len(self.deposits))
        for account, amount in self.deposits[self.credited : cover]:
            self.accounts[account].balance += amount
        self.credited = cover
        self.closed = Epoch(Tree(tuple(self._leaf(account) for account in self.accounts)), cover)

    def _leaf(self, account: Account) -> Leaf:
        return self.deployed.leaf(account.id, account.payout, account.withdrawable, account.balance)

    # ---------------------------------------------------------------------------------------- on chain

    def anchor(self) -> None:
        now_s = self.deployed.backend.now_s
        if self.closed is None or (
            self.anchored_at and now_s < self.anchored_at[-1] + TIMES.min_interval
        ):
            return
        self.deployed.anchor(self.closed.tree, deposit_seq=self.closed.deposit_seq)
        self.anchored_at.append(now_s)
        self.epochs[len(self.anchored_at)] = self.closed
        self.closed = None

    def claim(self) -> None:
        """Anybody's, against any epoch of the ring, too early ones as well."""
        last = len(self.anchored_at)
        known = range(max(1, last - 7), last + 1)
        if known:
            epoch = self.chance.choice([last, self.chance.choice(known)])
            count = len(self.epochs[epoch].tree.leaves)
            for position in self.chance.sample(range(count), min(count, 3)):
                self._claim(position, epoch)

    def _claim(self, position: int, epoch: int) -> None:
        try:
            claim = self.epochs[epoch].tree.claim(position, epoch)
            self.deployed.vault.send("claim", *claim, by=EVE)
        except Refused as error:
            if error.name not in ("NothingDue", "NoPayout", "TooEarly", "EpochAfterFreeze"):
                raise

    # ---------------------------------------------------------------------------------------- the trial

    def try_freeze(self, *, by_guardian: bool) -> None:
        """Freeze, pay everybody in any order, compare, undo."""
        with self.deployed.backend.attempt():
            if not by_guardian:
                self.deployed.wait(TIMES.silence + 1)
            frozen = self.deployed.vault.send("freeze", by=GUARDIAN if by_guardian else EVE).event(
                "Frozen"
            )["epoch"]
            expected = self._expected(frozen)
            for _ in range(3):
                self.claim()  # somebody tries with older or discarded epochs first
            held = self.epochs[frozen] if frozen else Epoch(Tree(()), 0)
            jobs = [("claim", n) for n in range(len(held.tree.leaves))]
            jobs += [("refund", n) for n in range(held.deposit_seq + 1, len(self.deposits) + 1)]
            self.chance.shuffle(jobs)
            for job, number in jobs:
                if job == "claim":
                    self._claim(number, frozen)
                else:
                    self.deployed.vault.send("refund", number, by=EVE)
            self._refuse_more(held, frozen)
            assert self.deployed.held() == expected, "left over, or gone to the wrong people"
            self._everybody_has_theirs(held)

    def _expected(self, frozen: int) -> int:
        leaves = self.epochs[frozen].tree.leaves if frozen else ()
        return sum(leaf.node().sum for leaf in leaves if leaf.payout == NO_PAYOUT)

    def _refuse_more(self, held: Epoch, frozen: int) -> None:
        for position in range(len(held.tree.leaves)):
            self._claim(position, frozen)
        for seq in range(1, len(self.deposits) + 1):
            with pytest.raises(Refused, match=r"DepositCovered|AlreadyRefunded"):
                self.deployed.vault.send("refund", seq, by=EVE)

    def _everybody_has_theirs(self, held: Epoch) -> None:
        for leaf in held.tree.leaves:
            if leaf.payout != NO_PAYOUT:
                assert self.deployed.held(leaf.payout) == leaf.node().sum


def run(
    backend: Backend, seed: int, steps: int, bug: int = 0, **kinds: dict[str, Any]
) -> HonestLedger:
    deployed = Deployed.fresh(backend, TIMES, **kinds)
    if bug:
        deployed.vault.send("plant", bug, by=EVE)
    ledger = HonestLedger(deployed, random.Random(seed))
    for _ in range(steps):
        deployed.wait(ledger.chance.randrange(8))
        ledger.step()
        ledger.try_freeze(by_guardian=True)
        ledger.try_freeze(by_guardian=False)
    return ledger


@pytest.mark.parametrize("seed", range(3))
def test_every_possible_freeze_pays_everybody(seed: int) -> None:
    ledger = run(Revm(), seed, steps=150)
    assert len(ledger.anchored_at) >= 8
    assert ledger.deployed.vault.view("totalPaid") > 0


def test_every_possible_freeze_pays_everybody_with_trons_rules() -> None:
    ledger = run(BACKENDS["tvm"](), seed=11, steps=80)
    assert len(ledger.anchored_at) > 5


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1_000, 1_040))
def test_every_possible_freeze_pays_everybody_in_long_runs(seed: int) -> None:
    assert len(run(Revm(), seed, steps=250).anchored_at) > 8


@pytest.mark.parametrize("bug", BUGS)
def test_the_runs_find_a_planted_bug(hostile: dict[str, Any], bug: str) -> None:
    number = list(BUGS).index(bug) + 1
    assert any(is_caught(hostile["SpoiltVault"], number, seed) for seed in range(20))


def test_the_copy_that_bugs_are_planted_in_is_right_without_them(hostile: dict[str, Any]) -> None:
    assert not is_caught(hostile["SpoiltVault"], 0, seed=0)


def is_caught(vault: dict[str, Any], bug: int, seed: int) -> bool:
    try:
        run(Revm(), seed, steps=120, bug=bug, vault=vault)
    except (Refused, AssertionError, pytest.fail.Exception):
        return True
    return False


@pytest.mark.parametrize("seed", range(3))
def test_whatever_an_operator_anchors_refunds_are_there(seed: int) -> None:
    """False trees of all kinds: claims together stay within what final epochs cover."""
    chance = random.Random(seed)
    deployed = Deployed.fresh(Revm(), TIMES)
    trees: dict[int, Tree] = {}
    covered = [0]
    for _ in range(40):
        if chance.random() < 0.5:
            deployed.deposit(chance.randrange(1, 1_000), by=EVE)
        total = deployed.vault.view("totalDeposits")
        count = deployed.vault.view("depositCount")
        accounts = [bytes([chance.randrange(1, 30)]) * 16 for _ in range(chance.randrange(4))]
        owed = [chance.randint(0, total // len(accounts)) for _ in accounts]
        tree = Tree(
            tuple(
                deployed.leaf(account, GUARDIAN, amount, 0)
                for account, amount in zip(accounts, owed, strict=True)
            )
        )
        deployed.anchor_later(tree, deposit_seq=count)
        trees[deployed.vault.view("lastEpoch")] = tree
        covered.append(count)
        for epoch in range(max(1, len(trees) - 7), len(trees) + 1):
            for position in range(len(trees[epoch].leaves)):
                try:
                    deployed.vault.send("claim", *trees[epoch].claim(position, epoch), by=EVE)
                except Refused as error:
                    if error.name not in ("NothingDue", "TooEarly", "ClaimsAboveDeposits"):
                        raise
        with deployed.backend.attempt():
            frozen = deployed.vault.send("freeze", by=GUARDIAN).event("Frozen")["epoch"]
            for seq in range(covered[frozen] + 1, count + 1):
                deployed.vault.send("refund", seq, by=EVE)
    assert deployed.vault.view("totalPaid") > 0
