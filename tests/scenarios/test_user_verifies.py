"""A user checks his balance against the chain: with an honest ledger, with none, and with one that lies.

The operator has all his keys and signs whatever he likes; what he cannot do is undo what is on the chain
or make the wallet forget what it knows.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from speedpay.chain.address import to_base58
from speedpay.client.heads import Heads
from speedpay.client.publisher import Publisher
from speedpay.client.store import Store
from speedpay.config import Endpoint
from speedpay.devnet.node import devnet
from speedpay.ledger_api.client import LedgerClient
from speedpay.proof.balance import BalanceProof
from speedpay.proof.evidence import CertifiedHead, Evidence
from speedpay.proof.head import EpochHead, SignedHead
from speedpay.units import Amount
from tests.scenarios.anchored import SILENCE, Person, Town, town
from tests.scenarios.clients import address
from tests.unit.wallet.onchain import GUARDIAN, SUN

ROOT = Path(__file__).resolve().parent.parent.parent
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with (
        pytest.MonkeyPatch.context() as patch,
        town(tmp_path_factory.mktemp("town"), patch) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def people(place: Town) -> list[Person]:
    """Each has 5 tok in the epoch that was anchored last, and asked for the balance before it closed."""
    made = [place.person() for _ in range(18)]
    place.deposit(5, *made)
    for person in made:
        person.ok("balance")
    place.operator.settle()
    return made


@pytest.fixture
def alice(people: list[Person]) -> Person:
    """Somebody new for each test."""
    return people.pop()


def _mismatch(done: Any, field: str, sentence: str) -> Evidence:
    assert done.exit_code == 10, done.out + done.err
    assert done.json["verified"] is False
    assert done.json["field"] == field
    assert done.error["code"] == "proof_broken"
    assert done.error["message"] == sentence
    path = Path(done.json["evidence"])
    assert str(path) in done.error["hint"]
    return Evidence.from_json(path.read_bytes())


def test_a_balance_is_verified_against_the_chain(
    alice: Person, place: Town, tmp_path: Path
) -> None:
    saved = tmp_path / "evidence.json"
    done = alice.ok("verify", "--json", "--save", str(saved))
    shown = done.json
    anchor = place.vault.last_anchor()
    assert anchor is not None
    assert (shown["verified"], shown["balance"], shown["withdrawable"]) == (True, "5000000", "0")
    assert (shown["network"], shown["epoch"], shown["root"]) == (
        "devnet", anchor.epoch, anchor.root.hex(),
    )  # fmt: skip
    receipt = place.tron.receipt(bytes.fromhex(shown["txid"]), solid=True)
    assert receipt is not None
    assert receipt.block == shown["block"]
    assert place.vault.anchors_in(receipt)[0].root == anchor.root
    assert Evidence.from_json(saved.read_bytes()).check() == Amount(5 * SUN)
    assert alice.run("verify", "--save", str(saved)).exit_code == 13

    said = alice.ok("verify").out
    assert said.startswith(f"verified   5 tok at the close of epoch {anchor.epoch}\n")
    assert f"\nanchored   transaction {shown['txid']}, block {shown['block']} of devnet, " in said
    assert "\nchecked    the ledger signed the head of epoch" in said
    assert "\n           your 2 transfers up to then are in the journal\n" in said
    assert "unchecked" not in said


def test_the_next_epoch_goes_on_from_the_one_before(place: Town, alice: Person) -> None:
    first = alice.ok("verify", "--json").json
    place.deposit(2, alice)
    place.operator.settle()
    second = alice.ok("verify", "--json").json
    assert (first["balance"], second["balance"]) == ("5000000", "7000000")
    assert any("is the beginning of that of epoch" in one for one in second["checked"])
    older = alice.ok("verify", "--json", "--epoch", str(first["epoch"])).json
    assert older["balance"] == "5000000"
    assert alice.run("verify", "--epoch", "9999").exit_code == 3


def test_with_the_ledger_gone_the_kept_proof_is_verified(place: Town, alice: Person) -> None:
    alice.ok("verify")
    gone = replace(alice, url=NOWHERE)
    done = gone.ok("verify", "--json").json
    assert (done["proof_from"], done["balance"]) == ("wallet", "5000000")
    assert done["not_checked"] == ["the journal: the ledger does not answer"]
    newest = place.operator.settle()
    hidden = gone.run("verify", "--json")
    assert (hidden.exit_code, hidden.out) == (4, ""), (
        "an old copy never stands for the newest epoch"
    )
    assert f"no proof of epoch {newest} is kept here" in hidden.error["hint"]
    assert f"speedpay verify --epoch {done['epoch']}" in hidden.error["hint"]
    older = gone.ok("verify", "--epoch", str(done["epoch"]))
    assert f"\nnewest     the chain holds epoch {newest} by now" in older.out


def test_a_ledger_that_hides_the_newest_epochs_is_never_called_in_order(
    place: Town, alice: Person
) -> None:
    alice.ok("verify")
    newest = place.operator.settle()
    with place.liar() as liar:

        def hidden(_answer: dict[str, Any]) -> dict[str, Any]:
            raise ConnectionAbortedError

        liar.lies[f"/v1/accounts/{alice.account.hex()}/proof"] = hidden
        done = replace(alice, url=liar.url).run("verify", "--json")
    assert (done.exit_code, done.out) == (4, "")
    assert f"no proof of epoch {newest}" in done.error["hint"]


def test_what_a_fresh_wallet_cannot_know_is_said(place: Town, alice: Person) -> None:
    """Without receipts a smaller leaf looks like any other; without an address nobody is paid."""
    for kept in (alice.home / "wallet").glob("*.receipts"):
        kept.unlink()
    place.deposit(1, alice)  # so that the balance of now says nothing of the epoch
    shown = alice.ok("verify", "--json").json
    assert shown["not_checked"] == [
        "whether it is all that is yours: this wallet holds no receipt from before the epoch"
    ]
    assert (shown["vault"], shown["nodes_agreed"]) == (to_base58(place.vault.address), 1)
    nobody = place.person(payout=False)
    place.deposit(1, nobody)
    nobody.ok("balance")
    place.operator.settle()
    (said,) = nobody.ok("verify", "--json").json["not_checked"]
    assert "the leaf names no address" in said


def test_a_head_that_a_peer_showed_a_client_is_held_against_the_ledgers(
    place: Town, alice: Person
) -> None:
    epoch = alice.ok("verify", "--json").json["epoch"]
    service = place.operator.service
    with LedgerClient(place.url) as ledger:
        shown = ledger.epoch(epoch).head
    told_others = replace(shown.signed.head, liabilities=Amount(1))
    signed = SignedHead.sign(service.keys.response, service.domain, told_others)
    store = Store(alice.home / "client.db")
    Heads(store, service.domain, alice.home).keep(CertifiedHead(signed, shown.certificate))
    store.close()
    evidence = _mismatch(
        alice.run("verify", "--json"),
        "head.prev",
        f"the ledger signed two different heads for epoch {epoch}",
    )
    assert evidence.other_head == CertifiedHead(signed, shown.certificate)


def test_a_vault_that_is_frozen_or_silent_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with town(tmp_path, monkeypatch) as place:
        person = place.person()
        place.deposit(5, person)
        epoch = place.operator.settle()
        assert "warning" not in person.ok("verify").err
        place.node.advance(SILENCE + 1)
        place.node.mine(20)
        assert "anybody may freeze the vault" in replace(person, url=NOWHERE).ok("verify").err
        place.do(GUARDIAN, place.vault.prepare_freeze(GUARDIAN.address))
        place.node.mine(20)
        said = replace(person, url=NOWHERE).ok("verify").err
        assert f"frozen and pays on epoch {epoch} alone" in said


def test_with_the_ledger_gone_and_nothing_kept_nothing_is_verified(
    place: Town, alice: Person
) -> None:
    alice.ok("fund")  # knows the vault, and has kept nothing
    for kept in (alice.home / "wallet").glob("*.proofs/*"):
        kept.unlink()
    done = replace(alice, url=NOWHERE).run("verify", "--json")
    assert (done.exit_code, done.out) == (4, "")
    assert "nothing is verified" in done.error["hint"]


def test_without_the_chain_nothing_is_verified(place: Town, alice: Person) -> None:
    alice.ok("verify")
    done = replace(alice, node_url=NOWHERE).run("verify", "--json")
    assert (done.exit_code, done.out) == (6, "")
    assert len(done.err.splitlines()) == 1, "one error, and no log beside it"


@pytest.mark.parametrize(
    ("vault", "code"),
    [
        ("TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH", "wrong_ledger"),
        ("TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdX", "malformed"),
    ],
)  # fmt: skip
def test_the_vault_that_the_wallet_knows_is_never_changed_by_anybody(
    people: list[Person], monkeypatch: pytest.MonkeyPatch, vault: str, code: str
) -> None:
    person = people[0]
    assert person.ok("verify", "--json").json["verified"] is True
    monkeypatch.setenv("SPEEDPAY_VAULT", vault)
    assert person.run("verify", "--json").error["code"] == code


def test_a_ledger_that_names_another_token_than_the_vault_is_not_believed(place: Town) -> None:
    person = place.person()
    with place.liar() as liar:
        liar.lies["/v1/ledger"] = lambda answer: (
            answer | {"chain": answer["chain"] | {"token": "11" * 20}}
        )
        done = replace(person, url=liar.url).run("verify", "--json")
    assert (done.exit_code, done.out) == (10, "")
    assert "names another chain, vault or token than the chain itself" in done.error["message"]
    assert person.wallet.place.chain is None


def test_two_nodes_must_agree_or_nothing_is_verified(place: Town, people: list[Person]) -> None:
    first, second = place.node.nodes
    person = replace(people[0], node_url=f"{first.url},{second.url}")
    assert person.ok("verify", "--json").json["verified"] is True
    for fault, code in (("http500", "chain_unreachable"), ("wrong_genesis", "wrong_network")):
        second.fault(fault, count=10_000)
        done = person.run("verify", "--json")
        assert (done.error["code"], done.out) == (code, "")
        assert done.exit_code == (6 if code == "chain_unreachable" else 1)
        second.heal()


def test_a_node_of_another_development_chain_is_not_the_wallets(
    place: Town, people: list[Person]
) -> None:
    person = people[0]
    person.ok("verify")
    with devnet(block_time=None) as other:
        done = replace(person, node_url=other.url).run("verify", "--json")
    assert (done.exit_code, done.error["code"]) == (1, "wrong_network")
    assert "a wallet in another folder" in done.error["hint"], "and says the way out"


def test_a_vault_on_the_ledgers_word_alone_is_said_once(
    place: Town, people: list[Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = to_base58(place.vault.address)
    first, again = place.person().ok("fund"), people[0].ok("verify")
    assert f"The ledger's vault is {vault}, says the ledger" in first.err
    assert "says the ledger" not in people[0].ok("verify").err
    assert f"\nvault      {vault}\n" in again.out
    monkeypatch.setenv("SPEEDPAY_VAULT", vault)
    assert "says the ledger" not in place.person().ok("fund").err


def test_whoever_never_had_tokens_is_told_so(place: Town, people: list[Person]) -> None:
    done = place.person().run("verify", "--json")
    assert (done.exit_code, done.out) == (3, "")
    assert "this account had no tokens then" in done.error["message"]
    assert "speedpay fund" in done.error["hint"]


def test_the_whole_tree_is_fetched_from_the_swarm_and_added_up(
    place: Town, alice: Person, people: list[Person]
) -> None:
    publisher = Publisher(place.operator.folder / "epochs", Endpoint(address(), 0))
    with publisher.running():
        peer = f"{publisher._settings.listen.rpartition(':')[0]}:{publisher.port}"
        listen = f"{address()}:0"
        arguments = ("verify", "--whole", "--listen", listen, "--json")
        for named in (("--peer", peer), ()):
            # By the flag, and as the ledger tells whoever asks for an epoch.
            place.operator.service.publisher = None if named else peer
            done = alice.ok(*arguments, *named).json
            assert any("published leaves together are" in one for one in done["checked"])
    assert not list(alice.home.glob("leaves-*")), "nothing is left behind"


def test_the_independent_verifier_says_the_same_of_every_evidence(
    place: Town, alice: Person, tmp_path: Path
) -> None:
    good = tmp_path / "good.json"
    alice.ok("verify", "--save", str(good))
    with place.liar() as liar:
        liar.lies["/v1/epochs/"] = lambda view: _edited_head(place, view, credit=Amount(1))
        done = replace(alice, url=liar.url).run("verify", "--json")
    for file, code in ((good, 0), (Path(done.json["evidence"]), 10)):
        ran = subprocess.run(
            [sys.executable, ROOT / "scripts/verify_independent", file, "--chain-node", place.node.url],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == code, ran.stdout + ran.stderr


# --- the lying operator ---------------------------------------------------------------------------


def _edited_head(place: Town, view: dict[str, Any], **changes: object) -> dict[str, Any]:
    service = place.operator.service
    head = replace(EpochHead.from_bytes(bytes.fromhex(view["body"])), **changes)
    made = SignedHead.sign(service.keys.response, service.domain, head)
    return view | {"body": head.to_bytes().hex(), "signature": made.signature.hex()}


def test_a_balance_row_edited_after_the_anchor_is_caught_however_well_its_proof_fits(
    place: Town, alice: Person
) -> None:
    with place.liar() as liar:
        victim = replace(alice, url=liar.url)

        def richer(answer: dict[str, Any]) -> dict[str, Any]:
            proof = BalanceProof.from_bytes(bytes.fromhex(answer["proof"]))
            edited = replace(proof, balance=Amount(999 * SUN))
            return {"proof": edited.to_bytes().hex()}

        def head(view: dict[str, Any]) -> dict[str, Any]:
            # What his tree would be with that leaf: root and sum that the edited proof leads to.
            epoch = EpochHead.from_bytes(bytes.fromhex(view["body"])).epoch
            honest = alice.ok("verify", "--json", "--epoch", str(epoch))
            assert honest.json["balance"] == "5000000"
            proofs = (alice.home / "wallet").glob(f"*.proofs/epoch-{epoch}.json")
            kept = Evidence.from_json(next(proofs).read_bytes()).proof
            assert kept is not None
            root = replace(kept, balance=Amount(999 * SUN)).root(
                place.tron.chain_id, place.vault.address
            )
            return _edited_head(place, view, root=root.hash, liabilities=Amount(root.sum))

        liar.lies[f"/v1/accounts/{alice.account.hex()}/proof"] = richer
        liar.lies["/v1/epochs/"] = head
        found = _mismatch(
            victim.run("verify", "--json"),
            "anchor.root", "the tree on chain is not the one that the ledger shows",
        )  # fmt: skip
        assert found.proof is not None
        assert found.proof.balance == Amount(999 * SUN)

        del liar.lies["/v1/epochs/"]
        _mismatch(
            victim.run("verify", "--json"),
            "proof.root", "this leaf is not in the tree whose root is on chain",
        )  # fmt: skip
        in_words = victim.run("verify")
        assert in_words.exit_code == 10
        first, second, third = in_words.out.splitlines()
        assert first == "NOT VERIFIED: this leaf is not in the tree whose root is on chain"
        assert second.startswith("epoch ")
        assert "was anchored in transaction " in second
        assert third.startswith("the evidence is in ")
    assert alice.ok("verify", "--json").json["verified"] is True


def test_another_head_than_the_anchored_one_is_caught(place: Town, alice: Person) -> None:
    with place.liar() as liar:
        liar.lies["/v1/epochs/"] = lambda view: _edited_head(place, view, credit=Amount(1))
        found = _mismatch(
            replace(alice, url=liar.url).run("verify", "--json"),
            "anchor.head", "the head on chain is another one",
        )  # fmt: skip
    assert found.head is not None
    assert found.anchor is not None
    assert found.anchor.head != found.head.signed.head.hash(found.domain)


def test_a_leaf_that_is_dropped_is_caught_by_receipts_and_by_what_was_seen(
    place: Town, alice: Person
) -> None:
    with place.liar() as liar:
        victim = replace(alice, url=liar.url)
        liar.lies[f"/v1/accounts/{alice.account.hex()}/proof"] = lambda _: {}
        done = victim.run("verify", "--json")
        epoch = done.json["epoch"]
        _mismatch(
            done, "leaf",
            f"the ledger shows no leaf of yours in epoch {epoch}; your receipts say that it must hold"
            " at least 5 tok",
        )  # fmt: skip
        alice.ok("verify")
        _mismatch(
            victim.run("verify", "--json"), "leaf",
            f"the ledger shows no leaf of yours in epoch {epoch}; before, it had given you one with"
            " 5 tok",
        )  # fmt: skip


def test_a_leaf_that_shrank_without_its_owners_doing_is_caught_until_he_accepts_it(
    place: Town, alice: Person, people: list[Person]
) -> None:
    alice.ok("verify")
    place.operator.take(alice.account, people[0].account, 2 * SUN)
    place.operator.settle()
    found = _mismatch(
        alice.run("verify", "--json"), "proof.total",
        "the ledger has put 3 tok of yours on chain; your receipts say 5",
    )  # fmt: skip
    assert found.at_least == Amount(5 * SUN)
    assert alice.run("verify").exit_code == 10, "asking again is no consent"
    asked = alice.run("verify", "--accept-spent")
    assert (asked.exit_code, asked.out) == (2, ""), "nobody is there to say yes"
    accepted = alice.ok("verify", "--accept-spent", "--yes", "--json").json
    assert (accepted["balance"], accepted["at_least"]) == ("3000000", "3000000")


def test_what_the_owner_sent_himself_is_no_mismatch(
    place: Town, alice: Person, people: list[Person]
) -> None:
    alice.ok("send", people[0].account.hex(), "2", "--class", "token", "--yes")
    place.operator.settle()
    shown = alice.ok("verify", "--json").json
    assert (shown["balance"], shown["at_least"]) == ("3000000", "3000000")


def test_a_transfer_that_is_listed_and_not_in_the_journal_is_caught(
    place: Town, alice: Person
) -> None:
    with place.liar() as liar:

        def invented(answer: dict[str, Any]) -> dict[str, Any]:
            entries = answer["entries"]
            return answer | {"entries": [entries[0] | {"amount": "1"}, *entries[1:]]}

        liar.lies[f"/v1/accounts/{alice.account.hex()}/history"] = invented
        done = replace(alice, url=liar.url).run("verify", "--json")
    assert (done.exit_code, done.json["field"]) == (10, "journal")
    assert "and it is not in the anchored journal" in done.error["message"]


def test_a_confirmed_balance_is_not_taken_for_a_verified_one(place: Town, alice: Person) -> None:
    """The ledger's word alone: a huge balance it signs only makes the wallet demand it on chain."""
    with place.liar() as liar:

        def huge(answer: dict[str, Any]) -> dict[str, Any]:
            return answer | {"token": str(500 * SUN)}

        liar.lies[f"/v1/accounts/{alice.account.hex()}/balance"] = huge
        shown = replace(alice, url=liar.url).ok("balance", "--json").json
        assert shown["token"] == str(500 * SUN)
    place.operator.settle()
    done = alice.run("verify", "--json")
    assert done.exit_code == 10
    assert json.loads(done.out)["shown_balance"] == "5000000"
