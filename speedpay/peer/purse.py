"""The money of one torrent's purchases: its budget, its open channels, and what the ledger was asked for.

Nothing here decides whom to pay; it keeps the sums right whatever order answers, closings and reconnects
come in. An amount counts against the budget from the moment the ledger is asked for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from speedpay.channel.payer import Budget, PayerChannel
from speedpay.channel.voucher import SignedStatement
from speedpay.signing import SigningKey
from speedpay.units import ZERO, Amount


def without_caps(amount: Amount) -> Amount:
    """Where nothing but the torrent's own limit holds: all of it may be signed."""
    return amount


class Purse:
    """``channels``: open at the ledger, by id, whether their peer is connected or not. ``caps``: how much
    of an amount the user's caps of the day and month let this torrent sign now."""

    def __init__(
        self,
        limit: Amount,
        settled: Amount,
        channels: Iterable[tuple[PayerChannel, SigningKey]],
        caps: Callable[[Amount], Amount] = without_caps,
    ) -> None:
        self.budget = Budget(limit, settled)
        self._caps = caps
        self.channels: dict[bytes, tuple[PayerChannel, SigningKey]] = {}
        #: By connection: (payee key of a new channel, or id of one to add to; amount).
        self._asked: dict[int, tuple[bytes, Amount]] = {}
        self._settled: dict[bytes, Amount] = {}
        self._delivered: dict[bytes, int] = {}
        for channel, key in channels:
            self.channels[channel.statement.channel] = channel, key
            self.budget = self.budget.carry(channel.statement.escrow)

    @property
    def spent(self) -> Amount:
        """Settled, and signed on channels that are still open."""
        total = self.budget.settled
        for channel, _ in self.channels.values():
            total += channel.signed
        return total

    def permitted(self, amount: Amount) -> Amount:
        """How much of ``amount`` may be signed now, under the torrent's limit and the user's caps."""
        amount = min(amount, self.budget.limit.minus_or_zero(self.spent))
        return self._caps(amount) if amount else ZERO

    def unconfirmed(self) -> list[PayerChannel]:
        """Channels whose payee has not acknowledged the newest voucher."""
        return [c for c, _ in self.channels.values() if c.acknowledged < c.signed]

    def payees(self) -> list[tuple[bytes, Amount, int]]:
        """(payee key, signed in total, bytes billed) of everyone who was paid by this object."""
        signed = dict(self._settled)
        for channel, _ in self.channels.values():
            key = channel.statement.payee_key
            signed[key] = signed.get(key, ZERO) + channel.signed
        return [(key, paid, self._delivered.get(key, 0)) for key, paid in signed.items() if paid]

    def channel(self, identity: bytes) -> PayerChannel | None:
        known = self.channels.get(identity)
        return known[0] if known else None

    def best_for(self, payee_key: bytes) -> tuple[PayerChannel, SigningKey] | None:
        """The open channel to this payee that has most left."""
        known = [
            pair for pair in self.channels.values() if pair[0].statement.payee_key == payee_key
        ]
        return max(known, key=lambda pair: pair[0].left, default=None)

    def remember(self, channel: PayerChannel, key: SigningKey) -> None:
        self.channels[channel.statement.channel] = channel, key

    def deliver(self, payee_key: bytes, byte_count: int) -> None:
        self._delivered[payee_key] = self._delivered.get(payee_key, 0) + byte_count

    # --- the ledger is asked, and answers --------------------------------------------------------

    def ask(self, connection: int, what: bytes, amount: Amount) -> None:
        """Raises OverBudget, changing nothing, when ``amount`` more would pass the limit."""
        self.budget = self.budget.lock(amount)
        self._asked[connection] = what, amount

    def is_asked(self, what: bytes) -> bool:
        return any(asked == what for asked, _ in self._asked.values())

    def opened(self, connection: int, opened: SignedStatement, key: SigningKey) -> PayerChannel:
        channel = PayerChannel(opened)
        _, asked = self._asked.pop(connection, (b"", ZERO))
        self.budget = self.budget.unlock(asked).carry(channel.statement.escrow)
        self.remember(channel, key)
        return channel

    def topped_up(self, connection: int, opened: SignedStatement) -> PayerChannel | None:
        """The channel with its new escrow; None when it was closed meanwhile (which refunds this too),
        or when a later answer has overtaken this one."""
        identity = opened.statement.channel
        _, amount = self._asked.pop(connection, (identity, ZERO))
        known = self.channels.get(identity)
        if known is None or opened.statement.escrow <= known[0].statement.escrow:
            self.budget = self.budget.unlock(amount)
            return None
        channel = known[0].topped_up(opened)
        # As much as it really grew by: an order of an earlier run may have been filled with it.
        grown = channel.statement.escrow - known[0].statement.escrow
        self.budget = self.budget.unlock(amount).carry(grown)
        self.remember(channel, known[1])
        return channel

    def renewed(self, opened: SignedStatement) -> PayerChannel | None:
        """The channel with its statement signed anew; None where that speaks of another escrow by now."""
        known = self.channels.get(opened.statement.channel)
        if known is None or known[0].statement != opened.statement:
            return None
        channel = known[0].topped_up(opened)
        self.remember(channel, known[1])
        return channel

    def refused(self, connection: int, amount: Amount) -> None:
        self.budget = self.budget.unlock(amount)
        self._asked.pop(connection, None)

    def closed(self, identity: bytes, paid: Amount) -> bool:
        """The ledger has closed it having paid ``paid``; False when it was not open here."""
        known = self.channels.pop(identity, None)
        if known is None:
            return False
        body = known[0].statement
        self.budget = self.budget.settle(body.escrow, paid)
        self._settled[body.payee_key] = self._settled.get(body.payee_key, ZERO) + paid
        return True
