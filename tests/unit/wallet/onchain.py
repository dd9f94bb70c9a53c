"""A development chain with token and vault, and people who have keys on it. Tests of money on the chain."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from speedpay.chain import artifact
from speedpay.chain.answers import Receipt
from speedpay.chain.keys import ChainKey
from speedpay.chain.networks import DEVNET
from speedpay.chain.token import Token
from speedpay.chain.transaction import Unsigned
from speedpay.chain.tron import Tron
from speedpay.chain.vault import Vault
from speedpay.devnet.node import Devnet, devnet
from speedpay.proof.balance import BalanceProof
from speedpay.proof.evidence import CertifiedHead, Evidence
from speedpay.proof.head import NO_HEAD, EpochHead, SignedHead
from speedpay.proof.leaf import Leaf
from speedpay.proof.sum_tree import path_of, root_of
from speedpay.signing import Certificate, Domain, SigningKey, ledger_id
from speedpay.units import Amount
from speedpay.wallet.outbox import Outbox, Report

SUN = 1_000_000
ROOT, RESPONSE = SigningKey(bytes(31) + b"\x01"), SigningKey(bytes(31) + b"\x02")
DOMAIN = Domain("devnet", ledger_id(ROOT.public))
CERTIFICATE = Certificate.issue(ROOT, "devnet", RESPONSE.public, 0, 4_000_000_000)
#: Seconds: least between anchors, until an anchor counts, until anybody may freeze, deposits' grace.
INTERVAL, DELAY, SILENCE, GRACE = 60, 200, 300, 600


def key(name: str) -> ChainKey:
    return ChainKey(hashlib.sha256(name.encode()).digest())


OPERATOR, GUARDIAN, MINTER = key("operator"), key("guardian"), key("minter")


@dataclass
class World:
    """``people`` have TRX; tokens are minted. Epochs are anchored without a ledger."""

    devnet: Devnet
    tron: Tron
    vault: Vault
    token: Token
    heads: list[EpochHead] = field(default_factory=list)
    trees: dict[int, list[Leaf]] = field(default_factory=dict)

    def do(self, who: ChainKey, made: Unsigned) -> Receipt:
        signed = made.sign(who)
        self.tron.broadcast(signed)
        return self.tron.wait(signed)

    def mint(self, to: bytes, tok: int) -> None:
        self.do(MINTER, self.token.prepare_mint(MINTER.address, to, tok * SUN))

    def rich(self, name: str, trx: int = 1_000, tok: int = 0) -> ChainKey:
        made = key(name)
        if trx:
            self.devnet.faucet(made.address, trx * SUN)
        if tok:
            self.mint(made.address, tok)
        self.solid()
        return made

    def solid(self) -> None:
        """All that has happened is final."""
        self.devnet.mine(20)

    def leaf(self, account: bytes, payout: bytes, withdrawable: int, balance: int) -> Leaf:
        salt = hashlib.sha256(account).digest()
        chain_id, vault = self.tron.chain_id, self.vault.address
        return Leaf(chain_id, vault, account, payout, Amount(withdrawable), Amount(balance), salt)

    def anchor(self, leaves: Sequence[Leaf], deposit_seq: int) -> EpochHead:
        """Closes and anchors an epoch with these leaves, ``INTERVAL`` after the one before."""
        nodes = [one.node() for one in leaves]
        root = root_of(nodes)
        before = self.heads[-1] if self.heads else None
        head = EpochHead(
            len(self.heads) + 1, self.tron.head().time_s, self.tron.chain_id, self.vault.address,
            root.hash, Amount(root.sum), Amount(0), len(leaves), 7, bytes(32), deposit_seq,
            bytes(20), before.hash(DOMAIN) if before else NO_HEAD,
        )  # fmt: skip
        self.devnet.advance(INTERVAL + 1)
        self.devnet.mine()
        made = self.vault.prepare_anchor(OPERATOR.address, head, head.hash(DOMAIN))
        self.do(OPERATOR, made)
        self.heads.append(head)
        self.trees[head.epoch] = list(leaves)
        self.solid()
        return head

    def evidence(self, epoch: int, position: int = 0) -> Evidence:
        """What the owner of that leaf has kept."""
        leaves, head = self.trees[epoch], self.heads[epoch - 1]
        leaf = leaves[position]
        proof = BalanceProof(
            epoch, position, leaf.account, leaf.payout, leaf.withdrawable, leaf.balance, leaf.salt,
            path_of([one.node() for one in leaves], position),
        )  # fmt: skip
        return Evidence(
            DOMAIN, leaf.chain_id, leaf.vault, leaf.account, "ok", proof,
            CertifiedHead(SignedHead.sign(RESPONSE, DOMAIN, head), CERTIFICATE),
        )  # fmt: skip

    def deposit(self, who: ChainKey, account: bytes, tok: int) -> None:
        amount = tok * SUN
        self.do(who, self.token.prepare_approve(who.address, self.vault.address, amount))
        self.do(who, self.vault.prepare_deposit(who.address, Amount(amount), account))

    def freeze(self) -> None:
        self.do(GUARDIAN, self.vault.prepare_freeze(GUARDIAN.address))
        self.solid()

    def outbox(
        self, folder: Path, who: ChainKey, name: str = "job", report: Report | None = None
    ) -> Outbox:
        """Waits by making blocks, not by the clock."""
        how = {"report": report} if report else {}
        return Outbox(
            folder,
            name,
            self.tron,
            who,
            poll_s=0,
            resend_s=0,
            sleep=lambda _: self._next_block(),
            **how,
        )

    def _next_block(self) -> None:
        self.devnet.mine()


@contextmanager
def world(nodes: int = 1) -> Iterator[World]:
    """Blocks come only by ``mine`` and while somebody waits for one."""
    with devnet(block_time=None, nodes=nodes) as chain:
        for who in (OPERATOR, GUARDIAN, MINTER):
            chain.faucet(who.address, 100_000 * SUN)
        chain.mine()
        urls = [node.url for node in chain.nodes]
        with Tron(DEVNET, urls, sleep=lambda _: _mined(chain.mine)) as tron:
            token = _deploy(tron, artifact.TOKEN, [MINTER.address, 2**63 - 1])
            terms = [token, OPERATOR.address, GUARDIAN.address, INTERVAL, DELAY, SILENCE, GRACE]
            vault = _deploy(tron, artifact.VAULT, terms)
            yield World(chain, tron, Vault(tron, vault), Token(tron, token))


def _mined(mine: Callable[[], int]) -> None:
    mine()


def _deploy(tron: Tron, name: str, arguments: list[object]) -> bytes:
    made = tron.prepare_deploy(OPERATOR.address, artifact.load(name), arguments, 1_000 * SUN)
    signed = made.sign(OPERATOR)
    tron.broadcast(signed)
    receipt = tron.wait(signed)
    assert receipt.contract is not None
    return receipt.contract


def changed(evidence: Evidence, **proof: object) -> Evidence:
    """The same file with another proof in it."""
    assert evidence.proof is not None
    return replace(evidence, proof=replace(evidence.proof, **proof))
