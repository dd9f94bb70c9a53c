"""Heads that somebody shows: what each is beside those that are known, and that no honest one convicts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedpay.certificates import CertificateSet, Revocation
from speedpay.errors import BadSignature, Stale
from speedpay.proof.evidence import CertifiedHead
from speedpay.proof.head import EpochHead, SignedHead, contradiction
from speedpay.proof.heads import KEPT, Judgement, Standing, convicts, judge
from speedpay.signing import Certificate, Domain
from tests.vectors.generate import CERTIFICATE, DOMAIN, FOLDER, HEADS, PAYER, RESPONSE, ROOT
from tests.vectors.heads import certified

VECTORS: dict[str, Any] = json.loads((FOLDER / "heads.json").read_text(encoding="utf-8"))
UTC = 1_800_100_000
LEDGER = CertificateSet(DOMAIN)


def signed(head: EpochHead) -> CertifiedHead:
    return certified(head, RESPONSE, DOMAIN, CERTIFICATE)


def named(name: str) -> CertifiedHead:
    return signed(HEADS[name])


def chain(length: int) -> list[EpochHead]:
    """An honest ledger's heads, the first epoch first."""
    made = [HEADS["first"]]
    for number in range(2, length + 1):
        last = made[-1]
        made.append(
            replace(
                last, epoch=number, closed_at=last.closed_at + 600, prev=last.hash(DOMAIN),
                journal_size=last.journal_size + number % 3,
                journal_root=bytes([number % 250, number % 3]) * 16 if number % 3 else last.journal_root,
            )
        )  # fmt: skip
    return made


def of(*heads: CertifiedHead) -> dict[int, CertifiedHead]:
    return {one.signed.head.epoch: one for one in heads}


# ----------------------------------------------------------------------------------- the standings

#: Known heads, the one that is shown, and what it is.
CASES: dict[str, tuple[tuple[str, ...], str, Standing]] = {
    "the first of all": ((), "first", Standing.NEWER),
    "the next": (("first",), "second", Standing.NEWER),
    "much newer": (("first", "second"), "fifth", Standing.NEWER),
    "the same again": (("first", "second"), "second", Standing.SAME),
    "older, and never seen": (("first", "fifth"), "second", Standing.OLDER),
    "two heads of one epoch": (("first",), "twin", Standing.CONTRADICTION),
    "a rewritten chain": (("first",), "second of another first", Standing.CONTRADICTION),
    "a rewritten chain, from behind": (("second",), "twin", Standing.CONTRADICTION),
    "transfers rolled back": (("second",), "fifth, transfers lost", Standing.CONTRADICTION),
    "transfers rewritten": (("second",), "fifth, transfers rewritten", Standing.CONTRADICTION),
    "a deposit taken back": (("second",), "fifth, a deposit taken back", Standing.CONTRADICTION),
    "a leaf removed": (("second",), "fifth, a leaf removed", Standing.CONTRADICTION),
    "dated back": (("second",), "fifth, closed before the second", Standing.CONTRADICTION),
    "closed in one second": (("second",), "fifth, closed with the second", Standing.NEWER),
    "another vault": (("second",), "fifth of another vault", Standing.CONTRADICTION),
    "another chain": (("second",), "fifth of another chain", Standing.CONTRADICTION),
    "older, against a newer": (("fifth, transfers lost",), "second", Standing.CONTRADICTION),
}
Judge = Callable[[Mapping[int, CertifiedHead], CertifiedHead, CertificateSet, int], Judgement]


def wrong_about(how: Judge) -> list[str]:
    """The cases that a judge decides otherwise."""
    return [
        name
        for name, (known, shown, standing) in CASES.items()
        if how(of(*map(named, known)), named(shown), LEDGER, UTC).standing is not standing
    ]


def test_every_head_is_what_it_should_be_beside_those_that_are_known() -> None:
    assert wrong_about(judge) == []


def test_a_judge_that_compares_epochs_only_is_noticed() -> None:
    """Planted: it convicts for two heads of one epoch, and sees no rewritten past."""

    def planted(
        known: Mapping[int, CertifiedHead], shown: CertifiedHead, ledger: CertificateSet, utc: int
    ) -> Judgement:
        epoch = shown.signed.head.epoch
        if epoch in known:
            same = known[epoch].signed.head == shown.signed.head
            return Judgement(Standing.SAME if same else Standing.CONTRADICTION)
        newest = max(known, default=0)
        return Judgement(Standing.NEWER if epoch > newest else Standing.OLDER)

    missed = wrong_about(planted)
    assert "a rewritten chain" in missed
    assert "transfers rolled back" in missed
    assert len(missed) == 10


def test_a_contradiction_names_the_known_head_and_says_why() -> None:
    found = judge(of(named("first"), named("second")), named("fifth, transfers lost"), LEDGER, UTC)
    assert found.against == named("second")
    assert found.says == "the journal lost transfers between epochs 2 and 5"


@pytest.mark.parametrize(
    "pair", VECTORS["pairs"], ids=lambda pair: f"{pair['one']}, {pair['other']}"
)
def test_the_vectors_say_what_two_heads_are_to_each_other(pair: dict[str, str]) -> None:
    one, other = (
        CertifiedHead(
            SignedHead(
                EpochHead.from_bytes(bytes.fromhex(VECTORS["heads"][pair[n]]["body"])),
                bytes.fromhex(VECTORS["heads"][pair[n]]["signature"]),
            ),
            Certificate(
                bytes.fromhex(VECTORS["root_key"]), bytes.fromhex(VECTORS["response_key"]),
                VECTORS["not_before"], VECTORS["not_after"], bytes.fromhex(VECTORS["certificate"]),
            ),
        )
        for n in ("one", "other")
    )  # fmt: skip
    assert one.signed.head.hash(DOMAIN).hex() == VECTORS["heads"][pair["one"]]["hash"]
    assert convicts(one, other, LEDGER, UTC) == pair["contradiction"]


HONEST = [signed(head) for head in chain(90)]


@given(st.permutations(range(90)))
def test_no_honest_ledger_is_convicted_in_whatever_order_its_heads_come(order: list[int]) -> None:
    """Signatures apart, which are checked once for each head elsewhere: it is about the pairs."""
    for at, number in enumerate(order[:12]):
        for other in order[:at]:
            one, two = HONEST[number].signed.head, HONEST[other].signed.head
            assert contradiction(one, two, DOMAIN) is None


def test_what_is_older_than_all_that_are_kept_is_let_go_unless_it_convicts() -> None:
    known = of(*HONEST[-KEPT:])
    assert judge(known, HONEST[3], LEDGER, UTC).standing is Standing.TOO_OLD
    longer = replace(HONEST[3].signed.head, journal_size=10**9)
    found = judge(known, signed(longer), LEDGER, UTC)
    assert found.standing is Standing.CONTRADICTION
    assert judge(of(*HONEST[10:20]), HONEST[3], LEDGER, UTC).standing is Standing.OLDER


def test_what_closed_before_its_reader_went_on_is_judged_no_more() -> None:
    at = HEADS["second"].closed_at
    assert judge({}, named("twin"), LEDGER, UTC, settled=at).standing is Standing.TOO_OLD
    known = of(named("fifth"))
    assert judge(known, named("second"), LEDGER, UTC, settled=at).standing is Standing.TOO_OLD
    assert judge(known, named("second"), LEDGER, UTC, settled=at - 1).standing is Standing.OLDER


# ------------------------------------------------------------------------------------- the forged


def certificate(not_before: int, not_after: int) -> Certificate:
    return Certificate.issue(ROOT, DOMAIN.network, RESPONSE.public, not_before, not_after)


CLOSED = HEADS["second"].closed_at
FORGED: dict[str, tuple[CertifiedHead, str]] = {
    "by another key": (certified(HEADS["second"], PAYER, DOMAIN, CERTIFICATE), "head.signature"),
    "by nobody": (replace(named("second"), signed=SignedHead(HEADS["second"], bytes(64))), "head.signature"),
    "of another network": (
        certified(HEADS["second"], RESPONSE, Domain("other", DOMAIN.ledger_id), CERTIFICATE),
        "head.signature",
    ),
    "of another head": (
        replace(named("second"), signed=SignedHead(HEADS["second"], named("fifth").signed.signature)),
        "head.signature",
    ),
    "of another ledger": (
        certified(HEADS["second"], PAYER, DOMAIN, Certificate.issue(
            PAYER, DOMAIN.network, PAYER.public, 1_790_000_000, 1_900_000_000)),
        "certificate.root_key",
    ),
    "a key that certified itself": (
        certified(HEADS["second"], PAYER, DOMAIN, replace(CERTIFICATE, response_key=PAYER.public)),
        "certificate.signature",
    ),
    "a longer certificate than was given": (
        replace(named("second"), certificate=replace(CERTIFICATE, not_after=CERTIFICATE.not_after + 1)),
        "certificate.signature",
    ),
    "by a key that was not in force yet": (
        certified(HEADS["second"], RESPONSE, DOMAIN, certificate(CLOSED + 121, CLOSED + 999)),
        "certificate",
    ),
    "by a key that was in force no more": (
        certified(HEADS["second"], RESPONSE, DOMAIN, certificate(CLOSED - 999, CLOSED - 121)),
        "certificate",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("shown", "field"), FORGED.values(), ids=FORGED.keys())
def test_a_forged_head_convicts_nobody(shown: CertifiedHead, field: str) -> None:
    for known in ({}, of(named("first")), of(named("second of another first"))):
        with pytest.raises(BadSignature) as refused:
            judge(known, shown, LEDGER, UTC)
        assert refused.value.field == field
    with pytest.raises(BadSignature):
        convicts(named("second of another first"), shown, LEDGER, UTC)
    with pytest.raises(BadSignature):
        convicts(shown, named("second of another first"), LEDGER, UTC)


def test_a_certificate_counts_when_the_epoch_closed_however_long_ago() -> None:
    shown = certified(HEADS["second"], RESPONSE, DOMAIN, certificate(CLOSED - 5, CLOSED + 5))
    assert judge({}, shown, LEDGER, UTC + 10**9).standing is Standing.NEWER


def test_an_epoch_that_is_yet_to_close_is_stale() -> None:
    with pytest.raises(Stale, match=r"head\.closed_at"):
        judge({}, named("second"), LEDGER, CLOSED - 121)
    assert judge({}, named("second"), LEDGER, CLOSED - 120).standing is Standing.NEWER


def test_a_key_that_was_revoked_by_then_says_nothing_and_harms_nobody() -> None:
    """Whoever stole it is no ledger; what the ledger signed before stays signed."""
    for at, standing in ((CLOSED + 1, Standing.NEWER), (CLOSED, None)):
        revocation = Revocation.issue(ROOT, DOMAIN.network, RESPONSE.public, at)
        ledger = LEDGER.merged((), (revocation,), UTC)
        if standing is not None:
            assert judge({}, named("second"), ledger, UTC).standing is standing
            continue
        with pytest.raises(Stale, match="revoked"):
            judge({}, named("second"), ledger, UTC)
    assert not Stale.is_misbehaviour
