"""Contracts made for tests alone: hostile tokens, and a copy of the vault with bugs to choose from.

A test that is to find losses must find these; one that passes on a planted bug tests nothing. The copy
is one contract, since compiling it is what takes time: ``plant(n)`` turns the n-th bug on.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent

#: Bug to (what the real vault says, what the copy says instead). Numbered from 1 in this order.
BUGS = {
    # Falls with each claim, while withdrawable in the leaves does not.
    "liabilities are compared with the balance": (
        "uint64 covered = _deposits[depositSeq].total;\n        if (liabilities",
        "uint64 covered = bug == 1 ? uint64(token.balanceOf(address(this)))"
        " : _deposits[depositSeq].total;\n        if (liabilities",
    ),
    # A balance that moved on since would be paid twice: to its holder then, and to its holder now.
    "balances of any epoch are paid": (
        "if (frozen && epoch == frozenEpoch)",
        "if (frozen && (bug == 2 || epoch == frozenEpoch))",
    ),
    # Pays what a freeze then takes back and refunds.
    "claims do not wait": (
        "if (block.timestamp < finalFrom)",
        "if (bug != 3 && block.timestamp < finalFrom)",
    ),
    # The frozen epoch's last deposit is in somebody's balance.
    "one deposit too many is refunded": (
        "if (seq <= coveredSeq)",
        "if (bug == 4 ? seq < coveredSeq : seq <= coveredSeq)",
    ),
    "what was paid is forgotten": (
        "paidTo[account] = uint64(entitled);",
        "if (bug != 5) paidTo[account] = uint64(entitled);",
    ),
    "a freeze takes the newest epoch": (
        "uint64 epoch = _finalEpoch();",
        "uint64 epoch = bug == 6 ? lastEpoch : _finalEpoch();",
    ),
}

#: Always so in the copy, whose constructor could not be told: no vault has such times.
ANY_RING = ("if (ringSeconds <= 2 * uint256(delay_)) revert", "if (ringSeconds == 0) revert")
CHOOSING = "uint8 public bug; function plant(uint8 which) external { bug = which; }\n"


def builder() -> Any:
    """scripts/build_contracts.py, as a module."""
    scripts = str(ROOT / "scripts")
    if scripts not in sys.path:
        sys.path.append(scripts)
    return importlib.import_module("build_contracts")


def spoilt(vault: str) -> str:
    """Source of ``SpoiltVault``: the vault's, with all of ``BUGS`` to choose from."""
    for right, wrong in [*BUGS.values(), ANY_RING]:
        assert vault.count(right) == 1, f"the vault no longer says {right!r}"
        vault = vault.replace(right, wrong)
    head, end, _ = vault.rpartition("}")
    return (head + CHOOSING + end).replace("contract Vault {", "contract SpoiltVault {")


def compile_all() -> dict[str, dict[str, Any]]:
    """Name to ``abi`` and ``bytecode`` of everything in Hostile.sol, and of ``SpoiltVault``."""
    texts = builder().sources()
    texts["SpoiltVault.sol"] = spoilt(texts.pop("Vault.sol"))
    texts["Hostile.sol"] = (Path(__file__).parent / "Hostile.sol").read_text()
    # The older pipeline compiles three times as fast; none of these is ever deployed.
    made = builder().compiled(texts, viaIR=False)
    return {
        name: {"abi": one["abi"], "bytecode": one["evm"]["bytecode"]["object"]}
        for name, one in made.items()
    }
