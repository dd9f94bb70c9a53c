"""What is left of a channel, judged again: the ledger's statement, the vouchers, its signed answers.

Nobody is asked. Each channel ends with two lists of plain sentences: ``broken`` is what contradicts
itself or a signature, ``missing`` what was never kept, so that only these records say it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from speedpay.certificates import CertificateSet
from speedpay.channel.voucher import SignedStatement, Statement, Voucher, with_more_escrow
from speedpay.client.records import KeptReceipt, Records
from speedpay.errors import Malformed, SpeedpayError, Stale
from speedpay.ledger_api import strict
from speedpay.ledger_api.answers import ChannelView, Outcome
from speedpay.ledger_api.attested import SignedAnswer
from speedpay.ledger_api.shapes import MAX_REDEMPTIONS, ChannelState, Redemption
from speedpay.ledger_api.strict import Fields
from speedpay.signing import Certificate, Domain, verify
from speedpay.units import ZERO, Amount


@dataclass(frozen=True, slots=True)
class Said:
    """What the ledger signed about one channel. ``fee``: of ``paid``, for the ledger."""

    state: ChannelState
    paid: Amount
    refunded: Amount
    fee: Amount
    voucher: Voucher | None = None
    statement: Statement | None = None


@dataclass(slots=True)
class Proved:
    """One channel. ``promised``: the highest voucher that these records know of; ``said``: the ledger's
    word, once its signature is checked; ``recorded``: what these records say was paid, None while open.
    ``receipt``: the payee's word, likewise; None where it gave none."""

    channel: bytes
    statement: Statement | None
    promised: Amount
    recorded: Amount | None
    at: int | None = None
    said: Said | None = None
    receipt: KeptReceipt | None = None
    broken: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def paid(self) -> Amount:
        """Surely paid, or promised while the channel is open."""
        if self.said is not None and self.said.state is ChannelState.CLOSED:
            return self.said.paid
        return self.promised if self.recorded is None else self.recorded


class Prover:
    """``domain``: the ledger to which the wallet belongs."""

    def __init__(self, records: Records, domain: Domain) -> None:
        self._records = records
        self._domain = domain
        self._certificates = [one for one in records.certificates() if self._in_force(one)]
        self._keys = records.keys(domain, 0)

    def statement(self, found: Proved, body: bytes, signature: bytes) -> None:
        """The ledger's promise that the money was locked."""
        try:
            statement = Statement.from_bytes(body)
        except Malformed as error:
            found.broken.append(f"its statement cannot be read: {error}")
            return
        if statement.channel != found.channel:
            found.broken.append("its statement is about another channel")
            return
        found.statement = statement
        if not self._certificates:
            found.missing.append(
                "the ledger's certificate was not kept, so its statement is unchecked"
            )
            return
        signed = SignedStatement(statement, signature)
        for certificate in self._certificates:
            try:
                signed.check(CertificateSet(self._domain, (certificate,)), certificate.not_before)
                return
            except SpeedpayError:
                continue
        found.broken.append("its statement has no signature of a ledger's key that was met here")

    def voucher(self, found: Proved, voucher: Voucher) -> bool:
        """Whether the payer of this channel signed it; broken if not."""
        if found.statement is None:
            return False
        body = Voucher.body(voucher.channel, voucher.cumulative)
        try:
            verify(found.statement.payer_key, "voucher", self._domain, body, voucher.signature)
        except SpeedpayError:
            found.broken.append(f"its payer did not sign the voucher over {voucher.cumulative} tok")
            return False
        return True

    def bought(self, found: Proved) -> None:
        """The answer to "what became of this channel", as its payer keeps it."""
        answer = self._answer(found)
        if answer is None:
            return
        try:
            view = ChannelView.read(self._checked(found, answer))
            if answer.head.target != f"/v1/channels/{found.channel.hex()}":
                raise Malformed("is the answer to another question", field="answer")
            said = Said(
                view.state, view.paid, view.refunded, ZERO, view.voucher,
                view.signed_statement.statement,
            )  # fmt: skip
        except SpeedpayError as error:
            found.broken.append(f"the ledger's closing answer does not hold: {error}")
            return
        found.said = said
        _compare_bought(found, said)
        if said.voucher is not None:
            self.voucher(found, said.voucher)

    def receipt(self, found: Proved, infohash: bytes) -> None:
        """What its payee signed at the end of the sale, for the content that this purchase was of."""
        if found.statement is None:
            return
        try:
            kept = self._records.receipt(found.channel)
            if kept is not None:
                kept.of(infohash).check(self._domain, found.statement.payee_key)
        except SpeedpayError as error:
            found.broken.append(f"the receipt of its payee does not hold: {error}")
            return
        found.receipt = kept
        if kept is not None and kept.cumulative > found.promised:
            found.broken.append(
                f"its payee signed that it holds {kept.cumulative} tok, these records know of vouchers over"
                f" {found.promised} tok"
            )

    def sold(self, found: Proved, account: bytes) -> None:
        """The answer to a redemption, as the payee of ``account`` keeps it."""
        answer = self._answer(found)
        if answer is None:
            return
        try:
            outcome = _outcome_in(answer, self._checked(found, answer), found.channel)
            _named(answer, found.channel, account)
        except SpeedpayError as error:
            found.broken.append(f"the ledger's answer to the redemption does not hold: {error}")
            return
        fee = found.statement.fee.of(outcome.paid) if found.statement else ZERO
        found.said = Said(outcome.state, outcome.paid, ZERO, fee)
        if outcome.paid != (found.recorded or ZERO):
            found.broken.append(
                f"these records say {found.recorded or ZERO} tok were redeemed, the ledger signed"
                f" {outcome.paid} tok"
            )
        if outcome.paid > found.promised:
            found.broken.append(
                f"the ledger paid {outcome.paid} tok, and these records know of vouchers over"
                f" {found.promised} tok only"
            )

    def _answer(self, found: Proved) -> SignedAnswer | None:
        try:
            kept = self._records.kept(found.channel)
        except Malformed as error:
            found.broken.append(f"the ledger's answer was changed where it was kept: {error}")
            return None
        if kept is None:
            if found.recorded:
                found.missing.append(
                    f"kept no closing answer: only these records say that {found.recorded} tok were paid"
                )
            return None
        found.at = kept.at
        return kept.answer

    def _checked(self, found: Proved, answer: SignedAnswer) -> Fields:
        """Raises as ``SignedAnswer.check``, and Stale when its key had been revoked before it was kept."""
        fields = answer.check(self._domain)
        revoked_at = self._keys.revoked_at(answer.certificate.response_key)
        if revoked_at is not None and (found.at is None or found.at >= revoked_at):
            raise Stale("was signed by a key that the ledger had revoked", field="certificate")
        return fields

    def _in_force(self, certificate: Certificate) -> bool:
        """What was signed while it was in force stays signed."""
        try:
            certificate.check(self._domain, certificate.not_before)
        except SpeedpayError:
            return False
        return True


def _compare_bought(found: Proved, said: Said) -> None:
    if said.statement is not None and found.statement is not None:
        try:
            with_more_escrow(found.statement, said.statement)
        except SpeedpayError:
            found.broken.append("its statement is not the one of which the ledger speaks")
    escrow = said.statement.escrow if said.statement else ZERO
    if said.state is ChannelState.CLOSED and said.paid + said.refunded != escrow:
        found.broken.append(
            f"the ledger locked {escrow} tok, paid {said.paid} tok and gave {said.refunded} tok back:"
            " they do not add up"
        )
    if found.recorded is None and said.state is ChannelState.CLOSED:
        found.broken.append(
            "these records say that it is open, the ledger signed that it was closed"
        )
    if found.recorded is not None and said.paid != found.recorded:
        found.broken.append(
            f"these records say {found.recorded} tok were paid, the ledger signed {said.paid} tok"
        )
    highest = said.voucher.cumulative if said.voucher else ZERO
    if highest < said.paid:
        found.broken.append(
            f"the ledger paid {said.paid} tok and shows a voucher over {highest} tok"
        )
    if highest > found.promised:
        found.broken.append(
            f"the ledger holds a voucher over {highest} tok, these records know of {found.promised} tok"
        )


def _outcome_in(answer: SignedAnswer, fields: Fields, channel: bytes) -> Outcome:
    if answer.head.target != "/v1/redemptions":
        raise Malformed("is the answer to another question", field="answer")
    for at, item in enumerate(fields.array("outcomes", 0, MAX_REDEMPTIONS)):
        outcome = Outcome.read(Fields(item, f"outcomes[{at}]"))
        if outcome.channel == channel and outcome.error is None:
            return outcome
    raise Malformed("does not speak of this channel", field="answer")


def _named(answer: SignedAnswer, channel: bytes, account: bytes) -> None:
    """The redemption must have been for ``account``; else the ledger paid somebody else."""
    asked = Fields(strict.parse(answer.request)).array("items", 0, MAX_REDEMPTIONS)
    items: Sequence[Redemption] = [
        Redemption.from_json(item, f"items[{at}]") for at, item in enumerate(asked)
    ]
    named = [i.assignment.account for i in items if i.channel == channel and i.assignment]
    if named != [account]:
        raise Malformed("was for another account than this one", field="request")
