"""The paying part of a client: events and time in; what its sides decide is stored first, then done."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from speedpay.certificates import CertificateSet
from speedpay.channel.payee import PayeeChannel
from speedpay.channel.payer import PayerChannel
from speedpay.channel.voucher import SignedStatement
from speedpay.client.account import Account
from speedpay.client.escrow import Escrow
from speedpay.client.funding import Funding
from speedpay.client.gossip import Gossip
from speedpay.client.heads import Contradiction, Heads
from speedpay.client.ledger_keys import LedgerKeys
from speedpay.client.purchases import Purchase, Purchases
from speedpay.client.receiving import Receiver
from speedpay.client.records import Records
from speedpay.client.redeemer import REDEEM_EVERY_S, Redeemer
from speedpay.client.sending import Sender
from speedpay.client.spending import Spending
from speedpay.client.store import Earned, Store
from speedpay.client.upload import Peer, Upload
from speedpay.ledger_api.client import AsyncLedgerClient
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
from speedpay.peer.messages import HeadMessage
from speedpay.peer.sealing import Handshake
from speedpay.peer.seller import Seller, Terms
from speedpay.swarm import events
from speedpay.swarm.session import Session
from speedpay.units import Amount

_log = logging.getLogger(__name__)


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
        self._spawn = spawn
        self._note, self._alarm = note, alarm
        self.peers: dict[int, Peer] = {}
        self._redeemed_at = time.monotonic()
        self.spending = Spending(store)
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
        self.purchases = Purchases(
            store, account, self.escrow, self.spending, self.gossip, self.peers, self._perform, note
        )
        self.funding = Funding(self.escrow, self.purchases, self.gossip, spawn, self._perform)
        self._sender = Sender(swarm, self.peers, self.purchases, self.seller, self.upload, note)
        self._receiver = Receiver(
            store, account, self._keys, self.peers, self.purchases, self.seller, self.gossip,
            self._sender, spawn, self._perform,
        )  # fmt: skip
        # They are redeemed and closed now; a payer that comes back meanwhile must open another.
        self._perform(self.seller.finish())

    @property
    def protocol_bytes(self) -> int:
        """All that our extension's messages took on the wire so far, in both directions."""
        return self._sender.byte_count + self._receiver.byte_count

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
                self._receiver.receive(event, now)
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
                    self._sender.hello(peer, handshake)
            case events.PeerGone():
                self._gone(event.connection, now)
            case events.Flooded():
                self._sender.ban(event.connection, "flooded us with messages")
            case _:
                pass

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
            self.purchases.gone(peer)

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
        self.purchases.keep_to_caps(now)
        for purchase in self.purchases.values():
            effects += purchase.buyer.tick(now)
        self._perform(effects)
        self.upload.tick(now)
        if now - self._redeemed_at > REDEEM_EVERY_S:
            self._redeemed_at = now
            for earned in self._store.open_paid():
                self.redeemer.redeem(earned.channel.statement.channel, close=False)

    async def _ask_keys(self) -> None:
        await self._keys.ask()

    def _away(self, reason: str) -> None:
        _log.info("the ledger did not answer: %s", reason)

    def _settled(self, channel: bytes, paid: Amount | None, closed: bool) -> None:
        """What the ledger has paid of a channel; None: it is none of its."""
        if paid is None:
            self._perform(self.seller.disowned(channel))
            return
        proven = self.seller.redeemed(channel, paid, closed)
        if proven is not None:
            self._keys.prove(proven)

    def leave(self) -> None:
        """The client ends: stop buying, redeem and close everything that pays us."""
        for infohash in self.purchases:
            self.purchases.complete(infohash)
        self.spending.give_back()
        self._perform(self.seller.finish())

    def _halt(self, found: Contradiction) -> None:
        """Nothing is locked, bid or sold any more. What is due by now is paid: it was delivered, and its
        escrow is locked for that seller anyway. What was earned is redeemed."""
        self._alarm(found)
        self.leave()
        self._perform(self.seller.sell_no_more())

    # --- effects ---------------------------------------------------------------------------------

    def _perform(self, effects: Iterable[Effect]) -> None:
        """Store everything first, in one transaction, then do the rest in order."""
        effects = list(effects)
        self._save(effects)
        for effect in effects:
            match effect:
                case Send():
                    if peer := self.peers.get(effect.connection):
                        self._sender.send(peer, effect.message, effect.by)
                case Withhold():
                    _log.debug(
                        "withhold from %d: %s, %s", effect.connection, effect.on,
                        self.seller.account_of(effect.connection),
                    )  # fmt: skip
                    self._swarm.extension.withhold(effect.connection, effect.on)
                case LockEscrow():
                    self._spawn(self.funding.lock(self._purchase_of(effect.connection), effect))
                case AddEscrow():
                    self._spawn(self.funding.add(self._purchase_of(effect.connection), effect))
                case AwaitClose():
                    self.funding.await_close(effect.channel)
                case Redeem():
                    self.redeemer.redeem(effect.channel, effect.close)
                case RenewStatement():
                    self._spawn(self.funding.renew(effect.channel))
                case Allow():
                    self._swarm.extension.allow(effect.connection, effect.more)
                case Ban():
                    self._sender.banned(effect.connection, effect.reason)
                case Note():
                    self._note(effect.text)
                case SavePayer() | SavePayee() | SaveReceipt():
                    pass

    def _purchase_of(self, connection: int) -> Purchase:
        return self.purchases[self.peers[connection].infohash]

    def _send_head(self, connection: int, message: HeadMessage) -> None:
        if peer := self.peers.get(connection):
            self._sender.send(peer, message)

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
