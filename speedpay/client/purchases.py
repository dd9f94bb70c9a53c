"""The torrents that are paid for: when paying begins and ends, and what is still unsettled then."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from speedpay.client.account import Account
from speedpay.client.escrow import Escrow
from speedpay.client.gossip import Gossip
from speedpay.client.spending import Spending
from speedpay.client.store import Store, StoredPlan
from speedpay.client.upload import Peer
from speedpay.market.bidder import Explanation
from speedpay.peer.buyer import Buyer
from speedpay.peer.effects import AwaitClose, Effect
from speedpay.peer.inquirer import Inquirer
from speedpay.peer.messages import Ask, Message, Prospect
from speedpay.units import NO_PRICE, ZERO, Price


@dataclass(slots=True)
class Purchase:
    """One torrent that is paid for. ``opening``: the bid with which it began; ``names``: payee key →
    where it was last seen, for receipts."""

    stored: StoredPlan
    buyer: Buyer
    opening: Explanation
    names: dict[bytes, str]


class Purchases(Mapping[bytes, Purchase]):
    """The newest purchase of each torrent, by infohash. ``peers`` is the market's own, by connection;
    ``perform`` does what a buyer decides; ``note`` tells the user something."""

    def __init__(
        self,
        store: Store,
        account: Account,
        escrow: Escrow,
        spending: Spending,
        gossip: Gossip,
        peers: Mapping[int, Peer],
        perform: Callable[[Iterable[Effect]], None],
        note: Callable[[str], None],
    ) -> None:
        self._store = store
        self._account = account
        self._escrow = escrow
        self._spending = spending
        self._gossip = gossip
        self._peers = peers
        self._perform, self._note = perform, note
        self._begun: dict[bytes, Purchase] = {}
        self._inquirers: dict[bytes, Inquirer] = {}
        #: How many requests for escrow are under way, by torrent.
        self._asking: Counter[bytes] = Counter()

    def __getitem__(self, infohash: bytes) -> Purchase:
        return self._begun[infohash]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._begun)

    def __len__(self) -> int:
        return len(self._begun)

    # --- while paying ----------------------------------------------------------------------------

    def buy(self, stored: StoredPlan, piece_bytes: int, shade: bool = True) -> Purchase:
        """Begin to pay for a torrent, or go on with what an earlier run had open."""
        channels = [
            (channel, self._escrow.key_of(stored.infohash, channel.statement.nonce))
            for channel, _ in self._store.open_paying(stored)
        ]
        buyer = Buyer(
            self._account.domain, stored.plan, stored.money_class, piece_bytes,
            self._store.settled(stored), channels, partial(self._spending.permit, stored.id), shade,
            seed=secrets.token_bytes(16), infohash=stored.infohash,
        )  # fmt: skip
        buyer.finished = self._gossip.contradiction is not None
        purchase = self._begun[stored.infohash] = Purchase(stored, buyer, buyer.explain(), {})
        now, utc = time.monotonic(), int(time.time())
        for peer in self._peers.values():
            if peer.infohash == stored.infohash:
                self._perform(buyer.interest(peer.connection, peer.interesting, now))
                if peer.ask is not None:
                    self._perform(_asked(purchase, peer, peer.ask, now, utc))
        self._perform(AwaitClose(channel.statement.channel) for channel, _ in channels)
        return purchase

    def message(self, peer: Peer, message: Message, now: float, utc: int) -> list[Effect]:
        """What a peer says as a seller. Raises Refused."""
        purchase = self.get(peer.infohash)
        if isinstance(message, Ask):
            peer.ask = message
            return _asked(purchase, peer, message, now, utc) if purchase else []
        if purchase:
            return purchase.buyer.message(peer.connection, message, now, utc)
        if isinstance(message, Prospect):
            self.inquirer(peer.infohash).heard(peer.connection, message, now)
        return []

    def gone(self, peer: Peer) -> None:
        self.inquirer(peer.infohash).gone(peer.connection)
        if purchase := self.get(peer.infohash):
            self._perform(purchase.buyer.gone(peer.connection))

    def keep_to_caps(self, now: float) -> None:
        """Sellers are paused a little before a cap of the user's is reached, and paid again after it."""
        running = [p for p in self.values() if not p.buyer.finished]
        if not running:
            self._spending.give_back()
            return
        for purchase in running:
            limit = self._spending.limit(purchase.stored.id)
            if limit != purchase.buyer.plan.max_spend:
                purchase.buyer.limit(limit)
        exposure = sum((purchase.buyer.exposure(now) for purchase in running), ZERO)
        resting, news = self._spending.rests(exposure)
        if news:
            self._note(news)
        for purchase in running:
            self._perform(purchase.buyer.rests(resting, now))

    # --- before it -------------------------------------------------------------------------------

    def inquirer(self, infohash: bytes) -> Inquirer:
        """What this torrent's sellers answered to inquiries, with a purchase and without one."""
        purchase = self.get(infohash)
        return purchase.buyer.inquirer if purchase else self._inquirers.setdefault(
            infohash, Inquirer()
        )  # fmt: skip

    def inquire(
        self, infohash: bytes, prices: Callable[[Price], Sequence[Price]], again: bool
    ) -> None:
        """Ask who speaks our protocol what ``prices(its ask)`` would get there; who has answered only
        ``again``."""
        inquirer, now = self.inquirer(infohash), time.monotonic()
        for peer in self._peers.values():
            if peer.infohash != infohash or not peer.conversation.met:
                continue
            if again or peer.connection not in inquirer.answers:
                wanted = prices(peer.ask.price if peer.ask else NO_PRICE)
                self._perform(inquirer.ask(peer.connection, wanted, now))

    # --- the end of it ---------------------------------------------------------------------------

    def complete(self, infohash: bytes) -> None:
        """All wanted pieces are here, or the user stops: pay what is owed and end the sales."""
        self._perform(self[infohash].buyer.finish(time.monotonic()))

    @contextmanager
    def under_way(self, infohash: bytes) -> Iterator[None]:
        """Around a request for this torrent's escrow."""
        self._asking[infohash] += 1
        try:
            yield
        finally:
            self._asking[infohash] -= 1

    def unsettled(self, infohash: bytes) -> bool:
        """Whether a payee that is here has yet to confirm a voucher or give its receipt, or the ledger to
        answer an order."""
        buyer, here = self[infohash].buyer, self._in_use(infohash)
        if self._asking[infohash] or buyer.demanded:
            return True
        return any(c.statement.channel in here for c in buyer.purse.unconfirmed())

    def unclosed(self, infohash: bytes) -> bool:
        """Whether a payee that is here, and knows that we are done, has yet to close its channel."""
        return bool(self._in_use(infohash))

    def _in_use(self, infohash: bytes) -> set[bytes]:
        """Channels of ours whose payee is connected."""
        sales = self[infohash].buyer.sales.values()
        return {sale.channel.statement.channel for sale in sales if sale.channel}

    async def deposit_unacknowledged(self, infohash: bytes) -> None:
        """Hand the ledger the last vouchers that their payees have not confirmed."""
        buyer = self[infohash].buyer
        for channel in buyer.purse.unconfirmed():
            await self._escrow.deposit(channel, infohash)


def _asked(purchase: Purchase, peer: Peer, ask: Ask, now: float, utc: int) -> list[Effect]:
    effects = purchase.buyer.message(peer.connection, ask, now, utc)
    purchase.names[ask.payee_key] = f"{peer.address}:{peer.port}"
    return effects
