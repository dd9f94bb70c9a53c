"""The buying side of one torrent: bids to every peer that holds a wanted piece, pays those that sell.

Inputs are messages, blocks, verified pieces, the ledger's answers and the time; every method returns the
effects to perform, in order. What is decided here is decided by ``market/bidder.py`` (the price) and
``peer/selection.py`` (whom to pay); vouchers are in ``peer/paying.py``, channels in ``peer/funding.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from speedpay.channel.life import State, Step, follow
from speedpay.channel.payer import PayerChannel
from speedpay.channel.receipt import NO_INFOHASH
from speedpay.errors import ChannelClosed, OutOfOrder, OverLimit, Stale, WrongChannel
from speedpay.market.bidder import Plan
from speedpay.market.gain import Gain, Rules
from speedpay.peer.bids import price_in_force
from speedpay.peer.effects import AwaitClose, Effect, Note, RenewStatement, SavePayer, Send
from speedpay.peer.funding import CONFIRM_S, RETRY_S
from speedpay.peer.measuring import Measuring
from speedpay.peer.messages import (
    Ack,
    Ask,
    DemandMessage,
    ErrorMessage,
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
from speedpay.peer.offers import Offers
from speedpay.peer.purse import without_caps
from speedpay.peer.receipts import Demanded
from speedpay.peer.sale import Sale
from speedpay.peer.selection import BUSY, PROVE_S, Explorer, View, candidates, places, to_make_room
from speedpay.signing import Domain, SigningKey
from speedpay.units import NO_PRICE, ZERO, Amount, MoneyClass


class Buyer(Offers):
    """One torrent's purchases. ``now`` is any steady clock in seconds; ``utc`` is unix seconds."""

    def __init__(
        self,
        domain: Domain,
        plan: Plan,
        money_class: MoneyClass,
        piece_bytes: int,
        settled: Amount = ZERO,
        channels: Iterable[tuple[PayerChannel, SigningKey]] = (),
        caps: Callable[[Amount], Amount] = without_caps,
        shade: bool = True,
        rules: Rules | None = None,
        seed: bytes = b"",
        infohash: bytes = NO_INFOHASH,
    ) -> None:
        """``settled`` and ``channels``: what the store remembers of this plan (paid on channels that
        are closed, and those still open). ``caps``: as ``Purse``. ``shade``: see ``peer/offers.py``.
        ``rules``: how the gain is measured. ``seed``: secret; it says which unknown sellers are tried,
        and receipts' salts come from it. ``infohash``: 20 bytes, of what is bought."""
        super().__init__(domain, plan, piece_bytes, settled, channels, caps, shade)
        self.demanded = Demanded(domain, infohash, seed)
        self.measuring = Measuring(rules or Rules())
        self._explorer = Explorer(seed)
        self._class = money_class

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
        if isinstance(message, Prospect):
            self.inquirer.heard(connection, message, now)
            return self._offer(sale, now)
        if isinstance(message, ReceiptMessage):
            return self.demanded.heard(connection, message, utc)
        if isinstance(message, ErrorMessage):
            return self._refused_by_seller(sale, message, now)
        if isinstance(message, Ack | Pause | Resume | StopMessage):
            return self._about_channel(sale, message, now)
        raise OutOfOrder("is not a seller's message", field="message")

    def received(
        self, connection: int, piece: int, start: int, byte_count: int, asked_after: int,
        asked: bool, now: float,
    ) -> list[Effect]:  # fmt: skip
        """Blocks arrived, in order with the messages of their connection."""
        sale = self.sales.setdefault(connection, Sale(connection))
        price = price_in_force(sale.bids, asked_after) if sale.billing else NO_PRICE
        counted = self.meter.received(connection, piece, start, byte_count, asked, price)
        sale.count(counted, now)
        self.measuring.control.arrived(connection, counted, paid=bool(price))
        if price and sale.ask is not None:
            sale.billed_bytes += counted
            self.purse.deliver(sale.ask.payee_key, counted)
        effects = self._pay(sale, now) + self._keep_funded(sale, now)
        if self.measuring.holds(connection):
            self.measuring.follow(sale, now)
            effects += self._pause(sale, now)
        return effects

    def gone(self, connection: int) -> list[Effect]:
        """The connection ended. Its channel stays open for a reconnect, or until the payee closes it.

        What is due by now is signed: it is shown when the peer comes back, or given to the ledger.
        """
        self.inquirer.gone(connection)
        self.demanded.gone(connection)
        sale = self.sales.pop(connection, None)
        if sale is None or sale.channel is None:
            self.meter.deliveries.pop(connection, None)
            return []
        paid = self._pay(sale, sale.paid_at, last=True)
        identity = sale.channel.statement.channel
        self._left_on[identity] = connection, sale.base
        saved = [effect for effect in paid if isinstance(effect, SavePayer)]
        return [*saved, AwaitClose(identity)]

    # --- what time and the user do ---------------------------------------------------------------

    def tick(self, now: float) -> list[Effect]:
        """Bids, openings, payments and top-ups that are due. Call it every 100 ms or so."""
        if self.finished:
            return []
        effects = self._measure(now)
        explanation = self.explain()
        if explanation.stop is None and self._bidding.allows(explanation.price, now):
            self._bidding = self._bidding.sent(explanation.price, now)
        sales = list(self.sales.values())
        for sale in sales:
            sale.trail.look(now)
        effects += [effect for sale in sales for effect in self._offer(sale, now)]
        effects += self._open_more(now)
        for sale in sales:
            effects += self._pay(sale, now) + self._keep_funded(sale, now)
            effects += self._pause(sale, now) + self._replace(sale, now)
        return effects

    def finish(self, now: float) -> list[Effect]:
        """Everything wanted is here, or the user stops: pay what is owed and end every sale."""
        self.finished = True
        sales = self.sales.values()
        return [effect for sale in sales for effect in self._stop(sale, now, pay=True)]

    def gain(self) -> Gain | None:
        """How much faster this download is for being paid; None while nothing was measured."""
        return self.measuring.gain()

    # --- steps -----------------------------------------------------------------------------------

    def _measure(self, now: float) -> list[Effect]:
        answers = self.inquirer.answers
        news = self.measuring.tick(self.sales, answers, self.remaining_bytes, now)
        self.useless = self.measuring.is_useless(now)
        return [Note(news)] if news else []

    def _open_more(self, now: float) -> list[Effect]:
        """Pay more sellers while there are places; else one that is worth much more takes another's."""
        if self.resting:
            return []
        sales, explanation = self.sales.values(), self.explain()
        view = View(explanation.price, self.inquirer.answers, now)
        effects: list[Effect] = []
        failed = self._explorer.failed(self.sales, view)
        if failed is not None:
            tried, again = failed
            if tried is not None:
                tried.overstated = True
                effects += self._rest(tried, now) if tried.state in BUSY else []
            if again is not None:
                again.retry_at = now
        ready = candidates(sales, self._class, explanation.left, self.remaining_bytes, view)
        room = places(sales)
        if ready and not room:
            way = to_make_room(sales, ready[0], view)
            if way is not None and not self._explorer.takes(ready[0], way, view):
                return effects
            if way is not None:
                told = self.inquirer.answers.get(way.connection)
                proven = now - way.active_since > PROVE_S
                way.overstated = proven and told is not None
            else:
                way = self._explorer.gives_way(sales, ready, view)
            return effects + (self._rest(way, now) if way else [])
        ready.sort(key=lambda sale: not self._explorer.chosen(sale.connection))
        return effects + [effect for sale in ready[:room] for effect in self._open_one(sale)]

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
            sale.trail.looks.clear()
        elif isinstance(message, Resume) and sale.state is State.PAUSED:
            sale.state, sale.billing = follow(sale.state, Step.RESUME), True
            sale.trail.looks.clear()
        elif isinstance(message, Ack) and sale.state is State.OPENING:
            if message.cumulative > channel.signed:
                # It claims, or holds, more than we know to have signed: no total can be agreed on.
                sale.retired = True
                return effects + self._stop(sale, now, pay=False)
            sale.state, sale.billing, sale.paid_at = follow(sale.state, Step.CONFIRM), True, now
            sale.active_since, sale.paid_once = now, True
            sale.trail.looks.clear()
            if message.cumulative < channel.signed and sale.key is not None:
                effects.append(self._payment(sale, channel.repeat(sale.key, self._domain)))
        return effects

    def _refused_by_seller(self, sale: Sale, message: ErrorMessage, now: float) -> list[Effect]:
        """Only a refusal of our channel matters, or of a demand, whose receipt will not come: the peer
        goes back to the free lane.

        For now, if the channel is closed (another one may follow), still in use on a connection that
        the seller believes alive, or vouched for by a key that it does not believe; for the rest of
        this connection otherwise.
        """
        if message.reference == DemandMessage.TYPE:
            self.demanded.gone(sale.connection)
        if message.reference == TopUp.TYPE and message.code == Stale.code and sale.channel:
            # It would take vouchers above the escrow that it knows for misbehaviour.
            return [RenewStatement(sale.channel.statement.channel), *self._rest(sale, now)]
        if message.reference != Open.TYPE or sale.state is not State.OPENING or sale.waiting:
            return []
        sale.state, sale.retry_at = follow(sale.state, Step.REFUSE), now + RETRY_S
        stale = message.code == Stale.code
        sale.retired = not stale and message.code not in (ChannelClosed.code, OverLimit.code)
        channel, sale.channel, sale.key = sale.channel, None, None
        if channel is None:
            return []
        identity = channel.statement.channel
        self._left_on[identity] = sale.connection, sale.base
        self._bury(sale, identity)
        renewed: list[Effect] = [RenewStatement(identity)] if stale else []
        return [*renewed, AwaitClose(identity)]

    def _farewell(self, sale: Sale, channel: PayerChannel) -> list[Effect]:
        """A receipt is demanded before the stop, after which its seller may know the channel no more."""
        farewell = super()._farewell(sale, channel)
        if not channel.signed:
            return farewell
        return [self.demanded.demand(sale.connection, channel), *farewell]

    def _pause(self, sale: Sale, now: float) -> list[Effect]:
        """Paying rests or goes on, or is measured: the seller is asked to, and its own word counts; but one
        that never gives it is stopped, or it would be paid however long paying rests."""
        channel = sale.channel
        if channel is None:
            return []
        kind: type[Pause | Resume]
        rests = self.resting or self.measuring.holds(sale.connection)
        if rests and sale.state is State.ACTIVE and not sale.asked_pause:
            sale.asked_pause, sale.pause_at, kind = True, now, Pause
        elif not rests and sale.state is State.PAUSED and sale.asked_pause:
            sale.asked_pause, kind = False, Resume
        elif sale.asked_pause and sale.state is State.ACTIVE and now - sale.pause_at > CONFIRM_S:
            return self._rest(sale, now)
        else:
            return []
        identity = channel.statement.channel
        return [Send(sale.connection, kind(identity, channel.signed, sale.billed_bytes))]
