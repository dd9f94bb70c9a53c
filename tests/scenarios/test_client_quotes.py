"""``speedpay quote`` among real processes: it asks, measures, pays nothing and leaves nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from speedpay.units import MIB
from tests.scenarios.clients import PORT, Ledger, Town, address, ledger_in


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with ledger_in(tmp_path_factory.mktemp("ledger")) as ledger:
        yield ledger


@pytest.fixture
def town(ledger: Ledger, tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path, ledger)
    yield town
    town.close()


def lanes_of(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {lane["lane"]: lane for lane in found["lanes"]}


def test_two_sellers_are_asked_and_nothing_is_paid(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    asker, content = town.user(), town.content(48 * MIB)
    places = [address(), address()]
    for at in places:
        town.seed(town.user(), content, at, "--up-limit", "2MiB/s")
    before = asker.credit, asker.history()
    quoting = town.start(
        asker, "quote", str(content.torrent), "--listen", f"{address()}:0", "--wait", "3",
        *(word for at in places for word in ("--peer", f"{at}:{PORT}")),
    )  # fmt: skip
    assert quoting.end() == 0
    found = quoting.result
    assert (found["peers"], found["answered"], found["bytes"]) == (2, 2, 48 * MIB)
    lanes = lanes_of(found)
    # Nobody else is here: 4 MiB/s with and without money, and shading sees that.
    for lane in lanes.values():
        assert 12 <= lane["seconds"] <= 16
        assert lane["low_seconds"] <= lane["seconds"] <= lane["high_seconds"]
        assert lane["sure"] == "good"
        assert "2 of 2 peers answered" in lane["why"]
    automatic = lanes["automatic"]
    assert 0 < int(automatic["cost_utok"]) < int(automatic["high_cost_utok"]) <= 2_500_000
    assert lanes["free"]["high_cost_utok"] == "0"
    assert found["measured_bytes_s"] > 2 * MIB
    assert (asker.credit, asker.history()) == before
    assert town.in_escrow() == 0
    assert os.listdir(scratch) == []


def test_what_was_measured_can_be_kept(town: Town) -> None:
    asker, content, place, at = town.user(), town.content(8 * MIB), town.place(), address()
    town.seed(town.user(), content, at, "--up-limit", "16MiB/s")
    quoting = town.start(
        asker, "quote", content.magnet, "--listen", f"{address()}:0", "--peer", f"{at}:{PORT}",
        "-o", str(place),
    )  # fmt: skip
    assert quoting.end() == 0
    assert content.is_in(place)


def test_nobody_there_is_an_error_of_its_own(town: Town) -> None:
    content = town.content(MIB)
    quoting = town.start(
        town.user(), "quote", str(content.torrent), "--listen", f"{address()}:0", "--patience", "1"
    )
    assert quoting.end() == 6
    assert quoting.error["code"] == "no_peers"


def test_a_paid_download_foretells_itself_and_its_receipt_says_how_well(town: Town) -> None:
    payer, content, at = town.user(), town.content(14 * MIB), address()
    town.seed(town.user(), content, at, "--up-limit", "4MiB/s")
    paying = town.get(payer, content, town.place(), "--pay", "auto", peers=(at,))
    assert paying.end() == 0
    receipt = paying.result
    took, predicted = receipt["seconds"], receipt["predicted_seconds"]
    assert abs(predicted - took) < took / 2
    assert receipt["preview_error_ppm"] == pytest.approx(
        abs(predicted - took) / took * 1e6, rel=0.01
    )
    assert 0 < int(receipt["predicted_utok"]) <= 2_500_000
    progress = [said for said in paying.said if said.get("event") == "progress"]
    assert progress[-1]["predicted_seconds"] == predicted
