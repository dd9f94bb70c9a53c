"""Payout addresses: where the vault pays an account's money, named once for ever.

Once, because the leaf is counted by its account on chain: an address that could be changed is an
address that a thief of the identity key changes. Both keys consent: the request is signed by the
account's, the statement inside by the key that the address belongs to.
"""

from __future__ import annotations

import sqlalchemy as sa

from speedpay.chain import address
from speedpay.errors import AlreadyExists, BadSignature
from speedpay.ledger import book
from speedpay.ledger.schema import payouts
from speedpay.ledger_api.epochs import NamePayout
from speedpay.signing import Domain


def check(domain: Domain, account: bytes, order: NamePayout) -> None:
    """Raises BadSignature unless the owner of the address consents to just this."""
    if address.of_public_key(order.public_key) != order.address:
        raise BadSignature("is not the address of that key", field="address")
    order.check(domain, account)


def name(connection: sa.Connection, account: bytes, order: NamePayout, now: int) -> None:
    """The leaf has it from the next epoch on. Naming the same again changes nothing.

    Raises AlreadyExists when the account has named another address or salt key.
    """
    known = connection.execute(sa.select(payouts).where(payouts.c.account == account)).first()
    if known is not None:
        if (known.payout, known.salt_key) != (order.address, order.salt_key):
            raise AlreadyExists("was named before, and stays for ever", field="address")
        return
    connection.execute(
        payouts.insert().values(
            account=account, payout=order.address, salt_key=order.salt_key,
            public_key=order.public_key, signature=order.signature, named_at=now,
        )
    )  # fmt: skip
    book.mark_dirty(connection, [account])
