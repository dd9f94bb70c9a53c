"""Whole markets from seeds: the promises are checked after every step, and planted bugs are caught."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable

import pytest

from speedpay.channel import payee
from speedpay.channel.payer import Budget
from speedpay.market.bidder import explain
from speedpay.market.metering import Meter
from speedpay.peer.buyer import Buyer
from speedpay.peer.buying import Buying
from speedpay.peer.seller import Seller
from speedpay.units import Amount, Price
from tests.simulation.parts import Kind
from tests.simulation.promises import lost_vouchers
from tests.simulation.quick_keys import keys_of
from tests.simulation.world import World

SEEDS, BATCH = 2_000, 250
#: Of trouble, then at most so many without; most downloads end by then.
STEPS, CALM = 35, 20
TROUBLE = 0.05
MANY_SEEDS = 50_000


@pytest.fixture(autouse=True)
def _explained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pure function that is asked the same many times in a step: a quarter of the time."""
    monkeypatch.setattr("speedpay.peer.paying.explain", functools.lru_cache(10_000)(explain))


class Broken(AssertionError):
    """A seed that broke a promise; ``run(seed)`` shows it again."""


def run(seed: int, trouble: float = TROUBLE, steps: int = STEPS, calm: int = CALM) -> World:
    with keys_of(seed):
        try:
            world = World(seed, trouble)
            world.run(steps, calm)
        except Exception as error:
            raise Broken(f"seed {seed}: {type(error).__name__}: {error}") from error
    return world


def run_all(seeds: range, closing_line: Callable[[str], None]) -> None:
    """Raises Broken at the first seed that breaks a promise."""
    counts: Counter[str] = Counter()
    began = time.perf_counter()
    for seed in seeds:
        world = run(seed)
        accounts = world.ledger.channels.values()
        counts["steps"] += world.steps
        counts["channels paid"] += sum(bool(account.paid) for account in accounts)
        counts["forged"] += world.forged
        counts["from old stores"] += sum(client.copies for client in world.clients)
    assert counts["channels paid"] > len(seeds) // 2, "the worlds are too quiet to show anything"
    assert counts["forged"] > len(seeds)
    closing_line(
        f"simulation: seeds {seeds.start} to {seeds.stop - 1}, {counts['steps']} steps,"
        f" {counts['channels paid']} channels paid, {counts['forged']} forged messages,"
        f" {counts['from old stores']} restarts from old stores,"
        f" {len(seeds) / (time.perf_counter() - began):.0f} seeds/s, 0 broken, 0 tokens made or lost"
    )


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_no_seed_breaks_a_promise(first: int, closing_line: Callable[[str], None]) -> None:
    run_all(range(first, first + BATCH), closing_line)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_no_seed_of_many_breaks_a_promise(closing_line: Callable[[str], None]) -> None:
    run_all(range(SEEDS, MANY_SEEDS), closing_line)


def test_among_honest_peers_every_download_completes_and_every_accepted_voucher_is_paid() -> None:
    count = 0
    for seed in range(10_000, 10_100):
        if not World(seed, trouble=0.0).simple:
            continue
        world = run(seed, trouble=0.0, steps=90, calm=400)
        count += 1
        for client in world.clients:
            assert len(client.pieces) == world.piece_count, f"seed {seed}: {client.name} is stuck"
            assert lost_vouchers(world, client) == 0, f"seed {seed}: {client.name} was not paid"
            if client.buyer is not None:
                assert client.buyer.purse.channels == {}, f"seed {seed}: escrow is left behind"
    assert count > 20


def test_the_same_seed_is_the_same_world() -> None:
    one, two = run(7), run(7)
    assert (one.now, one.steps, one.forged) == (two.now, two.steps, two.forged)
    assert one.ledger.channels == two.ledger.channels


# ------------------------------------------------------------------------------------ planted bugs


def caught(seeds: int = 400, among: Kind | None = None) -> str:
    """``among``: only worlds with such a client."""
    for seed in range(seeds):
        if among and among not in {client.kind for client in World(seed).clients}:
            continue
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


# What a forger says is believed nowhere, and where it is that shows.


def test_a_seller_that_does_not_check_who_signed_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(payee, "verify", lambda *arguments, **named: None)
    assert caught(among=Kind.FORGER).endswith(
        ("a voucher nobody signed", "a signature has two forms")
    )


def test_a_seller_that_takes_the_other_form_of_a_signature_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    verify = payee.verify

    def either_form(public, kind, domain, body, signature, *rest, **named):  # type: ignore[no-untyped-def]
        s = int.from_bytes(signature[32:])
        low = signature[:32] + min(s, order - s).to_bytes(32)
        verify(public, kind, domain, body, low, *rest, **named)

    monkeypatch.setattr(payee, "verify", either_form)
    assert caught(among=Kind.FORGER).endswith("a signature has two forms")


def test_a_seller_that_believes_any_statement_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "speedpay.channel.voucher.SignedStatement.check", lambda *arguments, **named: None
    )
    assert "more escrow than the ledger holds" in caught(among=Kind.FORGER)


def test_a_seller_that_acknowledges_what_it_has_not_saved_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    acknowledge = Seller._acknowledge

    def early(self: Seller, buying: Buying):  # type: ignore[no-untyped-def]
        said = acknowledge(self, buying)
        more = said.message.cumulative + Amount(1)
        return type(said)(said.connection, type(said.message)(said.message.channel, more, 0))

    monkeypatch.setattr(Seller, "_acknowledge", early)
    assert "acknowledged and not saved" in caught()
