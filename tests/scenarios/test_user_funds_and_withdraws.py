"""Money comes in from the chain and goes out again: interrupted anywhere, at last without the ledger."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from speedpay.chain.address import to_base58
from speedpay.units import Amount
from tests.scenarios.anchored import DELAY, Person, Town, town
from tests.unit.wallet.onchain import GUARDIAN, SUN, key

NOWHERE = "http://127.0.0.1:1"
SPEEDPAY = [sys.executable, "-c", "import sys; from speedpay.cli import main; sys.exit(main())"]
WAIT_S = 60


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with (
        pytest.MonkeyPatch.context() as patch,
        town(tmp_path_factory.mktemp("town"), patch, limit=Amount(6 * SUN)) as made,
    ):
        yield made


def _on_chain(place: Town, who: Person) -> int:
    return place.token.balance_of(who.chain.address) // SUN


def _balance(who: Person) -> str:
    return str(who.ok("balance", "--json").json["token"])


# --- in -------------------------------------------------------------------------------------------


def test_the_address_is_shown_with_what_it_holds(place: Town) -> None:
    person = place.person(tok=12, trx=7)
    said = person.ok("fund").out
    assert said.startswith(
        f"address    {person.chain.base58}\nnetwork    devnet\ntrx        7 TRX\n"
    )
    assert "\ntoken      12 tok\n" in said
    assert said.endswith("(devnet only), then: speedpay fund AMOUNT\n")
    assert "█" not in said, "a QR code is for a terminal"
    shown = person.ok("fund", "--json").json
    assert shown["holdings"]["token"] == {"name": "tok", "decimals": 6, "base_units": "12000000"}
    assert person.ok("wallet", "chain", "--json").json["address"] == person.chain.base58


def test_what_is_funded_is_credited_once_and_in_stages(place: Town) -> None:
    person = place.person(tok=12)
    with place.busy():
        done = person.ok("fund", "5", "--yes", "--json")
    events = [line.split('"')[3] for line in done.out.splitlines() if '"event"' in line]
    assert events == ["approved", "seen", "solid", "credited"]
    assert (done.json["amount"], done.json["resumed"]) == ("5000000", False)
    receipt = place.tron.receipt(bytes.fromhex(done.json["txid"]), solid=True)
    assert receipt is not None
    assert receipt.ok
    assert (_balance(person), _on_chain(place, person)) == ("5000000", 7)
    assert not list((person.home / "wallet").glob("*.job"))
    with place.busy():
        again = person.ok("fund", "5", "--yes", "--json").json
    assert again["resumed"] is False, "a new wish is a new deposit"
    assert (_balance(person), _on_chain(place, person)) == ("10000000", 2)


def test_nothing_is_signed_without_tokens_trx_or_a_yes(place: Town) -> None:
    poor = place.person(tok=4)
    done = poor.run("fund", "5", "--yes", "--json")
    assert (done.exit_code, done.error["code"]) == (5, "balance_too_small")
    assert "holds 4 tok, which is less than 5" in done.error["message"]
    thirsty = place.person(tok=9, trx=3)
    done = thirsty.run("fund", "5", "--yes", "--json")
    assert done.exit_code == 5
    assert "holds 3 TRX; the two transactions burn about " in done.error["message"]
    assert f"TRX or more to {thirsty.chain.base58}" in done.error["hint"]
    asked = poor.run("fund", "3")
    assert (asked.exit_code, asked.out) == (2, "")
    for who, held in ((poor, 4), (thirsty, 9)):
        assert _on_chain(place, who) == held
        assert not list((who.home / "wallet").glob("*.job"))


def _interrupted(process: subprocess.Popen[str]) -> str:
    """What it said. Python swallows an interrupt that comes while an object is being finalised: a user
    presses again."""
    deadline = time.monotonic() + WAIT_S
    try:
        while time.monotonic() < deadline:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.communicate(timeout=2)[1]
        raise AssertionError("it does not end")
    finally:
        process.kill()


def test_ctrl_c_at_any_time_and_the_same_command_never_deposits_twice(place: Town) -> None:
    person = place.person(tok=20)
    for pause_s in (0.9, 1.3):
        process = subprocess.Popen(
            [*SPEEDPAY, "fund", "5", "--yes"], env=_environment(person), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        time.sleep(pause_s)  # wherever it is by then
        said = _interrupted(process)
        assert process.returncode == 130, said
        place.node.mine(3)
    with place.busy():
        done = person.ok("fund", "5", "--yes", "--json")
    assert done.json["amount"] == "5000000"
    assert (_balance(person), _on_chain(place, person)) == ("5000000", 15)


def test_a_deposit_on_the_chain_is_credited_when_the_ledger_comes_back(place: Town) -> None:
    person = place.person(tok=5)
    person.ok("fund")  # the vault is known from now on
    away = replace(person, url=NOWHERE)
    with place.busy():
        early = away.run("fund", "5", "--yes", "--json")
        assert (early.exit_code, _on_chain(place, person)) == (4, 5)
        assert "nothing was deposited" in early.error["hint"]
        with place.liar() as liar:
            liar.lies[f"/v1/accounts/{person.account.hex()}/deposits"] = _away
            done = replace(person, url=liar.url).run("fund", "5", "--yes", "--json")
    assert done.exit_code == 4
    assert "it deposits nothing more" in done.error["hint"]
    assert _on_chain(place, person) == 0
    with place.busy():
        credited = person.ok("fund", "5", "--json")  # asks for no yes: it was given
    assert credited.json["resumed"] is True
    assert _balance(person) == "5000000"


def _away(_answer: dict[str, Any]) -> dict[str, Any]:
    raise ConnectionAbortedError


def test_nothing_is_deposited_into_a_vault_that_the_ledger_does_not_have(place: Town) -> None:
    person = place.person(tok=5)
    person.ok("fund")
    for other, named in (
        ({}, "none"),
        ({"vault": "11" * 20}, "TBXSw8fM4jpQkGc6zZjsVABFpVN7UvXPdV"),
    ):
        with place.liar() as liar:
            liar.lies["/v1/ledger"] = lambda answer, other=other: (
                answer | {"chain": answer["chain"] | other}
                if other
                else {name: value for name, value in answer.items() if name != "chain"}
            )
            done = replace(person, url=liar.url).run("fund", "5", "--yes", "--json")
        assert (done.error["code"], _on_chain(place, person)) == ("wrong_ledger", 5)
        assert f"the ledger's is {named}: it would not credit" in done.error["message"]


def _environment(person: Person) -> dict[str, str]:
    import os

    return os.environ | {
        "SPEEDPAY_HOME": str(person.home), "SPEEDPAY_LEDGER_URL": person.url,
        "SPEEDPAY_CHAIN_NODES": person.node_url,
        "SPEEDPAY_PASSPHRASE_FILE": str(person.home / "passphrase"),
    }  # fmt: skip


# --- sending on the chain -------------------------------------------------------------------------


def test_trx_and_tokens_are_sent_from_the_address(place: Town) -> None:
    person, other = place.person(tok=9), key("somebody else")
    with place.busy():
        sent = person.ok("wallet", "chain-send", other.base58, "2.5", "--yes", "--json").json
        trx = person.ok(
            "wallet", "chain-send", other.base58, "3", "--currency", "trx", "--yes", "--json"
        ).json
    assert (sent["currency"], sent["base_units"], sent["resumed"]) == ("token", "2500000", False)
    assert place.token.balance_of(other.address) == 2_500_000
    assert place.tron.trx_balance(other.address) == 3 * SUN == int(trx["base_units"])
    for arguments, code in (
        ((other.base58, "99"), 5),
        ((other.base58, "1.0000001"), 1),
        ((other.base58, "1", "--currency", "other"), 3),
        ((person.chain.base58, "1"), 2),
        ((to_base58(place.vault.address), "1"), 2),
        ((to_base58(place.vault.address), "1", "--currency", "trx"), 2),
        ((to_base58(place.token.address), "1"), 2),
        (("T" + "1" * 33, "1"), 2),
    ):
        assert person.run("wallet", "chain-send", *arguments, "--yes").exit_code == code


# --- out ------------------------------------------------------------------------------------------


def _old_enough(place: Town) -> None:
    place.node.advance(DELAY)
    place.node.mine(20)


def test_a_withdrawal_goes_through_all_its_states_and_is_paid_once(place: Town) -> None:
    person = place.person()
    place.deposit(20, person)
    ordered = person.ok("withdraw", "8", "--yes", "--json").json
    assert (ordered["amount"], ordered["to"]) == ("8000000", person.chain.base58)
    assert ordered["withdrawal"]["state"] == "queued"
    assert _balance(person) == "12000000", "it leaves the balance at once"
    said = person.ok("withdraw", "--status").out
    assert "8 tok  queued: number 1, by estimate 0 tok leave before its end" in said

    place.operator.settle()  # 6 tok an epoch are released, of all accounts
    place.operator.settle()
    one = person.ok("withdraw", "--status", "--json").json["withdrawals"][0]
    assert one["state"] == "anchored"
    early = person.run("withdraw", "--claim", "--yes", "--json")
    assert (early.exit_code, early.error["code"]) == (7, "unfinished")
    assert "is too young; the vault pays" in early.error["message"]
    person.ok("verify")
    _old_enough(place)
    with place.busy():
        done = person.ok("withdraw", "--claim", "--yes", "--json").json
    assert (done["to"], done["network"]) == (person.chain.base58, "devnet")
    assert _on_chain(place, person) == 8
    nothing = person.run("withdraw", "--claim", "--yes", "--json")
    assert (nothing.exit_code, nothing.error["code"]) == (3, "not_found")
    assert "8 tok were paid" in nothing.error["message"]
    place.operator.round()
    assert person.ok("withdraw", "--status", "--json").json["claimed"] == "8000000"
    shown = person.ok("verify", "--json").json
    assert (shown["balance"], shown["withdrawable"], shown["claimed"]) == (
        "12000000", "8000000", "8000000",
    )  # fmt: skip


def test_anybody_can_send_a_claim_and_only_the_owner_is_paid(place: Town, tmp_path: Path) -> None:
    owner, stranger = place.person(trx=0), place.person()
    place.deposit(5, owner)
    owner.ok("withdraw", "5", "--yes")
    place.operator.settle()
    owner.ok("verify")
    file = tmp_path / "proof.json"
    owner.ok("withdraw", "--save-proof", str(file))
    assert owner.run("withdraw", "--save-proof", str(file)).exit_code == 13
    _old_enough(place)
    assert owner.run("withdraw", "--claim", "--yes").exit_code == 1, "no TRX for the fee"
    with place.busy():
        stranger.ok("withdraw", "--claim", "--proof", str(file), "--yes")
    assert (_on_chain(place, owner), _on_chain(place, stranger)) == (5, 0)

    broken = tmp_path / "broken.json"
    broken.write_text(file.read_text().replace('"proof": "01', '"proof": "02'))
    assert stranger.run("withdraw", "--claim", "--proof", str(broken), "--yes").exit_code != 0


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("5", "--status"), ("--claim", "--status"), ("0",), ("5", "--proof", "x"), ("-1",),
        ("--save-proof", "x", "--claim"), ("1e3",), ("--claim", "--proof", "x", "--leaves", "y"),
        ("--status", "--leaves", "y"),
    ],
)  # fmt: skip
def test_a_withdrawal_that_makes_no_sense_is_a_usage_error(
    place: Town, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    person = Person(tmp_path, NOWHERE, NOWHERE, place.patch)
    assert person.run("withdraw", *arguments, "--yes").exit_code == 2


def test_more_than_the_balance_is_refused_and_nothing_is_left_behind(place: Town) -> None:
    person = place.person()
    place.deposit(3, person)
    done = person.run("withdraw", "3.000001", "--yes", "--json")
    assert (done.exit_code, done.error["code"]) == (5, "balance_too_small")
    assert not list((person.home / "wallet").glob("*.withdraw"))


def test_a_lost_answer_orders_one_withdrawal(place: Town) -> None:
    person = place.person()
    place.deposit(9, person)
    with place.liar() as liar:

        def lost(answer: dict[str, Any]) -> dict[str, Any]:
            raise ConnectionError

        liar.lies["/v1/withdrawals"] = lost
        done = replace(person, url=liar.url).run("withdraw", "2", "--yes", "--json")
        assert done.exit_code == 4
        assert "once, never twice" in done.error["hint"]
    assert person.ok("withdraw", "--status", "--json").json["unresolved"] == "2000000"
    assert person.ok("withdraw", "2", "--yes", "--json").json["resumed"] is True
    shown = person.ok("withdraw", "--status", "--json").json
    assert [one["amount"] for one in shown["withdrawals"]] == ["2000000"]
    assert shown["unresolved"] is None
    assert _balance(person) == "7000000"


def test_after_a_freeze_the_owner_leaves_without_the_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the kept proof, or by the published leaves; a deposit that no epoch covers comes back."""
    with town(tmp_path, monkeypatch) as place:
        person, other = place.person(), place.person()
        place.deposit(20, person, other)
        place.operator.settle()
        for one in (person, other):
            one.ok("balance")
        _old_enough(place)
        late = place.person(tok=7)
        late.ok("fund")
        gone = replace(late, url=NOWHERE)
        # The deposit reaches the vault, and no epoch will ever cover it.
        with place.busy_chain(), place.liar() as liar:
            liar.lies[f"/v1/accounts/{late.account.hex()}/deposits"] = _away
            assert replace(late, url=liar.url).run("fund", "7", "--yes").exit_code == 4
        place.do(GUARDIAN, place.vault.prepare_freeze(GUARDIAN.address))
        place.node.mine(20)

        # The wallets know no vault yet, and nobody tells them: the settings name it.
        monkeypatch.setenv("SPEEDPAY_VAULT", to_base58(place.vault.address))
        alone, second = replace(person, url=NOWHERE), replace(other, url=NOWHERE)
        frozen = place.vault.state().frozen_epoch
        published = next((tmp_path / "ledger" / "epochs").glob(f"*-epoch-{frozen}.leaves"))
        with place.busy_chain():
            done = alone.ok("withdraw", "--claim", "--yes", "--json").json
            again = alone.run("withdraw", "--claim", "--yes")
            by_leaves = second.ok("withdraw", "--claim", "--leaves", str(published), "-y", "--json")
            back = gone.ok("withdraw", "--claim", "--yes", "--json").json
        assert (done["amount"], done["after_freeze"], again.exit_code) == ("20000000", True, 3)
        assert (by_leaves.json["amount"], by_leaves.json["after_freeze"]) == ("20000000", True)
        assert [one["amount"] for one in back["given_back"]] == ["7000000"]
        assert [_on_chain(place, one) for one in (person, other, late)] == [20, 20, 7]
