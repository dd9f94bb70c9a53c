"""Gain, what it costs the others, and what the client itself said about it: free, paid and stock by turns.

Two swarms: the demo's, u = U/32, and u = U/8, in which stock libtorrent runs too. Each round has a ledger,
wallets and folders of its own, so that nothing it leaves behind reaches the next.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_rows import MIB, Benchmark, Row, fluid_bound, over_rounds, say
from content import generated
from local_swarm import Round, Shape, local_swarm

#: Long enough for stock libtorrent too: all uplinks together move the demo's content in 57 s.
LIMIT_S = 180.0
FREE_POOL = 0.25


@dataclass(frozen=True)
class Case:
    name: str
    shape: Shape
    size_mib: int
    kinds: tuple[str, ...]

    @property
    def bound(self) -> float:
        return fluid_bound(
            self.shape.origin_uplink, self.shape.peer_uplink, self.shape.free, FREE_POOL
        )


DEMO = Case("u = U/32", Shape(16 * MIB, MIB // 2), 96, ("free", "paid"))
EIGHTH = Case("u = U/8", Shape(8 * MIB, MIB), 48, ("free", "paid", "stock"))
CASES = (EIGHTH, DEMO)


def measure(rounds: int, benchmark: Benchmark) -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="speedpay-bench-") as name:
        folder = Path(name)
        content = {
            case.name: generated(folder / f"{case.size_mib}.bin", case.size_mib) for case in CASES
        }
        benchmark.parameters |= {
            case.name: case.shape.as_json() | {"content_bytes": case.size_mib * MIB}
            for case in CASES
        }
        for number in range(rounds):
            measured: dict[str, Any] = {}
            for case in CASES:
                one = _round(benchmark, number, case, content[case.name])
                if one is not None:
                    measured[case.name] = one
            if len(measured) == len(CASES):
                benchmark.rounds.append(measured)
                rows = rows_of(benchmark.rounds)
            benchmark.write(rows)
    return rows


def _round(benchmark: Benchmark, number: int, case: Case, content: Path) -> dict[str, Any] | None:
    """The kinds, in an order that turns with the round: drift of the machine meets each alike."""
    turn = number % len(case.kinds)
    kinds = case.kinds[turn:] + case.kinds[:turn]
    what = f"round {number + 1}, {case.name}"
    say(f"{what} …")
    found = benchmark.attempt(what, lambda: _swarm(kinds, case.shape, content))
    if found is None:
        return None
    by_kind, off = found
    return compared(by_kind) | {"tokens_off_utok": str(off)}


def _swarm(kinds: tuple[str, ...], shape: Shape, content: Path) -> tuple[dict[str, Round], int]:
    """Each kind in a fresh swarm of the same owners, and the µtok by which the books are off then."""
    found = {}
    with local_swarm(shape, content) as swarm:
        for kind in kinds:
            stock = kind == "stock"
            one = swarm.run("auto" if kind == "paid" else "off", LIMIT_S, stock=stock)
            if not one.sha256_ok and not (stock and one.seconds >= LIMIT_S):
                raise RuntimeError("a downloaded file has the wrong SHA-256")
            say(f"  {kind}: {one.seconds:.1f} s, the others {one.others_mean:.1f} s")
            found[kind] = one
        issued, accounted = swarm.tokens()
    return found, accounted - issued


def compared(by_kind: dict[str, Round]) -> dict[str, Any]:
    """One round's figures; what its rows are made of."""
    free, paid = by_kind["free"], by_kind["paid"]
    wire = sum(paid.protocol_bytes.values()) / 2  # each message was sent and received
    made = {
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
        "protocol_payer": paid.protocol_bytes["payer"] / paid.total_bytes,
        "protocol_swarm": wire / (paid.total_bytes * (1 + len(paid.others))),
        "paid_utok": paid.paid["paid_utok"],
    }
    made |= said_of_itself(paid.paid, made["gain"])
    if (stock := by_kind.get("stock")) is not None:
        made |= {
            "useful_paid_stock": useful(paid, stock),
            "useful_free_stock": useful(free, stock),
            "last_stock_paid": stock.last_s / paid.last_s,
        }
    return made


def said_of_itself(receipt: dict[str, Any], gain: float) -> dict[str, float]:
    """How far the paid download's forecast was off, of what it then took and cost by its own receipt, and
    its estimate of the gain against ``gain``. What it did not say is not in it."""
    made = {}
    if (seconds := receipt.get("predicted_seconds")) is not None:
        made["preview_seconds_off"] = abs(seconds / receipt["seconds"] - 1)
    paid = int(receipt["paid_utok"])
    if (utok := receipt.get("predicted_utok")) is not None and paid:
        made["preview_cost_off"] = abs(int(utok) / paid - 1)
    if (estimate := receipt.get("gain")) is not None:
        made["gain_said"] = float(estimate) / gain
    return made


def useful(ours: Round, other: Round) -> float:
    """Verified bytes of all downloaders, ours to the other's, over the same span.

    The span ends when the faster of both swarms has served everybody. Until then each byte counts the same
    whoever has it; afterwards the faster swarm could only wait. Waiting for the last of each swarm instead
    would make one straggler's last piece decide.
    """
    horizon = min(ours.last_s, other.last_s)
    return ours.verified_by(horizon) / other.verified_by(horizon)


def rows_of(rounds: list[dict[str, Any]]) -> list[Row]:
    def over(row: str, case: Case, name: str, goal: str | None, **more: Any) -> Row:
        return over_rounds(row, [one[case.name][name] for one in rounds], goal, **more)

    off = [int(case["tokens_off_utok"]) for one in rounds for case in one.values()]
    worst = max(off, key=abs)
    gains = {case.name: [one[case.name]["gain"] for one in rounds] for case in CASES}
    return [
        over("1 gain, u = U/8", EIGHTH, "gain", None, bound=EIGHTH.bound),
        over("1 gain, u = U/32", DEMO, "gain", "≥ 4", bound=DEMO.bound),
        *(
            over_rounds(
                f"1 gain : bound, {case.name}",
                [gain / case.bound for gain in gains[case.name]],
                "≥ 0.85",
            )
            for case in CASES
        ),
        *(
            over(f"1b slowdown of the others, {case.name}", case, "others_slowdown", "≤ 3 %", unit="%")
            for case in CASES
        ),
        over("3 useful bytes, paid : stock", EIGHTH, "useful_paid_stock", "≥ 0.97"),
        over("3 useful bytes, free : stock", EIGHTH, "useful_free_stock", None),
        over("time until the last has all, stock : paid", EIGHTH, "last_stock_paid", None),
        over("7 payment protocol : payload, payer", DEMO, "protocol_payer", "≤ 0.3 %", unit="%"),
        over("7 payment protocol : payload, swarm", DEMO, "protocol_swarm", "≤ 0.3 %", unit="%"),
        *_said_rows(rounds),
        Row("tokens created or lost, µtok", worst, (min(off), max(off)), None, "= 0", ""),
    ]  # fmt: skip


def _said_rows(rounds: list[dict[str, Any]]) -> list[Row]:
    """Over both swarms; what a download did not say is in the last row only."""
    wanted = (
        ("the preview of the time is off by", "preview_seconds_off", "≤ 25 %", "%"),
        ("the preview of the cost is off by", "preview_cost_off", "≤ 25 %", "%"),
        ("gain as the client measured it : gain", "gain_said", None, "x"),
    )
    rows = []
    for row, name, goal, unit in wanted:
        values = [case[name] for one in rounds for case in one.values() if name in case]
        if values:
            rows.append(over_rounds(row, values, goal, unit=unit))
    said = {
        "paid downloads that foretold their time: part of all": "preview_seconds_off",
        "paid downloads that told their own gain: part of all": "gain_said",
    }
    for row, name in said.items():
        parts = [sum(name in case for case in one.values()) / len(one) for one in rounds]
        rows.append(over_rounds(row, parts, None, unit="%"))
    return rows
