"""The peer protocol written a second time trades with the real client, both ways, and the ledger pays.

Only what is not between peers is borrowed: the ledger is asked by our own client for it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from speedpay.channel.voucher import Assignment, Closing, Voucher
from speedpay.ledger_api.client import LedgerClient
from speedpay.ledger_api.shapes import OpenChannel, Redemption
from speedpay.signing import Domain, SigningKey
from speedpay.units import MIB, Amount, MoneyClass, Price
from tests.scenarios.clients import (
    PORT,
    WAIT_S,
    WELCOME,
    Ledger,
    Town,
    User,
    address,
    auto,
    here,
    ledger_in,
    seeder,
    until,
)
from tests.second_implementation import signatures
from tests.second_implementation.buyer import Buyer
from tests.second_implementation.connection import Connection
from tests.second_implementation.harness import call, listening, read_torrent
from tests.second_implementation.prices import whole_utok
from tests.second_implementation.seller import Seller

ASK = 2_000
BID = 3_000


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with ledger_in(tmp_path_factory.mktemp("ledger")) as ledger:
        yield ledger


@pytest.fixture
def town(ledger: Ledger, tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path, ledger)
    yield town
    town.close()


def _locks(user: User, payer: bytes, payee: bytes, escrow: int) -> tuple[bytes, bytes]:
    order = OpenChannel(payer, payee, os.urandom(16), MoneyClass.CREDIT, Amount(escrow), 3600)
    identity = user.wallet.keys.identity
    with LedgerClient(user.url) as ledger:
        made = ledger.open_channel(identity, user.account, order, os.urandom(16))
    return made.statement.to_bytes(), made.signature


def _redeems(user: User, seller: Seller) -> None:
    """What the seller holds is paid into the user's account, and the channel is closed."""
    assert seller.statement is not None
    channel, total = seller.statement.channel, Amount(seller.held)
    domain, key = Domain("devnet", user.ledger.id), SigningKey(seller.key)
    item = Redemption(
        channel,
        Voucher(channel, total, seller.voucher),
        Assignment.sign(key, domain, channel, user.account),
        Closing.sign(key, domain, channel, user.account, total),
    )
    with LedgerClient(user.url) as ledger:
        (outcome,) = ledger.redeem([item])
    assert outcome.error is None, outcome


def test_its_buyer_downloads_from_the_real_seller_and_pays_what_both_count(town: Town) -> None:
    payer, payee, content = town.user(), town.user(), town.content(4 * MIB)
    torrent = read_torrent(content.made.data)
    assert torrent.infohash == content.infohash
    ledger = signatures.Ledger(b"devnet", town.ledger.id)

    async def lock(key: bytes, payee_key: bytes, escrow: int) -> tuple[bytes, bytes]:
        return await asyncio.to_thread(_locks, payer, key, payee_key, escrow)

    async def scene() -> Buyer:
        async with seeder(payee, content, ask=Price(ASK)) as origin:
            connection = await call(origin.address, PORT, address(), ledger, torrent)
            buyer = Buyer(connection, torrent, BID, 1_000_000, lock, time.time)
            await asyncio.wait_for(buyer.run(), WAIT_S)
            await until(lambda: payee.credit > WELCOME)
            await until(lambda: town.in_escrow() == 0)
            assert origin.client.earned() == Amount(buyer.signed)
            assert [note for note in origin.notes if "banned" in note] == []
        return buyer

    buyer = asyncio.run(scene())
    found = b"".join(buyer.content[piece] for piece in range(len(torrent.hashes)))
    assert found == content.path.read_bytes()
    assert "error" not in buyer.heard
    # It asked for nothing before the seller's ack: all of it is billed.
    assert buyer.signed == whole_utok(4 * MIB * BID)
    assert payee.credit == WELCOME + buyer.signed
    assert payer.credit == WELCOME - buyer.signed
    print(f"second implementation: {len(found)} bytes bought for {buyer.signed} µtok")


def test_its_seller_is_paid_by_the_real_buyer_what_both_count(town: Town) -> None:
    payer, payee, content, place = town.user(), town.user(), town.content(4 * MIB), town.place()
    torrent, data = read_torrent(content.made.data), content.path.read_bytes()
    ledger = signatures.Ledger(b"devnet", town.ledger.id)
    with LedgerClient(town.ledger.url) as asked:
        shown = asked.identify().certificates
    response_keys = frozenset(
        one.response_key
        for one in shown
        if ledger.is_certified(
            one.root_key, one.response_key, one.not_before, one.not_after, one.signature
        )
    )
    assert len(response_keys) == len(shown)

    def make(connection: Connection) -> Seller:
        return Seller(connection, torrent, data, ASK, time.time, response_keys)

    async def scene() -> Seller:
        at = address()
        async with (
            listening(at, PORT, ledger, torrent, make) as (_, done),
            here(payer, content, place) as leecher,
        ):
            leecher.torrent.connect(at, PORT)
            receipt = await leecher.get(auto(fixed=Price(BID)))
            seller = await asyncio.wait_for(done.get(), WAIT_S)
            assert receipt.paid == Amount(seller.held)
            await asyncio.to_thread(_redeems, payee, seller)
            await until(lambda: town.in_escrow() == 0)
        return seller

    seller = asyncio.run(scene())
    assert content.is_in(place)
    # It served nothing before the channel was open: all of it is billed.
    assert seller.billed_bytes >= 4 * MIB
    assert seller.held == whole_utok(seller.due)
    assert payee.credit == WELCOME + seller.held
    assert payer.credit == WELCOME - seller.held
    print(f"second implementation: {seller.billed_bytes} bytes sold for {seller.held} µtok")
