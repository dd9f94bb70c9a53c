"""The journal as the append-only tree of RFC 9162, section 2.1: roots, and both kinds of proof.

``Lookup`` gives the hash of a *complete* subtree, (level, position): that over the 2^level leaves from
position × 2^level on. Such a hash never changes, so ``ledger/journal_tree.py`` stores each one once; all
roots and proofs of all sizes come from them. A journal of 2^63 transfers has 63 levels: the bound of
every proof.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator, Sequence

from speedpay.errors import Malformed, ProofBroken
from speedpay.proof.leaf import check_size, check_u63
from speedpay.proof.sum_tree import HASH_BYTES
from speedpay.units import MAX_UTOK

Lookup = Callable[[int, int], bytes]
#: The root of no entries: the hash of nothing (RFC 9162, 2.1.1).
NOTHING = hashlib.sha256().digest()
MAX_PATH = 63
MAX_ENTRY_FIELD_BYTES = 2**16


def entry(
    sequence: int, time: int, kind: str, debit: str, credit: str, money_class: str,
    utok: int, reference: bytes,
) -> bytes:  # fmt: skip
    """One transfer's bytes in the journal; ``time`` in unix seconds, accounts by their names."""
    texts = (str(sequence), str(time), kind, debit, credit, money_class, str(utok))
    fields = [*(text.encode() for text in texts), reference]
    if max(map(len, fields)) > MAX_ENTRY_FIELD_BYTES:
        raise Malformed("has a field of more than 64 KiB", field="entry")
    return b"".join(len(field).to_bytes(4) + field for field in fields)


def salt_of(journal_key: bytes, sequence: int) -> bytes:
    """32 bytes. Without it nobody can guess an entry and find it in the tree."""
    check_size(journal_key, HASH_BYTES, "journal_key")
    check_u63(sequence, "sequence")
    return hmac.digest(journal_key, sequence.to_bytes(8), "sha256")


def leaf_of(salt: bytes, entry_bytes: bytes) -> bytes:
    """The leaf of a transfer: the hash of a salted commitment, which outlives the pruned entry."""
    check_size(salt, HASH_BYTES, "salt")
    return leaf_hash(hashlib.sha256(salt + entry_bytes).digest())


def leaf_hash(content: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def completed_by(index: int, leaf: bytes, node: Lookup) -> Iterator[tuple[int, int, bytes]]:
    """What storing leaf number ``index`` (from 0) completes: (level, position, hash), the leaf first.

    ``node`` is asked only for subtrees that earlier leaves completed. Amortised two for each leaf.
    """
    level, position, made = 0, index, leaf
    yield level, position, made
    while position % 2:
        made = node_hash(node(level, position - 1), made)
        level, position = level + 1, position // 2
        yield level, position, made


def root(size: int, node: Lookup) -> bytes:
    """The root over the first ``size`` leaves; O(log size) look-ups."""
    check_u63(size, "size")
    return _range(0, size, node) if size else NOTHING


def inclusion_path(index: int, size: int, node: Lookup) -> list[bytes]:
    """PATH(index, D[size]) of RFC 9162, 2.1.3.1. Raises Malformed unless 0 ≤ index < size."""
    check_u63(size, "size")
    if not 0 <= index < size:
        raise Malformed("is not in a journal of that size", field="index")
    path, start, end = [], 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range(middle, end, node))
            end = middle
        else:
            path.append(_range(start, middle, node))
            start = middle
    return path[::-1]


def consistency_path(old: int, size: int, node: Lookup) -> list[bytes]:
    """PROOF(old, D[size]) of RFC 9162, 2.1.4.1; empty when old = size. Needs 0 < old ≤ size."""
    check_u63(size, "size")
    if not 0 < old <= size:
        raise Malformed("must be 1 to the newer size", field="old")
    path, start, end = [], 0, size
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_range(middle, end, node))
            end = middle
        else:
            path.append(_range(start, middle, node))
            start = middle
    if start:  # otherwise the verifier has this hash: it is the older root
        path.append(_range(start, end, node))
    return path[::-1]


def verify_inclusion(
    leaf: bytes, index: int, size: int, path: Sequence[bytes], expected_root: bytes
) -> None:
    """RFC 9162, 2.1.3.2: that leaf number ``index`` is in the journal. Raises ProofBroken."""
    _check_path(path)
    if not 0 <= index < size <= MAX_UTOK:
        raise ProofBroken("is not in a journal of that size", field="index")
    at, last, made = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ProofBroken("is longer than the tree is high", field="path")
        if at % 2 or at == last:
            made = node_hash(sibling, made)
            while not (at % 2 or at == 0):
                at, last = at >> 1, last >> 1
        else:
            made = node_hash(made, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofBroken("is shorter than the tree is high", field="path")
    if made != expected_root:
        raise ProofBroken("this transfer is not in the journal with that root", field="root")


def verify_consistency(
    old: int, size: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]
) -> None:
    """RFC 9162, 2.1.4.2: that the newer journal begins with the older one. Raises ProofBroken."""
    _check_path(path)
    if not 0 < old <= size <= MAX_UTOK:
        raise ProofBroken("must be 1 to the newer size", field="old")
    if old == size:
        if path:
            raise ProofBroken("must be empty for equal sizes", field="path")
        if old_root != new_root:
            raise ProofBroken("two journals of one size have two roots", field="root")
        return
    nodes = list(path)
    if old & (old - 1) == 0:
        nodes.insert(0, old_root)
    if not nodes:
        raise ProofBroken("is shorter than the tree is high", field="path")
    at, last = old - 1, size - 1
    while at % 2:
        at, last = at >> 1, last >> 1
    of_old = of_new = nodes[0]
    for sibling in nodes[1:]:
        if last == 0:
            raise ProofBroken("is longer than the tree is high", field="path")
        if at % 2 or at == last:
            of_old, of_new = node_hash(sibling, of_old), node_hash(sibling, of_new)
            while not (at % 2 or at == 0):
                at, last = at >> 1, last >> 1
        else:
            of_new = node_hash(of_new, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofBroken("is shorter than the tree is high", field="path")
    if of_old != old_root:
        raise ProofBroken("does not lead to the older root", field="old_root")
    if of_new != new_root:
        raise ProofBroken("the newer journal does not begin with the older one", field="new_root")


def lookup_in(leaves: Sequence[bytes]) -> Lookup:
    """A look-up over leaves in memory, each complete subtree hashed once."""
    made: dict[tuple[int, int], bytes] = {}

    def node(level: int, position: int) -> bytes:
        return made[level, position]

    for index, leaf in enumerate(leaves):
        for level, position, digest in completed_by(index, leaf, node):
            made[level, position] = digest
    return node


def _split(count: int) -> int:
    """The largest power of two below ``count``."""
    return 1 << (count - 1).bit_length() - 1


def _range(start: int, end: int, node: Lookup) -> bytes:
    """MTH of the leaves from ``start`` up to ``end``: folded from the complete subtrees, right first.

    Only ranges that the recursion of the RFC makes: ``start`` is a multiple of a power of two that
    is not smaller than the range.
    """
    parts, at = [], start
    while at < end:
        level = (end - at).bit_length() - 1
        parts.append(node(level, at >> level))
        at += 1 << level
    made = parts.pop()
    while parts:
        made = node_hash(parts.pop(), made)
    return made


def _check_path(path: Sequence[bytes]) -> None:
    if len(path) > MAX_PATH or any(len(part) != HASH_BYTES for part in path):
        raise ProofBroken(f"must be at most {MAX_PATH} hashes of 32 bytes", field="path")
