"""A whole market in one process: buyers, sellers, a ledger and their links, from the pure core and a seed.

Nothing here decides anything about money: conversations, buyers and sellers are the real ones, with their
signatures and seals; links carry messages, requests and blocks in order, with the counters of
``swarm/events.py``; the ledger is a few dictionaries and the one check of a voucher. ``World.step`` does a
little of everything in an order drawn from the seed, with cuts, restarts on the newest store or an old
one, answers that are late, second connections, corrupt blocks, liars and forgers; after each step
``promises.check`` holds the promises against books of its own.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

from speedpay.market.bidder import Plan
from speedpay.market.metering import on_account_limit
from speedpay.peer.conversation import Conversation
from speedpay.peer.sealing import MAX_SEALED_BYTES, Handshake
from speedpay.signing import SigningKey
from speedpay.units import Amount, Price, Share
from tests.simulation import forging, promises, traffic
from tests.simulation.client import Client
from tests.simulation.dealings import Dealings
from tests.simulation.parts import (
    BAD_BUYERS,
    BAD_SELLERS,
    DOMAIN,
    INFOHASH,
    PIECE_BYTES,
    UTC,
    End,
    Item,
    Kind,
    Ledger,
    Link,
)

_RECORDED = 32
_TICK_S = 0.05  # a client has 0.1


class World(Dealings):
    """``seed`` decides everything. ``trouble``: how likely a fault is in a step."""

    def __init__(self, seed: int, trouble: float = 0.02) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.trouble = trouble
        self.steps = 0
        self.now = 1000.0
        self.ledger = Ledger()
        self.clients: list[Client] = []
        self.links: list[Link] = []
        self.awaited: list[tuple[Client, bytes]] = []
        self.later: list[tuple[float, Callable[[], None]]] = []
        #: The checker's: the highest total that the owner of a channel signed; paid and open, when last seen.
        self.signed: dict[bytes, int] = {}
        self.known_paid: dict[bytes, tuple[Amount, bool]] = {}
        #: Payloads that passed on any link: for whoever repeats them elsewhere.
        self.recorded: list[bytes] = []
        self.forged = 0
        self._ticked_at = 0.0
        self._connections = 0
        self.piece_count = self.random.choice((6, 6, 12, 24))
        self._populate()
        self.issued = self.ledger.total()
        for a in range(len(self.clients)):
            for b in range(a + 1, len(self.clients)):
                self.connect(self.clients[a], self.clients[b])

    # --- parts -----------------------------------------------------------------------------------

    def _populate(self) -> None:
        draw = self.random
        ask = Price(draw.choice((1, 40, 1000, 24_414)))
        wallet = ""
        for number in range(draw.randint(1, 3)):
            kind = draw.choice(BAD_SELLERS) if draw.random() < 0.3 else Kind.HONEST
            wallet = wallet if wallet and draw.random() < 0.1 else f"seller {number}"
            self.add(f"seller {number}", kind, None, ask, 0, wallet)
        wallet = ""
        for number in range(draw.randint(1, 3)):
            kind = draw.choice(BAD_BUYERS) if draw.random() < 0.25 else Kind.HONEST
            balance = Amount(draw.choice((50, 5_000, 1_000_000, 100_000_000)))
            size = self.piece_count * PIECE_BYTES
            plan = Plan(Share(draw.choice((50_000, 250_000, 1_000_000))), balance, size, size,
                        max_spend=draw.choice((None, None, Amount(20_000))))  # fmt: skip
            wallet = wallet if wallet and draw.random() < 0.1 else f"buyer {number}"
            self.add(f"buyer {number}", kind, plan, ask, balance.utok, wallet)

    def key(self, name: str) -> SigningKey:
        return SigningKey(hashlib.sha256(f"{self.seed} {name}".encode()).digest())

    def add(
        self, name: str, kind: Kind, plan: Plan | None, ask: Price, balance: int, wallet: str
    ) -> None:
        self.ledger.balances.setdefault(wallet, balance)
        client = Client(self, name, kind, plan, ask, wallet)
        if plan is None:
            client.pieces = set(range(self.piece_count))
        self.ledger.names[client.payee_key.public] = wallet
        self.clients.append(client)

    @property
    def simple(self) -> bool:
        """All are honest, no two share a wallet, and nobody went on from an old store."""
        wallets = {client.wallet for client in self.clients}
        return len(wallets) == len(self.clients) and all(
            client.kind is Kind.HONEST and client.remembers for client in self.clients
        )

    # --- connections -----------------------------------------------------------------------------

    def connect(self, one: Client, two: Client) -> None:
        banned = two.name in one.banned or one.name in two.banned
        if banned and Kind.FORGER not in (one.kind, two.kind):
            return  # a forger comes back from another address
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

    def put(self, link: Link, sender: End, item: Item) -> None:
        if isinstance(item, bytes):
            assert len(item) <= MAX_SEALED_BYTES, "I14: a message is too long"
            self.recorded.append(item)
            del self.recorded[:-_RECORDED]
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

    def restart(self, client: Client, old: bool = False) -> None:
        """The process dies and starts with what its store holds; ``old``: with what a copy of it held."""
        for link in [link for link in self.links if client in (link.a.client, link.b.client)]:
            self.links.remove(link)
            for end in (link.a, link.b):
                if end.client is client:
                    client.ends.pop(end.number, None)
                else:
                    self.soon(lambda end=end: self.gone(end))  # type: ignore[misc]
        client.ends.clear()
        client.blocks.clear()
        for owed in client.owed.values():
            owed.unverified.clear()
            # A new process knows nothing of unverified bytes that were paid for: one limit more.
            owed.most += on_account_limit(PIECE_BYTES) * promises.top_price(client)
        if old:
            client.restore()
        client.start()

    def soon(self, action: Callable[[], None]) -> None:
        self.later.append((self.now + self.random.random() * 2, action))

    # --- time ------------------------------------------------------------------------------------

    def step(self) -> None:
        draw = self.random
        self.steps += 1
        self.now += draw.choice((0.0, 0.01, 0.05, 0.2))
        self.answer()
        for link in list(self.links):
            ends = [link.a, link.b]
            draw.shuffle(ends)
            for end in ends:
                self._between(link, end)
        if self.now - self._ticked_at >= _TICK_S:
            self._ticked_at = self.now
            for client in self.clients:
                self.tick(client)
        self.settle()
        if draw.random() < self.trouble:
            self.fault()
        if draw.random() < 0.2:
            self.reconnect(twice=0.03)
        if draw.random() < self.trouble:
            draw.choice(self.clients).back_up()
        promises.check(self)

    def answer(self) -> None:
        """Whatever is due by now."""
        due = [pair for pair in self.later if pair[0] <= self.now]
        for at, action in due:
            self.later.remove((at, action))
            action()

    def _between(self, link: Link, end: End) -> None:
        draw = self.random
        for _ in range(draw.randint(0, 6) if end.inbox else 0):
            if not end.inbox or link not in self.links:
                break
            traffic.deliver(self, link, end)
        if end.client.kind is Kind.FORGER and link in self.links and draw.random() < 0.1:
            forging.forge(self, link, end)
        if link in self.links:
            traffic.ask_blocks(self, link, end)
        for _ in range(draw.randint(0, 3) if end.to_serve else 0):
            if not end.to_serve or link not in self.links:
                break
            traffic.serve(self, link, end)

    def tick(self, client: Client) -> None:
        effects = client.seller.tick(self.now, UTC + int(self.now))
        if client.buyer is not None:
            if not client.buyer.finished and len(client.pieces) == self.piece_count:
                effects += client.buyer.finish(self.now)
            effects += client.buyer.tick(self.now)
        self.perform(client, effects)

    def fault(self) -> None:
        draw = self.random
        which = draw.random()
        if which < 0.5 and self.links:
            self.disconnect(draw.choice(self.links))
        elif which < 0.65:
            self.restart(draw.choice(self.clients))
        elif which < 0.75:
            self.restart(
                draw.choice([c for c in self.clients if c.backup] or self.clients), old=True
            )
        elif which < 0.9:
            buyer = draw.choice([c.buyer for c in self.clients if c.buyer is not None])
            buyer.paused = not buyer.paused
        else:
            self.now += draw.choice((4.0, 30.0, 130.0))

    def reconnect(self, twice: float = 0.0) -> None:
        """Two that are not connected; with the chance ``twice`` also two that are: by IPv4 and IPv6, or
        before one of them knows that the old connection is gone."""
        one, two = self.random.sample(self.clients, 2)
        known = sum({link.a.client, link.b.client} == {one, two} for link in self.links)
        if not known or (known == 1 and self.random.random() < twice * bool(self.trouble)):
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
        self._come_to_rest(30)
        for client in self.clients:
            self.perform(client, client.seller.finish())
        self._come_to_rest(70)

    def _come_to_rest(self, most: int) -> None:
        """Until nothing is on its way any more, and everything that closed was noticed."""
        for _ in range(most):
            on_links = any(link.a.inbox or link.b.inbox for link in self.links)
            closed = any(not self.ledger.channels[channel].open for _, channel in self.awaited)
            if not (on_links or closed or self.later):
                break
            self.now += 0.1
            self.step()
