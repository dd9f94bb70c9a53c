"""The newest proof is kept without being asked, and only what is signed and fits together."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from speedpay.errors import NotFound, ProofBroken
from speedpay.ledger_api.client import LedgerClient
from speedpay.proof.evidence import (
    CertifiedHead,
    Evidence,
)
from speedpay.wallet.funds import name_of
from speedpay.wallet.keeping import keep_newest, keep_while_running
from speedpay.wallet.proofs import KEPT, Proofs
from speedpay.wallet.receipts import Given
from tests.scenarios.anchored import Person, Town, town
from tests.unit.proof.anchored import CHAIN_ID, VAULT, Epoch
from tests.vectors.generate import CERTIFICATE, DOMAIN


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with (
        pytest.MonkeyPatch.context() as patch,
        town(tmp_path_factory.mktemp("town"), patch) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def alice(place: Town) -> Person:
    person = place.person()
    place.deposit(5, person)
    place.operator.settle()
    return person


def _proofs(who: Person) -> Proofs:
    return Proofs(who.home / "wallet", name_of(who.wallet.place))


def test_asking_for_the_balance_keeps_the_newest_proof(place: Town, alice: Person) -> None:
    assert _proofs(alice).epochs() == []
    alice.ok("balance")
    (epoch,) = _proofs(alice).epochs()
    kept = _proofs(alice).of(epoch)
    assert kept is not None
    assert kept.proof is not None
    assert kept.proof.total.utok == 5_000_000
    assert alice.ok("balance").err == ""


def test_a_leaf_that_is_missing_or_too_small_is_warned_of_at_once(place: Town) -> None:
    person, thief = place.person(), place.person()
    place.deposit(4, person)
    person.ok("balance")
    epoch = place.operator.settle()
    with place.liar() as liar:
        liar.lies[f"/v1/accounts/{person.account.hex()}/proof"] = lambda _: {}
        said = replace(person, url=liar.url).ok("balance").err
    assert said == (
        f"warning: the ledger shows no leaf of yours in epoch {epoch}, and confirmed 4 tok:"
        " speedpay verify\n"
    )
    place.operator.take(person.account, thief.account, 1_000_000)
    epoch = place.operator.settle()
    assert person.ok("balance").err == (
        f"warning: your leaf of epoch {epoch} holds 3 tok, less than the 4 tok that your receipts"
        " demand: speedpay verify\n"
    )


def test_a_running_client_keeps_it_too(place: Town) -> None:
    person = place.person()
    place.deposit(3, person)
    epoch = place.operator.settle()
    wallet = person.wallet
    warnings: list[str] = []
    stop = keep_while_running(
        wallet.place, wallet.keys.identity, person.home / "wallet", Given, warnings.append
    )
    until = time.monotonic() + 30
    while not _proofs(person).epochs() and time.monotonic() < until:
        time.sleep(0.02)
    stop()
    assert _proofs(person).epochs() == [epoch]
    assert warnings == []


def test_what_does_not_fit_together_is_not_kept(place: Town, alice: Person, tmp_path: Path) -> None:
    other = place.person()
    place.deposit(1, other)
    place.operator.settle()
    wallet = alice.wallet
    with place.liar() as liar, LedgerClient(liar.url) as ledger:
        target = f"/v1/accounts/{alice.account.hex()}/proof"
        liar.lies[target] = lambda answer: {
            "proof": answer["proof"][:-8] + "00000001"  # the last sibling's sum
        }
        proofs = Proofs(tmp_path, name_of(wallet.place))
        asked = (wallet.place, wallet.keys.identity, ledger, tmp_path, Given())
        with pytest.raises(ProofBroken):
            keep_newest(*asked)
        assert proofs.epochs() == []
        liar.lies[target] = lambda answer: {}
        assert keep_newest(*asked) is None, "without receipts no leaf is owed"


def _evidence(epoch: int) -> Evidence:
    made = Epoch()
    made.head = replace(made.head, epoch=epoch, prev=made.head.root if epoch > 1 else bytes(32))
    head = CertifiedHead(made.signed, CERTIFICATE)
    account = made.leaves[2].account
    return Evidence(DOMAIN, CHAIN_ID, VAULT, account, "kept", made.proof(2), head)


def test_only_the_newest_proofs_stay_and_mismatches_always(tmp_path: Path) -> None:
    proofs = Proofs(tmp_path, "a")
    first = proofs.keep_mismatch(_evidence(1), 1_000)
    second = proofs.keep_mismatch(_evidence(1), 1_000)
    assert first != second
    for epoch in range(1, KEPT + 4):
        proofs.keep(_evidence(epoch))
    assert proofs.epochs() == list(range(KEPT + 3, 3, -1))
    assert proofs.of(3) is None
    assert proofs.of(4) == _evidence(4)
    assert first.exists()
    assert second.exists()


def test_epochs_that_were_only_shown_push_out_none_that_is_on_the_chain(tmp_path: Path) -> None:
    """Signing heads of far epochs costs a hostile ledger nothing; the proofs are the owner's way out."""
    proofs, made = Proofs(tmp_path, "a"), Epoch()
    good = replace(_evidence(1), anchor=made.anchor)
    proofs.keep(good)
    for epoch in range(1_000, 1_000 + 2 * KEPT):
        proofs.keep(_evidence(epoch))
    assert proofs.of(1) == good
    assert len(proofs.epochs()) == KEPT + 1
    later = replace(_evidence(2), anchor=replace(made.anchor, epoch=2))
    proofs.keep(later)
    assert proofs.of(2) == later


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00" * 40])
def test_a_proof_that_rotted_is_none_and_a_rotten_memory_is_said(
    tmp_path: Path, content: bytes
) -> None:
    proofs = Proofs(tmp_path, "a")
    proofs.keep(_evidence(1))
    proofs.keep_seen(_evidence(1))
    assert proofs.seen() == _evidence(1)
    proofs.keep_seen(_evidence(2))
    proofs.keep_seen(_evidence(1))
    assert proofs.seen() == _evidence(2), "an older epoch takes nothing back"
    (proofs.folder / "epoch-1.json").write_bytes(content)
    (proofs.folder / "seen.json").write_bytes(content)
    assert proofs.of(1) is None
    with pytest.raises(Exception, match="is damaged: it held what was verified last"):
        proofs.seen()


def test_without_an_epoch_there_is_nothing_to_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with town(tmp_path, monkeypatch) as place:
        person = place.person()
        person.ok("balance")
        assert _proofs(person).epochs() == []
        done = person.run("verify", "--json")
        assert (done.exit_code, done.error["code"]) == (NotFound.exit_code, "not_found")
        assert "has anchored no epoch yet" in done.error["message"]
