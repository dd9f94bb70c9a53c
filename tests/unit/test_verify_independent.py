"""The second implementation: it shares nothing with speedpay, and agrees with it on every vector."""

from __future__ import annotations

import ast
import json
import runpy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speedpay.proof.balance import MAX_PROOF_BYTES, BalanceProof
from speedpay.proof.sum_tree import Node, climb
from tests.independent import SCRIPT, script

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors/proof.json").read_text()
)
CHAIN_ID, VAULT = (bytes.fromhex(VECTORS[name]) for name in ("chain_id", "vault"))
ROOT = bytes.fromhex(VECTORS["anchor"]["root"])
LIABILITIES = int(VECTORS["anchor"]["liabilities"])
verifier = script()
HEADS = SCRIPT.with_name("verify_heads")

#: Lies that only a signature tells: the verifier asks the chain instead.
ONLY_SIGNED = {"a broken signature"}


def evidence(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "evidence.json"
    path.write_text(json.dumps({**VECTORS["evidence"], **changes}))
    return path


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *words], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("path", [SCRIPT, HEADS])
def test_it_has_200_lines_and_imports_the_standard_library_alone(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 200
    assert max(map(len, source.splitlines())) <= 110
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            imported.add(str(node.module).split(".")[0])
    assert imported
    assert imported <= sys.stdlib_module_names


def test_it_agrees_with_every_proof() -> None:
    assert len(VECTORS["proofs"]) > 5
    for proof, leaf in zip(VECTORS["proofs"], VECTORS["leaves"], strict=True):
        found = verifier.check_proof(
            bytes.fromhex(proof["bytes"]), CHAIN_ID, VAULT, ROOT, LIABILITIES
        )
        account, payout = (bytes.fromhex(leaf[name]) for name in ("account", "payout"))
        assert found == (1, account, payout, int(proof["total"]))


def test_it_agrees_about_every_tree_and_journal() -> None:
    nodes = [verifier.leaf(CHAIN_ID, VAULT, *(
        bytes.fromhex(leaf["account"]), bytes.fromhex(leaf["payout"]), int(leaf["withdrawable"]),
        int(leaf["balance"]), bytes.fromhex(leaf["salt"]))) for leaf in VECTORS["leaves"]]  # fmt: skip
    for tree in VECTORS["trees"].values():
        for position, path in enumerate(tree["paths"]):
            made = nodes[position]
            for level, sibling in enumerate(path):
                other = bytes.fromhex(sibling["hash"]), int(sibling["sum"])
                pair = (other, made) if position >> level & 1 else (made, other)
                made = verifier.node(*pair)
            assert (made[0].hex(), str(made[1])) == (tree["root"]["hash"], tree["root"]["sum"])
    leaves = [bytes.fromhex(leaf) for leaf in VECTORS["journal"]["leaves"]]
    for size, root in enumerate(VECTORS["journal"]["roots"]):
        assert verifier.tree_hash(leaves[:size]).hex() == root


@pytest.mark.parametrize("name", sorted(VECTORS["lies"].keys() - ONLY_SIGNED))
def test_it_sees_every_lie(name: str, tmp_path: Path) -> None:
    lie = VECTORS["lies"][name]
    file = VECTORS["evidence"]
    head = {**file["head"], "body": lie["head"]}
    with pytest.raises(verifier.Broken):
        verifier.check_evidence(
            evidence(tmp_path, proof=lie["proof"], head=head, anchor=lie["anchor"])
        )


@pytest.mark.parametrize("name", VECTORS["refused_bytes"])
def test_it_refuses_every_broken_encoding(name: str) -> None:
    body = bytes.fromhex(VECTORS["refused_bytes"][name]["bytes"])
    with pytest.raises(verifier.Broken):
        verifier.check_proof(body, CHAIN_ID, VAULT, ROOT, LIABILITIES)


def test_it_refuses_every_flipped_bit() -> None:
    body = bytes.fromhex(VECTORS["proofs"][1]["bytes"])
    expected = verifier.check_proof(body, CHAIN_ID, VAULT, ROOT, LIABILITIES)
    for bit in range(len(body) * 8):
        changed = bytearray(body)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            found = verifier.check_proof(bytes(changed), CHAIN_ID, VAULT, ROOT, LIABILITIES)
        except verifier.Broken:
            continue
        # The epoch is no part of the leaf: check_evidence compares it with the head's.
        assert 8 <= bit < 72
        assert found[0] != expected[0]
        assert found[1:] == expected[1:]


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "no head": ({"head": None}, "no head"),
    "no proof": ({"proof": None}, "no proof"),
    "no anchor": ({"anchor": None}, "no anchor"),
    "another vault": ({"vault": "00" * 20}, "another chain or vault"),
    "another chain": ({"chain_id": "00" * 32}, "another chain or vault"),
    "another network": ({"network": "other"}, "another head"),
    "another ledger": ({"ledger_id": "00" * 32}, "another head"),
    "another account": ({"account": "00" * 16}, "another epoch or account"),
    "another payout": ({"payout": "00" * 20}, "another address"),
    "below the receipts": ({"at_least": "4000002"}, "receipts say 4000002"),
}


@pytest.mark.parametrize(("changes", "words"), CHANGES.values(), ids=CHANGES.keys())
def test_it_says_what_does_not_agree(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(verifier.Broken, match=words):
        verifier.check_evidence(evidence(tmp_path, **changes))


# --- two heads -----------------------------------------------------------------------------------

PAIRS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors/heads.json").read_text(encoding="utf-8")
)


def head_json(name: str) -> dict[str, Any]:
    head = PAIRS["heads"][name]
    by = {k: PAIRS[k] for k in ("root_key", "not_before", "not_after")}
    return {
        "body": head["body"], "signature": head["signature"], "response_key": PAIRS["response_key"],
        "certificate": by | {"signature": PAIRS["certificate"]},
    }  # fmt: skip


def two_heads(tmp_path: Path, one: dict[str, Any], other: dict[str, Any]) -> Path:
    path = tmp_path / "heads.json"
    domain = {"network": PAIRS["network"], "ledger_id": PAIRS["ledger_id"]}
    path.write_text(json.dumps(domain | {"head": one, "other_head": other}))
    return path


def judged_heads(path: Path, capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capfd.readouterr()
    code = runpy.run_path(str(HEADS))["main"]([str(path)])
    return code, capfd.readouterr().out.rstrip("\n")


@pytest.mark.parametrize("pair", PAIRS["pairs"], ids=lambda pair: f"{pair['one']}, {pair['other']}")
def test_it_says_of_two_heads_what_they_are_to_each_other(
    pair: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = two_heads(tmp_path, head_json(pair["other"]), head_json(pair["one"]))
    said = pair["contradiction"]
    expected = (10, said) if said else (0, "an honest ledger could have signed both heads")
    assert judged_heads(path, capfd) == expected


Wrong = Callable[[dict[str, Any]], object]
HIGH_S = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def _high_s(head: dict[str, Any]) -> None:
    r, s = head["signature"][:64], int(head["signature"][64:], 16)
    head["signature"] = r + f"{HIGH_S - s:064x}"


PROVES_NOTHING: dict[str, tuple[Wrong, str]] = {
    "a changed head": (lambda h: h.update(body=h["body"][:-2] + "ff"), "did not sign it"),
    "no signature": (lambda h: h.update(signature="00" * 64), "did not sign it"),
    "its high-s twin": (_high_s, "did not sign it"),
    "another key": (lambda h: h.update(response_key=PAIRS["root_key"]), "did not certify"),
    "a longer certificate": (lambda h: h["certificate"].update(not_after=2**40), "did not certify"),
    "another root": (
        lambda h: h["certificate"].update(root_key=h["response_key"]), "another ledger's",
    ),
    "a head cut short": (lambda h: h.update(body=h["body"][2:]), "unpack requires"),
    "no head": (lambda h: h.clear(), "no evidence"),
    "a negative time": (lambda h: h["certificate"].update(not_before=-1), "no evidence"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "says"), PROVES_NOTHING.values(), ids=PROVES_NOTHING.keys())
def test_two_heads_of_which_one_is_forged_prove_nothing(
    change: Wrong, says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good, forged = head_json("first"), head_json("twin")
    change(forged)
    for pair in ((good, forged), (forged, good)):
        code, said = judged_heads(two_heads(tmp_path, *pair), capfd)
        assert code == 2
        assert says in said


def test_evidence_with_two_heads_is_judged_by_their_signatures(tmp_path: Path) -> None:
    bad = evidence(tmp_path, **{k: PAIRS[k] for k in ("network", "ledger_id")}, head=head_json("first"),
                   other_head=head_json("twin"))  # fmt: skip
    done = run("--json", bad)
    assert done.returncode == 10
    assert json.loads(done.stdout)["says"] == "the ledger signed two different heads for epoch 1"
    forged = head_json("twin") | {"signature": "00" * 64}
    assert run(evidence(tmp_path, head=head_json("first"), other_head=forged)).returncode == 2


def test_its_answers_and_exit_codes(tmp_path: Path) -> None:
    good = run("--json", evidence(tmp_path))
    assert good.returncode == 0
    said = json.loads(good.stdout)
    assert (said["ok"], said["epoch"], said["total_utok"]) == (True, 1, "4000001")
    bad = run(evidence(tmp_path, at_least="5000000"))
    assert bad.returncode == 10
    assert bad.stdout == "4000001 µtok are anchored, the receipts say 5000000\n"
    for words in (["--chain-node", "http://127.0.0.1:9", evidence(tmp_path)],):
        assert run(*words).returncode == 6
    (tmp_path / "junk").write_text("junk")
    for unreadable in (
        [tmp_path / "junk"], [tmp_path / "nothing"], [], ["--database", tmp_path / "junk"],
        ["--database", tmp_path / "nothing"], [tmp_path / "junk", "--database", tmp_path / "junk"],
    ):  # fmt: skip
        assert run(*unreadable).returncode == 2


def test_a_proof_in_a_tree_of_a_million_leaves_is_small_and_quickly_verified() -> None:
    """The figures of the bench, with room for a busy machine: 1 KB, and ten times the millisecond."""
    short = BalanceProof.from_bytes(bytes.fromhex(VECTORS["proofs"][0]["bytes"]))
    path = tuple(Node(bytes([level + 1]) * 32, 1_000) for level in range(20))
    proof = BalanceProof(
        short.epoch, 777_777, short.account, short.payout, short.withdrawable, short.balance,
        short.salt, path,
    )  # fmt: skip
    body, root = proof.to_bytes(), proof.root(int.from_bytes(CHAIN_ID), VAULT)
    assert len(body) == 902 <= 1024 < MAX_PROOF_BYTES
    assert climb(short_leaf(short), 777_777, path) == root
    took_ms = []
    for _ in range(50):
        started = time.perf_counter()
        verifier.check_proof(body, CHAIN_ID, VAULT, root.hash, root.sum)
        took_ms.append((time.perf_counter() - started) * 1000)
    assert statistics.median(took_ms) < 10


def short_leaf(proof: BalanceProof) -> Node:
    made = verifier.leaf(
        CHAIN_ID, VAULT, proof.account, proof.payout, proof.withdrawable.utok, proof.balance.utok,
        proof.salt,
    )  # fmt: skip
    return Node(*made)
