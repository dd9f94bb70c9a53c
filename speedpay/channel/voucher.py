"""Channel ids, statements and vouchers: the objects of a channel and their exact signed bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from speedpay.certificates import CertificateSet
from speedpay.errors import BadSignature, Malformed, WrongChannel, WrongLedger
from speedpay.signing import (
    HASH_BYTES,
    PUBLIC_KEY_BYTES,
    Domain,
    SigningKey,
    check_public_key,
    verify,
)
from speedpay.units import MAX_UTOK, Amount, MoneyClass, Share

NONCE_BYTES = 16
ACCOUNT_ID_BYTES = 16
STATEMENT_BYTES = HASH_BYTES + 2 * PUBLIC_KEY_BYTES + NONCE_BYTES + 1 + 8 + 8 + 8 + 4
_CLASS_BYTE = {MoneyClass.TOKEN: b"\x00", MoneyClass.CREDIT: b"\x01"}
_CLASS_OF_BYTE = {byte: money_class for money_class, byte in _CLASS_BYTE.items()}


def channel_id(domain: Domain, payer_key: bytes, payee_key: bytes, nonce: bytes) -> bytes:
    """32 bytes: the hash of ledger, payer's channel key, payee's key and the payer's nonce."""
    return hashlib.sha256(
        b"speedpay/v1/channel-id\x00" + domain.ledger_id + payer_key + payee_key + nonce
    ).digest()


@dataclass(frozen=True, slots=True)
class Statement:
    """What the ledger promises a payee: this much is locked for you until then.

    ``claim_s`` is the length of the claim window after ``expiry`` (unix seconds), counted while the
    ledger is up. ``fee`` is taken from the payee at redemption, rounded down. A top-up is a newer
    statement of the same channel with more escrow or a later expiry. No content is named in it.
    """

    channel: bytes
    payer_key: bytes
    payee_key: bytes
    nonce: bytes
    money_class: MoneyClass
    escrow: Amount
    expiry: int
    claim_s: int
    fee: Share

    def to_bytes(self) -> bytes:
        return (
            self.channel + self.payer_key + self.payee_key + self.nonce
            + _CLASS_BYTE[self.money_class]
            + self.escrow.utok.to_bytes(8) + self.expiry.to_bytes(8)
            + self.claim_s.to_bytes(8) + self.fee.ppm.to_bytes(4)
        )  # fmt: skip

    @classmethod
    def from_bytes(cls, body: bytes, field: str = "statement") -> Statement:
        """Raises Malformed unless ``body`` is exactly the ``STATEMENT_BYTES`` of one statement."""
        if len(body) != STATEMENT_BYTES:
            raise Malformed(f"must be {STATEMENT_BYTES} bytes", field=field)
        at = 0

        def take(count: int) -> bytes:
            nonlocal at
            at += count
            return body[at - count : at]

        channel, payer_key = take(HASH_BYTES), take(PUBLIC_KEY_BYTES)
        payee_key, nonce, class_byte = take(PUBLIC_KEY_BYTES), take(NONCE_BYTES), take(1)
        escrow, expiry, claim_s, fee = (int.from_bytes(take(n)) for n in (8, 8, 8, 4))
        if class_byte not in _CLASS_OF_BYTE:
            raise Malformed("is not a known class of money", field=f"{field}.class")
        if fee > 1_000_000:
            raise Malformed("is more than everything", field=f"{field}.fee")
        if escrow > MAX_UTOK:
            raise Malformed("is outside 0 … 2^63-1 µtok", field=f"{field}.escrow")
        if expiry >= 2**62:
            raise Malformed("is out of range", field=f"{field}.expiry")
        if claim_s >= 2**62:
            raise Malformed("is out of range", field=f"{field}.claim_s")
        check_public_key(payer_key, f"{field}.payer_key")
        check_public_key(payee_key, f"{field}.payee_key")
        return cls(
            channel, payer_key, payee_key, nonce, _CLASS_OF_BYTE[class_byte],
            Amount(escrow), expiry, claim_s, Share(fee),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class SignedStatement:
    statement: Statement
    signature: bytes

    @classmethod
    def sign(
        cls, response_key: SigningKey, domain: Domain, statement: Statement
    ) -> SignedStatement:
        return cls(statement, response_key.sign("statement", domain, statement.to_bytes()))

    def check(self, keys: CertificateSet, now: int) -> bytes:
        """What a payee does offline. Returns the response key that signed it.

        Raises WrongLedger, BadSignature, or Stale for a key that was revoked or has ended: then the ledger
        signs the same statement anew for its owner. ``keys``: fetched and checked earlier.
        """
        body, domain = self.statement, keys.domain
        expected = channel_id(domain, body.payer_key, body.payee_key, body.nonce)
        if body.channel != expected:
            raise WrongLedger("is not this ledger's id for these keys", field="statement.channel")
        try:
            return keys.signer(
                "statement", body.to_bytes(), self.signature, now, "statement.signature"
            )
        except BadSignature as error:
            raise BadSignature(
                "the ledger did not sign this channel", field="statement.signature"
            ) from error


@dataclass(frozen=True, slots=True)
class Voucher:
    """ "Of this channel, ``cumulative`` in total is yours." Identified by (channel, cumulative)."""

    channel: bytes
    cumulative: Amount
    signature: bytes

    @staticmethod
    def body(channel: bytes, cumulative: Amount) -> bytes:
        return channel + cumulative.utok.to_bytes(8)

    @classmethod
    def sign(cls, key: SigningKey, domain: Domain, channel: bytes, cumulative: Amount) -> Voucher:
        """Only ``channel/payer.py`` calls this, after it has asked whether it may."""
        return cls(channel, cumulative, key.sign("voucher", domain, cls.body(channel, cumulative)))


@dataclass(frozen=True, slots=True)
class Assignment:
    """The payee's channel key names the account that is paid; the payer never sees it."""

    channel: bytes
    account: bytes
    signature: bytes

    @classmethod
    def sign(cls, key: SigningKey, domain: Domain, channel: bytes, account: bytes) -> Assignment:
        return cls(channel, account, key.sign("assignment", domain, channel + account))

    def check(self, domain: Domain, payee_key: bytes) -> None:
        if len(self.account) != ACCOUNT_ID_BYTES:
            raise Malformed(f"must be {ACCOUNT_ID_BYTES} bytes", field="assignment.account")
        body = self.channel + self.account
        verify(payee_key, "assignment", domain, body, self.signature, "assignment.signature")


@dataclass(frozen=True, slots=True)
class Closing:
    """ "End this channel: ``cumulative`` in all is what I was promised." Signed by the payee's key.

    An assignment does not say so: whoever read one on the way could end the channel with it while it
    is in use, and what the payee earned afterwards could never be paid. Nor can the voucher that
    comes with it be left out on the way: the total is signed.
    """

    channel: bytes
    account: bytes
    cumulative: Amount
    signature: bytes

    @staticmethod
    def body(channel: bytes, account: bytes, cumulative: Amount) -> bytes:
        return channel + account + cumulative.utok.to_bytes(8)

    @classmethod
    def sign(
        cls, key: SigningKey, domain: Domain, channel: bytes, account: bytes, cumulative: Amount
    ) -> Closing:
        signature = key.sign("close", domain, cls.body(channel, account, cumulative))
        return cls(channel, account, cumulative, signature)

    def check(self, domain: Domain, payee_key: bytes) -> None:
        if len(self.account) != ACCOUNT_ID_BYTES:
            raise Malformed(f"must be {ACCOUNT_ID_BYTES} bytes", field="close.account")
        body = self.body(self.channel, self.account, self.cumulative)
        verify(payee_key, "close", domain, body, self.signature, "close.signature")


def with_more_escrow(known: Statement, newer: Statement) -> Statement:
    """The newer statement of the same channel, or WrongChannel if it changes anything else."""
    same = replace(newer, escrow=known.escrow, expiry=known.expiry)
    if same != known or newer.escrow < known.escrow or newer.expiry < known.expiry:
        raise WrongChannel("may only add escrow or time to the same channel", field="statement")
    return newer
