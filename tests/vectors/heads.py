"""The golden vectors of heads that peers show each other: pairs, and what they are to each other."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from speedpay.proof.evidence import CertifiedHead
from speedpay.proof.head import NO_HEAD, EpochHead, SignedHead, contradiction
from speedpay.signing import Certificate, Domain, SigningKey
from speedpay.units import Amount

Json = dict[str, Any]
CHAIN_ID = 0x53500001


def _named(name: str, size: int = 32) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:size]


def heads(domain: Domain) -> dict[str, EpochHead]:
    """By name: an honest ledger's first epochs, and heads that it could not have signed beside them."""
    first = EpochHead(
        1, 1_800_000_000, CHAIN_ID, _named("vault", 20), _named("root"), Amount(12_500_000),
        Amount(10_000_000), 5, 77, _named("journal"), 3, _named("file", 20), NO_HEAD,
    )  # fmt: skip
    second = replace(
        first, epoch=2, closed_at=1_800_000_600, prev=first.hash(domain), leaf_count=6,
        journal_size=80, journal_root=_named("journal 2"), deposit_seq=4, root=_named("root 2"),
    )  # fmt: skip
    fifth = replace(
        second, epoch=5, closed_at=1_800_002_400, prev=_named("fourth"), journal_size=95,
        journal_root=_named("journal 5"), root=_named("root 5"),
    )  # fmt: skip
    return {
        "first": first,
        "second": second,
        "fifth": fifth,
        "fifth, nothing transferred since the second": replace(
            fifth, journal_size=80, journal_root=second.journal_root
        ),
        "twin": replace(first, credit=Amount(9_000_000)),
        "second of another first": replace(second, prev=_named("another first")),
        "fifth of another vault": replace(fifth, vault=_named("another vault", 20)),
        "fifth of another chain": replace(fifth, chain_id=CHAIN_ID + 1),
        "fifth, transfers lost": replace(fifth, journal_size=79),
        "fifth, transfers rewritten": replace(fifth, journal_size=80),
        "fifth, a deposit taken back": replace(fifth, deposit_seq=3),
        "fifth, a leaf removed": replace(fifth, leaf_count=5),
        "fifth, closed before the second": replace(fifth, closed_at=second.closed_at - 1),
        "fifth, closed with the second": replace(fifth, closed_at=second.closed_at),
    }


PAIRS = (
    ("first", "first"), ("first", "second"), ("first", "fifth"), ("second", "fifth"),
    ("second", "fifth, nothing transferred since the second"), ("first", "twin"),
    ("first", "second of another first"), ("second", "fifth of another vault"),
    ("second", "fifth of another chain"), ("second", "fifth, transfers lost"),
    ("second", "fifth, transfers rewritten"), ("second", "fifth, a deposit taken back"),
    ("second", "fifth, a leaf removed"), ("second", "fifth, closed before the second"),
    ("second", "fifth, closed with the second"),
)  # fmt: skip


def certified(
    head: EpochHead, key: SigningKey, domain: Domain, certificate: Certificate
) -> CertifiedHead:
    return CertifiedHead(SignedHead.sign(key, domain, head), certificate)


def heads_file(domain: Domain, key: SigningKey, certificate: Certificate) -> Json:
    known = heads(domain)
    return {
        "network": domain.network,
        "ledger_id": domain.ledger_id.hex(),
        "root_key": certificate.root_key.hex(),
        "response_key": certificate.response_key.hex(),
        "not_before": certificate.not_before,
        "not_after": certificate.not_after,
        "certificate": certificate.signature.hex(),
        "heads": {
            name: {
                "body": head.to_bytes().hex(),
                "hash": head.hash(domain).hex(),
                "signature": SignedHead.sign(key, domain, head).signature.hex(),
            }
            for name, head in known.items()
        },
        "pairs": [
            {"one": one, "other": other, "contradiction": _says(known[one], known[other], domain)}
            for one, other in PAIRS
        ],
    }


def _says(one: EpochHead, other: EpochHead, domain: Domain) -> str | None:
    said = contradiction(one, other, domain)
    assert said == contradiction(other, one, domain)
    return said
