"""Where paying loses or wins nothing, measured as well: rows without a goal, so that nobody is deceived.

In each case one swarm downloads by turns free and paid; ledger and wallets stay, folders and peers are fresh.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from bench_rows import MIB, Benchmark, Row, over_rounds, say
from content import generated
from local_swarm import LocalSwarm, Shape, local_swarm

LIMIT_S = 90.0


@dataclass(frozen=True)
class Case:
    """``everybody``: all downloaders pay, each by its automatic bid."""

    row: str
    shape: Shape
    size_mib: int
    everybody: bool = False


CASES = {
    "short": Case("gain, a download of 8 MiB", Shape(16 * MIB, MIB // 2), 8),
    "alike": Case("gain, everybody pays alike", Shape(8 * MIB, MIB // 2, free=3), 16, True),
    "line": Case(
        "gain, the downloader's own line is full", Shape(8 * MIB, MIB, free=3, line=2 * MIB), 16
    ),
}


def measure(rounds: int, benchmark: Benchmark) -> list[Row]:
    rows: list[Row] = []
    benchmark.parameters |= {
        name: case.shape.as_json() | {"content_bytes": case.size_mib * MIB}
        for name, case in CASES.items()
    }
    with tempfile.TemporaryDirectory(prefix="speedpay-bench-") as folder:
        content = {
            name: generated(Path(folder) / f"{name}.bin", case.size_mib)
            for name, case in CASES.items()
        }
        for number in range(rounds):
            measured = _round(benchmark, number, content)
            if len(measured) == len(CASES):
                benchmark.rounds.append(measured)
                rows = rows_of(benchmark.rounds)
            benchmark.write(rows)
    return rows


def _round(benchmark: Benchmark, number: int, content: dict[str, Path]) -> dict[str, Any]:
    """Of each case both kinds, free first in every other round."""
    measured = {}
    kinds = ("off", "auto") if number % 2 == 0 else ("auto", "off")
    for name, case in CASES.items():
        what = f"round {number + 1}, {case.row}"
        say(f"{what} …")
        one = benchmark.attempt(
            what, lambda case=case, path=content[name]: _pair(kinds, case, path)
        )
        if one is not None:
            measured[name] = one
            say(f"  {one['gain']:.2f}x for {int(one['paid_utok']) / 1e6:.6f} tok")
    return measured


def _pair(kinds: tuple[str, ...], case: Case, content: Path) -> dict[str, Any]:
    with local_swarm(case.shape, content) as swarm:
        found = {kind: _seconds(swarm, case, kind) for kind in kinds}
    free, paid = found["off"][0], found["auto"][0]
    return {
        "seconds": {"free": free, "paid": paid},
        "gain": free / paid,
        "paid_utok": found["auto"][1],
    }


def _seconds(swarm: LocalSwarm, case: Case, kind: str) -> tuple[float, str]:
    """Until the measured downloader had everything, and what it paid in µtok. Where all pay alike there is
    nobody to watch: the mean of all."""
    one = swarm.run(kind, LIMIT_S, everybody=case.everybody)
    if not one.sha256_ok:
        raise RuntimeError("a downloaded file has the wrong SHA-256")
    seconds = mean((one.seconds, *one.others)) if case.everybody else one.seconds
    return round(seconds, 3), one.paid["paid_utok"]


def rows_of(rounds: list[dict[str, Any]]) -> list[Row]:
    return [
        over_rounds(case.row, [one[name]["gain"] for one in rounds]) for name, case in CASES.items()
    ]
