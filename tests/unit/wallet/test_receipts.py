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


def test_of_the_receipts_that_an_epoch_covers_the_one_that_demands_most_counts(
    receipts: Receipts,
) -> None:
    """A ledger that took money signs the smaller balance as readily: the newest is not the one."""
    for size, total in ((100, 100), (200, 500), (300, 40)):
        receipts.keep(_receipt(size, total, time=size * 100))
    given = Given(Amount(10), Amount(10))
    assert receipts.strongest(99, given) is None
    assert receipts.strongest(150, given) == _receipt(100, 100, 10_000)
    assert receipts.strongest(10_000, given) == _receipt(200, 500, 20_000)
    receipts.drop_all_but_newest()
    assert receipts.strongest(10_000, given) == _receipt(300, 40, 30_000)


def test_asking_every_second_does_not_push_the_older_receipts_out(receipts: Receipts) -> None:
    """Otherwise a loop around ``balance`` would leave only receipts newer than the last epoch."""
    for second in range(100):
        receipts.keep(_receipt(second))
    assert receipts.strongest(0, NOTHING_GIVEN) == _receipt(0)
    for minute in range(2 * KEPT):
        receipts.keep(_receipt(100 + minute, time=100 + 60 * minute))
    assert receipts.strongest(100 + KEPT - 2, NOTHING_GIVEN) is None, "no more than so many"
    assert receipts.strongest(100 + KEPT, NOTHING_GIVEN) is not None


def test_a_smaller_balance_soon_after_never_takes_the_place_of_a_larger_one(
    receipts: Receipts,
) -> None:
    for second, total in enumerate((500, 500, 500, 3)):
        receipts.keep(_receipt(10, total, time=second))
    strongest = receipts.strongest(10, NOTHING_GIVEN)
    assert strongest is not None
    assert strongest.total == Amount(500)


def test_what_was_sent_adds_up_beside_the_receipts(receipts: Receipts) -> None:
    receipts.keep(_receipt(1))
    receipts.add_sent(Amount(5))
    receipts.add_sent(Amount(6))
    assert receipts.sent() == Amount(11)
    assert receipts.strongest(1, NOTHING_GIVEN) == _receipt(1)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"sent":"-1","receipts":[]}', bytes(9)])
def test_receipts_that_cannot_be_read_demand_nothing(receipts: Receipts, content: bytes) -> None:
    receipts._path.parent.mkdir()
    receipts._path.write_bytes(content)
    assert (receipts.sent(), receipts.strongest(10**9, NOTHING_GIVEN)) == (ZERO, None)
    receipts.keep(_receipt(1))
    assert receipts.strongest(1, NOTHING_GIVEN) == _receipt(1)


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
