"""The energy of one anchor: the vault's real bytecode on the development chain, the ring of 8 being full.

The first 8 anchors of a vault fill empty slots and cost three times as much; they are not counted. Read by
``bench_epoch.py``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

from speedpay.chain.artifact import load
from speedpay.chain.keys import ChainKey
from speedpay.chain.networks import DEVNET
from speedpay.chain.token import Token
from speedpay.chain.transaction import Unsigned
from speedpay.chain.tron import Receipt, Tron, deployed_address
from speedpay.chain.vault import Vault
from speedpay.devnet.node import Devnet, devnet
from speedpay.proof.head import NO_HEAD, EpochHead
from speedpay.signing import Domain
from speedpay.units import Amount

RING = 8
_INTERVAL_S, _DELAY_S, _SILENCE_S, _GRACE_S = 60, 120, 7200, 120
_DEPOSIT = Amount(10**12)
_FEE_SUN = 2_000_000_000
_DOMAIN = Domain("devnet", bytes(32))


class Anchors:
    """A vault with a deposit; ``energy`` anchors its next epoch."""

    def __init__(self, node: Devnet, tron: Tron, source: random.Random) -> None:
        self._node, self._tron, self._source = node, tron, source
        self._key = ChainKey(source.randbytes(32))
        node.faucet(self._key.address, 10**11)
        node.mine()
        own = self._key.address
        token = Token(tron, self._deploy("Token", [own, 10**15]))
        guardian = ChainKey(source.randbytes(32)).address
        terms = [token.address, own, guardian, _INTERVAL_S, _DELAY_S, _SILENCE_S, _GRACE_S]
        self._vault = Vault(tron, self._deploy("Vault", terms))
        self._send(token.prepare_mint(own, own, _DEPOSIT.utok))
        self._send(token.prepare_approve(own, self._vault.address, _DEPOSIT.utok))
        self._send(self._vault.prepare_deposit(own, _DEPOSIT, source.randbytes(16)))
        self._epoch, self._prev = 0, NO_HEAD
        for _ in range(RING):
            self.energy()

    def energy(self) -> int:
        """Every word that an anchor stores is another one than before: the dearest case."""
        self._epoch += 1
        draw = self._source.randbytes
        head = EpochHead(
            epoch=self._epoch, closed_at=self._tron.head().time_s, chain_id=self._tron.chain_id,
            vault=self._vault.address, root=draw(32), liabilities=Amount(10**11 + self._epoch),
            credit=Amount(5), leaf_count=1000, journal_size=1000 * self._epoch,
            journal_root=draw(32), deposit_seq=1, file=draw(20), prev=self._prev,
        )  # fmt: skip
        self._prev = head.hash(_DOMAIN)
        self._node.advance(_INTERVAL_S + 1)
        self._node.mine()
        sent = self._send(self._vault.prepare_anchor(self._key.address, head, self._prev))
        return sent.energy

    def _deploy(self, name: str, arguments: list[object]) -> bytes:
        made = self._tron.prepare_deploy(self._key.address, load(name), arguments, _FEE_SUN)
        self._send(made)
        return deployed_address(made, self._key.address)

    def _send(self, made: Unsigned) -> Receipt:
        signed = made.sign(self._key)
        self._tron.broadcast(signed)
        self._node.mine()
        receipt = self._tron.receipt(signed.txid)
        if receipt is None or not receipt.ok:
            raise RuntimeError(f"the development chain refused {signed.txid.hex()}")
        return receipt


@contextmanager
def anchors(source: random.Random) -> Iterator[Anchors]:
    with devnet(block_time=None) as node:
        tron = Tron(DEVNET, [node.url], clock=lambda: node.chain.clock.now_ms() / 1000)
        try:
            yield Anchors(node, tron, source)
        finally:
            tron.close()
