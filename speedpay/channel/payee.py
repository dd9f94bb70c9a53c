"""Do I accept this voucher? The one rule that sellers and the ledger share."""

from __future__ import annotations

from dataclasses import dataclass, replace

from speedpay.channel.voucher import Statement, Voucher, with_more_escrow
from speedpay.errors import AboveEscrow, ChannelClosed, NotIncreasing, WrongChannel
from speedpay.signing import Domain, verify
from speedpay.units import ZERO, Amount

#: A seller refuses vouchers this close to expiry: redeeming must still be possible.
EXPIRY_MARGIN_S = 300


def check_voucher(
    domain: Domain,
    channel: bytes,
    payer_key: bytes,
    escrow: Amount,
    accepted: Amount,
    voucher: Voucher,
) -> None:
    """Raises unless ``voucher`` raises this channel's total. Cheap checks first.

    WrongChannel, NotIncreasing (repeated or lower), AboveEscrow, BadSignature. A voucher signed for
    another ledger or network is a BadSignature here: both are inside the signed bytes.
    """
    if voucher.channel != channel:
        raise WrongChannel("is a voucher of another channel", field="voucher.channel")
    if voucher.cumulative <= accepted:
        raise NotIncreasing(
            f"{voucher.cumulative.utok} is not above {accepted.utok} µtok",
            field="voucher.cumulative",
        )
    if voucher.cumulative > escrow:
        raise AboveEscrow(
            f"{voucher.cumulative.utok} is above the {escrow.utok} µtok in escrow",
            field="voucher.cumulative",
        )
    body = Voucher.body(voucher.channel, voucher.cumulative)
    verify(payer_key, "voucher", domain, body, voucher.signature, "voucher.signature")


@dataclass(frozen=True, slots=True)
class PayeeChannel:
    """A confirmed channel as its payee holds it: the ledger's statement and the best voucher."""

    statement: Statement
    best: Voucher | None = None

    @property
    def accepted(self) -> Amount:
        return self.best.cumulative if self.best else ZERO

    def accept(self, domain: Domain, voucher: Voucher, now: int) -> PayeeChannel:
        """This channel with a better voucher; raises as ``check_voucher``, or ChannelClosed."""
        body = self.statement
        if now > body.expiry - EXPIRY_MARGIN_S:
            raise ChannelClosed("is too close to its expiry", field="voucher.channel")
        check_voucher(domain, body.channel, body.payer_key, body.escrow, self.accepted, voucher)
        return replace(self, best=voucher)

    def topped_up(self, newer: Statement) -> PayeeChannel:
        return replace(self, statement=with_more_escrow(self.statement, newer))
