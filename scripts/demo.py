"""The demo: the same download free and paid, in fresh swarms of ten real clients; for ./scripts/demo."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from local_swarm import LocalSwarm, Round, Shape, local_swarm

MIB = 1024 * 1024
SHAPE = Shape(origin_uplink=16 * MIB, peer_uplink=MIB // 2)
LIMIT_S = 100.0
CLAIMED = 3.192  # BitTorrent Speed's own figure, "+219.2 %", 2019


def main() -> int:
    parser = argparse.ArgumentParser(prog="./scripts/demo")
    parser.add_argument("--file", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    began = time.monotonic()
    content = arguments.file.absolute() if arguments.file else None
    with local_swarm(SHAPE, content) as swarm:
        total = swarm.total_bytes
        say(
            f"one ledger, an origin with {SHAPE.origin_uplink / MIB:g} MiB/s of uplink, and"
            f" {SHAPE.free + 1} downloaders with {SHAPE.peer_uplink / MIB:g} MiB/s each:"
            f" {total / MIB:.0f} MiB of {swarm.content.name}"
        )
        say("everybody downloads for free …")
        free = swarm.run("off", LIMIT_S)
        say(f"  the one we watch: {free.seconds:.1f} s")
        say("the same again in a fresh swarm, one of them pays by the automatic bid …")
        paid = swarm.run("auto", LIMIT_S)
        say(f"  the one that pays: {paid.seconds:.1f} s\n")
        report = figures(swarm, free, paid)
        show(swarm, free, paid, report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    say(f"\n{time.monotonic() - began:.0f} s in all")
    right = report["sha256_ok"] and report["issued_utok"] == report["accounted_utok"]
    return 0 if right else 1


def figures(swarm: LocalSwarm, free: Round, paid: Round) -> dict[str, Any]:
    """What was measured, with the ledger's books as every owner and the ledger itself see them."""
    books = swarm.books()
    accounted = sum(
        int(balance[name]) + int(balance["in_escrow"][name])
        for balance in swarm.balances().values()
        for name in ("token", "credit")
    )
    return {
        "free_seconds": round(free.seconds, 3),
        "paid_seconds": round(paid.seconds, 3),
        "gain": round(free.seconds / paid.seconds, 3),
        "bytes": paid.total_bytes,
        "sha256_ok": free.sha256_ok and paid.sha256_ok and books["ok"],
        "paid_utok": paid.paid["paid_utok"],
        "issued_utok": str(sum(int(amount) for amount in books["issued_utok"].values())),
        "accounted_utok": str(accounted),
        "payees": paid.paid["payees"],
        "others_slowdown": round(paid.others_mean / free.others_mean - 1, 4),
        "others_free_seconds": [round(seconds, 3) for seconds in free.others],
        "others_paid_seconds": [round(seconds, 3) for seconds in paid.others],
        "parameters": swarm.shape.as_json(),
    }


def show(swarm: LocalSwarm, free: Round, paid: Round, report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=96, highlight=False)
    speed = Table(title="the same download", title_justify="left")
    for heading in ("", "seconds", "MiB/s", "tokens"):
        speed.add_column(heading, justify="left" if not heading else "right")
    size = report["bytes"] / MIB
    speed.add_row("free", f"{free.seconds:.1f}", f"{size / free.seconds:.2f}", "0")
    tokens = int(report["paid_utok"]) / 1e6
    speed.add_row("paid", f"{paid.seconds:.1f}", f"{size / paid.seconds:.2f}", f"{tokens:.6f}")
    console.print(speed)
    console.print(
        f"gain {report['gain']:.2f}x   (BitTorrent Speed claimed +219.2 %, {CLAIMED:.2f}x)\n"
        f"the other {swarm.shape.free} took {free.others_mean:.1f} s, then {paid.others_mean:.1f} s:"
        f" {report['others_slowdown']:+.1%}\n"
    )
    payees = Table(title="who was paid", title_justify="left")
    for heading in ("peer", "tokens", "MiB", "tokens a GiB"):
        payees.add_column(heading, justify="left" if heading == "peer" else "right")
    for payee in sorted(report["payees"], key=lambda payee: -int(payee["utok"])):
        utok, count = int(payee["utok"]), payee["bytes"]
        a_gib = f"{utok / 1e6 * 1024 * MIB / count:.3f}" if count else "-"
        payees.add_row(
            swarm.name_of(payee["peer"]), f"{utok / 1e6:.6f}", f"{count / MIB:.1f}", a_gib
        )
    console.print(payees)
    console.print(f"the bid: {paid.paid['bid']}\n")
    same = report["issued_utok"] == report["accounted_utok"]
    console.print(
        f"SHA-256 of every file: {'right' if report['sha256_ok'] else 'WRONG'}\n"
        f"the ledger's books: issued {report['issued_utok']} µtok, all accounts and escrow together"
        f" {report['accounted_utok']} µtok: {'the same' if same else 'NOT THE SAME'}"
    )


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
