"""What is checked in is what the sources compile to, on any machine, and is fit for TRON."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.backends import Tvm
from tests.contracts.deployed import ARTIFACTS, Contract, Deployed, artifact
from tests.contracts.planted import ROOT, builder

CONTRACTS = ROOT / "contracts"
NAMES = ["Token", "Vault"]
PUSH1, PUSH32, SSTORE = 0x60, 0x7F, 0x55
#: Contracts made by contracts, code of others run as our own, and the end of a contract.
NEVER = {
    0xF0: "CREATE",
    0xF5: "CREATE2",
    0xF2: "CALLCODE",
    0xF4: "DELEGATECALL",
    0xFF: "SELFDESTRUCT",
}


@pytest.mark.timeout(300)  # the compiler takes 4 s of CPU, on a machine that may be very busy
def test_the_artefacts_come_out_again_byte_for_byte_with_no_node_on_the_path(
    tmp_path: Path,
) -> None:
    script = ROOT / "scripts/build_contracts"
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    said = subprocess.run(
        ["/bin/bash", script, "--check"],
        env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert said.stdout == "build_contracts: Token.json, Vault.json: reproduced byte for byte\n"


@pytest.fixture
def copies(tmp_path: Path) -> dict[str, bytes]:
    """All artefacts; and the same files in ``tmp_path``, for a test to change."""
    made = {f"{name}.json": (ARTIFACTS / f"{name}.json").read_bytes() for name in NAMES}
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
    return made


def test_equal_artefacts_have_no_differences(tmp_path: Path, copies: dict[str, bytes]) -> None:
    assert builder().differences(tmp_path, copies) == []


@pytest.mark.parametrize("key", ["abi", "bytecode", "deployedBytecode", "settings", "sourceSha256"])
def test_a_difference_is_named(tmp_path: Path, copies: dict[str, bytes], key: str) -> None:
    changed = json.loads(copies["Vault.json"])
    changed[key] = changed[key][:-1] if isinstance(changed[key], str | list) else {}
    (tmp_path / "Vault.json").write_text(json.dumps(changed, indent=1) + "\n")
    assert builder().differences(tmp_path, copies) == [f"Vault.json: differs in {key}"]


def test_missing_foreign_broken_and_respelt_artefacts_are_named(
    tmp_path: Path, copies: dict[str, bytes]
) -> None:
    (tmp_path / "Token.json").unlink()
    (tmp_path / "Other.json").write_text("{}")
    (tmp_path / "Vault.json").write_bytes(copies["Vault.json"] + b"\n")
    assert builder().differences(tmp_path, copies) == [
        "Other.json: nothing in contracts/ makes it",
        "Token.json: missing",
        "Vault.json: differs in spelling only: white space or order",
    ]
    (tmp_path / "Vault.json").write_text("{")
    assert "Vault.json: differs in everything: it is no JSON" in builder().differences(
        tmp_path, copies
    )


def test_a_source_with_an_error_or_a_warning_is_refused_with_the_compilers_words() -> None:
    head = "// SPDX-License-Identifier: Apache-2.0\npragma solidity 0.8.26;\n"
    body = "contract A { function f() external { uint256 a; } }"
    with pytest.raises(builder().BuildFailed, match="Unused local variable"):
        builder().compiled({"A.sol": head + body})


def test_the_compiler_is_pinned_by_version_and_hash_and_comes_from_no_named_host() -> None:
    package = json.loads((CONTRACTS / "package.json").read_text())
    assert re.fullmatch(r"0\.8\.\d+", package["dependencies"]["solc"])
    lock = json.loads((CONTRACTS / "package-lock.json").read_text())
    for name, entry in lock["packages"].items():
        if name:
            assert entry["integrity"].startswith("sha512-"), name
            assert "resolved" not in entry, name


@pytest.mark.parametrize("name", NAMES)
def test_an_artefact_says_what_it_was_made_of_and_how(name: str) -> None:
    made = artifact(name)
    assert made["contract"] == name
    assert made["compiler"].startswith("0.8.26+")
    assert made["settings"]["evmVersion"] == "cancun"
    for file, digest in made["sourceSha256"].items():
        assert hashlib.sha256((CONTRACTS / file).read_bytes()).hexdigest() == digest
    assert set(re.findall(r'from "\./(\w+\.sol)"', (CONTRACTS / f"{name}.sol").read_text())) <= set(
        made["sourceSha256"]
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_abi_survives_being_stored_on_tron_and_read_by_tronpy(name: str) -> None:
    for entry in artifact(name)["abi"]:
        values = entry.get("inputs", []) + entry.get("outputs", [])
        assert not any("tuple" in value["type"] for value in values), entry["name"]
        if entry["type"] == "event":
            assert any(not value["indexed"] for value in entry["inputs"]), entry["name"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("code", ["bytecode", "deployedBytecode"])
def test_no_contract_makes_contracts_runs_foreign_code_or_ends(name: str, code: str) -> None:
    opcodes = instructions(bytes.fromhex(artifact(name)[code]))
    assert {NEVER[opcode] for opcode in opcodes & NEVER.keys()} == set()
    assert SSTORE in opcodes


@pytest.mark.parametrize("name", NAMES)
def test_every_error_of_a_contract_is_provoked_by_a_test(name: str) -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    provoked = set(re.findall(r'refused\(\s*"(\w+)"', tests))
    errors = {entry["name"] for entry in artifact(name)["abi"] if entry["type"] == "error"}
    assert errors - provoked == set()


def instructions(code: bytes) -> set[int]:
    """All opcodes that occur, without what is pushed."""
    found, at = set(), 0
    while at < len(code):
        found.add(code[at])
        at += 1 + (code[at] - PUSH1 + 1 if PUSH1 <= code[at] <= PUSH32 else 0)
    return found


def masked(code: bytes, immutables: list[list[int]]) -> bytes:
    out = bytearray(code)
    for start, length in immutables:
        out[start : start + length] = bytes(length)
    return bytes(out)


@pytest.mark.parametrize("name", NAMES)
def test_the_code_on_chain_is_the_artefacts_but_for_its_immutables(name: str) -> None:
    """How anybody verifies a deployed contract; contracts/README.md says it in words."""
    backend = Tvm()
    deployed = Deployed.fresh(backend)
    contracts: dict[str, Contract] = {"Token": deployed.token, "Vault": deployed.vault}
    made: dict[str, Any] = artifact(name)
    on_chain = backend.code(contracts[name].address)
    expected = bytes.fromhex(made["deployedBytecode"])
    assert made["immutables"]
    assert masked(on_chain, made["immutables"]) == expected
    assert on_chain != expected
