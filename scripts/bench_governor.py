"""An upload that nobody limited, behind a real bottleneck: the governor against an explicit limit at 95 %.

Eight leechers, 40 Mbit/s. Gain is what a peer gets that pays while seven do not (its due: all but the free
pool) to what it gets unpaid; shares are payload received from the third second on.
"""

from __future__ import annotations

from typing import Any

from bench_rows import Benchmark, Row, over_rounds, say
from bottleneck import Measured, Setup, jain, run

CARRIES = 5_000_000
#: Weights of the default free pool: one pays, seven do not.
PAID = (63, 3, 3, 3, 3, 3, 3, 3)
EIGHT, WIDE = tuple(range(1, 9)), tuple(2**power for power in range(8))
FROM_S, UNTIL_S = 3.0, 10.0
#: When the bottleneck halves, is whole again, and the run ends.
HALF_S, WHOLE_S, END_S = 4.0, 14.0, 24.0
_WITHIN = 0.9


def measure(rounds: int, benchmark: Benchmark) -> list[Row]:
    benchmark.parameters |= {
        "bottleneck_bytes_s": CARRIES, "leechers": 8, "queue_ms": 50,
        "explicit_limit": 0.95, "bids": {"1:8": EIGHT, "1:128": WIDE}, "paid": PAID,
    }  # fmt: skip
    rows: list[Row] = []
    for number in range(rounds):
        say(f"round {number + 1}, an uplink that nobody limited …")
        found = benchmark.attempt(f"round {number + 1}", lambda number=number: _round(number))
        if found is not None:
            benchmark.rounds.append(found)
            rows = rows_of(benchmark.rounds)
        benchmark.write(rows)
    return rows


def _round(number: int) -> dict[str, Any]:
    """Both ways with the same weights, in an order that turns; then a bottleneck that changes."""
    found: dict[str, Any] = {}
    for name, weights in (("paid", PAID), ("1:128", WIDE)):
        ways = ("explicit", "governor") if number % 2 == 0 else ("governor", "explicit")
        for way in ways:
            found[f"{way} {name}"] = _steady(weights, governed=way == "governor")
    found["governor 1:8"] = _steady(EIGHT, governed=True)
    found["uTP 1:128"] = _steady(WIDE, governed=True, utp=True)
    found["unpaid"] = _steady((1,) * 8, governed=True)
    changed = run(
        Setup(
            WIDE, END_S, ((0.0, CARRIES), (HALF_S, CARRIES // 2), (WHOLE_S, CARRIES)),
            competing_s=END_S,
        )
    )  # fmt: skip
    found["halves_s"] = _recovery(changed, HALF_S, WHOLE_S, CARRIES / 2, WIDE)
    found["doubles_s"] = _recovery(changed, WHOLE_S, END_S, CARRIES, WIDE)
    return found


def _steady(weights: tuple[int, ...], *, governed: bool, utp: bool = False) -> dict[str, Any]:
    limit = 0 if governed else CARRIES * 95 // 100
    measured = run(
        Setup(
            weights, UNTIL_S, ((0.0, CARRIES),), upload_limit=limit,
            competing_s=UNTIL_S if governed else 0.0, utp=utp,
        )
    )  # fmt: skip
    until = measured.link[-1][0]
    rates = measured.rates(FROM_S, until)
    return {
        "rates": [round(rate) for rate in rates],
        "jain": jain([rate / weight for rate, weight in zip(rates, weights, strict=True)]),
        "utilisation": measured.link_rate(FROM_S, until) / CARRIES,
        "cpu": measured.cpu,
    }


def _recovery(
    measured: Measured, since: float, until: float, carries: float, weights: tuple[int, ...]
) -> float:
    """Seconds from a change until two seconds are used to 90 % and divided with a Jain index of 0.9."""
    at = since
    while at + 2.0 < min(until, measured.link[-1][0]):
        rates = measured.rates(at, at + 2.0)
        fair = jain([rate / weight for rate, weight in zip(rates, weights, strict=True)])
        if measured.link_rate(at, at + 2.0) > _WITHIN * carries and fair > _WITHIN:
            return at - since
        at += 0.25
    return until - since


def rows_of(rounds: list[dict[str, Any]]) -> list[Row]:
    def over(row: str, values: list[float], goal: str | None, **more: Any) -> Row:
        return over_rounds(row, values, goal, **more)

    def of(kind: str, name: str) -> list[float]:
        return [one[kind][name] for one in rounds]

    def gain(one: dict[str, Any], way: str) -> float:
        return one[f"{way} paid"]["rates"][0] / (sum(one["unpaid"]["rates"]) / 8)

    ratio = [gain(one, "governor") / gain(one, "explicit") for one in rounds]
    fine = {"unit": "", "bound": 1.0}
    return [
        over("governor : explicit limit at 95 %, gain", ratio, "≥ 0.9"),
        over("gain, governor", [gain(one, "governor") for one in rounds], None, bound=6.0),
        over("gain, explicit limit", [gain(one, "explicit") for one in rounds], None, bound=6.0),
        over("utilisation, governor, 1:8", of("governor 1:8", "utilisation"), "≥ 0.95", **fine),
        over("utilisation, governor, 1:128", of("governor 1:128", "utilisation"), "≥ 0.95", **fine),
        over("utilisation, explicit limit, 1:128", of("explicit 1:128", "utilisation"), None, **fine),
        over("Jain index, governor, 1:8", of("governor 1:8", "jain"), "≥ 0.97", **fine),
        over("Jain index, governor, 1:128", of("governor 1:128", "jain"), "≥ 0.95", **fine),
        over("Jain index, explicit limit, 1:128", of("explicit 1:128", "jain"), None, **fine),
        over("Jain index, governor, peers call by uTP, 1:128", of("uTP 1:128", "jain"), None, **fine),
        over("seconds after the bottleneck halved", [one["halves_s"] for one in rounds], "≤ 10", unit=""),
        over("seconds after it doubled", [one["doubles_s"] for one in rounds], "≤ 10", unit=""),
        over("the seeder's thread, of one core", of("governor 1:128", "cpu"), None, unit="%"),
    ]  # fmt: skip
