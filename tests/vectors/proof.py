"""The golden vectors of ``speedpay/proof``: trees, heads, proofs, anchors and lies about each of them.

``generate.py`` brings the keys. Byte formats: the docstring of ``speedpay/proof/__init__.py``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

from speedpay.errors import ProofBroken, Refused
from speedpay.proof import journal
from speedpay.proof.balance import Anchored, BalanceProof, verify
from speedpay.proof.evidence import OK, CertifiedHead, Evidence
from speedpay.proof.head import NO_HEAD, EpochHead, SignedHead
from speedpay.proof.leaf import NO_PAYOUT, TREASURY, Leaf, own_salt_key, salt_of
from speedpay.proof.sum_tree import EMPTY, Node, parent, path_of, root_of
from speedpay.signing import Certificate, Domain, SigningKey
from speedpay.units import MAX_UTOK, ZERO, Amount

Json = dict[str, Any]
CHAIN_ID = 0x53500001
VAULT = hashlib.sha256(b"vault").digest()[:20]


def _named(name: str, size: int) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:size]


def leaves() -> list[Leaf]:
    """Seven accounts: without a payout, with nothing, much released, the treasury, and rich."""
    rows = [
        ("alice", 0, 12_500_000, 1), ("bob", 4_000_000, 1, 9), ("carol", 0, 0, 2),
        ("dave", MAX_UTOK // 4, MAX_UTOK // 4, 2**40), ("erin", 1, 1, 3), ("frank", 0, 77, 1),
    ]  # fmt: skip
    made = [
        Leaf(
            CHAIN_ID, VAULT, _named(name, 16), _named(f"{name} payout", 20), Amount(withdrawable),
            Amount(balance), salt_of(_named(f"{name} salt key", 32), version),
        )
        for name, withdrawable, balance, version in rows
    ]  # fmt: skip
    made[5] = replace(made[5], payout=NO_PAYOUT)
    treasury_salt = salt_of(own_salt_key(_named("leaf key", 32), TREASURY), 1)
    return [
        *made, Leaf(CHAIN_ID, VAULT, TREASURY, NO_PAYOUT, ZERO, Amount(40), treasury_salt),
    ]  # fmt: skip


def _leaf(leaf: Leaf) -> Json:
    return {
        "account": leaf.account.hex(),
        "payout": leaf.payout.hex(),
        "withdrawable": leaf.withdrawable.to_wire(),
        "balance": leaf.balance.to_wire(),
        "salt": leaf.salt.hex(),
        "body": leaf.to_bytes().hex(),
        "node": _node(leaf.node()),
    }


def _node(node: Node) -> Json:
    return {"hash": node.hash.hex(), "sum": str(node.sum)}


def _anchor(anchor: Anchored) -> Json:
    return {
        "epoch": anchor.epoch,
        "root": anchor.root.hex(),
        "head": anchor.head.hex(),
        "liabilities": anchor.liabilities.to_wire(),
        "journal_size": anchor.journal_size,
        "deposit_seq": anchor.deposit_seq,
        "file": anchor.file.hex() if anchor.file else None,
    }


def _trees(nodes: list[Node]) -> Json:
    return {
        str(count): {
            "root": _node(root_of(nodes[:count])),
            "paths": [
                [_node(node) for node in path_of(nodes[:count], position)]
                for position in range(count)
            ],
        }
        for count in (0, 1, 2, 3, 4, 5, 7)
    }


def _journal() -> Json:
    key = _named("journal key", 32)
    entries = [
        journal.entry(n, 1_800_000_000 + n, "send", f"user:{n:032x}", f"user:{n + 1:032x}", "token",
                      n * 1_000, bytes([n]) * 16)
        for n in range(1, 8)
    ]  # fmt: skip
    salts = [journal.salt_of(key, sequence) for sequence in range(1, 8)]
    found = [journal.leaf_of(salt, entry) for salt, entry in zip(salts, entries, strict=True)]
    node = journal.lookup_in(found)
    return {
        "journal_key": key.hex(),
        "entries": [entry.hex() for entry in entries],
        "salts": [salt.hex() for salt in salts],
        "leaves": [leaf.hex() for leaf in found],
        "roots": [journal.root(size, node).hex() for size in range(8)],
        "inclusion": [
            {"index": index, "size": size,
             "path": [part.hex() for part in journal.inclusion_path(index, size, node)]}
            for index, size in ((0, 1), (0, 7), (3, 7), (6, 7), (4, 5))
        ],
        "consistency": [
            {"old": old, "size": size,
             "path": [part.hex() for part in journal.consistency_path(old, size, node)]}
            for old, size in ((1, 7), (3, 7), (4, 7), (6, 7), (7, 7))
        ],
    }  # fmt: skip


def _not_proofs(body: bytes) -> Json:
    cases = {
        "cut short": body[:-1],
        "a trailing byte": body + b"\x00",
        "version 2": b"\x02" + body[1:],
        "a balance of 2^63": body[:61] + b"\x80" + body[62:],
        "a position outside the tree": body[:9] + (8).to_bytes(8) + body[17:],
        "a sibling's sum of 2^63": body[:134] + b"\x80" + body[135:],
        "41 levels": body[:101] + b"\x29" + bytes(41 * 40),
    }
    made = {}
    for name, case in cases.items():
        try:
            BalanceProof.from_bytes(case)
        except Refused as refusal:
            made[name] = {"bytes": case.hex(), "field": refusal.field}
    if made.keys() != cases.keys():
        raise AssertionError("a broken proof was read")
    return made


def proof_file(domain: Domain, response: SigningKey, certificate: Certificate) -> Json:
    made = leaves()
    nodes = [leaf.node() for leaf in made]
    root = root_of(nodes)
    head = EpochHead(
        1, 1_800_000_600, CHAIN_ID, VAULT, root.hash, Amount(root.sum), Amount(30_000_000),
        len(nodes), 7, bytes.fromhex(_journal()["roots"][7]), 5, _named("file", 20), NO_HEAD,
    )  # fmt: skip
    signed = SignedHead.sign(response, domain, head)
    anchor = Anchored(
        1, head.root, head.hash(domain), head.liabilities, 7, 5, head.file,
        1_800_000_630, _named("txid", 32), 4_711,
    )  # fmt: skip
    proofs = [
        BalanceProof(1, at, leaf.account, leaf.payout, leaf.withdrawable, leaf.balance, leaf.salt,
                     path_of(nodes, at))
        for at, leaf in enumerate(made)
    ]  # fmt: skip
    mine = proofs[1]
    other = SignedHead.sign(response, domain, replace(head, credit=ZERO))
    lies: dict[str, tuple[BalanceProof, SignedHead, Anchored]] = {
        "more than the leaf says": (replace(mine, balance=Amount(2)), signed, anchor),
        "another's leaf": (proofs[0], signed, anchor),
        "another epoch": (replace(mine, epoch=2), signed, anchor),
        "another position": (replace(mine, position=0), signed, anchor),
        "an overflowing sum": (
            replace(mine, path=(Node(mine.path[0].hash, MAX_UTOK), *mine.path[1:])), signed, anchor,
        ),
        "an empty subtree that owes": (
            replace(mine, path=(Node(EMPTY.hash, 1), *mine.path[1:])), signed, anchor,
        ),
        "another root on chain": (mine, signed, replace(anchor, root=bytes(32))),
        "other liabilities on chain": (mine, signed, replace(anchor, liabilities=ZERO)),
        "a second head": (mine, other, anchor),
        "a broken signature": (mine, SignedHead(head, bytes(64)), anchor),
    }  # fmt: skip

    def refusal(proof: BalanceProof, signed_head: SignedHead, anchored: Anchored) -> Json:
        try:
            verify(
                proof, signed_head, anchored, domain=domain, response_key=response.public,
                chain_id=CHAIN_ID, vault=VAULT, account=made[1].account,
            )  # fmt: skip
        except ProofBroken as error:
            return {
                "proof": proof.to_bytes().hex(),
                "head": signed_head.head.to_bytes().hex(),
                "signature": signed_head.signature.hex(),
                "anchor": _anchor(anchored),
                "field": error.field,
            }
        raise AssertionError("a lie was believed")

    evidence = Evidence(
        domain, CHAIN_ID, VAULT, mine.account, OK, mine, CertifiedHead(signed, certificate), anchor,
        None, mine.payout, mine.total,
    )  # fmt: skip
    return {
        "network": domain.network,
        "ledger_id": domain.ledger_id.hex(),
        "response_key": response.public.hex(),
        "chain_id": CHAIN_ID.to_bytes(32).hex(),
        "vault": VAULT.hex(),
        "salt_keys": {
            "alice": _named("alice salt key", 32).hex(),
            "leaf_key": _named("leaf key", 32).hex(),
            "treasury": own_salt_key(_named("leaf key", 32), TREASURY).hex(),
        },
        "leaves": [_leaf(leaf) for leaf in made],
        "empty": _node(EMPTY),
        "parent_of_the_first_two": _node(parent(nodes[0], nodes[1])),
        "trees": _trees(nodes),
        "head": {
            "body": head.to_bytes().hex(),
            "hash": head.hash(domain).hex(),
            "signature": signed.signature.hex(),
        },
        "anchor": _anchor(anchor),
        "proofs": [
            {"bytes": proof.to_bytes().hex(), "total": proof.total.to_wire()} for proof in proofs
        ],
        "refused_bytes": _not_proofs(mine.to_bytes()),
        "verified_for": made[1].account.hex(),
        "lies": {name: refusal(*case) for name, case in lies.items()},
        "journal": _journal(),
        "evidence": json.loads(evidence.to_json()),
    }
