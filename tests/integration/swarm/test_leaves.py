"""An epoch's file of leaves comes through the swarm as it is, and nothing that is not one is taken."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from speedpay.client.leaves import fetch_leaves
from speedpay.client.publisher import Publisher
from speedpay.config import Endpoint
from speedpay.errors import NoPeers, ProofBroken
from speedpay.ledger import leaves_file
from speedpay.proof.head import EpochHead
from speedpay.proof.sum_tree import Node
from tests.scenarios.clients import address
from tests.unit.proof.anchored import Epoch


def _leaves(count: int) -> list[Node]:
    chance = random.Random(count)
    return [Node(chance.randbytes(32), chance.randrange(10**6)) for _ in range(count)]


def _published(folder: Path, count: int) -> EpochHead:
    content = b"".join(node.to_bytes() for node in _leaves(count))
    name = f"epoch-{count}.leaves"
    (folder / name).write_bytes(content)
    (folder / f"{name}.torrent").write_bytes(leaves_file.torrent(name, content))
    infohash = leaves_file.infohash(name, content)
    return replace(Epoch().head, leaf_count=count, file=infohash)


COUNTS = (1, 17, 20_000)


@pytest.fixture(scope="module")
def published(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Endpoint, dict[int, EpochHead]]]:
    folder, at = tmp_path_factory.mktemp("epochs"), address()
    heads = {count: _published(folder, count) for count in COUNTS}
    publisher = Publisher(folder, Endpoint(at, 0))
    with publisher.running():
        yield Endpoint(at, publisher.port), heads


@pytest.mark.parametrize("count", COUNTS)
def test_all_leaves_come_in_order(
    published: tuple[Endpoint, dict[int, EpochHead]], tmp_path: Path, count: int
) -> None:
    peer, heads = published
    shown: list[tuple[int, int]] = []
    found = fetch_leaves(
        heads[count], [peer], Endpoint(address(), 0), tmp_path, lambda *at: shown.append(at)
    )
    assert found == _leaves(count)
    assert shown[-1][1] == 40 * count
    assert not list(tmp_path.iterdir())


def test_a_torrent_that_is_larger_than_the_leaves_is_refused_before_it_is_had(
    published: tuple[Endpoint, dict[int, EpochHead]], tmp_path: Path
) -> None:
    peer, heads = published
    small = replace(heads[20_000], leaf_count=5)
    with pytest.raises(ProofBroken, match="holds 800000 bytes, the leaves are 200"):
        fetch_leaves(small, [peer], Endpoint(address(), 0), tmp_path)
    assert not list(tmp_path.iterdir())


def test_nobody_who_has_it_is_said(tmp_path: Path) -> None:
    head = replace(Epoch().head, file=bytes(range(20)))
    with pytest.raises(NoPeers, match="nobody gave the file of leaves of epoch 1"):
        fetch_leaves(head, [], Endpoint(address(), 0), tmp_path, patience_s=0.5)
    assert fetch_leaves(replace(head, leaf_count=0), [], Endpoint(address(), 0), tmp_path) == []
