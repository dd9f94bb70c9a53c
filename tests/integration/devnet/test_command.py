"""``speedpay chain devnet`` as a process: started, used, killed, ended by Ctrl-C and by SIGTERM."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from speedpay.cli import main
from speedpay.devnet.block_log import FILE

PROGRAM = Path(sys.executable).with_name("speedpay")
COMMAND = [PROGRAM, "chain", "devnet", "--listen", "127.0.0.1:0", "--json"]


@contextmanager
def running(data: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    process = subprocess.Popen(
        [*COMMAND, "--data", str(data), *options], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait(60)


def post(url: str, path: str, **given: Any) -> Any:
    return httpx.post(f"{url}/{path}", json=given, timeout=30).json()


def test_kill_9_loses_no_block_and_ctrl_c_ends_with_130(tmp_path: Path) -> None:
    address = "41" + secrets.token_bytes(20).hex()
    with running(tmp_path, "--block-time", "0.02") as (process, said):
        assert said["network"] == "devnet"
        txid = post(said["url"], "dev/faucet", address=address, amount_sun=5)["txid"]
        info: dict[str, Any] = {}
        while "blockNumber" not in info:
            info = post(said["url"], "wallet/gettransactioninfobyid", value=txid)
        seen = post(said["url"], "wallet/getnowblock")
        process.kill()
        process.wait(60)
    with running(tmp_path, "--block-time", "3600") as (process, again):
        url = again["url"]
        assert again["genesis_id"] == said["genesis_id"]
        number = seen["block_header"]["raw_data"]["number"]
        assert post(url, "wallet/getblockbynum", num=number) == seen
        assert post(url, "wallet/gettransactioninfobyid", value=txid) == info
        assert post(url, "wallet/getaccount", address=address)["balance"] == 5
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


def test_two_nodes_of_one_chain_and_a_clean_end_on_sigterm(tmp_path: Path) -> None:
    genesis = (bytes(8) + bytes(23) + b"\x07").hex()
    options = ("--listen", "127.0.0.1:0", "--genesis", genesis, "--block-time", "3600")
    with running(tmp_path, *options) as (process, said):
        first, second = said["urls"]
        post(first, "dev/mine", blocks=3)
        assert post(second, "wallet/getnowblock") == post(first, "wallet/getnowblock")
        assert post(second, "wallet/getblockbynum", num=0)["blockID"] == genesis
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (["--listen", "0.0.0.0:0"], "--listen"),
        (["--listen", "9090"], "--listen"),
        (["--block-time", "0"], "--block-time"),
        (["--genesis", "xyz"], "--genesis"),
        (["--genesis", 56 * "0" + "2b6653dc"], "genesis"),
    ],
)
def test_what_cannot_be_is_said_and_makes_no_chain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], field: str
) -> None:
    assert main(["chain", "devnet", "--data", str(tmp_path / "data"), "--json", *options]) == 2
    assert field in json.loads(capsys.readouterr().err)["error"]["message"]
    assert not (tmp_path / "data" / FILE).exists()
