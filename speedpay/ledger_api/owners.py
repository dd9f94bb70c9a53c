"""Whose an account is: handing it over to another key, and showing its history to everybody. Pure.

A hand-over needs two signatures over the account and the new key. The new key's is the *consent*: nobody
can burden a key with an account, and it names the address to which the new owner lets the account's
tokens leave. The old key's is the order itself. Both stay with the ledger, so that it can show for ever
how an account came to its key, and cannot give one away by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from speedpay.channel.voucher import ACCOUNT_ID_BYTES
from speedpay.errors import Malformed
from speedpay.ledger_api.answers import History
from speedpay.ledger_api.calls import Call
from speedpay.ledger_api.shapes import Json
from speedpay.ledger_api.strict import Fields, dump
from speedpay.proof.leaf import ADDRESS_BYTES
from speedpay.signing import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    Domain,
    SigningKey,
    check_public_key,
    verify,
)

_PREFIX = "speedpay-consent-1:"
_TEXT = re.compile(
    _PREFIX
    + "".join(
        f"([0-9a-f]{{{2 * length}}})"
        for length in (ACCOUNT_ID_BYTES, PUBLIC_KEY_BYTES, ADDRESS_BYTES, SIGNATURE_BYTES)
    )
)


@dataclass(frozen=True, slots=True)
class Consent:
    """``public_key`` takes ``account``, whose tokens may leave to ``payout`` (20 bytes) alone."""

    account: bytes
    public_key: bytes
    payout: bytes
    signature: bytes

    @classmethod
    def sign(cls, key: SigningKey, domain: Domain, account: bytes, payout: bytes) -> Consent:
        signature = key.sign("consent", domain, account + key.public + payout)
        return cls(account, key.public, payout, signature)

    def check(self, domain: Domain) -> None:
        """Raises BadSignature."""
        body = self.account + self.public_key + self.payout
        verify(self.public_key, "consent", domain, body, self.signature, "consent")

    def to_text(self) -> str:
        """One line of ASCII, to be carried from the new owner to the old one."""
        parts = (self.account, self.public_key, self.payout, self.signature)
        return _PREFIX + b"".join(parts).hex()

    @classmethod
    def from_text(cls, text: str) -> Consent:
        """Raises Malformed."""
        found = _TEXT.fullmatch(text.strip())
        if found is None:
            raise Malformed("is not what speedpay wallet consent prints", field="consent")
        account, public_key, payout, signature = (bytes.fromhex(part) for part in found.groups())
        check_public_key(public_key, "consent")
        return cls(account, public_key, payout, signature)


@dataclass(frozen=True, slots=True)
class HandOver:
    """``given``: the old key's signature over account, both keys and the payout of ``consent``."""

    old_key: bytes
    consent: Consent
    given: bytes

    @classmethod
    def sign(cls, key: SigningKey, domain: Domain, consent: Consent) -> HandOver:
        return cls(key.public, consent, key.sign("hand-over", domain, _given(key.public, consent)))

    def check(self, domain: Domain) -> None:
        """Raises BadSignature unless both keys signed, Malformed when they are one."""
        if self.old_key == self.consent.public_key:
            raise Malformed("is the key that the account has", field="to")
        self.consent.check(domain)
        verify(
            self.old_key, "hand-over", domain, _given(self.old_key, self.consent), self.given,
            "given",
        )  # fmt: skip

    @classmethod
    def from_json(cls, value: object, account: bytes) -> HandOver:
        fields = Fields(value)
        old_key, new_key = fields.hex("from", PUBLIC_KEY_BYTES), fields.hex("to", PUBLIC_KEY_BYTES)
        check_public_key(old_key, "from")
        check_public_key(new_key, "to")
        payout = fields.hex("payout", ADDRESS_BYTES)
        consent = Consent(account, new_key, payout, fields.hex("consent", SIGNATURE_BYTES))
        made = cls(old_key, consent, fields.hex("given", SIGNATURE_BYTES))
        fields.end()
        return made

    def to_json(self) -> Json:
        return {
            "from": self.old_key.hex(), "to": self.consent.public_key.hex(),
            "payout": self.consent.payout.hex(), "consent": self.consent.signature.hex(),
            "given": self.given.hex(),
        }  # fmt: skip


def _given(old_key: bytes, consent: Consent) -> bytes:
    return consent.account + old_key + consent.public_key + consent.payout


@dataclass(frozen=True, slots=True)
class Publish:
    """``on``: may everybody read the account's history from now on?"""

    on: bool

    @classmethod
    def from_json(cls, value: object) -> Publish:
        fields = Fields(value)
        made = cls(fields.flag("on"))
        fields.end()
        return made

    def to_json(self) -> Json:
        return {"on": self.on}


def hand_over(key: SigningKey, order: HandOver, idempotency_key: bytes) -> Call[None]:
    account = order.consent.account
    return Call(
        "POST", f"/v1/accounts/{account.hex()}/key", lambda fields: None, dump(order.to_json()),
        key, account, idempotency_key,
    )  # fmt: skip


def publish(key: SigningKey, account: bytes, order: Publish, idempotency_key: bytes) -> Call[None]:
    return Call(
        "POST", f"/v1/accounts/{account.hex()}/publication", lambda fields: None,
        dump(order.to_json()), key, account, idempotency_key,
    )  # fmt: skip


def published_history(account: bytes, before: int | None, limit: int) -> Call[History]:
    """Unsigned: what its owner has published, without channels and without others who have not."""
    query = f"limit={limit}" if before is None else f"before={before}&limit={limit}"
    return Call("GET", f"/v1/accounts/{account.hex()}/history?{query}", History.read)
