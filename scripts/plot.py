"""Draws the demo's figures, and writes measured figures into the texts that show them; for ./scripts/plot."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plot_bench
import plot_simulate
from demo import CLAIMED, MIB, scene, table
from plot_bench import FREE, PAID, TEXT

CHECKOUT = Path(__file__).resolve().parent.parent
FIGURES = Path("speedpay/docs/figures")
#: The groups of the swarm's benchmark: a table and a picture each.
GROUPS = {
    "gain": "The gain and what it costs", "shares": "Shares of one uplink",
    "governor": "No upload limit set", "datapath": "Where nothing else limits", "losing": "",
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="./scripts/plot")
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    different = False
    for path, text in outputs(CHECKOUT).items():
        if (CHECKOUT / path).exists() and (CHECKOUT / path).read_text() == text:
            continue
        different = True
        print(f"{path} {'is not in step with the figures' if check else 'written'}")
        if not check:
            (CHECKOUT / path).write_text(text)
    return 1 if check and different else 0


def outputs(checkout: Path) -> dict[Path, str]:
    """path → what it should hold, for every file that follows from the measured figures."""
    demo = _read(checkout / FIGURES / "demo.json")
    made = {} if demo is None else {FIGURES / "demo.svg": draw(demo)}
    made |= _pictures(checkout)
    if study := _read(checkout / FIGURES / "simulate.json"):
        made[FIGURES / "simulate.svg"] = plot_simulate.draw(study)
    blocks: dict[str, Callable[[], str]] = {
        "demo": lambda: _session(demo), "gain": lambda: _gain(demo),
        "market": lambda: _market(checkout),
        "datapath": lambda: _bench(checkout, "datapath"), "epoch": lambda: _bench(checkout, "epoch"),
        "simulate": lambda: plot_simulate.table(study),
    }  # fmt: skip
    blocks |= {f"swarm_{group}": lambda group=group: _group(checkout, group) for group in GROUPS}  # type: ignore[misc]
    docs = Path("speedpay/docs")
    for path in (Path("README.md"), docs / "benchmarks.md", docs / "market.md"):
        made[path] = filled((checkout / path).read_text(), blocks)
    return made


def filled(text: str, blocks: dict[str, Callable[[], str]]) -> str:
    """The text with everything between ``<!-- figures: NAME -->`` and ``<!-- end -->`` written anew."""

    def block(match: re.Match[str]) -> str:
        return f"{match[1]}\n{blocks[match[2]]()}\n{match[3]}"

    return re.sub(
        r"(<!-- figures: (\w+) -->)\n.*?(<!-- end -->)", block, text, flags=re.DOTALL
    )  # fmt: skip


def draw(report: dict[str, Any]) -> str:
    """An SVG: bytes against seconds of the downloader that is watched, free and paid, or bars if the report
    has no progress."""

    def paint(axes: Any) -> None:
        if report.get("free_progress") and report.get("paid_progress"):
            _curves(axes, report)
        else:
            _bars(axes, report)
        axes.set_xlabel("seconds")
        # BitTorrent Speed's own figure on this swarm's unpaid time.
        claimed = report["free_seconds"] / CLAIMED
        axes.axvline(claimed, color=TEXT, linestyle=":", linewidth=1.2)
        axes.annotate(
            f"BitTorrent Speed's claim, {CLAIMED:.2f}x", (claimed, 0.04), xytext=(6, 0),
            xycoords=("data", "axes fraction"), textcoords="offset points",
        )  # fmt: skip
        axes.set_title(
            f"The same download, free and paid: {report['gain']:.2f}x", loc="left", fontsize=11
        )

    return plot_bench.svg(paint, 3.4)


def _curves(axes: Any, report: dict[str, Any]) -> None:
    for kind, color in (("free", FREE), ("paid", PAID)):
        points = [(0, 0), *report[f"{kind}_progress"]]
        axes.plot(
            [at for at, _ in points], [count / MIB for _, count in points], color=color, linewidth=2
        )
        seconds, size = report[f"{kind}_seconds"], report["bytes"] / MIB
        axes.plot([seconds], [size], "o", color=color, markersize=5)
        axes.annotate(
            f"{kind}, {seconds:.1f} s", (seconds, size), xytext=(5, 7), ha="right",
            textcoords="offset points", color=color, fontweight="bold",
        )  # fmt: skip
    axes.set_ylabel("MiB")
    axes.set_xlim(0, 1.04 * report["free_seconds"])
    axes.set_ylim(0, 1.15 * report["bytes"] / MIB)


def _bars(axes: Any, report: dict[str, Any]) -> None:
    seconds = [report["paid_seconds"], report["free_seconds"]]
    bars = axes.barh(["paid", "free"], seconds, color=[PAID, FREE], height=0.5)
    axes.bar_label(bars, [f"{s:.1f} s" for s in seconds], padding=4)


def _session(demo: dict[str, Any] | None) -> str:
    if demo is None:
        return "The demo has not been measured here: `./scripts/demo`."
    said = (scene(demo["bytes"], demo["content"], demo["parameters"]), "", table(demo))
    return "\n".join(("```", "$ ./scripts/demo", *said, "```"))


def _gain(demo: dict[str, Any] | None) -> str:
    if demo is None:
        return "The demo has not been measured here: `./scripts/demo`."
    return (
        "![Verified bytes against seconds of one download, free and paid]"
        f"({FIGURES.as_posix()}/demo.svg)"
    )


def _pictures(checkout: Path) -> dict[Path, str]:
    """The benchmarks' pictures; none where nothing was measured, or no row has a goal."""
    made = {}
    for name in ("datapath", "epoch"):
        if report := _read(checkout / FIGURES / f"{name}.json"):
            title = "Closing an epoch" if name == "epoch" else GROUPS[name]
            made[f"{name}.svg"] = plot_bench.against_goals(report["rows"], title)
    if report := _read(checkout / FIGURES / "swarm.json"):
        for group, title in GROUPS.items():
            if title and (rows := _rows(report, group)):
                made[f"swarm-{group}.svg"] = plot_bench.against_goals(rows, title)
        if _rows(report, "gain"):
            made["gain.svg"] = plot_bench.gain(report["rows"])
    return {FIGURES / name: picture for name, picture in made.items()}


def _rows(report: dict[str, Any], group: str) -> list[dict[str, Any]]:
    return [row for row in report["rows"] if row["part"] == group]


def _market(checkout: Path) -> str:
    """What paying gains, for a text at the top of the repository."""
    report = _read(checkout / FIGURES / "swarm.json")
    if report is None or not _rows(report, "gain"):
        return "The gain has not been measured here: `./scripts/bench swarm`."
    return f"![What paying gains, against its bound]({FIGURES.as_posix()}/gain.svg)"


def _group(checkout: Path, group: str) -> str:
    command = f"`./scripts/bench swarm --json {FIGURES.as_posix()}/swarm.json && ./scripts/plot`"
    report = _read(checkout / FIGURES / "swarm.json")
    rows = _rows(report, group) if report else []
    if report is None or not rows:
        return f"No figures of this one are kept here: {command} puts them in this place."
    common = {key: value for key, value in report["parameters"].items() if key not in GROUPS}
    lines = plot_bench.table(rows)
    if group == "gain":
        lines += ["", "![What paying gains, against its bound](figures/gain.svg)"]
    if GROUPS[group]:
        lines += ["", f"![{GROUPS[group]}: every row against its goal](figures/swarm-{group}.svg)"]
    lines += ["", f"{len(report['rounds'][group])} rounds. "
              f"{plot_bench.parameters(report['parameters'][group] | common)}."]  # fmt: skip
    lines += [f"Failed: {failure.splitlines()[0]}." for failure in report["failures"][group]]
    return "\n".join([*lines, "", f"Made by {command}."])


def _bench(checkout: Path, name: str) -> str:
    command = f"`./scripts/bench {name} --json {FIGURES.as_posix()}/{name}.json && ./scripts/plot`"
    report = _read(checkout / FIGURES / f"{name}.json")
    if report is None:
        return f"No figures of this one are kept here: {command} puts them in this place."
    lines = [
        *plot_bench.table(report["rows"]),
        "",
        f"![Every row against its goal](figures/{name}.svg)",
    ]
    lines += ["", f"{len(report['rounds'])} rounds of each kind. "
              f"{plot_bench.parameters(report['parameters'])}."]  # fmt: skip
    lines += [f"Failed: {failure.splitlines()[0]}." for failure in report["failures"]]
    return "\n".join([*lines, "", f"Made by {command}."])


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    return found


if __name__ == "__main__":
    sys.exit(main())
