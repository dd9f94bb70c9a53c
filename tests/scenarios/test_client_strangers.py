"""A running seller and peers that speak our messages and break their rules, or listen on the way."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from speedpay.channel.voucher import SignedStatement, Voucher
from speedpay.errors import BadSignature, ChannelUnknown
from speedpay.ledger_api.client import LedgerClient
from speedpay.ledger_api.shapes import OpenChannel
from speedpay.peer.conversation import RATE_BURST, Conversation
from speedpay.peer.messages import (
    BY_TYPE,
    Ack,
    Ask,
    Bid,
    ErrorMessage,
    Hello,
    Message,
    Open,
    VoucherMessage,
    encode,
)
from speedpay.peer.sealing import Handshake
from speedpay.signing import Domain, SigningKey
from speedpay.swarm import events
from speedpay.swarm.settings import SwarmSettings
from speedpay.swarm.torrents import Swarm
from speedpay.units import MIB, ZERO, Amount, MoneyClass, Price
from tests.scenarios.clients import (
    PORT,
    WELCOME,
    Content,
    Here,
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
from tests.scenarios.wire import Wire, hybrid, payloads, readable, secrets_of
from tests.vectors.generate import DOMAIN, MESSAGES
from tests.vectors.session import hello

M = TypeVar("M", bound=Message)
ESCROW = Amount(100_000)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with ledger_in(tmp_path_factory.mktemp("ledger")) as ledger:
        yield ledger


@pytest.fixture
def town(ledger: Ledger, tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path, ledger)
    yield town
    town.close()


class Stranger:
    """The real extension and the real codec, without any of our judgement."""

    def __init__(self, user: User, content: Content, folder: Path) -> None:
        self.user = user
        self.at = address()
        self.swarm = Swarm(SwarmSettings(f"{self.at}:{PORT}", None, dht=False, lsd=False))
        self.torrent = self.swarm.add_torrent_file(content.made.data, folder)
        self.domain = Domain("devnet", user.ledger.id)
        self.conversation = Conversation(self.domain)
        self.key = SigningKey(os.urandom(32))
        self.connection = 0
        self.heard: list[Message] = []
        self.is_gone = False

    async def pump(self) -> None:
        async for batch in self.swarm.batches():
            for event in batch:
                match event:
                    case events.PeerExtended(connection, own_id, peer_id, infohash):
                        self.connection = connection
                        handshake = Handshake(infohash, own_id, peer_id)
                        self.raw(self.conversation.hello(handshake, os.urandom(32)))
                    case events.Message(_, number, payload):
                        self.heard.append(self.conversation.receive(number, payload, 0.0))
                    case events.PeerGone():
                        self.is_gone = True

    def raw(self, payload: bytes) -> None:
        self.swarm.extension.send(self.connection, payload)

    def say(self, message: Message) -> None:
        self.raw(self.conversation.send(message, self.key))

    def seals(self, message: bytes) -> None:
        """Whatever it is, in a good seal."""
        session = self.conversation._session
        assert session is not None
        self.conversation.sent_count += 1
        self.raw(session.seal(self.conversation.sent_count, message))

    async def hears(self, kind: type[M]) -> M:
        await until(lambda: any(isinstance(message, kind) for message in self.heard))
        at = next(n for n, message in enumerate(self.heard) if isinstance(message, kind))
        found = self.heard[at]
        del self.heard[: at + 1]
        assert isinstance(found, kind)
        return found

    def lock(self, ask: Ask) -> SignedStatement:
        order = OpenChannel(
            self.key.public, ask.payee_key, os.urandom(16), MoneyClass.CREDIT, ESCROW, 3600
        )
        with LedgerClient(self.user.url) as ledger:
            identity = self.user.wallet.keys.identity
            return ledger.open_channel(identity, self.user.account, order, os.urandom(16))

    async def opens(self) -> SignedStatement:
        """A bid, and a channel that the seller has confirmed."""
        ask = await self.hears(Ask)
        self.say(Bid(1, Price(1_000), 1024, 180))
        opened = self.lock(ask)
        self.say(Open(opened.statement, opened.signature, ZERO))
        await self.hears(Ack)
        return opened

    def voucher(self, opened: SignedStatement, utok: int) -> VoucherMessage:
        channel = opened.statement.channel
        made = Voucher.sign(self.key, self.domain, channel, Amount(utok))
        return VoucherMessage(channel, made.cumulative, made.signature, 0, 0)


@contextlib.asynccontextmanager
async def _facing(town: Town, payee: User) -> AsyncIterator[tuple[Here, Stranger]]:
    """A seller and a stranger that is connected to it."""
    content = town.content(2 * MIB)
    # So slow that the stranger wants something until the end.
    async with seeder(payee, content, up_limit=64 * 1024) as origin:
        stranger = Stranger(town.user(), content, town.place())
        pump = asyncio.create_task(stranger.pump())
        try:
            stranger.torrent.connect(origin.address, PORT)
            yield origin, stranger
        finally:
            pump.cancel()
            stranger.swarm.close()


def test_a_forged_voucher_bans_its_sender_and_those_before_it_are_redeemed(town: Town) -> None:
    payee = town.user()

    async def scene() -> Stranger:
        async with _facing(town, payee) as (origin, stranger):
            opened = await stranger.opens()
            stranger.say(stranger.voucher(opened, 1_000))
            assert (await stranger.hears(Ack)).cumulative == Amount(1_000)
            forged = replace(stranger.voucher(opened, 2_000), signature=os.urandom(64))
            stranger.say(forged)
            await until(lambda: stranger.is_gone)
            (note,) = origin.notes
            assert note.startswith(f"{stranger.at} was banned: ")
            assert "signature" in note
            assert origin.client.earned() == Amount(1_000)
            market = origin.client.market
            assert market is not None
            assert market.seller.demands(0.0) == []
        return stranger

    stranger = asyncio.run(scene())
    assert payee.credit == WELCOME + 1_000
    assert stranger.user.credit == WELCOME - 1_000


@pytest.mark.parametrize(
    ("garbage", "sealed"),
    [
        (b"", False),
        (bytes(80), False),
        (b"", True),
        (b"\xff" * 300, True),
        (b"\x01\x08" * 50, True),
    ],
)
def test_garbage_bans_its_sender_and_changes_nothing_else(
    town: Town, garbage: bytes, sealed: bool
) -> None:
    payee = town.user()

    async def scene() -> None:
        async with _facing(town, payee) as (origin, stranger):
            await stranger.hears(Ask)
            (stranger.seals if sealed else stranger.raw)(garbage)
            await until(lambda: stranger.is_gone)
            assert [note.partition(":")[0] for note in origin.notes] == [
                f"{stranger.at} was banned"
            ]

    asyncio.run(scene())
    assert payee.credit == WELCOME


def test_a_voucher_before_its_channel_is_answered_with_an_error_and_nobody_is_banned(
    town: Town,
) -> None:
    payee = town.user()

    async def scene() -> None:
        async with _facing(town, payee) as (origin, stranger):
            ask = await stranger.hears(Ask)
            opened = stranger.lock(ask)
            stranger.say(stranger.voucher(opened, 1_000))
            refused = await stranger.hears(ErrorMessage)
            assert refused == ErrorMessage(ChannelUnknown.code, VoucherMessage.TYPE)
            assert not stranger.is_gone
            assert origin.notes == []
            # The same channel is good once it has been shown.
            stranger.say(Bid(1, Price(1_000), 1024, 180))
            stranger.say(Open(opened.statement, opened.signature, ZERO))
            await stranger.hears(Ack)
            stranger.say(stranger.voucher(opened, 1_000))
            assert (await stranger.hears(Ack)).cumulative == Amount(1_000)

    asyncio.run(scene())
    assert payee.credit == WELCOME + 1_000


def test_an_empty_message_above_the_rate_limit_is_refused_like_any_other(town: Town) -> None:
    payee = town.user()

    async def scene() -> None:
        async with _facing(town, payee) as (origin, stranger):
            await stranger.hears(Ask)
            for _ in range(int(RATE_BURST) + 20):
                stranger.say(ErrorMessage(BadSignature.code, Open.TYPE))
            stranger.seals(b"")
            await until(lambda: ErrorMessage("over_limit", 0) in stranger.heard)
            assert origin.notes == []

    asyncio.run(scene())


def test_peers_that_greet_a_client_before_its_ledger_answers_trade_with_it_afterwards(
    town: Town,
) -> None:
    proxy = Proxy(town.ledger)
    proxy.shut = True
    payer, payee, content = town.user(), town.user(proxy.url), town.content(8 * MIB)

    async def scene() -> None:
        async with (
            here(payee, content, content.path.parent, up_limit=2 * MIB) as origin,
            here(payer, content, town.place()) as leecher,
        ):
            origin.client.add(origin.torrent)
            await until(lambda: origin.torrent.status().seeding)
            await leecher.client.opened_market(20)
            buying = asyncio.create_task(leecher.get(auto(), origin))
            await until(lambda: leecher.torrent.status().verified_bytes > MIB)
            assert origin.client.market is None
            proxy.shut = False
            receipt = await buying
            assert receipt.paid
            assert [note for note in origin.notes + leecher.notes if "banned" in note] == []
        assert payee.credit == WELCOME + receipt.paid.utok

    asyncio.run(scene())
    proxy.close()


def test_of_a_paid_download_the_wire_shows_both_hellos_and_nothing_else(town: Town) -> None:
    payer, payee, content = town.user(), town.user(), town.content(8 * MIB)

    async def scene() -> Wire:
        async with seeder(payee, content, up_limit=8 * MIB) as origin:
            wire = Wire(origin.address)
            async with here(payer, content, town.place()) as leecher:
                running = asyncio.create_task(leecher.download(auto()).run(leecher.stop))
                await until(lambda: running.done() or leecher._buys())
                leecher.torrent.connect(wire.address, PORT)
                receipt = await running
                assert receipt.paid
                assert receipt.payees[0].peer.partition(":")[0] == wire.address
            wire.close()
            return wire

    wire = asyncio.run(scene())
    ours = [bytes(stream) for stream in wire.streams if payloads(bytes(stream))]
    assert len(ours) >= 2  # both ways
    secrets = secrets_of(payer, payee)
    assert len(secrets) >= 12
    for stream in ours:
        (said,) = readable(stream)
        assert isinstance(said, Hello)
        assert {len(payload) % 64 for payload in payloads(stream)[1:]} == {16}
    sealed = [payload for stream in ours for payload in payloads(stream)[1:]]
    assert len(sealed) >= 10
    assert len(set(sealed)) == len(sealed)
    everything = b"".join(bytes(stream) for stream in wire.streams)
    for name, secret in secrets.items():
        assert len(secret) >= 16, name
        assert secret not in everything, name
        assert secret.hex().encode() not in everything, name


@pytest.mark.long
def test_two_ends_that_know_a_hybrid_torrent_by_different_hashes_open_each_others_messages(
    town: Town,
) -> None:
    payer, payee, place = town.user(), town.user(), town.place()
    content, magnet = hybrid(town.content(8 * MIB))

    async def scene() -> None:
        async with (
            seeder(payee, content, up_limit=8 * MIB) as origin,
            here(payer, magnet, place) as leecher,
        ):
            assert leecher.torrent.infohash != origin.torrent.infohash
            market = await leecher.client.opened_market(60)
            await leecher.get(auto(), origin)
            await until(lambda: [peer for peer in market.peers.values() if peer.ask])
            assert [note for note in origin.notes + leecher.notes if "banned" in note] == []

    asyncio.run(scene())
    assert content.is_in(place)


def test_an_unsealed_message_on_the_wire_would_be_found() -> None:
    said = [hello(DOMAIN, "buyer"), *MESSAGES.values()]
    frames = [b"\x14\x07" + encode(message) for message in said]
    stream = b"handshake" + b"".join(len(frame).to_bytes(4) + frame for frame in frames)
    assert readable(stream + b"\x00\x00\x00\x01") == said
    assert {message.TYPE for message in readable(stream)} == set(BY_TYPE)
