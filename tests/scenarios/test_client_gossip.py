"""A ledger shows two users two histories; their clients show each other what they were shown.

The ledger is honest but for who stands in front of it, with its keys: to one of the users another second
epoch is shown, signed like the first.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from speedpay.cli import main
from speedpay.client import gossip, loop
from speedpay.client.heads import Contradiction
from speedpay.client.market import Market
from speedpay.client.store import Earned, Store
from speedpay.errors import ProofBroken
from speedpay.ledger.http import LedgerServer
from speedpay.ledger.keeper import Keeper
from speedpay.ledger.leaves import Vault
from speedpay.ledger.service import Service, Settings
from speedpay.proof.evidence import Evidence
from speedpay.proof.head import EpochHead, SignedHead
from speedpay.units import MIB, Amount
from tests.scenarios.anchored import Liar, Operator
from tests.scenarios.clients import (
    WELCOME,
    Here,
    Ledger,
    Town,
    User,
    auto,
    here,
    seeder,
    until,
)

ROOT = Path(__file__).resolve().parent.parent.parent
VAULT = Vault((0xC0FFEE).to_bytes(32), os.urandom(20), os.urandom(20))


@dataclass
class TwoFaced:
    """The ledger, how each user reaches it, and the keeper of its epochs."""

    service: Service
    keeper: Keeper
    url: str
    id: bytes
    front: Liar  # of the seller: answers go missing there
    other_front: Liar  # of the buyer: it is shown another history

    def close_epoch(self, number: int) -> None:
        self.keeper.publish(self.keeper.close(number).number)

    def lie(self) -> None:
        """Who asks at the other front for an epoch from now on is shown another one."""

        def twin(answer: dict[str, Any]) -> dict[str, Any]:
            honest = EpochHead.from_bytes(bytes.fromhex(answer["body"]))
            head = replace(honest, credit=honest.credit + Amount(1))
            signed = SignedHead.sign(self.service.keys.response, self.service.domain, head)
            return answer | {"body": head.to_bytes().hex(), "signature": signed.signature.hex()}

        self.other_front.lies["/v1/epochs/"] = twin

    def lose(self) -> None:
        """No answer to a redemption comes through to the seller."""

        def lost(_: dict[str, Any]) -> dict[str, Any]:
            raise ConnectionAbortedError

        self.front.lies["/v1/redemptions"] = lost


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[TwoFaced]:
    folder = tmp_path / "ledger"
    with ExitStack() as stack:
        service = Service(folder, Settings(unlimited_loopback=True), time.time)
        stack.callback(service.close)
        keeper = Keeper(folder, service.database, service.keys, service.now)
        keeper.bind(VAULT)
        url = stack.enter_context(LedgerServer(service, "127.0.0.1", 0).running())
        fronts = []
        for _ in range(2):
            # It asks the operator for nothing but the service.
            fronts.append(Liar(cast(Operator, _Owner(service)), url))
            stack.callback(fronts[-1].close)
        made = TwoFaced(service, keeper, url, service.domain.ledger_id, *fronts)
        made.close_epoch(1)
        yield made


@dataclass
class _Owner:
    service: Service


def market(of: Here) -> Market:
    assert of.client.market is not None
    return of.client.market


def contradiction(of: Here) -> Contradiction | None:
    return market(of).gossip.contradiction


def to_redeem(who: User) -> list[Earned]:
    store = Store(who.home / "client.db")
    try:
        return store.open_paid()
    finally:
        store.close()


def judged_by_others(path: Path) -> tuple[int, str]:
    """What a program that shares nothing with us says of the evidence."""
    script = ROOT / "scripts/verify_independent"
    done = subprocess.run(
        [sys.executable, script, path], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def test_a_ledger_with_two_faces_is_caught_by_its_users_and_trade_ends_for_good(
    ledger: TwoFaced,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(gossip, "PAUSE_S", 0.0)
    monkeypatch.setattr(loop, "REDEEM_S", 0.5)
    town = Town(tmp_path, cast(Ledger, ledger))
    payer, payee = town.user(ledger.other_front.url), town.user(ledger.front.url)
    content, place = town.content(8 * MIB), town.place()

    async def scene() -> int:
        async with (
            seeder(payee, content, up_limit=MIB // 2) as origin,
            here(payer, content, place) as leecher,
        ):
            running = asyncio.create_task(leecher.get(auto(), origin))
            await until(lambda: origin.client.earned())
            assert contradiction(leecher) is contradiction(origin) is None
            ledger.lose()
            ledger.lie()
            ledger.close_epoch(2)
            # The seller asks for the news, tells the buyer, and that one asks its ledger for the same epoch.
            await market(origin).gossip.look()
            await until(lambda: contradiction(leecher) and contradiction(origin))
            (purchase,) = market(leecher).purchases.values()
            spent = purchase.buyer.spent.utok
            async with seeder(town.stranger(), content) as helper:  # sells nothing, and is fast
                leecher.meet(helper)
                receipt = await running
            assert receipt.paid.utok == spent > 0, "what was due, and nothing after it"
            for one in (origin, leecher):
                with pytest.raises(ProofBroken):
                    one.client.check_ledger()
                (said,) = [note for note in one.notes if "two different heads" in note]
                assert said.startswith(
                    "the ledger signed two different heads for epoch 2: it shows"
                )
        return spent

    spent = asyncio.run(scene())
    assert content.is_in(place), "the download went on, in the free lane"
    assert to_redeem(payee), "the ledger's answer was lost"

    for who in (payer, payee):
        (path,) = (who.home / "evidence").glob("*.json")
        evidence = Evidence.from_json(path.read_bytes())
        with pytest.raises(ProofBroken, match="two different heads for epoch 2"):
            evidence.check()
        assert judged_by_others(path) == (10, "the ledger signed two different heads for epoch 2\n")

    ledger.front.lies.clear()

    async def again(who: User) -> None:
        async with here(who, content, content.path.parent):
            raise AssertionError("it started")

    for who in (payee, payer):
        with pytest.raises(ProofBroken, match="two different heads for epoch 2") as refused:
            asyncio.run(again(who))
        assert refused.value.exit_code == 10
    assert to_redeem(payee) == [], "that was done by the start that refused"
    assert payee.credit == WELCOME + spent
    assert payer.credit == WELCOME - spent

    for name, value in payer.environment().items():
        monkeypatch.setenv(name, value)
    run = _command(capfd)
    torrent = str(content.torrent)
    code, _, err = run("get", torrent, "-o", str(place), "--pay", "auto", "--json")
    assert (code, json.loads(err.splitlines()[-1])["error"]["code"]) == (10, "proof_broken")
    code, out, err = run("heads", "--json")
    shown = json.loads(out)
    assert code == 10, err
    assert len({one["hash"] for one in shown["contradiction"]["heads"]}) == 2
    assert Path(shown["contradiction"]["evidence"]).exists()
    code, out, _ = run("heads")
    assert code == 10
    assert "\nCONTRADICTION: the ledger signed two different heads for epoch 2\n" in out
    assert run("heads", "--go-on")[0] == 2, "nobody is there to say yes"
    code, out, err = run("heads", "--go-on", "-y")
    assert (code, out) == (0, "no head of this ledger was seen yet\n"), err
    code, out, err = run("get", torrent, "-o", str(place), "--pay", "auto", "--json")
    assert code == 0, err


def _command(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(words)
        return code, *capfd.readouterr()

    return run
