"""The sum tree on disk: many nodes to a row, rows only ever added, one root for each epoch.

The lowest rows hold 16 leaves and the four levels above them; each row further up holds 256 nodes,
the eight levels above them, and in which rows its subtrees stand. A change writes new rows from the
leaf to the root and leaves the old ones to older epochs: closing costs O(changed · log n), and every
kept epoch has its proofs. What it costs in fact is rows and pages, not hashes. Of 10,000 changes
among a million leaves hardly two meet below the 16th node, and nearly all do in the 256 above.

Bytes of a row: for each level, lowest first, its nodes of 40 bytes as in ``proof/sum_tree.py``;
then, but for the lowest rows, a u64 row number for each subtree, 0 for an empty one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from struct import Struct

import sqlalchemy as sa

from speedpay.errors import BooksBroken
from speedpay.ledger.schema import tree_nodes
from speedpay.proof.sum_tree import EMPTY, NODE_BYTES, Node, depth_of
from speedpay.units import MAX_UTOK

_AT_ONCE = 4096
#: Rows that were examined: number → (height, the node on top, 40 bytes).
Seen = dict[int, tuple[int, bytes]]
_two_sums = Struct(">32xQ32xQ").unpack_from
_put_node = Struct(">32sQ").pack_into


class _Shape:
    """Of a row with 2^bits nodes on its lowest level: ``starts[level]`` is where a level begins."""

    def __init__(self, bits: int, *, linked: bool) -> None:
        self.bits = bits
        self.width = 1 << bits
        self.starts = [
            NODE_BYTES * (2 * self.width - (2 * self.width >> level)) for level in range(bits + 1)
        ]
        self.top = self.starts[-1]
        self.rows = self.top + NODE_BYTES
        self.size = self.rows + (8 * self.width if linked else 0)


_LEAVES, _ABOVE = _Shape(4, linked=False), _Shape(8, linked=True)


def _shape(height: int) -> _Shape:
    return _ABOVE if height else _LEAVES


def _level(height: int) -> int:
    """The tree's level on which the rows of ``height`` begin."""
    return _LEAVES.bits + _ABOVE.bits * (height - 1) if height else 0


@dataclass(frozen=True, slots=True)
class Tree:
    """One epoch's tree. ``row``: that of its root; 0 for the tree without leaves."""

    row: int
    leaf_count: int

    @property
    def height(self) -> int:
        """Rows from a leaf to the root."""
        if not self.leaf_count:
            return 0
        return 1 + -(-max(0, depth_of(self.leaf_count) - _LEAVES.bits) // _ABOVE.bits)


NO_TREE = Tree(0, 0)


@dataclass(frozen=True, slots=True)
class Updated:
    """``replaced``: rows that no tree from this one on needs."""

    tree: Tree
    root: Node
    replaced: list[int]


def update(
    connection: sa.Connection, before: Tree, changes: Mapping[int, bytes], leaf_count: int
) -> Updated:
    """Write the tree in which the leaves of ``changes`` (position → 40 bytes) have changed.

    ``changes`` holds every new position from ``before.leaf_count`` up to ``leaf_count``. Raises
    BooksBroken when a sum exceeds 2^63−1.
    """
    after = Tree(before.row, leaf_count)
    if not changes:
        return Updated(after, root(connection, after), [])
    wanted = _wanted(before, after, changes)
    row_of, bodies = _load(connection, before, after, wanted)
    number = _last_row(connection)
    changed: dict[int, bytes] = dict(changes)
    numbers: dict[int, int] = {}
    added: list[tuple[int, bytearray]] = []
    body = bytearray()
    for height in range(after.height):
        shape = _shape(height)
        up: dict[int, bytes] = {}
        made: dict[int, int] = {}
        by_row: dict[int, list[int]] = {at: [] for at in wanted[height]}
        for position in changed:
            by_row[position >> shape.bits].append(position)
        for at in wanted[height]:
            body = bodies[height].get(at) or bytearray(shape.size)
            _change(shape, body, by_row[at], changed, numbers)
            number += 1
            made[at] = number
            up[at] = bytes(body[shape.top : shape.rows])
            added.append((number, body))
        changed, numbers = up, made
    connection.exec_driver_sql("INSERT INTO tree_nodes (id, body) VALUES (?, ?)", added)
    replaced = [row for rows in row_of for row in rows.values()]
    return Updated(Tree(number, leaf_count), _root_in(bytes(body), after), replaced)


def root(connection: sa.Connection, tree: Tree) -> Node:
    if not tree.leaf_count:
        return EMPTY
    return _root_in(_bodies(connection, [tree.row])[tree.row], tree)


def leaf_and_path(
    connection: sa.Connection, tree: Tree, position: int
) -> tuple[Node, tuple[Node, ...]]:
    """The leaf at ``position`` and its siblings on the way up, lowest first."""
    path: list[Node] = []
    row = tree.row
    for height in reversed(range(tree.height)):
        shape, level = _shape(height), _level(height)
        body = _bodies(connection, [row])[row]
        at = position >> level & shape.width - 1
        levels = min(shape.bits, depth_of(tree.leaf_count) - level)
        path[:0] = [_node(shape, body, inner, at >> inner ^ 1) for inner in range(levels)]
        row = _row_below(body, at) if height else 0
    return _node(_LEAVES, body, 0, at), tuple(path)


def leaf_nodes(connection: sa.Connection, tree: Tree) -> Iterator[bytes]:
    """The epoch's file in pieces: (leaf hash ‖ sum) of every leaf, in order of position."""
    left = tree.leaf_count * NODE_BYTES
    for body in _rows_below(connection, [tree.row] if tree.leaf_count else [], tree.height - 1):
        part = body[: min(left, _LEAVES.starts[1])]
        left -= len(part)
        yield part


def _rows_below(connection: sa.Connection, rows: list[int], height: int) -> Iterator[bytes]:
    """The lowest rows under ``rows``, which stand at ``height``, from left to right."""
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        bodies = _bodies(connection, part)
        if not height:
            yield from (bodies[row] for row in part)
            continue
        below = [_row_below(bodies[row], at) for row in part for at in range(_ABOVE.width)]
        yield from _rows_below(connection, [row for row in below if row], height - 1)


def broken_rows(connection: sa.Connection, tree: Tree, seen: Seen) -> Iterator[str]:
    """Every row of ``tree`` whose hashes or sums do not follow from what is below, for fsck.

    Rows ``seen`` under another tree are not read again; those of this one are added.
    """
    waiting: list[tuple[int, int, bytes | None]] = []
    if tree.leaf_count:
        waiting.append((tree.row, tree.height - 1, None))
    while waiting:
        row, height, expected = waiting.pop()
        if row in seen:
            if expected is not None and seen[row] != (height, expected):
                yield f"tree_nodes {row}: was edited: its hashes do not follow from each other"
            continue
        try:
            body = _bodies(connection, [row])[row]
        except BooksBroken as error:
            yield str(error)
            continue
        shape, copy = _shape(height), bytearray(body)
        filled = [at for at in range(shape.width) if any(_bytes_of(shape, body, 0, at))]
        _rehash(shape, copy, filled)
        top = _bytes_of(shape, body, shape.bits, 0)
        seen[row] = (height, top)
        if copy != body or expected not in (None, top):
            yield f"tree_nodes {row}: was edited: its hashes do not follow from each other"
        if height:
            for at in filled:
                waiting.append((_row_below(body, at), height - 1, _bytes_of(shape, body, 0, at)))


def _wanted(before: Tree, after: Tree, changes: Iterable[int]) -> list[list[int]]:
    """Which rows are written anew, for each height from the leaves up: their places in order."""
    wanted: list[list[int]] = []
    places = set(changes)
    for height in range(after.height):
        places = {place >> _shape(height).bits for place in places}
        # Under a higher root the old one is a subtree, which has to be linked even when unchanged.
        if height == before.height - 1 and after.height > before.height:
            places.add(0)
        wanted.append(sorted(places))
    return wanted


def _load(
    connection: sa.Connection, before: Tree, after: Tree, wanted: list[list[int]]
) -> tuple[list[dict[int, int]], list[dict[int, bytearray]]]:
    """The rows that stand at the wanted places now, as numbers and as copies to change."""
    row_of: list[dict[int, int]] = [{} for _ in wanted]
    bodies: list[dict[int, bytearray]] = [{} for _ in wanted]
    for height in reversed(range(before.height)):
        if height == before.height - 1:
            row_of[height] = {0: before.row}
        else:
            above = bodies[height + 1]
            for place in wanted[height]:
                body = above.get(place >> _ABOVE.bits)
                row = _row_below(body, place & _ABOVE.width - 1) if body is not None else 0
                if row:
                    row_of[height][place] = row
        found = _bodies(connection, row_of[height].values())
        bodies[height] = {
            place: bytearray(found[row]) for place, row in row_of[height].items()
        }  # fmt: skip
    return row_of, bodies


def _change(
    shape: _Shape,
    body: bytearray,
    positions: list[int],
    nodes: Mapping[int, bytes],
    numbers: Mapping[int, int],
) -> None:
    touched = []
    for position in positions:
        at = position & shape.width - 1
        body[NODE_BYTES * at : NODE_BYTES * (at + 1)] = nodes[position]
        if numbers:
            where = shape.rows + 8 * at
            body[where : where + 8] = numbers[position].to_bytes(8)
        touched.append(at)
    _rehash(shape, body, touched)


def _rehash(shape: _Shape, body: bytearray, touched: Iterable[int]) -> None:
    """Make the nodes above the ``touched`` ones anew. The same bytes as ``sum_tree.parent``."""
    for start, above in pairwise(shape.starts):
        touched = {at >> 1 for at in touched}
        for at in touched:
            where = start + 2 * NODE_BYTES * at
            left, right = _two_sums(body, where)
            if left + right > MAX_UTOK:
                raise BooksBroken("a sum of the tree exceeds 2^63-1 µtok", field="tree_nodes")
            digest = sha256(b"\x01" + body[where : where + 2 * NODE_BYTES]).digest()
            _put_node(body, above + NODE_BYTES * at, digest, left + right)


def _bodies(connection: sa.Connection, rows: Iterable[int]) -> dict[int, bytes]:
    """Raises BooksBroken when one is missing or is no row of a tree."""
    listed = list(rows)
    found: dict[int, bytes] = {}
    for start in range(0, len(listed), _AT_ONCE):
        part = json.dumps(listed[start : start + _AT_ONCE])
        result = connection.exec_driver_sql(
            "SELECT id, body FROM tree_nodes WHERE id IN (SELECT value FROM json_each(?))", (part,)
        )
        for row, body in result:
            found[row] = body
    for row in listed:
        body = found.get(row)
        if not isinstance(body, bytes) or len(body) not in (_LEAVES.size, _ABOVE.size):
            raise BooksBroken("is missing, or is no row of the tree", field=f"tree_nodes {row}")
    return found


def _last_row(connection: sa.Connection) -> int:
    return connection.execute(sa.select(sa.func.max(tree_nodes.c.id))).scalar() or 0


def _row_below(body: bytes | bytearray, at: int) -> int:
    where = _ABOVE.rows + 8 * at
    return int.from_bytes(body[where : where + 8])


def _bytes_of(shape: _Shape, body: bytes, level: int, at: int) -> bytes:
    where = shape.starts[level] + NODE_BYTES * at
    return body[where : where + NODE_BYTES]


def _node(shape: _Shape, body: bytes, level: int, at: int) -> Node:
    return Node.from_bytes(_bytes_of(shape, body, level, at))


def _root_in(body: bytes, tree: Tree) -> Node:
    """Below the top of the highest row when the tree is not as high as its rows."""
    highest = tree.height - 1
    return _node(_shape(highest), body, depth_of(tree.leaf_count) - _level(highest), 0)
