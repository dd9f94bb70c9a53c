"""What a client must not forget comes back as it was; what cannot be kept is said and not half kept."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from speedpay.channel.payee import PayeeChannel
from speedpay.channel.payer import PayerChannel
from speedpay.channel.voucher import SignedStatement, Statement, Voucher
from speedpay.client.locks import TorrentLocks
from speedpay.client.store import Order, Store, StoredPlan
from speedpay.errors import DiskFull, InvalidSetting, Malformed
from speedpay.market.bidder import Formula, Plan
from speedpay.signing import Domain, SigningKey
from speedpay.units import MIB, ZERO, Amount, MoneyClass, Price, Share
from tests.unit.ledger.desk import Desk

HASH, OTHER = b"\x01" * 20, b"\x02" * 20
PLAN = Plan(
    Share.from_text("0.25"), Amount(10_000_000), 8 * MIB, 7 * MIB, Formula.PUBLISHED,
    Price(5), Price(9), Amount(1_000), Price(4),
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "client.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    made = Store(path)
    yield made
    made.close()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "desk")


def _order(plan: StoredPlan, statement: Statement, channel: bytes | None = None) -> Order:
    return Order(
        os.urandom(16), plan, statement.payee_key, statement.nonce, channel, statement.escrow, 3600
    )


def _opened(desk: Desk, escrow: int = 1_000) -> SignedStatement:
    return SignedStatement(desk.line(escrow).statement, os.urandom(64))


def _bought(store: Store, desk: Desk, escrow: int = 1_000) -> tuple[StoredPlan, PayerChannel]:
    """A plan with one open channel."""
    plan = store.plan_of(HASH) or store.save_plan(HASH, PLAN, MoneyClass.CREDIT)
    opened = _opened(desk, escrow)
    order = _order(plan, opened.statement)
    store.add_order(order)
    store.order_filled(order, opened)
    return plan, PayerChannel(opened)


def test_a_plan_comes_back_with_every_field(store: Store, path: Path) -> None:
    bare = replace(PLAN, formula=Formula.ANCHORED, fixed=None, cap=None, max_spend=None)
    for infohash, plan in ((HASH, PLAN), (OTHER, replace(bare, first_bid=None))):
        stored = store.save_plan(infohash, plan, MoneyClass.TOKEN)
        again = Store(path)
        assert again.plan_of(infohash) == stored
        assert stored.plan == plan
        again.close()
    assert store.plan_of(b"\x03" * 20) is None


def test_a_purchase_keeps_its_class_of_money_and_what_it_spent_when_it_is_replanned(
    store: Store, desk: Desk
) -> None:
    plan, channel = _bought(store, desk)
    store.payer_closed(channel.statement.channel, Amount(400))
    changed = store.save_plan(HASH, replace(PLAN, cap=None), MoneyClass.TOKEN)
    assert (changed.id, changed.money_class) == (plan.id, MoneyClass.CREDIT)
    assert store.settled(changed) == Amount(400)
    store.plan_done(changed)
    assert store.plan_of(HASH) is None
    fresh = store.save_plan(HASH, PLAN, MoneyClass.TOKEN)
    assert fresh.id != plan.id
    assert store.settled(fresh) == ZERO


def test_an_order_is_known_until_it_is_filled_and_then_its_channel_is(
    store: Store, desk: Desk, path: Path
) -> None:
    plan = store.save_plan(HASH, PLAN, MoneyClass.CREDIT)
    opened = _opened(desk)
    order = _order(plan, opened.statement)
    store.add_order(order)
    again = Store(path)
    assert again.orders() == [order]
    again.order_filled(order, opened)
    assert store.orders() == []
    assert store.open_paying(plan) == [(PayerChannel(opened), plan)]
    again.close()


def test_a_top_up_that_is_filled_keeps_what_was_signed_meanwhile(store: Store, desk: Desk) -> None:
    plan, channel = _bought(store, desk)
    order = _order(plan, channel.statement, channel.statement.channel)
    store.add_order(order)
    signed = replace(channel, signed=Amount(700), acknowledged=Amount(600))
    store.save_channels([signed], [])
    larger = SignedStatement(replace(channel.statement, escrow=Amount(2_000)), os.urandom(64))
    store.order_filled(order, larger)
    assert store.open_paying() == [(replace(signed, opened=larger), plan)]


def test_an_order_that_is_dropped_leaves_nothing(store: Store, desk: Desk) -> None:
    plan = store.save_plan(HASH, PLAN, MoneyClass.CREDIT)
    order = _order(plan, _opened(desk).statement)
    store.add_order(order)
    store.drop_order(order)
    assert store.orders() == []
    assert store.open_paying() == []


def test_payees_of_a_plan_are_those_paid_and_those_promised(store: Store, desk: Desk) -> None:
    plan, closed = _bought(store, desk)
    _, promised = _bought(store, desk)
    _bought(store, desk)
    store.save_channels([replace(closed, signed=Amount(500))], [])
    store.payer_closed(closed.statement.channel, Amount(300))
    store.save_channels([replace(promised, signed=Amount(20))], [])
    assert dict(store.payees(plan)) == {
        closed.statement.payee_key: Amount(300), promised.statement.payee_key: Amount(20),
    }  # fmt: skip


def test_what_was_given_away_counts_one_class_only_and_promises_until_they_are_settled(
    store: Store, desk: Desk
) -> None:
    _, closed = _bought(store, desk)
    store.payer_closed(closed.statement.channel, Amount(400))
    assert store.given(MoneyClass.TOKEN) == (ZERO, ZERO)
    plan = store.save_plan(OTHER, PLAN, MoneyClass.TOKEN)
    channels = []
    for signed in (300, 50):
        opened = _opened(desk)
        order = _order(plan, opened.statement)
        store.add_order(order)
        store.order_filled(order, opened)
        channels.append(replace(PayerChannel(opened), signed=Amount(signed)))
    store.save_channels(channels, [])
    assert store.given(MoneyClass.TOKEN) == (ZERO, Amount(350))
    store.payer_closed(channels[0].statement.channel, Amount(200))
    assert store.given(MoneyClass.TOKEN) == (Amount(200), Amount(250))
    assert store.given(MoneyClass.CREDIT) == (Amount(400), Amount(400))


def test_an_accepted_voucher_comes_back_until_its_channel_is_closed(
    store: Store, path: Path, desk: Desk
) -> None:
    line = desk.line()
    opened = SignedStatement(line.statement, os.urandom(64))
    store.save_channels([], [(HASH, PayeeChannel(line.statement), opened)])
    for utok in (5, 7):
        channel = PayeeChannel(line.statement, line.voucher(utok))
        store.save_channels([], [(HASH, channel, None)])
    again = Store(path)
    (earned,) = again.open_paid()
    assert (earned.infohash, earned.channel, earned.redeemed) == (HASH, channel, ZERO)
    assert again.earned_total() == Amount(7)
    again.redeemed(line.id, Amount(5), False)
    assert [one.redeemed for one in store.open_paid()] == [Amount(5)]
    again.redeemed(line.id, Amount(7), True)
    assert store.open_paid() == []
    assert store.earned(b"\x00" * 32) is None
    again.close()


def test_a_channel_shown_again_keeps_its_voucher_and_its_date(store: Store, desk: Desk) -> None:
    line = desk.line()
    opened = SignedStatement(line.statement, os.urandom(64))
    channel = PayeeChannel(line.statement, line.voucher(9))
    store.save_channels([], [(HASH, channel, opened)])
    store.redeemed(line.id, Amount(9), False)
    store.save_channels([], [(HASH, channel, opened)])
    (earned,) = store.open_paid()
    assert (earned.channel, earned.redeemed) == (channel, Amount(9))


def test_resume_data_belongs_to_a_folder_and_is_gone_once_dropped(
    store: Store, tmp_path: Path
) -> None:
    store.save_resume(HASH, tmp_path, b"first")
    store.save_resume(HASH, tmp_path, b"second")
    assert store.resume_of(HASH, tmp_path) == b"second"
    assert store.resume_of(HASH, tmp_path / "elsewhere") is None
    assert store.resume_of(OTHER, tmp_path) is None
    store.drop_resume(HASH)
    assert store.resume_of(HASH, tmp_path) is None


def test_a_store_of_another_version_is_refused_and_left_alone(path: Path) -> None:
    Store(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=7")
    with pytest.raises(InvalidSetting, match="another version of speedpay") as caught:
        Store(path)
    assert caught.value.field == "store"
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (7,)


@pytest.mark.parametrize(
    "content", [b"no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4096]
)
def test_a_file_that_is_no_store_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(InvalidSetting, match="cannot be used") as caught:
        Store(path)
    assert caught.value.field == "store"
    assert path.read_bytes() == content


def test_a_store_that_cannot_be_opened_names_itself(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(InvalidSetting, match="cannot be used"):
        Store(path)


def test_a_plan_that_was_tampered_with_is_malformed(store: Store, path: Path) -> None:
    for body in ("{", "[]", '{"consumption_ppm": 1.5}'):
        store.save_plan(HASH, PLAN, MoneyClass.CREDIT)
        with closing(sqlite3.connect(path)) as db:
            db.execute("UPDATE plans SET body = ?", [body])
            db.commit()
        with pytest.raises(Malformed):
            store.plan_of(HASH)
        with closing(sqlite3.connect(path)) as db:
            db.execute("DELETE FROM plans")
            db.commit()


@contextmanager
def _no_room_beyond(byte_count: int) -> Iterator[None]:
    """No file of this process may grow beyond that: a full disk, as far as SQLite can tell."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (byte_count, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_without_room_nothing_is_half_written_and_all_that_was_said_to_be_kept_is(
    path: Path, desk: Desk
) -> None:
    store = Store(path)
    plan = store.save_plan(HASH, PLAN, MoneyClass.CREDIT)
    statement = desk.line().statement
    kept: list[Order] = []

    def fill() -> None:
        for _ in range(1_000):
            order = _order(plan, statement)
            store.add_order(order)
            kept.append(order)

    with _no_room_beyond(200_000), pytest.raises(DiskFull, match="nothing more is paid") as caught:
        fill()
    assert caught.value.exit_code == 9
    store.close()
    assert kept
    again = Store(path)
    assert {order.key for order in again.orders()} == {order.key for order in kept}
    again.add_order(_order(plan, statement))
    again.close()


@pytest.mark.parametrize("_round", range(10))
def test_many_clients_may_open_one_new_store_at_once(path: Path, _round: int) -> None:
    failures: list[BaseException] = []

    def work(infohash: bytes) -> None:
        try:
            store = Store(path)
            store.save_plan(infohash, PLAN, MoneyClass.CREDIT)
            store.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(bytes([n]) * 20,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    store = Store(path)
    assert all(store.plan_of(bytes([n]) * 20) for n in range(8))
    store.close()


def test_a_store_that_another_client_holds_is_named_and_nothing_is_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speedpay.client.database._WAIT_S", 0.1)
    store = Store(path)
    store.save_plan(HASH, PLAN, MoneyClass.CREDIT)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(InvalidSetting, match="in use by another speedpay") as refused:
        Store(path)
    assert refused.value.field == "store"
    other.execute("ROLLBACK")
    other.close()
    assert store.plan_of(HASH)
    store.close()


def test_a_torrent_is_held_by_one_and_free_for_the_next_when_it_is_given_back(
    tmp_path: Path,
) -> None:
    one, other = TorrentLocks(tmp_path / "locks"), TorrentLocks(tmp_path / "locks")
    assert one.take(HASH)
    assert one.take(HASH), "again is no conflict"
    assert one.take(OTHER)
    assert not other.take(HASH)
    one.keep_only({OTHER})
    assert other.take(HASH)
    assert not other.take(OTHER)
    one.close()
    assert other.take(OTHER)
    other.close()


def test_only_the_owner_can_read_the_store(path: Path) -> None:
    Store(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_voucher_is_stored_byte_for_byte(store: Store, desk: Desk) -> None:
    line = desk.line()
    voucher = Voucher.sign(
        SigningKey(os.urandom(32)), Domain("devnet", bytes(32)), line.id, Amount(3)
    )
    opened = SignedStatement(line.statement, os.urandom(64))
    store.save_channels([], [(HASH, PayeeChannel(line.statement, voucher), opened)])
    (earned,) = store.open_paid()
    assert earned.channel.best == voucher
