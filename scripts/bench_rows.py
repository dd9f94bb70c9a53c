"""What benchmarks share: rows with goals, medians and bounds, retries, the table and the JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

MIB = 1024 * 1024
T = TypeVar("T")


def fluid_bound(origin: float, peer: float, free: int, pool: float) -> float:
    """The most that paying can gain in a swarm without latency, rounding or protocol.

    Unpaid, all uplinks together are divided equally among ``free`` + 1 downloaders. Paid, one gets all but
    the free ``pool`` of the origin's and of the other downloaders' uplinks, and no more than the origin's:
    pieces come into the swarm no faster.
    """
    paid = min(origin, (1 - pool) * (origin + free * peer))
    return paid / ((origin + (free + 1) * peer) / (free + 1))


def lower_bound(values: Sequence[float], confidence: float = 0.9) -> float | None:
    """Above this the true median lies with that confidence: an order statistic, whatever the distribution.

    None when there are too few values: at 90 % four are needed.
    """
    ordered, count = sorted(values), len(values)
    found, chance_below = None, 0.0
    for rank in range(count):
        # The median lies below the (rank + 1)-th smallest if at most `rank` values lie below the median.
        chance_below += comb(count, rank) / 2**count
        if chance_below > 1 - confidence:
            break
        found = ordered[rank]
    return found


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``unit``: how people read the value: "x", "%", or "" for a plain number."""

    row: str
    value: float
    spread: tuple[float, float]
    bound: float | None = None
    goal: str | None = None
    unit: str = "x"

    @property
    def ok(self) -> bool:
        """Without a goal always; otherwise whether the value, unrounded, is on its right side."""
        if self.goal is None:
            return True
        sign, number, *percent = self.goal.split(" ")
        limit = float(number) / (100 if percent else 1)
        return {"≥": self.value >= limit, "≤": self.value <= limit, "=": self.value == limit}[sign]

    def as_json(self) -> dict[str, Any]:
        return {
            "row": self.row, "value": _rounded(self.value),
            "spread": [_rounded(value) for value in self.spread],
            "bound": None if self.bound is None else _rounded(self.bound),
            "goal": self.goal, "ok": self.ok, "unit": self.unit,
        }  # fmt: skip


def over_rounds(
    row: str,
    values: Sequence[float],
    goal: str | None = None,
    *,
    bound: float | None = None,
    unit: str = "x",
) -> Row:
    """The median of the rounds' values, with the least and the greatest."""
    return Row(row, median(values), (min(values), max(values)), bound, goal, unit)


HEADINGS = ("", "median", "least … greatest", "bound", "goal", "")


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A row of the JSON as the table's six cells."""
    unit = row["unit"]
    low, high = (_shown(value, unit) for value in row["spread"])
    return (
        row["row"], _shown(row["value"], unit), f"{low} … {high}",
        "" if row["bound"] is None else _shown(row["bound"], unit), row["goal"] or "",
        "" if row["goal"] is None else "ok" if row["ok"] else "MISSED",
    )  # fmt: skip


class Benchmark:
    """Rounds, each tried twice at most, and the report that is written after each of them.

    A benchmark may have parts, each with parameters, rounds and rows of its own; they are written together.
    """

    def __init__(self, name: str, parameters: dict[str, Any], json_file: Path | None) -> None:
        self.name = name
        self.parameters = parameters | {
            "cores": os.cpu_count(), "python": platform.python_version(),
            "libtorrent": _libtorrent_version(),
        }  # fmt: skip
        self.rounds: list[dict[str, Any]] = []
        self.failures: list[str] = []
        self._json_file = json_file
        self._began = time.monotonic()
        self._rows: Sequence[Row] = ()
        self._parts: list[Benchmark] = []
        self._whole: Benchmark | None = None

    def part(self, name: str) -> Benchmark:
        """A part; what is written of it goes into the whole report."""
        made = Benchmark(name, {}, None)
        made.parameters, made._whole = {}, self
        self._parts.append(made)
        return made

    def attempt(self, what: str, work: Callable[[], T]) -> T | None:
        """The work's result; None when it failed twice. Every failure stands in the report."""
        for number in (1, 2):
            try:
                return work()
            except (RuntimeError, OSError) as error:
                self.failures.append(f"{what}, attempt {number}: {error}")
                say(f"  failed: {error}")
        return None

    def write(self, rows: Sequence[Row]) -> dict[str, Any]:
        self._rows = rows
        if self._whole is not None:
            return self._whole.write(())
        report = self._report()
        if self._json_file is not None:
            self._json_file.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        return report

    def _report(self) -> dict[str, Any]:
        if not self._parts:
            return {
                "bench": self.name, "parameters": self.parameters,
                "rows": [row.as_json() for row in self._rows], "failures": self.failures,
                "rounds": self.rounds,
            }  # fmt: skip
        return {
            "bench": self.name,
            "parameters": self.parameters | {part.name: part.parameters for part in self._parts},
            "rows": [
                row.as_json() | {"part": part.name} for part in self._parts for row in part._rows
            ],
            "failures": {part.name: part.failures for part in self._parts},
            "rounds": {part.name: part.rounds for part in self._parts},
        }

    def finish(self, rows: Sequence[Row], wanted_rounds: int) -> int:
        """Prints the tables; the exit code is 1 when a round is missing."""
        from demo import columns

        report = self.write(rows)
        say("")
        for name, value in report["parameters"].items():
            say(f"{name}: {value}")
        missing = 0
        for part in self._parts or [self]:
            shown = [cells(row.as_json()) for row in part._rows]
            say(f"\n{part.name}, {len(part.rounds)} rounds")
            for line in columns([HEADINGS, *shown]):
                say(line)
            for failure in part.failures:
                say(f"failed: {failure}")
            missing += max(wanted_rounds - len(part.rounds), 0 if shown else 1)
        say(f"\n{time.monotonic() - self._began:.0f} s")
        if missing:
            say(f"{missing} rounds could not be measured")
        return 1 if missing else 0


def say(text: str) -> None:
    print(text, flush=True)


def _shown(value: float, unit: str) -> str:
    if unit == "%":
        # Three digits also where the goal is two hundredths of a percent.
        return f"{value * 100:.2g} %" if abs(value) < 0.01 else f"{value * 100:.1f} %"
    return f"{value:.2f}x" if unit == "x" else f"{value:g}"


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _libtorrent_version() -> str:
    import libtorrent

    return str(libtorrent.__version__)


if __name__ == "__main__":
    sys.exit("this file is a library; run ./scripts/bench")
