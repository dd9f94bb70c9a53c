"""How one call is carried through: who answers, is it really the ledger, is it worth repeating.

Sans I/O: ``Session.carry`` is a generator that yields what to send or how long to wait, and is fed
what came back. The blocking and the asynchronous client both drive it, so nothing is decided twice.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from speedpay.certificates import CertificateSet
from speedpay.channel.voucher import SignedStatement
from speedpay.errors import BadSignature, LedgerFailed, LedgerUnreachable, Malformed, SpeedpayError
from speedpay.ledger_api import calls, strict
from speedpay.ledger_api.answers import ChannelView, LedgerIdentity
from speedpay.ledger_api.attested import Attested, SignedAnswer
from speedpay.ledger_api.calls import Call
from speedpay.ledger_api.refusals import read_error
from speedpay.ledger_api.shapes import OpenChannel, TopUp
from speedpay.ledger_api.signed import (
    ANSWER_SIGNATURE_HEADER,
    Answer,
    Head,
    check_answer,
    key_id,
)
from speedpay.ledger_api.strict import Fields
from speedpay.signing import Certificate, Domain, SigningKey

T = TypeVar("T")
_FIRST_WAIT_S = 0.2
#: A ledger that revokes a key is heard by then, also by whoever asks it nothing that a new key signs.
REFRESH_S = 600.0
#: For an answer under a key that is not known, the ledger is asked who it is this often at most.
ASK_AGAIN_S = 60.0
_OTHER = "is the ledger's address right?  speedpay config show --origin"


@dataclass(frozen=True, slots=True)
class Send:
    head: Head
    body: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


#: Yields Send (fed an Answer, or a LedgerUnreachable) or Wait (fed None).
Attempts = Generator[Send | Wait, Answer | LedgerUnreachable | None, T]


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    value: T


def advance(attempts: Attempts[T], fed: Answer | LedgerUnreachable | None) -> Send | Wait | Done[T]:
    """The next thing to do, or the call's result; raises what the call raises."""
    try:
        return attempts.send(fed)
    except StopIteration as done:
        return Done(done.value)


@dataclass(slots=True)
class Session:
    """``ledger_id`` None means: whoever answers first; it is pinned from then on. ``certificates``: what
    was ever learnt of the ledger's keys, also by earlier sessions, if ``remember`` was called."""

    network: str
    ledger_id: bytes | None
    attempts: int
    clock: Callable[[], float]
    identity: LedgerIdentity | None = field(default=None, init=False)
    certificates: CertificateSet | None = field(default=None, init=False)
    _identified_at: float = field(default=-math.inf, init=False)
    _doubted_at: float = field(default=-math.inf, init=False)

    def remember(self, known: CertificateSet) -> None:
        """What an earlier session learnt of the same ledger."""
        self.certificates = known

    def carry(self, call: Call[T]) -> Attempts[T]:
        """One call, repeated while no confirmed answer has come, at most ``attempts`` times."""
        return (yield from self.attested(call)).value

    def attested(self, call: Call[T]) -> Attempts[Attested[T]]:
        """``carry``, with the answer as the ledger signed it."""
        return self._repeated(lambda: self._once(call))

    def identify(self) -> Attempts[LedgerIdentity]:
        return self._repeated(self._identify)

    def open_channel(
        self, key: SigningKey, account: bytes, order: OpenChannel, idempotency_key: bytes
    ) -> Attempts[SignedStatement]:
        call = calls.open_channel(key, account, order, idempotency_key)
        return self.ordered((yield from self.carry(call)), order)

    def top_up(
        self, key: SigningKey, account: bytes, channel: bytes, order: TopUp, idempotency_key: bytes
    ) -> Attempts[SignedStatement]:
        call = calls.top_up(key, account, channel, order, idempotency_key)
        return self.promised((yield from self.carry(call)), channel)

    def channel(
        self, key: SigningKey, signer: bytes, channel: bytes
    ) -> Attempts[Attested[ChannelView]]:
        found = yield from self.attested(calls.channel(key, signer, channel))
        self.promised(found.value.signed_statement, channel)
        return found

    def _repeated(self, once: Callable[[], Attempts[T]]) -> Attempts[T]:
        for attempt in range(1, self.attempts + 1):
            try:
                return (yield from once())
            except (LedgerUnreachable, LedgerFailed) as error:
                # A field names what is wrong with an answer: not a matter of waiting.
                if attempt == self.attempts or error.field is not None:
                    raise
            yield Wait(_FIRST_WAIT_S * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.5))
        raise LedgerUnreachable("was not asked")

    def _identify(self) -> Attempts[LedgerIdentity]:
        """Fetch and check the certificate; the answer must be signed by what it certifies.

        Until that is checked anybody may have answered, so whatever else comes says nothing of the
        ledger: a refusal taken for its decision here made a wallet forget a payment and pay twice.
        """
        call = calls.identify()
        head = Head(call.method, call.target)
        answer = yield from _exchange(call, head)
        try:
            found = _read(call, answer)
        except LedgerUnreachable:
            raise
        except SpeedpayError as error:
            raise LedgerUnreachable(
                f"the ledger does not say who it is: {error}",
                field=None if isinstance(error, LedgerFailed) else "answer",
            ) from error
        if found.network != self.network:
            raise LedgerUnreachable(
                f"a ledger of {found.network!r} answers, not one of {self.network!r}",
                field="answer", hint=_OTHER,
            )  # fmt: skip
        if self.ledger_id is not None and found.ledger_id != self.ledger_id:
            raise LedgerUnreachable("another ledger answers", field="answer", hint=_OTHER)
        domain, now = Domain(found.network, found.ledger_id), int(self.clock())
        try:
            known = self.certificates or CertificateSet(domain)
            known = known.merged(found.certificates, found.revocations, now)
        except (BadSignature, Malformed) as error:
            raise LedgerUnreachable(
                f"the ledger's certificate is not good: {error}", field="certificate"
            ) from error
        # Whoever answers here: what the root key has revoked stays revoked.
        self.certificates = known
        certificate = _signer(known, answer, now)
        if certificate is None:
            raise _not_in_force(known, answer, found.certificates)
        check_answer(certificate, domain, head, b"", answer)
        self.ledger_id = found.ledger_id
        self.identity, self._identified_at = found, self.clock()
        return found

    def _once(self, call: Call[T]) -> Attempts[Attested[T]]:
        known = self.identity
        if known is None or self.clock() - self._identified_at > REFRESH_S:
            known = yield from self._identify()
        domain = Domain(known.network, known.ledger_id)
        head = call.head(domain, int(self.clock()))
        answer = yield from _exchange(call, head)
        certificate = yield from self._certificate_of(answer)
        check_answer(certificate, domain, head, call.body, answer)
        kept = SignedAnswer(head, call.body, answer, certificate)
        return Attested(_read(call, answer), kept)

    def _certificate_of(self, answer: Answer) -> Attempts[Certificate]:
        """Of the key that ``answer`` names. One that is not known may be new: the ledger is asked who it
        is, but not for each answer that anybody on the way has spoilt."""
        assert self.certificates is not None
        certificate = _signer(self.certificates, answer, int(self.clock()))
        if certificate is None and self.clock() - self._doubted_at >= ASK_AGAIN_S:
            self._doubted_at = self.clock()
            yield from self._identify()
            certificate = _signer(self.certificates, answer, int(self.clock()))
        if certificate is None:
            raise _not_in_force(self.certificates, answer)
        return certificate

    def ordered(self, signed: SignedStatement, order: OpenChannel) -> SignedStatement:
        """The statement, if it promises what was ordered."""
        body = self.promised(signed, signed.statement.channel).statement
        promised = (body.payer_key, body.payee_key, body.nonce, body.money_class, body.escrow)
        if promised != (
            order.payer_key, order.payee_key, order.nonce, order.money_class, order.escrow,
        ):  # fmt: skip
            raise LedgerUnreachable("is not the channel that was ordered", field="statement")
        return signed

    def promised(self, signed: SignedStatement, channel: bytes) -> SignedStatement:
        """The statement, if it is the ledger's and about ``channel``."""
        assert self.certificates is not None
        body = signed.statement
        try:
            signed.check(self.certificates, int(self.clock()))
        except SpeedpayError as error:
            raise LedgerUnreachable(str(error), field="statement") from error
        if body.channel != channel:
            raise LedgerUnreachable("is about another channel", field="statement")
        return signed


def _signer(known: CertificateSet, answer: Answer, now: int) -> Certificate | None:
    """The certificate in force of the key that ``answer`` says has signed it."""
    believed = known.in_force(now)
    return next((one for one in believed if key_id(one.response_key) == answer.key_id), None)


def _not_in_force(
    known: CertificateSet, answer: Answer, shown: Iterable[Certificate] = ()
) -> LedgerUnreachable:
    if answer.key_id in [key_id(one.response_key) for one in known.revocations]:
        return LedgerUnreachable(
            "an answer came that is signed by a key which the ledger has revoked",
            hint="somebody between you and the ledger may have stolen that key; its operator knows",
        )
    if answer.key_id in [key_id(one.response_key) for one in (*known.certificates, *shown)]:
        return LedgerUnreachable(
            "the certificate of the ledger's key is not in force now", field="certificate",
            hint="is the clock of this machine right?",
        )  # fmt: skip
    return LedgerUnreachable(
        "the answer is not the ledger's", field=ANSWER_SIGNATURE_HEADER,
        hint="something between you and the ledger changes its answers, or it is another ledger",
    )  # fmt: skip


def _exchange(call: Call[T], head: Head) -> Attempts[Answer]:
    answer = yield Send(head, call.body)
    if not isinstance(answer, Answer):
        raise answer or LedgerUnreachable("did not answer")
    if answer.status >= 500 and not answer.signature:  # overrun, or a mistake of its own
        raise LedgerUnreachable(f"the ledger answered nothing but status {answer.status}")
    return answer


def _read(call: Call[T], answer: Answer) -> T:
    try:
        fields = Fields(strict.parse(answer.body))
        if answer.status == 200:
            return call.read(fields)
        refusal = read_error(fields.inner("error"))
    except (Malformed, ValueError) as error:
        raise LedgerUnreachable(
            f"the ledger's answer is not understood: {error}", field="answer"
        ) from error
    raise refusal
