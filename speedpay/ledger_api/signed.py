"""What is signed on the way to the ledger and on the way back.

A request's signed bytes are its method, target (path and query), account, time and idempotency key,
exactly as the header texts say, and sha256 of its body. They exist for unsigned requests as well,
with empty texts, so that every answer can be signed over *its* request: an answer cannot be passed
off as the answer to another question. Everything is inside ``signing.Domain``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from speedpay import signing
from speedpay.errors import BadSignature, LedgerUnreachable, Malformed
from speedpay.signing import Certificate, Domain, SigningKey

ACCOUNT_HEADER = "speedpay-account"
TIME_HEADER = "speedpay-time"
KEY_HEADER = "speedpay-key"
SIGNATURE_HEADER = "speedpay-signature"
ANSWER_SIGNATURE_HEADER = "speedpay-answer-signature"
ANSWER_KEY_ID_HEADER = "speedpay-answer-key-id"

ACCOUNT_BYTES = 16
IDEMPOTENCY_KEY_BYTES = 16
#: How far the clocks of client and ledger may differ.
TIME_TOLERANCE_S = 120
_TIME = re.compile(r"0|[1-9][0-9]{0,11}")


def account_id(first_public_key: bytes) -> bytes:
    """16 bytes, for ever: keys may change, the account's id stays that of its first key."""
    return hashlib.sha256(b"speedpay/v1/account\x00" + first_public_key).digest()[:ACCOUNT_BYTES]


def key_id(response_key: bytes) -> str:
    return hashlib.sha256(b"speedpay/v1/key-id\x00" + response_key).digest()[:8].hex()


@dataclass(frozen=True, slots=True)
class Head:
    """A request but for its body; the texts of absent headers are empty.

    ``account`` is who signs: an account id (16 bytes), or a channel's own key (33 bytes) for looking
    up that channel without naming an account. Both in lowercase hex.
    """

    method: str
    target: str
    account: str = ""
    time: str = ""
    key: str = ""
    signature: str = ""

    def signed_bytes(self, body: bytes) -> bytes:
        texts = (self.method, self.target, self.account, self.time, self.key)
        parts = [text.encode("latin-1") for text in texts]
        joined = b"".join(len(part).to_bytes(4) + part for part in parts)
        return joined + hashlib.sha256(body).digest()

    def headers(self) -> dict[str, str]:
        named = {
            ACCOUNT_HEADER: self.account, TIME_HEADER: self.time,
            KEY_HEADER: self.key, SIGNATURE_HEADER: self.signature,
        }  # fmt: skip
        return {name: text for name, text in named.items() if text}

    def request_hash(self, body: bytes) -> bytes:
        """What an idempotency key is bound to: a later repetition has another time."""
        asked = f"{self.method} {self.target}\x00".encode("latin-1")
        return hashlib.sha256(asked + hashlib.sha256(body).digest()).digest()


def sign_request(
    key: SigningKey,
    domain: Domain,
    method: str,
    target: str,
    body: bytes,
    signer: bytes,
    now: int,
    idempotency_key: bytes | None,
) -> Head:
    if idempotency_key is not None and len(idempotency_key) != IDEMPOTENCY_KEY_BYTES:
        raise Malformed(f"must be {IDEMPOTENCY_KEY_BYTES} bytes", field="idempotency_key")
    unsigned = Head(
        method, target, signer.hex(), str(now), idempotency_key.hex() if idempotency_key else ""
    )
    signature = key.sign("request", domain, unsigned.signed_bytes(body))
    return Head(
        method, target, unsigned.account, unsigned.time, unsigned.key, signature.hex()
    )  # fmt: skip


def check_request_time(head: Head, now: int) -> int:
    """Seconds by which the request is early or late; Malformed when its time is no time."""
    if not _TIME.fullmatch(head.time):
        raise Malformed("must be unix seconds", field=TIME_HEADER)
    return int(head.time) - now


def check_request(public: bytes, domain: Domain, head: Head, body: bytes) -> None:
    """Raises BadSignature unless the owner of ``public`` signed exactly this request."""
    signature = header_bytes(head.signature, signing.SIGNATURE_BYTES, SIGNATURE_HEADER)
    signing.verify(public, "request", domain, head.signed_bytes(body), signature, SIGNATURE_HEADER)


def header_bytes(text: str, byte_count: int, field: str) -> bytes:
    if not re.fullmatch(rf"[0-9a-f]{{{2 * byte_count}}}", text):
        raise Malformed(f"must be {2 * byte_count} lowercase hex digits", field=field)
    return bytes.fromhex(text)


def _answer_bytes(
    domain: Domain, head: Head, request_body: bytes, status: int, body: bytes
) -> bytes:
    asked = signing.digest("request", domain, head.signed_bytes(request_body))
    return asked + status.to_bytes(2) + hashlib.sha256(body).digest()


def sign_answer(
    response_key: SigningKey,
    domain: Domain,
    head: Head,
    request_body: bytes,
    status: int,
    body: bytes,
) -> dict[str, str]:
    """The two headers of an answer."""
    signed = _answer_bytes(domain, head, request_body, status, body)
    signature = response_key.sign("answer", domain, signed)
    return {
        ANSWER_SIGNATURE_HEADER: signature.hex(),
        ANSWER_KEY_ID_HEADER: key_id(response_key.public),
    }


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    signature: str
    key_id: str


def check_answer(
    certificate: Certificate, domain: Domain, head: Head, request_body: bytes, answer: Answer
) -> None:
    """Raises LedgerUnreachable: what came is not the ledger's word, so nothing is known."""
    try:
        signature = header_bytes(answer.signature, signing.SIGNATURE_BYTES, ANSWER_SIGNATURE_HEADER)
        signed = _answer_bytes(domain, head, request_body, answer.status, answer.body)
        signing.verify(
            certificate.response_key, "answer", domain, signed, signature, ANSWER_SIGNATURE_HEADER
        )
    except (BadSignature, Malformed) as error:
        raise LedgerUnreachable(
            "the answer is not the ledger's", field=ANSWER_SIGNATURE_HEADER,
            hint="something between you and the ledger changes its answers, or it is another ledger",
        ) from error  # fmt: skip
