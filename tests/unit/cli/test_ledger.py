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


def test_keys_are_rotated_and_revoked_with_a_root_key_that_lies_elsewhere(
    tmp_path: Path, capsys: Captured
) -> None:
    data, safe = tmp_path / "ledger", tmp_path / "root.key"
    Desk(data).service.close()
    (data / "root.key").rename(safe)
    told = ["--data", str(data), "--root", str(safe), "--json"]

    def listed(*words: str) -> list[tuple[str, str]]:
        assert main(["ledger", "keys", *words]) == 0
        return [(k["id"], k["state"]) for k in json.loads(capsys.readouterr().out)["keys"]]

    ((first, _),) = listed("--data", str(data), "--json")
    second = listed("rotate", *told)[0][0]
    assert listed("renew", *told) == [(second, "in use"), (first, "good")]
    assert listed("revoke", first, *told) == [(second, "in use"), (first, "revoked")]
    assert listed("revoke", first, *told) == [(second, "in use"), (first, "revoked")]
    assert main(["ledger", "keys", "--data", str(data)]) == 0
    assert f"{first}  revoked  at " in capsys.readouterr().out


def test_each_refusal_of_keys_has_its_exit_code(tmp_path: Path, capsys: Captured) -> None:
    data, other = tmp_path / "ledger", tmp_path / "other"
    for folder in (data, other):
        Desk(folder).service.close()
    here, strange = ["--data", str(data)], ["--root", str(other / "root.key")]
    assert main(["ledger", "keys", "--data", str(tmp_path / "none")]) == 3
    assert main(["ledger", "keys", "revoke", "00" * 8, *here]) == 3
    for act in ("rotate", "renew"):
        assert main(["ledger", "keys", act, *here, *strange]) == 2
        assert main(["ledger", "keys", act, *here, "--root", str(tmp_path / "none")]) == 2
    capsys.readouterr()
    assert main(["ledger", "keys", *here, "--json"]) == 0
    (in_use,) = json.loads(capsys.readouterr().out)["keys"]
    assert main(["ledger", "keys", "revoke", in_use["id"], *here]) == 1
    assert "first: speedpay ledger keys rotate" in capsys.readouterr().err
