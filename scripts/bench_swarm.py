"""Every figure of the market in one run: gain, shares, governor, data path, and where paying loses."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from bench_rows import Benchmark, say

#: name → (the script that measures it, about how many seconds one of its rounds takes on two cores)
GROUPS = {
    "gain": ("bench_gain", 240),
    "shares": ("bench_shares", 60),
    "governor": ("bench_governor", 135),
    "datapath": ("bench_datapath", 25),
    "losing": ("bench_losing", 75),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="./scripts/bench swarm")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", action="append", choices=GROUPS)
    arguments = parser.parse_args()
    groups = [name for name in GROUPS if name in (arguments.only or GROUPS)]
    benchmark = Benchmark("swarm", {"rounds": arguments.rounds}, arguments.json)
    expected_s = sum(GROUPS[name][1] for name in groups) * arguments.rounds
    say(f"{', '.join(groups)}: about {expected_s / 60:.0f} minutes")
    for name in groups:
        part = benchmark.part(name)
        part.write(importlib.import_module(GROUPS[name][0]).measure(arguments.rounds, part))
    return benchmark.finish((), arguments.rounds)


if __name__ == "__main__":
    sys.exit(main())
