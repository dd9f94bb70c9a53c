"""One simulated peer: it holds pieces, perhaps buys, and sells what it holds; and what its store keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from speedpay.channel.payee import PayeeChannel
from speedpay.channel.payer import PayerChannel
from speedpay.channel.voucher import SignedStatement
from speedpay.market.bidder import Plan
from speedpay.peer.buyer import Buyer
from speedpay.peer.seller import Seller, Terms
from speedpay.signing import SigningKey
from speedpay.units import ZERO, Amount, MoneyClass, Price, Share
from tests.simulation.parts import (
    CERTIFICATES,
    DOMAIN,
    INFOHASH,
    PIECE_BYTES,
    RESPONSE,
    End,
    Kind,
    Link,
    Owed,
)

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(frozen=True)
class Stored:
    """A copy of a client's store, as a backup has it."""

    payer: dict[bytes, tuple[PayerChannel, SigningKey]]
    payee: dict[bytes, PayeeChannel]
    settled: Amount


class Client:
    """``wallet``: whose money and keys it uses; two clients may share one, each with its own store.
    ``copies``: how often it went on from a store that was not its newest."""

    def __init__(
        self, world: World, name: str, kind: Kind, plan: Plan | None, ask: Price, wallet: str
    ) -> None:
        self.world, self.name, self.kind, self.plan, self.wallet = world, name, kind, plan, wallet
        self.payee_key = world.key(f"payee {wallet}")
        self.terms = Terms(ask, frozenset(MoneyClass), Share(250_000))
        self.ends: dict[int, Link] = {}
        self.pieces: set[int] = set()
        self.blocks: dict[int, dict[int, tuple[bool, int]]] = {}
        self.saved_payer: dict[bytes, tuple[PayerChannel, SigningKey]] = {}
        self.saved_payee: dict[bytes, PayeeChannel] = {}
        self.settled = ZERO
        self.banned: set[str] = set()
        self.owed: dict[bytes, Owed] = {}
        self.copies = 0
        self.backup: Stored | None = None
        self.buyer: Buyer | None = None
        self.uplink = world.random.choice((0, 200_000, 2_000_000))  # as it says in prospects
        self.start()

    def start(self) -> None:
        self.seller = Seller(DOMAIN, CERTIFICATES, self.terms, self.saved_payee.values())
        self.seller.uplink = self.uplink
        if self.plan is not None:
            self._start_buying()

    def _start_buying(self) -> None:
        assert self.plan is not None
        # Orders are durable: what the ledger added for an earlier run is in the store by now.
        ledger = self.world.ledger
        for identity, (channel, key) in list(self.saved_payer.items()):
            statement = ledger.channels[identity].statement
            opened = SignedStatement.sign(RESPONSE, DOMAIN, statement)
            self.saved_payer[identity] = channel.topped_up(opened), key
        open_now = [p for i, p in self.saved_payer.items() if ledger.channels[i].open]
        self.buyer = Buyer(
            DOMAIN, self.plan, MoneyClass.CREDIT, PIECE_BYTES, self.settled, open_now,
            infohash=INFOHASH,
        )  # fmt: skip
        self.plan = self.buyer.plan
        self.buyer.remaining_bytes = (self.world.piece_count - len(self.pieces)) * PIECE_BYTES
        for channel, _ in open_now:
            self.world.awaited.append((self, channel.statement.channel))

    def back_up(self) -> None:
        self.backup = Stored(dict(self.saved_payer), dict(self.saved_payee), self.settled)

    def restore(self) -> None:
        """The store is as it was when it was copied; what came after it is forgotten."""
        if self.backup is not None:
            self.copies += 1
            self.saved_payer = dict(self.backup.payer)
            self.saved_payee = dict(self.backup.payee)
            self.settled = self.backup.settled

    @property
    def remembers(self) -> bool:
        """Whether it knows all that it has promised."""
        return not self.copies

    def end(self, number: int) -> End | None:
        link = self.ends.get(number)
        if link is None:
            return None
        return link.a if link.a.client is self and link.a.number == number else link.b
