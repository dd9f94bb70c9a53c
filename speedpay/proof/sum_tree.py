"""The Merkle-sum tree: nodes, roots, paths. Bytes and rules: the package's docstring.

Everything here takes nodes as arguments; ``ledger/tree.py`` stores them and changes one leaf at a time
with ``parent`` alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from speedpay.errors import Malformed
from speedpay.units import MAX_UTOK

HASH_BYTES = 32
#: 2^40 accounts are more than there will be; it bounds what a proof may make anyone compute.
MAX_DEPTH = 40
NODE_BYTES = HASH_BYTES + 8


@dataclass(frozen=True, slots=True)
class Node:
    """A leaf, an inner node or a root: 32 bytes of hash, and the µtok owed below it."""

    hash: bytes
    sum: int

    def __post_init__(self) -> None:
        if len(self.hash) != HASH_BYTES:
            raise Malformed(f"must be {HASH_BYTES} bytes", field="node.hash")
        if type(self.sum) is not int:
            raise TypeError(f"a sum is an int, not {type(self.sum).__name__}")
        if not 0 <= self.sum <= MAX_UTOK:
            raise Malformed("is outside 0 … 2^63-1 µtok", field="node.sum")

    def to_bytes(self) -> bytes:
        """``NODE_BYTES``: as hashed into the parent, in a proof and in the epoch's file."""
        return self.hash + self.sum.to_bytes(8)

    @classmethod
    def from_bytes(cls, body: bytes) -> Node:
        if len(body) != NODE_BYTES:
            raise Malformed(f"must be {NODE_BYTES} bytes", field="node")
        return cls(body[:HASH_BYTES], int.from_bytes(body[HASH_BYTES:]))


#: A subtree of any height without leaves.
EMPTY = Node(bytes(HASH_BYTES), 0)


def leaf_hash(body: bytes) -> bytes:
    """``body``: the leaf's fields, joined. A leaf is never an inner node: the first byte differs."""
    return hashlib.sha256(b"\x00" + body).digest()


def parent(left: Node, right: Node) -> Node:
    """Raises Malformed (node.sum) when the two sums together exceed 2^63−1."""
    if left == EMPTY and right == EMPTY:
        return EMPTY
    joined = b"\x01" + left.to_bytes() + right.to_bytes()
    return Node(hashlib.sha256(joined).digest(), left.sum + right.sum)


def depth_of(leaf_count: int) -> int:
    """Levels above the leaves: ceil(log2 n); 0 for a tree of one leaf or none.

    Raises Malformed for a count below 0 or above 2^40.
    """
    if not 0 <= leaf_count <= 2**MAX_DEPTH:
        raise Malformed("is outside 0 … 2^40", field="leaf_count")
    return max(0, leaf_count - 1).bit_length()


def level_above(nodes: Sequence[Node]) -> list[Node]:
    """The parents of one whole level; an odd last node is paired with an empty one."""
    padded = [*nodes, EMPTY] if len(nodes) % 2 else nodes
    return [parent(padded[at], padded[at + 1]) for at in range(0, len(padded), 2)]


def root_of(leaves: Sequence[Node]) -> Node:
    """``EMPTY`` for no leaves; the leaf itself for one."""
    level = list(leaves)
    for _ in range(depth_of(len(level))):
        level = level_above(level)
    return level[0] if level else EMPTY


def path_of(leaves: Sequence[Node], position: int) -> tuple[Node, ...]:
    """The siblings on the way up from ``position``, the leaf's level first.

    Raises Malformed when no leaf stands there. O(n): for one proof, or for checking stored nodes.
    """
    if not 0 <= position < len(leaves):
        raise Malformed("no leaf stands there", field="position")
    level, at, path = list(leaves), position, []
    for _ in range(depth_of(len(leaves))):
        sibling = at ^ 1
        path.append(level[sibling] if sibling < len(level) else EMPTY)
        level, at = level_above(level), at >> 1
    return tuple(path)


def climb(leaf: Node, position: int, path: Sequence[Node]) -> Node:
    """The root that ``leaf`` at ``position`` has with these siblings.

    Raises Malformed for a path of more than 40 levels, a position ≥ 2^levels, an empty subtree that
    owes something, or sums that together exceed 2^63−1.
    """
    if len(path) > MAX_DEPTH:
        raise Malformed(f"is longer than {MAX_DEPTH} levels", field="path")
    if not 0 <= position < 2 ** len(path):
        raise Malformed("lies outside a tree of that depth", field="position")
    node = leaf
    for level, sibling in enumerate(path):
        if sibling.sum and sibling.hash == EMPTY.hash:
            raise Malformed("has an empty subtree that owes something", field="path")
        ours_is_right = position >> level & 1
        node = parent(sibling, node) if ours_is_right else parent(node, sibling)
    return node
