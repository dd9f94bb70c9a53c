"""What bidders and free peers get of one uplink, against what the rule says they are due."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from bench_rows import MIB, Benchmark, Row, over_rounds, say
from namespaces import Namespace
from shared_uplink import SharedUplink, jain, local_ipv6_address, made_content

CONTENT = 160 * MIB
UPLINK = 4 * MIB
SLOW_UPLINK = MIB // 2
BIDDERS = 8
PRICE = 1000
SETTLE_S, STEADY_S, REVERSED_S = 1.0, 2.5, 2.5
#: Of the unchoke rounds, every 5 s, one must have passed before slots are as they stay.
CHOKER_S = 5.5
SAMPLE_S, WINDOW_S, SETTLED_JAIN = 0.1, 0.5, 0.97

PARAMETERS = {
    "uplink_bytes_s": UPLINK, "slow_uplink_bytes_s": SLOW_UPLINK, "bidders": BIDDERS,
    "bids": "geometric, the last 8 or 128 times the first", "free_pool_ppm": 250_000,
    "steady_s": STEADY_S, "settled": f"Jain index ≥ {SETTLED_JAIN} in each {WINDOW_S} s from then on",
}  # fmt: skip


def measure(rounds: int, benchmark: Benchmark) -> list[Row]:
    rows: list[Row] = []
    benchmark.parameters |= PARAMETERS | {"content_bytes": CONTENT}
    for number in range(rounds):
        measured = _round(benchmark, number)
        if measured is not None:
            benchmark.rounds.append(measured)
            rows = rows_of(benchmark.rounds)
        benchmark.write(rows)
    return rows


def _round(benchmark: Benchmark, number: int) -> dict[str, Any] | None:
    parts: list[tuple[str, Callable[[], dict[str, Any]]]] = [
        ("tcp", lambda: _bidders("tcp")),
        ("utp", lambda: _bidders("utp")),
        ("ipv6", _bidders_by_ipv6),
        ("outbid", _outbid),
        ("free", _full_of_payers),
    ]
    turn = number % len(parts)
    measured = {}
    for name, work in parts[turn:] + parts[:turn]:
        say(f"round {number + 1}, {name} …")
        one = benchmark.attempt(f"round {number + 1}, {name}", work)
        if one is None:
            return None
        measured[name] = one
        say(f"  {one}")
    return measured


@contextlib.contextmanager
def _uplink(bytes_s: int, transport: str = "tcp", *, ipv6: bool = False) -> Iterator[SharedUplink]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="speedpay-bench-", dir=memory if memory.is_dir() else None
    ) as name:
        content = made_content(Path(name) / "content.bin", CONTENT)
        shared = SharedUplink(Path(name), [content], bytes_s, transport=transport, ipv6=ipv6)
        try:
            yield shared
        finally:
            shared.close()


def _bidders(transport: str) -> dict[str, Any]:
    """Eight bidders, steady and then with their bids reversed."""
    found: dict[str, Any] = {}
    with _uplink(UPLINK, transport) as shared:
        shared.join(BIDDERS)
        for ratio in (8, 128):
            prices = _geometric(ratio)
            found[f"1:{ratio}"] = _steady(shared, prices) | _reversed(shared, prices)
    return found


def _bidders_by_ipv6() -> dict[str, Any]:
    namespace = Namespace()
    try:
        for number in range(BIDDERS + 1):
            address = f"{local_ipv6_address(number)}/128"
            namespace.run("ip", "-6", "address", "add", address, "dev", "lo", "nodad")
        with namespace.entered(), _uplink(UPLINK, ipv6=True) as shared:
            shared.join(BIDDERS)
            return {"1:128": _steady(shared, _geometric(128))}
    finally:
        namespace.close()


def _outbid() -> dict[str, Any]:
    """One that bids 64 times as much as each of eight payers, and one payer among eight that do not pay: what
    it got of what it was due."""
    found = {}
    with _uplink(UPLINK) as shared:
        shared.join(BIDDERS + 1)
        for name, others in (("payers", PRICE), ("free", 0)):
            due = shared.bid({0: 64 * PRICE} | dict.fromkeys(range(1, BIDDERS + 1), others))
            shared.pause(SETTLE_S)
            found[name] = _got(shared.measured(STEADY_S), due)[0]
    return found


def _full_of_payers() -> dict[str, Any]:
    """Eight payers and eight of stock libtorrent that do not pay, on an uplink with four slots."""
    with _uplink(SLOW_UPLINK) as shared:
        shared.join(BIDDERS)
        shared.join(BIDDERS, stock=True)
        prices = {number: PRICE if number < BIDDERS else 0 for number in range(2 * BIDDERS)}
        shared.bid(prices)
        shared.pause(CHOKER_S)
        parts = _parts(shared.measured(STEADY_S + 1))
    return {
        "share": sum(parts[BIDDERS:]),
        "served": sum(part > 0 for part in parts[BIDDERS:]),
        "worst_payer": min(parts[:BIDDERS]) * BIDDERS / 0.75,
    }


def _geometric(ratio: int) -> dict[int, int]:
    return {n: round(PRICE * ratio ** (n / (BIDDERS - 1))) for n in range(BIDDERS)}


def _steady(shared: SharedUplink, prices: Mapping[int, int]) -> dict[str, float]:
    due = shared.bid(prices)
    shared.pause(SETTLE_S)
    samples = shared.measured(STEADY_S)
    got = _got(samples, due)
    used = sum(samples[-1][1]) - sum(samples[0][1])
    return {
        "jain": jain(got), "worst": max(abs(part - 1) for part in got),
        "used": used / (samples[-1][0] - samples[0][0]) / shared.uplink,
    }  # fmt: skip


def _reversed(shared: SharedUplink, prices: Mapping[int, int]) -> dict[str, float]:
    due = shared.bid({number: prices[BIDDERS - 1 - number] for number in prices})
    return {"settled_s": settled(shared.measured(REVERSED_S, SAMPLE_S), due)}


def settled(samples: Sequence[tuple[float, list[int]]], due: Mapping[int, Fraction]) -> float:
    """Seconds from the first sample to the end of the first window from which on all are as due."""
    last = samples[-1][0]
    since = last
    for end in range(len(samples) - 1, 0, -1):
        begun = [one for one in samples[:end] if samples[end][0] - one[0] >= WINDOW_S]
        if not begun or jain(_got([begun[-1], samples[end]], due)) < SETTLED_JAIN:
            break
        since = samples[end][0]
    return since


def _parts(samples: Sequence[tuple[float, list[int]]]) -> list[float]:
    first, last = samples[0][1], samples[-1][1]
    moved = [after - before for before, after in zip(first, last, strict=True)]
    if not sum(moved):
        raise RuntimeError("nothing was uploaded")
    return [one / sum(moved) for one in moved]


def _got(samples: Sequence[tuple[float, list[int]]], due: Mapping[int, Fraction]) -> list[float]:
    """Of each downloader the share that it got ÷ the one it was due."""
    return [part / float(due[number]) for number, part in enumerate(_parts(samples))]


def rows_of(rounds: Sequence[dict[str, Any]]) -> list[Row]:
    def over(row: str, goal: str | None, *path: str, unit: str = "%") -> Row:
        values = []
        for one in rounds:
            value: Any = one
            for name in path:
                value = value[name]
            values.append(value)
        return over_rounds(row, values, goal, unit=unit)

    rows = [
        over("2 share ÷ due, outbidding 8 payers 64:1", "≥ 95 %", "outbid", "payers"),
        over("2 share ÷ due, one payer, 8 do not pay", "≥ 95 %", "outbid", "free"),
    ]
    for transport, fair, off in (("tcp", "≥ 0.99", "≤ 10 %"), ("utp", "≥ 0.97", "≤ 20 %")):
        shown = {"tcp": "TCP", "utp": "uTP"}[transport]
        for bids in ("1:8", "1:128"):
            what = f"{shown}, bids {bids}"
            rows += [
                over(
                    f"4 Jain index of share ÷ bid, {what}", fair, transport, bids, "jain", unit=""
                ),
                over(f"4 worst deviation from due, {what}", off, transport, bids, "worst"),
                over(
                    f"4 seconds until settled, {what}", "≤ 2", transport, bids, "settled_s", unit=""
                ),
                over(f"limit used, {what}", None, transport, bids, "used"),
            ]
    return [
        *rows,
        over("4 Jain index, TCP by IPv6, bids 1:128", "≥ 0.99", "ipv6", "1:128", "jain", unit=""),
        over("4 worst deviation, TCP by IPv6, bids 1:128", "≤ 10 %", "ipv6", "1:128", "worst"),
        over("5 free peers' share, 8 of 16 pay", "≥ 25 %", "free", "share"),
        over("5 the worst payer's share ÷ due there", None, "free", "worst_payer"),
        over("5 free peers served meanwhile, of 8", None, "free", "served", unit=""),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench_shares.py")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    benchmark = Benchmark("shares", {"rounds": arguments.rounds}, arguments.json)
    return benchmark.finish(measure(arguments.rounds, benchmark), arguments.rounds)


if __name__ == "__main__":
    sys.exit(main())
