"""The allocation study's table and picture, out of what ``speedpay simulate --json`` printed; for plot.py."""

from __future__ import annotations

from typing import Any

from plot_bench import FREE, PAID, TEXT, svg

COLORS = {"committed": PAID, "paid": FREE, "priority": TEXT}
#: (measure, what its panel is called): what the choice was made by.
PANELS = (
    ("jain", "Jain index\nof share ÷ bid"),
    ("half_price_keeps", "half the price keeps,\nof the top's"),
    ("split_one_place", "5-way split at one\nplace gains, times"),
    ("settled_s", "settled after bids\nreverse, seconds"),
)
MAKE = (
    "speedpay simulate --peers {peers} --seed {seed} --json > speedpay/docs/figures/simulate.json"
)


def table(report: dict[str, Any] | None) -> str:
    """Markdown: a row for each measure, a column for each policy, what is wanted of the default."""
    if report is None:
        return f"No figures of it are kept here: `{MAKE.format(peers=2000, seed=1)}`."
    names = report["policies"]
    rows = [["", *names, "wanted"], ["---"] * (len(names) + 2)]
    for measure in report["measures"]:
        met = measure["met"] or {}
        shown = [measure["shown"][n] + ("" if met.get(n, True) else " **no**") for n in names]
        rows.append([measure["text"], *shown, measure["goal"] or ""])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    made = f"Made by `{MAKE.format(**report)} && ./scripts/plot`."
    picture = "![What the three policies do, side by side](figures/simulate.svg)"
    return "\n".join([picture, "", *lines, "", made])


def draw(report: dict[str, Any]) -> str:
    """A panel for each of the measures that decide, a bar for each policy, a line where the goal is."""
    measures = {measure["name"]: measure for measure in report["measures"]}
    colors = [COLORS[policy] for policy in report["policies"]]

    def paint(whole: Any) -> None:
        figure = whole.figure
        whole.remove()
        for axes, (name, title) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
            measure = measures[name]
            values = [max(0.0, float(measure["values"][policy])) for policy in report["policies"]]
            bars = axes.bar(report["policies"], values, color=colors, width=0.6)
            labels = [measure["shown"][policy] for policy in report["policies"]]
            axes.bar_label(bars, labels, padding=2, fontsize=7)
            relation, goal = measure["goal"].split()
            axes.axhline(float(goal), linestyle=":", linewidth=1.2, color=TEXT)
            axes.set_title(f"{title}\nwanted {relation} {goal}", fontsize=8)
            axes.tick_params(labelsize=7)
            axes.set_ylim(0, 1.2 * max(*values, float(goal)))

    return svg(paint, 2.8)
