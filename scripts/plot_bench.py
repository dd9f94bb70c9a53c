"""The benchmarks' pictures, out of their JSON: the gain against its bound, and every row against its goal."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

from bench_rows import HEADINGS, cells
from demo import CLAIMED

# On white and on near-black these have a contrast of about 4:1 both ways, so one picture does for both.
TEXT, FREE, PAID = "#768390", "#3b82f6", "#e8710a"
#: Beyond that many times better or worse than the goal the picture ends.
_FAR = 4.0
Rows = Sequence[dict[str, Any]]


def svg(paint: Callable[[Any], None], height: float) -> str:
    """What ``paint`` puts on the axes. The same figures give the same bytes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings = {
        "svg.hashsalt": "speedpay", "svg.fonttype": "none", "font.family": "sans-serif",
        "text.color": TEXT, "axes.labelcolor": TEXT, "axes.edgecolor": TEXT,
        "xtick.color": TEXT, "ytick.color": TEXT, "font.size": 10,
        "axes.spines.top": False, "axes.spines.right": False,
    }  # fmt: skip
    with mpl.rc_context(settings):
        figure = Figure(figsize=(7.2, height), layout="constrained")
        paint(figure.add_subplot())
        made = io.StringIO()
        figure.savefig(made, format="svg", transparent=True, metadata={"Date": None})
    return "\n".join(line.rstrip() for line in made.getvalue().splitlines()) + "\n"


def gain(rows: Rows) -> str:
    """Bars of what paying gains, its bound where there is one, and where it gains nothing."""
    shown = [row for row in rows if row["part"] in ("gain", "losing") and "gain, " in row["row"]]

    def paint(axes: Any) -> None:
        for place, row in enumerate(shown):
            _bar(axes, place, row)
        axes.set_yticks(range(len(shown)), [row["row"].partition("gain, ")[2] for row in shown])
        axes.set_ylim(len(shown) - 0.1, -0.6)  # from top to bottom, with room for the claim
        axes.axvline(1, color=TEXT, linewidth=1)
        axes.axvline(CLAIMED, color=TEXT, linestyle=":", linewidth=1.2)
        axes.annotate(
            f"BitTorrent Speed's claim, {CLAIMED:.2f}x", (CLAIMED, 0.02), xytext=(-5, 0), ha="right",
            xycoords=("data", "axes fraction"), textcoords="offset points",
        )  # fmt: skip
        ends = [row["bound"] or row["spread"][1] for row in shown]
        axes.set_xlim(0, 1.15 * max(1.4 * CLAIMED, *ends))
        axes.set_xlabel("times as fast as the same download unpaid; ◆ the bound")
        axes.set_title("What paying gains", loc="left", fontsize=11)

    return svg(paint, 1.3 + 0.45 * len(shown))


def _bar(axes: Any, place: int, row: dict[str, Any]) -> None:
    low, high = row["spread"]
    axes.barh(place, row["value"], color=PAID if row["part"] == "gain" else FREE, height=0.5)
    axes.plot([low, high], [place, place], color=TEXT, linewidth=2)
    if row["bound"] is not None:
        axes.plot([row["bound"]], [place], "D", color=TEXT, markersize=6)
    axes.annotate(
        f"{row['value']:.2f}x", (high, place), xytext=(6, 0), va="center",
        textcoords="offset points", fontweight="bold",
    )  # fmt: skip


def against_goals(rows: Rows, title: str) -> str:
    """Every row that has a goal: how many times better or worse than it."""
    shown = [row for row in rows if row["goal"] and not row["goal"].startswith("=")]

    def paint(axes: Any) -> None:
        for place, row in enumerate(shown):
            color = FREE if row["ok"] else PAID
            points = sorted(_times_better(value, row["goal"]) for value in row["spread"])
            axes.plot(points, [place, place], color=color, linewidth=5, alpha=0.5)
            at = _times_better(row["value"], row["goal"])
            axes.plot([at], [place], "o", color=color, markersize=7)
            # Above its line, over the whole width: names are longer than a margin.
            axes.annotate(
                f"{row['row']}:  {_short(row)}  (goal {row['goal']})", (0, place), xytext=(4, 7),
                xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=9,
            )  # fmt: skip
        axes.set_yticks([])
        axes.set_ylim(len(shown) - 0.6, -0.8)
        axes.axvline(1, color=TEXT, linewidth=1, zorder=0)
        axes.set_xscale("log", base=2)
        axes.set_xlim(0.9 / _FAR, 1.1 * _FAR)
        axes.set_xticks(
            [1 / 4, 1 / 2, 1, 2, 4], ["4 times worse", "2 times worse", "the goal", "2 times better",
                                      "4 or more"],
        )  # fmt: skip
        axes.minorticks_off()
        axes.set_title(title, loc="left", fontsize=11)

    return svg(paint, 1.1 + 0.45 * len(shown))


def _short(row: dict[str, Any]) -> str:
    if row["unit"] or row["value"] >= 100:
        return cells(row)[1]
    return f"{row['value']:.4g}"


def _times_better(value: float, goal: str) -> float:
    """1 at the goal, more where better, in either direction; within what the picture shows."""
    sign, number, *percent = goal.split(" ")
    limit = float(number) / (100 if percent else 1)
    better, worse = (limit, value) if sign == "≤" else (value, limit)
    found = better / worse if worse > 0 else _FAR
    return min(max(found, 1 / _FAR), _FAR)


def table(rows: Rows) -> list[str]:
    """Lines of Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in (HEADINGS, ("---",) * len(HEADINGS))]
    return lines + ["| " + " | ".join(cells(row)) + " |" for row in rows]


def parameters(values: dict[str, Any]) -> str:
    """``key value, …``; a case's own parameters after its name."""
    return "; ".join(
        f"{key}: {parameters(value).replace(';', ',')}"
        if isinstance(value, dict)
        else f"{key} {value}"
        for key, value in values.items()
    )
