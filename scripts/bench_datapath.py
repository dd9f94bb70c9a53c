"""What extension and payments cost where nothing else limits: one seller, one buyer, on loopback.

Ours is the real command line, paying by the automatic bid; stock is two plain libtorrent sessions. Time and
CPU run from the seller's "seeding" (it connects then) to the buyer's last verified byte: start-up, the
settling of the channel and the ledger's own process are left out.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench_rows import MIB, Benchmark, Row, lower_bound, over_rounds, say
from content import generated
from local_swarm import Round, Shape, local_swarm

SHAPE = Shape(origin_uplink=0, peer_uplink=0, free=0)
SIZE_MIB = 1024
LIMIT_S = 120.0
MEMORY = Path("/dev/shm")


def main() -> int:
    parser = argparse.ArgumentParser(prog="./scripts/bench datapath")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--size", type=int, default=SIZE_MIB)
    arguments = parser.parse_args()
    benchmark = Benchmark("datapath", {"rounds": arguments.rounds}, arguments.json)
    rows = measure(arguments.rounds, benchmark, arguments.size)
    return benchmark.finish(rows, arguments.rounds)


def measure(rounds: int, benchmark: Benchmark, size_mib: int = SIZE_MIB) -> list[Row]:
    # In memory where there is room for content, copy and as much again: a disk would be measured else.
    room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 3 * size_mib * MIB
    within = MEMORY if room else None
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="speedpay-bench-", dir=within) as name:
        folder = Path(name)
        content = generated(folder / "content.bin", size_mib)
        benchmark.parameters |= {
            "content_bytes": content.stat().st_size, "in_memory": within is not None,
            "upload_limit_bytes_s": None,
        }  # fmt: skip
        for number in range(rounds):
            measured = _pair(benchmark, number, content, folder)
            if measured is not None:
                benchmark.rounds.append(measured)
                rows = rows_of(benchmark.rounds)
            benchmark.write(rows)
    return rows


def _pair(benchmark: Benchmark, number: int, content: Path, folder: Path) -> dict[str, Any] | None:
    found: dict[str, Round] = {}
    kinds = ("ours", "stock") if number % 2 == 0 else ("stock", "ours")
    for kind in kinds:
        say(f"round {number + 1}, {kind} …")
        result = benchmark.attempt(
            f"round {number + 1}, {kind}", lambda kind=kind: _transfer(kind, content, folder)
        )
        if result is None:
            return None
        found[kind] = result
        rate = result.total_bytes / MIB / result.seconds
        say(f"  {rate:.0f} MiB/s, {result.cpu_s:.2f} s of CPU")
    return compared(found["ours"], found["stock"])


def _transfer(kind: str, content: Path, folder: Path) -> Round:
    stock = kind == "stock"
    with local_swarm(SHAPE, content, money=not stock, within=folder) as swarm:
        one = swarm.run("auto", LIMIT_S, stock=stock)
    if not one.sha256_ok:
        raise RuntimeError("the copy is incomplete or has the wrong SHA-256")
    if not stock and int(one.paid["paid_utok"]) == 0:
        raise RuntimeError("nothing was paid, so nothing was measured")
    return one


def compared(ours: Round, stock: Round) -> dict[str, Any]:
    both = {"ours": ours, "stock": stock}
    gib = ours.total_bytes / (1024 * MIB)
    return {
        "seconds": {kind: round(one.seconds, 3) for kind, one in both.items()},
        "cpu_s_a_gib": {kind: round(one.cpu_s / gib, 3) for kind, one in both.items()},
        "paid_bytes": sum(payee["bytes"] for payee in ours.paid["payees"]),
        "throughput": stock.seconds / ours.seconds,
        "cpu": ours.cpu_s / stock.cpu_s,
        "protocol": ours.protocol_bytes["payer"] / ours.total_bytes,
    }


def rows_of(rounds: list[dict[str, Any]]) -> list[Row]:
    throughput = [one["throughput"] for one in rounds]
    spread = (min(throughput), max(throughput))
    rows = [over_rounds("6 throughput, ours : stock", throughput)]
    if (least := lower_bound(throughput)) is not None:
        rows.append(Row("6 the same, lower 90 % bound", least, spread, None, "≥ 0.95"))
    return [
        *rows,
        over_rounds("6 CPU seconds a GiB, ours : stock", [one["cpu"] for one in rounds], "≤ 1.10"),
        over_rounds(
            "7 payment protocol : payload", [one["protocol"] for one in rounds], "≤ 0.02 %", unit="%"
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
