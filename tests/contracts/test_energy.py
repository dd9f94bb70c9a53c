"""What each call costs on TRON, measured by the development chain's machine, and the table that says so.

The machine keeps TRON's rules to the unit (``tests/vectors/tvm.json``), so the figures in
contracts/README.md are compared exactly. ``./.venv/bin/python -m tests.contracts.test_energy`` prints
the table anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from speedpay.proof.sum_tree import Node, climb
from tests.contracts.backends import Tvm
from tests.contracts.deployed import (
    ACCOUNT_A,
    ALICE,
    BOB,
    CAROL,
    EVE,
    GUARDIAN,
    MINTER,
    OPERATOR,
    Deployed,
    Tree,
)
from tests.contracts.planted import ROOT

README = ROOT / "contracts/README.md"
SUN_PER_ENERGY = 100
ANCHOR_GOAL = 35_000


def measured() -> Iterator[tuple[str, int]]:
    """What is called, and its energy."""
    backend = Tvm()
    deployed = Deployed.fresh(backend)
    token, vault, times = deployed.token, deployed.vault, deployed.times
    yield "deploy the token", token.made.energy
    yield "deploy the vault", vault.made.energy

    token.send("mint", ALICE, 10**9, by=MINTER)
    yield "token: transfer to a new holder", token.send("transfer", BOB, 5, by=ALICE).energy
    yield "token: transfer to a holder", token.send("transfer", BOB, 5, by=ALICE).energy
    yield "token: approve", token.send("approve", vault.address, 10**9, by=ALICE).energy

    yield "deposit, the vault's first", vault.send("deposit", 10**6, ACCOUNT_A, by=ALICE).energy
    yield "deposit", vault.send("deposit", 10**6, ACCOUNT_A, by=ALICE).energy

    deployed.wait(times.min_interval)
    yield "anchor, the vault's first", deployed.anchor().energy
    anchors = {deployed.anchor_later(liabilities=n, journal_size=n).energy for n in range(2, 20)}
    yield "anchor", max(anchors)

    for levels in (0, 4, 20):
        with backend.attempt():
            yield f"claim, {levels} levels", claim_energy(deployed, levels)
    yield "claim again, 20 levels", claim_energy(deployed, 20, again=True)

    yield "propose an operator", vault.send("proposeOperator", BOB, by=OPERATOR).energy
    with backend.attempt():
        deployed.wait(times.delay)
        yield "accept as operator", vault.send("acceptOperator", by=BOB).energy
    deployed.deposit(5, by=CAROL)
    yield "freeze", vault.send("freeze", by=GUARDIAN).energy
    yield "refund", vault.send("refund", 3, by=EVE).energy


def claim_energy(deployed: Deployed, levels: int, *, again: bool = False) -> int:
    """Of a claim by a path so long, to a payout address that held no tokens; or of the one after."""
    leaf = deployed.leaf(ACCOUNT_A, b"\x77" * 20, 100, 100)
    path = [Node(bytes([level + 1]) * 32, 1_000 + level) for level in range(levels)]
    position = 2**levels // 3
    root = climb(leaf.node(), position, path)
    siblings = [[node.hash for node in path], [node.sum for node in path]]
    epoch = anchored(deployed, root)
    claim = [*Tree((leaf,)).claim(0, epoch)[:6], position, *siblings]
    energy = deployed.vault.send("claim", *claim, by=EVE).energy
    if not again:
        return energy
    leaf = deployed.leaf(ACCOUNT_A, b"\x77" * 20, 150, 50)
    epoch = anchored(deployed, climb(leaf.node(), position, path))
    claim = [*Tree((leaf,)).claim(0, epoch)[:6], position, *siblings]
    return deployed.vault.send("claim", *claim, by=EVE).energy


def anchored(deployed: Deployed, root: Node) -> int:
    journal = 100
    deployed.anchor_later(root=root.hash, liabilities=root.sum, journal_size=journal)
    deployed.wait(deployed.times.delay)
    epoch: int = deployed.vault.view("lastEpoch")
    return epoch


def table() -> str:
    rows = ["| call | energy | TRX |", "|---|--:|--:|"]
    for name, energy in measured():
        rows.append(f"| {name} | {energy:,} | {energy * SUN_PER_ENERGY / 10**6:.2f} |")
    return "\n".join(rows) + "\n"


def test_the_readmes_table_is_what_is_measured() -> None:
    found = re.search(r"\| call \| energy.*?\n(?=\n)", README.read_text(), re.DOTALL)
    assert found, "no table in contracts/README.md"
    assert found[0] == table()


def test_every_anchor_costs_at_most_35_000_also_the_first_eight() -> None:
    deployed = Deployed.fresh(Tvm())
    deployed.deposit(1_000)
    energies = {
        deployed.anchor_later(
            root=bytes([n]) * 32, head=bytes([n]) * 32, liabilities=n, journal_size=2**40 + n
        ).energy
        for n in range(1, 20)
    }
    assert max(energies) <= ANCHOR_GOAL
    assert max(energies) - min(energies) < 1_000, "the first cost more than the later ones"


if __name__ == "__main__":
    print(table(), end="")
