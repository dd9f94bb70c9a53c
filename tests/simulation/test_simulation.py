"""Whole markets from seeds: the promises are checked after every step, and planted bugs are caught."""

from __future__ import annotations

import pytest

from speedpay.channel.payer import Budget
from speedpay.market.metering import Meter
from speedpay.peer.buyer import Buyer
from speedpay.peer.buying import Buying
from speedpay.peer.seller import Seller
from speedpay.units import Amount, Price
from tests.simulation.world import Kind, World, lost_vouchers

SEEDS = 300
BATCH = 50


class Broken(AssertionError):
    """A seed that broke a promise; ``World(seed).run(90)`` shows it again."""


def run(seed: int, trouble: float = 0.02) -> World:
    world = World(seed, trouble)
    try:
        world.run(steps=90)
    except Exception as error:
        raise Broken(f"seed {seed}: {type(error).__name__}: {error}") from error
    return world


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_no_seed_breaks_a_promise(first: int) -> None:
    worlds = [run(seed) for seed in range(first, first + BATCH)]
    paid = sum(a.paid.utok > 0 for world in worlds for a in world.ledger.channels.values())
    assert paid > BATCH, "the worlds are too quiet to show anything"


def test_among_honest_peers_every_download_completes_and_every_accepted_voucher_is_paid() -> None:
    count = 0
    for seed in range(1000, 1150):
        world = World(seed, trouble=0.0)
        if any(client.kind is not Kind.HONEST for client in world.clients):
            continue
        world = run(seed, trouble=0.0)
        count += 1
        for client in world.clients:
            assert len(client.pieces) == world.piece_count, f"seed {seed}: {client.name} is stuck"
            assert lost_vouchers(world, client) == 0, f"seed {seed}: {client.name} was not paid"
            if client.buyer is not None:
                assert client.buyer.purse.channels == {}, f"seed {seed}: escrow is left behind"
    assert count > 20


def test_the_same_seed_is_the_same_world() -> None:
    one, two = run(7), run(7)
    assert one.now == two.now
    assert one.ledger.channels == two.ledger.channels


# ------------------------------------------------------------------------------------ planted bugs


def caught(seeds: int = 120) -> str:
    for seed in range(seeds):
        try:
            run(seed)
        except Broken as broken:
            return str(broken)
    return "nothing was noticed"


def test_a_buyer_that_pays_for_duplicates_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    received = Meter.received

    def forgetful(self: Meter, seller: int, piece: int, start: int, byte_count: int,
                  asked: bool, price: Price) -> int:  # fmt: skip
        self._had.pop(piece, None)
        self._passed.discard(piece)
        return received(self, seller, piece, start, byte_count, True, price)

    monkeypatch.setattr(Meter, "received", forgetful)
    assert caught().endswith(("not new was billed", "more was paid than delivered"))


def test_a_seller_that_bills_before_its_acknowledgement_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Buying, "bills", lambda self, sent_count: self.channel is not None)
    assert caught().endswith(
        ("the two sides bill a block differently", "a buyer owes more than its window")
    )


def test_a_buyer_that_pays_the_bid_it_made_last_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "speedpay.peer.buyer.price_in_force", lambda bids, asked_after: Price(1 + asked_after)
    )
    assert "differently" in caught()


def test_a_budget_that_forgets_escrow_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Budget, "free", lambda self: self.limit)
    assert "more was locked and paid than allowed" in caught()


def test_a_buyer_that_pays_without_an_on_account_limit_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pay = Buyer._pay

    def generous(self, sale, now, last=False):  # type: ignore[no-untyped-def]
        if sale.channel is not None and sale.billing:
            sale.base = max(sale.base, sale.channel.signed + Amount(1))
        return pay(self, sale, now, last)

    monkeypatch.setattr(Buyer, "_pay", generous)
    assert "more was paid than delivered" in caught()


def test_a_seller_that_never_withholds_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Seller, "_judge", lambda self, buying, now: [])
    assert "a buyer owes more than its window" in caught()
