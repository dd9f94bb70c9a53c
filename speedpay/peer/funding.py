"""The channels of a buyer: opened, shown, topped up, replaced and closed, within the budget of one torrent.

How much to lock is decided by ``market/escrow.py``, who gives way to whom by ``peer/selection.py``; the sums
are kept by ``peer/purse.py``. The ledger's answers come in here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from speedpay.channel.life import State, Step, follow
from speedpay.channel.payer import PayerChannel
from speedpay.channel.voucher import SignedStatement
from speedpay.market.bidder import Plan
from speedpay.market.escrow import first_escrow, is_low, is_urgent, top_up
from speedpay.market.metering import UNIT_MIN_BYTES
from speedpay.peer.effects import AddEscrow, AwaitClose, Effect, LockEscrow, SavePayer, Send
from speedpay.peer.messages import Open, TopUp
from speedpay.peer.paying import Paying
from speedpay.peer.purse import without_caps
from speedpay.peer.sale import Sale
from speedpay.peer.selection import BUSY, PAID, coming_back, expected_bytes, to_reclaim
from speedpay.signing import Domain, SigningKey
from speedpay.units import ZERO, Amount

RETRY_S = 10.0
#: A seller that does not acknowledge a channel this long after it was shown is left alone.
CONFIRM_S = 30.0
#: A seller that was stopped for its slowness may sell again after this.
REST_S = 60.0
#: A channel is replaced this long before its expiry: sellers refuse vouchers 300 s before.
ROLL_S = 600


class Funding(Paying):
    """Arguments as ``Paying``."""

    def __init__(
        self,
        domain: Domain,
        plan: Plan,
        piece_bytes: int,
        settled: Amount = ZERO,
        channels: Iterable[tuple[PayerChannel, SigningKey]] = (),
        caps: Callable[[Amount], Amount] = without_caps,
    ) -> None:
        super().__init__(domain, plan, piece_bytes, settled, channels, caps)
        #: By channel id: (connection it was last used on, ``base`` there); its account goes on.
        self._left_on: dict[bytes, tuple[int, Amount]] = {}
        self._utc_ahead: float | None = None

    # --- what the ledger answers -----------------------------------------------------------------

    def locked(self, connection: int, opened: SignedStatement, key: SigningKey) -> list[Effect]:
        """The ledger has locked the escrow that ``LockEscrow`` asked for."""
        channel = self.purse.opened(connection, opened, key)
        effects: list[Effect] = [SavePayer(channel)]
        sale = self.sales.get(connection)
        if sale is None:
            return [*effects, AwaitClose(channel.statement.channel)]
        sale.waiting = False
        self.meter.restart(connection)
        sale.channel, sale.key, sale.base, sale.reported = channel, key, ZERO, 0
        effects.append(self._show(sale, channel))
        if sale.state is not State.OPENING:  # stopped meanwhile: only the payee can give it back
            effects += self._farewell(sale, channel)
        return effects

    def topped_up(self, connection: int, opened: SignedStatement) -> list[Effect]:
        """The ledger has added what ``AddEscrow`` asked for. The peer may have come back meanwhile, as
        another connection."""
        asker = self.sales.get(connection)
        if asker is not None:
            asker.waiting = False
        channel = self.purse.topped_up(connection, opened)
        if channel is None:
            return []
        effects: list[Effect] = [SavePayer(channel)]
        sale = self._sale_of(opened.statement.channel)
        if sale is not None:
            sale.channel = channel
            if sale.state in BUSY:
                effects.append(Send(sale.connection, TopUp(opened.statement, opened.signature)))
        return effects

    def lock_refused(
        self, connection: int, amount: Amount, reason: str, now: float
    ) -> list[Effect]:
        """The ledger definitely refused to lock ``amount`` (for a new channel, or a top-up)."""
        self.purse.refused(connection, amount)
        sale = self.sales.get(connection)
        if sale is not None:
            sale.waiting, sale.retry_at = False, now + RETRY_S
            if sale.state is State.OPENING:
                sale.state = follow(sale.state, Step.REFUSE)
            elif sale.state is State.STOPPED and sale.channel is None:
                sale.state = follow(sale.state, Step.SETTLE)
        return self._note(f"the ledger would not lock more escrow: {reason}")

    def renewed(self, opened: SignedStatement) -> list[Effect]:
        """The ledger has signed a channel's statement anew, which ``RenewStatement`` asked for."""
        channel = self.purse.renewed(opened)
        if channel is None:
            return []
        for sale in self.sales.values():
            if sale.ask is not None and sale.ask.payee_key == opened.statement.payee_key:
                sale.retry_at = min(sale.retry_at, 0.0)
                if sale.channel is not None and sale.channel.statement == opened.statement:
                    sale.channel = channel
        return [SavePayer(channel)]

    def closed(self, identity: bytes, paid: Amount) -> None:
        """The ledger has closed a channel of ours having paid ``paid``: the rest is free again."""
        if not self.purse.closed(identity, paid):
            return
        if identity in self._left_on:
            self.meter.deliveries.pop(self._left_on.pop(identity)[0], None)
        sale = self._sale_of(identity)
        if sale is not None:
            stopped = State.STOPPED if sale.state in BUSY else sale.state
            sale.state = follow(stopped, Step.SETTLE)
            sale.channel, sale.key, sale.billing, sale.quoted = None, None, False, False
            sale.asked_pause, sale.bid_at = False, -math.inf  # the next bid need not wait
            self._bury(sale, identity)

    # --- steps -----------------------------------------------------------------------------------

    def _open_one(self, sale: Sale) -> list[Effect]:
        assert sale.ask is not None
        payee_key, sale.shown_at = sale.ask.payee_key, None
        known = self.purse.best_for(payee_key)
        if known is not None:  # a channel from before this connection: both go on from its total
            return self._open_again(sale, *known)
        if self.purse.is_asked(payee_key):
            return []  # asked for on a connection that has ended; its answer will serve this one
        amount = first_escrow(
            self.plan.allowance, sale.price, sale.ask.min_escrow, self.purse.budget.free()
        )
        if not amount:
            return []
        self.purse.ask(sale.connection, payee_key, amount)
        sale.state, sale.waiting = follow(sale.state, Step.LOCK), True
        return [LockEscrow(sale.connection, payee_key, amount)]

    def _open_again(self, sale: Sale, channel: PayerChannel, key: SigningKey) -> list[Effect]:
        identity = channel.statement.channel
        if self._sale_of(identity) is not None:
            return []  # in use: the old connection has not ended yet, or somebody repeats its ask
        if identity in self._left_on:
            old, sale.base = self._left_on.pop(identity)
            self.meter.move(old, sale.connection)
        else:
            sale.base = channel.signed
            self.meter.restart(sale.connection)
        sale.channel, sale.key, sale.reported = channel, key, 0
        if identity in sale.past:
            sale.past.remove(identity)
        sale.state = follow(sale.state, Step.LOCK)
        return [self._show(sale, channel)]

    def _show(self, sale: Sale, channel: PayerChannel) -> Send:
        opened = channel.opened
        shown = Open(opened.statement, opened.signature, channel.signed)
        return Send(sale.connection, shown, sale.key)

    def _keep_funded(self, sale: Sale, now: float) -> list[Effect]:
        """Top up a channel that runs low, within the budget; else take back escrow that lies idle."""
        channel = sale.channel
        if sale.state not in PAID or channel is None:
            return []
        if sale.waiting or now < sale.retry_at or self.resting:
            return []
        if self.purse.is_asked(channel.statement.channel):
            return []  # asked for on a connection that has ended; its answer will serve this one
        escrow = channel.statement.escrow
        rate = sale.rate.at(now)
        if not is_low(escrow, channel.signed, sale.price, rate):
            return []
        expected = expected_bytes(self.sales.values(), sale, self.remaining_bytes, now)
        fair = self.explain().left.part_floor(expected, max(1, self.remaining_bytes))
        wanted = top_up(escrow, channel.signed, sale.price, rate, expected, fair)
        amount = min(wanted, self.purse.budget.free())
        effects: list[Effect] = []
        topped = escrow + amount
        if amount < wanted and is_urgent(topped, channel.signed, sale.price, rate):
            effects += self._reclaim(sale, wanted - amount, now)
        if amount and amount >= min(wanted, sale.price.cost_ceil(UNIT_MIN_BYTES)):
            self.purse.ask(sale.connection, channel.statement.channel, amount)
            sale.waiting = True
            effects.append(AddEscrow(sale.connection, channel.statement.channel, amount))
        return effects

    def _reclaim(self, starved: Sale, missing: Amount, now: float) -> list[Effect]:
        """The budget is locked elsewhere: slower sellers are stopped, and their refunds fund this one.

        Where there is none and the escrow is used up, the allowance is spent.
        """
        sales = self.sales.values()
        slower = to_reclaim(sales, starved, missing, now)
        effects = [effect for sale in slower for effect in self._rest(sale, now)]
        channel = starved.channel
        if slower or coming_back(sales, now) or channel is None:
            return effects
        if channel.left >= starved.price.cost_ceil(UNIT_MIN_BYTES):
            return []
        starved.retry_at = math.inf  # until the user allows more
        said = self._note("the allowance is spent: the download goes on in the free lane")
        return said + self._stop(starved, now, pay=True)

    def _rest(self, sale: Sale, now: float) -> list[Effect]:
        """Stop paying this seller, for a minute at least."""
        sale.retry_at = now + REST_S
        return self._stop(sale, now, pay=True)

    def _replace(self, sale: Sale, now: float) -> list[Effect]:
        """Give up a channel that nears its expiry, or that its seller does not acknowledge."""
        channel = sale.channel
        if channel is None or sale.state not in BUSY:
            return []
        if sale.state is State.OPENING:
            if sale.shown_at is None:
                sale.shown_at = now
            if now - sale.shown_at < CONFIRM_S:
                return []
            sale.retired = True
            return self._stop(sale, now, pay=False)
        if self._utc_ahead is None or now + self._utc_ahead < channel.statement.expiry - ROLL_S:
            return []
        return self._stop(sale, now, pay=True)
