"""Clients, the ledger and its answers go away at the worst moment: downloads go on, money adds up."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from speedpay.client.store import Store
from speedpay.errors import InvalidSetting, LedgerUnreachable
from speedpay.peer.effects import AddEscrow
from speedpay.units import MIB, ZERO, Amount, Price
from tests.scenarios.clients import (
    WELCOME,
    Content,
    Ledger,
    Proxy,
    Town,
    User,
    address,
    auto,
    here,
    ledger_in,
    seeder,
    until,
)


@pytest.fixture(scope="module")
def shared_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with ledger_in(tmp_path_factory.mktemp("ledger")) as ledger:
        yield ledger


@pytest.fixture
def town(shared_ledger: Ledger, tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path, shared_ledger)
    yield town
    town.close()


@contextlib.contextmanager
def _store(user: User) -> Iterator[Store]:
    store = Store(user.home / "client.db")
    yield store
    store.close()


def _plan(user: User, content: Content) -> dict[str, Any]:
    with contextlib.closing(sqlite3.connect(user.home / "client.db")) as db:
        (row,) = db.execute("SELECT id, body FROM plans WHERE infohash = ?", [content.infohash])
    return {"id": row[0], "body": row[1]}


def _half(said: dict[str, Any]) -> bool:
    """A progress event of a paid download that is well under way."""
    return bool(said["done_bytes"] > 2 * MIB and int(said["paid_utok"]) > 0)


def _accepted(user: User) -> int:
    """µtok in vouchers that a seller holds of channels that are open."""
    with _store(user) as store:
        return sum(earned.channel.accepted.utok for earned in store.open_paid())


async def _credit_becomes(user: User, utok: int) -> None:
    """A seller redeems in its own time."""
    await until(lambda: user.credit == utok)


def test_a_killed_payer_goes_on_with_the_same_plan_and_spends_no_more_than_it_allows(
    town: Town,
) -> None:
    payer, payee, content, place = town.user(), town.user(), town.content(8 * MIB), town.place()
    at = address()
    origin = town.seed(payee, content, at, "--up-limit", "3MiB/s")
    command = ("--pay", "auto", "--consumption", "0.2")
    killed = town.get(payer, content, place, *command, peers=(at,))
    killed.until("progress", _half)
    assert killed.end(signal.SIGKILL) == -signal.SIGKILL
    plan = _plan(payer, content)
    with _store(payer) as store:
        spent = sum(channel.signed.utok for channel, _ in store.open_paying())
    assert spent > 0

    again = town.get(payer, content, place, *command, peers=(at,))
    assert again.end() == 0
    assert content.is_in(place)
    assert _plan(payer, content) == plan
    paid = int(again.result["paid_utok"])
    assert spent <= paid <= 2_000_000
    assert sum(int(payee["utok"]) for payee in again.result["payees"]) == paid
    (seller,) = again.result["payees"]
    assert seller["bytes"] < 7 * MIB, "what was here before the kill is not bought again"
    assert origin.end(signal.SIGINT) == 0
    assert int(origin.result["earned_utok"]) == paid
    assert payee.credit == WELCOME + paid
    assert town.in_escrow() == 0


def test_what_a_killed_seller_had_accepted_is_redeemed_by_its_next_start(town: Town) -> None:
    payer, payee, content, place = town.user(), town.user(), town.content(8 * MIB), town.place()
    at = address()
    origin = town.seed(payee, content, at, "--up-limit", "3MiB/s")
    leecher = town.get(payer, content, place, "--pay", "auto", peers=(at,))
    leecher.until("progress", _half)
    origin.end(signal.SIGKILL)
    accepted = _accepted(payee)
    assert accepted > 0
    assert payee.credit == WELCOME
    assert leecher.end(signal.SIGINT) == 7
    town.seed(payee, content, at)
    asyncio.run(_wait_for_all_redeemed(town, payee))
    assert payee.credit >= WELCOME + accepted
    assert payer.credit + payee.credit == 2 * WELCOME


async def _wait_for_all_redeemed(town: Town, payee: User) -> None:
    def done() -> bool:
        with _store(payee) as store:
            return not store.open_paid()

    await until(done)
    assert town.in_escrow() == 0


def test_a_last_voucher_that_the_seller_never_saw_reaches_it_by_way_of_the_ledger(
    town: Town,
) -> None:
    payer, payee, content, place = town.user(), town.user(), town.content(8 * MIB), town.place()
    at = address()
    origin = town.seed(payee, content, at, "--up-limit", "2MiB/s")
    leecher = town.get(payer, content, place, "--pay", "auto", peers=(at,))
    leecher.until("progress", _half)

    def signed() -> int:
        with _store(payer) as store:
            return sum(channel.signed.utok for channel, _ in store.open_paying())

    for attempt in range(20):
        # Stopped between two blocks it may have been paid for everything: then once more.
        origin.process.send_signal(signal.SIGSTOP)
        stopped_at = _accepted(payee)
        try:
            asyncio.run(until(lambda: signed() > stopped_at, 1.0))  # noqa: B023
            break
        except AssertionError:
            assert attempt < 19, "never stopped with a voucher under way"
            origin.process.send_signal(signal.SIGCONT)
    assert leecher.end(signal.SIGINT) == 7
    promised = signed()
    origin.end(signal.SIGKILL)
    assert _accepted(payee) < promised
    town.seed(payee, content, at)
    asyncio.run(_credit_becomes(payee, WELCOME + promised))
    assert payer.credit == WELCOME - promised


def test_ctrl_c_keeps_and_pays_and_says_so_and_the_same_command_goes_on(town: Town) -> None:
    payer, payee, content, place = town.user(), town.user(), town.content(8 * MIB), town.place()
    at = address()
    origin = town.seed(payee, content, at, "--up-limit", "4MiB/s")
    stopped = town.get(payer, content, place, "--pay", "auto", peers=(at,))
    stopped.until("progress", _half)
    assert stopped.end(signal.SIGINT) == 7
    assert stopped.error["code"] == "unfinished"
    assert stopped.error["hint"] == "run the same command again to go on"
    paid = WELCOME - payer.credit
    assert paid > 0
    assert stopped.error["message"].endswith(f"they are kept, {Amount(paid)} tok were paid")
    assert payee.credit == WELCOME + paid
    again = town.get(payer, content, place, "--pay", "auto", peers=(at,))
    assert again.end() == 0
    assert content.is_in(place)
    assert int(again.result["paid_utok"]) == WELCOME - payer.credit > paid
    assert again.result["payees"][0]["bytes"] < 7 * MIB
    assert origin.end(signal.SIGINT) == 0


@pytest.mark.long
def test_a_second_ctrl_c_leaves_at_once_and_loses_nothing(town: Town) -> None:
    payer, payee, content, place = town.user(), town.user(), town.content(8 * MIB), town.place()
    at = address()
    origin = town.seed(payee, content, at, "--up-limit", "3MiB/s")
    leecher = town.get(payer, content, place, "--pay", "auto", peers=(at,))
    leecher.until("progress", _half)
    origin.process.send_signal(signal.SIGSTOP)  # so that leaving has somebody to wait for
    leecher.process.send_signal(signal.SIGINT)
    with pytest.raises(Exception, match="timed out"):
        leecher.process.wait(1)
    assert leecher.end(signal.SIGINT) == 130
    origin.process.send_signal(signal.SIGCONT)
    again = town.get(payer, content, place, "--pay", "auto", peers=(at,))
    assert again.end() == 0
    assert content.is_in(place)
    assert origin.end(signal.SIGINT) == 0
    assert payee.credit - WELCOME == WELCOME - payer.credit == int(again.result["paid_utok"])


def test_without_the_ledger_nothing_is_begun_that_should_be_paid(town: Town) -> None:
    payer, content, place = town.user(), town.content(MIB), town.place()
    payer.url = "http://127.0.0.1:9"
    failed = town.get(payer, content, place, "--pay", "auto")
    assert failed.end() == 4
    assert failed.error["code"] == "ledger_unreachable"
    assert failed.error["hint"] == "start it, or download for free: --pay off"
    assert "did not answer" in failed.error["message"]


@pytest.mark.long
def test_the_ledger_may_go_away_in_mid_download_and_is_brought_the_vouchers_when_it_is_back(
    tmp_path: Path,
) -> None:
    with ledger_in(tmp_path / "ledger") as ledger:
        town = Town(tmp_path, ledger)
        payer, payee, place = town.user(), town.user(), town.place()
        content, at = town.content(8 * MIB), address()
        origin = town.seed(payee, content, at, "--up-limit", "4MiB/s")
        leecher = town.get(payer, content, place, "--pay", "auto", peers=(at,))
        leecher.until("progress", _half)
        ledger.kill()
        assert leecher.end() == 0
        assert content.is_in(place)
        paid = int(leecher.result["paid_utok"])
        assert paid == _accepted(payee) > 0
        assert origin.end(signal.SIGINT) == 0
        ledger.back()
        assert payee.credit == WELCOME
        town.seed(payee, content, at)
        asyncio.run(_credit_becomes(payee, WELCOME + paid))
        assert payer.credit == WELCOME - paid
        town.close()


def test_escrow_whose_confirmation_is_lost_is_locked_exactly_once(town: Town) -> None:
    proxy = Proxy(town.ledger, losing=b"POST /v1/channels ")
    proxy.losses = 3
    payer, payee = town.user(proxy.url), town.user()
    content, place = town.content(8 * MIB), town.place()

    async def scene() -> None:
        async with (
            seeder(payee, content, up_limit=3 * MIB) as origin,
            here(payer, content, place) as leecher,
        ):
            receipt = await leecher.get(auto(), origin)
        assert proxy.losses == 0
        assert receipt.paid
        assert payee.credit == WELCOME + receipt.paid.utok
        channels = {entry.reference for entry in payer.history() if entry.kind == "lock"}
        assert len(channels) == 1
        assert town.in_escrow() == 0

    asyncio.run(scene())
    proxy.close()


@pytest.mark.long
def test_an_order_that_a_killed_client_left_is_filled_once_by_its_next_start(town: Town) -> None:
    """The ledger has locked the escrow; the client was gone before it heard of it."""
    proxy = Proxy(town.ledger, losing=b"POST /v1/channels ")
    proxy.losses = 1_000
    payer, payee = town.user(proxy.url), town.user()
    content, place = town.content(6 * MIB), town.place()
    at = address()
    town.seed(payee, content, at, "--up-limit", "2MiB/s")
    leecher = town.get(payer, content, place, "--pay", "auto", peers=(at,))
    asyncio.run(until(lambda: proxy.losses < 1_000))
    leecher.end(signal.SIGKILL)
    proxy.losses = 0
    (locked,) = [entry for entry in payer.history() if entry.kind == "lock"]
    with _store(payer) as store:
        (order,) = store.orders()
        assert order.amount == locked.amount
    again = town.get(payer, content, place, "--pay", "auto", peers=(at,))
    assert again.end() == 0
    assert int(again.result["paid_utok"]) > 0
    opened = {entry.reference for entry in payer.history() if entry.kind == "lock"}
    assert opened == {locked.reference}, "the channel that was paid for is the one that is used"
    assert town.in_escrow() == 0
    proxy.close()


def test_a_torrent_is_downloaded_by_one_client_of_a_home_and_others_beside_it(town: Town) -> None:
    payer, payee = town.user(), town.user()
    one, other = town.content(4 * MIB), town.content(2 * MIB)

    async def scene() -> None:
        async with (
            seeder(payee, one, up_limit=4 * MIB) as first,
            here(payer, one, town.place()) as leecher,
        ):
            buying = asyncio.create_task(leecher.get(auto(), first))
            await until(lambda: leecher.torrent.status().verified_bytes)
            with pytest.raises(InvalidSetting, match="another speedpay is busy"):
                async with here(payer, one, town.place()) as second:
                    second.download(None)
            async with (
                seeder(town.user(), other, up_limit=4 * MIB) as second_origin,
                here(payer, other, town.place()) as second,
            ):
                assert (await second.get(auto(), second_origin)).paid
            assert (await buying).paid

    asyncio.run(scene())
    assert town.in_escrow() == 0


@pytest.mark.long
def test_a_client_that_starts_and_ends_leaves_the_channels_of_another_on_its_home_alone(
    town: Town,
) -> None:
    payer, payee = town.user(), town.user()
    sold, other = town.content(8 * MIB), town.content(MIB)

    async def scene() -> None:
        async with (
            seeder(payee, sold, up_limit=2 * MIB) as origin,
            here(payer, sold, town.place()) as leecher,
        ):
            buying = asyncio.create_task(leecher.get(auto(), origin))
            await until(lambda: leecher.moments and leecher.moments[-1].paid > ZERO)
            async with seeder(payee, other):
                pass
            receipt = await buying
        assert payee.credit == WELCOME + receipt.paid.utok
        channels = {entry.reference for entry in payer.history() if entry.kind == "lock"}
        assert len(channels) == 1, "it was not closed under the seller's hands"

    asyncio.run(scene())


@pytest.mark.long
def test_a_plan_changes_when_the_user_asks_for_another_and_what_was_spent_stays_spent(
    town: Town,
) -> None:
    payer, payee, content, place = town.user(), town.user(), town.content(8 * MIB), town.place()

    async def scene() -> None:
        async with seeder(payee, content, up_limit=4 * MIB) as origin:
            async with here(payer, content, place) as first:
                cheap = auto(fixed=Price.from_tokens_per_gib("1", "pay"))
                task = asyncio.create_task(first.get(cheap, origin))
                await until(lambda: first.moments and first.moments[-1].paid > ZERO)
                first.stop.set()
                await asyncio.gather(task, return_exceptions=True)
            spent = WELCOME - payer.credit
            async with here(payer, content, place) as second:
                receipt = await second.get(auto(), origin)
            assert receipt.paid.utok == WELCOME - payer.credit > spent
            assert "first bid" not in receipt.explanation, "the low price of before holds nothing"

    asyncio.run(scene())


def test_a_free_download_with_a_wallet_does_not_wait_for_its_ledger(town: Town) -> None:
    leecher, payee, content, place = town.user(), town.user(), town.content(MIB), town.place()
    leecher.url = "http://127.0.0.1:9"

    async def scene() -> None:
        async with seeder(payee, content) as origin, here(leecher, content, place) as free:
            receipt = await free.get(None, origin)
            assert receipt.paid == ZERO
            with pytest.raises(LedgerUnreachable):
                await free.client.opened_market(0.1)
            await until(lambda: free.notes)
            (note,) = free.notes
            assert note.startswith("the ledger is away, so nothing is paid or sold yet: ")

    asyncio.run(scene())
    assert content.is_in(place)


def test_a_top_up_of_a_channel_that_its_payee_has_just_closed_frees_the_budget(town: Town) -> None:
    payer, payee, content = town.user(), town.user(), town.content(4 * MIB)

    async def scene() -> None:
        async with (
            seeder(payee, content, up_limit=2 * MIB) as origin,
            here(payer, content, town.place()) as leecher,
        ):
            buying = asyncio.create_task(leecher.get(auto(), origin))
            await until(lambda: leecher.moments and leecher.moments[-1].paid > ZERO)
            market = leecher.client.market
            assert market is not None
            (purchase,) = market.purchases.values()
            free, more = purchase.buyer.purse.budget.free(), Amount(7)
            purchase.buyer.purse.budget = purchase.buyer.purse.budget.lock(more)
            await market.funding.add(purchase, AddEscrow(0, bytes(32), more))
            assert purchase.buyer.purse.budget.free() == free
            assert (await buying).paid

    asyncio.run(scene())
    assert town.in_escrow() == 0


@pytest.mark.long
def test_resume_data_from_before_a_crash_is_not_believed_after_it(town: Town) -> None:
    """What came after it would be downloaded, and paid for, once more."""
    payer, payee, content, place = town.user(), town.user(), town.content(4 * MIB), town.place()

    async def scene() -> None:
        async with seeder(payee, content, up_limit=2 * MIB) as origin:
            async with here(payer, content, place) as first:
                task = asyncio.create_task(first.get(None, origin))
                await until(lambda: first.torrent.status().verified_bytes > MIB)
                first.stop.set()
                await asyncio.gather(task, return_exceptions=True)
                assert first.client.store.resume_of(content.infohash, place)
            async with here(payer, content, place) as second:
                task = asyncio.create_task(second.get(None, origin))
                await until(lambda: second.moments)
                assert second.client.store.resume_of(content.infohash, place) is None
                await task

    asyncio.run(scene())
    assert content.is_in(place)
