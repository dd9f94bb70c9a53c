"""Escrow for purchases, asked of the ledger in tasks of their own, so that the loop never waits for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from speedpay.client.escrow import Escrow
from speedpay.client.gossip import Gossip
from speedpay.client.purchases import Purchase, Purchases
from speedpay.errors import ChannelClosed, NotFound, Refused, Stale
from speedpay.peer.effects import AddEscrow, Effect, LockEscrow

_log = logging.getLogger(__name__)


class Funding:
    """What the ledger answers is one more input of the buyer's. ``spawn`` starts a task whose failure ends
    the client; ``perform`` does what a buyer decides."""

    def __init__(
        self,
        escrow: Escrow,
        purchases: Purchases,
        gossip: Gossip,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        perform: Callable[[Iterable[Effect]], None],
    ) -> None:
        self._escrow = escrow
        self._purchases = purchases
        self._gossip = gossip
        self._spawn, self._perform = spawn, perform
        self._awaited: set[bytes] = set()

    async def lock(self, purchase: Purchase, effect: LockEscrow) -> None:
        stored = purchase.stored
        try:
            self._refuse_if_halted()
            with self._purchases.under_way(stored.infohash):
                opened = await self._escrow.lock(stored, effect.payee_key, effect.amount)
        except Refused as refusal:
            self._refused(purchase, effect, refusal)
            return
        key = self._escrow.key_of(stored.infohash, opened.statement.nonce)
        self._perform(purchase.buyer.locked(effect.connection, opened, key))

    async def add(self, purchase: Purchase, effect: AddEscrow) -> None:
        channel = purchase.buyer.purse.channel(effect.channel)
        if channel is None:
            why = ChannelClosed("was closed by its payee meanwhile", field="channel")
            self._refused(purchase, effect, why)
            return
        try:
            self._refuse_if_halted()
            with self._purchases.under_way(purchase.stored.infohash):
                opened = await self._escrow.add(purchase.stored, channel, effect.amount)
        except Refused as refusal:
            self._refused(purchase, effect, refusal)
            return
        self._perform(purchase.buyer.topped_up(effect.connection, opened))

    def _refuse_if_halted(self) -> None:
        if self._gossip.contradiction is not None:
            raise Stale("nothing is locked at a ledger that contradicts itself", field="ledger")

    def _refused(self, purchase: Purchase, effect: LockEscrow | AddEscrow, why: Refused) -> None:
        self._perform(
            purchase.buyer.lock_refused(
                effect.connection, effect.amount, str(why), time.monotonic()
            )
        )

    async def renew(self, channel: bytes) -> None:
        """Its statement, signed anew by the ledger."""
        try:
            opened = await self._escrow.renew(channel)
        except (Refused, NotFound) as refusal:
            _log.warning("the statement of %s was not signed anew: %s", channel.hex(), refusal)
            return
        for purchase in self._purchases.values():
            self._perform(purchase.buyer.renewed(opened))

    def await_close(self, channel: bytes) -> None:
        """Watch the ledger until it has closed a channel on which we pay."""
        if channel not in self._awaited:
            self._awaited.add(channel)
            self._spawn(self._closed(channel))

    async def _closed(self, channel: bytes) -> None:
        try:
            paid = await self._escrow.closed(channel)
        except (Refused, NotFound) as refusal:
            _log.warning("what was paid on %s is not known: %s", channel.hex(), refusal)
            return
        finally:
            self._awaited.discard(channel)
        for purchase in self._purchases.values():
            purchase.buyer.closed(channel, paid)
