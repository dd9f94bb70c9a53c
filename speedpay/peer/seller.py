"""The selling side: asks, quotes, checks channels and vouchers, and says what each peer may have.

One seller serves every connection of a client; the upload is one. Inputs are messages, bytes that were
enqueued, interest and the time; every method returns the effects to perform, in order. The rules are in
``market/window.py`` (trust), ``market/allocator.py`` (shares) and ``channel/payee.py`` (vouchers).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from speedpay.certificates import CertificateSet
from speedpay.channel.life import State, Step, follow
from speedpay.channel.payee import EXPIRY_MARGIN_S, PayeeChannel
from speedpay.channel.receipt import NO_INFOHASH
from speedpay.errors import (
    AboveEscrow,
    ChannelClosed,
    ChannelUnknown,
    NotIncreasing,
    OutOfOrder,
    OverLimit,
    Stale,
    WrongChannel,
)
from speedpay.market.allocator import Demand
from speedpay.market.debts import Debts
from speedpay.market.metering import BLOCK_BYTES
from speedpay.market.quote import expected_rates, expected_share
from speedpay.market.window import WINDOW_MIN_BYTES, Trust, Window
from speedpay.peer.bids import keep_bids, price_in_force
from speedpay.peer.buying import Buying, Past
from speedpay.peer.effects import Allow, Effect, Note, Redeem, SavePayee, Send, Withhold
from speedpay.peer.messages import (
    MAX_LOAD,
    MAX_RATE,
    Ack,
    Ask,
    Bid,
    DemandMessage,
    ErrorMessage,
    Inquiry,
    Message,
    Open,
    Pause,
    Prospect,
    Quote,
    Resume,
    StopMessage,
    TopUp,
    VoucherMessage,
)
from speedpay.peer.receipts import signed_receipt
from speedpay.peer.unredeemed import Unredeemed
from speedpay.signing import Domain, SigningKey
from speedpay.units import MIB, NO_PRICE, ZERO, Amount, MoneyClass, Price, Share, Value

ASK_PERIOD_S = 600
#: A user who sells dearly sets another (``risk_cap``).
DEFAULT_RISK_CAP = Amount(10_000_000)
#: A payer that lost its connection may come back; then its channel is redeemed and closed.
KEEP_IDLE_S = 60.0
#: Channels that ended on one connection and about which late words may still come.
_MAX_ENDED = 8


@dataclass(frozen=True, slots=True)
class Terms:
    """What a seller offers to everyone: ``price`` is the least it takes, ``own`` the least for the torrents
    (by infohash) that have one of their own. ``risk_cap``: what it leaves unredeemed at most, and so the
    loss if channels turn out to be none of the ledger's."""

    price: Price
    classes: frozenset[MoneyClass]
    free_pool: Share
    min_escrow: Amount = ZERO
    risk_cap: Amount = DEFAULT_RISK_CAP
    own: Mapping[bytes, Price] = field(default_factory=dict)

    def least(self, infohash: bytes) -> Price:
        return self.own.get(infohash, self.price)


def _unpaid(buying: Buying) -> int:
    """In µtok·byte/MiB."""
    return max(0, buying.window.exposure(buying.judged)) if buying.channel else 0


def _load(demands: Sequence[Demand], asking: Buying) -> int:
    """How many connections want data, the asking one among them."""
    others = sum(demand.connection != asking.connection for demand in demands)
    return min(others + 1, MAX_LOAD)


class Seller:
    def __init__(
        self,
        domain: Domain,
        certificates: CertificateSet,
        terms: Terms,
        channels: Iterable[PayeeChannel] = (),
        proven: Iterable[bytes] = (),
    ) -> None:
        """``channels``: those the store remembers and that are not closed. ``proven``: as ``Unredeemed``.

        ``uplink``: bytes a second that all connections share, 0 while unknown. ``ordinary``: peers that do
        not speak our protocol and want data, each a demand at no price. The client keeps both current,
        and ``certificates``.
        """
        self.terms = terms
        self.uplink = 0
        self.ordinary: Sequence[Demand] = ()
        self.certificates = certificates
        self._sells = True
        self._domain = domain
        self._buying: dict[int, Buying] = {}
        self._channels = {channel.statement.channel: channel for channel in channels}
        #: Channels without a connection, and since when; None until the first tick.
        self._idle: dict[bytes, float | None] = dict.fromkeys(self._channels)
        #: Channels that take no vouchers any more, and their expiry, after which any would be refused.
        self._closed: dict[bytes, int] = {}
        self._past: dict[bytes, Past] = {}
        self._debts = Debts()
        self.unredeemed = Unredeemed(terms.risk_cap, proven)
        for channel in self._channels.values():
            self.unredeemed.accepted(channel.statement.channel, channel.accepted)
        #: What all connections have not paid yet, in µtok·byte/MiB; between ticks rather too much.
        self._unpaid = 0

    # --- what peers do ---------------------------------------------------------------------------

    def met(
        self, connection: int, payee_key: SigningKey, place: str, wants: bool, utc: int,
        infohash: bytes = NO_INFOHASH,
    ) -> list[Effect]:  # fmt: skip
        """A peer that speaks our protocol gets the ask. ``payee_key`` is this swarm's, ``place`` its
        address's (``market/place.py``)."""
        buying = self._buying.setdefault(connection, Buying(connection, payee_key, place))
        buying.infohash = infohash
        buying.wants = wants
        return self._ask(buying, utc) if self._sells else []

    def wants(self, connection: int, wants: bool) -> None:
        """The peer wants, or no longer wants, a piece that we hold."""
        if connection in self._buying:
            self._buying[connection].wants = wants

    def message(
        self, connection: int, number: int, message: Message, now: float, utc: int
    ) -> list[Effect]:
        """A buyer's message, the ``number``-th on its connection. Raises Refused, nothing changed."""
        buying = self._buying.get(connection)
        if buying is None:
            raise OutOfOrder("from a peer that was not met", field="message")
        if not self._sells and isinstance(message, Bid | Open | TopUp | Inquiry):
            raise Stale("nothing is sold here any more", field="message")
        if isinstance(message, Bid):
            return self._bid(buying, number, message, now)
        if isinstance(message, Open):
            return self._open(buying, message, now, utc)
        if isinstance(message, TopUp):
            return self._top_up(buying, message, now, utc)
        if isinstance(message, VoucherMessage):
            return self._voucher(buying, message, now, utc)
        if isinstance(message, Pause | Resume | StopMessage):
            return self._about_channel(buying, message, now)
        if isinstance(message, Inquiry):
            return self._prospect(buying, message, now)
        if isinstance(message, DemandMessage):
            return self._receipt(buying, message, now, utc)
        if isinstance(message, ErrorMessage):
            return []
        raise OutOfOrder("is not a buyer's message", field="message")

    def account_of(self, connection: int) -> str:
        """Window, price and escrow of a connection in one line, for the log."""
        buying = self._buying.get(connection)
        if buying is None:
            return "no account"
        return f"{buying.unpaid_bytes} of {buying.window.size_bytes} B unpaid, {buying.escrow_left} tok left"

    def has_channel(self, connection: int, channel: bytes) -> bool:
        """Whether this connection buys, or bought, from us on ``channel`` (stop and pause go both ways)."""
        buying = self._buying.get(connection)
        return buying is not None and (buying.uses(channel) or channel in buying.ended)

    def left(self, connection: int, number: int, message: Message) -> None:
        """Our message has number ``number`` on its connection: what is billed changes from it on."""
        buying = self._buying.get(connection)
        if buying is None or not isinstance(message, Ack | Pause | Resume):
            return
        if not buying.uses(message.channel):
            return  # about a purchase of ours from the same peer, or about a channel that ended
        if isinstance(message, Pause):
            buying.billing.append((number, False))
        elif isinstance(message, Resume) or not buying.billing:
            buying.billing.append((number, True))

    def bills(self, connection: int, sent_count: int) -> bool:
        """Whether a block enqueued to this peer after that many of our messages is on its bill."""
        buying = self._buying.get(connection)
        return buying is not None and buying.channel is not None and buying.bills(sent_count)

    def served(
        self, connection: int, byte_count: int, asked_after: int, sent_count: int, now: float
    ) -> list[Effect]:
        """Payload was enqueued to this peer, in order with the messages of its connection."""
        buying = self._buying.get(connection)
        if buying is None:
            return []
        buying.sent_bytes += byte_count
        if buying.channel is None or not buying.bills(sent_count):
            return self._allow(buying)
        buying.billed_at = price_in_force(buying.bids, asked_after)
        buying.window = buying.window.served(byte_count, buying.billed_at, buying.price)
        self._unpaid += byte_count * buying.billed_at.utok_per_mib
        return self._judge(buying, now)

    def gone(self, connection: int, now: float) -> None:
        buying = self._buying.pop(connection, None)
        if buying is None or buying.channel is None:
            return
        identity = buying.channel.statement.channel
        past = self._past.get(identity, Past())
        unpaid = max(0, buying.window.exposure(buying.judged))
        self._debts.left(buying.place, buying.unpaid_bytes, now)
        self._past[identity] = Past(
            past.unpaid + unpaid, past.billed_bytes + buying.window.billed_bytes,
            past.unpaid_bytes + buying.unpaid_bytes,
        )  # fmt: skip
        self._idle[identity] = now

    # --- what time does --------------------------------------------------------------------------

    def tick(self, now: float, utc: int) -> list[Effect]:
        effects: list[Effect] = []
        self._unpaid = sum(_unpaid(buying) for buying in self._buying.values())
        for buying in self._buying.values():
            if utc >= buying.ask_until and self._sells:
                effects += self._ask(buying, utc)
            held = buying.channel
            if held is not None and utc > held.statement.expiry - EXPIRY_MARGIN_S:
                self._debts.left(buying.place, buying.unpaid_bytes, now)
                effects += self._end(buying)
            effects += self._judge(buying, now)
        for channel, since in list(self._idle.items()):
            if since is None:
                self._idle[channel] = now
            elif now - since >= KEEP_IDLE_S:
                del self._idle[channel]
                self._close(channel)
                effects.append(Redeem(channel))
        for channel in [c for c, expiry in self._closed.items() if utc > expiry]:
            del self._closed[channel]
        return effects

    def demands(self, now: float) -> list[Demand]:
        """Everyone who speaks our protocol and wants data, payers with the price they committed to."""
        return [
            buying.demand(buying.weighed if self._pays(buying, now) else NO_PRICE)
            for buying in self._buying.values()
            if buying.wants
        ]

    def finish(self) -> list[Effect]:
        """The client is leaving: every channel is redeemed and closed."""
        effects: list[Effect] = []
        for buying in self._buying.values():
            if buying.channel is not None and buying.state in (State.ACTIVE, State.PAUSED):
                effects += self._end(buying)
        for channel in self._idle:
            self._close(channel)
            effects.append(Redeem(channel))
        self._idle.clear()
        return effects

    def sell_no_more(self) -> list[Effect]:
        """``finish``, and from here on whoever bids or shows a channel is refused."""
        self._sells = False
        return self.finish()

    def learn(self, certificates: CertificateSet) -> list[Effect]:
        """More is known of the ledger's keys. What a revoked one vouches for is redeemed at once: a sale
        goes on if the ledger knows its channel."""
        self.certificates = certificates
        revoked = [one.response_key for one in certificates.revocations]
        return [Redeem(channel, close=False) for channel in self.unredeemed.revoked(revoked)]

    def redeemed(self, channel: bytes, paid: Amount, closed: bool) -> bytes | None:
        """The ledger has paid ``paid`` of a channel in all. Returns the response key that vouched for it,
        if the ledger has never paid for one of that key's before."""
        proven = self.unredeemed.redeemed(channel, paid)
        if closed:
            self.unredeemed.closed(channel)
        return proven

    def disowned(self, channel: bytes) -> list[Effect]:
        """The ledger knows no such channel: somebody forged its statement."""
        lost = self.unredeemed.lost(channel)
        effects: list[Effect] = []
        for buying in self._buying.values():
            if buying.uses(channel):
                effects += self._end(buying)
        self.forget(channel)
        if lost:
            said = f"the ledger does not know a channel on which {lost} tok were promised: they are lost"
            effects.append(Note(said))
        return [effect for effect in effects if not isinstance(effect, Redeem)]

    def forget(self, channel: bytes) -> None:
        """The ledger closes it."""
        self._close(channel)
        self._channels.pop(channel, None)
        self._idle.pop(channel, None)

    # --- steps -----------------------------------------------------------------------------------

    def _ask(self, buying: Buying, utc: int) -> list[Effect]:
        until = utc - utc % ASK_PERIOD_S + ASK_PERIOD_S
        buying.ask_until = until
        ask = Ask(
            max(1, until // ASK_PERIOD_S % 2**32), buying.key.public, self.terms.least(buying.infohash),
            self.terms.classes, self.terms.min_escrow, self.terms.free_pool, until, bytes(64),
        )  # fmt: skip
        return [Send(buying.connection, ask.signed(buying.key, self._domain), buying.key)]

    @staticmethod
    def _bids(buying: Buying, now: float) -> bool:
        """Whether a bid is in force that buys more than the free lane, and the buyer wants it to."""
        return buying.taken and now < buying.bid_until and not buying.held

    def _pays(self, buying: Buying, now: float) -> bool:
        return buying.state is State.ACTIVE and self._bids(buying, now)

    def _bid(self, buying: Buying, number: int, bid: Bid, now: float) -> list[Effect]:
        if buying.state is State.STOPPED:
            return []
        buying.state = follow(buying.state, Step.BID)
        if buying.price != bid.price:
            buying.bids = keep_bids(buying.bids, number, bid.price)
        least = self.terms.least(buying.infohash)
        buying.bid_until, buying.taken = now + bid.valid_s, bid.price >= least
        demands = self._all_demands(now)
        price = bid.price if bid.price >= least else NO_PRICE
        share = expected_share(demands, buying.demand(price), self.terms.free_pool)
        offered = max(bid.price, least)
        quote = Quote(bid.bid_id, offered, bid.wanted_kb, share, _load(demands, buying))
        return [Send(buying.connection, quote), *self._judge(buying, now)]

    def _prospect(self, buying: Buying, inquiry: Inquiry, now: float) -> list[Effect]:
        """What this connection would get at prices it has not bid. Nothing here is changed by it."""
        if not buying.inquiries.take(now):
            raise OverLimit("too many inquiries", field="inquiry")
        demands = self._all_demands(now)
        rates = expected_rates(
            demands, buying.demand(NO_PRICE), inquiry.prices,
            self.terms.least(buying.infohash),
            self.terms.free_pool, self.uplink,
        )  # fmt: skip
        rates = tuple(min(rate, MAX_RATE) for rate in rates)
        answer = Prospect(
            inquiry.inquiry_id, rates, _load(demands, buying), min(self.uplink, MAX_RATE)
        )
        return [Send(buying.connection, answer)]

    def _receipt(
        self, buying: Buying, message: DemandMessage, now: float, utc: int
    ) -> list[Effect]:
        """Of the channel in use, or of one that ended on this connection."""
        if not buying.receipts.take(now):
            raise OverLimit("too many demands", field="demand")
        channel, window = buying.channel, buying.window
        if channel is not None and buying.uses(message.channel):
            held, billed = channel.accepted, window.billed_bytes
        elif message.channel in buying.ended:
            held, billed = buying.ended[message.channel]
        else:
            raise ChannelUnknown("was not opened on this connection", field="demand.channel")
        receipt = signed_receipt(
            buying.key, self._domain, buying.infohash, message, held, billed, utc
        )
        return [Send(buying.connection, receipt)]

    def _all_demands(self, now: float) -> list[Demand]:
        return [*self.demands(now), *self.ordinary]

    def _open(self, buying: Buying, message: Open, now: float, utc: int) -> list[Effect]:
        """The order of checks: cheap ones first, the signature last; nothing changes before them."""
        statement = message.statement
        identity = statement.channel
        if statement.payee_key != buying.key.public:
            raise WrongChannel("pays somebody else", field="statement.payee_key")
        if statement.money_class not in self.terms.classes:
            raise WrongChannel("is of a class of money that is not taken", field="statement.class")
        if statement.escrow < self.terms.min_escrow:
            raise WrongChannel("is below the minimum escrow of the ask", field="statement.escrow")
        if utc > statement.expiry - EXPIRY_MARGIN_S:
            raise ChannelClosed("is too close to its expiry", field="statement.expiry")
        if identity in self._closed:
            raise ChannelClosed("was closed", field="statement.channel")
        if message.signed > statement.escrow:
            raise AboveEscrow("is above the escrow", field="open.signed")
        if any(other.uses(identity) for other in self._buying.values()):
            # Also what an honest buyer meets that comes back before its old connection is seen to end.
            raise OverLimit("is in use on another connection", field="statement.channel")
        past = self._past.get(identity, Past())
        if past.is_too_much():
            raise ChannelClosed("left too much unpaid before", field="statement.channel")
        if identity not in self._channels and self._debts.is_too_much(buying.place, now):
            raise OverLimit("too much was left unpaid by this address", field="open")
        state = follow(follow(buying.state, Step.LOCK), Step.CONFIRM)
        known = self._channels.get(identity, PayeeChannel(statement))
        opened = None  # checked before: the key that signed it may have been revoked since
        if identity not in self._channels or known.statement != statement:
            opened = message.signed_statement()
            key = opened.check(self.certificates, utc)
        channel = known.topped_up(statement) if known.statement != statement else known
        if opened is not None:
            self.unredeemed.vouched(identity, key)
        buying.state, buying.channel, buying.billing = state, channel, []
        # What was signed before this connection is owed from before it: a lost voucher follows.
        owed = message.signed.minus_or_zero(channel.accepted)
        buying.window = Window(due=Value(owed.utok * MIB))
        self._past[identity], buying.carried = past.claimed(owed.utok * MIB)
        self._debts.paid(buying.place, buying.carried, now)
        self._channels[identity] = channel
        self._idle.pop(identity, None)
        saved = SavePayee(channel, opened)
        return [saved, self._acknowledge(buying), *self._judge(buying, now)]

    def _top_up(self, buying: Buying, message: TopUp, now: float, utc: int) -> list[Effect]:
        if message.statement.channel in buying.ended:
            return []  # it crossed our stop
        channel = self._confirmed(buying, message.statement.channel)
        channel = channel.topped_up(message.statement)
        key = message.signed_statement().check(self.certificates, utc)
        self.unredeemed.vouched(message.statement.channel, key)
        self._hold(buying, channel)
        saved = SavePayee(channel, message.signed_statement())
        return [saved, *self._judge(buying, now)]

    def _voucher(
        self, buying: Buying, message: VoucherMessage, now: float, utc: int
    ) -> list[Effect]:
        if message.channel in buying.ended:
            return self._late_voucher(buying, message, utc)
        known = self._confirmed(buying, message.channel)
        try:
            channel = known.accept(self._domain, message.voucher(), utc)
        except NotIncreasing:  # normal after a reconnect, or to report refused bytes
            buying.window = buying.window.paid_up(ZERO, message.refused_bytes, buying.price)
            told = self._acknowledge(buying)
            return [told, *self._judge(buying, now)]
        raised = channel.accepted - known.accepted
        self._hold(buying, channel)
        buying.window = buying.window.paid_up(raised, message.refused_bytes, buying.price)
        told = self._acknowledge(buying)
        return [SavePayee(channel, None), told, *self._due(channel), *self._judge(buying, now)]

    def _due(self, channel: PayeeChannel) -> list[Effect]:
        """What to redeem now that ``channel`` has a higher voucher."""
        identity = channel.statement.channel
        self.unredeemed.accepted(identity, channel.accepted)
        return [Redeem(due, close=False) for due in self.unredeemed.due(identity)]

    def _late_voucher(self, buying: Buying, message: VoucherMessage, utc: int) -> list[Effect]:
        """It crossed our stop. The channel is about to be closed, but not yet perhaps."""
        known = self._channels.get(message.channel)
        if known is None:
            return []
        try:
            channel = known.accept(self._domain, message.voucher(), utc)
        except (NotIncreasing, ChannelClosed, AboveEscrow):
            return []  # above: the top-up that it follows crossed our stop as well
        self._channels[message.channel] = channel
        self.unredeemed.accepted(message.channel, channel.accepted)
        buying.ended[message.channel] = channel.accepted, buying.ended[message.channel][1]
        told = Send(buying.connection, Ack(message.channel, channel.accepted, 0))
        return [SavePayee(channel, None), told, Redeem(message.channel)]

    def _about_channel(
        self, buying: Buying, message: Pause | Resume | StopMessage, now: float
    ) -> list[Effect]:
        if message.channel in buying.ended:
            return []  # it crossed our stop
        self._confirmed(buying, message.channel)
        if isinstance(message, StopMessage):
            self._debts.left(buying.place, buying.unpaid_bytes, now)
            return self._end(buying, say=False)
        if buying.held is isinstance(message, Pause):
            raise OutOfOrder("repeats what was asked before", field="message")
        buying.held = not buying.held
        return self._judge(buying, now)

    def _confirmed(self, buying: Buying, channel: bytes) -> PayeeChannel:
        if buying.channel is None:
            raise ChannelUnknown("was not opened on this connection", field="channel")
        if buying.channel.statement.channel != channel:
            raise WrongChannel("is not the channel of this connection", field="channel")
        return buying.channel

    def _judge(self, buying: Buying, now: float) -> list[Effect]:
        """Serve, withhold, fall back to the free lane or end: what the window and the bid say."""
        if buying.channel is None or buying.state not in (State.ACTIVE, State.PAUSED):
            return []
        buying.window, trust = buying.window.at(buying.judged, self._room(buying), now)
        # Full by our own cap: the payer did nothing wrong, and the sale waits for the ledger. If it owes
        # more than it cannot pay yet, it is no better than any: else a few would keep all others waiting.
        owes = (
            buying.window.exposure(buying.judged) > buying.judged.utok_per_mib * BLOCK_BYTES + MIB
        )
        ours = not (owes or buying.window.is_full(buying.judged, buying.escrow_left))
        if trust is Trust.END and not ours:
            self._debts.left(buying.place, buying.unpaid_bytes, now)
            return self._end(buying)
        trust = Trust.FREE if trust is Trust.END else trust
        effects: list[Effect] = []
        bids = self._bids(buying, now)
        if buying.state is State.ACTIVE and (trust is Trust.FREE or not bids):
            buying.state = follow(buying.state, Step.PAUSE)
            if trust is Trust.FREE and not ours:
                buying.window = buying.window.late()
            effects.append(self._totals(buying, Pause))
        elif buying.state is State.PAUSED and trust is Trust.SERVE and bids:
            buying.state = follow(buying.state, Step.RESUME)
            effects.append(self._totals(buying, Resume))
        withhold = trust is Trust.WITHHOLD and buying.state is State.ACTIVE
        if withhold != buying.withheld:
            buying.withheld = withhold
            effects.append(Withhold(buying.connection, withhold))
        return effects + self._allow(buying)

    def _allow(self, buying: Buying) -> list[Effect]:
        room = buying.room_bytes(self._room(buying)) if buying.channel else None
        allowed = None if room is None else buying.sent_bytes + room
        if allowed == buying.allowed:
            return []
        buying.allowed = allowed
        return [Allow(buying.connection, room)]

    def _room(self, buying: Buying) -> Amount:
        """What this connection may come to owe: its escrow, and what the cap leaves beside the others and
        for blocks that are on their way out when it is withheld."""
        assert buying.channel is not None
        others = Amount(max(0, self._unpaid - _unpaid(buying)) // MIB)
        others += buying.price.cost_ceil(WINDOW_MIN_BYTES)
        left = self.unredeemed.room(buying.channel.statement.channel).minus_or_zero(others)
        return min(buying.escrow_left, left)

    def _end(self, buying: Buying, say: bool = True) -> list[Effect]:
        """Over: redeem and close. The peer goes on in the free lane and may bid again."""
        assert buying.channel is not None
        identity, held = buying.channel.statement.channel, buying.channel.accepted
        effects: list[Effect] = [self._totals(buying, StopMessage)] if say else []
        if buying.withheld:
            effects.append(Withhold(buying.connection, False))
        buying.state = follow(follow(buying.state, Step.STOP), Step.SETTLE)
        buying.channel, buying.billing, buying.withheld, buying.held = None, [], False, False
        buying.ended[identity] = held, buying.window.billed_bytes
        for old in list(buying.ended)[:-_MAX_ENDED]:
            del buying.ended[old]
        self._close(identity)
        return [*effects, *self._allow(buying), Redeem(identity)]

    def _close(self, channel: bytes) -> None:
        known = self._channels.get(channel)
        if known is not None:
            self._closed[channel] = known.statement.expiry
        self._past.pop(channel, None)

    def _hold(self, buying: Buying, channel: PayeeChannel) -> None:
        buying.channel = channel
        self._channels[channel.statement.channel] = channel

    def _acknowledge(self, buying: Buying) -> Send:
        assert buying.channel is not None
        channel, window = buying.channel, buying.window
        granted = window.limit_bytes(buying.judged, self._room(buying)) if buying.price else 0
        identity = channel.statement.channel
        return Send(buying.connection, Ack(identity, channel.accepted, min(granted, 2**40)))

    def _totals(self, buying: Buying, kind: Callable[[bytes, Amount, int], Message]) -> Send:
        assert buying.channel is not None
        identity, accepted = buying.channel.statement.channel, buying.channel.accepted
        return Send(buying.connection, kind(identity, accepted, buying.window.billed_bytes))
