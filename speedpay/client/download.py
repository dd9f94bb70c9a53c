"""One download: find its content, plan what it may cost, wait for its bytes, settle, and say what it cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from speedpay.client.loop import Client, Watch
from speedpay.client.market import Market
from speedpay.client.preview import FORECAST_S, GIVE_UP_S, Forecast, Preview, forecast
from speedpay.client.purchases import Purchase
from speedpay.client.records import Ended, Records
from speedpay.client.store import StoredPlan
from speedpay.errors import (
    BalanceTooSmall,
    DiskFull,
    Malformed,
    NoPeers,
    Unfinished,
)
from speedpay.ledger_api.answers import Balance
from speedpay.market.bidder import Formula, Plan
from speedpay.market.gain import Gain
from speedpay.market.shading import ladder
from speedpay.peer.buyer import Buyer
from speedpay.swarm.torrent import Torrent, TorrentState, TorrentStatus
from speedpay.units import ZERO, Amount, MoneyClass, Price, Share

LOOK_S = 0.2
#: How long a paid download waits for the ledger before it says so and begins in the free lane.
LEDGER_S = 5.0
METADATA_S = 120.0


@dataclass(frozen=True, slots=True)
class Payment:
    """How the user wants to pay: by the formula, or at a ``fixed`` price. ``shade``: commit less than the
    formula's price where that is as fast."""

    consumption: Share
    formula: Formula = Formula.ANCHORED
    fixed: Price | None = None
    cap: Price | None = None
    max_spend: Amount | None = None
    shade: bool = True
    weight: Fraction = Fraction(1)


class Together:
    """Downloads of one command: their plans begin from one and the same balance."""

    def __init__(self) -> None:
        self.balance: Balance | None = None


@dataclass(frozen=True, slots=True)
class Payee:
    """``peer``: address and port where it was seen; its key, if only an earlier run saw it.
    ``byte_count``: what this run was billed for."""

    peer: str
    paid: Amount
    byte_count: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """``seconds``: from the first moment a peer held what was wanted to the last verified piece.
    ``predicted_*``: what the preview said; ``gain``: how much faster than free, as far as measured."""

    name: str
    byte_count: int
    seconds: float
    paid: Amount
    payees: tuple[Payee, ...]
    explanation: str
    predicted_ms: int | None = None
    predicted_paid: Amount | None = None
    gain: Gain | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """What a download looks like now. ``capped``: it goes on in the free lane, because a limit or a budget
    of the user's is used up. ``forecast``: once it has been made."""

    status: TorrentStatus
    paid: Amount
    price: Price | None
    paid_peers: int
    capped: bool = False
    forecast: Forecast | None = None
    gain: Gain | None = None


class Download:
    def __init__(
        self,
        client: Client,
        torrent: Torrent,
        save_dir: Path | None,
        payment: Payment | None,
        show: Callable[[Moment], None],
        together: Together | None = None,
    ) -> None:
        """``save_dir`` is None where another program keeps the files and what is verified of them.
        ``payment`` is None for a free download. ``show`` hears a few times a second how it goes.
        ``together`` is shared with the other downloads of the same command."""
        self._together = together or Together()
        self._client = client
        self._torrent = torrent
        self._save_dir = save_dir
        self._payment = payment
        self._show = show
        self._watch: Watch = client.add(torrent)
        self._purchase: Purchase | None = None
        self._market: Market | None = None
        self._preview: Preview | None = None
        self._forecast: Forecast | None = None
        self._began = self._ended = time.monotonic()

    async def run(self, stop: asyncio.Event) -> Receipt:
        """Until every wanted piece is verified and paid for.

        Raises Unfinished when ``stop`` is set first or the disk fails (what was had is kept), NoPeers
        when a magnet link's description does not arrive, Malformed when the swarm's is refused,
        DiskFull.
        """
        status = await self._description(stop)
        if self._payment is not None and status.verified_bytes < status.wanted_bytes:
            await self._plan(self._payment, status)
        self._began = time.monotonic()
        # From here on it is out of date, and libtorrent would believe it after a crash.
        self._client.store.drop_resume(self._torrent.infohash)
        try:
            status = await self._bytes(stop)
            self._ended = time.monotonic()
        finally:
            # What is here is kept and what is owed is paid, also on the way out.
            await self._client.complete(self._torrent.infohash)
            # A failed torrent's would say that it must not go on.
            if self._save_dir is not None and self._watch.failure is None:
                await self._client.save_resume(self._torrent, self._save_dir)
        receipt = self._receipt(status)
        self._record(receipt, status)
        if not status.finished:
            raise Unfinished(
                f"stopped at {status.verified_bytes} of {status.wanted_bytes} bytes; they are"
                f" kept, {self.paid()} tok were paid",
                hint="run the same command again to go on",
            )
        if self._purchase is not None:
            self._client.store.plan_done(self._purchase.stored)
        return receipt

    def paid(self) -> Amount:
        return self._purchase.buyer.spent if self._purchase else ZERO

    async def _description(self, stop: asyncio.Event) -> TorrentStatus:
        """Metadata, and what is on the disk already."""
        deadline = time.monotonic() + METADATA_S
        while True:
            self._check_failure()
            status = self._torrent.status()
            if status.have_metadata and status.state is not TorrentState.CHECKING:
                return status
            if stop.is_set():
                raise Unfinished("stopped before it began", hint="run the same command again")
            if not status.have_metadata and time.monotonic() > deadline:
                raise NoPeers(
                    "nobody had the torrent's description", hint="try its .torrent file instead"
                )
            await asyncio.sleep(LOOK_S)

    async def _plan(self, payment: Payment, status: TorrentStatus) -> None:
        market = self._market = await self._client.opened_market(LEDGER_S)
        stored = self._client.store.plan_of(self._torrent.infohash)
        if stored is None or not _same(stored.plan, payment):
            balance, money_class = await self._balance(stored)
            remaining = status.wanted_bytes - status.verified_bytes
            plan = Plan(
                payment.consumption, balance, status.wanted_bytes, remaining, payment.formula,
                payment.fixed, payment.cap, payment.max_spend, None, payment.weight,
            )  # fmt: skip
            plan = (stored.plan.replan(plan) if stored else plan).start()
            stored = self._client.store.save_plan(self._torrent.infohash, plan, money_class)
        self._purchase = market.purchases.buy(stored, status.piece_length, payment.shade)
        self._preview = Preview(market, self._torrent)

    async def _balance(self, stored: StoredPlan | None) -> tuple[Amount, MoneyClass]:
        """Usable money and its class: the plan's, or at first the one of which there is more (a
        channel holds only one)."""
        account, ledger = self._client.account, self._client.ledger
        assert account is not None
        assert ledger is not None
        balance = self._together.balance
        if balance is None:
            balance = await ledger.balance(account.keys.identity, account.id)
            self._together.balance = balance = self._together.balance or balance
        token = balance.token + balance.token_in_escrow
        credit = balance.credit + balance.credit_in_escrow
        money_class = MoneyClass.CREDIT if credit >= token else MoneyClass.TOKEN
        if stored is not None:
            money_class = stored.money_class
        amount = credit if money_class is MoneyClass.CREDIT else token
        if not amount:
            raise BalanceTooSmall(
                "there is nothing in the account to pay with", hint="download for free: --pay off"
            )
        return amount, money_class

    async def _bytes(self, stop: asyncio.Event) -> TorrentStatus:
        started = False
        while True:
            self._check_failure()
            status = self._torrent.status()
            if not started and self._torrent.offered():
                started, self._began = True, time.monotonic()
            if self._purchase is not None:
                self._purchase.buyer.remaining_bytes = status.wanted_bytes - status.verified_bytes
                if started:
                    self._look_ahead(self._purchase.buyer)
            self._show(self._moment(status))
            if self._watch.finished.is_set() and status.finished:
                return status
            if stop.is_set():
                return status
            await _either(self._watch.finished, LOOK_S)

    def _look_ahead(self, buyer: Buyer) -> None:
        """Once, in the first seconds: how long this will take, and what it will cost."""
        preview, price = self._preview, buyer.explain().price
        elapsed = time.monotonic() - self._began
        if preview is None or self._forecast or not price or elapsed > GIVE_UP_S:
            return
        preview.ask(lambda ask: ladder(ask, price, {}), again=False)
        if elapsed >= FORECAST_S:
            self._forecast = forecast(preview, buyer, elapsed)

    def _moment(self, status: TorrentStatus) -> Moment:
        if self._purchase is None:
            return Moment(status, ZERO, None, 0)
        buyer = self._purchase.buyer
        explanation = buyer.explain()
        price = buyer.committed() or explanation.price
        return Moment(
            status, buyer.spent, price if explanation.stop is None else None,
            buyer.active_count(), buyer.capped, self._forecast, buyer.gain(),
        )  # fmt: skip

    def _receipt(self, status: TorrentStatus) -> Receipt:
        seconds = self._ended - self._began
        payees: list[Payee] = []
        explanation = "free"
        if self._purchase is not None:
            names, buyer = self._purchase.names, self._purchase.buyer
            billed = {key: byte_count for key, _, byte_count in buyer.purse.payees()}
            payees = [
                Payee(names.get(key, key.hex()), paid, billed.get(key, 0))
                for key, paid in self._client.store.payees(self._purchase.stored)
            ]
            explanation = str(self._purchase.opening)
        said = self._forecast
        return Receipt(
            status.name, status.wanted_bytes, seconds, self.paid(), tuple(payees), explanation,
            said.milliseconds if said else None, said.paid if said else None,
            gain=self._purchase.buyer.gain() if self._purchase else None,
        )  # fmt: skip

    def _record(self, receipt: Receipt, status: TorrentStatus) -> None:
        """For ``speedpay receipts``, also of a run that was interrupted."""
        if self._purchase is None:
            return
        ended, milliseconds = int(time.time()), int(receipt.seconds * 1000)
        run = Ended(
            receipt.name, status.verified_bytes, ended - milliseconds // 1000, ended, milliseconds,
            receipt.paid, receipt.predicted_ms, receipt.predicted_paid,
            int(receipt.gain.times * 1_000_000) if receipt.gain else None,
        )  # fmt: skip
        Records(self._client.store).ended(self._purchase.stored.id, run)

    def _check_failure(self) -> None:
        failure = self._watch.failure
        if failure is None:
            return
        if failure.disk_full:
            raise DiskFull(
                "there is no room for the download", hint="free some space and run it again"
            )
        if self._torrent.description is None:
            raise Malformed(failure.message, field="torrent")  # what the swarm says it is
        raise Unfinished(
            f"the download cannot go on: {failure.message}",
            hint="mend that, then run the same command again",
        )


def _same(plan: Plan, payment: Payment) -> bool:
    """Whether the user asks for what the plan already is; anything else is an act that replans. A limit
    that is not named again stays (``speedpay budget`` may have changed it)."""
    return (
        plan.consumption == payment.consumption
        and plan.formula == payment.formula
        and plan.fixed == payment.fixed
        and plan.cap == payment.cap
        and payment.max_spend in (None, plan.max_spend)
        and plan.weight == payment.weight
    )


async def _either(event: asyncio.Event, timeout_s: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return
