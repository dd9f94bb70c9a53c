"""Evidence files: written and read back, checked again, and strict towards strangers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedpay.errors import Malformed, ProofBroken
from speedpay.proof.evidence import MAX_EVIDENCE_BYTES, OK, CertifiedHead, Evidence
from speedpay.proof.head import SignedHead
from speedpay.signing import Certificate
from speedpay.units import Amount
from tests.unit.proof.anchored import CHAIN_ID, VAULT, Epoch
from tests.vectors.generate import CERTIFICATE, DOMAIN, PAYER, RESPONSE, ROOT

EPOCH = Epoch()
PROOF = EPOCH.proof()
HEAD = CertifiedHead(EPOCH.signed, CERTIFICATE)
TWIN = CertifiedHead(EPOCH.with_head(credit=Amount(0)).signed, CERTIFICATE)
GOOD = Evidence(
    DOMAIN, CHAIN_ID, VAULT, PROOF.account, OK, PROOF, HEAD,
    replace(EPOCH.anchor, txid=bytes(32), block=77, time=1_800_000_003), None, PROOF.payout,
    PROOF.total,
)  # fmt: skip
POOR = Evidence(DOMAIN, CHAIN_ID, VAULT, PROOF.account, "the ledger does not answer")


@pytest.mark.parametrize("made", [GOOD, POOR, replace(GOOD, other_head=TWIN, payout=None)])
def test_what_is_written_is_read_back(made: Evidence) -> None:
    text = made.to_json()
    assert Evidence.from_json(text) == made
    assert Evidence.from_json(text).to_json() == text
    assert len(text) < MAX_EVIDENCE_BYTES // 2


def test_the_longest_proof_fits() -> None:
    deep = replace(PROOF, path=tuple(PROOF.path[0] for _ in range(40)))
    made = replace(GOOD, proof=deep, other_head=TWIN, verdict="a" * 500)
    assert Evidence.from_json(made.to_json()) == made


def test_the_check_is_repeated_from_the_file() -> None:
    assert Evidence.from_json(GOOD.to_json()).check() == PROOF.total


def test_a_certificate_that_has_run_out_still_says_who_signed() -> None:
    assert CERTIFICATE.not_after < 2**33
    old = Certificate.issue(ROOT, DOMAIN.network, RESPONSE.public, 1, 2)
    assert replace(GOOD, head=CertifiedHead(EPOCH.signed, old)).check() == PROOF.total


BROKEN: dict[str, tuple[Evidence, str]] = {
    "no head": (POOR, "head"),
    "no anchor": (replace(GOOD, anchor=None), "anchor"),
    "no proof": (replace(GOOD, proof=None), "proof"),
    "two heads": (replace(GOOD, other_head=TWIN), "other_head"),
    "a lie, whatever the verdict": (
        replace(GOOD, proof=replace(PROOF, balance=Amount(1))), "proof.root",
    ),
    "below the receipts": (replace(GOOD, at_least=PROOF.total + Amount(1)), "proof.total"),
    "signed by nobody's key": (
        replace(GOOD, head=CertifiedHead(SignedHead.sign(PAYER, DOMAIN, EPOCH.head), CERTIFICATE)),
        "head.signature",
    ),
    "certified by another root": (
        replace(GOOD, head=CertifiedHead(EPOCH.signed, Certificate.issue(
            PAYER, DOMAIN.network, RESPONSE.public, 1, 2))),
        "certificate.root_key",
    ),
    "a forged certificate": (
        replace(GOOD, head=CertifiedHead(EPOCH.signed, replace(CERTIFICATE, not_before=7))),
        "certificate.signature",
    ),
    "a second head that nobody signed": (
        replace(GOOD, other_head=replace(TWIN, signed=SignedHead(TWIN.signed.head, bytes(64)))),
        "head.signature",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("made", "field"), BROKEN.values(), ids=BROKEN.keys())
def test_evidence_of_a_lie_names_it(made: Evidence, field: str) -> None:
    with pytest.raises(ProofBroken) as caught:
        Evidence.from_json(made.to_json()).check()
    assert caught.value.field == field


def test_the_same_head_twice_is_no_contradiction() -> None:
    assert replace(GOOD, other_head=HEAD).check() == PROOF.total


Change = Callable[[dict[str, Any]], object]
STRANGE: dict[str, tuple[Change, str]] = {
    "version 2": (lambda j: j.update(version=2), "evidence.version"),
    "version as text": (lambda j: j.update(version="1"), "evidence.version"),
    "version true": (lambda j: j.update(version=True), "evidence.version"),
    "a field too many": (lambda j: j.update(extra=1), "evidence.extra"),
    "a strange name": (lambda j: j.update({"\x1b[31m": 1}), "evidence.??31m"),
    "a field too few": (lambda j: j.pop("vault"), "evidence.vault"),
    "no proof field": (lambda j: j.pop("proof"), "evidence.proof"),
    "upper-case hex": (lambda j: j.update(vault=j["vault"].upper()), "evidence.vault"),
    "hex with a space": (lambda j: j.update(proof=j["proof"] + " "), "evidence.proof"),
    "a short account": (lambda j: j.update(account="00"), "evidence.account"),
    "a proof with a trailing byte": (lambda j: j.update(proof=j["proof"] + "00"), "proof.depth"),
    "a number as amount": (lambda j: j.update(at_least=1), "evidence.at_least"),
    "a negative amount": (lambda j: j.update(at_least="-1"), "evidence.at_least"),
    "liabilities of 2^63": (
        lambda j: j["anchor"].update(liabilities=str(2**63)), "evidence.anchor.liabilities",
    ),
    "a negative epoch": (lambda j: j["anchor"].update(epoch=-1), "evidence.anchor.epoch"),
    "a fraction": (lambda j: j["anchor"].update(epoch=1.5), "json"),
    "a huge number": (lambda j: j["anchor"].update(block=10**40), "json"),
    "an anchor that is a list": (lambda j: j.update(anchor=[]), "evidence.anchor"),
    "something in the anchor": (lambda j: j["anchor"].update(x=1), "evidence.anchor.x"),
    "something in the head": (lambda j: j["head"].update(x=1), "evidence.head.x"),
    "no certificate": (lambda j: j["head"].update(certificate=None), "evidence.head.certificate"),
    "a head cut short": (lambda j: j["head"].update(body=j["head"]["body"][2:]), "head"),
    "a signature of 65 bytes": (
        lambda j: j["head"].update(signature="00" * 65), "evidence.head.signature",
    ),
    "an empty verdict": (lambda j: j.update(verdict=""), "evidence.verdict"),
    "a network with a space": (lambda j: j.update(network="a b"), "network"),
    "a verdict without end": (lambda j: j.update(verdict="a" * 501), "evidence.verdict"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "field"), STRANGE.values(), ids=STRANGE.keys())
def test_a_strange_file_is_refused_by_field(change: Change, field: str) -> None:
    fields = json.loads(GOOD.to_json())
    change(fields)
    with pytest.raises(Malformed) as caught:
        Evidence.from_json(json.dumps(fields).encode())
    assert caught.value.field == field


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{", b"\xff", b"nul", b"[" * 16_000, b'{"version":1,"version":1}', b"NaN",
     b'"' + b" " * MAX_EVIDENCE_BYTES + b'"'],
    ids=["empty", "list", "cut", "not utf-8", "no value", "deep", "twice", "nan", "long"],
)  # fmt: skip
def test_what_is_no_evidence_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed):
        Evidence.from_json(text)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_and_nothing_else(text: bytes) -> None:
    with pytest.raises(Malformed):
        Evidence.from_json(text)


def test_a_verdict_is_cut_and_escaped() -> None:
    text = replace(GOOD, verdict="\x1b[31mé" + "a" * 600).to_json()
    assert b"\x1b" not in text
    assert text.isascii()
    assert len(Evidence.from_json(text).verdict) == 500
