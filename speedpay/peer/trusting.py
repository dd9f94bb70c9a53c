"""How far a seller trusts each buyer: what is on its bill, and whether it is served, withheld or stopped.

The rules are in ``market/window.py`` (of a connection), ``market/debts.py`` (of an address) and
``market/risk.py`` (of all that is not redeemed). ``peer/collecting.py`` builds on this (channels and their
vouchers), and ``peer/seller.py`` on both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from speedpay.channel.life import State, Step, follow
from speedpay.channel.payee import PayeeChannel
from speedpay.market.debts import Debts
from speedpay.market.metering import BLOCK_BYTES
from speedpay.market.window import WINDOW_MIN_BYTES, Trust
from speedpay.peer.bids import price_in_force
from speedpay.peer.buying import Buying, Past
from speedpay.peer.effects import Allow, Effect, Redeem, Send, Withhold
from speedpay.peer.messages import Ack, Message, Pause, Resume, StopMessage
from speedpay.peer.unredeemed import Unredeemed
from speedpay.units import MIB, Amount

#: Channels that ended on one connection and about which late words may still come.
_MAX_ENDED = 8


def _unpaid(buying: Buying) -> int:
    """In µtok·byte/MiB."""
    return max(0, buying.window.exposure(buying.judged)) if buying.channel else 0


class Trusting:
    """``risk_cap``: as in ``Terms``. ``channels``: those the store remembers and that are not closed.
    ``proven``: as ``Unredeemed``."""

    def __init__(
        self, risk_cap: Amount, channels: Iterable[PayeeChannel], proven: Iterable[bytes]
    ) -> None:
        self._buying: dict[int, Buying] = {}
        self._channels = {channel.statement.channel: channel for channel in channels}
        #: Channels that take no vouchers any more, and their expiry, after which any would be refused.
        self._closed: dict[bytes, int] = {}
        self._past: dict[bytes, Past] = {}
        self._debts = Debts()
        self.unredeemed = Unredeemed(risk_cap, proven)
        for channel in self._channels.values():
            self.unredeemed.accepted(channel.statement.channel, channel.accepted)
        #: What all connections have not paid yet, in µtok·byte/MiB; between ticks rather too much.
        self._unpaid = 0

    def account_of(self, connection: int) -> str:
        """Window, price and escrow of a connection in one line, for the log."""
        buying = self._buying.get(connection)
        if buying is None:
            return "no account"
        return f"{buying.unpaid_bytes} of {buying.window.size_bytes} B unpaid, {buying.escrow_left} tok left"

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

    # --- steps -----------------------------------------------------------------------------------

    def _count_unpaid(self) -> None:
        self._unpaid = sum(_unpaid(buying) for buying in self._buying.values())

    @staticmethod
    def _bids(buying: Buying, now: float) -> bool:
        """Whether a bid is in force that buys more than the free lane, and the buyer wants it to."""
        return buying.taken and now < buying.bid_until and not buying.held

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
