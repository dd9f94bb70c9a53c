"""Which response keys are believed: certified, in force, not revoked; and what a thief of one cannot undo."""

from __future__ import annotations

from dataclasses import replace

import pytest

from speedpay.certificates import CertificateSet, Revocation
from speedpay.channel.voucher import SignedStatement
from speedpay.errors import BadSignature, Stale
from speedpay.signing import Certificate, Domain
from tests.vectors.generate import CERTIFICATE, CERTIFICATES, DOMAIN, RESPONSE, ROOT, STATEMENT, key

NOW = 1_800_000_000
DAY_S = 86_400
NEW = key("new response")
LATER = Certificate.issue(ROOT, DOMAIN.network, NEW.public, NOW, NOW + 90 * DAY_S)
TAKEN = Revocation.issue(ROOT, DOMAIN.network, RESPONSE.public, NOW + 60)
BOTH = CERTIFICATES.merged([LATER], [], NOW)


def signer(keys: CertificateSet, by: str, now: int = NOW) -> bytes:
    return SignedStatement.sign(key(by), DOMAIN, STATEMENT).check(keys, now)


def test_after_a_rotation_statements_by_either_key_are_believed() -> None:
    assert signer(BOTH, "response") == RESPONSE.public
    assert signer(BOTH, "new response") == NEW.public


def test_a_statement_under_a_revoked_key_is_stale_and_not_forged() -> None:
    """Its buyer did nothing wrong: the ledger signs it anew."""
    keys = BOTH.merged([], [TAKEN], NOW)
    with pytest.raises(Stale) as refused:
        signer(keys, "response")
    assert refused.value.field == "statement.signature"
    assert not refused.value.is_misbehaviour
    assert signer(keys, "new response") == NEW.public


def test_a_statement_under_a_key_whose_certificate_has_ended_is_stale() -> None:
    with pytest.raises(Stale):
        signer(BOTH, "new response", LATER.not_after + 121)


def test_a_statement_by_a_key_that_nobody_certified_is_forged() -> None:
    with pytest.raises(BadSignature) as refused:
        signer(BOTH, "stranger")
    assert refused.value.field == "statement.signature"


def test_an_older_answer_does_not_bring_a_revoked_key_back() -> None:
    """What whoever stole the key can answer: the certificates as they were, and no revocation."""
    keys = BOTH.merged([], [TAKEN], NOW)
    for answer in ([CERTIFICATE], [CERTIFICATE, LATER], []):
        assert keys.merged(answer, [], NOW) is keys
    with pytest.raises(Stale):
        signer(keys.merged([CERTIFICATE], [], NOW), "response")


def test_a_new_certificate_of_a_revoked_key_does_not_bring_it_back() -> None:
    again = Certificate.issue(ROOT, DOMAIN.network, RESPONSE.public, NOW, NOW + 200 * DAY_S)
    keys = BOTH.merged([], [TAKEN], NOW).merged([again], [], NOW)
    assert RESPONSE.public not in [one.response_key for one in keys.in_force(NOW)]


def test_a_revocation_counts_before_its_certificate_is_known() -> None:
    keys = CertificateSet(DOMAIN).merged([], [TAKEN], NOW).merged([CERTIFICATE], [], NOW)
    assert keys.in_force(NOW) == []


def test_of_two_revocations_of_a_key_the_earlier_counts() -> None:
    later = Revocation.issue(ROOT, DOMAIN.network, RESPONSE.public, NOW + 999)
    for first, second in ((TAKEN, later), (later, TAKEN)):
        keys = CERTIFICATES.merged([], [first], NOW).merged([], [second], NOW)
        assert keys.revoked_at(RESPONSE.public) == TAKEN.at


FORGED = {
    "of another root": Revocation.issue(key("other"), DOMAIN.network, RESPONSE.public, NOW),
    "of another network": Revocation.issue(ROOT, "other", RESPONSE.public, NOW),
    "of another key": replace(TAKEN, response_key=NEW.public),
    "of another time": replace(TAKEN, at=TAKEN.at - 1),
    "a certificate's signature": replace(TAKEN, signature=CERTIFICATE.signature),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_revocation_is_refused_and_revokes_nothing(what: str) -> None:
    """Else whoever is on the way could take the ledger's voice away."""
    with pytest.raises(BadSignature) as refused:
        BOTH.merged([], [FORGED[what], TAKEN], NOW)
    assert str(refused.value.field).startswith("revocation.")
    assert BOTH.revoked_at(RESPONSE.public) is None


def test_a_forged_certificate_is_refused_and_adds_nothing() -> None:
    stranger = Certificate.issue(key("other"), DOMAIN.network, NEW.public, NOW, NOW + DAY_S)
    moved = replace(LATER, not_after=LATER.not_after + 1)
    for one in (stranger, moved, replace(LATER, response_key=RESPONSE.public)):
        with pytest.raises(BadSignature):
            CertificateSet(DOMAIN).merged([one], [], NOW)


def test_certificates_of_another_ledger_are_refused() -> None:
    other = CertificateSet(Domain(DOMAIN.network, bytes(32)))
    with pytest.raises(BadSignature) as refused:
        other.merged([CERTIFICATE], [], NOW)
    assert refused.value.field == "certificate.root_key"


def test_a_certificate_that_has_ended_leaves_the_set_and_its_revocation_stays() -> None:
    keys = CERTIFICATES.merged([], [TAKEN], NOW).merged([], [], CERTIFICATE.not_after + 121)
    assert keys.certificates == ()
    assert keys.revocations == (TAKEN,)


def test_an_old_answer_is_judged_at_its_own_time() -> None:
    keys = BOTH.merged([], [TAKEN], NOW)
    keys.check_at(CERTIFICATE, TAKEN.at - 1)
    with pytest.raises(Stale) as refused:
        keys.check_at(CERTIFICATE, TAKEN.at)
    assert refused.value.field == "certificate"
    with pytest.raises(BadSignature):
        keys.check_at(LATER, LATER.not_after + 121)
    keys.check_at(LATER, LATER.not_after)


def test_a_renewed_certificate_takes_the_place_of_the_one_before() -> None:
    longer = Certificate.issue(ROOT, DOMAIN.network, NEW.public, NOW, NOW + 120 * DAY_S)
    for first, second in ((LATER, longer), (longer, LATER)):
        keys = CertificateSet(DOMAIN).merged([first], [], NOW).merged([second], [], NOW)
        assert keys.certificates == (longer,)
