"""What a download would take and cost, asked of its live swarm: join, ask, measure the free lane, leave.

Nothing is bid and nothing is paid. What is downloaded while measuring is the caller's to keep or remove.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from speedpay.client.loop import Client, Watch
from speedpay.client.market import Market
from speedpay.client.preview import Preview
from speedpay.errors import DiskFull, LedgerUnreachable, Malformed, NoPeers, Unfinished
from speedpay.market.bidder import Explanation, Plan, explain
from speedpay.market.preview import Prediction, predict
from speedpay.market.shading import LEAST_DIVISOR
from speedpay.swarm.torrent import Torrent, TorrentState, TorrentStatus
from speedpay.units import MAX_UTOK, MIB, NO_PRICE, ZERO, Amount, Price, Share

LOOK_S = 0.2
LEDGER_S = 10.0
#: The free lane is measured with no more than this.
ENOUGH_BYTES = 64 * MIB
#: Parts of the automatic bid that are asked about, as (numerator, denominator). The smallest is the least
#: that shading commits.
_PARTS = ((1, LEAST_DIVISOR), (1, 16), (1, 4), (1, 2), (1, 1), (2, 1))
#: Three bids are always shown; another where it takes a tenth less time than the one before.
_SHOWN = ((1, 2), (1, 1), (2, 1))
_DIFFERENT = 0.1


@dataclass(frozen=True, slots=True)
class Lane:
    """``name``: "free", "automatic", "half", "double", or "other"."""

    name: str
    prediction: Prediction


@dataclass(frozen=True, slots=True)
class Quotation:
    """``bid``: the automatic bid and where it comes from, None without money. ``measured_s`` and
    ``measured_rate`` (bytes a second): of the free lane."""

    name: str
    wanted_bytes: int
    remaining_bytes: int
    peers: int
    answered: int
    measured_s: float
    measured_rate: int
    bid: Explanation | None
    lanes: tuple[Lane, ...]


class Quoting:
    def __init__(self, client: Client, torrent: Torrent, *, keep: bool) -> None:
        """``keep``: the pieces that come while measuring stay, and need not be downloaded again."""
        self._client = client
        self._torrent = torrent
        self._keep = keep
        self._watch: Watch = client.add(torrent)

    async def run(
        self, consumption: Share, wait_s: float, patience_s: float, stop: asyncio.Event
    ) -> Quotation:
        """Look for ``wait_s`` after the first peer that has something, for which ``patience_s`` are
        waited. Raises NoPeers when none comes, LedgerUnreachable, Unfinished when ``stop`` is set before
        there is anything to say.
        """
        deadline = time.monotonic() + patience_s
        market = await self._market()
        balance = await self._balance()
        status = await self._offered(deadline, stop)
        remaining = status.wanted_bytes - (status.verified_bytes if self._keep else 0)
        bid = None
        if balance and remaining:
            plan = Plan(consumption, balance, status.wanted_bytes, remaining).start()
            bid = explain(plan, ZERO, balance, remaining)
        preview = Preview(market, self._torrent)
        until, had = time.monotonic() + wait_s, status.verified_bytes
        while time.monotonic() < until and not stop.is_set():
            self._check_failure()
            preview.ask(lambda ask: _asked(bid, ask), again=True)
            preview.measure()
            status = self._torrent.status()
            if status.finished or status.verified_bytes - had >= ENOUGH_BYTES:
                break
            await asyncio.sleep(LOOK_S)
        scene = preview.scene(remaining, from_nothing=not self._keep)
        asks = [source.ask for source in scene.sources if source.ask is not None]
        found = [(price, predict(scene, price, shade=True)) for price in _offers(bid, asks)]
        return Quotation(
            status.name, status.wanted_bytes, remaining, len(scene.sources),
            sum(source.answered for source in scene.sources),
            scene.measured_s, sum(source.measured for source in scene.sources), bid,
            _worth_showing(predict(scene, NO_PRICE, shade=False), found, bid, balance),
        )  # fmt: skip

    async def _market(self) -> Market:
        try:
            return await self._client.opened_market(LEDGER_S)
        except LedgerUnreachable as away:
            raise LedgerUnreachable(
                "the ledger did not answer, and sellers only answer who uses the same one",
                hint="start it, or try how fast it is for free: speedpay get --pay off",
            ) from away

    async def _balance(self) -> Amount:
        """Usable money of the class of which there is more, as a download would plan with."""
        account, ledger = self._client.account, self._client.ledger
        assert account is not None
        assert ledger is not None
        found = await ledger.balance(account.keys.identity, account.id)
        return max(found.credit + found.credit_in_escrow, found.token + found.token_in_escrow)

    async def _offered(self, deadline: float, stop: asyncio.Event) -> TorrentStatus:
        """Until the description is here and a connected peer holds a piece."""
        while True:
            self._check_failure()
            status = self._torrent.status()
            known = status.have_metadata and status.state is not TorrentState.CHECKING
            if known and (status.finished or self._torrent.offered()):
                return status
            if stop.is_set():
                raise Unfinished("stopped before there was anything to say")
            if time.monotonic() > deadline:
                raise NoPeers(
                    f"{status.peers} peers were reached and none of them had a piece of it"
                    if known else "nobody had the torrent's description",
                    hint="name a peer with --peer, or wait longer: --patience 120",
                )  # fmt: skip
            await asyncio.sleep(LOOK_S)

    def _check_failure(self) -> None:
        failure = self._watch.failure
        if failure is None:
            return
        if failure.disk_full:
            raise DiskFull("there is no room to measure", hint="free some space, or name -o DIR")
        if self._torrent.description is None:
            raise Malformed(failure.message, field="torrent")
        raise Unfinished(f"the swarm cannot be measured: {failure.message}")


def _offers(bid: Explanation | None, asks: Sequence[Price]) -> list[Price]:
    """Ascending: parts and multiples of the automatic bid, and the lowest ask that is above it."""
    if bid is None or not bid.price:
        return []
    auto = bid.price.utok_per_mib
    found = {Price(min(MAX_UTOK, -(-auto * over // under))) for over, under in _PARTS}
    above = [ask for ask in asks if ask > bid.price]
    return sorted(price for price in {*found, *sorted(above)[:1]} if price)


def _asked(bid: Explanation | None, ask: Price) -> list[Price]:
    return [NO_PRICE, *_offers(bid, [ask])]


def _worth_showing(
    free: Prediction,
    found: Sequence[tuple[Price, Prediction]],
    bid: Explanation | None,
    balance: Amount,
) -> tuple[Lane, ...]:
    """Free, half, automatic and double; others where they differ from the lane before. Nothing that could
    cost more than there is."""
    lanes, last = [Lane("free", free)], free.seconds
    auto = bid.price.utok_per_mib if bid else 0
    names = {
        -(-auto * over // under): name
        for (over, under), name in zip(_SHOWN, ("half", "automatic", "double"), strict=True)
    }
    for price, prediction in found:
        name = names.get(price.utok_per_mib, "other")
        different = (
            last is None
            or prediction.seconds is None
            or last - prediction.seconds > _DIFFERENT * last
        )
        affordable = prediction.high_cost <= balance
        if affordable and (name != "other" or different):
            lanes.append(Lane(name, prediction))
            last = prediction.seconds
    return tuple(lanes)
