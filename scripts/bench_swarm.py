"""Gain, and what it costs the others, in the demo's swarm: free, paid and stock by turns.

A swarm is fresh each time: a ledger, wallets and folders of its own, so that nothing a round leaves behind
(a smaller balance, a known peer) reaches the next.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench_rows import Benchmark, Row, fluid_bound, generated, over_rounds, say
from demo import SHAPE
from local_swarm import Round, installer_images, local_swarm

#: Long enough for stock libtorrent too: all uplinks together move the demo's content in 57 s.
LIMIT_S = 180.0
KINDS = ("free", "paid", "stock")


def main() -> int:
    parser = argparse.ArgumentParser(prog="./scripts/bench swarm")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--size", type=int)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="speedpay-bench-") as name:
        folder = Path(name)
        content = (
            generated(folder / "content.bin", arguments.size)
            if arguments.size
            else installer_images(folder)
        )
        sizes = [path.stat().st_size for path in (content, *content.rglob("*")) if path.is_file()]
        parameters = SHAPE.as_json() | {"content_bytes": sum(sizes), "rounds": arguments.rounds}
        benchmark = Benchmark("swarm", parameters, arguments.json)
        rows: list[Row] = []
        for number in range(arguments.rounds):
            measured = _round(benchmark, number, content)
            if measured is not None:
                benchmark.rounds.append(measured)
                rows = rows_of(benchmark.rounds)
            benchmark.write(rows)
        return benchmark.finish(rows, arguments.rounds)


def _round(benchmark: Benchmark, number: int, content: Path) -> dict[str, Any] | None:
    """The three kinds, in an order that turns with the round: drift of the machine meets each alike."""
    turn = number % len(KINDS)
    found: dict[str, tuple[Round, int]] = {}
    for kind in KINDS[turn:] + KINDS[:turn]:
        say(f"round {number + 1}, {kind} …")
        result = benchmark.attempt(
            f"round {number + 1}, {kind}", lambda kind=kind: _swarm(kind, content)
        )
        if result is None:
            return None
        found[kind] = result
        say(f"  {result[0].seconds:.1f} s, the others {result[0].others_mean:.1f} s")
    return compared({kind: one for kind, (one, _) in found.items()}) | {
        "tokens_off_utok": {kind: str(off) for kind, (_, off) in found.items() if kind != "stock"}
    }


def _swarm(kind: str, content: Path) -> tuple[Round, int]:
    """One swarm's figures, and the µtok by which its ledger's books are off."""
    stock = kind == "stock"
    with local_swarm(SHAPE, content, money=not stock) as swarm:
        one = swarm.run("auto" if kind == "paid" else "off", LIMIT_S, stock=stock)
        if not one.sha256_ok and not (stock and one.seconds >= LIMIT_S):
            raise RuntimeError("a downloaded file has the wrong SHA-256")
        issued, accounted = (0, 0) if stock else swarm.tokens()
    return one, accounted - issued


def compared(by_kind: dict[str, Round]) -> dict[str, Any]:
    """One round's figures; what its rows are made of."""
    free, paid, stock = (by_kind[kind] for kind in KINDS)
    wire = sum(paid.protocol_bytes.values()) / 2  # each message was sent and received
    return {
        "seconds": {kind: round(one.seconds, 3) for kind, one in by_kind.items()},
        "others_seconds": {
            kind: [round(s, 3) for s in one.others] for kind, one in by_kind.items()
        },
        "unfinished": {
            kind: sum(s >= LIMIT_S for s in (one.seconds, *one.others))
            for kind, one in by_kind.items()
        },
        "gain": free.seconds / paid.seconds,
        "others_slowdown": paid.others_mean / free.others_mean - 1,
        "useful_paid_stock": useful(paid, stock),
        "useful_free_stock": useful(free, stock),
        "last_stock_paid": stock.last_s / paid.last_s,
        "protocol_payer": paid.protocol_bytes["payer"] / paid.total_bytes,
        "protocol_swarm": wire / (paid.total_bytes * (1 + len(paid.others))),
    }


def useful(ours: Round, other: Round) -> float:
    """Verified bytes of all downloaders, ours to the other's, over the same span.

    The span ends when the faster of both swarms has served everybody. Until then each byte counts the same
    whoever has it; afterwards the faster swarm could only wait. Waiting for the last of each swarm instead
    would make one straggler's last piece decide.
    """
    horizon = min(ours.last_s, other.last_s)
    return ours.verified_by(horizon) / other.verified_by(horizon)


def rows_of(rounds: list[dict[str, Any]]) -> list[Row]:
    bound = fluid_bound(SHAPE.origin_uplink, SHAPE.peer_uplink, SHAPE.free, 0.25)

    def over(row: str, name: str, goal: str | None, **more: Any) -> Row:
        return over_rounds(row, [one[name] for one in rounds], goal, **more)

    off = [int(utok) for one in rounds for utok in one["tokens_off_utok"].values()]
    worst = max(off, key=abs)
    return [
        over("1 gain, u = U/32", "gain", "≥ 4", bound=bound),
        over("1b slowdown of the others", "others_slowdown", "≤ 3 %", unit="%"),
        over("3 useful bytes, paid : stock", "useful_paid_stock", "≥ 0.95"),
        over("3 useful bytes, free : stock", "useful_free_stock", None),
        over("time until the last has all, stock : paid", "last_stock_paid", None),
        over("7 payment protocol : payload, payer", "protocol_payer", "≤ 0.3 %", unit="%"),
        over("7 payment protocol : payload, swarm", "protocol_swarm", "≤ 0.3 %", unit="%"),
        Row("tokens created or lost, µtok", worst, (min(off), max(off)), None, "= 0", ""),
    ]


if __name__ == "__main__":
    sys.exit(main())
