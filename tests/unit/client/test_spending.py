"""No µtok above a cap: whatever downloads, processes, kills and clocks do."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from speedpay.channel.payer import PayerChannel
from speedpay.client.spending import LEASE_S, Spending, day_of, first_of_month, starts_anew
from speedpay.client.store import Store, StoredPlan
from speedpay.errors import OverBudget
from speedpay.market.bidder import Plan
from speedpay.market.budget import Rest, Span, Standing
from speedpay.units import MIB, ZERO, Amount, MoneyClass, Share
from tests.unit.client.test_store import HASH, PLAN, _bought
from tests.unit.ledger.desk import Desk

NOON = 1_795_262_400  # 2026-11-21 12:00 UTC
DAY_S = 86_400
WIDE = replace(PLAN, max_spend=None)


class Clock:
    def __init__(self, utc: int = NOON) -> None:
        self.utc = utc

    def __call__(self) -> float:
        return float(self.utc)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "client.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    made = Store(path)
    yield made
    made.close()


@pytest.fixture
def bought(store: Store, tmp_path: Path) -> tuple[StoredPlan, PayerChannel]:
    store.save_plan(HASH, WIDE, MoneyClass.CREDIT)
    return _bought(store, Desk(tmp_path / "desk"), 1_000_000)


def _sign(
    store: Store, spending: Spending, plan: StoredPlan, channel: PayerChannel, utok: int
) -> PayerChannel:
    """As much of ``utok`` as is permitted, saved: what a purchase does for a voucher, without the voucher."""
    permitted = spending.permit(plan.id, Amount(utok))
    signed = replace(channel, signed=channel.signed + permitted)
    store.save_channels([signed], [], spending.utc)
    return signed


# --- the rule ------------------------------------------------------------------------------------


def test_days_and_months_begin_at_utc_midnight() -> None:
    assert starts_anew(Span.DAY, NOON) == NOON + DAY_S // 2
    assert starts_anew(Span.DAY, starts_anew(Span.DAY, NOON)) == NOON + 3 * DAY_S // 2
    first_of_december = NOON + DAY_S // 2 + 9 * DAY_S
    assert starts_anew(Span.MONTH, NOON) == first_of_december
    assert starts_anew(Span.MONTH, first_of_december - 1) == first_of_december
    assert starts_anew(Span.MONTH, first_of_december) == first_of_december + 31 * DAY_S
    assert first_of_month(first_of_december) == day_of(first_of_december)


def test_random_downloads_under_random_caps_spend_no_utok_above_them() -> None:
    """The rule alone, over its own books: 10,000 months of a user with several processes."""
    made = random.Random(4)
    reached = 0
    for _ in range(10_000):
        caps = {span: Amount(made.randrange(200)) for span in Span if made.random() < 0.7}
        spent = {Span.DAY: 0, Span.MONTH: 0}
        rest = Rest()
        for _ in range(made.randrange(12)):
            if made.random() < 0.15:
                spent[Span.DAY] = 0
            if made.random() < 0.1:  # another process lowers or raises a cap
                caps[made.choice(list(Span))] = Amount(made.randrange(200))
            found = Standing(
                dict(caps), {span: Amount(utok) for span, utok in spent.items()},
                Amount(made.choice((0, 0, made.randrange(50)))),
            )  # fmt: skip
            wanted = Amount(made.randrange(1, 80))
            rest = rest.at(found.available, wanted)
            signed = min(wanted, found.available)
            if not rest:
                assert signed == wanted, "who is not told to rest can pay what it may owe"
            for span, cap in caps.items():
                if signed:
                    assert spent[span] + signed.utok <= cap.utok
                reached += spent[span] + signed.utok == cap.utok
            for span in Span:
                spent[span] += signed.utok
    assert reached > 1_000


def test_paying_rests_before_a_cap_and_begins_again_only_when_there_is_twice_what_it_needs() -> (
    None
):
    rest = Rest().at(Amount(100), Amount(100))
    assert not rest
    rest = rest.at(Amount(99), Amount(100))
    assert rest
    assert rest.at(Amount(99), Amount(1)), (
        "a smaller need is no reason: it is small because we rest"
    )
    assert not rest.at(Amount(200), Amount(1))
    assert Rest().at(ZERO, ZERO), "a cap of nothing is a cap"
    assert not Rest().at(Amount(1), ZERO)


# --- the books -----------------------------------------------------------------------------------


def test_a_cap_is_reached_to_the_last_utok_and_not_passed(
    store: Store, bought: tuple[StoredPlan, PayerChannel], clock: Clock
) -> None:
    plan, channel = bought
    spending = Spending(store, clock)
    spending.set_cap(Span.DAY, Amount(100))
    channel = _sign(store, spending, plan, channel, 60)
    assert spending.standing().left_of(Span.DAY) == Amount(40)
    assert spending.standing().left_of(Span.MONTH) is None
    channel = _sign(store, spending, plan, channel, 60)
    assert channel.signed == Amount(100)
    assert spending.permit(plan.id, Amount(1)) == ZERO
    store.let_go()
    with pytest.raises(OverBudget, match="would pass what you may spend today"):
        store.save_channels([replace(channel, signed=Amount(101))], [], clock.utc)
    assert store.open_paying()[0][0].signed == Amount(100), "nothing of it was saved"


def test_money_in_escrow_is_not_spent(
    store: Store, bought: tuple[StoredPlan, PayerChannel], clock: Clock
) -> None:
    spending = Spending(store, clock)
    assert bought[1].statement.escrow == Amount(1_000_000)
    assert spending.standing().spent == {Span.DAY: ZERO, Span.MONTH: ZERO}


def test_the_next_day_and_month_begin_with_nothing_spent(
    store: Store, bought: tuple[StoredPlan, PayerChannel], clock: Clock
) -> None:
    plan, channel = bought
    spending = Spending(store, clock)
    spending.set_cap(Span.DAY, Amount(100))
    spending.set_cap(Span.MONTH, Amount(150))
    channel = _sign(store, spending, plan, channel, 1_000)
    clock.utc = starts_anew(Span.DAY, NOON)
    channel = _sign(store, spending, plan, channel, 1_000)
    assert channel.signed == Amount(150)
    assert spending.standing().nearest is Span.MONTH
    clock.utc = starts_anew(Span.MONTH, NOON)
    assert _sign(store, spending, plan, channel, 1_000).signed == Amount(250)


def test_a_clock_that_is_set_back_opens_no_earlier_day(
    store: Store, bought: tuple[StoredPlan, PayerChannel], clock: Clock
) -> None:
    plan, channel = bought
    spending = Spending(store, clock)
    spending.set_cap(Span.DAY, Amount(100))
    channel = _sign(store, spending, plan, channel, 100)
    for back in (DAY_S, 40 * DAY_S):
        clock.utc = NOON - back
        assert spending.permit(plan.id, Amount(1)) == ZERO
        store.let_go()


def test_midnight_between_permission_and_saving_changes_nothing(
    store: Store, bought: tuple[StoredPlan, PayerChannel], clock: Clock
) -> None:
    plan, channel = bought
    spending = Spending(store, clock)
    spending.set_cap(Span.DAY, Amount(100))
    permitted = spending.permit(plan.id, Amount(80))
    clock.utc += DAY_S
    store.save_channels([replace(channel, signed=permitted)], [], spending.utc)
    assert spending.standing().spent[Span.DAY] == ZERO
    clock.utc -= DAY_S
    assert spending.standing().spent[Span.DAY] == Amount(80)


def test_a_cap_that_another_process_lowers_holds_for_the_very_next_voucher(
    store: Store, path: Path, bought: tuple[StoredPlan, PayerChannel], clock: Clock
) -> None:
    plan, channel = bought
    spending = Spending(store, clock)
    channel = _sign(store, spending, plan, channel, 500)
    other = Store(path)
    Spending(other, clock).set_cap(Span.MONTH, Amount(510))
    channel = _sign(store, spending, plan, channel, 500)
    assert channel.signed == Amount(510)
    Spending(other, clock).set_cap(Span.MONTH, Amount(400))
    assert spending.permit(plan.id, Amount(1)) == ZERO
    store.let_go()
    Spending(other, clock).set_cap(Span.MONTH, None)
    assert _sign(store, spending, plan, channel, 5).signed == Amount(515)
    other.close()


def test_a_torrents_own_limit_that_another_process_lowers_holds_for_the_very_next_voucher(
    store: Store, path: Path, bought: tuple[StoredPlan, PayerChannel], clock: Clock
) -> None:
    plan, channel = bought
    spending = Spending(store, clock)
    channel = _sign(store, spending, plan, channel, 500)
    other = Store(path)
    other.save_plan(HASH, replace(WIDE, max_spend=Amount(520)), MoneyClass.CREDIT)
    assert spending.permit(plan.id, Amount(15)) == Amount(15)
    assert spending.permit(plan.id, Amount(15)) == Amount(5), "of the same transaction"
    store.let_go()
    other.save_plan(HASH, replace(WIDE, max_spend=Amount(10)), MoneyClass.CREDIT)
    assert _sign(store, spending, plan, channel, 15).signed == Amount(500)
    other.close()


# --- leases --------------------------------------------------------------------------------------


def test_what_a_process_may_yet_owe_is_left_alone_by_others_until_it_is_given_back_or_dies(
    store: Store, path: Path, bought: tuple[StoredPlan, PayerChannel], clock: Clock
) -> None:
    plan, _ = bought
    other = Store(path)
    mine, yours = Spending(store, clock), Spending(other, clock)
    mine.set_cap(Span.DAY, Amount(100))
    assert mine.set_aside(Amount(30)).available == Amount(100)
    assert yours.standing().available == Amount(40), "twice what it may owe"
    assert yours.permit(plan.id, Amount(100)) == Amount(40)
    other.let_go()
    assert mine.permit(plan.id, Amount(100)) == Amount(100)
    store.let_go()
    assert yours.set_aside(Amount(30)).available == Amount(40)
    assert mine.standing().available == Amount(60)
    clock.utc += LEASE_S - 1
    assert yours.standing().available == Amount(40)
    clock.utc += 1
    assert yours.standing().available == Amount(100), "the process that leased it is dead"
    mine.set_aside(Amount(10))
    assert yours.standing().available == Amount(80)
    clock.utc -= 10 * DAY_S
    assert yours.standing().available == Amount(100), "a clock set back keeps no lease alive"
    clock.utc += 10 * DAY_S
    mine.give_back()
    assert yours.standing().available == Amount(100)
    other.close()


def test_a_lease_is_not_written_anew_for_every_change(
    store: Store, path: Path, clock: Clock
) -> None:
    spending = Spending(store, clock)
    spending.set_aside(Amount(50))
    assert Spending(store, clock).standing().aside == ZERO, "without caps nothing is set aside"
    spending.set_cap(Span.DAY, Amount(1_000))
    spending.set_aside(Amount(50))
    before = _writes(path)
    for utok in (50, 80, 100, 30, 25):
        spending.set_aside(Amount(utok))
    assert _writes(path) == before
    spending.set_aside(Amount(101))
    assert _writes(path) > before


def _writes(path: Path) -> int:
    return path.with_name(path.name + "-wal").stat().st_size


# --- processes that die, and several at once ------------------------------------------------------


def _child(work: Callable[[], None]) -> int:
    """``work`` in a process of its own; what ``wait`` says of its end."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def test_killed_at_every_line_it_has_sent_no_more_than_was_counted_and_counted_no_more_than_the_cap(
    store: Store, path: Path, bought: tuple[StoredPlan, PayerChannel], clock: Clock, tmp_path: Path
) -> None:
    plan, _ = bought
    Spending(store, clock).set_cap(Span.DAY, Amount(1_000))
    sent = tmp_path / "sent"
    sent.write_text("0")
    store.close()  # a connection must not cross a fork
    files = {f"{name}.py" for name in ("spending", "database", "store", "test_spending")}

    def pay(dies_at: int) -> None:
        lines = 0

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal lines
            if os.path.basename(frame.f_code.co_filename) not in files:
                return None
            if event == "line":
                lines += 1
                if lines == dies_at:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        own = Store(path)
        channel = own.open_paying()[0][0]
        spending = Spending(own, clock)
        sys.settrace(trace)
        spending.set_aside(Amount(5))
        channel = _sign(own, spending, plan, channel, 7)
        sent.write_text(str(channel.signed.utok))
        sys.settrace(None)

    killed = 0
    for dies_at in range(1, 1_000, 3):
        if not os.WIFSIGNALED(_child(partial(pay, dies_at))):
            break
        killed += 1
        with closing(sqlite3.connect(path)) as db:
            ((saved,),) = db.execute("SELECT signed FROM paying")
            ((counted,),) = db.execute("SELECT coalesce(sum(utok), 0) FROM spent")
        assert int(sent.read_text()) <= saved == counted <= 1_000
    assert killed > 20


def test_processes_that_spend_at_once_reach_the_cap_together_and_do_not_pass_it(
    store: Store, path: Path, clock: Clock, tmp_path: Path
) -> None:
    desk = Desk(tmp_path / "desk")
    store.save_plan(HASH, WIDE, MoneyClass.CREDIT)
    channels = [_bought(store, desk, 1_000_000) for _ in range(3)]
    Spending(store, clock).set_cap(Span.MONTH, Amount(2_000))
    store.close()

    def spend(number: int) -> None:
        own = Store(path)
        plan, channel = channels[number]
        spending, made = Spending(own, clock), random.Random(number)
        while True:
            before = channel.signed
            channel = _sign(own, spending, plan, channel, made.randrange(1, 60))
            if channel.signed == before:
                os._exit(0)

    children = []
    for number in range(3):
        pid = os.fork()
        if pid == 0:
            spend(number)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    reader = Store(path)
    signed = [channel.signed.utok for channel, _ in reader.open_paying()]
    assert sum(signed) == 2_000
    assert Spending(reader, clock).standing().spent[Span.MONTH] == Amount(2_000)
    reader.close()


def test_a_plan_without_a_limit_is_held_by_nothing_where_there_are_no_caps(
    store: Store, bought: tuple[StoredPlan, PayerChannel], clock: Clock
) -> None:
    plan, channel = bought
    assert plan.plan == Plan(
        Share.from_text("0.25"), Amount(10_000_000), 8 * MIB, 7 * MIB, WIDE.formula, WIDE.fixed,
        WIDE.cap, None, WIDE.first_bid,
    )  # fmt: skip
    assert _sign(store, Spending(store, clock), plan, channel, 10**6).signed == Amount(10**6)
