"""The buying side of one torrent: bids to every peer that holds a wanted piece, pays those that sell.

Inputs are messages, blocks, verified pieces, the ledger's answers and the time; every method returns the
effects to perform, in order. What is decided here is decided by ``market/bidder.py`` (the price),
``market/metering.py`` (the bytes) and ``channel/payer.py`` (the money); this file only connects them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from speedpay.channel.life import State, Step, follow
from speedpay.channel.payer import PayerChannel
from speedpay.channel.voucher import SignedStatement, Voucher
from speedpay.errors import ChannelClosed, OutOfOrder, OverLimit, Stale, WrongChannel
from speedpay.market.bidder import Bidding, Explanation, Plan, explain
from speedpay.market.escrow import first_escrow, is_low, is_urgent, top_up
from speedpay.market.metering import UNIT_MIN_BYTES, UNIT_S, Meter, on_account_limit, unit_bytes
from speedpay.peer.bids import keep_bids, price_in_force
from speedpay.peer.effects import (
    AddEscrow,
    AwaitClose,
    Ban,
    Effect,
    LockEscrow,
    Note,
    SavePayer,
    Send,
)
from speedpay.peer.messages import (
    Ack,
    Ask,
    Bid,
    ErrorMessage,
    Message,
    Open,
    Pause,
    Quote,
    Resume,
    StopMessage,
    TopUp,
    VoucherMessage,
)
from speedpay.peer.purse import Purse
from speedpay.peer.sale import Sale
from speedpay.peer.selection import (
    BUSY,
    PAID,
    candidates,
    coming_back,
    expected_bytes,
    places,
    to_make_room,
    to_reclaim,
)
from speedpay.signing import Domain, SigningKey
from speedpay.units import KIB, NO_PRICE, ZERO, Amount, MoneyClass

BID_VALID_S = 180
RENEW_BID_S = 120.0
RETRY_S = 10.0
#: A seller that does not acknowledge a channel this long after it was shown is left alone.
CONFIRM_S = 30.0
#: A seller that was stopped for its slowness may sell again after this.
REST_S = 60.0
#: A channel is replaced this long before its expiry: sellers refuse vouchers 300 s before.
ROLL_S = 600
_MAX_PAST = 8


class Buyer:
    """One torrent's purchases. ``now`` is any steady clock in seconds; ``utc`` is unix seconds."""

    def __init__(
        self,
        domain: Domain,
        plan: Plan,
        money_class: MoneyClass,
        piece_bytes: int,
        settled: Amount = ZERO,
        channels: Iterable[tuple[PayerChannel, SigningKey]] = (),
    ) -> None:
        """``settled`` and ``channels``: what the store remembers of this plan (paid on channels that
        are closed, and those still open)."""
        self.plan = plan.start()
        self.meter = Meter()
        self.balance = plan.balance
        self.remaining_bytes = plan.remaining_at_plan
        self.paused = False
        self.finished = False
        self.sales: dict[int, Sale] = {}
        self._domain = domain
        self._class = money_class
        self._limit = on_account_limit(piece_bytes)
        self._bidding = Bidding()
        self._next_bid_id = 1
        self._said: set[str] = set()
        #: By channel id: (connection it was last used on, ``base`` there); its account goes on.
        self._left_on: dict[bytes, tuple[int, Amount]] = {}
        self._utc_ahead: float | None = None
        self._piece_bytes = piece_bytes
        self.purse = Purse(plan.allowance, settled, channels)

    @property
    def spent(self) -> Amount:
        return self.purse.spent

    def explain(self) -> Explanation:
        return explain(self.plan, self.spent, self.balance, self.remaining_bytes, self.paused)

    def active_count(self) -> int:
        """Peers that are being paid now."""
        return sum(sale.state is State.ACTIVE for sale in self.sales.values())

    # --- what peers do ---------------------------------------------------------------------------

    def interest(self, connection: int, interested: bool, now: float) -> list[Effect]:
        """We want, or no longer want, a piece that this peer holds."""
        sale = self.sales.setdefault(connection, Sale(connection))
        sale.interested = interested
        return self._offer(sale, now)

    def message(self, connection: int, message: Message, now: float, utc: int) -> list[Effect]:
        """A seller's message. Raises Refused, nothing changed, when it breaks a rule."""
        sale = self.sales.setdefault(connection, Sale(connection))
        self._utc_ahead = utc - now
        if isinstance(message, Ask):
            return self._asked(sale, message, now, utc)
        if isinstance(message, Quote):
            if message.bid_id == sale.bid_id:
                sale.quoted = message.price == sale.price
            return []
        if isinstance(message, ErrorMessage):
            return self._refused_by_seller(sale, message, now)
        if isinstance(message, Ack | Pause | Resume | StopMessage):
            return self._about_channel(sale, message, now)
        raise OutOfOrder("is not a seller's message", field="message")

    def bid_left(self, connection: int, number: int) -> None:
        """The bid just decided on is message ``number`` of this connection."""
        sale = self.sales.get(connection)
        if sale is not None and (not sale.bids or sale.bids[-1][1] != sale.price):
            sale.bids = keep_bids(sale.bids, number, sale.price)

    def received(
        self, connection: int, piece: int, start: int, byte_count: int, asked_after: int,
        asked: bool, now: float,
    ) -> list[Effect]:  # fmt: skip
        """Blocks arrived, in order with the messages of their connection."""
        sale = self.sales.setdefault(connection, Sale(connection))
        price = price_in_force(sale.bids, asked_after) if sale.billing else NO_PRICE
        counted = self.meter.received(connection, piece, start, byte_count, asked, price)
        sale.rate.count(counted, now)
        if price and sale.ask is not None:
            sale.billed_bytes += counted
            self.purse.deliver(sale.ask.payee_key, counted)
        return self._pay(sale, now) + self._keep_funded(sale, now)

    def piece_passed(self, piece: int) -> None:
        self.meter.passed(piece)

    def piece_failed(self, piece: int) -> list[Effect]:
        """Nothing of it is owed; a sender who sent all of it is stopped, unpaid, and banned."""
        culprit = self.meter.failed(piece, self._piece_bytes)
        if culprit is None:
            return []
        sale = self.sales.get(culprit)
        effects = self._stop(sale, sale.paid_at, pay=False) if sale else []
        return [*effects, Ban(culprit, f"sent all of piece {piece}, which fails its hash")]

    def gone(self, connection: int) -> list[Effect]:
        """The connection ended. Its channel stays open for a reconnect, or until the payee closes it.

        What is due by now is signed: it is shown when the peer comes back, or given to the ledger.
        """
        sale = self.sales.pop(connection, None)
        if sale is None or sale.channel is None:
            self.meter.deliveries.pop(connection, None)
            return []
        paid = self._pay(sale, sale.paid_at, last=True)
        identity = sale.channel.statement.channel
        self._left_on[identity] = connection, sale.base
        saved = [effect for effect in paid if isinstance(effect, SavePayer)]
        return [*saved, AwaitClose(identity)]

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

    # --- what time and the user do ---------------------------------------------------------------

    def tick(self, now: float) -> list[Effect]:
        """Bids, openings, payments and top-ups that are due. Call it every 100 ms or so."""
        if self.finished:
            return []
        explanation = self.explain()
        if explanation.stop is None and self._bidding.allows(explanation.price, now):
            self._bidding = self._bidding.sent(explanation.price, now)
        sales = list(self.sales.values())
        effects = [effect for sale in sales for effect in self._offer(sale, now)]
        effects += self._open_more(now)
        for sale in sales:
            effects += self._pay(sale, now) + self._keep_funded(sale, now)
            effects += self._pause(sale) + self._replace(sale, now)
        return effects

    def finish(self, now: float) -> list[Effect]:
        """Everything wanted is here, or the user stops: pay what is owed and end every sale."""
        self.finished = True
        sales = self.sales.values()
        return [effect for sale in sales for effect in self._stop(sale, now, pay=True)]

    # --- steps -----------------------------------------------------------------------------------

    def _asked(self, sale: Sale, ask: Ask, now: float, utc: int) -> list[Effect]:
        if sale.ask is not None and ask.payee_key != sale.ask.payee_key:
            raise WrongChannel("changed within one connection", field="ask.payee_key")
        if ask.valid_until < utc - 120:
            raise Stale("is over already", field="ask.valid_until")
        ask.check(self._domain)
        sale.ask = ask
        return self._offer(sale, now)

    def _offer(self, sale: Sale, now: float) -> list[Effect]:
        """Bid to this peer if it sells, holds a wanted piece, and has not the bid in force."""
        price = self._bidding.price
        if self.finished or self.paused or price is None or not sale.interested or sale.ask is None:
            return []
        if sale.state is State.STOPPED or self.explain().stop is not None:
            return []
        if sale.price == price and now - sale.bid_at < RENEW_BID_S:
            return []
        if sale.price != price:
            sale.price, sale.quoted, sale.bid_id = price, False, self._next_bid_id
            self._next_bid_id += 1
        sale.state, sale.bid_at = follow(sale.state, Step.BID), now
        wanted_kb = 1 << max(0, -(-self.remaining_bytes // KIB) - 1).bit_length()
        return [Send(sale.connection, Bid(sale.bid_id, price, wanted_kb, BID_VALID_S))]

    def _open_more(self, now: float) -> list[Effect]:
        """Pay more sellers while there are places; else a much faster one takes a slow one's."""
        if self.paused:
            return []
        sales, left = self.sales.values(), self.explain().left
        ready = candidates(sales, self._class, left, self.remaining_bytes, now)
        room = places(sales)
        if ready and not room:
            slowest = to_make_room(sales, ready[0], now)
            return self._rest(slowest, now) if slowest else []
        return [effect for sale in ready[:room] for effect in self._open_one(sale)]

    def _rest(self, sale: Sale, now: float) -> list[Effect]:
        """Stop paying this seller, for a minute at least."""
        sale.retry_at = now + REST_S
        return self._stop(sale, now, pay=True)

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
        return Send(sale.connection, Open(opened.statement, opened.signature, channel.signed))

    def _about_channel(
        self, sale: Sale, message: Ack | Pause | Resume | StopMessage, now: float
    ) -> list[Effect]:
        if sale.channel is None or message.channel != sale.channel.statement.channel:
            if sale.state not in BUSY or message.channel in sale.past:
                return []  # a late word about a channel that was closed meanwhile
            raise WrongChannel("is not the channel of this connection", field="channel")
        channel = sale.channel.acknowledge(message.cumulative)
        # While vouchers follow each other the next one's record carries this too; a crash in between
        # costs a voucher to the ledger that it has already, and a write to disk less for each.
        lasting = channel != sale.channel and sale.state is not State.ACTIVE
        effects: list[Effect] = [SavePayer(channel)] if lasting else []
        self._remember(sale, channel)
        if isinstance(message, Ack):
            sale.window = message.window
        if isinstance(message, StopMessage):
            sale.retired = True
            return effects + self._stop(sale, now, pay=True)
        if isinstance(message, Pause) and sale.state is State.ACTIVE:
            sale.state, sale.billing = follow(sale.state, Step.PAUSE), False
        elif isinstance(message, Resume) and sale.state is State.PAUSED:
            sale.state, sale.billing = follow(sale.state, Step.RESUME), True
        elif isinstance(message, Ack) and sale.state is State.OPENING:
            if message.cumulative > channel.signed:
                # It claims, or holds, more than we know to have signed: no total can be agreed on.
                sale.retired = True
                return effects + self._stop(sale, now, pay=False)
            sale.state, sale.billing, sale.paid_at = follow(sale.state, Step.CONFIRM), True, now
            sale.active_since = now
            if message.cumulative < channel.signed and sale.key is not None:
                effects.append(self._payment(sale, channel.repeat(sale.key, self._domain)))
        return effects

    def _refused_by_seller(self, sale: Sale, message: ErrorMessage, now: float) -> list[Effect]:
        """Only a refusal of our channel matters: the peer goes back to the free lane.

        For now, if the channel is closed (another one may follow) or still in use on a connection
        that the seller believes alive; for the rest of this connection otherwise.
        """
        if message.reference != Open.TYPE or sale.state is not State.OPENING or sale.waiting:
            return []
        sale.state, sale.retry_at = follow(sale.state, Step.REFUSE), now + RETRY_S
        sale.retired = message.code not in (ChannelClosed.code, OverLimit.code)
        channel, sale.channel, sale.key = sale.channel, None, None
        if channel is None:
            return []
        identity = channel.statement.channel
        self._left_on[identity] = sale.connection, sale.base
        self._bury(sale, identity)
        return [AwaitClose(identity)]

    def _pay(self, sale: Sale, now: float, last: bool = False) -> list[Effect]:
        """A voucher when a unit is full, when 250 ms have passed, or as the ``last`` one."""
        channel, key = sale.channel, sale.key
        if channel is None or key is None or sale.state not in PAID:
            return []
        due = sale.base + self.meter.delivery(sale.connection).payable(self._limit)
        due = min(due, channel.statement.escrow)
        if due <= channel.signed:
            return [] if last else self._report(sale, channel, key, now)
        unit = sale.price.cost_floor(unit_bytes(sale.rate.at(now), sale.window))
        if not last and due - channel.signed < unit and now - sale.paid_at < UNIT_S:
            return []
        if not (last or sale.pace.take(now)):
            return []
        channel, voucher = channel.pay(key, self._domain, due)
        self._remember(sale, channel)
        sale.paid_at = now
        return [SavePayer(channel), self._payment(sale, voucher)]

    def _report(
        self, sale: Sale, channel: PayerChannel, key: SigningKey, now: float
    ) -> list[Effect]:
        """Nothing is due, but bytes were refused: the newest voucher once more, with their count.

        After a failed piece nothing is due for a while; a seller that is not told believes itself
        unpaid and closes its window.
        """
        refused = self.meter.delivery(sale.connection).refused_bytes - sale.reported
        if refused <= 0 or (refused < UNIT_MIN_BYTES and now - sale.paid_at < UNIT_S):
            return []
        if not sale.pace.take(now):
            return []
        sale.paid_at = now
        return [self._payment(sale, channel.repeat(key, self._domain))]

    def _payment(self, sale: Sale, voucher: Voucher) -> Send:
        delivery = self.meter.delivery(sale.connection)
        sale.reported = delivery.refused_bytes
        message = VoucherMessage(
            voucher.channel, voucher.cumulative, voucher.signature,
            delivery.verified_bytes, delivery.refused_bytes,
        )  # fmt: skip
        return Send(sale.connection, message)

    def _keep_funded(self, sale: Sale, now: float) -> list[Effect]:
        """Top up a channel that runs low, within the budget; else take back escrow that lies idle."""
        channel = sale.channel
        if sale.state not in PAID or channel is None:
            return []
        if sale.waiting or now < sale.retry_at or self.paused:
            return []
        if self.purse.is_asked(channel.statement.channel):
            return []  # asked for on a connection that has ended; its answer will serve this one
        escrow = channel.statement.escrow
        rate = sale.rate.at(now)
        if not is_low(escrow, channel.signed, sale.price, rate):
            return []
        wanted = top_up(
            escrow,
            channel.signed,
            sale.price,
            rate,
            expected_bytes(self.sales.values(), sale, self.remaining_bytes, now),
        )
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

    def _pause(self, sale: Sale) -> list[Effect]:
        """The user pauses or goes on: the seller is asked to, and its own pause or resume counts."""
        channel = sale.channel
        if channel is None:
            return []
        kind: type[Pause | Resume]
        if self.paused and sale.state is State.ACTIVE and not sale.asked_pause:
            sale.asked_pause, kind = True, Pause
        elif not self.paused and sale.state is State.PAUSED and sale.asked_pause:
            sale.asked_pause, kind = False, Resume
        else:
            return []
        identity = channel.statement.channel
        return [Send(sale.connection, kind(identity, channel.signed, sale.billed_bytes))]

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
        starved.retired = True
        said = self._note("the allowance is spent: the download goes on in the free lane")
        return said + self._stop(starved, now, pay=True)

    def _stop(self, sale: Sale, now: float, pay: bool) -> list[Effect]:
        effects: list[Effect] = []
        sale.stopped_at = now
        if sale.state in PAID and pay:
            effects += self._pay(sale, sale.paid_at, last=True)
        if sale.state in (*BUSY, State.PRICED):
            sale.state = follow(sale.state, Step.STOP)
            if sale.channel is not None:
                effects += self._farewell(sale, sale.channel)
        sale.billing = False
        return effects

    def _farewell(self, sale: Sale, channel: PayerChannel) -> list[Effect]:
        identity = channel.statement.channel
        farewell = StopMessage(identity, channel.signed, sale.billed_bytes)
        return [Send(sale.connection, farewell), AwaitClose(identity)]

    def _remember(self, sale: Sale, channel: PayerChannel) -> None:
        assert sale.key is not None
        sale.channel = channel
        self.purse.remember(channel, sale.key)

    def _sale_of(self, identity: bytes) -> Sale | None:
        """The connection on which this channel is used."""
        return next(
            (
                s
                for s in self.sales.values()
                if s.channel and s.channel.statement.channel == identity
            ),
            None,
        )

    @staticmethod
    def _bury(sale: Sale, identity: bytes) -> None:
        sale.past = [*(other for other in sale.past if other != identity), identity][-_MAX_PAST:]

    def _note(self, text: str) -> list[Effect]:
        if text in self._said:
            return []
        self._said.add(text)
        return [Note(text)]
