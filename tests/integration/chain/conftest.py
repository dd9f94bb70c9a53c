"""A development chain of two nodes whose blocks are made when somebody waits, and money on it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from speedpay.chain import artifact
from speedpay.chain.answers import Receipt
from speedpay.chain.keys import ChainKey
from speedpay.chain.networks import DEVNET
from speedpay.chain.token import Token
from speedpay.chain.transaction import Unsigned
from speedpay.chain.tron import Tron, deployed_address
from speedpay.chain.vault import Vault
from speedpay.devnet.node import Devnet, devnet
from speedpay.units import Amount

TRX = 1_000_000
#: A block is final when 18 stand on it.
SOLID = 19


@pytest.fixture(scope="module")
def _net() -> Iterator[Devnet]:
    with new_net() as chain:
        yield chain


@pytest.fixture
def net(_net: Devnet) -> Iterator[Devnet]:
    """No block but by ``mine``, and one for each pause of a ``Tron`` that ``connect`` makes.

    One chain for all tests of a file, because ending one takes longer than most of them.
    """
    yield _net
    for node in _net.nodes:
        node.heal()


@contextmanager
def new_net() -> Iterator[Devnet]:
    """For what would disturb the next test, such as an hour that passes."""
    with devnet(block_time=None, nodes=2) as chain:
        chain.mine(SOLID)
        yield chain


Connect = Callable[..., Tron]


@pytest.fixture
def connect(net: Devnet) -> Iterator[Connect]:
    """``connect()``: both nodes; ``connect(url, …)``: these. Time-outs are short, waiting makes blocks."""
    made: list[Tron] = []

    def connected(*urls: str, **options: object) -> Tron:
        how: dict[str, object] = {"timeout_s": 0.5, "attempts": 2, "sleep": lambda _s: net.mine()}
        tron = Tron(DEVNET, urls or [node.url for node in net.nodes], **(how | options))  # type: ignore[arg-type]
        made.append(tron)
        return tron

    yield connected
    for tron in made:
        tron.close()


@pytest.fixture
def tron(connect: Connect) -> Tron:
    return connect()


@pytest.fixture
def alice(net: Devnet) -> ChainKey:
    """Holds 1,000 TRX."""
    return rich(net)


def rich(net: Devnet, sun: int = 1000 * TRX) -> ChainKey:
    key = ChainKey(secrets.token_bytes(32))
    net.faucet(key.address, sun)
    net.mine()
    return key


def done(tron: Tron, key: ChainKey, unsigned: Unsigned) -> Receipt:
    """Signed, sent, and in a block."""
    signed = unsigned.sign(key)
    tron.broadcast(signed)
    return tron.wait(signed)


@dataclass
class Contracts:
    """Alice is operator and minter, and holds 1,000 tok, which the vault may take."""

    net: Devnet
    tron: Tron
    alice: ChainKey
    guardian: ChainKey
    token: Token
    vault: Vault


@pytest.fixture
def contracts(net: Devnet, tron: Tron, alice: ChainKey) -> Contracts:
    guardian, me = rich(net), alice.address
    deploy = tron.prepare_deploy(me, artifact.load(artifact.TOKEN), [me, 10**15], 100 * TRX)
    done(tron, alice, deploy)
    token = Token(tron, deployed_address(deploy, me))
    arguments = [token.address, me, guardian.address, 1, 3, 600, 600]
    deploy = tron.prepare_deploy(me, artifact.load(artifact.VAULT), arguments, 500 * TRX)
    done(tron, alice, deploy)
    vault = Vault(tron, deployed_address(deploy, me))
    done(tron, alice, token.prepare_mint(me, me, Amount.from_tokens("1000").utok))
    done(tron, alice, token.prepare_approve(me, vault.address, Amount.from_tokens("1000").utok))
    return Contracts(net, tron, alice, guardian, token, vault)
