"""What peers say: each message goes to the side that it is for, and what is refused is answered or banned."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from speedpay.client.account import Account
from speedpay.client.gossip import Gossip
from speedpay.client.ledger_keys import LedgerKeys
from speedpay.client.purchases import Purchases
from speedpay.client.sending import FRAME_BYTES, Sender
from speedpay.client.store import Store
from speedpay.client.upload import Peer
from speedpay.errors import BadSignature, Refused, Stale, WrongLedger, WrongNetwork
from speedpay.peer.effects import Effect
from speedpay.peer.messages import (
    Ack,
    Ask,
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
from speedpay.peer.seller import Seller
from speedpay.swarm import events

_log = logging.getLogger(__name__)
_EITHER_WAY = (Pause, Resume, StopMessage)


class Receiver:
    """``peers`` is the market's own, by connection. ``spawn`` starts a task whose failure ends the client;
    ``perform`` does what a side decides."""

    def __init__(
        self,
        store: Store,
        account: Account,
        keys: LedgerKeys,
        peers: Mapping[int, Peer],
        purchases: Purchases,
        seller: Seller,
        gossip: Gossip,
        sender: Sender,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        perform: Callable[[Iterable[Effect]], None],
    ) -> None:
        self._store = store
        self._account = account
        self._keys = keys
        self._peers = peers
        self._purchases = purchases
        self._seller = seller
        self._gossip = gossip
        self._sender = sender
        self._spawn, self._perform = spawn, perform
        #: What peers' messages took on the wire so far.
        self.byte_count = 0

    def receive(self, event: events.Message, now: float) -> None:
        self.byte_count += len(event.payload) + FRAME_BYTES
        peer = self._peers.get(event.connection)
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

    async def _judge_again(self, peer: Peer, number: int, message: Open | TopUp) -> None:
        heard = await self._keys.ask()
        if self._peers.get(peer.connection) is not peer:
            return
        if (known := self._keys.news(self._seller.certificates)) is not None:
            self._perform(self._seller.learn(known))
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
            self._sender.ban(peer.connection, str(refusal))
        elif answer := peer.conversation.answer(refusal, now, heard_type):
            self._sender.send(peer, answer)

    def _dispatch(
        self, peer: Peer, number: int, message: Message, now: float, utc: int
    ) -> list[Effect]:
        """A message goes to the side that it is for; of those that go either way the channel tells."""
        if isinstance(message, Hello):
            self._gossip.met(peer.connection)
            key = self._account.keys.payee_key(peer.infohash)
            return self._seller.met(peer.connection, key, peer.place, peer.wants, utc, peer.agreed)
        if isinstance(message, HeadMessage):
            self._gossip.heard(peer.connection, message, now, utc)
            return []
        selling = isinstance(message, _EITHER_WAY) and self._seller.has_channel(
            peer.connection, message.channel
        )
        buying = isinstance(message, Ask | Quote | Ack | ReceiptMessage | Prospect | ErrorMessage)
        if not selling and (buying or isinstance(message, _EITHER_WAY)):
            return self._purchases.message(peer, message, now, utc)
        return self._seller.message(peer.connection, number, message, now, utc)
