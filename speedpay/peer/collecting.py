"""The channels of a seller: shown, topped up, paid on by vouchers, redeemed and closed.

What a voucher must be is decided by ``channel/payee.py``. The ledger's answers come in here.
"""

from __future__ import annotations

from collections.abc import Iterable

from speedpay.certificates import CertificateSet
from speedpay.channel.life import State, Step, follow
from speedpay.channel.payee import EXPIRY_MARGIN_S, PayeeChannel
from speedpay.errors import (
    AboveEscrow,
    ChannelClosed,
    ChannelUnknown,
    NotIncreasing,
    OutOfOrder,
    OverLimit,
    WrongChannel,
)
from speedpay.market.window import Window
from speedpay.peer.buying import Buying, Past
from speedpay.peer.effects import Effect, Note, Redeem, SavePayee, Send
from speedpay.peer.messages import (
    Ack,
    DemandMessage,
    Open,
    Pause,
    Resume,
    StopMessage,
    TopUp,
    VoucherMessage,
)
from speedpay.peer.receipts import signed_receipt
from speedpay.peer.trusting import Trusting
from speedpay.signing import Domain
from speedpay.units import MIB, ZERO, Amount, Value

#: A payer that lost its connection may come back; then its channel is redeemed and closed.
KEEP_IDLE_S = 60.0


class Collecting(Trusting):
    """``certificates``: the client keeps them current. The rest as ``Trusting``."""

    def __init__(
        self,
        domain: Domain,
        certificates: CertificateSet,
        risk_cap: Amount,
        channels: Iterable[PayeeChannel],
        proven: Iterable[bytes],
    ) -> None:
        super().__init__(risk_cap, channels, proven)
        self.certificates = certificates
        self._domain = domain
        #: Channels without a connection, and since when; None until the first tick.
        self._idle: dict[bytes, float | None] = dict.fromkeys(self._channels)

    def has_channel(self, connection: int, channel: bytes) -> bool:
        """Whether this connection buys, or bought, from us on ``channel`` (stop and pause go both ways)."""
        buying = self._buying.get(connection)
        return buying is not None and (buying.uses(channel) or channel in buying.ended)

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

    # --- what the ledger answers -----------------------------------------------------------------

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

    def _open(self, buying: Buying, message: Open, now: float, utc: int) -> list[Effect]:
        """Of a channel that is as our ask wants it. The order of checks: cheap ones first, the signature
        last; nothing changes before them."""
        statement = message.statement
        identity = statement.channel
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

    def _expire(self, buying: Buying, now: float, utc: int) -> list[Effect]:
        """End a sale whose channel nears its expiry."""
        held = buying.channel
        if held is None or utc <= held.statement.expiry - EXPIRY_MARGIN_S:
            return []
        self._debts.left(buying.place, buying.unpaid_bytes, now)
        return self._end(buying)

    def _close_idle(self, now: float, utc: int) -> list[Effect]:
        """Close channels whose payers stayed away, and forget closed ones that have expired."""
        effects: list[Effect] = []
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

    def _confirmed(self, buying: Buying, channel: bytes) -> PayeeChannel:
        if buying.channel is None:
            raise ChannelUnknown("was not opened on this connection", field="channel")
        if buying.channel.statement.channel != channel:
            raise WrongChannel("is not the channel of this connection", field="channel")
        return buying.channel

    def _hold(self, buying: Buying, channel: PayeeChannel) -> None:
        buying.channel = channel
        self._channels[channel.statement.channel] = channel
