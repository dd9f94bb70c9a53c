"""Anchors: order, pace, what they may claim to owe, what they must cover, and the ring of eight."""

from __future__ import annotations

import hashlib

import pytest

from tests.contracts.deployed import EVE, OPERATOR, Deployed, Tree, refused


def test_an_anchor_is_kept_and_told_with_all_it_says(deployed: Deployed) -> None:
    deployed.deposit(600)
    before = deployed.vault.view("chainHash")
    event = deployed.anchor(
        root=b"r" * 32, head=b"h" * 32, liabilities=600, journal_size=7, file=b"f" * 20
    ).event("Anchored")

    body = [(1).to_bytes(8), b"r" * 32, b"h" * 32, (600).to_bytes(8), (7).to_bytes(8)]
    chain = hashlib.sha256(b"".join([before, *body, (1).to_bytes(8), b"f" * 20])).digest()
    assert event == {
        "epoch": 1, "root": b"r" * 32, "head": b"h" * 32, "liabilities": 600, "journalSize": 7,
        "depositSeq": 1, "file": b"f" * 20, "chain": chain,
    }  # fmt: skip
    assert deployed.vault.view("chainHash") == chain
    assert deployed.vault.view("lastEpoch") == 1
    kept = deployed.vault.view("anchorOf", 1)
    assert kept == (b"r" * 32, b"h" * 32, 600, 7, 1, deployed.backend.now_s)


def test_only_the_operator_anchors(deployed: Deployed) -> None:
    with refused("NotOperator", EVE):
        deployed.anchor(by=EVE)


@pytest.mark.parametrize("epoch", [0, 1, 3, 2**64 - 1])
def test_only_the_next_epoch_can_be_anchored(deployed: Deployed, epoch: int) -> None:
    deployed.anchor()
    deployed.wait(deployed.times.min_interval)
    with refused("WrongEpoch", epoch, 2):
        deployed.anchor(epoch=epoch)
    deployed.anchor(epoch=2)


def test_anchors_are_an_interval_apart(deployed: Deployed) -> None:
    deployed.anchor()
    due = deployed.backend.now_s + deployed.times.min_interval
    deployed.wait(deployed.times.min_interval - 1)
    with refused("TooEarly", due):
        deployed.anchor()
    deployed.wait(1)
    deployed.anchor()


def test_the_journal_never_shrinks(deployed: Deployed) -> None:
    deployed.anchor(journal_size=10)
    deployed.wait(deployed.times.min_interval)
    with refused("JournalShrank", 9, 10):
        deployed.anchor(journal_size=9)
    deployed.anchor(journal_size=10)


def test_what_is_covered_stays_covered(deployed: Deployed) -> None:
    deployed.deposit(1)
    deployed.deposit(1)
    deployed.anchor(deposit_seq=2)
    deployed.wait(deployed.times.min_interval)
    with refused("CoverageShrank", 1, 2):
        deployed.anchor(deposit_seq=1)


def test_a_deposit_that_nobody_made_is_not_covered(deployed: Deployed) -> None:
    deployed.deposit(1)
    with refused("UnknownDeposit", 2, 1):
        deployed.anchor(deposit_seq=2)


def test_credit_cannot_be_owed_since_liabilities_end_at_the_covered_deposits(
    deployed: Deployed,
) -> None:
    deployed.deposit(600)
    deployed.deposit(400)
    with refused("LiabilitiesAboveDeposits", 601, 600):
        deployed.anchor(liabilities=601, deposit_seq=1)
    with refused("LiabilitiesAboveDeposits", 1_001, 1_000):
        deployed.anchor(liabilities=1_001)
    deployed.anchor(liabilities=600, deposit_seq=1)


def test_liabilities_are_compared_with_deposits_ever_made_not_with_what_is_left(
    deployed: Deployed,
) -> None:
    deployed.deposit(600)
    tree = Tree((deployed.leaf(withdrawable=500, balance=100),))
    epoch = deployed.final(tree)
    deployed.vault.send("claim", *tree.claim(0, epoch), by=EVE)
    assert deployed.held() == 100
    deployed.anchor(tree)  # still 600, since withdrawable is cumulative


def test_an_anchor_must_cover_what_was_old_at_the_anchor_before(deployed: Deployed) -> None:
    grace = deployed.times.deposit_grace
    deployed.deposit(1)
    deployed.wait(grace)
    deployed.anchor(deposit_seq=0)  # the first: no epoch was open before it
    deployed.wait(grace)
    deployed.anchor(deposit_seq=0)  # at the anchor before it was exactly `grace` old
    deployed.wait(grace)
    with refused("DepositUncovered", 1):
        deployed.anchor(deposit_seq=0)
    deployed.anchor(deposit_seq=1)


def test_one_old_deposit_among_young_ones_must_be_covered(deployed: Deployed) -> None:
    deployed.deposit(1)
    deployed.wait(deployed.times.deposit_grace + 1)
    deployed.deposit(2)
    deployed.anchor(deposit_seq=0)
    deployed.wait(deployed.times.min_interval)
    with refused("DepositUncovered", 1):
        deployed.anchor(deposit_seq=0)
    deployed.anchor(deposit_seq=1)


def test_an_anchor_that_is_acceptable_once_stays_so_through_an_outage(deployed: Deployed) -> None:
    """The ledger signs one content for each epoch. If a deposit that came in while no node answered
    made that content unacceptable, no epoch could ever follow."""
    deployed.deposit(1)
    deployed.anchor()
    deployed.wait(deployed.times.min_interval)
    closed = {"deposit_seq": 1, "liabilities": 1, "journal_size": 3}
    deployed.deposit(2)
    deployed.wait(deployed.times.silence - deployed.times.min_interval)
    deployed.anchor(**closed)
    # Now it is old, and the operator has seen the anchor: the next epoch covers it.
    deployed.wait(deployed.times.min_interval)
    with refused("DepositUncovered", 2):
        deployed.anchor(deposit_seq=1, journal_size=3)


def test_the_ring_holds_eight_anchors(deployed: Deployed) -> None:
    for epoch in (0, 1, 2**64 - 1):
        with refused("UnknownEpoch", epoch):
            deployed.vault.view("anchorOf", epoch)
    for number in range(1, 10):
        deployed.anchor_later(root=bytes([number]) * 32)
    for epoch in (0, 1, 10):
        with refused("UnknownEpoch", epoch):
            deployed.vault.view("anchorOf", epoch)
    for epoch in range(2, 10):
        assert deployed.vault.view("anchorOf", epoch)[0] == bytes([epoch]) * 32


def test_two_histories_have_two_chain_hashes(deployed: Deployed) -> None:
    seen = set()
    for values in (
        {}, {"root": b"x" * 32}, {"head": b"x" * 32}, {"journal_size": 1}, {"file": b"x" * 20}
    ):  # fmt: skip
        with deployed.backend.attempt():
            deployed.anchor(by=OPERATOR, **values)
            seen.add(deployed.vault.view("chainHash"))
    assert len(seen) == 5
