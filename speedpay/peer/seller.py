"""The selling side: asks, quotes, and gives every message of a buyer to what it is about.

One seller serves every connection of a client; the upload is one. Inputs are messages, bytes that were
enqueued, interest and the time; every method returns the effects to perform, in order. Shares are decided by
``market/allocator.py``; channels are in ``peer/collecting.py``, windows and bills in ``peer/trusting.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from speedpay.certificates import CertificateSet
from speedpay.channel.life import State, Step, follow
from speedpay.channel.payee import PayeeChannel
from speedpay.channel.receipt import NO_INFOHASH
from speedpay.channel.voucher import Statement
from speedpay.errors import OutOfOrder, OverLimit, Stale, WrongChannel
from speedpay.market.allocator import Demand
from speedpay.market.quote import expected_rates, expected_share
from speedpay.peer.bids import keep_bids
from speedpay.peer.buying import Buying
from speedpay.peer.collecting import Collecting
from speedpay.peer.effects import Effect, Send
from speedpay.peer.messages import (
    MAX_LOAD,
    MAX_RATE,
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
from speedpay.signing import Domain, SigningKey
from speedpay.units import NO_PRICE, ZERO, Amount, MoneyClass, Price, Share

ASK_PERIOD_S = 600
#: A user who sells dearly sets another (``risk_cap``).
DEFAULT_RISK_CAP = Amount(10_000_000)


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


def _load(demands: Sequence[Demand], asking: Buying) -> int:
    """How many connections want data, the asking one among them."""
    others = sum(demand.connection != asking.connection for demand in demands)
    return min(others + 1, MAX_LOAD)


class Seller(Collecting):
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
        super().__init__(domain, certificates, terms.risk_cap, channels, proven)
        self.terms = terms
        self.uplink = 0
        self.ordinary: Sequence[Demand] = ()
        self._sells = True

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
            self._check_asked(buying, message.statement)
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

    # --- what time does --------------------------------------------------------------------------

    def tick(self, now: float, utc: int) -> list[Effect]:
        effects: list[Effect] = []
        self._count_unpaid()
        for buying in self._buying.values():
            if utc >= buying.ask_until and self._sells:
                effects += self._ask(buying, utc)
            effects += self._expire(buying, now, utc)
            effects += self._judge(buying, now)
        return effects + self._close_idle(now, utc)

    def demands(self, now: float) -> list[Demand]:
        """Everyone who speaks our protocol and wants data, payers with the price they committed to."""
        return [
            buying.demand(buying.weighed if self._pays(buying, now) else NO_PRICE)
            for buying in self._buying.values()
            if buying.wants
        ]

    def sell_no_more(self) -> list[Effect]:
        """``finish``, and from here on whoever bids or shows a channel is refused."""
        self._sells = False
        return self.finish()

    # --- steps -----------------------------------------------------------------------------------

    def _ask(self, buying: Buying, utc: int) -> list[Effect]:
        until = utc - utc % ASK_PERIOD_S + ASK_PERIOD_S
        buying.ask_until = until
        ask = Ask(
            max(1, until // ASK_PERIOD_S % 2**32), buying.key.public, self.terms.least(buying.infohash),
            self.terms.classes, self.terms.min_escrow, self.terms.free_pool, until, bytes(64),
        )  # fmt: skip
        return [Send(buying.connection, ask.signed(buying.key, self._domain), buying.key)]

    def _check_asked(self, buying: Buying, statement: Statement) -> None:
        """That a channel which is shown to us is as our ask wants it."""
        if statement.payee_key != buying.key.public:
            raise WrongChannel("pays somebody else", field="statement.payee_key")
        if statement.money_class not in self.terms.classes:
            raise WrongChannel("is of a class of money that is not taken", field="statement.class")
        if statement.escrow < self.terms.min_escrow:
            raise WrongChannel("is below the minimum escrow of the ask", field="statement.escrow")

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

    def _all_demands(self, now: float) -> list[Demand]:
        return [*self.demands(now), *self.ordinary]
