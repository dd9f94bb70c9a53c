"""Signed bytes: separated by domain, one encoding per signature, and no secret that shows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedpay.errors import BadSignature, Malformed
from speedpay.signing import (
    Certificate,
    Domain,
    SigningKey,
    check_public_key,
    digest,
    ledger_id,
    verify,
)
from tests.vectors.generate import CERTIFICATE, DOMAIN, PAYER, RESPONSE, ROOT, key

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@settings(derandomize=True, max_examples=50)
@given(st.binary(max_size=200), st.sampled_from(["voucher", "ask", "statement"]))
def test_a_signature_verifies_and_is_low_s_and_always_the_same(body: bytes, kind: str) -> None:
    signature = PAYER.sign(kind, DOMAIN, body)
    verify(PAYER.public, kind, DOMAIN, body, signature)
    assert signature == PAYER.sign(kind, DOMAIN, body)
    assert 0 < int.from_bytes(signature[32:]) <= ORDER // 2


@pytest.mark.parametrize(
    ("public", "kind", "domain", "body"),
    [
        (key("other").public, "voucher", DOMAIN, b"body"),
        (PAYER.public, "ask", DOMAIN, b"body"),
        (PAYER.public, "voucher", Domain("other", DOMAIN.ledger_id), b"body"),
        (PAYER.public, "voucher", Domain(DOMAIN.network, bytes(32)), b"body"),
        (PAYER.public, "voucher", DOMAIN, b"bodY"),
    ],
    ids=["key", "kind", "network", "ledger", "body"],
)
def test_a_signature_counts_for_nothing_else(
    public: bytes, kind: str, domain: Domain, body: bytes
) -> None:
    signature = PAYER.sign("voucher", DOMAIN, b"body")
    with pytest.raises(BadSignature) as refused:
        verify(public, kind, domain, body, signature, "voucher.signature")
    assert refused.value.field == "voucher.signature"


def _forms() -> dict[str, bytes]:
    good = PAYER.sign("voucher", DOMAIN, b"body")
    r, s = good[:32], int.from_bytes(good[32:])
    return {
        "high-s twin": r + (ORDER - s).to_bytes(32),
        "trailing byte": good + b"\x00",
        "too short": good[:-1],
        "empty": b"",
        "r zero": bytes(32) + good[32:],
        "s zero": r + bytes(32),
        "r above the order": ORDER.to_bytes(32) + good[32:],
        "s above the order": r + ORDER.to_bytes(32),
        "r and s swapped": good[32:] + r,
    }


@pytest.mark.parametrize("form", _forms())
def test_every_other_form_of_a_signature_is_refused(form: str) -> None:
    with pytest.raises(BadSignature) as refused:
        verify(PAYER.public, "voucher", DOMAIN, b"body", _forms()[form])
    assert refused.value.field == "signature"


def test_no_two_kinds_networks_or_ledgers_share_a_digest() -> None:
    found = {
        digest(kind, Domain(network, ledger), b"")
        for kind in ("ask", "as", "voucher")
        for network in ("n", "nn", "k")
        for ledger in (bytes(32), bytes(31) + b"\x01")
    }
    assert len(found) == 18


@pytest.mark.parametrize(
    "public",
    [b"", bytes(33), b"\x02" + b"\xff" * 32, b"\x04" + PAYER.public[1:], PAYER.public[:-1], PAYER.public * 2],
)  # fmt: skip
def test_a_key_that_is_no_compressed_point_is_refused(public: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        check_public_key(public, "payer_key")
    assert refused.value.field == "payer_key"


@pytest.mark.parametrize("secret", [b"", bytes(32), bytes(31), ORDER.to_bytes(32), b"\xff" * 32])
def test_a_secret_outside_the_order_is_refused_without_being_shown(secret: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        SigningKey(secret)
    assert refused.value.field == "secret_key"
    assert "ff" not in str(refused.value)


def test_a_key_never_shows_its_secret() -> None:
    secret = bytes(range(1, 33))
    shown = repr(SigningKey(secret)) + str(SigningKey(secret))
    assert secret.hex() not in shown


@pytest.mark.parametrize("network", ["", "x" * 33, "a b", "a\n", "é", "\x7f"])
def test_a_network_is_short_printable_ascii(network: str) -> None:
    with pytest.raises(Malformed) as refused:
        Domain(network, bytes(32))
    assert refused.value.field == "network"


def test_a_ledger_id_has_32_bytes() -> None:
    with pytest.raises(Malformed) as refused:
        Domain("n", bytes(31))
    assert refused.value.field == "ledger_id"


def test_a_certificate_holds_for_its_ledger_and_time_only() -> None:
    good = CERTIFICATE
    good.check(DOMAIN, good.not_before - 120)
    good.check(DOMAIN, good.not_after + 120)
    other = Domain(DOMAIN.network, ledger_id(key("other").public))
    forged = Certificate(
        ROOT.public, key("other").public, good.not_before, good.not_after, good.signature
    )
    for certificate, domain, now, field in (
        (good, other, good.not_before, "certificate.root_key"),
        (good, Domain("other", DOMAIN.ledger_id), good.not_before, "certificate.signature"),
        (forged, DOMAIN, good.not_before, "certificate.signature"),
        (good, DOMAIN, good.not_before - 121, "certificate"),
        (good, DOMAIN, good.not_after + 121, "certificate"),
    ):
        with pytest.raises(BadSignature) as refused:
            certificate.check(domain, now)
        assert refused.value.field == field
    assert good.response_key == RESPONSE.public
