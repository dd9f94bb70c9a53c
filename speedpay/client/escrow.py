"""The payer's dealings with the ledger: lock escrow, add to it, and learn when a payee has closed.

An order is stored with its idempotency key before it is sent, and repeated with the same key until the
ledger answers, also by the next start: escrow is never locked twice and never forgotten.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from speedpay.channel.payer import PayerChannel
from speedpay.channel.voucher import NONCE_BYTES, SignedStatement
from speedpay.client.account import Account
from speedpay.client.patience import until_answered
from speedpay.client.store import Order, Store, StoredPlan
from speedpay.errors import AlreadyExists, NotFound, Refused
from speedpay.ledger_api.client import AsyncLedgerClient
from speedpay.ledger_api.shapes import MAX_LIFETIME_S, ChannelState, OpenChannel, TopUp
from speedpay.signing import SigningKey
from speedpay.units import Amount

#: An unknown payee's first channel is short; each top-up extends it to a day.
FIRST_LIFETIME_S = 3600
_KEY_BYTES = 16
_LOOK_S, _LOOK_LONGEST_S = 0.1, 20.0


class Escrow:
    def __init__(
        self, store: Store, ledger: AsyncLedgerClient, account: Account, away: Callable[[str], None]
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._account = account
        self._away = away

    def key_of(self, infohash: bytes, nonce: bytes) -> SigningKey:
        """A channel's key: fresh for each channel, derived again from the wallet when needed."""
        return self._account.keys.channel_key(infohash, nonce)

    async def lock(self, plan: StoredPlan, payee_key: bytes, amount: Amount) -> SignedStatement:
        """A new channel. Raises Refused when the ledger definitely will not."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        key = secrets.token_bytes(_KEY_BYTES)
        order = Order(key, plan, payee_key, nonce, None, amount, FIRST_LIFETIME_S)
        self._store.add_order(order)
        return await self.fill(order)

    async def add(self, plan: StoredPlan, channel: PayerChannel, amount: Amount) -> SignedStatement:
        body = channel.statement
        key = secrets.token_bytes(_KEY_BYTES)
        order = Order(key, plan, body.payee_key, body.nonce, body.channel, amount, MAX_LIFETIME_S)
        self._store.add_order(order)
        return await self.fill(order)

    async def fill(self, order: Order) -> SignedStatement:
        """Carry an order to its end; also one that an earlier run left behind. Raises as ``lock``."""
        account, key = self._account, self._account.keys.identity

        async def ask() -> SignedStatement:
            if order.channel is None:
                payer_key = self.key_of(order.plan.infohash, order.nonce).public
                request = OpenChannel(
                    payer_key, order.payee_key, order.nonce, order.plan.money_class, order.amount,
                    order.lifetime_s,
                )  # fmt: skip
                return await self._ledger.open_channel(key, account.id, request, order.key)
            more = TopUp(order.amount, order.lifetime_s)
            return await self._ledger.top_up(key, account.id, order.channel, more, order.key)

        try:
            opened = await until_answered(ask, self._away)
        except Refused:
            self._store.drop_order(order)
            raise
        except (NotFound, AlreadyExists) as error:
            self._store.drop_order(order)
            raise Refused(str(error), hint=error.hint) from error
        self._store.order_filled(order, opened)
        return opened

    async def renew(self, channel: bytes) -> SignedStatement:
        """Its statement, signed anew by the key that the ledger uses now. Raises Refused or NotFound."""
        account = self._account
        found = await until_answered(
            lambda: self._ledger.channel(account.keys.identity, account.id, channel), self._away
        )
        return found.value.signed_statement

    async def deposit(self, channel: PayerChannel, infohash: bytes) -> None:
        """Give the ledger the newest voucher that the payee has not acknowledged."""
        key = self.key_of(infohash, channel.statement.nonce)
        voucher = channel.repeat(key, self._account.domain)
        try:
            await until_answered(lambda: self._ledger.deposit_voucher(voucher), self._away)
        except (Refused, NotFound):
            return  # closed, or the payee brought it (or a higher one) itself

    async def closed(self, channel: bytes) -> Amount:
        """Wait until the ledger has closed the channel; returns what was paid of it.

        Raises Refused or NotFound when the ledger does not know us or the channel.
        """
        account, pause = self._account, _LOOK_S
        while True:
            found = await until_answered(
                lambda: self._ledger.channel(account.keys.identity, account.id, channel),
                self._away,
            )
            if found.value.state is ChannelState.CLOSED:
                self._store.payer_closed(channel, found.value.paid, found.answer)
                return found.value.paid
            await asyncio.sleep(pause)
            pause = min(_LOOK_LONGEST_S, pause * 1.5)
