"""fsck on what leads to the chain: an edited row of anchors, of their transactions, of payout addresses,
of the vault that the books are bound to, or of a channel's owners is named.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from speedpay.ledger.fsck import examine
from speedpay.ledger_api import chain
from speedpay.ledger_api.chain import Withdraw
from speedpay.units import Amount
from tests.unit.ledger.desk import TOKEN, fresh
from tests.unit.ledger.vaulted import INTERVAL, vaulted

Edit = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Epoch 1 is settled, epoch 2 is sent; two withdrawals wait, and a channel is open."""
    folder = tmp_path_factory.mktemp("anchors") / "ledger"
    with vaulted(folder) as one:
        one.round()
        one.solidify()
        one.round()
        ann, _ = one.payee(9_000)
        one.desk.line(escrow=1_000, money_class=TOKEN, payer=ann).redeem(400)
        for utok in (20, 30):
            one.desk.ask(chain.withdraw(ann.key, ann.account, Withdraw(Amount(utok)), fresh()))
        one.node.nodes[0].fault("accepted_never_mined")
        one.pass_time(INTERVAL + 1)
        one.round()
        for utok in (40, 50):
            one.desk.ask(chain.withdraw(ann.key, ann.account, Withdraw(Amount(utok)), fresh()))
    assert examine(folder / "ledger.sqlite").broken == []
    return folder


@pytest.fixture
def edit(books: Path, tmp_path: Path) -> Edit:
    def by_hand(statement: str) -> list[str]:
        """In a copy, with the rules of the schema off."""
        folder = shutil.copytree(books, tmp_path / "ledger")
        with sqlite3.connect(folder / "ledger.sqlite") as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            assert connection.execute(statement).rowcount > 0
        connection.close()
        return [str(one) for one in examine(folder / "ledger.sqlite").broken]

    return by_hand


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE epochs SET txid = NULL WHERE number = 1", "I7: epochs 1"),
        ("UPDATE epochs SET block = NULL WHERE number = 1", "I7: epochs 1"),
        ("UPDATE epochs SET block = 5 WHERE number = 2", "I7: epochs 2"),
        ("UPDATE epochs SET state = 'solid' WHERE number = 2", "I7: epochs 2"),
        ("UPDATE epochs SET state = 'published' WHERE number = 2", "I8: epochs 2"),
        ("UPDATE epochs SET state = 'published' WHERE number = 1", "I7: epochs 1"),
        ("DELETE FROM anchors", "I7: epochs 1"),
        ("DELETE FROM anchor_attempts WHERE epoch = 2", "I8: epochs 2"),
        ("UPDATE anchor_attempts SET state = 'expired' WHERE epoch = 2", "I8: anchor_attempts 2 1"),
        ("UPDATE anchor_attempts SET txid = zeroblob(32) WHERE epoch = 2", "I8: anchor_attempts"),
        ("UPDATE anchor_attempts SET expires_at = 1 WHERE epoch = 2", "I8: anchor_attempts 2 1"),
        (
            "UPDATE anchor_attempts SET raw = replace(raw, 'fee_limit', 'fee') WHERE epoch = 2",
            "I8: anchor_attempts 2 1",
        ),
        ("UPDATE anchor_attempts SET attempt = 2 WHERE epoch = 2", "I8: anchor_attempts 2 2"),
        ("UPDATE chain_binding SET chain_id = zeroblob(32)", "I7: chain_binding"),
        ("UPDATE chain_binding SET vault = zeroblob(20)", "I7: chain_binding"),
        ("UPDATE payouts SET payout = zeroblob(20)", "I7: payouts"),
        ("UPDATE payouts SET signature = zeroblob(64)", "I7: payouts"),
        ("UPDATE payouts SET public_key = zeroblob(33)", "I7: payouts"),
        ("UPDATE channels SET payer = payee", "is not its payer"),
        ("UPDATE channels SET payer_key = payee_key", "other keys than its id names"),
        ("UPDATE channels SET nonce = zeroblob(16)", "other keys than its id names"),
        ("UPDATE channels SET signed = 401", "is not the payer's"),
        ("UPDATE channels SET voucher = zeroblob(64)", "is not the payer's"),
        ("UPDATE channels SET voucher = NULL", "is not the payer's"),
        ("UPDATE channels SET payee = payer", "is not its payee"),
        ("UPDATE withdrawals SET number = 40 WHERE number = 3", "in another order"),
        ("UPDATE withdrawals SET state = 'lost' WHERE number = 4", "I1: withdrawals 4"),
    ],
)
def test_an_edited_row_on_the_way_to_the_chain_is_named(
    edit: Edit, change: str, named: str
) -> None:
    assert any(named in one for one in edit(change))
