"""``verify_independent --chain-node``: the anchor as a node has it, whatever the evidence file says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from speedpay.proof.balance import BalanceProof
from speedpay.proof.evidence import OK, CertifiedHead, Evidence
from speedpay.proof.head import NO_HEAD, EpochHead, SignedHead
from speedpay.proof.leaf import NO_PAYOUT, Leaf, salt_of
from speedpay.proof.sum_tree import path_of, root_of
from speedpay.units import ZERO, Amount
from tests.independent import script
from tests.integration.chain.conftest import Contracts, done
from tests.vectors.generate import CERTIFICATE, DOMAIN, RESPONSE

TOTAL = Amount(5_000_000)
verifier = script()


@dataclass
class Told:
    """What a user was told of epoch 1, which is anchored. Its file has no anchor in it."""

    evidence: Evidence
    url: str
    folder: Path

    def check(self, evidence: Evidence | None = None) -> dict[str, object]:
        path = self.folder / "evidence.json"
        path.write_bytes((evidence or self.evidence).to_json())
        found: dict[str, object] = verifier.check_evidence(path, self.url)
        return found


@pytest.fixture
def told(contracts: Contracts, tmp_path: Path) -> Told:
    tron, vault, alice = contracts.tron, contracts.vault, contracts.alice
    account, salt = b"a" * 16, salt_of(bytes(32), 1)
    done(tron, alice, vault.prepare_deposit(alice.address, TOTAL, account))
    leaves = [
        Leaf(tron.chain_id, vault.address, account, alice.address, ZERO, TOTAL, salt),
        Leaf(tron.chain_id, vault.address, b"t" * 16, NO_PAYOUT, ZERO, ZERO, salt),
    ]
    nodes = [leaf.node() for leaf in leaves]
    root = root_of(nodes)
    head = EpochHead(
        1, tron.head().time_s, tron.chain_id, vault.address, root.hash, Amount(root.sum), ZERO, 2, 1,
        hashlib.sha256(b"journal").digest(), 1, hashlib.sha256(b"file").digest()[:20], NO_HEAD,
    )  # fmt: skip
    done(tron, alice, vault.prepare_anchor(alice.address, head, head.hash(DOMAIN)))
    proof = BalanceProof(1, 0, account, alice.address, ZERO, TOTAL, salt, path_of(nodes, 0))
    evidence = Evidence(
        DOMAIN, tron.chain_id, vault.address, account, OK, proof,
        CertifiedHead(SignedHead.sign(RESPONSE, DOMAIN, head), CERTIFICATE),
        None, None, alice.address, TOTAL,
    )  # fmt: skip
    return Told(evidence, contracts.net.url, tmp_path)


def test_the_node_has_the_anchor_that_the_file_lacks(told: Told) -> None:
    found = told.check()
    assert found["total_utok"] == "5000000"
    assert "on chain" in str(found["says"])


def _richer(proof: BalanceProof) -> BalanceProof:
    return replace(proof, balance=proof.balance + Amount(1))


def _head(told: Told, **changes: object) -> Evidence:
    """Another head, signed by the ledger as well, with an anchor to match in the file."""
    assert told.evidence.head is not None
    head = replace(told.evidence.head.signed.head, **changes)  # type: ignore[arg-type]
    signed = SignedHead.sign(RESPONSE, DOMAIN, head)
    return replace(told.evidence, head=CertifiedHead(signed, CERTIFICATE))


LIES: dict[str, tuple[Callable[[Told], Evidence], str]] = {
    "a larger balance": (
        lambda told: replace(told.evidence, proof=_richer(told.evidence.proof)),  # type: ignore[arg-type]
        "not in the tree",
    ),
    "another root": (lambda told: _head(told, root=bytes(32)), "root"),
    "smaller liabilities": (lambda told: _head(told, liabilities=ZERO), "liabilities"),
    "a longer journal": (lambda told: _head(told, journal_size=2), "journal_size"),
    "more deposits": (lambda told: _head(told, deposit_seq=2), "deposit_seq"),
    "another credit": (lambda told: _head(told, credit=TOTAL), "another head"),
    "an epoch that is not anchored": (
        lambda told: _head(told, epoch=2, prev=b"p" * 32), "no anchor of epoch 2",
    ),
    "another chain": (
        lambda told: replace(_head(told, chain_id=7), chain_id=7), "the node is on another chain",
    ),
    "another vault": (
        lambda told: replace(_head(told, vault=b"v" * 20), vault=b"v" * 20), "no anchor",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("lie", "words"), LIES.values(), ids=LIES.keys())
def test_a_lie_that_the_ledger_signed_is_caught_by_the_chain(
    told: Told, lie: Callable[[Told], Evidence], words: str
) -> None:
    with pytest.raises(verifier.Broken, match=words):
        told.check(lie(told))
