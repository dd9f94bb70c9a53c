"""``speedpay ledger``: where its data are, and what it refuses before it makes any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speedpay.cli import main
from tests.unit.ledger.desk import Desk

Captured = pytest.CaptureFixture[str]


def test_the_ledgers_data_are_in_the_users_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("SPEEDPAY_HOME", str(tmp_path / "home"))
    assert main(["ledger", "fsck", "--json"]) == 3
    assert (
        str(tmp_path / "home/ledger/ledger.sqlite")
        in json.loads(capsys.readouterr().err)["error"]["message"]
    )
    Desk(tmp_path / "home/ledger").service.close()
    assert main(["ledger", "fsck", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert main(["ledger", "fsck", "--data", str(tmp_path / "elsewhere")]) == 3


@pytest.mark.parametrize(
    "listen", ["", "7461", ":7461", "127.0.0.1:", "127.0.0.1:\u00b2", "127.0.0.1:65536", "h:-1"]
)
def test_an_address_that_is_none_makes_no_ledger(
    tmp_path: Path, capsys: Captured, listen: str
) -> None:
    data = tmp_path / "data"
    assert main(["ledger", "serve", "--data", str(data), "--listen", listen]) == 2
    assert "--listen: must look like" in capsys.readouterr().err
    assert not data.exists()
