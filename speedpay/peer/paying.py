"""What a buyer owes, and the vouchers that pay it: of one torrent, over all its sellers.

What counts as delivered is decided by ``market/metering.py``, what may be signed by ``channel/payer.py``.
``peer/funding.py`` builds on this (channels and their escrow), and ``peer/buyer.py`` on both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from speedpay.channel.life import State, Step, follow
from speedpay.channel.payer import PayerChannel
from speedpay.channel.voucher import Voucher
from speedpay.market.bidder import Explanation, Plan, explain
from speedpay.market.budget import Rest
from speedpay.market.metering import UNIT_MIN_BYTES, UNIT_S, Meter, on_account_limit, unit_bytes
from speedpay.peer.effects import AwaitClose, Ban, Effect, Note, SavePayer, Send
from speedpay.peer.messages import StopMessage, VoucherMessage
from speedpay.peer.purse import Purse, without_caps
from speedpay.peer.sale import Sale
from speedpay.peer.selection import BUSY, PAID
from speedpay.signing import Domain, SigningKey
from speedpay.units import MAX_UTOK, ZERO, Amount

_MAX_PAST = 8


class Paying:
    """``settled`` and ``channels``: what the store remembers of this plan (paid on channels that are
    closed, and those still open). ``caps``: as ``Purse``."""

    def __init__(
        self,
        domain: Domain,
        plan: Plan,
        piece_bytes: int,
        settled: Amount = ZERO,
        channels: Iterable[tuple[PayerChannel, SigningKey]] = (),
        caps: Callable[[Amount], Amount] = without_caps,
    ) -> None:
        self.plan = plan.start()
        self.meter = Meter()
        self.balance = plan.balance
        self.remaining_bytes = plan.remaining_at_plan
        self.paused = False
        #: Paying rests: the user's budget of the day or month is as good as spent.
        self.capped = False
        self._near_limit = Rest()
        #: Paying rests: it was measured to make no difference.
        self.useless = False
        #: Nothing was permitted; not asked again before.
        self._permitted_from = -math.inf
        self.sales: dict[int, Sale] = {}
        self.purse = Purse(plan.allowance, settled, channels, caps)
        self._domain = domain
        self._piece_bytes = piece_bytes
        self._said: set[str] = set()

    @property
    def spent(self) -> Amount:
        return self.purse.spent

    def explain(self) -> Explanation:
        return explain(self.plan, self.spent, self.balance, self.remaining_bytes, self.resting)

    @property
    def resting(self) -> bool:
        """The user has paused, or may not spend more now: the download goes on in the free lane."""
        return self.paused or self.capped or self.useless

    def limit(self, most: Amount | None) -> None:
        """The user has changed this torrent's hard limit: it holds from the next voucher on."""
        self.plan = replace(self.plan, max_spend=most)
        self.purse.budget = replace(self.purse.budget, limit=self.plan.allowance)
        for sale in self.sales.values():
            if sale.retry_at == math.inf:  # for want of money
                sale.retry_at = -math.inf

    def rests(self, capped: bool, now: float) -> list[Effect]:
        """Whether paying rests: ``capped`` by the user's day or month, or by a lowered limit.

        Only a lowered limit needs this: escrow is never locked above one, but may have been before.
        """
        budget, exposure = self.purse.budget, self.exposure(now)
        near = self._near_limit
        if near or budget.settled + budget.in_escrow > budget.limit:
            near = near.at(budget.limit.minus_or_zero(self.spent), exposure)
        before, self._near_limit, self.capped = self._near_limit, near, capped or bool(near)
        if before or not near:
            return []
        return [
            Note(
                f"this download's limit of {budget.limit} tok is used up: it goes on in the free lane;"
                " more: speedpay budget TORRENT --max-spend TOK"
            )
        ]

    def exposure(self, now: float) -> Amount:
        """What may yet have to be paid if all sellers are asked to pause now, at least one first unit.

        What a seller delivered and was not paid for, and half a second of its traffic, which is on its
        way or asked for; never more than its window.
        """
        utok = 0
        for sale in self.sales.values():
            channel = sale.channel
            if channel is None or sale.state not in PAID:
                continue
            owed = sale.base + self.meter.delivery(sale.connection).payable(MAX_UTOK)
            utok += max(0, owed.utok - channel.signed.utok)
            if sale.state is State.ACTIVE:
                coming = max(sale.rate.at(now) // 2, UNIT_MIN_BYTES)
                utok += sale.price.cost_ceil(min(coming, max(sale.window, UNIT_MIN_BYTES))).utok
        first = max((s.price.cost_ceil(UNIT_MIN_BYTES) for s in self.sales.values()), default=ZERO)
        return Amount(max(utok, first.utok))

    def active_count(self) -> int:
        """Peers that are being paid now."""
        return sum(sale.state is State.ACTIVE for sale in self.sales.values())

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

    # --- steps -----------------------------------------------------------------------------------

    def _payable(self, sale: Sale) -> Amount:
        """The channel's total by now, if its escrow holds that much."""
        delivery = self.meter.delivery(sale.connection)
        limit = on_account_limit(self._piece_bytes, delivery.verified_bytes)
        return sale.base + delivery.payable(limit)

    def _pay(self, sale: Sale, now: float, last: bool = False) -> list[Effect]:
        """A voucher when a unit is full, when 250 ms have passed, or as the ``last`` one."""
        channel, key = sale.channel, sale.key
        if channel is None or key is None or sale.state not in PAID:
            return []
        due = self._payable(sale)
        due = min(due, channel.statement.escrow)
        if due <= channel.signed:
            return [] if last else self._report(sale, channel, key, now)
        unit = sale.price.cost_floor(unit_bytes(sale.rate.at(now), sale.window))
        if not last and due - channel.signed < unit and now - sale.paid_at < UNIT_S:
            return []
        if not (last or sale.pace.take(now)):
            return []
        if now < self._permitted_from and not last:
            return []
        permitted = self.purse.permitted(due - channel.signed)
        if channel.signed + permitted < due:
            self._permitted_from = now + UNIT_S
        if not permitted:
            return []
        due = channel.signed + permitted
        channel, voucher = channel.pay(key, self._domain, due, permitted)
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
