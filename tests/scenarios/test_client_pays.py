"""Paid downloads among real clients inside the test: who pays whom, how much, and what comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import libtorrent as lt
import pytest

from speedpay.client.download import Payment, Receipt
from speedpay.errors import NoPeers
from speedpay.market.bidder import Formula
from speedpay.market.gain import Rules
from speedpay.units import MIB, Amount, Price
from tests.scenarios.clients import (
    PORT,
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


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with ledger_in(tmp_path_factory.mktemp("ledger")) as ledger:
        yield ledger


@pytest.fixture
def town(ledger: Ledger, tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path, ledger)
    yield town
    town.close()


def test_a_paid_download_costs_what_its_receipt_says_and_the_rest_comes_back(town: Town) -> None:
    payer, payee, content, place = town.user(), town.user(), town.content(8 * MIB), town.place()

    async def scene() -> None:
        async with seeder(payee, content, up_limit=8 * MIB) as origin:
            async with here(payer, content, place) as leecher:
                receipt = await leecher.get(auto(), origin)
            assert receipt.paid
            (seller,) = receipt.payees
            assert seller.peer.partition(":")[0] == origin.address
            assert seller.paid == receipt.paid
            assert seller.byte_count <= receipt.byte_count == 8 * MIB
            paid = receipt.paid.utok
            assert payee.credit == 10_000_000 + paid
            assert payer.credit == 10_000_000 - paid
            assert origin.client.earned() == receipt.paid
        assert town.in_escrow() == 0
        assert paid <= 2_500_000, "a quarter of the balance is the allowance"
        assert payee.total("pay", incoming=True) == paid
        assert payer.total("lock", incoming=False) - payer.total("refund", incoming=True) == paid

    asyncio.run(scene())
    assert content.is_in(place)


async def _buy(
    town: Town, payer: User, content: Content, payment: Payment | None, **seller: object
) -> tuple[Receipt, Here]:
    """One download from one seller, who earns what the receipt says."""
    payee, place = town.user(), town.place()
    async with (
        seeder(payee, content, **{"up_limit": 16 * MIB, **seller}) as origin,
        here(payer, content, place) as leecher,
    ):
        receipt = await leecher.get(payment, origin)
    assert content.is_in(place)
    assert payee.credit == WELCOME + receipt.paid.utok
    assert town.in_escrow() == 0
    return receipt, leecher


def test_pieces_of_16_mib_from_one_seller_are_paid_for_without_a_deadlock(town: Town) -> None:
    """No piece is verified before 16 MiB are here, far beyond any window: payment on account."""
    payer, content = town.user(), town.content(48 * MIB, piece_length=16 * MIB)
    receipt, _ = asyncio.run(_buy(town, payer, content, auto(), up_limit=32 * MIB))
    assert receipt.payees[0].byte_count > 40 * MIB, "nearly all of it was bought"


def test_a_leecher_sells_what_it_has_and_is_bid_to_like_a_seeder(town: Town) -> None:
    payer, content, place = town.user(), town.content(8 * MIB), town.place()
    sellers, middle = [town.user(), town.user()], town.user()

    async def scene() -> None:
        async with (
            seeder(sellers[0], content, up_limit=2 * MIB) as first,
            seeder(sellers[1], content, up_limit=2 * MIB) as second,
            here(middle, content, town.place(), up_limit=2 * MIB) as leecher,
        ):
            free = asyncio.create_task(leecher.get(None, first, second))
            await until(lambda: leecher.torrent.status().verified_bytes > 2 * MIB)
            async with here(payer, content, place) as buyer:
                receipt = await buyer.get(auto(), first, second, leecher)
            await free
        paid = {payee.peer.partition(":")[0]: payee.paid.utok for payee in receipt.payees}
        # 8 MiB may be there before one of the two seeders has its escrow.
        assert paid.keys() <= {first.address, second.address, leecher.address}
        assert leecher.address in paid
        assert sellers[0].credit == WELCOME + paid.get(first.address, 0)
        assert sellers[1].credit == WELCOME + paid.get(second.address, 0)
        assert middle.credit == WELCOME + paid[leecher.address]
        assert sum(paid.values()) == receipt.paid.utok == WELCOME - payer.credit

    asyncio.run(scene())
    assert content.is_in(place)


@pytest.mark.long
def test_no_more_than_eight_sellers_are_paid_at_once(town: Town) -> None:
    payer, content, place = town.user(), town.content(8 * MIB), town.place()
    sellers = [town.user() for _ in range(10)]

    async def scene() -> None:
        async with contextlib.AsyncExitStack() as stack:
            seeds = [
                await stack.enter_async_context(seeder(user, content, up_limit=MIB // 2))
                for user in sellers
            ]
            async with here(payer, content, place) as buyer:
                await buyer.get(auto(), *seeds)
            (purchase,) = buyer.client.market.purchases.values()  # type: ignore[union-attr]
            bids = [sale.bid_id for sale in purchase.buyer.sales.values()]
            assert len(bids) == 10
            assert all(bids), "everyone is bid to"
            assert max(moment.paid_peers for moment in buyer.moments) == 8

    asyncio.run(scene())
    assert content.is_in(place)


def test_the_limit_on_spending_holds_and_the_download_goes_on_free_and_says_so(
    town: Town,
) -> None:
    payer, content = town.user(), town.content(8 * MIB)
    limit = Amount(1_000)
    payment = auto(max_spend=limit, fixed=Price.from_tokens_per_gib("2", "pay"))
    receipt, leecher = asyncio.run(_buy(town, payer, content, payment, up_limit=8 * MIB))
    assert 0 < receipt.paid.utok <= limit.utok
    assert payer.credit == WELCOME - receipt.paid.utok
    assert "the allowance is spent: the download goes on in the free lane" in leecher.notes
    assert receipt.payees[0].byte_count < 2 * MIB


def test_a_fixed_price_is_what_every_billed_byte_costs(town: Town) -> None:
    payer, content = town.user(), town.content(8 * MIB)
    price = Price.from_tokens_per_gib("2", "pay")
    receipt, _ = asyncio.run(_buy(town, payer, content, auto(fixed=price)))
    (payee,) = receipt.payees
    assert payee.byte_count > 4 * MIB
    most = price.cost_ceil(payee.byte_count).utok
    assert most * 9 // 10 < receipt.paid.utok <= most
    assert receipt.explanation.endswith("your fixed price")


@pytest.mark.parametrize("shade", [True, False])
def test_alone_the_automatic_bid_shades_down_to_the_ask_unless_told_not_to(
    town: Town, shade: bool
) -> None:
    payer, content = town.user(), town.content(8 * MIB)
    ask = Price.from_tokens_per_gib("10", "ask")
    receipt, _ = asyncio.run(
        _buy(town, payer, content, auto(shade=shade), ask=ask, up_limit=8 * MIB)
    )
    (payee,) = receipt.payees
    assert payee.byte_count > 4 * MIB
    at_the_ask = ask.cost_ceil(payee.byte_count)
    if shade:
        assert Amount(at_the_ask.utok * 9 // 10) < payee.paid <= at_the_ask
    else:
        assert payee.paid > at_the_ask.times(10), "2.5 tok for 8 MiB is the formula's bid"


@pytest.mark.long
def test_paying_a_seller_that_nobody_competes_for_stops_and_is_said(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = Rules(
        slice_s=1.5,
        shortest_s=1.2,
        settle_s=0.8,
        every_s=0.3,
        same_s=0.5,
        cost=1.0,
        stop_after_s=2.0,
        again_after_s=60.0,
        least=1.5,  # rates differ on a busy machine
    )
    monkeypatch.setattr("speedpay.peer.buyer.Rules", lambda: quick)  # half a minute for a user
    payer, content = town.user(), town.content(36 * MIB)
    receipt, leecher = asyncio.run(_buy(town, payer, content, auto(), up_limit=2 * MIB))
    said = "paying makes no difference here (1."
    assert [note.startswith(said) for note in leecher.notes] == [True]
    assert receipt.gain is not None
    assert receipt.gain.times < 1.5
    assert 0 < receipt.payees[0].byte_count < receipt.byte_count * 9 // 10
    assert payer.credit == WELCOME - receipt.paid.utok


def test_a_bid_below_the_ask_buys_nothing_and_is_served_free(town: Town) -> None:
    payer, content = town.user(), town.content(2 * MIB)
    payment = auto(fixed=Price.from_tokens_per_gib("1", "pay"))
    ask = Price.from_tokens_per_gib("2", "ask")
    receipt, _ = asyncio.run(_buy(town, payer, content, payment, ask=ask))
    assert receipt.paid == Amount(0)
    assert receipt.payees == ()
    assert payer.credit == WELCOME


def test_the_published_formula_pays_too_and_never_more_than_its_share(town: Town) -> None:
    payer, content = town.user(), town.content(4 * MIB)
    payment = auto("0.1", formula=Formula.PUBLISHED)
    receipt, _ = asyncio.run(_buy(town, payer, content, payment, up_limit=4 * MIB))
    assert 0 < receipt.paid.utok <= 1_000_000


def test_a_magnet_link_is_paid_for_like_its_torrent(town: Town) -> None:
    payer, payee, content, place = town.user(), town.user(), town.content(), town.place()

    async def scene() -> None:
        async with seeder(payee, content, up_limit=8 * MIB) as origin:
            async with here(payer, content.magnet, place) as leecher:
                receipt = await leecher.get(auto(), origin)
            assert receipt.name == "content.bin"
            assert payee.credit == WELCOME + receipt.paid.utok > WELCOME

    asyncio.run(scene())
    assert content.is_in(place)


def test_a_magnet_link_that_nobody_can_describe_ends_without_peers(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speedpay.client.download.METADATA_S", 0.5)  # two minutes for a user
    content = town.content(MIB)

    async def scene() -> None:
        async with here(town.stranger(), content.magnet, town.place()) as alone:
            with pytest.raises(NoPeers, match="nobody had the torrent's description"):
                await alone.get(None)

    asyncio.run(scene())


def test_an_ordinary_libtorrent_client_in_a_paid_swarm_is_served(town: Town) -> None:
    payer, payee, content = town.user(), town.user(), town.content(4 * MIB)
    place, ordinary_place = town.place(), town.place()
    at = address()
    session = lt.session({
        "listen_interfaces": f"{at}:{PORT}", "outgoing_interfaces": at, "enable_dht": False,
        "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    })  # fmt: skip
    parameters = lt.load_torrent_buffer(content.made.data)
    parameters.save_path = str(ordinary_place)
    ordinary = session.add_torrent(parameters)

    async def scene() -> None:
        async with seeder(payee, content, up_limit=2 * MIB) as origin:
            ordinary.connect_peer((origin.address, PORT))
            async with here(payer, content, place) as leecher:
                receipt = await leecher.get(auto(), origin)
            assert receipt.paid
            await until(lambda: ordinary.status().is_seeding)

    asyncio.run(scene())
    assert content.is_in(place)
    assert content.is_in(ordinary_place)


def test_a_seeder_of_bad_bytes_is_banned_and_paid_no_more_than_on_account(town: Town) -> None:
    payer, good, bad = town.user(), town.user(), town.user()
    content, place = town.content(8 * MIB, piece_length=MIB), town.place()
    spoilt = town.place()
    (spoilt / "content.bin").write_bytes(content.path.read_bytes())
    fixed = Price.from_tokens_per_gib("10", "pay")

    async def scene() -> None:
        async with here(bad, content, spoilt, up_limit=16 * MIB) as liar:
            liar.client.add(liar.torrent)
            await until(lambda: liar.torrent.status().seeding)
            await liar.client.opened_market(10)
            (spoilt / "content.bin").write_bytes(bytes(8 * MIB))
            async with (
                seeder(good, content, up_limit=8 * MIB) as honest,
                here(payer, content, place) as leecher,
            ):
                getting = asyncio.create_task(leecher.get(auto(fixed=fixed), liar))
                banned = f"{liar.address} was banned"
                await until(lambda: any(note.startswith(banned) for note in leecher.notes))
                leecher.meet(honest)  # with both, the honest one may deliver it all
                receipt = await getting
        paid = {payee.peer.partition(":")[0]: payee for payee in receipt.payees}
        assert honest.address in paid
        on_account = 3 * MIB  # of 1-MiB pieces: see market/metering.py
        lost = paid[liar.address].paid.utok if liar.address in paid else 0
        assert lost <= fixed.cost_ceil(on_account).utok
        assert bad.credit == WELCOME + lost

    asyncio.run(scene())
    assert content.is_in(place)


def test_without_a_wallet_a_client_is_served_and_serves_for_free(town: Town) -> None:
    payee, content, place, other = town.user(), town.content(2 * MIB), town.place(), town.place()

    async def scene() -> None:
        async with (
            seeder(payee, content) as origin,
            here(town.stranger(), content, place) as stranger,
        ):
            receipt = await stranger.get(None, origin)
            assert receipt.paid == Amount(0)
            assert receipt.explanation == "free"
            async with here(town.stranger(), content, other) as second:
                await second.get(None, stranger)

    asyncio.run(scene())
    assert content.is_in(place)
    assert content.is_in(other)
    assert payee.credit == WELCOME
