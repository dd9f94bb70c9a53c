"""A whole market in one process: buyers, sellers, a ledger and their links, from the pure core and a seed.

Nothing here decides anything about money: conversations, buyers and sellers are the real ones; links carry
messages, requests and blocks in order, with the counters of ``swarm/events.py``; the ledger is a few
dictionaries and the one check of a voucher. ``World.step`` does a little of everything in an order drawn
from the seed, with disconnects, restarts, refusals, corrupt blocks and liars, and after each step ``check``
holds the promises against books of its own.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from speedpay.certificates import CertificateSet
from speedpay.channel.life import State
from speedpay.channel.payee import PayeeChannel, check_voucher
from speedpay.channel.payer import PayerChannel
from speedpay.channel.voucher import SignedStatement, Statement, Voucher, channel_id
from speedpay.errors import BalanceTooSmall, ChannelClosed, Refused
from speedpay.market.bidder import Plan
from speedpay.market.metering import BLOCK_BYTES, on_account_limit
from speedpay.market.window import (
    FORGIVEN_BYTES,
    FORGIVEN_DIVISOR,
    TRUST_DIVISOR,
    WINDOW_MAX_BYTES,
    WINDOW_MIN_BYTES,
)
from speedpay.peer import effects as do
from speedpay.peer.buyer import Buyer
from speedpay.peer.conversation import Conversation
from speedpay.peer.messages import (
    Ack,
    Ask,
    Bid,
    ErrorMessage,
    Hello,
    Message,
    Open,
    Pause,
    Prospect,
    Quote,
    ReceiptMessage,
    Resume,
    StopMessage,
    VoucherMessage,
)
from speedpay.peer.sealing import Handshake
from speedpay.peer.seller import Seller, Terms
from speedpay.signing import Certificate, Domain, SigningKey, ledger_id
from speedpay.units import MIB, ZERO, Amount, MoneyClass, Price, Share

UTC = 1_800_000_000
ROOT = SigningKey(hashlib.sha256(b"simulation root").digest())
RESPONSE = SigningKey(hashlib.sha256(b"simulation response").digest())
DOMAIN = Domain("simulation", ledger_id(ROOT.public))
CERTIFICATES = CertificateSet(
    DOMAIN, (Certificate.issue(ROOT, DOMAIN.network, RESPONSE.public, 0, 2**40),)
)
INFOHASH = hashlib.sha256(b"simulation").digest()[:20]
BLOCKS_PER_PIECE = 4
PIECE_BYTES = BLOCKS_PER_PIECE * BLOCK_BYTES
EITHER_WAY = (Pause, Resume, StopMessage)


class Kind(StrEnum):
    """What a client is like. Only honest ones are held to agreement."""

    HONEST = "honest"
    CORRUPT = "sells garbage"
    MUTE = "never acknowledges a channel"
    HOARDER = "never closes a channel"
    BOASTER = "acknowledges more than it was paid"
    REPEATER = "sends blocks twice and unasked"
    THIEF = "never sends a voucher"
    COMPLAINER = "calls everything refused"


BAD_SELLERS = (Kind.CORRUPT, Kind.MUTE, Kind.HOARDER, Kind.BOASTER, Kind.REPEATER)
BAD_BUYERS = (Kind.THIEF, Kind.COMPLAINER)


@dataclass
class Account:
    """A channel at the ledger."""

    statement: Statement
    payer: str
    payee: str
    paid: Amount = ZERO
    open: bool = True


class Ledger:
    def __init__(self) -> None:
        self.balances: dict[str, int] = {}
        self.names: dict[bytes, str] = {}
        self.channels: dict[bytes, Account] = {}

    def total(self) -> int:
        held = (a.statement.escrow.utok - a.paid.utok for a in self.channels.values() if a.open)
        return sum(self.balances.values()) + sum(held)

    def open(self, payer: str, payer_key: bytes, payee_key: bytes, nonce: bytes, amount: Amount,
             expiry: int) -> SignedStatement:  # fmt: skip
        self._take(payer, amount)
        identity = channel_id(DOMAIN, payer_key, payee_key, nonce)
        statement = Statement(identity, payer_key, payee_key, nonce, MoneyClass.CREDIT, amount,
                              expiry, 86_400, Share(0))  # fmt: skip
        self.channels[identity] = Account(statement, payer, self.names[payee_key])
        return SignedStatement.sign(RESPONSE, DOMAIN, statement)

    def top_up(self, identity: bytes, amount: Amount) -> SignedStatement:
        account = self.channels[identity]
        if not account.open:
            raise ChannelClosed("is closed", field="channel")
        self._take(account.payer, amount)
        body = account.statement
        values = {name: getattr(body, name) for name in body.__slots__}
        account.statement = Statement(**{**values, "escrow": body.escrow + amount})
        return SignedStatement.sign(RESPONSE, DOMAIN, account.statement)

    def redeem(self, identity: bytes, best: Voucher | None, close: bool) -> None:
        account = self.channels[identity]
        body = account.statement
        if not account.open:
            return
        if best is not None and best.cumulative > account.paid:
            check_voucher(DOMAIN, identity, body.payer_key, body.escrow, account.paid, best)
            self.balances[account.payee] += (best.cumulative - account.paid).utok
            account.paid = best.cumulative
        if close:
            account.open = False
            self.balances[account.payer] += (body.escrow - account.paid).utok

    def _take(self, payer: str, amount: Amount) -> None:
        if self.balances[payer] < amount.utok:
            raise BalanceTooSmall("does not hold that much", field="amount")
        self.balances[payer] -= amount.utok


@dataclass
class Block:
    """``billed``: what its seller added to the buyer's due for it; ``channel``: on which channel."""

    piece: int
    index: int
    asked_after: int
    good: bool
    asked: bool
    billed: int = 0
    channel: bytes | None = None


@dataclass
class Request:
    piece: int
    index: int
    sent_count: int


@dataclass
class End:
    """One end of a link. ``inbox`` holds what is on its way here, in order."""

    client: Client
    number: int
    conversation: Conversation
    inbox: deque[bytes | Block | Request] = field(default_factory=deque)
    received: int = 0
    to_serve: deque[tuple[Request, int]] = field(default_factory=deque)
    asked: dict[tuple[int, int], int] = field(default_factory=dict)
    withheld: bool = False
    # The checker's own account of this end as a seller.
    billed: int = 0
    signed_at_open: int = 0
    reported: int = 0


@dataclass
class Link:
    a: End
    b: End

    def other(self, end: End) -> End:
        return self.b if end is self.a else self.a


@dataclass
class Owed:
    """The checker's account of what a buyer may have paid one payee by now (µtok·byte/MiB)."""

    verified: int = 0
    unverified: dict[int, int] = field(default_factory=dict)
    most: int = 0


class Client:
    """One peer: it holds pieces, perhaps buys, and sells what it holds."""

    def __init__(self, world: World, name: str, kind: Kind, plan: Plan | None, ask: Price) -> None:
        self.world, self.name, self.kind, self.plan = world, name, kind, plan
        self.payee_key = world.key(f"payee {name}")
        self.terms = Terms(ask, frozenset(MoneyClass), Share(250_000))
        self.ends: dict[int, Link] = {}
        self.pieces: set[int] = set()
        self.blocks: dict[int, dict[int, tuple[bool, int]]] = {}
        self.saved_payer: dict[bytes, tuple[PayerChannel, SigningKey]] = {}
        self.saved_payee: dict[bytes, PayeeChannel] = {}
        self.settled = ZERO
        self.banned: set[str] = set()
        self.owed: dict[bytes, Owed] = {}
        self.restarts = 0
        self.buyer: Buyer | None = None
        self.uplink = world.random.choice((0, 200_000, 2_000_000))  # as it says in prospects
        self.start()

    def start(self) -> None:
        self.seller = Seller(DOMAIN, CERTIFICATES, self.terms, self.saved_payee.values())
        self.seller.uplink = self.uplink
        if self.plan is not None:
            # Orders are durable: what the ledger added for an earlier run is in the store by now.
            for identity, (channel, key) in list(self.saved_payer.items()):
                statement = self.world.ledger.channels[identity].statement
                opened = SignedStatement.sign(RESPONSE, DOMAIN, statement)
                self.saved_payer[identity] = channel.topped_up(opened), key
            open_now = [
                p for i, p in self.saved_payer.items() if self.world.ledger.channels[i].open
            ]
            self.buyer = Buyer(
                DOMAIN, self.plan, MoneyClass.CREDIT, PIECE_BYTES, self.settled, open_now
            )
            self.plan = self.buyer.plan
            self.buyer.remaining_bytes = (self.world.piece_count - len(self.pieces)) * PIECE_BYTES
            for channel, _ in open_now:
                self.world.awaited.append((self, channel.statement.channel))

    def end(self, number: int) -> End | None:
        link = self.ends.get(number)
        if link is None:
            return None
        return link.a if link.a.client is self and link.a.number == number else link.b


class World:
    """``seed`` decides everything. ``trouble`` is how likely a fault is in a step."""

    def __init__(self, seed: int, trouble: float = 0.02) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.trouble = trouble
        self.now = 1000.0
        self.ledger = Ledger()
        self.clients: list[Client] = []
        self.links: list[Link] = []
        self.awaited: list[tuple[Client, bytes]] = []
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.piece_count = self.random.choice((6, 12, 24))
        self._connections = 0
        self._keys = 0
        draw = self.random
        ask = Price(draw.choice((1, 40, 1000, 24_414)))
        for number in range(draw.randint(1, 3)):
            kind = draw.choice(BAD_SELLERS) if draw.random() < 0.3 else Kind.HONEST
            self.add(f"seller {number}", kind, None, ask, 0)
        for number in range(draw.randint(1, 3)):
            kind = draw.choice(BAD_BUYERS) if draw.random() < 0.25 else Kind.HONEST
            balance = Amount(draw.choice((50, 5_000, 1_000_000, 100_000_000)))
            size = self.piece_count * PIECE_BYTES
            plan = Plan(Share(draw.choice((50_000, 250_000, 1_000_000))), balance, size, size,
                        max_spend=draw.choice((None, None, Amount(20_000))))  # fmt: skip
            self.add(f"buyer {number}", kind, plan, ask, balance.utok)
        self.issued = self.ledger.total()
        for a in range(len(self.clients)):
            for b in range(a + 1, len(self.clients)):
                self.connect(self.clients[a], self.clients[b])

    # --- parts -----------------------------------------------------------------------------------

    def key(self, name: str) -> SigningKey:
        return SigningKey(hashlib.sha256(f"{self.seed} {name}".encode()).digest())

    def add(self, name: str, kind: Kind, plan: Plan | None, ask: Price, balance: int) -> None:
        self.ledger.balances[name] = balance
        client = Client(self, name, kind, plan, ask)
        if plan is None:
            client.pieces = set(range(self.piece_count))
        self.ledger.names[client.payee_key.public] = name
        self.clients.append(client)

    def connect(self, one: Client, two: Client) -> None:
        if two.name in one.banned or one.name in two.banned:
            return
        self._connections += 2
        a = End(one, self._connections, Conversation(DOMAIN))
        b = End(two, self._connections + 1, Conversation(DOMAIN))
        link = Link(a, b)
        one.ends[a.number] = two.ends[b.number] = link
        self.links.append(link)
        ids = {end: f"peer {end:15}".encode() for end in (a.number, b.number)}
        for end, other in ((a, b), (b, a)):
            secret = hashlib.sha256(f"{self.seed} ephemeral {end.number}".encode()).digest()
            handshake = Handshake(INFOHASH, ids[end.number], ids[other.number])
            self.put(link, end, end.conversation.hello(handshake, secret))

    def put(self, link: Link, sender: End, item: bytes | Block | Request) -> None:
        link.other(sender).inbox.append(item)

    def disconnect(self, link: Link) -> None:
        """Whatever is on its way is lost; each side learns of it at once or a little later."""
        self.links.remove(link)
        for end in (link.a, link.b):
            if self.random.random() < 0.5:
                self.gone(end)
            else:
                self.soon(lambda end=end: self.gone(end))  # type: ignore[misc]

    def gone(self, end: End) -> None:
        client = end.client
        if client.ends.pop(end.number, None) is None:
            return
        client.seller.gone(end.number, self.now)
        if client.buyer is not None:
            self.perform(client, client.buyer.gone(end.number))

    def restart(self, client: Client) -> None:
        """The process dies and starts with what its store holds."""
        for link in [link for link in self.links if client in (link.a.client, link.b.client)]:
            self.links.remove(link)
            for end in (link.a, link.b):
                if end.client is client:
                    client.ends.pop(end.number, None)
                else:
                    self.soon(lambda end=end: self.gone(end))  # type: ignore[misc]
        client.restarts += 1
        client.blocks.clear()
        for owed in client.owed.values():
            owed.unverified.clear()
            # A new process knows nothing of unverified bytes that were paid for: one limit more.
            owed.most += on_account_limit(PIECE_BYTES) * self.top_price(client)
        client.start()

    def soon(self, action: Callable[[], None]) -> None:
        self.later.append((self.now + self.random.random() * 2, action))

    @staticmethod
    def top_price(client: Client) -> int:
        first = client.plan.first_bid if client.plan else None
        return first.utok_per_mib * 3 // 2 if first else 0

    # --- effects, as client/market.py performs them ----------------------------------------------

    def perform(self, client: Client, effects: Iterable[do.Effect]) -> None:
        effects = list(effects)
        for effect in effects:
            if isinstance(effect, do.SavePayer):
                identity = effect.channel.statement.channel
                assert client.buyer is not None
                key = {c.statement.channel: k for c, k in client.buyer.purse.channels.values()}
                client.saved_payer[identity] = effect.channel, key[identity]
                self.check_payment(client, effect.channel)
            elif isinstance(effect, do.SavePayee):
                client.saved_payee[effect.channel.statement.channel] = effect.channel
        for effect in effects:
            self.perform_one(client, effect)

    def perform_one(self, client: Client, effect: do.Effect) -> None:
        match effect:
            case do.Send():
                self.send(client, effect.connection, effect.message, effect.by)
            case do.Withhold():
                if end := client.end(effect.connection):
                    end.withheld = effect.on
            case do.LockEscrow():
                buyer = client.buyer
                self.soon(lambda: self.lock(client, buyer, effect))
            case do.AddEscrow():
                buyer = client.buyer
                self.soon(lambda: self.add_escrow(client, buyer, effect))
            case do.AwaitClose():
                self.awaited.append((client, effect.channel))
            case do.Redeem():
                if client.kind is not Kind.HOARDER:
                    self.soon(lambda: self.redeem(client, effect.channel))
            case do.Ban():
                if end := client.end(effect.connection):
                    self.ban(
                        client, client.ends[effect.connection].other(end).client, effect.reason
                    )
            case _:
                pass

    def send(
        self, client: Client, number: int, message: Message, by: SigningKey | None = None
    ) -> None:
        end = client.end(number)
        if end is None or client.ends[number] not in self.links:
            return
        if client.kind is Kind.MUTE and isinstance(message, Ack):
            return
        if client.kind is Kind.THIEF and isinstance(message, VoucherMessage):
            return
        if client.kind is Kind.BOASTER and isinstance(message, Ack):
            message = Ack(message.channel, message.cumulative + Amount(10), message.window)
        if client.kind is Kind.COMPLAINER and isinstance(message, VoucherMessage):
            message = VoucherMessage(message.channel, message.cumulative, message.signature,
                                     message.verified_bytes, 2**40)  # fmt: skip
        self.put(client.ends[number], end, end.conversation.send(message, by))
        if isinstance(message, Bid):
            assert client.buyer is not None
            client.buyer.bid_left(number, end.conversation.sent_count)
        else:
            client.seller.left(number, end.conversation.sent_count, message)

    def ban(self, client: Client, other: Client, why: str) -> None:
        assert other.kind is not Kind.HONEST, f"{other.name} is honest, yet banned: {why}"
        client.banned.add(other.name)
        for link in [ln for ln in self.links if {ln.a.client, ln.b.client} == {client, other}]:
            self.disconnect(link)

    # --- the ledger's answers --------------------------------------------------------------------

    def lock(self, client: Client, buyer: Buyer | None, effect: do.LockEscrow) -> None:
        if buyer is None or buyer is not client.buyer:
            return  # an order of an earlier run that never left
        self._keys += 1
        key = self.key(f"channel {self._keys}")
        try:
            if self.random.random() < self.trouble * 5:
                raise BalanceTooSmall("the ledger would rather not", field="amount")
            nonce = self._keys.to_bytes(16)
            expiry = UTC + int(self.now) + self.random.choice((700, 86_400))
            opened = self.ledger.open(
                client.name, key.public, effect.payee_key, nonce, effect.amount, expiry
            )
        except Refused as why:
            self.perform(
                client, buyer.lock_refused(effect.connection, effect.amount, str(why), self.now)
            )
            return
        self.perform(client, buyer.locked(effect.connection, opened, key))

    def add_escrow(self, client: Client, buyer: Buyer | None, effect: do.AddEscrow) -> None:
        if buyer is None or buyer is not client.buyer:
            return
        try:
            if self.random.random() < self.trouble * 5:
                raise BalanceTooSmall("the ledger would rather not", field="amount")
            opened = self.ledger.top_up(effect.channel, effect.amount)
        except Refused as why:
            self.perform(
                client, buyer.lock_refused(effect.connection, effect.amount, str(why), self.now)
            )
            return
        # The answer may be slower than the payee, who redeems and closes meanwhile.
        answer = lambda: self.perform(client, buyer.topped_up(effect.connection, opened))  # noqa: E731
        if self.random.random() < 0.2:
            self.soon(lambda: answer() if buyer is client.buyer else None)
        else:
            answer()

    def redeem(self, client: Client, channel: bytes) -> None:
        held = client.saved_payee[channel]
        self.ledger.redeem(channel, held.best, close=True)
        client.seller.forget(channel)

    def settle(self) -> None:
        for client, identity in list(self.awaited):
            account = self.ledger.channels[identity]
            if not account.open and self.random.random() < 0.3:
                self.awaited.remove((client, identity))
                if identity in client.saved_payer:
                    del client.saved_payer[identity]
                    client.settled += account.paid
                if client.buyer is not None:
                    client.buyer.closed(identity, account.paid)

    # --- messages and bytes ----------------------------------------------------------------------

    def deliver(self, link: Link, end: End) -> None:
        if not end.inbox:
            return
        item = end.inbox.popleft()
        if isinstance(item, bytes):
            end.received += 1
            self.hear(link, end, item)
        elif isinstance(item, Request):
            assert item.sent_count == end.received, "the two ends count differently"
            end.to_serve.append((item, end.received))
        else:
            self.take_block(link, end, item)

    def hear(self, link: Link, end: End, payload: bytes) -> None:
        client, utc = end.client, UTC + int(self.now)
        try:
            message = end.conversation.receive(end.received, payload, self.now)
            effects = self.dispatch(client, end, message, utc)
        except Refused as refusal:
            if refusal.is_misbehaviour:
                self.ban(client, link.other(end).client, str(refusal))
            elif end.conversation.heard_type != ErrorMessage.TYPE:
                refused = ErrorMessage(refusal.code, end.conversation.heard_type)
                self.send(client, end.number, refused)
            return
        if isinstance(message, Open):
            end.billed, end.signed_at_open, end.reported = 0, message.signed.utok, 0
        if isinstance(message, VoucherMessage):
            end.reported = max(end.reported, message.refused_bytes)
        self.perform(client, effects)

    def dispatch(self, client: Client, end: End, message: Message, utc: int) -> list[do.Effect]:
        if isinstance(message, Hello):
            return client.seller.met(end.number, client.payee_key, str(end.number), True, utc)
        either = isinstance(message, EITHER_WAY)
        selling = either and client.seller.has_channel(end.number, message.channel)  # type: ignore[union-attr]
        if not selling and (
            either
            or isinstance(message, Ask | Quote | Ack | ReceiptMessage | Prospect | ErrorMessage)
        ):
            if client.buyer is None:
                return []
            return client.buyer.message(end.number, message, self.now, utc)
        return client.seller.message(end.number, end.received, message, self.now, utc)

    def ask_blocks(self, link: Link, end: End) -> None:
        """A little of what this end lacks and the other has; now and then what it asked elsewhere."""
        client, other = end.client, link.other(end).client
        if client.buyer is None or not end.conversation.met:
            return
        useful = sorted(other.pieces - client.pieces)
        self.perform(client, client.buyer.interest(end.number, bool(useful), self.now))
        asked_elsewhere = {
            key
            for number in client.ends
            if (mine := client.end(number)) is not None and mine is not end
            for key in mine.asked
        }
        for piece in useful[: self.random.randint(1, 4)]:
            have = client.blocks.get(piece, {})
            for index in range(BLOCKS_PER_PIECE):
                key = piece, index
                if index in have or key in end.asked or len(end.asked) >= 12:
                    continue
                if key in asked_elsewhere and self.random.random() < 0.9:
                    continue
                end.asked[key] = end.conversation.sent_count
                self.put(link, end, Request(piece, index, end.conversation.sent_count))

    def serve(self, link: Link, end: End) -> None:
        """One block of what the other end asked for, unless withheld; the free lane is slower."""
        if not end.to_serve or end.withheld:
            return
        client = end.client
        paying = any(d.price for d in client.seller.demands(self.now) if d.connection == end.number)
        if not paying and self.random.random() < 0.5:
            return
        request, asked_after = end.to_serve.popleft()
        good = client.kind is not Kind.CORRUPT or self.random.random() < 0.6
        copies = 2 if client.kind is Kind.REPEATER and self.random.random() < 0.3 else 1
        for copy in range(copies):
            self.bill(link, end, Block(request.piece, request.index, asked_after, good, not copy))

    def bill(self, link: Link, end: End, block: Block) -> None:
        client = end.client
        buying = client.seller._buying[end.number]
        before, channel = buying.window.due.numerator, buying.channel
        effects = client.seller.served(
            end.number, BLOCK_BYTES, block.asked_after, end.conversation.sent_count, self.now
        )
        if channel is not None:
            block.channel = channel.statement.channel
            block.billed = buying.window.due.numerator - before
            end.billed += block.billed
        self.put(link, end, block)
        self.perform(client, effects)

    def take_block(self, link: Link, end: End, block: Block) -> None:
        client, buyer = end.client, end.client.buyer
        assert buyer is not None
        key = block.piece, block.index
        sent_count = end.asked.pop(key, 0)
        have = client.blocks.setdefault(block.piece, {})
        new = block.asked and block.index not in have and block.piece not in client.pieces
        payee = link.other(end).client.payee_key.public
        owed = client.owed.setdefault(payee, Owed())
        sale = buyer.sales.get(end.number)
        on = sale.channel.statement.channel if sale and sale.channel else None
        state = sale.state if sale else State.FREE
        before, refused = self.valued(buyer, end.number)
        if new:
            have[block.index] = block.good, end.number
            owed.unverified[block.piece] = owed.unverified.get(block.piece, 0) + block.billed
            self.count(client, owed)
        effects = buyer.received(
            end.number, block.piece, block.index * BLOCK_BYTES, BLOCK_BYTES, sent_count,
            block.asked, self.now,
        )  # fmt: skip
        after, refused_now = self.valued(buyer, end.number)
        if link.other(end).client.kind is Kind.HONEST and on == block.channel and state in (
            State.ACTIVE, State.PAUSED
        ):  # fmt: skip
            assert sent_count == block.asked_after or not block.asked, (
                "the two ends count differently"
            )
            if new:
                assert after - before == block.billed, "the two sides bill a block differently"
            else:
                assert after == before, "a block that was not new was billed"
                assert refused_now - refused == (BLOCK_BYTES if block.billed else 0), (
                    "the two sides bill a block differently"
                )
        self.perform(client, effects)
        if len(have) == BLOCKS_PER_PIECE and block.piece not in client.pieces:
            self.verify(client, block.piece)

    def verify(self, client: Client, piece: int) -> None:
        assert client.buyer is not None
        blocks = client.blocks.pop(piece)
        if all(good for good, _ in blocks.values()):
            client.pieces.add(piece)
            client.buyer.remaining_bytes -= PIECE_BYTES
            for owed in client.owed.values():
                owed.verified += owed.unverified.pop(piece, 0)
                self.count(client, owed)
            client.buyer.piece_passed(piece)
            return
        for owed in client.owed.values():
            owed.unverified.pop(piece, None)
        self.perform(client, client.buyer.piece_failed(piece))

    def count(self, client: Client, owed: Owed) -> None:
        limit = on_account_limit(PIECE_BYTES) * self.top_price(client)
        owed.most = max(owed.most, owed.verified + min(limit, sum(owed.unverified.values())))

    @staticmethod
    def valued(buyer: Buyer, connection: int) -> tuple[int, int]:
        delivery = buyer.meter.deliveries.get(connection)
        if delivery is None:
            return 0, 0
        runs = sum(r.byte_count * r.price.utok_per_mib for r in delivery.unverified)
        return delivery.verified_value.numerator + runs, delivery.refused_bytes

    # --- time ------------------------------------------------------------------------------------

    def step(self) -> None:
        draw = self.random
        self.now += draw.choice((0.0, 0.01, 0.05, 0.2))
        for at, action in [pair for pair in self.later if pair[0] <= self.now]:
            self.later.remove((at, action))
            action()
        for link in list(self.links):
            ends = [link.a, link.b]
            draw.shuffle(ends)
            for end in ends:
                for _ in range(draw.randint(0, 6)):
                    if link in self.links:
                        self.deliver(link, end)
                if link in self.links:
                    self.ask_blocks(link, end)
                for _ in range(draw.randint(0, 3)):
                    if link in self.links:
                        self.serve(link, end)
        for client in self.clients:
            effects = client.seller.tick(self.now, UTC + int(self.now))
            if client.buyer is not None:
                if not client.buyer.finished and len(client.pieces) == self.piece_count:
                    effects += client.buyer.finish(self.now)
                effects += client.buyer.tick(self.now)
            self.perform(client, effects)
        self.settle()
        if draw.random() < self.trouble:
            self.fault()
        if draw.random() < 0.2:
            self.reconnect()
        self.check()

    def fault(self) -> None:
        draw = self.random
        which = draw.random()
        if which < 0.6 and self.links:
            self.disconnect(draw.choice(self.links))
        elif which < 0.75:
            self.restart(draw.choice(self.clients))
        elif which < 0.9:
            buyers = [c.buyer for c in self.clients if c.buyer is not None]
            buyer = draw.choice(buyers)
            buyer.paused = not buyer.paused
        else:
            self.now += draw.choice((4.0, 30.0, 130.0))

    def reconnect(self) -> None:
        one, two = self.random.sample(self.clients, 2)
        if not any({link.a.client, link.b.client} == {one, two} for link in self.links):
            self.connect(one, two)

    def run(self, steps: int, calm: int = 400) -> None:
        """So many steps with faults, then up to ``calm`` without; then everyone leaves and settles."""
        for _ in range(steps):
            self.step()
        self.trouble = 0.0
        for client in self.clients:
            if client.buyer is not None:
                client.buyer.paused = False
        for _ in range(calm):
            if all(c.buyer is None or c.buyer.finished for c in self.clients):
                break
            self.step()
        for client in self.clients:
            if client.buyer is not None and not client.buyer.finished:
                self.perform(client, client.buyer.finish(self.now))
        for _ in range(30):
            self.step()
        for client in self.clients:
            self.perform(client, client.seller.finish())
        for _ in range(40):
            self.now += 0.1
            self.step()

    # --- the promises ----------------------------------------------------------------------------

    def check(self) -> None:
        assert self.ledger.total() == self.issued, "tokens were made or lost"
        assert all(balance >= 0 for balance in self.ledger.balances.values())
        for client in self.clients:
            if client.buyer is not None:
                self.check_budget(client, client.buyer)
            for number in client.ends:
                self.check_exposure(client, number)

    def check_budget(self, client: Client, buyer: Buyer) -> None:
        at_risk = sum(
            (account.statement.escrow if account.open else account.paid).utok
            for account in self.ledger.channels.values()
            if account.payer == client.name
        )
        assert at_risk <= buyer.plan.allowance.utok, "more was locked and paid than allowed"
        assert buyer.spent <= buyer.plan.allowance, "more was spent than allowed"

    def check_payment(self, client: Client, channel: PayerChannel) -> None:
        """I9: what was signed for a payee is never more than verified and on-account bytes cost."""
        body = channel.statement
        assert channel.signed <= self.ledger.channels[body.channel].statement.escrow
        signed = channel.signed.utok + sum(
            account.paid.utok
            for identity, account in self.ledger.channels.items()
            if account.payer == client.name
            and account.statement.payee_key == body.payee_key
            and identity != body.channel
            and not account.open
        )
        owed = client.owed.get(body.payee_key, Owed())
        assert signed * MIB <= owed.most, "more was paid than delivered"

    def check_exposure(self, client: Client, number: int) -> None:
        """I10: unpaid bytes on a connection stay within the window that earlier payments earned."""
        end, buying = client.end(number), client.seller._buying.get(number)
        if end is None or buying is None or buying.channel is None or not buying.bids:
            return
        accepted = buying.channel.accepted.utok
        paid = max(0, accepted - end.signed_at_open) * MIB
        top = max(price.utok_per_mib for _, price in buying.bids)
        low = min(price.utok_per_mib for _, price in buying.bids)
        bytes_paid = max(0, accepted) * MIB // low
        window = min(
            max(WINDOW_MAX_BYTES, bytes_paid // TRUST_DIVISOR), bytes_paid + 2 * WINDOW_MIN_BYTES
        )
        forgiven = min(
            end.reported, max(FORGIVEN_BYTES, buying.window.billed_bytes // FORGIVEN_DIVISOR)
        )
        most = (window + 2 * BLOCK_BYTES + forgiven) * top + 2 * MIB
        assert end.billed - paid <= most, "a buyer owes more than its window"


def lost_vouchers(world: World, client: Client) -> int:
    """What this seller accepted and the ledger has not paid it (µtok)."""
    return sum(
        held.accepted.utok - world.ledger.channels[identity].paid.utok
        for identity, held in client.saved_payee.items()
    )
