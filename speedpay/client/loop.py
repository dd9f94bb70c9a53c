"""The running client: one swarm, one store, one event loop; everything else hangs on it.

``async with Client(…).running():`` starts the event pump, the clock and, where there is a wallet, the
market; leaving the block pays what is owed, redeems what was earned and saves resume data, within bounded
time. Whatever could not be finished is in the store and is finished by the next start.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from speedpay.client.account import Account
from speedpay.client.heads import Heads, write_evidence
from speedpay.client.lanes import Lanes, Uplink
from speedpay.client.locks import LOCKS, TorrentLocks
from speedpay.client.market import Market
from speedpay.client.patience import until_answered
from speedpay.client.purchases import Purchase
from speedpay.client.records import Records
from speedpay.client.redeemer import Redeemer
from speedpay.client.store import Store
from speedpay.errors import InvalidSetting, LedgerUnreachable, Refused, SpeedpayError
from speedpay.ledger_api.client import AsyncLedgerClient
from speedpay.peer.seller import Terms
from speedpay.swarm.events import (
    Event,
    InterestChanged,
    ListenFailed,
    Listening,
    Message,
    MetadataReceived,
    PeerConnected,
    PeerEvent,
    PeerExtended,
    PeerGone,
    ResumeData,
    TorrentFailed,
    TorrentFinished,
)
from speedpay.swarm.session import Session
from speedpay.swarm.torrent import Torrent
from speedpay.units import Amount

_log = logging.getLogger(__name__)
TICK_S = 0.1
COUNT_EVERY_S = 60.0
#: Leaving waits this long for peers and the ledger; the rest is done by the next start.
LAST_VOUCHER_S = 3.0
REDEEM_S = 5.0
RESUME_S = 3.0
#: An honest peer says one hello before it hears ours; a few more say what it is.
_EARLY_MESSAGES = 3


class Watch:
    """What callers wait for about one torrent."""

    def __init__(self) -> None:
        self.metadata = asyncio.Event()
        self.finished = asyncio.Event()
        self.failure: TorrentFailed | None = None
        self.resume: asyncio.Future[bytes] | None = None


class Client:
    """``account`` and ``ledger`` are None without a wallet: then it is an ordinary BitTorrent client.

    ``note`` gets sentences for the user, ``warn`` those that must be seen.
    """

    def __init__(
        self,
        swarm: Session,
        home: Path,
        account: Account | None,
        ledger: AsyncLedgerClient | None,
        terms: Terms,
        note: Callable[[str], None],
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.swarm = swarm
        self.store = Store(home / "client.db")
        self.account = account
        self.ledger = ledger
        self.market: Market | None = None
        self._counted_at = time.monotonic()
        self.lanes = Lanes(self._counted_at)
        self._locks = TorrentLocks(home / LOCKS)
        self._terms = terms
        self._note, self._warn = note, warn or note
        self._watches: dict[bytes, Watch] = {}
        #: What peers did before the market opened and what it must know, by connection.
        self._early: dict[int, list[PeerEvent]] = {}
        #: The purchase of each torrent that was settled last.
        self._completed: dict[bytes, Purchase] = {}
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._opened = asyncio.Event()
        self._away = ""
        self._said: set[str] = set()
        self.heads = Heads(self.store, account.domain, home / "evidence") if account else None
        self.since = int(time.time())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Client]:
        """Raises what made a task of the client fail (DiskFull, a broken extension, …); ProofBroken, with
        what was earned redeemed, where the ledger was caught contradicting itself."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                await self._refuse_contradiction()
                self._spawn(self._pump())
                self._spawn(self._clock())
                self._spawn(
                    self.swarm.govern_while(lambda: self.market and self.market.upload.competing)
                )
                if self.account is not None:
                    self._spawn(self._open_market())
                try:
                    yield self
                finally:
                    await self._leave()
                    for task in list(self._tasks):
                        task.cancel()
        except BaseExceptionGroup as group_error:
            raise _first(group_error) from group_error
        finally:
            self._locks.close()
            self.store.close()
            self.swarm.close()
            if self.ledger is not None:
                await self.ledger.close()

    def add(self, torrent: Torrent) -> Watch:
        """Watch a torrent of the swarm. Raises InvalidSetting when another process has it."""
        if not self.hold(torrent.infohash):
            raise InvalidSetting(
                "another speedpay is busy with this torrent", field="torrent",
                hint="stop that one, or set SPEEDPAY_HOME to another folder",
            )  # fmt: skip
        return self._watches[torrent.infohash]

    def hold(self, infohash: bytes) -> bool:
        """Whether this process has the torrent's channels, now and until it ends; none else has then."""
        taken = self._locks.take(infohash)
        if taken:
            self._watches.setdefault(infohash, Watch())
        return taken

    async def opened_market(self, timeout_s: float) -> Market:
        """The market, once the ledger has identified itself; LedgerUnreachable if it has not by then."""
        try:
            await asyncio.wait_for(self._opened.wait(), timeout_s)
        except TimeoutError:
            raise LedgerUnreachable(
                f"the ledger did not answer, so nothing can be paid: {self._away or 'no word of it'}",
                hint="start it, or download for free: --pay off",
            ) from None
        assert self.market is not None
        return self.market

    def check_ledger(self) -> None:
        """Raises ProofBroken when the ledger was caught contradicting itself meanwhile."""
        if self.market is not None and self.market.gossip.contradiction is not None:
            raise self.market.gossip.contradiction.error()

    def uplink(self) -> Uplink:
        """Both lanes of the upload as they are now."""
        demands = self.market.upload.demands if self.market else ()
        return self.lanes.uplink(demands, self._terms.free_pool, time.monotonic())

    def earned(self) -> Amount:
        """Accepted in vouchers since this client was made."""
        return self.store.earned_total(self.since)

    async def complete(self, infohash: bytes) -> None:
        """Pay what is owed for a torrent; last vouchers that nobody confirms go to the ledger."""
        market = self.market
        purchase = market.purchases.get(infohash) if market else None
        if market is None or purchase is None or self._completed.get(infohash) is purchase:
            return
        if not purchase.buyer.finished:
            market.purchases.complete(infohash)
        await self._until(lambda: not market.purchases.unsettled(infohash), LAST_VOUCHER_S)
        self._completed[infohash] = purchase
        try:
            async with asyncio.timeout(LAST_VOUCHER_S):
                await market.purchases.deposit_unacknowledged(infohash)
                await self._until(lambda: not market.purchases.unclosed(infohash), LAST_VOUCHER_S)
        except TimeoutError:
            _log.info("the ledger has not settled everything yet; the next start goes on")

    async def save_resume(self, torrent: Torrent, save_dir: Path) -> None:
        watch = self._watches[torrent.infohash]
        watch.resume = asyncio.get_running_loop().create_future()
        torrent.save_resume()
        try:
            data = await asyncio.wait_for(watch.resume, RESUME_S)
        except TimeoutError:
            _log.warning("libtorrent gave no resume data: files are checked again next time")
            return
        self.store.save_resume(torrent.infohash, save_dir, data)

    # --- tasks -----------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._group is not None
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pump(self) -> None:
        async for batch in self.swarm.batches():
            for event in batch:
                self._handle(event)

    def _handle(self, event: Event) -> None:
        self.lanes.event(event, bool(self.market and self.market.bills(event)), time.monotonic())
        if self.market is not None:
            self.market.event(event)
        elif self.account is not None:
            self._keep_early(event)
        match event:
            case MetadataReceived(infohash):
                self._watch(infohash).metadata.set()
            case TorrentFinished(infohash):
                self._watch(infohash).finished.set()
            case TorrentFailed(infohash):
                watch = self._watch(infohash)
                watch.failure = event
                watch.metadata.set()
                watch.finished.set()
            case ResumeData(infohash, resume):
                waiting = self._watch(infohash).resume
                if waiting is not None and not waiting.done():
                    waiting.set_result(resume)
            case Listening(address, port):
                _log.info("listening on %s:%d", address, port)
            case ListenFailed(address, port, message):
                self._unheard(
                    f"{address}:{port} cannot be listened on, so no peer calls us: {message}"
                )
            case _:
                pass

    def _unheard(self, text: str) -> None:
        if text not in self._said:  # TCP and UDP fail each for itself
            self._said.add(text)
            self._note(text)

    def _keep_early(self, event: Event) -> None:
        """A hello that is lost would make us ban its honest sender for what it says next."""
        match event:
            case PeerConnected(connection):
                self._early[connection] = [event]
            case PeerExtended(connection) | InterestChanged(connection) | Message(connection):
                known = self._early.get(connection, [])
                if isinstance(event, InterestChanged):  # only what it is now counts
                    known[:] = [old for old in known if not isinstance(old, InterestChanged)]
                if sum(isinstance(old, Message) for old in known) < _EARLY_MESSAGES:
                    known.append(event)
            case PeerGone(connection):
                self._early.pop(connection, None)
            case _:
                pass

    def _watch(self, infohash: bytes) -> Watch:
        return self._watches.setdefault(infohash, Watch())

    async def _clock(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            if self.market is not None:
                self.market.tick()
            if time.monotonic() - self._counted_at > COUNT_EVERY_S:
                self._count()

    def _count(self) -> None:
        """Write down what left since the last time: a crash loses that of one interval. Statistics stop
        nothing: what cannot be written is left out."""
        self._counted_at = time.monotonic()
        names = {t.infohash: t.name for t in self.swarm.torrents if t.infohash in self._watches}
        rows = self.lanes.take(names, self._counted_at, int(time.time()))
        try:
            Records(self.store).add_traffic(rows, names)
        except SpeedpayError as error:
            _log.warning("what was sent is not in the statistics: %s", error)

    async def _open_market(self) -> None:
        """Meet the ledger, however long it is away; until then this is an ordinary client."""
        assert self.account is not None
        assert self.ledger is not None
        assert self.heads is not None
        said = False

        def away(reason: str) -> None:
            nonlocal said
            self._away = reason
            if not said:
                self._note(f"the ledger is away, so nothing is paid or sold yet: {reason}")
            said = True

        records = Records(self.store)
        self.ledger.remember(records.keys(self.account.domain, int(time.time())))
        await until_answered(self.ledger.identify, away)
        certificates = self.ledger.certificates
        assert certificates is not None
        records.keep_keys(certificates)
        # Not what is of torrents that another process is busy with: its channels are in use.
        earned = [one for one in self.store.open_paid() if self._locks.take(one.infohash)]
        self.market = Market(
            self.swarm, self.store, self.ledger, self.account, certificates, self._terms,
            earned, self._spawn, self._note, self.heads, lambda found: self._warn(str(found)),
        )  # fmt: skip
        self._spawn(self.market.redeemer.run())
        self._spawn(self.market.gossip.run())
        for events in self._early.values():
            for event in events:
                self.market.event(event)
        self._early.clear()
        await self._recover(self.market)
        self._opened.set()

    async def _refuse_contradiction(self) -> None:
        """An earlier run found it, or its user has two clients. What is owed to us does not depend on whom
        the ledger lies to, so it is redeemed; then nothing more is done."""
        found = self.heads.contradiction() if self.heads is not None else None
        if found is None or self.account is None or self.ledger is None:
            return
        write_evidence(found)

        def away(reason: str) -> None:
            _log.info("the ledger did not answer: %s", reason)

        redeemer = Redeemer(self.store, self.ledger, self.account, away, lambda _: None)
        for earned in self.store.open_paid():
            if self._locks.take(earned.infohash):
                redeemer.redeem(earned.channel.statement.channel, close=True)
        self._spawn(redeemer.run())
        try:
            await asyncio.wait_for(redeemer.idle(), REDEEM_S)
        except TimeoutError:
            self._note("the ledger did not answer: what was earned is redeemed by the next start")
        raise found.error()

    async def _recover(self, market: Market) -> None:
        """Finish what an earlier run left to pay: orders and last vouchers. (What it left to redeem,
        the market has begun with.) Then other torrents than ours are free for other processes."""
        for order in self.store.orders():
            if self._locks.take(order.plan.infohash):
                try:
                    await asyncio.wait_for(market.escrow.fill(order), REDEEM_S)
                except (Refused, TimeoutError) as error:
                    _log.info("an order from before was not filled: %s", error)
        deposits = []
        for channel, stored in self.store.open_paying():
            if self._locks.take(stored.infohash):
                if channel.acknowledged < channel.signed:
                    deposits.append(market.escrow.deposit(channel, stored.infohash))
                market.funding.await_close(channel.statement.channel)
        self._spawn(self._release(market, deposits))

    async def _release(self, market: Market, deposits: list[Coroutine[Any, Any, None]]) -> None:
        await asyncio.gather(market.redeemer.idle(), *deposits)
        self._locks.keep_only(self._watches)

    async def _leave(self) -> None:
        self._count()
        if self.market is None:
            return
        self.market.leave()
        for infohash in list(self.market.purchases):
            await self.complete(infohash)
        try:
            await asyncio.wait_for(self.market.redeemer.idle(), REDEEM_S)
        except TimeoutError:
            self._note("the ledger did not answer: what was earned is redeemed by the next start")

    async def _until(self, done: Callable[[], bool], timeout_s: float) -> None:
        """Events arrive in other tasks; look again after each turn, up to ``timeout_s``."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not done() and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that says most: ours before others, a group's first otherwise."""
    found: BaseException = group.subgroup(SpeedpayError) or group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
