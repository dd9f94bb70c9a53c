"""May I still pay? The only code that signs vouchers and decides on escrow."""

from __future__ import annotations

from dataclasses import dataclass, replace

from speedpay.channel.voucher import SignedStatement, Statement, Voucher, with_more_escrow
from speedpay.errors import AboveEscrow, NotIncreasing, OverBudget
from speedpay.signing import Domain, SigningKey
from speedpay.units import ZERO, Amount


@dataclass(frozen=True, slots=True)
class Budget:
    """The hard limit of one torrent: Σ open escrow + settled spending ≤ ``limit``.

    Escrow counts in full while its channel is open: all of it may yet become the payee's. A channel
    that the ledger has closed counts with what was really paid.
    """

    limit: Amount
    settled: Amount = ZERO
    in_escrow: Amount = ZERO

    def free(self) -> Amount:
        return self.limit.minus_or_zero(self.settled + self.in_escrow)

    def lock(self, amount: Amount) -> Budget:
        """Raises OverBudget, changing nothing, when ``amount`` more would pass the limit."""
        if amount > self.free():
            raise OverBudget(
                f"{amount} more would pass the limit of {self.limit} tokens", field="escrow",
                hint="raise --max-spend or --consumption",
            )  # fmt: skip
        return replace(self, in_escrow=self.in_escrow + amount)

    def carry(self, escrow: Amount) -> Budget:
        """An escrow that was locked before: it counts, whatever the limit is now."""
        return replace(self, in_escrow=self.in_escrow + escrow)

    def settle(self, escrow: Amount, paid: Amount) -> Budget:
        """A channel of ``escrow`` was closed having paid ``paid``."""
        return replace(self, in_escrow=self.in_escrow - escrow, settled=self.settled + paid)

    def unlock(self, amount: Amount) -> Budget:
        """The ledger refused to lock ``amount`` (a definite refusal, never a lost answer)."""
        return replace(self, in_escrow=self.in_escrow - amount)


@dataclass(frozen=True, slots=True)
class PayerChannel:
    """A channel as its payer holds it. ``signed`` is the highest total ever signed, sent or not."""

    opened: SignedStatement
    signed: Amount = ZERO
    acknowledged: Amount = ZERO

    @property
    def statement(self) -> Statement:
        return self.opened.statement

    def pay(
        self, key: SigningKey, domain: Domain, cumulative: Amount, permitted: Amount
    ) -> tuple[PayerChannel, Voucher]:
        """Sign a higher total. The caller makes the new state durable before it sends the voucher.

        Raises NotIncreasing, AboveEscrow, or OverBudget when it is more than ``permitted`` µtok above
        the last one: what the caps of this torrent, the day and the month allow now.
        """
        if cumulative <= self.signed:
            raise NotIncreasing("a higher total was signed already", field="cumulative")
        if cumulative - self.signed > permitted:
            raise OverBudget(
                f"{cumulative - self.signed} more was not permitted", field="cumulative"
            )
        if cumulative > self.statement.escrow:
            raise AboveEscrow("the escrow does not hold that much", field="cumulative")
        voucher = Voucher.sign(key, domain, self.statement.channel, cumulative)
        return replace(self, signed=cumulative), voucher

    def repeat(self, key: SigningKey, domain: Domain) -> Voucher:
        """The newest voucher once more, byte for byte (RFC 6979): a lost one is sent again."""
        return Voucher.sign(key, domain, self.statement.channel, self.signed)

    def acknowledge(self, cumulative: Amount) -> PayerChannel:
        """The payee holds vouchers up to ``cumulative``; more than was signed is ignored."""
        known = min(cumulative, self.signed)
        return replace(self, acknowledged=max(self.acknowledged, known))

    def topped_up(self, newer: SignedStatement) -> PayerChannel:
        with_more_escrow(self.statement, newer.statement)
        return replace(self, opened=newer)

    @property
    def left(self) -> Amount:
        return self.statement.escrow - self.signed
