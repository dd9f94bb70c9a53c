"""An answer of the ledger that its owner keeps, with all that the ledger's signature covers.

It can be checked for ever, without the ledger: the request that it answers, the answer, the signature over
both, and the certificate by which the ledger's cold root key vouches for the key that signed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from speedpay.errors import BadSignature, LedgerUnreachable, Malformed
from speedpay.ledger_api import strict
from speedpay.ledger_api.answers import certificate_to_json, read_certificate
from speedpay.ledger_api.shapes import MAX_REQUEST_BYTES
from speedpay.ledger_api.signed import Answer, Head, check_answer
from speedpay.ledger_api.strict import Fields
from speedpay.signing import Certificate, Domain

T = TypeVar("T")
_OK = 200
#: The largest honest answer has well under 150 KB.
MAX_ANSWER_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class SignedAnswer:
    """``request``: the body of what was asked, often empty."""

    head: Head
    request: bytes
    answer: Answer
    certificate: Certificate

    def check(self, domain: Domain) -> Fields:
        """The answer's fields. Raises BadSignature unless the ledger of ``domain`` gave it to exactly
        this request, Malformed where it is no answer to build on."""
        at = int(self.head.time) if self.head.time.isdecimal() else self.certificate.not_before
        self.certificate.check(domain, at)
        try:
            check_answer(self.certificate, domain, self.head, self.request, self.answer)
        except LedgerUnreachable as error:
            raise BadSignature("the ledger did not sign this answer", field="answer") from error
        if self.answer.status != _OK:
            raise Malformed(f"has status {self.answer.status}", field="answer")
        return Fields(strict.parse(self.answer.body))

    def to_bytes(self) -> bytes:
        head = self.head
        return strict.dump(
            {
                "method": head.method, "target": head.target, "account": head.account,
                "time": head.time, "key": head.key, "request": self.request.decode(),
                "status": self.answer.status, "body": self.answer.body.decode(),
                "signature": self.answer.signature, "key_id": self.answer.key_id,
                "certificate": certificate_to_json(self.certificate),
            }
        )  # fmt: skip

    @classmethod
    def from_bytes(cls, kept: bytes) -> SignedAnswer:
        """Raises Malformed."""
        fields = Fields(strict.parse(kept))

        def text(name: str, max_chars: int) -> str:
            found = fields.text(name, max_chars)
            if not found.isascii():
                raise Malformed("must be ASCII", field=name)
            return found

        head = Head(
            text("method", 8), text("target", 256), text("account", 66), text("time", 12),
            text("key", 32),
        )  # fmt: skip
        answer = Answer(
            fields.integer("status", 0, 999), text("body", MAX_ANSWER_BYTES).encode(),
            text("signature", 128), text("key_id", 16),
        )  # fmt: skip
        certificate = read_certificate(fields.inner("certificate"))
        return cls(head, text("request", MAX_REQUEST_BYTES).encode(), answer, certificate)


@dataclass(frozen=True, slots=True)
class Attested(Generic[T]):
    """What was answered, and the answer itself."""

    value: T
    answer: SignedAnswer
