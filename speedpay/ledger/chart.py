"""The chart of accounts: which exist, their normal side, and which transfers are sensible.

Two sides, as in any double-entry book. What users, open channels and the ledger itself own is on
the *credit* side; what it is owned against (tokens deposited on chain, credit that was granted) is
on the *debit* side. Every balance is counted on its normal side and none may go below zero; so per
class of money the debit side always equals the credit side.

A transfer has one class. That a class stays itself is a matter of expression: there is no way to
write down a transfer between two classes. Credit never touches an account that leads to the chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from speedpay.errors import NotAllowed
from speedpay.proof.leaf import TREASURY
from speedpay.units import MoneyClass


class Role(StrEnum):
    USER = "user"
    ESCROW = "escrow"
    FEES = "fees"
    WITHDRAWALS = "withdrawals"
    DEPOSITS = "deposits"
    GRANTED = "granted"


#: Accounts whose balance grows by a debit. All others grow by a credit.
DEBIT_NORMAL = frozenset({Role.DEPOSITS, Role.GRANTED})

#: Which classes an account may hold: only tokens come from the chain or go there.
CLASSES: dict[Role, frozenset[MoneyClass]] = {
    Role.USER: frozenset(MoneyClass),
    Role.ESCROW: frozenset(MoneyClass),
    Role.FEES: frozenset(MoneyClass),
    Role.WITHDRAWALS: frozenset({MoneyClass.TOKEN}),
    Role.DEPOSITS: frozenset({MoneyClass.TOKEN}),
    Role.GRANTED: frozenset({MoneyClass.CREDIT}),
}


class Kind(StrEnum):
    ISSUE = "issue"
    GRANT = "grant"
    SEND = "send"
    LOCK = "lock"
    PAY = "pay"
    FEE = "fee"
    REFUND = "refund"
    WITHDRAW = "withdraw"


#: kind → (debited, credited). A pair that is not here cannot be posted.
SIDES: dict[Kind, tuple[Role, Role]] = {
    Kind.ISSUE: (Role.DEPOSITS, Role.USER),
    Kind.GRANT: (Role.GRANTED, Role.USER),
    Kind.SEND: (Role.USER, Role.USER),
    Kind.LOCK: (Role.USER, Role.ESCROW),
    Kind.PAY: (Role.ESCROW, Role.USER),
    Kind.FEE: (Role.ESCROW, Role.FEES),
    Kind.REFUND: (Role.ESCROW, Role.USER),
    Kind.WITHDRAW: (Role.USER, Role.WITHDRAWALS),
}


@dataclass(frozen=True, slots=True)
class BookAccount:
    """One account of the book. Only users' have an ``owner``: the 16-byte account id."""

    role: Role
    owner: bytes = b""

    @property
    def name(self) -> str:
        """As stored: ``user:<hex>``, or the role alone."""
        return f"{self.role}:{self.owner.hex()}" if self.owner else self.role.value

    @classmethod
    def of(cls, name: str) -> BookAccount:
        role, _, owner = name.partition(":")
        return cls(Role(role), bytes.fromhex(owner))


def user(account: bytes) -> BookAccount:
    return BookAccount(Role.USER, account)


ESCROW = BookAccount(Role.ESCROW)
FEES = BookAccount(Role.FEES)
WITHDRAWALS = BookAccount(Role.WITHDRAWALS)
DEPOSITS = BookAccount(Role.DEPOSITS)
GRANTED = BookAccount(Role.GRANTED)
#: Those that a new ledger begins with.
SYSTEM = (ESCROW, FEES, WITHDRAWALS, DEPOSITS, GRANTED)


def leaf_owners(debit: BookAccount, credit: BookAccount, escrow_of: bytes | None) -> set[bytes]:
    """Whose leaves a transfer of tokens changes: 16-byte account ids, the treasury's for fees."""
    found = {account.owner for account in (debit, credit) if account.role is Role.USER}
    if FEES in (debit, credit):
        found.add(TREASURY)
    if escrow_of is not None:
        found.add(escrow_of)
    return found


def check(kind: Kind, debit: BookAccount, credit: BookAccount, money_class: MoneyClass) -> None:
    """Raises NotAllowed for a transfer that the chart does not know."""
    for account in (debit, credit):
        if money_class not in CLASSES[account.role]:
            raise NotAllowed(f"{money_class} is never in {account.role}", field="class")
    if SIDES[kind] != (debit.role, credit.role):
        raise NotAllowed(f"{kind} does not lead from {debit.role} to {credit.role}", field="kind")
    if debit == credit:
        raise NotAllowed("is the same account on both sides", field="to")
