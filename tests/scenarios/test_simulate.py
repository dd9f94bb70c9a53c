"""Somebody tries out a market before risking tokens: no wallet, no ledger, no network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speedpay.cli import main

SWARM = {
    "seeders": [{"name": "box", "uplink": "4MiB/s"}],
    "peers": [
        {"name": "me", "bid": "auto", "balance": "20", "wanted": "200MiB", "downlink": "3MiB/s"},
        {"name": "rival", "bid": "25", "wanted": "200MiB"},
        {"name": "not paying", "wanted": "100MiB"},
    ],
}


def test_a_user_compares_policies_on_a_swarm_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(SWARM))
    both = ["--policy", "committed", "--policy", "priority"]
    assert main(["simulate", "--swarm", str(file), *both]) == 0
    shown = capsys.readouterr().out
    assert "not paying" in shown
    assert shown.count("box earns") == 2
    assert main(["simulate", "--swarm", str(file), *both, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["policies"]
    shares = {
        policy: [peer["share"] for peer in found[policy]["peers"]]
        for policy in ("committed", "priority")
    }
    # The formula's 25.6 tok/GiB against 25.
    assert shares["committed"][1] == pytest.approx(0.375, abs=0.02)
    assert shares["priority"][1] == 0
    assert sum(shares["committed"]) == pytest.approx(1, abs=1e-4)

    file.write_text(json.dumps(SWARM | {"free_pool": "none"}))
    assert main(["simulate", "--swarm", str(file), "--json"]) != 0
    error = json.loads(capsys.readouterr().err)["error"]
    assert "free_pool" in error["message"]
    assert error["hint"]


def test_the_study_says_what_is_not_as_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--peers", "40", "--policy", "priority"]) == 0
    said = capsys.readouterr()
    line = next(line for line in said.out.splitlines() if "half the price" in line)
    assert line.split()[-4:] == ["0.000", "!", "≥", "0.25"]
    assert "priority: done" in said.err
