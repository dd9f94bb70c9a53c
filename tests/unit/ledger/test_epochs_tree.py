"""The stored trees against the pure ones of ``speedpay/proof``, over random changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from random import Random

import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from hypothesis import given, settings

from speedpay.errors import BooksBroken
from speedpay.ledger import migrations, tree
from speedpay.ledger.tree import NO_TREE, Tree
from speedpay.proof.sum_tree import Node, path_of, root_of
from speedpay.units import MAX_UTOK


@pytest.fixture
def connection() -> Iterator[sa.Connection]:
    with sa.create_engine("sqlite://").begin() as made:
        migrations.upgrade(made)
        yield made


def leaf(tag: object, utok: int = 1) -> Node:
    return Node(hashlib.sha256(repr(tag).encode()).digest(), utok)


def grown(connection: sa.Connection, before: Tree, leaves: list[Node], changed: set[int]) -> Tree:
    """The next tree, compared with the pure one leaf by leaf where that is cheap."""
    changes = {
        at: leaves[at].to_bytes() for at in changed | {*range(before.leaf_count, len(leaves))}
    }
    updated = tree.update(connection, before, changes, len(leaves))
    assert updated.root == root_of(leaves) == tree.root(connection, updated.tree)
    stored = b"".join(tree.leaf_nodes(connection, updated.tree))
    assert stored == b"".join(one.to_bytes() for one in leaves)
    assert list(tree.broken_rows(connection, updated.tree, {})) == []
    return updated.tree


@settings(max_examples=12)
@given(
    sizes=st.lists(st.integers(0, 600), min_size=1, max_size=5),
    seed=st.integers(0, 2**32),
    share=st.floats(0, 1),
)
def test_every_epoch_has_the_root_and_the_paths_of_the_pure_tree(
    sizes: list[int], seed: int, share: float
) -> None:
    source, leaves, made = Random(seed), list[Node](), NO_TREE
    epochs: list[tuple[Tree, list[Node]]] = []
    with sa.create_engine("sqlite://").begin() as connection:
        migrations.upgrade(connection)
        for epoch, size in enumerate(sorted(sizes)):
            changed = {at for at in range(len(leaves)) if source.random() < share}
            for at in changed:
                leaves[at] = leaf((epoch, at), source.randrange(1000))
            leaves += [leaf((epoch, at)) for at in range(len(leaves), size)]
            made = grown(connection, made, leaves, changed)
            epochs.append((made, list(leaves)))
        for made, then in epochs:  # the older ones are still whole
            for at in source.sample(range(len(then)), min(4, len(then))):
                node, path = tree.leaf_and_path(connection, made, at)
                assert node == then[at]
                assert path == path_of(then, at)


@pytest.mark.parametrize("before", [1, 2, 15, 16, 17, 255, 256, 4096])
def test_a_tree_that_gets_a_level_more_keeps_what_it_had(
    connection: sa.Connection, before: int
) -> None:
    leaves = [leaf(at) for at in range(before)]
    made = grown(connection, NO_TREE, leaves, set())
    leaves.append(leaf("one more"))
    after = grown(connection, made, leaves, set())
    assert tree.leaf_and_path(connection, after, 0)[1] == path_of(leaves, 0)
    assert tree.leaf_and_path(connection, made, before - 1)[1] == path_of(leaves[:-1], before - 1)


def test_changing_one_leaf_of_many_writes_one_row_a_level(connection: sa.Connection) -> None:
    """Closing an epoch is not linear in the number of accounts."""
    leaves = [leaf(at) for at in range(5000)]
    made = grown(connection, NO_TREE, leaves, set())
    updated = tree.update(connection, made, {4321: leaf("other").to_bytes()}, 5000)
    assert updated.tree.row - made.row == made.height == 3
    assert len(updated.replaced) == 3


def test_a_tree_in_which_nothing_changed_is_the_same_row(connection: sa.Connection) -> None:
    made = grown(connection, NO_TREE, [leaf(at) for at in range(40)], set())
    assert tree.update(connection, made, {}, 40).tree == made


def test_a_sum_beyond_64_bits_is_refused_by_the_stored_tree(connection: sa.Connection) -> None:
    most = {0: leaf(0, MAX_UTOK).to_bytes(), 1: leaf(1, 0).to_bytes()}
    tree.update(connection, NO_TREE, most, 2)
    with pytest.raises(BooksBroken, match="exceeds"):
        tree.update(connection, NO_TREE, most | {1: leaf(1, 1).to_bytes()}, 2)


def test_a_lost_row_is_named(connection: sa.Connection) -> None:
    made = grown(connection, NO_TREE, [leaf(at) for at in range(40)], set())
    connection.exec_driver_sql("DELETE FROM tree_nodes WHERE id = 1")
    assert any("tree_nodes 1" in one for one in tree.broken_rows(connection, made, {}))
    with pytest.raises(BooksBroken, match="tree_nodes 1"):
        tree.leaf_and_path(connection, made, 0)
