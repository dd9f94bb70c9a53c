"""Heads: one encoding, who signed, and which two heads convict a ledger."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from speedpay.errors import BadSignature, Malformed
from speedpay.proof.head import HEAD_BYTES, NO_HEAD, EpochHead, SignedHead, contradiction
from speedpay.signing import Domain, digest
from speedpay.units import Amount
from tests.unit.proof.anchored import Epoch
from tests.vectors.generate import DOMAIN, PAYER, RESPONSE

HEAD = Epoch().head
NEXT = replace(HEAD, epoch=2, prev=HEAD.hash(DOMAIN), journal_size=80, journal_root=bytes(32))
LATER = replace(NEXT, epoch=9, prev=b"p" * 32, journal_size=90)


def test_a_head_has_one_encoding() -> None:
    body = HEAD.to_bytes()
    assert len(body) == HEAD_BYTES == 224
    assert EpochHead.from_bytes(body) == HEAD
    assert HEAD.hash(DOMAIN) == digest("head", DOMAIN, body)
    largest = replace(HEAD, leaf_count=2**40, journal_size=2**63 - 1)
    assert EpochHead.from_bytes(largest.to_bytes()) == largest
    for wrong in (b"", body[:-1], body + b"\x00"):
        with pytest.raises(Malformed, match="head"):
            EpochHead.from_bytes(wrong)


@pytest.mark.parametrize(
    ("at", "field"),
    [(0, "epoch"), (8, "closed_at"), (100, "liabilities"), (108, "credit"), (116, "leaf_count"),
     (124, "journal_size"), (164, "deposit_seq")],
)  # fmt: skip
def test_a_number_above_63_bits_is_refused(at: int, field: str) -> None:
    body = bytearray(HEAD.to_bytes())
    body[at] |= 0x80
    with pytest.raises(Malformed, match=rf"head\.{field}"):
        EpochHead.from_bytes(bytes(body))


IMPOSSIBLE: dict[str, dict[str, Any]] = {
    "epoch": {"epoch": 0}, "prev": {"prev": b"p" * 32}, "root": {"root": b""},
    "vault": {"vault": bytes(21)}, "file": {"file": bytes(32)}, "chain_id": {"chain_id": 0},
    "leaf_count": {"leaf_count": 2**40 + 1}, "journal_root": {"journal_root": bytes(31)},
    "deposit_seq": {"deposit_seq": -1},
}  # fmt: skip


@pytest.mark.parametrize(("field", "changes"), IMPOSSIBLE.items(), ids=IMPOSSIBLE.keys())
def test_an_impossible_head_cannot_be_made(field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed, match=rf"head\.{field}"):
        replace(HEAD, **changes)


def test_only_the_first_head_follows_nothing() -> None:
    with pytest.raises(Malformed, match=r"head\.prev"):
        replace(NEXT, prev=NO_HEAD)


def test_the_signature_is_the_ledgers_over_this_head_for_this_ledger() -> None:
    signed = SignedHead.sign(RESPONSE, DOMAIN, HEAD)
    assert signed.check(DOMAIN, RESPONSE.public) == HEAD
    for domain, key, head in (
        (DOMAIN, PAYER.public, HEAD),
        (Domain("other", DOMAIN.ledger_id), RESPONSE.public, HEAD),
        (DOMAIN, RESPONSE.public, NEXT),
    ):
        with pytest.raises(BadSignature, match=r"head\.signature"):
            SignedHead(head, signed.signature).check(domain, key)


CONTRADICTIONS: dict[str, tuple[EpochHead, EpochHead, str]] = {
    "two heads of one epoch": (HEAD, replace(HEAD, credit=Amount(0)), "two different heads"),
    "following another head": (HEAD, replace(NEXT, prev=b"p" * 32), "follows another head"),
    "another vault": (HEAD, replace(LATER, vault=bytes(20)), "vault changed"),
    "another chain": (HEAD, replace(LATER, chain_id=1), "vault changed"),
    "a shorter journal": (HEAD, replace(LATER, journal_size=76), "lost transfers"),
    "a rewritten journal": (HEAD, replace(LATER, journal_size=77), "rewritten"),
    "fewer deposits": (HEAD, replace(LATER, deposit_seq=2), "taken back"),
    "fewer leaves": (HEAD, replace(LATER, leaf_count=4), "removed"),
}


@pytest.mark.parametrize(
    ("one", "other", "words"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys()
)
def test_a_contradiction_is_seen_whichever_head_came_first(
    one: EpochHead, other: EpochHead, words: str
) -> None:
    found = contradiction(one, other, DOMAIN)
    assert found is not None
    assert words in found
    assert contradiction(other, one, DOMAIN) == found


def test_heads_that_an_honest_ledger_may_sign_do_not_contradict() -> None:
    for one in (HEAD, NEXT, LATER):
        for other in (HEAD, NEXT, LATER):
            assert contradiction(one, other, DOMAIN) is None
