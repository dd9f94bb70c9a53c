"""What a buyer bids to each seller: the formula's price, or what the speed needs of it.

The formula (``market/bidder.py``) gives the most that may be bid. With shading each seller is asked what it
would give (``peer/inquirer.py``), and ``market/shading.py`` decides what to commit; a price that the user has
fixed is committed as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from speedpay.channel.life import State, Step, follow
from speedpay.channel.payer import PayerChannel
from speedpay.errors import Stale, WrongChannel
from speedpay.market.bidder import Bidding, Plan
from speedpay.market.shading import ladder
from speedpay.peer.bids import keep_bids
from speedpay.peer.effects import Effect, Send
from speedpay.peer.funding import Funding
from speedpay.peer.inquirer import Inquirer
from speedpay.peer.messages import Ask, Bid
from speedpay.peer.purse import without_caps
from speedpay.peer.sale import Sale
from speedpay.peer.selection import BUSY
from speedpay.signing import Domain, SigningKey
from speedpay.units import KIB, NO_PRICE, ZERO, Amount, Price

BID_VALID_S = 180
RENEW_BID_S = 120.0
#: The first bid waits so long for the seller's answer, then it is the maximum.
ANSWER_S = 0.3
#: How often sellers are asked: those that are paid, and all others.
INQUIRE_S, INQUIRE_UNPAID_S = 3.0, 10.0


class Offers(Funding):
    """``shade``: commit less than the formula's price where that is as fast. The rest as ``Paying``."""

    def __init__(
        self,
        domain: Domain,
        plan: Plan,
        piece_bytes: int,
        settled: Amount = ZERO,
        channels: Iterable[tuple[PayerChannel, SigningKey]] = (),
        caps: Callable[[Amount], Amount] = without_caps,
        shade: bool = True,
    ) -> None:
        super().__init__(domain, plan, piece_bytes, settled, channels, caps)
        self.inquirer = Inquirer()
        self.finished = False
        self.shades = shade and plan.fixed is None
        self._bidding = Bidding()
        self._next_bid_id = 1

    def committed(self) -> Price:
        """The highest price in force with a seller that is paid; zero when none is."""
        paid = (sale.price for sale in self.sales.values() if sale.state is State.ACTIVE)
        return max(paid, default=NO_PRICE)

    def bid_left(self, connection: int, number: int) -> None:
        """The bid just decided on is message ``number`` of this connection."""
        sale = self.sales.get(connection)
        if sale is not None and (not sale.bids or sale.bids[-1][1] != sale.price):
            sale.bids = keep_bids(sale.bids, number, sale.price)

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
        ask = sale.ask
        if self.finished or self.resting or not sale.interested or ask is None:
            return []
        explanation = self.explain()
        if sale.state is State.STOPPED or explanation.stop is not None:
            return []
        asked: list[Effect] = []
        price = self._bidding.price
        if self.shades:
            asked = self._inquire(sale, ask, explanation.price, now)
            price = self._shaded(sale, ask, explanation.price, now)
        if price is None or (sale.price == price and now - sale.bid_at < RENEW_BID_S):
            return asked
        if sale.price != price:
            sale.price, sale.quoted, sale.bid_id = price, False, self._next_bid_id
            self._next_bid_id += 1
        sale.state, sale.bid_at = follow(sale.state, Step.BID), now
        wanted_kb = 1 << max(0, -(-self.remaining_bytes // KIB) - 1).bit_length()
        return [*asked, Send(sale.connection, Bid(sale.bid_id, price, wanted_kb, BID_VALID_S))]

    def _inquire(self, sale: Sale, ask: Ask, maximum: Price, now: float) -> list[Effect]:
        answer = self.inquirer.answers.get(sale.connection)
        wait = INQUIRE_S if sale.state in BUSY else INQUIRE_UNPAID_S
        if sale.asked_at is None:
            sale.asked_at = now
        if answer is not None and now - answer.at < wait:
            return []
        known = answer.rates if answer is not None else {}
        return list(self.inquirer.ask(sale.connection, ladder(ask.price, maximum, known), now))

    def _shaded(self, sale: Sale, ask: Ask, maximum: Price, now: float) -> Price | None:
        """What to have committed to this seller by now; None while its answer is waited for."""
        answer = self.inquirer.answers.get(sale.connection)
        known = answer.rates if answer is not None else {}
        if not sale.price and answer is None and now - (sale.asked_at or now) < ANSWER_S:
            return None
        paid = sale.state is State.ACTIVE and not sale.asked_pause
        rate = sale.trail.rate(now) if paid else None
        sale.shade = sale.shade.checked(sale.price, rate, now)
        alone = not any(other.shade.tried for other in self.sales.values() if other is not sale)
        may_probe = paid and alone and bool(rate)
        price = sale.shade.wanted(sale.price, ask.price, maximum, known, may_probe, now)
        if not sale.bidding.allows(price, now):
            return sale.price
        sale.bidding = sale.bidding.sent(price, now)
        sale.shade = sale.shade.sent(sale.price, price, rate, now)
        return price
