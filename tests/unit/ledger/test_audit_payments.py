"""The audit on what was paid out, on where a deposit stands, and against whoever would keep it from
coming to an end.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from speedpay.chain import answers
from speedpay.ledger import audit
from speedpay.ledger_api import epochs as epoch_calls
from tests.unit.ledger.test_audit import live
from tests.unit.ledger.vaulted import DELAY, Vaulted, vaulted


@pytest.fixture(scope="module")
def paid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vaulted]:
    """One deposit, one claim that the ledger has seen."""
    with vaulted(tmp_path_factory.mktemp("payments") / "ledger") as one:
        ann, _ = live(one)
        epoch = one.health().closed
        one.pass_time(DELAY)
        proof = one.desk.ask(epoch_calls.proof(ann.key, ann.account, epoch))
        assert proof is not None
        one.send(one.vault.prepare_claim(one.user.address, proof), one.user)
        one.solidify()
        one.round()
        assert audit.examine(one.folder / "ledger.sqlite", one.vault).broken == []
        yield one


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE claims SET paid = paid + 1", "payments that the chain has not made"),
        ("UPDATE claims SET amount = amount + 1, paid = paid + 1", "has not made"),
        ("UPDATE deposits SET block = block + 1", "deposit 1 of the books is not on chain"),
        ("UPDATE chain_watch SET frozen_epoch = 2", "frozen at epoch 2, and it is not"),
        ("UPDATE deposits SET block = 1000000", "deposit 1 of the books is not on chain"),
    ],
)
def test_an_edited_payment_or_place_is_found(
    paid: Vaulted, tmp_path: Path, change: str, named: str
) -> None:
    folder = shutil.copytree(paid.folder, tmp_path / "ledger")
    with sqlite3.connect(folder / "ledger.sqlite") as connection:
        assert connection.execute(change).rowcount == 1
    connection.close()
    assert named in "\n".join(audit.examine(folder / "ledger.sqlite", paid.vault).broken)


def test_nobody_keeps_the_audit_from_its_end_by_a_deposit_with_endless_logs(
    paid: Vaulted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of logs beside the vault's own cost a few hundred TRX, once."""
    monkeypatch.setattr(answers, "MAX_LOGS", 1)
    assert audit.examine(paid.folder / "ledger.sqlite", paid.vault).broken == []
