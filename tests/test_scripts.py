"""The scripts: how they answer, what they compute, and that texts and figures agree."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"
DOCS = ROOT / "speedpay/docs"
MIB = 1024 * 1024

SMALL: dict[str, Any] = {
    "free_seconds": 20.0, "paid_seconds": 5.0, "gain": 4.0, "bytes": 32 * MIB, "sha256_ok": True,
    "paid_utok": "1500000", "issued_utok": "20000000", "accounted_utok": "20000000",
    "payees": [{"peer": "127.0.0.10:7881", "utok": "1500000", "bytes": 32 * MIB, "name": "origin"}],
    "others_slowdown": 0.01, "others_free_seconds": [20.0, 20.0], "others_paid_seconds": [20.2, 20.2],
    "free_progress": [[10.0, 15 * MIB], [20.0, 32 * MIB]], "paid_progress": [[5.0, 32 * MIB]],
    "bid": "48 tok/GiB", "content": "small",
    "parameters": {"origin_uplink_bytes_s": 16 * MIB, "peer_uplink_bytes_s": MIB, "free_downloaders": 2,
                   "free_pool_ppm": 250_000},
    "anchor": {"network": "devnet", "epoch": 3, "root": "ab" * 32, "txid": "cd" * 32, "block": 71},
    "verify_ok": True, "tampered_verify_exit": 10,
    "tampered": {"taken_utok": "750000", "balance_utok": "750000", "said": "the tree is another"},
    "verified_utok": {"payer": "18500000", "origin": "1500000"},
    "funded": {"amount": "20000000", "txid": "ef" * 32, "block": 40},
}  # fmt: skip


def script(name: str) -> ModuleType:
    """One of scripts/*.py. They import each other by name, as when they run."""
    if str(SCRIPTS) not in sys.path:
        sys.path.append(str(SCRIPTS))
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin == str(SCRIPTS / f"{name}.py")
    return importlib.import_module(name)


def answer(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPTS / words[0], *words[1:]], capture_output=True, text=True, timeout=60, check=False
    )


# ------------------------------------------------------------------------------------- the commands

#: scripts/test and scripts/sanitize hand what they do not know to pytest.
FRONTS = ["bench", "build_contracts", "demo", "fuzz", "lock", "make_vectors", "plot", "setup"]


@pytest.mark.parametrize("name", [*FRONTS, "sanitize", "test"])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_script_says_what_it_does(name: str, flag: str) -> None:
    said = answer(name, flag)
    assert said.returncode == 0
    assert f"usage: ./scripts/{name}" in said.stdout
    assert said.stderr == ""


@pytest.mark.parametrize("name", FRONTS)
def test_an_unknown_option_is_refused_before_anything_is_done(name: str) -> None:
    said = answer(name, "--no-such-option")
    assert said.returncode == 2
    assert said.stdout == ""
    assert "usage:" in said.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["bench"], ["bench", "nothing"], ["bench", "swarm", "--rounds"],
        ["bench", "swarm", "--rounds", "0"], ["bench", "datapath", "--rounds", "many"],
        ["bench", "datapath", "--size", "-1"], ["bench", "swarm", "--json"],
        ["bench", "swarm", "--size", "1"],
        ["bench", "swarm", "--only", "nothing"], ["bench", "epoch", "--only", "gain"], ["demo", "--json"],
        ["demo", "--file"], ["demo", "file"], ["plot", "--check", "twice"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_wrong_argument_is_refused_before_anything_is_done(words: list[str]) -> None:
    said = answer(*words)
    assert said.returncode == 2
    assert said.stdout == ""


# ----------------------------------------------------------------------------------- the fluid bound


def bound(*arguments: float) -> float:
    return float(script("bench_rows").fluid_bound(*arguments))


def test_the_bound_of_the_demos_swarm_is_worked_out_by_hand() -> None:
    # min(16, 0.75 × (16 + 8 × 0.5)) = 15; unpaid (16 + 9 × 0.5) ÷ 9.
    assert bound(16, 0.5, 8, 0.25) == pytest.approx(15 / (20.5 / 9))


def test_the_bound_is_the_origins_uplink_where_peers_have_much() -> None:
    assert bound(8, 4, 8, 0.25) == pytest.approx(8 / ((8 + 36) / 9))


def test_the_bound_depends_on_ratios_only() -> None:
    assert bound(16 * MIB, MIB / 2, 8, 0.25) == pytest.approx(bound(16, 0.5, 8, 0.25))


def test_without_peers_that_give_and_without_a_free_pool_the_payer_gets_everybodys_share() -> None:
    assert bound(10, 0, 8, 0.0) == pytest.approx(9)


# --------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize(("count", "rank"), [(4, 0), (5, 0), (6, 0), (7, 1), (10, 2)])
def test_the_lower_bound_is_the_right_order_statistic(count: int, rank: int) -> None:
    values = [float(value) for value in range(count)]
    assert script("bench_rows").lower_bound(list(reversed(values))) == rank
    # The true median lies below the value of that rank in at most one of ten cases; of the next, in more.
    below = [
        sum(Fraction(math.comb(count, k), 2**count) for k in range(r + 1)) for r in (rank, rank + 1)
    ]
    assert below[0] <= Fraction(1, 10) < below[1]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_too_few_rounds_have_no_lower_bound(count: int) -> None:
    assert script("bench_rows").lower_bound([1.0] * count) is None


@pytest.mark.parametrize(
    ("value", "goal", "ok"),
    [
        (4.0, "≥ 4", True), (3.9999, "≥ 4", False), (0.03, "≤ 3 %", True),
        (0.0301, "≤ 3 %", False), (-0.01, "≤ 3 %", True), (0.0002, "≤ 0.02 %", True),
        (0.00021, "≤ 0.02 %", False), (0, "= 0", True), (-1, "= 0", False), (0.1, None, True),
    ],
)  # fmt: skip
def test_a_goal_is_judged_on_the_unrounded_value(value: float, goal: str | None, ok: bool) -> None:
    row = script("bench_rows").Row("a", value, (value, value), None, goal)
    assert row.ok is ok
    shown = script("bench_rows").cells(row.as_json())[-1]
    assert shown == ("" if goal is None else "ok" if ok else "MISSED")


def test_a_row_has_the_documented_shape() -> None:
    row = script("bench_rows").over_rounds("gain", [5.0, 4.0, 4.5], "≥ 4", bound=6.5).as_json()
    assert row == {
        "row": "gain", "value": 4.5, "spread": [4.0, 5.0], "bound": 6.5, "goal": "≥ 4", "ok": True,
        "unit": "x",
    }  # fmt: skip


def one_swarm(points: dict[str, list[tuple[float, int]]]) -> Any:
    last = [found[-1][0] for found in points.values()]
    return script("local_swarm").Round(last[0], last[1:], 100, True, {}, points, 0.0, {})


def test_useful_bytes_are_counted_over_the_same_span_in_both_swarms() -> None:
    fast = one_swarm({"payer": [(5.0, 100)], "free1": [(10.0, 100)]})
    slow = one_swarm({"payer": [(10.0, 50), (30.0, 100)], "free1": [(20.0, 100)]})
    useful = script("bench_gain").useful
    # When the faster one is done, at 10 s, the other has half of each.
    assert useful(fast, slow) == pytest.approx(2.0)
    assert useful(slow, fast) == pytest.approx(0.5)
    assert useful(fast, fast) == 1.0


def test_what_a_paid_download_said_of_itself_is_held_against_what_happened() -> None:
    said = script("bench_gain").said_of_itself
    receipt = {"seconds": 10.0, "paid_utok": "400", "predicted_seconds": 12.0, "predicted_utok": "300",
               "gain": 3.0}  # fmt: skip
    assert said(receipt, 4.0) == pytest.approx(
        {"preview_seconds_off": 0.2, "preview_cost_off": 0.25, "gain_said": 0.75}
    )
    assert said({"seconds": 10.0, "paid_utok": "400"}, 4.0) == {}
    assert said({"seconds": 10.0, "paid_utok": "0", "predicted_utok": "300"}, 4.0) == {}


def test_verified_bytes_between_two_points_lie_on_a_straight_line() -> None:
    one = one_swarm({"payer": [(2.0, 100), (4.0, 200)]})
    assert [one.verified_by(at) for at in (0, 1, 2, 3, 4, 9)] == [0, 50, 100, 150, 200, 200]


def test_a_failed_round_is_tried_once_more_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench_rows = script("bench_rows")
    benchmark = bench_rows.Benchmark("b", {}, tmp_path / "b.json")
    tries = iter([RuntimeError("first"), None])

    def work() -> str:
        if error := next(tries):
            raise error
        return "measured"

    assert benchmark.attempt("round 1", work) == "measured"
    benchmark.rounds.append({})
    assert benchmark.finish([bench_rows.Row("r", 1.0, (1.0, 1.0), None, "≥ 2")], 1) == 0
    assert "MISSED" in capsys.readouterr().out
    written = json.loads((tmp_path / "b.json").read_text())
    assert written["bench"] == "b"
    assert written["failures"] == ["round 1, attempt 1: first"]


def test_a_round_that_fails_twice_makes_the_benchmark_fail() -> None:
    bench_rows = script("bench_rows")
    benchmark = bench_rows.Benchmark("b", {}, None)

    def work() -> None:
        raise RuntimeError("no")

    assert benchmark.attempt("round 1", work) is None
    assert len(benchmark.failures) == 2
    assert benchmark.finish([], 1) == 1


def test_a_benchmark_with_parts_writes_the_rows_of_all_after_each_round(tmp_path: Path) -> None:
    bench_rows = script("bench_rows")
    whole = bench_rows.Benchmark("b", {"rounds": 1}, tmp_path / "b.json")
    first, second = whole.part("first"), whole.part("second")
    first.parameters["uplink"] = 1
    first.rounds.append({"n": 1})
    first.write([bench_rows.Row("one", 1.0, (1.0, 1.0))])
    second.rounds.append({"n": 2})
    second.failures.append("once")
    second.write([bench_rows.Row("two", 2.0, (2.0, 2.0))])
    written = json.loads((tmp_path / "b.json").read_text())
    assert [(row["part"], row["row"]) for row in written["rows"]] == [
        ("first", "one"), ("second", "two"),
    ]  # fmt: skip
    assert written["rounds"] == {"first": [{"n": 1}], "second": [{"n": 2}]}
    assert written["parameters"]["first"] == {"uplink": 1}
    assert written["failures"] == {"first": [], "second": ["once"]}
    assert whole.finish((), 1) == 0
    assert whole.finish((), 2) == 1, "a round of each is missing"


# ------------------------------------------------------------------------------------ figures, texts


def test_the_plot_is_the_same_for_the_same_figures() -> None:
    draw = script("plot").draw
    first = draw(SMALL)
    assert first == draw(json.loads(json.dumps(SMALL)))
    assert first.startswith("<?xml")
    for words in ("free, 20.0 s", "paid, 5.0 s", "4.00x", "3.19x"):
        assert words in first
    assert draw(SMALL | {"gain": 3.0}) != first


def test_without_progress_the_plot_has_bars() -> None:
    bars = {key: value for key, value in SMALL.items() if not key.endswith("_progress")}
    made = script("plot").draw(bars)
    assert "20.0 s" in made
    assert "free, 20.0 s" not in made
    assert made == script("plot").draw(bars)


def row_of(name: str, value: float, goal: str | None, part: str = "gain") -> dict[str, Any]:
    made = script("bench_rows").Row(name, value, (value, value), None, goal)
    return dict(made.as_json() | {"part": part})


def test_the_picture_of_the_gain_shows_where_paying_loses_too() -> None:
    rows = [row_of("1 gain, u = U/8", 3.5, None), row_of("gain, a short one", 1.25, None, "losing"),
            row_of("3 useful bytes", 1.5, "≥ 0.97"),
            row_of("gain, governor", 7.5, None, "governor")]  # fmt: skip
    drawn = script("plot_bench").gain(rows)
    for words in ("u = U/8", "3.50x", "a short one", "1.25x", "3.19x"):
        assert words in drawn
    assert "useful" not in drawn
    assert "7.50x" not in drawn, "another swarm, measured in another way"
    assert script("plot_bench").gain(rows) == drawn


@pytest.mark.parametrize(
    ("value", "goal", "times"),
    [(2.0, "≥ 1", 2.0), (0.5, "≥ 1", 0.5), (0.5, "≤ 1", 2.0), (2.0, "≤ 1", 0.5),
     (0.015, "≤ 3 %", 2.0), (-0.01, "≤ 3 %", 4.0), (1e9, "≤ 1", 0.25)],
)  # fmt: skip
def test_in_the_picture_better_is_to_the_right_whatever_the_goal_is(
    value: float, goal: str, times: float
) -> None:
    assert script("plot_bench")._times_better(value, goal) == pytest.approx(times)
    assert f"goal {goal}" in script("plot_bench").against_goals([row_of("a", value, goal)], "A")


def test_each_group_of_the_market_has_a_table_and_pictures(tmp_path: Path) -> None:
    plot = script("plot")
    for path in ("README.md", "speedpay/docs/benchmarks.md", "speedpay/docs/market.md"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text((ROOT / path).read_text())
    (tmp_path / "speedpay/docs/figures").mkdir()
    bench_rows = script("bench_rows")
    whole = bench_rows.Benchmark("swarm", {}, tmp_path / "speedpay/docs/figures/swarm.json")
    gain, losing = whole.part("gain"), whole.part("losing")
    gain.parameters["u = U/8"] = {"origin_uplink_bytes_s": 8}
    gain.write([bench_rows.Row("1 gain, u = U/8", 3.5, (3.0, 4.0), 4.2, "≥ 3")])
    losing.failures.append("round 7 fell over")
    losing.write([bench_rows.Row("gain, a short one", 1.25, (1.0, 1.5))])
    made = plot.outputs(tmp_path)
    said = made[Path("speedpay/docs/benchmarks.md")]
    assert "| 1 gain, u = U/8 | 3.50x | 3.00x … 4.00x | 4.20x | ≥ 3 | ok |" in said
    assert "u = U/8: origin_uplink_bytes_s 8" in said
    assert "| gain, a short one | 1.25x |" in said
    assert "Failed: round 7 fell over." in said
    for name in ("gain.svg", "swarm-gain.svg"):
        assert f"figures/{name}" in said
        assert Path("speedpay/docs/figures", name) in made


def test_blocks_are_filled_and_nothing_else_is_touched() -> None:
    text = "a\n<!-- figures: one -->\nold\nolder\n<!-- end -->\nb <!-- end -->\n"
    filled = script("plot").filled(text, {"one": lambda: "new"})
    assert filled == "a\n<!-- figures: one -->\nnew\n<!-- end -->\nb <!-- end -->\n"
    assert script("plot").filled(filled, {"one": lambda: "new"}) == filled


def test_readme_plot_and_tables_are_in_step_with_the_figures() -> None:
    said = answer("plot", "--check")
    assert said.returncode == 0, said.stdout + said.stderr


def test_figures_that_changed_are_noticed(tmp_path: Path) -> None:
    plot = script("plot")
    for path in ("README.md", "speedpay/docs/benchmarks.md", "speedpay/docs/market.md"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text((ROOT / path).read_text())
    figures = tmp_path / "speedpay/docs/figures"
    figures.mkdir()
    (figures / "demo.json").write_text(json.dumps(SMALL))
    made = plot.outputs(tmp_path)
    assert "gain 4.00x" in made[Path("README.md")]
    assert made[Path("README.md")] != (ROOT / "README.md").read_text()
    assert Path("speedpay/docs/figures/demo.svg") in made


def test_the_demos_table_says_what_its_report_says() -> None:
    said = script("demo").table(SMALL)
    assert "paid                   5.0   6.40  1.500000" in said
    assert "gain 4.00x" in said
    assert "the other 2 took 20.0 s, then 20.2 s: +1.0%" in said
    assert "origin        1.500000  32.0        48.000" in said
    assert ": the same\n" in said
    assert "NOT THE SAME" in script("demo").table(SMALL | {"accounted_utok": "19999999"})
    assert "payer 18.500000 tok, origin 1.500000 tok: verified" in said
    assert "NOT VERIFIED" in script("demo").table(SMALL | {"verify_ok": False})
    assert said.endswith("the tree is another (exit code 10)")


@pytest.mark.parametrize(
    "wrong",
    [
        {"sha256_ok": False},
        {"accounted_utok": "1"},
        {"verify_ok": False},
        {"tampered_verify_exit": 0},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_demo_that_shows_something_wrong_fails(wrong: dict[str, Any]) -> None:
    assert script("demo").right(SMALL)
    assert not script("demo").right(SMALL | wrong)


DEMO = DOCS / "figures/demo.json"


def check_report(report: dict[str, Any]) -> None:
    for key in ("free_seconds", "paid_seconds", "gain", "others_slowdown"):
        assert type(report[key]) in (int, float), key
    assert type(report["bytes"]) is int
    assert report["sha256_ok"] is True
    for key in ("paid_utok", "issued_utok", "accounted_utok"):
        assert re.fullmatch(r"0|[1-9][0-9]*", report[key]), key
    for payee in report["payees"]:
        assert type(payee["peer"]) is str
        assert re.fullmatch(r"0|[1-9][0-9]*", payee["utok"])
        assert type(payee["bytes"]) is int
    anchor = report["anchor"]
    assert re.fullmatch(r"[0-9a-f]{64}", anchor["root"])
    assert re.fullmatch(r"[0-9a-f]{64}", anchor["txid"])
    assert anchor["network"] == "devnet"
    assert min(anchor["epoch"], anchor["block"]) > 0
    assert report["verify_ok"] is True
    assert report["tampered_verify_exit"] == 10
    for kind in ("free", "paid"):
        points = report[f"{kind}_progress"]
        assert points == sorted(points), "time and bytes both rise"
        assert points[-1] == [pytest.approx(report[f"{kind}_seconds"]), report["bytes"]]


def test_the_kept_figures_of_the_demo_have_the_documented_shape_and_agree_with_each_other() -> None:
    report = json.loads(DEMO.read_text())
    check_report(report)
    check_report(SMALL)
    assert report["gain"] == pytest.approx(
        report["free_seconds"] / report["paid_seconds"], abs=2e-3
    )
    assert int(report["paid_utok"]) == sum(int(payee["utok"]) for payee in report["payees"])
    assert report["issued_utok"] == report["accounted_utok"]


@pytest.mark.parametrize("path", sorted((DOCS / "figures").glob("*.json")), ids=lambda p: p.stem)
def test_kept_figures_of_a_benchmark_have_the_documented_shape(path: Path) -> None:
    report = json.loads(path.read_text())
    if path in (DEMO, DOCS / "figures/simulate.json"):  # not a benchmark's
        return
    assert report["bench"] == path.stem
    assert report["parameters"]
    for row in report["rows"]:
        shape = {"row", "value", "spread", "bound", "goal", "ok", "unit"}
        assert row.keys() - {"part"} == shape
        assert row["spread"][0] <= row["value"] <= row["spread"][1]


# ------------------------------------------------------------------------------------- the documents

PAGES = [ROOT / "README.md", ROOT / "contracts/README.md", *sorted(DOCS.glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_link_and_every_named_file_exists(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), target
    for name in re.findall(r"`((?:\w+/)*\w+\.(?:py|md|hpp))`", text):
        places = (ROOT, ROOT / "speedpay", ROOT / "speedpay/swarm", DOCS)
        known = any((place / name).exists() for place in places)
        # In a table a package stands in another column: any file of that name will do.
        assert known or list((ROOT / "speedpay").rglob(name)), name


def test_every_fault_that_is_said_to_be_survived_has_its_test() -> None:
    named = re.findall(r"`(test_\w+)`", (DOCS / "faults-survived.md").read_text())
    defined = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        defined |= set(re.findall(r"def (test_\w+)\(", path.read_text()))
    assert named
    assert not set(named) - defined
