"""One buyer and one seller on one ordered connection, without faults: for tests of single rules."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from speedpay.channel.life import State
from speedpay.channel.payer import PayerChannel
from speedpay.channel.voucher import SignedStatement, Statement, channel_id
from speedpay.market.bidder import Plan
from speedpay.market.gain import Rules
from speedpay.market.metering import BLOCK_BYTES
from speedpay.peer.buyer import Buyer
from speedpay.peer.buying import Buying
from speedpay.peer.effects import (
    AddEscrow,
    Effect,
    LockEscrow,
    Redeem,
    Send,
    Withhold,
)
from speedpay.peer.messages import Message
from speedpay.peer.sale import Sale
from speedpay.peer.seller import Seller, Terms
from speedpay.signing import SigningKey
from speedpay.units import MIB, Amount, MoneyClass, Price, Share
from tests.vectors.generate import CERTIFICATES, DOMAIN, PAYEE, RESPONSE, key
from tests.vectors.session import OTHER, met

UTC = 1_800_000_000


def statement(
    number: int, amount: Amount, expiry: int, payee_key: bytes = PAYEE.public
) -> SignedStatement:
    """The ledger's answer: channel ``number`` holds ``amount``."""
    payer, nonce = key(f"channel {number}").public, number.to_bytes(16)
    identity = channel_id(DOMAIN, payer, payee_key, nonce)
    body = Statement(
        identity, payer, payee_key, nonce, MoneyClass.CREDIT, amount, expiry, 86_400, Share(0)
    )
    return SignedStatement.sign(RESPONSE, DOMAIN, body)


class Pair:
    """``ledger``: whether it answers. Every message is sealed, and delivered at once, in order."""

    def __init__(
        self,
        size: int = 16 * MIB,
        piece_bytes: int = MIB,
        balance: int = 100_000_000,
        ask: int = 1000,
        lifetime_s: int = 86_400,
        plan: Plan | None = None,
        shade: bool = True,
        rules: Rules | None = None,
    ) -> None:
        plan = plan or Plan(Share(250_000), Amount(balance), size, size)
        self.size, self.piece_bytes = size, piece_bytes
        self.buyer = Buyer(DOMAIN, plan, MoneyClass.CREDIT, piece_bytes, shade=shade, rules=rules)
        self.terms = Terms(Price(ask), frozenset(MoneyClass), Share(250_000))
        self.seller = Seller(DOMAIN, CERTIFICATES, self.terms)
        self.now = 1000.0
        self.lifetime_s = lifetime_s
        self.ledger = True
        self.sent: list[Message] = []
        self.told: list[Effect] = []
        self.waiting: deque[Effect] = deque()
        self.withheld = False
        self.channels = 0
        self.had = 0  # bytes delivered
        self.connection = 1
        self._queue: deque[tuple[str, bytes, int]] = deque()
        self.talk()

    def talk(self) -> None:
        """A new connection: both hellos are said."""
        self.ends = {side: met(DOMAIN, side) for side in ("buyer", "seller")}

    @property
    def counts(self) -> dict[str, int]:
        """How many messages each side has sent on this connection."""
        return {side: end.sent_count for side, end in self.ends.items()}

    @property
    def utc(self) -> int:
        return UTC + int(self.now)

    @property
    def sale(self) -> Sale:
        return self.buyer.sales[self.connection]

    @property
    def buying(self) -> Buying:
        return self.seller._buying[self.connection]

    @property
    def channel(self) -> PayerChannel:
        assert self.sale.channel is not None
        return self.sale.channel

    def meet(self) -> None:
        self.perform("seller", self.seller.met(self.connection, PAYEE, "127.0.0.1", True, self.utc))
        self.perform("buyer", self.buyer.interest(self.connection, True, self.now))

    def start(self) -> Pair:
        """Until the sale is active."""
        self.meet()
        for _ in range(5):
            self.tick()
        assert self.sale.state is State.ACTIVE
        assert self.buying.state is State.ACTIVE
        return self

    def wait_for_lock(self) -> None:
        """Until the buyer has asked the ledger for escrow, which does not answer."""
        self.ledger = False
        self.meet()
        self.tick()
        self.tick()
        assert self.sale.state is State.OPENING

    def tick(self, seconds: float = 0.1) -> None:
        self.now += seconds
        self.perform("seller", self.seller.tick(self.now, self.utc))
        self.perform("buyer", self.buyer.tick(self.now))

    def perform(self, side: str, effects: Iterable[Effect]) -> None:
        for effect in list(effects):
            self.told.append(effect)
            match effect:
                case Send():
                    self.say(side, effect.message, effect.by)
                case Withhold():
                    self.withheld = effect.on
                case LockEscrow() | AddEscrow():
                    self.waiting.append(effect)
                case Redeem() if self.ledger and not effect.close:
                    held = self.seller._channels[effect.channel]
                    self.seller.redeemed(effect.channel, held.accepted, False)
                case _:
                    pass
        if self.ledger:
            self.answer()

    def answer(self) -> None:
        """The ledger answers what it was asked."""
        while self.waiting:
            effect = self.waiting.popleft()
            if isinstance(effect, LockEscrow):
                self.channels += 1
                opened = statement(
                    self.channels, effect.amount, self.utc + self.lifetime_s, effect.payee_key
                )
                made = self.buyer.locked(effect.connection, opened, key(f"channel {self.channels}"))
            else:
                assert isinstance(effect, AddEscrow)
                held = self.buyer.purse.channel(effect.channel)
                assert held is not None
                body = held.statement
                opened = statement(self.channels, body.escrow + effect.amount, body.expiry)
                made = self.buyer.topped_up(effect.connection, opened)
            self.perform("buyer", made)

    def say(self, side: str, message: Message, by: SigningKey | None = None) -> None:
        payload = self.ends[side].send(message, by)
        self.sent.append(message)
        number = self.ends[side].sent_count
        if side == "buyer":
            self.buyer.bid_left(self.connection, number)
        else:
            self.seller.left(self.connection, number, message)
        self._queue.append((side, payload, number))
        if len(self._queue) > 1:
            return  # what is being delivered comes first
        while self._queue:
            sender, sealed, sequence = self._queue[0]
            first = self.ends[OTHER[sender]].receive(sequence, sealed, self.now)
            if sender == "buyer":
                made = self.seller.message(self.connection, sequence, first, self.now, self.utc)
                self.perform("seller", made)
            else:
                made = self.buyer.message(self.connection, first, self.now, self.utc)
                self.perform("buyer", made)
            self._queue.popleft()

    def block(
        self, piece: int, index: int, asked: bool = True, asked_after: int | None = None
    ) -> None:
        """The seller sends a block that was requested just now."""
        after = self.counts["buyer"] if asked_after is None else asked_after
        self.perform("seller", self.seller.served(
            self.connection, BLOCK_BYTES, after, self.counts["seller"], self.now
        ))  # fmt: skip
        self.perform("buyer", self.buyer.received(
            self.connection, piece, index * BLOCK_BYTES, BLOCK_BYTES, after, asked, self.now
        ))  # fmt: skip
        self.had += BLOCK_BYTES

    def download(self, seconds: float = 600.0) -> None:
        """Block after block, as fast as the seller lets through, until complete."""
        end, blocks = self.now + seconds, self.piece_bytes // BLOCK_BYTES
        for number in range(self.size // BLOCK_BYTES):
            while self.withheld:
                self.tick()
                assert self.now < end, "the sale is stuck"
            self.block(*divmod(number, blocks))
            self.now += 0.001
            if number % 50 == 0:
                self.tick()
            if (number + 1) % blocks == 0:
                self.buyer.remaining_bytes -= self.piece_bytes
                self.buyer.piece_passed(number // blocks)
                self.tick()
        self.perform("buyer", self.buyer.finish(self.now))

    def saw(self, kind: type[Effect]) -> list[Effect]:
        return [effect for effect in self.told if type(effect) is kind]

    def reconnect(self, notice: bool = True) -> None:
        """The connection breaks; ``notice``: the seller sees it at once."""
        old, self.connection = self.connection, self.connection + 1
        for effect in self.buyer.gone(old):
            assert not isinstance(effect, Send)
            self.told.append(effect)
        if notice:
            self.seller.gone(old, self.now)
        self.talk()
        self.withheld = False
        self.meet()
