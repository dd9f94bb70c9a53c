"""What a client has learnt of the ledger's keys outlives it, and nobody makes it forget a revocation."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from speedpay.certificates import Revocation
from speedpay.client.records import Records
from speedpay.client.store import Store
from speedpay.errors import BadSignature, Malformed
from tests.vectors.generate import CERTIFICATE, CERTIFICATES, DOMAIN, RESPONSE, ROOT

NOW = 1_800_000_000
TAKEN = Revocation.issue(ROOT, DOMAIN.network, RESPONSE.public, NOW)
KNOWN = CERTIFICATES.merged([], [TAKEN], NOW)


def test_a_revocation_outlives_the_client_and_an_older_answer(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "client.db")) as store:
        Records(store).keep_keys(KNOWN)
        Records(store).keep_keys(CERTIFICATES)  # what whoever stole the key answers
    with closing(Store(tmp_path / "client.db")) as store:
        kept = Records(store).keys(DOMAIN, NOW)
    assert kept == KNOWN
    assert kept.merged([CERTIFICATE], [], NOW).in_force(NOW) == []


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ("CAST(replace(body, '800000000', '800000009') AS BLOB)", BadSignature),
        ("'text'", Malformed),
        ("x'00'", Malformed),
    ],
)
def test_a_revocation_that_was_changed_where_it_is_kept_stops_the_client(
    tmp_path: Path, changed: str, error: type[Exception]
) -> None:
    with closing(Store(tmp_path / "client.db")) as store:
        Records(store).keep_keys(KNOWN)
        with store.write() as db:
            db.exec_driver_sql(f"UPDATE revocations SET body = {changed}")
        with pytest.raises(error):
            Records(store).keys(DOMAIN, NOW)


def test_keys_for_which_the_ledger_paid_are_remembered(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "client.db")) as store:
        for _ in range(2):
            Records(store).key_proven(RESPONSE.public)
        assert Records(store).proven_keys() == [RESPONSE.public]
