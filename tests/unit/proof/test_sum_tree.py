"""The sum tree against its definition, and what a hostile path cannot do."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedpay.errors import Malformed
from speedpay.proof.sum_tree import (
    EMPTY,
    MAX_DEPTH,
    Node,
    climb,
    depth_of,
    parent,
    path_of,
    root_of,
)
from speedpay.units import MAX_UTOK


def leaves_of(count: int) -> list[Node]:
    return [Node(hashlib.sha256(b"%d" % n).digest(), n * n + 1) for n in range(count)]


def defined_root(leaves: list[Node], depth: int) -> Node:
    """The definition, read top-down: a tree of 2^depth places, of which the first are taken."""
    if not leaves:
        return EMPTY
    if depth == 0:
        (only,) = leaves
        return only
    half = 2 ** (depth - 1)
    left, right = (defined_root(part, depth - 1) for part in (leaves[:half], leaves[half:]))
    joined = left.hash + left.sum.to_bytes(8) + right.hash + right.sum.to_bytes(8)
    return Node(hashlib.sha256(b"\x01" + joined).digest(), left.sum + right.sum)


@pytest.mark.parametrize("count", range(66))
def test_the_root_is_the_definitions_and_every_leaf_climbs_to_it(count: int) -> None:
    leaves = leaves_of(count)
    root = root_of(leaves)
    assert root == defined_root(leaves, depth_of(count))
    assert root.sum == sum(leaf.sum for leaf in leaves)
    for position, leaf in enumerate(leaves):
        path = path_of(leaves, position)
        assert len(path) == depth_of(count)
        assert climb(leaf, position, path) == root


def test_a_tree_of_none_is_empty_and_a_tree_of_one_is_its_leaf() -> None:
    (leaf,) = leaves_of(1)
    assert root_of([]) == EMPTY
    assert root_of([leaf]) == leaf
    assert path_of([leaf], 0) == ()


def test_the_depth_is_the_logarithm_rounded_up() -> None:
    assert [depth_of(n) for n in (0, 1, 2, 3, 4, 5, 8, 9, 1_000_000)] == [
        0, 0, 1, 2, 2, 3, 3, 4, 20,
    ]  # fmt: skip
    assert depth_of(2**MAX_DEPTH) == MAX_DEPTH
    for count in (-1, 2**MAX_DEPTH + 1):
        with pytest.raises(Malformed, match="leaf_count"):
            depth_of(count)


def test_an_empty_subtree_of_any_height_is_empty() -> None:
    assert parent(EMPTY, EMPTY) == EMPTY
    (leaf,) = leaves_of(1)
    assert parent(leaf, EMPTY).hash != parent(EMPTY, leaf).hash


@pytest.mark.parametrize("total", [-1, MAX_UTOK + 1, 2**64 - 1])
def test_a_sum_below_zero_or_above_63_bits_cannot_exist(total: int) -> None:
    with pytest.raises(Malformed, match=r"node\.sum"):
        Node(bytes(32), total)
    if total > 0:
        with pytest.raises(Malformed, match=r"node\.sum"):
            Node.from_bytes(bytes(32) + total.to_bytes(8))


def test_a_node_has_one_encoding() -> None:
    node = Node(b"h" * 32, MAX_UTOK)
    assert Node.from_bytes(node.to_bytes()) == node
    for wrong in (b"", node.to_bytes()[:-1], node.to_bytes() + b"\x00"):
        with pytest.raises(Malformed, match="node"):
            Node.from_bytes(wrong)
    for wrong in (b"", bytes(31), bytes(33)):
        with pytest.raises(Malformed, match=r"node\.hash"):
            Node(wrong, 0)


def test_sums_that_overflow_together_are_refused() -> None:
    half, more = Node(b"a" * 32, MAX_UTOK // 2), Node(b"b" * 32, MAX_UTOK // 2 + 1)
    assert parent(half, more).sum == MAX_UTOK
    with pytest.raises(Malformed, match=r"node\.sum"):
        parent(more, more)
    with pytest.raises(Malformed, match=r"node\.sum"):
        climb(more, 0, [more])


def test_a_bool_or_a_float_is_no_sum() -> None:
    for wrong in (True, 1.0):
        with pytest.raises(TypeError):
            Node(bytes(32), wrong)  # type: ignore[arg-type]


def test_a_position_outside_the_tree_is_refused() -> None:
    leaves = leaves_of(5)
    path = path_of(leaves, 4)
    for position in (-1, 8, 2**63):
        with pytest.raises(Malformed, match="position"):
            climb(leaves[4], position, path)
    for position in (-1, 5):
        with pytest.raises(Malformed, match="position"):
            path_of(leaves, position)


def test_a_path_of_41_levels_is_refused() -> None:
    (leaf,) = leaves_of(1)
    assert climb(leaf, 0, [EMPTY] * MAX_DEPTH).sum == leaf.sum
    with pytest.raises(Malformed, match="path"):
        climb(leaf, 0, [EMPTY] * (MAX_DEPTH + 1))


def test_an_empty_subtree_that_owes_something_is_refused() -> None:
    (leaf,) = leaves_of(1)
    with pytest.raises(Malformed, match="path"):
        climb(leaf, 0, [Node(EMPTY.hash, 1)])


def test_a_node_hides_no_shift_between_the_sums_of_its_children() -> None:
    """The attack of ePrint 2018/1139: with only the total hashed, a sum can wander to the sibling."""
    left, right = leaves_of(2)
    moved = parent(Node(left.hash, left.sum - 1), Node(right.hash, right.sum + 1))
    assert moved.sum == parent(left, right).sum
    assert moved.hash != parent(left, right).hash


@given(
    st.lists(st.integers(0, 2**40), min_size=1, max_size=40),
    st.data(),
)
def test_one_leaf_changed_along_its_path_gives_the_root_of_the_whole(
    sums: list[int], data: st.DataObject
) -> None:
    leaves = [Node(hashlib.sha256(b"%d" % n).digest(), total) for n, total in enumerate(sums)]
    position = data.draw(st.integers(0, len(leaves) - 1))
    changed = Node(hashlib.sha256(b"changed").digest(), 7)
    path = path_of(leaves, position)
    assert climb(changed, position, path) == root_of(
        [*leaves[:position], changed, *leaves[position + 1 :]]
    )


def test_roots_of_different_counts_differ() -> None:
    roots = [root_of(leaves_of(count)) for count in range(20)]
    assert all(one != other for one, other in pairwise(roots))
