"""What a payee signs about a sale when its payer asks: so much was paid, for so many bytes, of what the payer
alone can name.

The content stands in it as a commitment. Who holds the receipt without the salt learns nothing of it; who
is shown the salt as well can check which content it was.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from speedpay.signing import Domain, SigningKey, verify
from speedpay.units import Amount

SALT_BYTES = 32
#: Of no torrent: where only one is bought and sold, as in a test.
NO_INFOHASH = bytes(20)


def content_commitment(salt: bytes, infohash: bytes) -> bytes:
    """32 bytes. ``salt``: 32 bytes that the payer chose; ``infohash``: 20 bytes."""
    return hashlib.sha256(b"speedpay/v1/content\x00" + salt + infohash).digest()


@dataclass(frozen=True, slots=True)
class PayeeReceipt:
    """``cumulative``: the highest total that the payee holds of ``channel`` (32 bytes). ``byte_count``:
    billed on the connection on which it was asked. ``time``: unix seconds, by the payee's clock."""

    channel: bytes
    cumulative: Amount
    byte_count: int
    commitment: bytes
    time: int
    signature: bytes

    @staticmethod
    def body(
        channel: bytes, cumulative: Amount, byte_count: int, commitment: bytes, time: int
    ) -> bytes:
        """88 bytes: channel, cumulative (8), bytes (8), commitment (32), time (8)."""
        return (
            channel + cumulative.utok.to_bytes(8) + byte_count.to_bytes(8) + commitment
            + time.to_bytes(8)
        )  # fmt: skip

    @classmethod
    def sign(
        cls, key: SigningKey, domain: Domain, channel: bytes, cumulative: Amount, byte_count: int,
        commitment: bytes, time: int,
    ) -> PayeeReceipt:  # fmt: skip
        """``key``: the payee key of the channel's statement."""
        body = cls.body(channel, cumulative, byte_count, commitment, time)
        signature = key.sign("receipt", domain, body)
        return cls(channel, cumulative, byte_count, commitment, time, signature)

    def check(self, domain: Domain, payee_key: bytes) -> None:
        """Raises BadSignature unless ``payee_key``'s owner (33 bytes) signed it."""
        body = self.body(self.channel, self.cumulative, self.byte_count, self.commitment, self.time)
        verify(payee_key, "receipt", domain, body, self.signature, "receipt.signature")
