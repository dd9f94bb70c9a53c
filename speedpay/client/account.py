"""Who pays and is paid: the parts of an opened wallet that a running client needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from speedpay.signing import Domain, SigningKey


class Keys(Protocol):
    """What the wallet derives. No secret leaves a ``SigningKey``."""

    identity: SigningKey

    def channel_key(self, infohash: bytes, peer_tag: bytes) -> SigningKey: ...

    def payee_key(self, infohash: bytes) -> SigningKey: ...


@dataclass(frozen=True, slots=True)
class Account:
    """``id``: the 16 bytes under which the ledger knows the owner. Peers never see it."""

    id: bytes
    keys: Keys
    domain: Domain
