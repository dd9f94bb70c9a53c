"""The journal's tree: RFC 9162's definitions, the reference vectors of Certificate Transparency, refusals."""

from __future__ import annotations

import hashlib

import pytest

from speedpay.errors import Malformed, ProofBroken
from speedpay.proof import journal
from speedpay.proof.journal import (
    NOTHING,
    consistency_path,
    inclusion_path,
    leaf_hash,
    lookup_in,
    node_hash,
    root,
    verify_consistency,
    verify_inclusion,
)

# The eight leaves and the roots of certificate-transparency's own tests (merkle_tree_test.cc).
CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
CT_PATHS = {  # (index, size) → path; the tests count leaves from 1
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CT_CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CT = [leaf_hash(content) for content in CT_LEAVES]
SIZES = range(1, 66)
LEAVES = [leaf_hash(b"%d" % n) for n in range(max(SIZES))]
NODE = lookup_in(LEAVES)


def _k(count: int) -> int:
    return max(2**n for n in range(10) if 2**n < count)


def mth(leaves: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1, word for word over hashed leaves."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = _k(len(leaves))
    return node_hash(mth(leaves[:k]), mth(leaves[k:]))


def path_of(m: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 9162, 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = _k(len(leaves))
    if m < k:
        return [*path_of(m, leaves[:k]), mth(leaves[k:])]
    return [*path_of(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: list[bytes], complete: bool) -> list[bytes]:
    """RFC 9162, 2.1.4.1."""
    if m == len(leaves):
        return [] if complete else [mth(leaves)]
    k = _k(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], complete), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def test_the_reference_vectors_of_certificate_transparency() -> None:
    node = lookup_in(CT)
    assert root(0, node) == NOTHING
    assert NOTHING.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for size, expected in enumerate(CT_ROOTS, start=1):
        assert root(size, node).hex() == expected
    for (index, size), path in CT_PATHS.items():
        assert [part.hex() for part in inclusion_path(index, size, node)] == path
        verify_inclusion(
            CT[index], index, size, inclusion_path(index, size, node), root(size, node)
        )
    for (old, size), path in CT_CONSISTENCY.items():
        found = consistency_path(old, size, node)
        assert [part.hex() for part in found] == path
        verify_consistency(old, size, root(old, node), root(size, node), found)


@pytest.mark.parametrize("size", SIZES)
def test_roots_and_inclusion_paths_are_the_rfcs_and_verify(size: int) -> None:
    made = root(size, NODE)
    assert made == mth(LEAVES[:size])
    for index in range(size):
        path = inclusion_path(index, size, NODE)
        assert path == path_of(index, LEAVES[:size])
        verify_inclusion(LEAVES[index], index, size, path, made)


@pytest.mark.parametrize("size", SIZES)
def test_consistency_paths_are_the_rfcs_and_verify(size: int) -> None:
    for old in range(1, size + 1):
        path = consistency_path(old, size, NODE)
        assert path == subproof(old, LEAVES[:size], True)
        verify_consistency(old, size, root(old, NODE), root(size, NODE), path)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 11])
def test_an_inclusion_proof_holds_for_nothing_else(size: int) -> None:
    made = root(size, NODE)
    for index in range(size):
        path = inclusion_path(index, size, NODE)
        wrong = [
            (LEAVES[index + 1], index, size, path, made),
            (LEAVES[index], index, size, path, root(size + 1, NODE)),
            (LEAVES[index], index, size, [*path, bytes(32)], made),
            (LEAVES[index], size, size, path, made),
            (LEAVES[index], -1, size, path, made),
        ]
        wrong += [
            (LEAVES[index], other, size, path, made) for other in range(size) if other != index
        ]
        if path:
            wrong += [
                (LEAVES[index], index, size, path[:-1], made),
                (LEAVES[index], index, size, [*path[:-1], path[-1][:31]], made),
            ]
            wrong += [
                (LEAVES[index], index, size, [*path[:at], bytes(32), *path[at + 1 :]], made)
                for at in range(len(path))
            ]
        for case in wrong:
            with pytest.raises(ProofBroken):
                verify_inclusion(*case)


@pytest.mark.parametrize("size", [2, 3, 7, 8, 11])
def test_a_consistency_proof_holds_for_nothing_else(size: int) -> None:
    new_root = root(size, NODE)
    for old in range(1, size):
        old_root, path = root(old, NODE), consistency_path(old, size, NODE)
        wrong = [
            (old, size, bytes(32), new_root, path),
            (old, size, old_root, bytes(32), path),
            (old, size, old_root, new_root, []),
            (old, size, old_root, new_root, path[:-1]),
            (old, size, old_root, new_root, [*path, bytes(32)]),
            (0, size, old_root, new_root, path),
            (size + 1, size, old_root, new_root, path),
            (size, size, old_root, new_root, []),
            (size, size, new_root, new_root, [bytes(32)]),
        ]
        wrong += [
            (old, size, old_root, new_root, [*path[:at], bytes(32), *path[at + 1 :]])
            for at in range(len(path))
        ]
        for case in wrong:
            with pytest.raises(ProofBroken):
                verify_consistency(*case)


def test_a_tree_of_another_height_is_refused_although_the_hashes_fit() -> None:
    """Only the height tells these from proofs: each leads to the root that it names."""
    with pytest.raises(ProofBroken, match="longer"):
        verify_inclusion(LEAVES[1], 0, 1, [LEAVES[0]], root(2, NODE))
    with pytest.raises(ProofBroken, match="shorter"):
        verify_inclusion(LEAVES[0], 0, 9, inclusion_path(0, 8, NODE), root(8, NODE))
    path, other = consistency_path(3, 5, NODE), bytes(32)
    old_root, new_root = (node_hash(other, root(size, NODE)) for size in (3, 5))
    with pytest.raises(ProofBroken, match="longer"):
        verify_consistency(3, 5, old_root, new_root, [*path, other])
    with pytest.raises(ProofBroken, match="shorter"):
        verify_consistency(3, 20, root(3, NODE), root(5, NODE), path)


def test_a_rewritten_transfer_breaks_consistency() -> None:
    rewritten = [*LEAVES[:3], leaf_hash(b"another"), *LEAVES[4:11]]
    node = lookup_in(rewritten)
    path = consistency_path(7, 11, node)
    with pytest.raises(ProofBroken, match="old_root"):
        verify_consistency(7, 11, root(7, NODE), root(11, node), path)


def test_each_leaf_completes_what_ends_with_it() -> None:
    made = {(0, 6): LEAVES[6], (1, 2): NODE(1, 2), (2, 0): NODE(2, 0)}
    found = list(journal.completed_by(7, LEAVES[7], lambda *at: made[at]))
    assert found == [(0, 7, LEAVES[7]), (1, 3, NODE(1, 3)), (2, 1, NODE(2, 1)), (3, 0, NODE(3, 0))]
    assert list(journal.completed_by(8, LEAVES[8], NODE)) == [(0, 8, LEAVES[8])]


def test_proofs_for_what_is_not_there_are_refused() -> None:
    for index, size in ((-1, 3), (3, 3), (0, 0), (0, 2**63)):
        with pytest.raises(Malformed):
            inclusion_path(index, size, NODE)
    for old, size in ((0, 3), (4, 3), (-1, 3)):
        with pytest.raises(Malformed):
            consistency_path(old, size, NODE)


def test_a_proof_longer_than_any_journal_is_refused_before_it_is_computed() -> None:
    with pytest.raises(ProofBroken, match="at most 63"):
        verify_inclusion(LEAVES[0], 0, 2**62, [bytes(32)] * 64, bytes(32))


def test_an_entry_has_one_encoding_and_its_salt_hides_it() -> None:
    made = journal.entry(1, 1_800_000_000, "send", "user:aa", "user:bb", "token", 5, b"key")
    shifted = journal.entry(1, 1_800_000_000, "send", "user:aau", "ser:bb", "token", 5, b"key")
    assert made != shifted
    one, two = (journal.salt_of(bytes(32), sequence) for sequence in (1, 2))
    assert journal.leaf_of(one, made) != journal.leaf_of(two, made)
    assert journal.leaf_of(one, made) == leaf_hash(hashlib.sha256(one + made).digest())
    with pytest.raises(Malformed, match="entry"):
        journal.entry(1, 1_800_000_000, "send", "a", "b", "token", 5, bytes(2**16 + 1))
    with pytest.raises(Malformed, match="journal_key"):
        journal.salt_of(bytes(31), 1)
    with pytest.raises(Malformed, match="salt"):
        journal.leaf_of(bytes(31), made)
