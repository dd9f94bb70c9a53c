"""What a wallet demands of the anchored tree: never more than an honest ledger holds, and not less."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from speedpay.ledger_api.answers import Balance, JournalHead
from speedpay.units import ZERO, Amount
from speedpay.wallet.receipts import KEPT, NOTHING_GIVEN, Given, Receipt, Receipts


def _receipt(journal_size: int, total: int = 100, time: int | None = None) -> Receipt:
    return Receipt(Amount(total), journal_size, ZERO, journal_size if time is None else time)


@pytest.fixture
def receipts(tmp_path: Path) -> Receipts:
    return Receipts(tmp_path / "wallet" / "a.receipts")


def test_escrow_counts_and_credit_does_not() -> None:
    head = JournalHead(7, bytes(32))
    balance = Balance(Amount(5), Amount(1_000), Amount(2), Amount(1_000), head, 60)
    assert Receipt.of_balance(balance, Given(Amount(1), Amount(4))) == Receipt(
        Amount(7), 7, Amount(1), 60
    )


def test_what_was_given_away_since_lowers_the_demand_and_what_was_before_does_not() -> None:
    receipt = Receipt(Amount(100), 7, Amount(30), 60)
    assert receipt.at_least(Given(Amount(30), Amount(30))) == Amount(100)
    assert receipt.at_least(Given(Amount(30), Amount(70))) == Amount(60)
    assert receipt.at_least(Given(Amount(500), Amount(500))) == ZERO
    assert receipt.at_least(NOTHING_GIVEN) == Amount(100), "a store that was lost demands no more"


def test_the_newest_receipt_that_an_epoch_covers_is_the_one_that_counts(receipts: Receipts) -> None:
    for size in (100, 300, 200):
        receipts.keep(_receipt(size, total=size, time=size * 100))
    assert receipts.covered_by(99) is None
    assert receipts.covered_by(250) == _receipt(200, 200, 20_000)
    assert receipts.covered_by(10_000) == _receipt(300, 300, 30_000)


def test_asking_every_second_does_not_push_the_older_receipts_out(receipts: Receipts) -> None:
    """Otherwise a loop around ``balance`` would leave only receipts newer than the last epoch."""
    for second in range(3_000):
        receipts.keep(_receipt(second))
    oldest = next(size for size in range(3_000) if receipts.covered_by(size))
    assert oldest == 0
    for minute in range(2 * KEPT):
        receipts.keep(_receipt(3_000 + minute, time=3_000 + 60 * minute))
    assert receipts.covered_by(3_000 + KEPT - 2) is None, "and no more than so many are kept"
    assert receipts.covered_by(3_000 + KEPT) == _receipt(3_000 + KEPT, time=3_000 + 60 * KEPT)


def test_what_was_sent_adds_up_beside_the_receipts(receipts: Receipts) -> None:
    receipts.keep(_receipt(1))
    receipts.add_sent(Amount(5))
    receipts.add_sent(Amount(6))
    assert receipts.sent() == Amount(11)
    assert receipts.covered_by(1) == _receipt(1)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"sent":"-1","receipts":[]}', bytes(9)])
def test_receipts_that_cannot_be_read_demand_nothing(receipts: Receipts, content: bytes) -> None:
    receipts._path.parent.mkdir()
    receipts._path.write_bytes(content)
    assert (receipts.sent(), receipts.covered_by(10**9)) == (ZERO, None)
    receipts.keep(_receipt(1))
    assert receipts.covered_by(1) == _receipt(1)


@pytest.mark.parametrize("seed", range(200))
def test_an_honest_ledger_is_never_accused(seed: int) -> None:
    """Random payments, vouchers, closings and receipts; at each step every receipt is held against what
    the ledger truly has. What is given away is counted only after the ledger has moved it, or before."""
    chance = random.Random(seed)
    total, sent, promised, settled = 1_000_000, 0, 0, 0
    receipts: list[Receipt] = []
    for step in range(60):
        act = chance.choice(["in", "send", "promise", "settle", "receipt"])
        size = chance.randint(1, 50_000)
        if act == "in":
            total += size
        elif act == "send":
            amount = min(size, total - (promised - settled))
            total, sent = total - amount, sent + amount
        elif act == "promise":
            promised += min(size, total - (promised - settled))
        elif act == "settle":  # the ledger pays now; that it did the wallet may learn later
            amount = min(size, promised - settled)
            total, settled = total - amount, settled + amount
        else:
            known = chance.randint(0, settled)
            receipts.append(Receipt(Amount(total), step, Amount(sent + known), step))
        given = Given(Amount(sent), Amount(sent + promised))
        for one in receipts:
            assert one.at_least(given) <= Amount(total)


def test_a_theft_of_what_was_never_given_away_is_seen() -> None:
    receipt = Receipt(Amount(1_000), 5, Amount(10), 60)
    given = Given(Amount(30), Amount(40))
    stolen = replace(receipt, total=Amount(969))
    assert receipt.at_least(given) == Amount(970)
    assert stolen.total < receipt.at_least(given)
