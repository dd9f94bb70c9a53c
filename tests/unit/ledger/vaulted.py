"""A ledger with a vault on a real development chain, all in one process; time moves by hand.

``Vaulted`` has the four keys, a token, a vault, the ledger's desk and its worker for the chain. Blocks
are made only by ``mine``, so a test decides what is pending, in a block, or solid.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from speedpay.chain.artifact import load
from speedpay.chain.keys import ChainKey
from speedpay.chain.networks import DEVNET
from speedpay.chain.token import Token
from speedpay.chain.transaction import Unsigned
from speedpay.chain.tron import Tron, deployed_address
from speedpay.chain.vault import Vault
from speedpay.devnet.node import Devnet, devnet
from speedpay.ledger.chain_side.worker import ChainSettings, ChainWorker
from speedpay.ledger.schema import anchor_attempts, epochs
from speedpay.ledger.service import Settings
from speedpay.ledger_api import chain
from speedpay.ledger_api.chain import ChainHealth
from speedpay.ledger_api.epochs import NamePayout, name_payout
from speedpay.proof.balance import Anchored
from speedpay.signing import SigningKey
from speedpay.units import Amount
from tests.unit.ledger.desk import Desk, Person, fresh

TRX = 1_000_000
SOLID = 19
#: Seconds: between anchors, until one is final, of silence, for deposits.
INTERVAL, DELAY, SILENCE, GRACE = 60, 120, 7200, 120
FEE_SUN = 2_000 * TRX
#: Withdrawals released in one epoch.
LIMIT = Amount(1_000_000)


@dataclass
class ChainTime:
    """The chain's clock is the ledger's, too."""

    node: Devnet

    def __call__(self) -> float:
        return self.node.chain.clock.now_ms() / 1000


def chain_key() -> ChainKey:
    return ChainKey(os.urandom(32))


@dataclass
class Vaulted:
    node: Devnet
    folder: Path
    epoch_interval_s: int = INTERVAL
    limit: Amount = LIMIT
    owner: ChainKey = field(default_factory=chain_key)
    operator: ChainKey = field(default_factory=chain_key)
    guardian: ChainKey = field(default_factory=chain_key)
    user: ChainKey = field(default_factory=chain_key)

    def __post_init__(self) -> None:
        self.clock = ChainTime(self.node)
        self.tron = self.connect([one.url for one in self.node.nodes[:1]])
        for key in (self.owner, self.operator, self.guardian, self.user):
            self.node.faucet(key.address, 10_000 * TRX)
        self.node.mine()
        self.token = Token(self.tron, self._deploy("Token", [self.owner.address, 10**15]))
        self.vault = Vault(self.tron, self.new_vault())
        self.send(
            self.token.prepare_mint(self.owner.address, self.user.address, 10**12), self.owner
        )
        approve = self.token.prepare_approve(self.user.address, self.vault.address, 10**12)
        self.send(approve, self.user)
        self.solidify()
        settings = Settings(
            unlimited_loopback=True, epoch_interval_s=self.epoch_interval_s,
            withdrawals_per_epoch=self.limit,
        )  # fmt: skip
        self.desk = Desk(self.folder, settings, self.clock)  # type: ignore[arg-type]
        self.worker = self.another_worker()

    def connect(self, urls: Sequence[str]) -> Tron:
        return Tron(DEVNET, urls, clock=self.clock, timeout_s=2, attempts=1, sleep=lambda _: None)

    def another_worker(self, tron: Tron | None = None) -> ChainWorker:
        """As after a restart: it remembers nothing that is not in the database."""
        vault = Vault(tron or self.tron, self.vault.address)
        return ChainWorker(self.desk.service, vault, self.operator, ChainSettings())

    def new_vault(self, token: Token | None = None) -> bytes:
        paid_in = (token or self.token).address
        keys = [paid_in, self.operator.address, self.guardian.address]
        return self._deploy("Vault", [*keys, INTERVAL, DELAY, SILENCE, GRACE])

    def _deploy(self, name: str, arguments: list[object]) -> bytes:
        owner = self.owner.address
        made = self.tron.prepare_deploy(owner, load(name), arguments, FEE_SUN)
        self.send(made, self.owner)
        return deployed_address(made, owner)

    def send(self, made: Unsigned, key: ChainKey) -> bytes:
        """Into the next block; returns the txid."""
        signed = made.sign(key)
        self.tron.broadcast(signed)
        self.node.mine()
        receipt = self.tron.receipt(signed.txid)
        assert receipt is not None
        assert receipt.ok, receipt.result
        return signed.txid

    def deposit(self, account: bytes, utok: int, vault: bytes | None = None) -> bytes:
        """In a block, not solid yet."""
        target = Vault(self.tron, vault) if vault else self.vault
        made = target.prepare_deposit(self.user.address, Amount(utok), account)
        return self.send(made, self.user)

    def solidify(self) -> None:
        self.node.mine(SOLID)

    def pass_time(self, seconds: float) -> None:
        self.node.advance(seconds)
        self.node.mine()

    def payee(self, utok: int) -> tuple[Person, ChainKey]:
        """Somebody who has paid in, and the key of his payout address."""
        secret = os.urandom(32)
        person, key = self.desk.person(), ChainKey(secret)
        order = NamePayout.sign(
            SigningKey(secret), key.address, os.urandom(32), self.desk.service.domain,
            person.account,
        )  # fmt: skip
        self.desk.ask(name_payout(person.key, person.account, order, fresh()))
        self.deposit(person.account, utok)
        self.solidify()
        self.round()
        return person, key

    def round(self) -> None:
        """One round of the worker in which nothing goes wrong."""
        assert self.worker.round(), self.health().alarms

    def settle_epoch(self) -> int:
        """Close an epoch when it is due and bring it into a solid block. Returns its number."""
        self.pass_time(INTERVAL + 1)
        self.round()
        self.solidify()
        self.round()
        health = self.health()
        assert health.anchor is not None
        assert health.anchor.epoch == health.closed
        return int(health.closed)

    def health(self) -> ChainHealth:
        return self.desk.ask(chain.health())

    def state(self, epoch: int) -> str:
        return str(self.rows(epochs.c.state, epochs.c.number == epoch)[0][0])

    def attempts(self, epoch: int) -> list[sa.Row[tuple[object, ...]]]:
        return self.rows(anchor_attempts, anchor_attempts.c.epoch == epoch)

    def rows(
        self, what: sa.Table | sa.Column[object], where: sa.ColumnElement[bool]
    ) -> list[sa.Row[tuple[object, ...]]]:
        with self.desk.service.database.read() as connection:
            return list(connection.execute(sa.select(what).where(where)).all())

    def anchored(self) -> list[Anchored]:
        """Every anchor that stands in a final block, in the chain's order."""
        solid = self.tron.solid().number
        return self.vault.anchors(0, solid)

    def close(self) -> None:
        self.tron.close()
        self.desk.service.close()


@contextmanager
def vaulted(folder: Path, nodes: int = 1, **how: object) -> Iterator[Vaulted]:
    with devnet(block_time=None, nodes=nodes) as node:
        made = Vaulted(node, folder, **how)  # type: ignore[arg-type]
        try:
            yield made
        finally:
            made.close()
