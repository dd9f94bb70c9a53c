"""Peers that cheat, against the running client: what each of them gets is printed, and bounded.

They are made of the second implementation, which knows the protocol and none of our code; what a hostile
one does differently stands in its class. Who only breaks the rules of messages is in
``test_client_strangers.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from speedpay.ledger_api.client import LedgerClient
from speedpay.market.debts import ALLOWED_BYTES
from speedpay.market.window import WINDOW_MIN_BYTES
from speedpay.units import MIB, Amount, Price
from tests.scenarios.clients import (
    PORT,
    WAIT_S,
    WELCOME,
    Content,
    Here,
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
from tests.scenarios.test_second_implementation import _locks
from tests.second_implementation import signatures
from tests.second_implementation.buyer import BLOCK, Buyer
from tests.second_implementation.connection import Connection
from tests.second_implementation.harness import call, listening, read_torrent
from tests.second_implementation.messages import Message, Refused, body_of
from tests.second_implementation.seller import Seller
from tests.second_implementation.signatures import public_of

ASK, BID = 2_000, 3_000
KIB = 1024
#: What may leave beyond a full window: what is in the peer's send buffer (swarm/settings.py), what the
#: kernel is just taking of it, and the last block over.
IN_FLIGHT = 2 * 128 * KIB + BLOCK


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with ledger_in(tmp_path_factory.mktemp("ledger")) as ledger:
        yield ledger


@pytest.fixture
def town(ledger: Ledger, tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path, ledger)
    yield town
    town.close()


class Crowd:
    """One seller of ours, and buyers that come to it one after the other."""

    def __init__(self, town: Town, payer: User, origin: Here, content: Content) -> None:
        self.payer, self.origin, self.torrent = payer, origin, read_torrent(content.made.data)
        self.ledger = signatures.Ledger(b"devnet", town.ledger.id)
        self.at = address()

    async def buyer(self, kind: type[Buyer] = Buyer, **more: Any) -> Buyer:
        connection = await call(self.origin.address, PORT, self.at, self.ledger, self.torrent)
        return kind(connection, self.torrent, BID, 1_000_000, self.lock, time.time, **more)

    async def lock(self, key: bytes, payee_key: bytes, escrow: int) -> tuple[bytes, bytes]:
        return await asyncio.to_thread(_locks, self.payer, key, payee_key, escrow)

    @property
    def unpaid(self) -> list[int]:
        """Billed bytes that each connection has not paid for."""
        market = self.origin.client.market
        assert market is not None
        return [one.unpaid_bytes for one in market.seller._buying.values() if one.channel]

    async def honest_one_is_served(self) -> None:
        buyer = await self.buyer()
        await asyncio.wait_for(buyer.run(), WAIT_S)
        assert len(buyer.content) == len(self.torrent.hashes)
        assert "error" not in buyer.heard


@contextlib.asynccontextmanager
async def selling(town: Town, **options: Any) -> AsyncIterator[Crowd]:
    content = town.content(2 * MIB)
    payee, payer = town.user(), town.user()
    async with seeder(payee, content, **{"ask": Price(ASK), **options}) as origin:
        yield Crowd(town, payer, origin, content)
    # Whoever it was that came: the ledger's books agree with what the seller has accepted.
    assert payee.credit == WELCOME + origin.client.earned().utok


class NeverPays(Buyer):
    def _pay(self) -> None: ...


def test_who_takes_a_window_and_never_pays_gets_one_window(town: Town) -> None:
    async def scene() -> None:
        async with selling(town) as crowd:
            thief = await crowd.buyer(NeverPays)
            running = asyncio.create_task(thief.run())
            await until(lambda: "pause" in thief.heard)  # five seconds after the window was full
            got = thief.billed_bytes
            print(
                f"never pays: {got} bytes for nothing;"
                f" the window is {WINDOW_MIN_BYTES}, its buffers {IN_FLIGHT}"
            )
            assert 0 < got <= WINDOW_MIN_BYTES + IN_FLIGHT
            assert crowd.origin.client.earned() == Amount(0)
            running.cancel()
            thief.connection.writer.close()

    asyncio.run(scene())


def test_new_identities_of_one_address_get_no_more_together_than_one_bound(town: Town) -> None:
    async def scene() -> None:
        async with selling(town) as crowd:
            lost = identities = 0
            while True:
                thief = await crowd.buyer(NeverPays)
                running = asyncio.create_task(thief.run())
                await until(_either(crowd, running))
                if running.done():
                    with pytest.raises(Refused, match="over_limit"):
                        await running
                    break
                identities += 1
                lost += crowd.unpaid[0]
                running.cancel()
                thief.connection.writer.close()
                await until(lambda: not crowd.unpaid)
                assert identities < 100
            print(
                f"new identities: {identities} of one address got {lost} bytes for nothing;"
                f" the bound is {ALLOWED_BYTES}, a window and its buffers"
            )
            assert lost < ALLOWED_BYTES + WINDOW_MIN_BYTES + IN_FLIGHT
            crowd.at = address()  # somebody else is served all the same
            await crowd.honest_one_is_served()

    asyncio.run(scene())


def _either(crowd: Crowd, running: asyncio.Task[None]) -> Callable[[], bool]:
    return lambda: running.done() or max(crowd.unpaid, default=0) >= WINDOW_MIN_BYTES


class PaysForFreeBlocks(Buyer):
    """Says that it wants to be served for free."""

    def _is_settled(self) -> bool:
        return False

    def _on_ack(self, ack: Message) -> None:
        first = not self.is_open
        super()._on_ack(ack)
        if first:
            self._say_standing("pause")
            self.is_billed = False


def test_vouchers_for_free_blocks_are_taken_and_widen_the_window_once_at_most(town: Town) -> None:
    async def scene() -> None:
        async with selling(town) as crowd:
            buyer = await crowd.buyer(PaysForFreeBlocks)
            running = asyncio.create_task(buyer.run())
            await until(lambda: len(buyer.content) == len(crowd.torrent.hashes))
            assert buyer.billed_bytes == 0
            buyer.due += 10_000 * MIB  # µtok·byte/MiB
            buyer._pay()
            await until(lambda: buyer.acknowledged == 10_000)
            print(f"pays for free blocks: {buyer.acknowledged} µtok, window {buyer.window}")
            # What left before the seller's own pause was billed, and is paid for now.
            assert buyer.window <= 2 * WINDOW_MIN_BYTES
            assert crowd.origin.notes == []
            running.cancel()
            buyer.connection.writer.close()
            await until(lambda: not crowd.unpaid)

    asyncio.run(scene())


class ClaimsAnothersChannel(Buyer):
    """Shows a channel that is not its own: it has no key to bind it with."""

    async def _on_quote(self, quote: Message) -> None:
        own, self.channel_key = self.channel_key, os.urandom(32)
        public = public_of(own)
        data, signature = await self.lock(public, self.ask["k"], 100_000)  # type: ignore[index]
        session = self.connection.session
        assert session is not None
        binding = self.connection.ledger.sign(self.channel_key, b"session", session.binding_body(1))
        self.connection.say("open", b=data, s=signature, n=0, x=binding)


def test_who_shows_the_channel_of_another_is_banned(town: Town) -> None:
    async def scene() -> None:
        async with selling(town) as crowd:
            liar = await crowd.buyer(ClaimsAnothersChannel)
            await asyncio.wait_for(liar.run(), WAIT_S)
            (note,) = crowd.origin.notes
            assert note.startswith(f"{crowd.at} was banned: ")
            assert "open.binding" in note
            crowd.at = address()
            await crowd.honest_one_is_served()

    asyncio.run(scene())


class Replays(Buyer):
    """Repeats what it has recorded elsewhere, under the same numbers."""

    recorded: tuple[bytes, ...] = ()

    async def _on_message(self, said: Message) -> None:
        if said.name == "hello":
            for payload in self.recorded:
                self.connection.wire(20, bytes([self.connection.theirs]) + payload)


def test_a_session_replayed_in_another_swarm_is_refused_at_its_first_message(town: Town) -> None:
    sealed: list[bytes] = []

    class Records(Buyer):
        def _say_standing(self, name: str) -> None: ...

    async def scene() -> None:
        async with selling(town) as crowd:
            first = await crowd.buyer(Records)
            seal = first.connection.wire

            def wire(kind: int, body: bytes = b"") -> None:
                if kind == 20 and body[:1] != b"\0" and first.connection.sent > 1:
                    sealed.append(body[1:])
                seal(kind, body)

            first.connection.wire = wire  # type: ignore[method-assign]
            await asyncio.wait_for(first.run(), WAIT_S)
            earned = crowd.origin.client.earned()
        assert len(sealed) > 3
        assert earned
        async with selling(town) as other:
            replaying = await other.buyer(Replays)
            replaying.recorded = tuple(sealed)  # type: ignore[attr-defined]
            await asyncio.wait_for(replaying.run(), WAIT_S)
            (note,) = other.origin.notes
            assert note.startswith(f"{other.at} was banned: ")
            assert other.origin.client.earned() == Amount(0)

    asyncio.run(scene())


class HangsUp(Buyer):
    """Goes away after so many messages, said and heard together."""

    after: int = 0

    async def _on_message(self, said: Message) -> None:
        self._count()
        await super()._on_message(said)
        self._count()

    def _count(self) -> None:
        if self.connection.sent + self.connection.received >= self.after:
            self.connection.writer.close()
            raise ConnectionError("hung up")


def test_who_hangs_up_at_any_message_costs_nobody_anything_but_a_window(town: Town) -> None:
    async def scene() -> None:
        async with selling(town) as crowd:
            for after in range(1, 16):
                crowd.at = address()
                buyer = await crowd.buyer(HangsUp)
                buyer.after = after  # type: ignore[attr-defined]
                with contextlib.suppress(ConnectionError):
                    await asyncio.wait_for(buyer.run(), WAIT_S)
                buyer.connection.writer.close()
                await until(lambda: not crowd.unpaid)
            assert [note for note in crowd.origin.notes if "banned" in note] == []
            print(f"hangs up: 15 messages, {crowd.origin.client.earned().utok} µtok were paid")
            crowd.at = address()
            await crowd.honest_one_is_served()

    asyncio.run(scene())


def test_who_floods_with_messages_is_answered_or_dropped_and_others_are_served(town: Town) -> None:
    class Floods(Buyer):
        async def _on_quote(self, quote: Message) -> None:
            for number in range(5_000):
                self.connection.say("inquiry", i=number + 1, p=[number, 2 * number, 0])
            await self.connection.writer.drain()

    async def scene() -> None:
        async with selling(town) as crowd:
            flood = await crowd.buyer(Floods)
            running = asyncio.create_task(flood.run())
            crowd.at, before = address(), time.process_time()
            await crowd.honest_one_is_served()
            spent = time.process_time() - before
            print(f"floods: 5,000 messages; {spent:.2f} s of CPU beside them in all")
            running.cancel()
            with contextlib.suppress(Refused, asyncio.CancelledError):
                await running
            flood.connection.writer.close()

    asyncio.run(scene())


@pytest.mark.parametrize(
    "frame",
    [
        struct.pack(">IB", 2**31, 20) + b"\x29",
        struct.pack(">IB", 2**32 - 1, 20) + b"\x29",
        struct.pack(">IB", 4099 + 1024 * 1024, 20) + b"\x29" + bytes(64 * 1024),
        struct.pack(">IB", 4099, 20) + b"\x29" + bytes(4097),
        struct.pack(">IB", 1, 20),
        struct.pack(">IB", 2, 20) + b"\x29",
    ],
    ids=[
        "half of 4 GiB",
        "4 GiB",
        "a MiB and its beginning",
        "one byte too long",
        "no id",
        "empty",
    ],
)
def test_an_endless_or_huge_message_ends_its_sender_and_nobody_else(
    town: Town, frame: bytes
) -> None:
    async def scene() -> None:
        async with selling(town) as crowd:
            connection = await call(
                crowd.origin.address, PORT, crowd.at, crowd.ledger, crowd.torrent
            )
            async for said in connection.hear():
                if isinstance(said, Message) and said.name == "ask":
                    break
            connection.writer.write(frame)
            crowd.at = address()
            await crowd.honest_one_is_served()
            connection.writer.close()

    asyncio.run(scene())


# ------------------------------------------------------------------------------------ hostile sellers


class Corrupt(Seller):
    def _serve(self) -> None:
        self.content = bytes(len(self.content))
        super()._serve()


class Stalls(Seller):
    """Serves until it was paid once, and then nothing."""

    def _serve(self) -> None:
        if not self.held:
            super()._serve()


class DripFeeds(Seller):
    """One block for each message that it hears after the first voucher."""

    def _serve(self) -> None:
        wanted = self.wanted
        if self.held and wanted:
            self.wanted = wanted[:1]
            super()._serve()
            self.wanted += wanted[1:]
        else:
            super()._serve()


class ClaimsAnothersKey(Seller):
    def _ask(self) -> None:
        session, ledger = self.connection.session, self.connection.ledger
        assert session is not None
        victim = public_of(os.urandom(32))
        terms = {
            "i": 1, "k": victim, "p": self.price, "c": 3, "e": 0, "f": 100_000,
            "t": int(self.now()) + 600,
        }  # fmt: skip
        self.connection.say(
            "ask", **terms, s=ledger.sign(self.key, b"ask", body_of(terms)),
            x=ledger.sign(self.key, b"session", session.binding_body(0)),
        )  # fmt: skip


class Boasts(Seller):
    """Acknowledges more than it was ever paid, as one with a newer state than the buyer's would."""

    def _on_open(self, opening: Message) -> None:
        say = self.connection.say

        def boast(name: str, **keys: Any) -> None:
            say(name, **(keys | {"n": keys["n"] + 50_000} if name == "ack" else keys))

        self.connection.say = boast  # type: ignore[method-assign]
        super()._on_open(opening)


async def _buys_from(town: Town, kind: type[Seller]) -> tuple[int, list[str]]:
    """What one hostile seller was paid (µtok) while our client downloads, and what the user was told.

    The honest seller comes once the other has done what it does, so that it cannot be passed over.
    """
    payer, payee, content, place = town.user(), town.user(), town.content(8 * MIB), town.place()
    torrent, data = read_torrent(content.made.data), content.path.read_bytes()
    known = signatures.Ledger(b"devnet", town.ledger.id)
    with LedgerClient(town.ledger.url) as asked:
        shown = asked.identify().certificates
    response_keys = frozenset(one.response_key for one in shown)
    hostile: list[Seller] = []

    def make(connection: Connection) -> Seller:
        hostile.append(kind(connection, torrent, data, ASK, time.time, response_keys))
        return hostile[-1]

    at = address()
    async with (
        listening(at, PORT, known, torrent, make),
        seeder(payee, content, up_limit=16 * MIB, ask=Price(ASK)) as honest,
        here(payer, content, place) as leecher,
    ):
        getting = asyncio.create_task(leecher.get(auto(fixed=Price(BID))))
        leecher.torrent.connect(at, PORT)
        await until(lambda: any(one.heard for one in hostile))
        await until(
            lambda: (
                any(one.held for one in hostile)
                or any("banned" in note for note in leecher.notes)
                or any("stop" in one.heard for one in hostile)
            )
        )
        leecher.meet(honest)
        receipt = await getting
    assert content.is_in(place)
    paid = sum(one.paid.utok for one in receipt.payees if one.peer.startswith(f"{at}:"))
    assert payee.credit == WELCOME + receipt.paid.utok - paid
    return paid, leecher.notes


#: Unverified bytes of one seller that are paid on account: two pieces, or a MiB (market/metering.py).
ON_ACCOUNT = Price(BID).cost_ceil(2 * MIB).utok


@pytest.mark.parametrize("kind", [Corrupt, Stalls, DripFeeds, ClaimsAnothersKey, Boasts])
def test_a_hostile_seller_is_paid_for_what_it_delivered_and_the_download_completes(
    town: Town, kind: type[Seller]
) -> None:
    paid, notes = asyncio.run(_buys_from(town, kind))
    print(f"{kind.__name__}: was paid {paid} µtok; on account are at most {ON_ACCOUNT}")
    if kind in (Corrupt, ClaimsAnothersKey):
        assert any("was banned" in note for note in notes)
    assert paid <= ON_ACCOUNT if kind is not DripFeeds else Price(BID).cost_ceil(8 * MIB).utok


# ------------------------------------------------------------------------------------ one wallet


def test_two_clients_on_one_wallet_spend_what_it_holds_and_no_more(town: Town) -> None:
    payer, payee = town.user(), town.user()
    contents = [town.content(8 * MIB), town.content(7 * MIB)]
    places = [town.place(), town.place()]

    async def scene() -> list[int]:
        async with (
            seeder(payee, contents[0], up_limit=8 * MIB, ask=Price(ASK)) as one,
            seeder(town.user(), contents[1], up_limit=8 * MIB, ask=Price(ASK)) as other,
            here(payer, contents[0], places[0]) as first,
            here(payer, contents[1], places[1]) as second,
        ):
            receipts = await asyncio.gather(first.get(auto(), one), second.get(auto(), other))
            return [receipt.paid.utok for receipt in receipts]

    paid = asyncio.run(scene())
    print(f"one wallet, two clients: {paid} µtok of {WELCOME}")
    assert all(content.is_in(place) for content, place in zip(contents, places, strict=True))
    assert payer.credit == WELCOME - sum(paid)
    assert town.in_escrow() == 0
