"""Token and vault on a chain, however often the deployment is killed; and the whole cycle in one command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from speedpay.chain import deploy as steps
from speedpay.chain.deploy import Parameters, deploy
from speedpay.chain.keyfile import load_key, load_or_make_key, make_key, read_private
from speedpay.chain.networks import MAINNET_GENESIS, NILE
from speedpay.chain.transaction import Unsigned
from speedpay.chain.tron import Tron
from speedpay.chain.vault import Vault
from speedpay.cli import main
from speedpay.devnet.node import Devnet, devnet
from speedpay.errors import (
    AlreadyExists,
    ChainRefused,
    InvalidSetting,
    Malformed,
    NotFound,
)
from tests.integration.chain.conftest import TRX, Connect

SHORT = Parameters(min_interval=1, delay=3, silence=600, deposit_grace=600)


def nothing(*_: object) -> None:
    pass


@pytest.fixture
def connect(connect: Connect, net: Devnet) -> Callable[[], Tron]:
    """One node, and four blocks for each wait: a block is final after five of them."""
    return lambda: connect(net.url, sleep=lambda _s: net.mine(4))


def ready(net: Devnet, folder: Path) -> dict[str, Any]:
    keys, _ = steps.keys_of(folder)
    net.faucet(keys["operator"].address, 1000 * TRX)
    net.mine()
    return keys


def deployments(net: Devnet, operator: bytes) -> int:
    """Contracts that the operator has made, counted on the chain itself."""
    blocks = (net.chain.block(number) for number in range(net.chain.head.number + 1))
    return sum(
        transaction.owner == operator
        and transaction.raw_data["contract"][0]["type"] == "CreateSmartContract"
        for block in blocks
        if block
        for transaction in block.transactions
    )


def test_a_deployment_is_what_its_file_says(
    net: Devnet, connect: Callable[[], Tron], tmp_path: Path
) -> None:
    keys = ready(net, tmp_path)
    told: list[str] = []
    done = deploy(connect(), tmp_path, keys, SHORT, lambda name, *_: told.append(name))
    assert told == ["token", "vault"]
    assert steps.load(tmp_path) == done
    assert done.genesis == net.genesis_id
    state = Vault(connect(), done.vault).state()
    assert state.terms.token == done.token
    assert (state.operator, state.terms.guardian) == (done.operator, done.guardian)
    assert (state.min_interval, state.terms.delay) == (1, 3)
    again = deploy(connect(), tmp_path, keys, SHORT, lambda name, *_: told.append(name))
    assert again == done
    assert told == ["token", "vault"]
    assert deployments(net, done.operator) == 2


class Killed(BaseException):
    pass


def _dying(real: Callable[..., Any], after: int, finish_first: bool) -> Callable[..., Any]:
    """``real``, which is killed at its call number ``after``, before it or once it is done."""
    calls = 0

    def called(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == after and not finish_first:
            raise Killed
        result = real(*given, **named)
        if calls == after:
            raise Killed
        return result

    return called


@pytest.mark.parametrize("contract", [1, 2], ids=["token", "vault"])
@pytest.mark.parametrize(
    ("owner", "name", "finish_first"),
    [
        (Tron, "prepare_deploy", True), (Unsigned, "sign", True), (steps, "write_private", False),
        (steps, "write_private", True), (Tron, "broadcast", False), (Tron, "broadcast", True),
        (Tron, "pause", True),
    ],
    ids=["prepared", "signed", "before storing", "stored", "before sending", "sent", "seen"],
)  # fmt: skip
def test_a_deployment_that_was_killed_goes_on_and_deploys_nothing_twice(
    net: Devnet, connect: Callable[[], Tron], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    owner: Any, name: str, finish_first: bool, contract: int,
) -> None:  # fmt: skip
    keys = ready(net, tmp_path)
    # A step writes twice: its transaction, and where the contract is.
    call = 2 * contract - 1 if name == "write_private" else contract
    if name == "pause":  # a wait of each contract's; it has about five
        call = 2 if contract == 1 else 8
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, _dying(getattr(owner, name), call, finish_first))
        with pytest.raises(Killed):
            deploy(connect(), tmp_path, keys, SHORT, nothing)
    with pytest.raises(NotFound):
        steps.load(tmp_path)
    done = deploy(connect(), tmp_path, keys, SHORT, nothing)
    assert deployments(net, done.operator) == 2
    assert Vault(connect(), done.vault).terms().token == done.token


def test_a_transaction_that_came_too_late_is_made_anew(
    net: Devnet, connect: Callable[[], Tron], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ready(net, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Tron, "broadcast", _dying(Tron.broadcast, 1, False))
        with pytest.raises(Killed):
            deploy(connect(), tmp_path, keys, SHORT, nothing)
    first = json.loads(read_private(tmp_path / "deployment.json"))["token"]["txid"]
    net.advance(90)  # the stored transaction can never be in a block any more
    net.mine(20)
    deploy(connect(), tmp_path, keys, SHORT, nothing)
    assert json.loads(read_private(tmp_path / "deployment.json"))["token"]["txid"] != first
    assert deployments(net, keys["operator"].address) == 2


def test_a_folder_is_for_one_deployment(
    net: Devnet, connect: Callable[[], Tron], tmp_path: Path
) -> None:
    keys = ready(net, tmp_path)
    deploy(connect(), tmp_path, keys, SHORT, nothing)
    with pytest.raises(InvalidSetting) as caught:
        deploy(connect(), tmp_path, keys, replace(SHORT, silence=700), nothing)
    assert caught.value.field == "parameters"
    with pytest.raises(InvalidSetting) as caught:
        deploy(connect(), tmp_path, keys | {"minter": keys["guardian"]}, SHORT, nothing)
    assert caught.value.field == "keys"


def test_an_operator_without_trx_deploys_nothing(
    net: Devnet, connect: Callable[[], Tron], tmp_path: Path
) -> None:
    keys, _ = steps.keys_of(tmp_path)
    net.faucet(keys["operator"].address, 10 * TRX)
    net.mine()
    with pytest.raises(ChainRefused, match="needs about"):
        deploy(connect(), tmp_path, keys, SHORT, nothing)
    assert deployments(net, keys["operator"].address) == 0


@pytest.mark.parametrize(
    "change",
    [{"delay": 4}, {"silence": 3}, {"silence": 2, "delay": 1}, {"min_interval": 0}, {"cap": -1}],
)
def test_parameters_that_the_vault_would_refuse_are_refused_first(change: dict[str, int]) -> None:
    with pytest.raises((InvalidSetting, Malformed)):
        replace(SHORT, **change)


# ---------------------------------------------------------------------------------------- key files


def test_a_key_file_is_private_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.key"
    key = make_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path).address == key.address
    with pytest.raises(AlreadyExists):
        make_key(path)
    assert load_or_make_key(path)[0].address == key.address
    assert [p.name for p in path.parent.iterdir()] == ["a.key"]


@pytest.mark.parametrize("content", [b"", b"zz" * 32, b"00" * 31, b"0" * 2_000_000, b"\xff" * 64])
def test_a_file_that_holds_no_key_is_refused_without_being_shown(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "a.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(InvalidSetting) as caught:
        load_key(path)
    assert caught.value.field == str(path)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    make_key(path)
    path.chmod(0o640)
    with pytest.raises(InvalidSetting, match="read by others"):
        load_key(path)
    with pytest.raises(NotFound):
        load_key(tmp_path / "b.key")


# -------------------------------------------------------------------------------------- commands


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPEEDPAY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_the_selftest_runs_the_whole_cycle_and_prints_every_txid(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with devnet(block_time=0.05, nodes=2) as net:
        nodes = ",".join(node.url for node in net.nodes)
        assert main(["chain", "selftest", "--nodes", nodes, "--json"]) == 0
        out = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        *events, result = out
        names = [event["name"] for event in events]
        assert names == [
            "deploy token", "deploy vault", "mint", "approve", "deposit", "anchor", "verify", "lie",
            "claim",
        ]  # fmt: skip
        assert "RootDiffers" in events[7]["said"]
        assert (result["ok"], result["network"]) == (True, "devnet")
        paid = {event["name"]: event for event in events if event["txid"]}
        assert result["txids"] == {name: event["txid"] for name, event in paid.items()}
        assert paid["anchor"]["energy"] <= 35_000
        assert result["fee_sun"] == sum(event["fee_sun"] for event in events)
        for event in paid.values():
            found = net.chain.find(bytes.fromhex(event["txid"]))
            assert found is not None
            assert found[1].block == event["block"]


def test_deploy_says_addresses_and_no_key(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with devnet(block_time=0.05) as net:
        assert main(["chain", "deploy", "--nodes", net.url]) == 0
        shown = capsys.readouterr()
        assert "network: devnet" in shown.out
        secrets = [(home / "chain" / f"{name}.key").read_text().strip()
                   for name in ("operator", "guardian", "minter")]  # fmt: skip
        assert len(set(secrets)) == 3
        assert not any(secret in shown.out + shown.err for secret in secrets)
        for file in (home / "chain").iterdir():
            assert file.stat().st_mode & 0o777 == 0o600
        assert not any(
            secret in (home / "chain" / "deployment.json").read_text() for secret in secrets
        )
        assert main(["chain", "deploy", "--nodes", net.url, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["network"] == "devnet"


@pytest.mark.long  # four starts of Python; the steps above are killed one by one without it
def test_a_deployment_survives_kill_9(home: Path) -> None:
    with devnet(block_time=0.05) as net:
        run = "import sys; from speedpay.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", run, "chain", "deploy", "--nodes", net.url, "-q"]
        file = home / "chain" / "deployment.json"
        for sign in ('"signed"', '"vault"'):
            running = subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL)
            until = time.monotonic() + 30
            while not (file.exists() and sign in file.read_text()):
                assert running.poll() is None
                assert time.monotonic() < until
                time.sleep(0.005)
            running.send_signal(signal.SIGKILL)
            running.wait(60)
        subprocess.run(command, env=os.environ, check=True, timeout=60)
        assert deployments(net, load_key(home / "chain" / "operator.key").address) == 2


@pytest.mark.parametrize("command", ["deploy", "selftest"])
def test_mainnet_is_refused_by_name_and_by_what_the_node_is(
    net: Devnet, home: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    given = ["chain", command, "--nodes", net.url, "--network"]
    assert main([*given, "mainnet"]) == 1
    assert "mainnet is refused" in capsys.readouterr().err
    net.nodes[0].fault("wrong_genesis", genesis=MAINNET_GENESIS)
    assert main([*given, "devnet"]) == 1
    assert "on mainnet, which is always refused" in capsys.readouterr().err
    assert not (home / "chain").exists()


def test_on_a_public_network_a_node_and_a_key_are_the_user_s(
    net: Devnet, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chain", "selftest", "--network", "nile"]) == 2
    assert "no node of nile is configured" in capsys.readouterr().err
    net.nodes[0].fault("wrong_genesis", genesis=NILE.genesis)
    given = ["chain", "selftest", "--network", "nile", "--nodes", net.url]
    assert main(given) == 2
    assert "--key-file" in capsys.readouterr().err
    file = tmp_path / "nile.key"
    assert main([*given, "--key-file", str(file)]) == 1
    said = capsys.readouterr().err
    assert load_key(file).base58 in said  # the address to which TRX are to be sent
    assert "faucet of nile" in said
