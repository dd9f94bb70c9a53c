"""What an owner may demand of the anchored tree: the least that his leaf must hold. Read ``at_least``.

A receipt is a balance that the ledger signed and this wallet kept, or a leaf that was found on chain.
Later the total can only fall by what its owner gave away himself, and of that the wallet knows: what
it sent, and what the client promised in vouchers. So an epoch that covers a receipt must hold the
receipt's total less everything that may have been given away since. All unknowns are taken to the
ledger's favour: a wallet never accuses an honest ledger, unless a second copy of it spends elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from speedpay.errors import SpeedpayError
from speedpay.ledger_api import strict
from speedpay.ledger_api.answers import Balance
from speedpay.ledger_api.shapes import MAX_TIME, Json
from speedpay.ledger_api.strict import Fields
from speedpay.units import MAX_UTOK, ZERO, Amount
from speedpay.wallet import files

#: Receipts less than this apart replace one another, so that the kept ones reach over some epochs.
_SPACING_S = 60
KEPT = 64
_MAX_FILE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Given:
    """Tokens given away since the wallet began. ``surely``: by now, in the ledger's books;
    ``at_most``: with all that is promised and may be taken at any moment."""

    surely: Amount = ZERO
    at_most: Amount = ZERO

    def __add__(self, other: Given) -> Given:
        return Given(self.surely + other.surely, self.at_most + other.at_most)


NOTHING_GIVEN = Given()


@dataclass(frozen=True, slots=True)
class Released:
    """By ``journal_size`` transfers so much had been released for withdrawal in all: the ledger's own
    leaf says so. It is no part of a balance, and stays in the leaf's sum for ever."""

    journal_size: int
    amount: Amount


@dataclass(frozen=True, slots=True)
class Receipt:
    """``total`` µtok were confirmed when the journal had ``journal_size`` transfers.

    ``given``: what was surely given away before that. ``time``: unix seconds.
    """

    total: Amount
    journal_size: int
    given: Amount
    time: int

    @classmethod
    def of_balance(cls, balance: Balance, before: Given) -> Receipt:
        """``before`` was read before the ledger was asked: a payment in between counts as later."""
        total = balance.token + balance.token_in_escrow
        return cls(total, balance.journal_head.sequence, before.surely, balance.time)

    def at_least(self, now: Given, released: Sequence[Released] = ()) -> Amount:
        """Of the leaf's sum. What had been released before was not in ``total`` any more, so it comes on
        top: else tokens that were paid out long ago could stand for those that are missing."""
        before = (one.amount for one in released if one.journal_size <= self.journal_size)
        kept = self.total.minus_or_zero(now.at_most.minus_or_zero(self.given))
        return kept + max(before, default=ZERO)

    def to_json(self) -> Json:
        return {
            "total": self.total.to_wire(), "journal_size": self.journal_size,
            "given": self.given.to_wire(), "time": self.time,
        }  # fmt: skip

    @classmethod
    def read(cls, fields: Fields) -> Receipt:
        made = cls(
            fields.amount("total", zero=True),
            fields.integer("journal_size", 0, MAX_UTOK),
            fields.amount("given", zero=True),
            fields.integer("time", 0, MAX_TIME),
        )
        fields.end()
        return made


@dataclass(frozen=True, slots=True)
class _Kept:
    sent: Amount = ZERO
    receipts: tuple[Receipt, ...] = ()


class Receipts:
    """The last ``KEPT`` receipts of one account, and how many tokens it ever sent. Whoever writes
    holds the account's lock."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def sent(self) -> Amount:
        """Tokens that this wallet has sent to others and that the ledger has confirmed."""
        return self._read().sent

    def add_sent(self, amount: Amount) -> None:
        kept = self._read()
        self._write(replace(kept, sent=kept.sent + amount))

    def keep(self, receipt: Receipt) -> None:
        """One that demands less never takes the place of another: it may be how a theft is hidden."""
        kept = self._read()
        older = kept.receipts
        if len(older) > 1 and older[-1].time - older[-2].time < _SPACING_S:
            given = Given(receipt.given, receipt.given)
            if receipt.total >= older[-1].at_least(given):
                older = older[:-1]
        self._write(replace(kept, receipts=(*older, receipt)[-KEPT:]))

    def strongest(
        self, journal_size: int, now: Given, released: Sequence[Released] = ()
    ) -> Receipt | None:
        """The one that demands most of an epoch with so many transfers in its journal.

        Not the newest: a ledger that took money confirms the smaller balance as readily.
        """
        covered = [one for one in self._read().receipts if one.journal_size <= journal_size]
        return max(covered, key=lambda one: (one.at_least(now, released), one.time), default=None)

    def drop_all_but_newest(self) -> None:
        """The owner knows where the difference went: another copy of his wallet spent it."""
        kept = self._read()
        self._write(replace(kept, receipts=kept.receipts[-1:]))

    def _read(self) -> _Kept:
        """Only a memory: what cannot be read demands nothing."""
        try:
            content, _ = files.read(self._path, _MAX_FILE_BYTES)
            fields = Fields(strict.parse(content))
            items = fields.array("receipts", 0, KEPT)
            return _Kept(
                fields.amount("sent", zero=True),
                tuple(Receipt.read(Fields(one)) for one in items),
            )
        except SpeedpayError:
            return _Kept()

    def _write(self, kept: _Kept) -> None:
        body = {"sent": kept.sent.to_wire(), "receipts": [one.to_json() for one in kept.receipts]}
        files.write(self._path, strict.dump(body))
