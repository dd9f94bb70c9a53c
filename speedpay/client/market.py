"""The paying part of a client: conversations, buyers and the seller, and performing what they decide.

Events of swarms come in through ``event``, time through ``tick``; effects are performed here: stored first,
then sent. What the ledger is asked runs in tasks of its own, whose answers come back as one more input, so
the loop never waits for it.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from speedpay.certificates import CertificateSet
from speedpay.channel.payee import PayeeChannel
from speedpay.channel.payer import PayerChannel
from speedpay.channel.voucher import SignedStatement
from speedpay.client.account import Account
from speedpay.client.escrow import Escrow
from speedpay.client.gossip import Gossip
from speedpay.client.heads import Contradiction, Heads
from speedpay.client.ledger_keys import LedgerKeys
from speedpay.client.records import Records
from speedpay.client.redeemer import REDEEM_EVERY_S, Redeemer
from speedpay.client.spending import Spending
from speedpay.client.store import Earned, Store, StoredPlan
from speedpay.client.upload import Peer, Upload
from speedpay.errors import (
    BadSignature,
    ChannelClosed,
    NotFound,
    Refused,
    Stale,
    WrongLedger,
    WrongNetwork,
)
from speedpay.ledger_api.client import AsyncLedgerClient
from speedpay.market.bidder import Explanation
from speedpay.peer.buyer import Buyer
from speedpay.peer.conversation import Conversation
from speedpay.peer.effects import (
    AddEscrow,
    Allow,
    AwaitClose,
    Ban,
    Effect,
    LockEscrow,
    Note,
    Redeem,
    RenewStatement,
    SavePayee,
    SavePayer,
    SaveReceipt,
    Send,
    Withhold,
)
from speedpay.peer.inquirer import Inquirer
from speedpay.peer.messages import (
    Ack,
    Ask,
    Bid,
    DemandMessage,
    ErrorMessage,
    HeadMessage,
    Hello,
    Message,
    Open,
    Pause,
    Prospect,
    Quote,
    ReceiptMessage,
    Resume,
    StopMessage,
    TopUp,
)
from speedpay.peer.sealing import Handshake
from speedpay.peer.seller import Seller, Terms
from speedpay.signing import SigningKey
from speedpay.swarm import events
from speedpay.swarm.session import Session
from speedpay.units import NO_PRICE, ZERO, Amount, Price

_log = logging.getLogger(__name__)
_EITHER_WAY = (Pause, Resume, StopMessage)
_FRAME_BYTES = 6  # around each payload: length (4), BEP 10's 20, the extension's number


@dataclass(slots=True)
class Purchase:
    """One torrent that is paid for. ``opening``: the bid with which it began; ``names``: payee key →
    where it was last seen, for receipts."""

    stored: StoredPlan
    buyer: Buyer
    opening: Explanation
    names: dict[bytes, str]


class Market:
    """``earned``: what an earlier run left to redeem, of torrents that nobody else is busy with.
    ``spawn`` starts a task whose failure ends the client; ``note`` tells the user something, ``alarm`` that
    the ledger contradicts itself and nothing is traded any more."""

    def __init__(
        self,
        swarm: Session,
        store: Store,
        ledger: AsyncLedgerClient,
        account: Account,
        certificates: CertificateSet,
        terms: Terms,
        earned: Iterable[Earned],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        note: Callable[[str], None],
        heads: Heads,
        alarm: Callable[[Contradiction], None],
    ) -> None:
        self._swarm = swarm
        self._store = store
        self._account = account
        self._terms = terms
        self._spawn = spawn
        self._note, self._alarm = note, alarm
        self.peers: dict[int, Peer] = {}
        self.purchases: dict[bytes, Purchase] = {}
        self._inquirers: dict[bytes, Inquirer] = {}
        self._awaited: set[bytes] = set()
        #: How many requests for escrow are under way, by torrent.
        self._asking: Counter[bytes] = Counter()
        self._redeemed_at = time.monotonic()
        self.spending = Spending(store)
        #: All that our extension's messages took on the wire so far, in both directions.
        self.protocol_bytes = 0
        earned = list(earned)
        self._infohash_of = {e.channel.statement.channel: e.infohash for e in earned}
        self._keys = LedgerKeys(Records(store), ledger, self._away)
        self.seller = Seller(
            account.domain, certificates, terms, [e.channel for e in earned],
            self._keys.proven,
        )  # fmt: skip
        self.upload = Upload(swarm, self.seller, terms.free_pool, self.peers)
        self.escrow = Escrow(store, ledger, account, self._away)
        self.redeemer = Redeemer(
            store, ledger, account, self._away, self.seller.forget, self._settled
        )  # fmt: skip
        self.gossip = Gossip(
            heads, ledger, lambda: self.seller.certificates, self._send_head, self._halt, note
        )
        # They are redeemed and closed now; a payer that comes back meanwhile must open another.
        self._perform(self.seller.finish())

    # --- inputs ----------------------------------------------------------------------------------

    def event(self, event: events.Event) -> None:
        """One event of the swarm, in the order in which they came."""
        now = time.monotonic()
        match event:
            case events.BlocksReceived():
                peer = self.peers.get(event.connection)
                purchase = self.purchases.get(peer.infohash) if peer else None
                if peer and purchase:
                    self._perform(purchase.buyer.received(
                        peer.connection, event.piece, event.start, event.length,
                        event.asked_after, event.asked, now,
                    ))  # fmt: skip
            case events.BlocksSent():
                self._perform(self.seller.served(
                    event.connection, event.byte_count, event.asked_after,
                    event.message_sequence, now,
                ))  # fmt: skip
            case events.Message():
                self._message(event, now)
            case events.PiecePassed():
                if purchase := self.purchases.get(event.infohash):
                    purchase.buyer.piece_passed(event.piece)
            case events.PieceFailed():
                if purchase := self.purchases.get(event.infohash):
                    self._perform(purchase.buyer.piece_failed(event.piece))
            case events.InterestChanged():
                self._interest(event, now)
            case events.PeerConnected():
                self.peers[event.connection] = Peer(
                    event.connection, event.infohash, event.address, event.port,
                    Conversation(self._account.domain),
                )  # fmt: skip
            case events.PeerExtended():
                peer = self.peers.get(event.connection)
                if peer and not peer.conversation.greeted:
                    peer.agreed = event.infohash
                    handshake = Handshake(event.infohash, event.own_id, event.peer_id)
                    hello = peer.conversation.hello(handshake, secrets.token_bytes(32))
                    self._transmit(peer, hello)
            case events.PeerGone():
                self._gone(event.connection, now)
            case events.Flooded():
                self._ban(event.connection, "flooded us with messages")
            case _:
                pass

    def bills(self, event: events.Event) -> bool:
        """Whether bytes that left are on their taker's bill. Ask before ``event`` hears of them."""
        return isinstance(event, events.BlocksSent) and self.seller.bills(
            event.connection, event.message_sequence
        )

    def tick(self) -> None:
        """What time makes due; every 100 ms or so."""
        now, utc = time.monotonic(), int(time.time())
        effects = self.seller.tick(now, utc)
        if (known := self._keys.news(self.seller.certificates)) is not None:
            effects += self.seller.learn(known)
        if self._keys.is_time(now):
            self._spawn(self._ask_keys())
        self._keep_to_caps(now)
        for purchase in self.purchases.values():
            effects += purchase.buyer.tick(now)
        self._perform(effects)
        self.upload.tick(now)
        if now - self._redeemed_at > REDEEM_EVERY_S:
            self._redeemed_at = now
            for earned in self._store.open_paid():
                self.redeemer.redeem(earned.channel.statement.channel, close=False)

    def buy(self, stored: StoredPlan, piece_bytes: int, shade: bool = True) -> Purchase:
        """Begin to pay for a torrent, or go on with what an earlier run had open."""
        channels = [
            (channel, self.escrow.key_of(stored.infohash, channel.statement.nonce))
            for channel, _ in self._store.open_paying(stored)
        ]
        buyer = Buyer(
            self._account.domain, stored.plan, stored.money_class, piece_bytes,
            self._store.settled(stored), channels, partial(self.spending.permit, stored.id), shade,
            seed=secrets.token_bytes(16), infohash=stored.infohash,
        )  # fmt: skip
        buyer.finished = self.gossip.contradiction is not None
        purchase = Purchase(stored, buyer, buyer.explain(), {})
        self.purchases[stored.infohash] = purchase
        now, utc = time.monotonic(), int(time.time())
        for peer in self.peers.values():
            if peer.infohash == stored.infohash:
                self._perform(buyer.interest(peer.connection, peer.interesting, now))
                if peer.ask is not None:
                    self._perform(self._asked(purchase, peer, peer.ask, now, utc))
        for channel, _ in channels:
            self.await_close(channel.statement.channel)
        return purchase

    def inquirer(self, infohash: bytes) -> Inquirer:
        """What this torrent's sellers answered to inquiries, with a purchase and without one."""
        purchase = self.purchases.get(infohash)
        return purchase.buyer.inquirer if purchase else self._inquirers.setdefault(
            infohash, Inquirer()
        )  # fmt: skip

    def inquire(
        self, infohash: bytes, prices: Callable[[Price], Sequence[Price]], again: bool
    ) -> None:
        """Ask who speaks our protocol what ``prices(its ask)`` would get there; who has answered only
        ``again``."""
        inquirer, now = self.inquirer(infohash), time.monotonic()
        for peer in self.peers.values():
            if peer.infohash != infohash or not peer.conversation.met:
                continue
            if again or peer.connection not in inquirer.answers:
                wanted = prices(peer.ask.price if peer.ask else NO_PRICE)
                self._perform(inquirer.ask(peer.connection, wanted, now))

    def unsettled(self, infohash: bytes) -> bool:
        """Whether a payee that is here has yet to confirm a voucher or give its receipt, or the ledger to
        answer an order."""
        buyer, here = self.purchases[infohash].buyer, self._in_use(infohash)
        if self._asking[infohash] or buyer.demanded:
            return True
        return any(c.statement.channel in here for c in buyer.purse.unconfirmed())

    def unclosed(self, infohash: bytes) -> bool:
        """Whether a payee that is here, and knows that we are done, has yet to close its channel."""
        return bool(self._in_use(infohash))

    def _in_use(self, infohash: bytes) -> set[bytes]:
        """Channels of ours whose payee is connected."""
        sales = self.purchases[infohash].buyer.sales.values()
        return {sale.channel.statement.channel for sale in sales if sale.channel}

    def complete(self, infohash: bytes) -> None:
        """All wanted pieces are here, or the user stops: pay what is owed and end the sales."""
        self._perform(self.purchases[infohash].buyer.finish(time.monotonic()))

    async def deposit_unacknowledged(self, infohash: bytes) -> None:
        """Hand the ledger the last vouchers that their payees have not confirmed."""
        buyer = self.purchases[infohash].buyer
        for channel in buyer.purse.unconfirmed():
            await self.escrow.deposit(channel, infohash)

    def leave(self) -> None:
        """The client ends: stop buying, redeem and close everything that pays us."""
        for infohash in self.purchases:
            self.complete(infohash)
        self.spending.give_back()
        self._perform(self.seller.finish())

    def _halt(self, found: Contradiction) -> None:
        """Nothing is locked, bid or sold any more. What is due by now is paid: it was delivered, and its
        escrow is locked for that seller anyway. What was earned is redeemed."""
        self._alarm(found)
        self.leave()
        self._perform(self.seller.sell_no_more())

    def _keep_to_caps(self, now: float) -> None:
        """Sellers are paused a little before a cap of the user's is reached, and paid again after it."""
        running = [p for p in self.purchases.values() if not p.buyer.finished]
        if not running:
            self.spending.give_back()
            return
        for purchase in running:
            limit = self.spending.limit(purchase.stored.id)
            if limit != purchase.buyer.plan.max_spend:
                purchase.buyer.limit(limit)
        exposure = sum((purchase.buyer.exposure(now) for purchase in running), ZERO)
        resting, news = self.spending.rests(exposure)
        if news:
            self._note(news)
        for purchase in running:
            self._perform(purchase.buyer.rests(resting, now))

    # --- messages --------------------------------------------------------------------------------

    def _message(self, event: events.Message, now: float) -> None:
        self.protocol_bytes += len(event.payload) + _FRAME_BYTES
        peer = self.peers.get(event.connection)
        if peer is None or peer.banned:
            return
        utc = int(time.time())
        try:
            message = peer.conversation.receive(event.sequence, event.payload, now)
            self._dispatched(peer, event.sequence, message, now, utc)
        except Refused as refusal:
            self._refused(peer, refusal, peer.conversation.heard_type, now)

    def _dispatched(self, peer: Peer, number: int, message: Message, now: float, utc: int) -> None:
        """Raises Refused. A statement that no known key has signed may be under a new one: then the ledger
        is asked once who it is, and the message judged again."""
        try:
            self._perform(self._dispatch(peer, number, message, now, utc))
        except BadSignature as refusal:
            if not (isinstance(message, Open | TopUp) and refusal.field == "statement.signature"):
                raise
            self._store.let_go()
            if not self._keys.may_doubt(now):
                raise Stale("by a key that is not known yet", field=refusal.field) from refusal
            self._spawn(self._judge_again(peer, number, message))

    async def _ask_keys(self) -> None:
        await self._keys.ask()

    async def _judge_again(self, peer: Peer, number: int, message: Open | TopUp) -> None:
        heard = await self._keys.ask()
        if self.peers.get(peer.connection) is not peer:
            return
        if (known := self._keys.news(self.seller.certificates)) is not None:
            self._perform(self.seller.learn(known))
        try:
            self._perform(
                self._dispatch(peer, number, message, time.monotonic(), int(time.time()))
            )  # fmt: skip
        except Refused as refusal:
            if isinstance(refusal, BadSignature) and not heard:
                refusal = Stale("by a key that is not known yet", field=refusal.field)
            self._refused(peer, refusal, message.TYPE, time.monotonic())

    def _refused(self, peer: Peer, refusal: Refused, heard_type: int, now: float) -> None:
        self._store.let_go()
        _log.info("%s:%d refused: %s", peer.address, peer.port, refusal)
        if isinstance(refusal, WrongLedger | WrongNetwork) and not peer.conversation.met:
            return  # an ordinary peer to us
        if refusal.is_misbehaviour:
            self._ban(peer.connection, str(refusal))
        elif answer := peer.conversation.answer(refusal, now, heard_type):
            self._send(peer, answer)

    def _dispatch(
        self, peer: Peer, number: int, message: Message, now: float, utc: int
    ) -> list[Effect]:
        """A message goes to the side that it is for; of those that go either way the channel tells."""
        if isinstance(message, Hello):
            self.gossip.met(peer.connection)
            key = self._account.keys.payee_key(peer.infohash)
            return self.seller.met(peer.connection, key, peer.place, peer.wants, utc, peer.agreed)
        if isinstance(message, HeadMessage):
            self.gossip.heard(peer.connection, message, now, utc)
            return []
        selling = isinstance(message, _EITHER_WAY) and self.seller.has_channel(
            peer.connection, message.channel
        )
        buying = isinstance(message, Ask | Quote | Ack | ReceiptMessage | Prospect | ErrorMessage)
        if not selling and (buying or isinstance(message, _EITHER_WAY)):
            purchase = self.purchases.get(peer.infohash)
            if isinstance(message, Ask):
                peer.ask = message
                return self._asked(purchase, peer, message, now, utc) if purchase else []
            if purchase:
                return purchase.buyer.message(peer.connection, message, now, utc)
            if isinstance(message, Prospect):
                self.inquirer(peer.infohash).heard(peer.connection, message, now)
            return []
        return self.seller.message(peer.connection, number, message, now, utc)

    def _asked(
        self, purchase: Purchase, peer: Peer, ask: Ask, now: float, utc: int
    ) -> list[Effect]:
        effects = purchase.buyer.message(peer.connection, ask, now, utc)
        purchase.names[ask.payee_key] = f"{peer.address}:{peer.port}"
        return effects

    def _interest(self, event: events.InterestChanged, now: float) -> None:
        peer = self.peers.get(event.connection)
        if peer is None:
            return
        peer.interesting, peer.wants = event.local, event.remote
        self.seller.wants(event.connection, event.remote)
        if purchase := self.purchases.get(peer.infohash):
            self._perform(purchase.buyer.interest(event.connection, event.local, now))

    def _gone(self, connection: int, now: float) -> None:
        peer = self.peers.pop(connection, None)
        self.upload.gone(connection)
        self.gossip.gone(connection)
        self.seller.gone(connection, now)
        if peer:
            self.inquirer(peer.infohash).gone(connection)
        if peer and (purchase := self.purchases.get(peer.infohash)):
            self._perform(purchase.buyer.gone(connection))

    # --- effects ---------------------------------------------------------------------------------

    def _perform(self, effects: Iterable[Effect]) -> None:
        """Store everything first, in one transaction, then do the rest in order."""
        effects = list(effects)
        self._save(effects)
        for effect in effects:
            match effect:
                case Send():
                    if peer := self.peers.get(effect.connection):
                        self._send(peer, effect.message, effect.by)
                case Withhold():
                    _log.debug(
                        "withhold from %d: %s, %s", effect.connection, effect.on,
                        self.seller.account_of(effect.connection),
                    )  # fmt: skip
                    self._swarm.extension.withhold(effect.connection, effect.on)
                case LockEscrow():
                    self._spawn(self._lock(self._purchase_of(effect.connection), effect))
                case AddEscrow():
                    self._spawn(self._add(self._purchase_of(effect.connection), effect))
                case AwaitClose():
                    self.await_close(effect.channel)
                case Redeem():
                    self.redeemer.redeem(effect.channel, effect.close)
                case RenewStatement():
                    self._spawn(self._renew(effect.channel))
                case Allow():
                    self._swarm.extension.allow(effect.connection, effect.more)
                case Ban():
                    self._banned(effect.connection, effect.reason)
                case Note():
                    self._note(effect.text)
                case SavePayer() | SavePayee() | SaveReceipt():
                    pass

    def _save(self, effects: Sequence[Effect]) -> None:
        paying: dict[bytes, PayerChannel] = {}
        paid: list[tuple[bytes, PayeeChannel, SignedStatement | None]] = []
        for effect in effects:
            if isinstance(effect, SavePayer):
                paying[effect.channel.statement.channel] = effect.channel
            elif isinstance(effect, SavePayee):
                paid.append((self._swarm_of(effect.channel), effect.channel, effect.opened))
        if paying or paid:
            self._store.save_channels(paying.values(), paid, self.spending.utc)
        self._store.let_go()
        for effect in effects:
            if isinstance(effect, SaveReceipt):
                Records(self._store).keep_receipt(effect.receipt, effect.salt)

    def _swarm_of(self, channel: PayeeChannel) -> bytes:
        identity = channel.statement.channel
        if identity not in self._infohash_of:
            for peer in self.peers.values():
                if self.seller.has_channel(peer.connection, identity):
                    self._infohash_of[identity] = peer.infohash
        return self._infohash_of[identity]

    def _send(self, peer: Peer, message: Message, by: SigningKey | None = None) -> None:
        if isinstance(message, DemandMessage) and peer.agreed != peer.infohash:
            # A hybrid torrent that we were given by one hash and share by the other: the seller would
            # have to take the receipt's content for another than it sold.
            self.purchases[peer.infohash].buyer.demanded.gone(peer.connection)
            return
        payload = peer.conversation.send(message, by)
        _log.debug("to %s:%d %s", peer.address, peer.port, message)
        self._transmit(peer, payload)
        number = peer.conversation.sent_count
        if isinstance(message, Bid):
            self.purchases[peer.infohash].buyer.bid_left(peer.connection, number)
        else:
            self.seller.left(peer.connection, number, message)
            if isinstance(message, Pause) and self.seller.has_channel(
                peer.connection, message.channel
            ):
                self.upload.paused(peer.connection)

    def _send_head(self, connection: int, message: HeadMessage) -> None:
        if peer := self.peers.get(connection):
            self._send(peer, message)

    def _transmit(self, peer: Peer, payload: bytes) -> None:
        self.protocol_bytes += len(payload) + _FRAME_BYTES
        self._swarm.extension.send(peer.connection, payload)

    def _ban(self, connection: int, reason: str) -> None:
        self._banned(connection, reason)
        self._swarm.extension.ban(connection)

    def _banned(self, connection: int, reason: str) -> None:
        """Who sent all of a bad piece libtorrent has banned itself."""
        peer = self.peers.get(connection)
        if peer and not peer.banned:
            peer.banned = True  # what it said before it was cut off is not heard any more
            self._note(f"{peer.address} was banned: {reason}")

    # --- the ledger ------------------------------------------------------------------------------

    def _purchase_of(self, connection: int) -> Purchase:
        return self.purchases[self.peers[connection].infohash]

    async def _lock(self, purchase: Purchase, effect: LockEscrow) -> None:
        try:
            self._refuse_if_halted()
            with self._under_way(purchase):
                opened = await self.escrow.lock(purchase.stored, effect.payee_key, effect.amount)
        except Refused as refusal:
            self._lock_refused(purchase, effect, refusal)
            return
        key = self.escrow.key_of(purchase.stored.infohash, opened.statement.nonce)
        self._perform(purchase.buyer.locked(effect.connection, opened, key))

    async def _add(self, purchase: Purchase, effect: AddEscrow) -> None:
        channel = purchase.buyer.purse.channel(effect.channel)
        if channel is None:
            why = ChannelClosed("was closed by its payee meanwhile", field="channel")
            self._lock_refused(purchase, effect, why)
            return
        try:
            self._refuse_if_halted()
            with self._under_way(purchase):
                opened = await self.escrow.add(purchase.stored, channel, effect.amount)
        except Refused as refusal:
            self._lock_refused(purchase, effect, refusal)
            return
        self._perform(purchase.buyer.topped_up(effect.connection, opened))

    def _refuse_if_halted(self) -> None:
        if self.gossip.contradiction is not None:
            raise Stale("nothing is locked at a ledger that contradicts itself", field="ledger")

    async def _renew(self, channel: bytes) -> None:
        try:
            opened = await self.escrow.renew(channel)
        except (Refused, NotFound) as refusal:
            _log.warning("the statement of %s was not signed anew: %s", channel.hex(), refusal)
            return
        for purchase in self.purchases.values():
            self._perform(purchase.buyer.renewed(opened))

    def _settled(self, channel: bytes, paid: Amount | None, closed: bool) -> None:
        """What the ledger has paid of a channel; None: it is none of its."""
        if paid is None:
            self._perform(self.seller.disowned(channel))
            return
        proven = self.seller.redeemed(channel, paid, closed)
        if proven is not None:
            self._keys.prove(proven)

    @contextmanager
    def _under_way(self, purchase: Purchase) -> Iterator[None]:
        infohash = purchase.stored.infohash
        self._asking[infohash] += 1
        try:
            yield
        finally:
            self._asking[infohash] -= 1

    def _lock_refused(
        self, purchase: Purchase, effect: LockEscrow | AddEscrow, why: Refused
    ) -> None:
        self._perform(
            purchase.buyer.lock_refused(
                effect.connection, effect.amount, str(why), time.monotonic()
            )
        )

    def await_close(self, channel: bytes) -> None:
        """Watch the ledger until it has closed a channel on which we pay."""
        if channel not in self._awaited:
            self._awaited.add(channel)
            self._spawn(self._closed(channel))

    async def _closed(self, channel: bytes) -> None:
        try:
            paid = await self.escrow.closed(channel)
        except (Refused, NotFound) as refusal:
            _log.warning("what was paid on %s is not known: %s", channel.hex(), refusal)
            return
        finally:
            self._awaited.discard(channel)
        for purchase in self.purchases.values():
            purchase.buyer.closed(channel, paid)

    def _away(self, reason: str) -> None:
        _log.info("the ledger did not answer: %s", reason)
