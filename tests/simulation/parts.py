"""What a simulated market is made of: kinds of clients, the ledger, links and what travels on them."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from speedpay.certificates import CertificateSet
from speedpay.channel.payee import check_voucher
from speedpay.channel.voucher import SignedStatement, Statement, Voucher, channel_id
from speedpay.errors import BalanceTooSmall, ChannelClosed
from speedpay.market.metering import BLOCK_BYTES
from speedpay.peer.conversation import Conversation
from speedpay.signing import Certificate, Domain, SigningKey, ledger_id
from speedpay.units import ZERO, Amount, MoneyClass, Share

if TYPE_CHECKING:
    from tests.simulation.client import Client

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
    FORGER = "makes messages up, and repeats those of others"


BAD_SELLERS = (Kind.CORRUPT, Kind.MUTE, Kind.HOARDER, Kind.BOASTER, Kind.REPEATER, Kind.FORGER)
BAD_BUYERS = (Kind.THIEF, Kind.COMPLAINER, Kind.FORGER)


@dataclass
class Account:
    """A channel at the ledger. ``payer``: the client that opened it; ``wallet``: whose money it is;
    ``payee``: the wallet that is paid."""

    statement: Statement
    payer: str
    wallet: str
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

    def open(self, payer: str, wallet: str, payer_key: bytes, payee_key: bytes, nonce: bytes,
             amount: Amount, expiry: int) -> SignedStatement:  # fmt: skip
        self._take(wallet, amount)
        identity = channel_id(DOMAIN, payer_key, payee_key, nonce)
        statement = Statement(identity, payer_key, payee_key, nonce, MoneyClass.CREDIT, amount,
                              expiry, 86_400, Share(0))  # fmt: skip
        self.channels[identity] = Account(statement, payer, wallet, self.names[payee_key])
        return SignedStatement.sign(RESPONSE, DOMAIN, statement)

    def top_up(self, identity: bytes, amount: Amount) -> SignedStatement:
        account = self.channels[identity]
        if not account.open:
            raise ChannelClosed("is closed", field="channel")
        self._take(account.wallet, amount)
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
            self.balances[account.wallet] += (body.escrow - account.paid).utok

    def _take(self, wallet: str, amount: Amount) -> None:
        if self.balances[wallet] < amount.utok:
            raise BalanceTooSmall("does not hold that much", field="amount")
        self.balances[wallet] -= amount.utok


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


Item = bytes | Block | Request


@dataclass
class End:
    """One end of a link. ``inbox`` holds what is on its way here, in order."""

    client: Client
    number: int
    conversation: Conversation
    inbox: deque[Item] = field(default_factory=deque)
    received: int = 0
    to_serve: deque[tuple[Request, int]] = field(default_factory=deque)
    asked: dict[tuple[int, int], int] = field(default_factory=dict)
    withheld: bool = False
    #: What the buyer was told last: whether it wants anything of the other end.
    wants: bool | None = None
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
