"""``speedpay simulate``: how an upload is divided, tried out before any token is at risk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from speedpay.cli.output import (
    Output,
    clean,
    examples,
    pass_output,
    rate_text,
    size_text,
    tokens_text,
)
from speedpay.units import Amount, Price

if TYPE_CHECKING:
    from speedpay.simulation.policies import Policy

_POLICIES = ("committed", "paid", "priority")


@click.command(
    epilog=examples(
        "speedpay simulate", "speedpay simulate --swarm mine.json",
        "speedpay simulate --policy committed --policy priority --peers 3000 --seed 7",
    )
)  # fmt: skip
@click.option(
    "--policy", "policies", type=click.Choice(_POLICIES), multiple=True,
    help="How seeders divide; may be given again (the study: all; a swarm: the client's own, committed).",
)  # fmt: skip
@click.option(
    "--peers", type=click.IntRange(40, 20_000), default=1_000, show_default=True,
    help="Size of the study's crowd.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True)
@click.option(
    "--swarm", type=click.Path(path_type=Path), metavar="FILE",
    help="A swarm of your own numbers, as JSON: who would get which share, when, for how much.",
)  # fmt: skip
@pass_output
def simulate(
    out: Output, policies: tuple[str, ...], peers: int, seed: int, swarm: Path | None
) -> None:
    """Compare ways to divide an upload, in a simulated swarm. Nothing is sent or paid.

    Seeders divide in proportion to the price committed to (committed: what this client does), in
    proportion to what was paid in the last second (paid), or the highest price first (priority).
    The scenes, and what FILE holds: docs/market.md.
    """
    from speedpay.simulation.policies import Policy

    if swarm is not None:
        _own(out, swarm, [Policy(name) for name in policies or _POLICIES[:1]])
        return
    from speedpay.simulation.study import study

    chosen = [policy for policy in Policy if not policies or policy.value in policies]
    found = study(chosen, seed, peers, lambda policy: out.note(f"{policy.value}: done"))
    out.result(found, "\n".join(_table(found)))


def _table(found: dict[str, Any]) -> list[str]:
    names = found["policies"]
    rows = [["", *names, "wanted"]]
    for row in found["measures"]:
        marks = {} if row["met"] is None else row["met"]
        shown = [row["shown"][n] + ("" if marks.get(n, True) else " !") for n in names]
        rows.append([row["text"], *shown, row["goal"] or ""])
    return [*_aligned(rows), "", "!: not what is wanted of the default"]


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _own(out: Output, path: Path, policies: list[Policy]) -> None:
    from speedpay.simulation.own import try_out
    from speedpay.simulation.swarm_file import read_swarm

    swarm = read_swarm(path)
    found = {policy.value: try_out(swarm, policy) for policy in policies}
    lines: list[str] = []
    for name, tried in found.items():
        rows = [[name, "bid, tok/GiB", "share", "rate", "seconds", "tok"]]
        rows += [
            [
                clean(peer["name"]), str(Price(int(peer["bid_utok_per_mib"]))),
                f"{peer['share']:.1%}", rate_text(peer["rate_bytes_s"]),
                "not done" if peer["seconds"] is None else f"{peer['seconds']:.0f}",
                str(Amount.from_wire(peer["cost_utok"])),
            ]
            for peer in tried["peers"]
        ]  # fmt: skip
        lines += _aligned(rows)
        lines += [
            f"{clean(seeder['name'])} earns {tokens_text(Amount.from_wire(seeder['earned_utok']))}"
            f" for {size_text(seeder['sent_bytes'])}"
            for seeder in tried["seeders"]
        ]
        lines.append("")
    out.result({"policies": found}, "\n".join(lines[:-1]))
