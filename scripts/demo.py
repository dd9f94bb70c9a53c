"""The demo: the same download free and paid, in fresh swarms of ten real clients; for ./scripts/demo."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demo_anchor import last_act, lines
from local_chain import LocalChain
from local_swarm import LocalSwarm, Round, Shape, local_swarm

MIB = 1024 * 1024
SHAPE = Shape(origin_uplink=16 * MIB, peer_uplink=MIB // 2)
LIMIT_S = 100.0
FUNDED_TOKENS = 20
#: The exit code of ``speedpay verify`` when ledger and chain do not agree.
PROOF_BROKEN = 10
CLAIMED = 3.192  # BitTorrent Speed's own figure, "+219.2 %", 2019


def main() -> int:
    parser = argparse.ArgumentParser(prog="./scripts/demo")
    parser.add_argument("--file", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    began = time.monotonic()
    content = arguments.file.absolute() if arguments.file else None
    with contextlib.ExitStack() as stack:
        chain = stack.enter_context(LocalChain())
        swarm = stack.enter_context(local_swarm(SHAPE, content, before_ledger=chain.start))
        say(scene(swarm.total_bytes, swarm.content.name, swarm.shape.as_json()))
        say("everybody downloads for free …")
        free = swarm.run("off", LIMIT_S)
        say(f"  the one we watch: {free.seconds:.1f} s")
        say(f"it brings {FUNDED_TOKENS} tokens from the chain …")
        funded = chain.fund(swarm.home("payer"), swarm.ledger_folder, FUNDED_TOKENS)
        say("the same again in a fresh swarm, one of them pays by the automatic bid …")
        paid = swarm.run("auto", LIMIT_S)
        say(f"  the one that pays: {paid.seconds:.1f} s")
        report = figures(swarm, free, paid)
        say("the books go on chain, and are checked against it …\n")
        report |= last_act(swarm, funded)
    say(table(report))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    say(f"\n{time.monotonic() - began:.0f} s in all")
    return 0 if right(report) else 1


def right(report: dict[str, Any]) -> bool:
    return bool(
        report["sha256_ok"]
        and report["issued_utok"] == report["accounted_utok"]
        and report["verify_ok"]
        and report["tampered_verify_exit"] == PROOF_BROKEN
    )


def figures(swarm: LocalSwarm, free: Round, paid: Round) -> dict[str, Any]:
    """What was measured, with the ledger's books as every owner and the ledger itself see them."""
    issued, accounted = swarm.tokens()
    return {
        "free_seconds": round(free.seconds, 3),
        "paid_seconds": round(paid.seconds, 3),
        "gain": round(free.seconds / paid.seconds, 3),
        "bytes": paid.total_bytes,
        "sha256_ok": free.sha256_ok and paid.sha256_ok,
        "paid_utok": paid.paid["paid_utok"],
        "issued_utok": str(issued),
        "accounted_utok": str(accounted),
        "payees": [
            payee | {"name": swarm.name_of(payee["peer"])}
            for payee in sorted(paid.paid["payees"], key=lambda payee: -int(payee["utok"]))
        ],
        "others_slowdown": round(paid.others_mean / free.others_mean - 1, 4),
        "others_free_seconds": [round(seconds, 3) for seconds in free.others],
        "others_paid_seconds": [round(seconds, 3) for seconds in paid.others],
        "free_progress": _points(free),
        "paid_progress": _points(paid),
        "bid": paid.paid["bid"],
        "content": swarm.content.name,
        "parameters": swarm.shape.as_json(),
    }


def _points(one: Round) -> list[list[float]]:
    """[seconds, verified bytes] of the downloader that is watched."""
    return [[round(seconds, 3), count] for seconds, count in one.progress["payer"]]


def scene(total_bytes: int, content: str, parameters: dict[str, int]) -> str:
    origin, peer = parameters["origin_uplink_bytes_s"], parameters["peer_uplink_bytes_s"]
    return (
        f"one ledger, an origin with {origin / MIB:g} MiB/s of uplink, and"
        f" {parameters['free_downloaders'] + 1} downloaders with {peer / MIB:g} MiB/s each:"
        f" {total_bytes / MIB:.0f} MiB of {content}"
    )


def table(report: dict[str, Any]) -> str:
    """The figures for people; all of them come out of the report, so that texts can quote them."""
    size, tokens = report["bytes"] / MIB, _tokens(report["paid_utok"])
    seconds = {"free": report["free_seconds"], "paid": report["paid_seconds"]}
    others = [
        sum(report[f"others_{kind}_seconds"]) / len(report[f"others_{kind}_seconds"])
        for kind in ("free", "paid")
    ]
    same = report["issued_utok"] == report["accounted_utok"]
    payees = [
        (
            payee["name"], _tokens(payee["utok"]), f"{payee['bytes'] / MIB:.1f}",
            f"{int(payee['utok']) * 1024 * MIB / 1e6 / payee['bytes']:.3f}" if payee["bytes"] else "-",
        )
        for payee in report["payees"]
    ]  # fmt: skip
    return "\n".join([
        *columns([
            ("the same download", "seconds", "MiB/s", "tokens"),
            *((kind, f"{s:.1f}", f"{size / s:.2f}", tokens if kind == "paid" else "0")
              for kind, s in seconds.items()),
        ]),
        f"gain {report['gain']:.2f}x (BitTorrent Speed claimed +219.2 %, {CLAIMED:.2f}x)",
        f"the other {len(report['others_free_seconds'])} took {others[0]:.1f} s, then {others[1]:.1f} s:"
        f" {report['others_slowdown']:+.1%}",
        "",
        *columns([("who was paid", "tokens", "MiB", "tokens a GiB"), *payees]),
        f"the bid: {report['bid']}",
        "",
        f"SHA-256 of every file: {'right' if report['sha256_ok'] else 'WRONG'}",
        f"the ledger's books: issued {report['issued_utok']} µtok, all accounts and escrow together"
        f" {report['accounted_utok']} µtok: {'the same' if same else 'NOT THE SAME'}",
        "",
        *lines(report),
    ])  # fmt: skip


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with aligned columns: the first to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _tokens(utok: str) -> str:
    return f"{int(utok) / 1e6:.6f}"


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
