"""The payee's way to its money: brings the best vouchers to the ledger and closes channels.

It reads them from the store, never from a live connection: a banned peer, a crash or a week offline
changes nothing about what was accepted. Redeeming is safe to repeat: (channel, cumulative) is its key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from speedpay.channel.voucher import Assignment, Closing
from speedpay.client.account import Account
from speedpay.client.patience import until_answered
from speedpay.client.store import Earned, Store
from speedpay.errors import ChannelClosed, ChannelUnknown, NotFound, Refused
from speedpay.ledger_api.answers import Outcome
from speedpay.ledger_api.attested import SignedAnswer
from speedpay.ledger_api.client import AsyncLedgerClient
from speedpay.ledger_api.shapes import ChannelState, Redemption
from speedpay.units import Amount

_log = logging.getLogger(__name__)
#: Open channels are redeemed this often, so that little is at risk with a payer or ledger that goes.
REDEEM_EVERY_S = 300.0
_GATHER_S = 0.02


class Redeemer:
    """``closed(channel)`` is told of each channel whose closing is signed, before the ledger hears of it: a
    voucher that is accepted after that would be lost, though its payer was told that it has it.
    ``settled(channel, paid, closed)`` is told what the ledger has paid of it, None where it knows
    no such channel."""

    def __init__(
        self,
        store: Store,
        ledger: AsyncLedgerClient,
        account: Account,
        away: Callable[[str], None],
        closed: Callable[[bytes], None],
        settled: Callable[[bytes, Amount | None, bool], None] = lambda channel, paid, closed: None,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._account = account
        self._away = away
        self._closed = closed
        self._settled = settled
        self._wanted: dict[bytes, bool] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def redeem(self, channel: bytes, close: bool) -> None:
        self._wanted[channel] = close or self._wanted.get(channel, False)
        self._idle.clear()
        self._wake.set()

    async def idle(self) -> None:
        """Until everything asked for has been answered."""
        await self._idle.wait()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(_GATHER_S)
            self._wake.clear()
            wanted, self._wanted = self._wanted, {}
            items = [
                item for channel, close in wanted.items() if (item := self._item(channel, close))
            ]
            for item in items:
                if item.close is not None:
                    self._closed(item.channel)
            if items:
                await self._bring(items)
            if not self._wanted:
                self._idle.set()

    async def _bring(self, items: list[Redemption]) -> None:
        try:
            outcomes = await until_answered(lambda: self._ledger.redeem(items), self._away)
        except (Refused, NotFound) as refusal:
            _log.warning("the ledger would not redeem: %s", refusal)  # kept for the next time
            return
        for item, outcome in zip(items, outcomes, strict=True):
            self._settle(item, outcome.value, outcome.answer)

    def _item(self, channel: bytes, close: bool) -> Redemption | None:
        earned = self._store.earned(channel)
        if earned is None:
            return None
        best = earned.channel.best
        if not close and (best is None or best.cumulative <= earned.redeemed):
            return None
        return self._signed(earned, close)

    def _signed(self, earned: Earned, close: bool) -> Redemption:
        domain, account = self._account.domain, self._account.id
        key = self._account.keys.payee_key(earned.infohash)
        known = earned.channel
        channel = known.statement.channel
        assignment = Assignment.sign(key, domain, channel, account)
        closing = Closing.sign(key, domain, channel, account, known.accepted) if close else None
        return Redemption(channel, known.best, assignment, closing)

    def _settle(self, item: Redemption, outcome: Outcome, answer: SignedAnswer) -> None:
        earned = self._store.earned(item.channel)
        if outcome.error is None:
            closed = outcome.state is ChannelState.CLOSED
            self._store.redeemed(item.channel, outcome.paid, closed, answer)
            self._settled(item.channel, outcome.paid, closed)
        elif isinstance(outcome.error, ChannelClosed) and earned is not None:
            closed = True
            self._store.redeemed(item.channel, earned.redeemed, True)
            self._settled(item.channel, earned.redeemed, True)
        else:
            closed = False
            _log.warning("channel %s was not redeemed: %s", item.channel.hex(), outcome.error)
            if isinstance(outcome.error, ChannelUnknown):
                self._settled(item.channel, None, False)
        if closed and item.close is None:  # of the others it was said when the closing was signed
            self._closed(item.channel)
