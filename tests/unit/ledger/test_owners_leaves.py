"""What the tree and the vault see of a hand-over: whom a leaf pays, before it and after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from speedpay.errors import NotAllowed, NotFound
from speedpay.ledger import deposits, withdrawals
from speedpay.ledger.schema import claims
from speedpay.ledger_api import chain
from speedpay.ledger_api.chain import Withdraw
from speedpay.proof.leaf import NO_PAYOUT
from speedpay.units import Amount
from tests.unit.ledger.closing import Closing
from tests.unit.ledger.desk import Person, fresh, new_key
from tests.unit.ledger.test_owners import handed, named_payout


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Closing]:
    made = Closing(tmp_path / "ledger")
    yield made
    assert made.broken() == []
    made.service.close()


def claim(desk: Closing, who: Person, payout: bytes, utok: int) -> None:
    """As the chain's watcher enters it when the vault has paid."""
    with desk.service.database.write() as connection:
        connection.execute(
            claims.insert().values(
                txid=bytes(32), log_index=0, account=who.account, payout=payout, amount=utok,
                paid=utok, epoch=1, block=1,
            )
        )  # fmt: skip
        assert deposits.claimed(connection, who.account) == Amount(utok)


def test_what_was_released_must_be_fetched_before_its_address_is_given_up(desk: Closing) -> None:
    ann = desk.person(tokens=700)
    old = named_payout(desk, ann)
    desk.ask(chain.withdraw(ann.key, ann.account, Withdraw(Amount(700)), fresh()))
    with desk.service.database.write() as connection:
        assert withdrawals.release(connection, 1, Amount(700)) == Amount(700)
    desk.close()
    with desk.refused(NotAllowed, "payout"):
        handed(desk, ann, new_key())
    claim(desk, ann, old, 300)
    with desk.refused(NotAllowed, "payout"):
        handed(desk, ann, new_key())
    with desk.service.database.write() as connection:
        connection.execute(claims.update().values(amount=700, paid=700))
    heir = handed(desk, ann, new_key())
    desk.close()
    new = named_payout(desk, heir)
    desk.service.issue(heir.account, Amount(50), b"deposit")
    desk.close()
    shown = [desk.verified(heir, number) for number in (1, 2, 3)]
    assert [one.payout for one in shown] == [old, NO_PAYOUT, new]
    assert [one.withdrawable.utok for one in shown] == [700, 700, 700], "paid once, for ever"
    assert [one.balance.utok for one in shown] == [0, 0, 50]
    with pytest.raises(NotFound):
        desk.proof(ann, 1)


def test_an_owner_who_changes_his_own_key_keeps_leaf_and_exit(desk: Closing) -> None:
    ann = desk.person(tokens=700)
    address = named_payout(desk, ann)
    before_close = desk.close()
    ann_again = handed(desk, ann, new_key(), address)
    desk.service.issue(ann.account, Amount(1), b"deposit")
    desk.close()
    first, second = (desk.verified(ann_again, number) for number in (1, 2))
    assert before_close.number == first.epoch == 1
    assert first.payout == second.payout == address
    assert (first.position, first.balance.utok, second.balance.utok) == (second.position, 700, 701)
