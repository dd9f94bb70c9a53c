"""How the wallet holds its account: by which of its keys, since when, and what is under way.

Kept in the keystore's header, so that whoever rewrites it makes the seed unreadable. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec

from speedpay.ledger_api.owners import Consent

Hex16 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
HexKey = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{66}\Z")]
HexSignature = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{128}\Z")]
HexAddress = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{40}\Z")]


@dataclass(frozen=True, slots=True)
class KeyChange:
    """An order to change the account's key that was begun. Nobody knows whether the ledger has done it;
    until it says so, it is asked for once more under the same idempotency key."""

    consent: Consent
    idempotency_key: bytes


@dataclass(frozen=True, slots=True)
class Tenure:
    """How the wallet holds its account: by the key after ``changes`` changes, and no more at all once
    another key has it (``given_to``, 33 bytes). ``since``: when it came from somebody, unix seconds."""

    changes: int = 0
    pending: KeyChange | None = None
    given_to: bytes | None = None
    since: int | None = None


#: Of a wallet that opened its account itself, by its first key.
FIRST = Tenure()


class StoredTenure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """As it stands in the file; what has its default is left out."""

    changes: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 0
    pending: tuple[HexKey, HexAddress, HexSignature, Hex16] | None = None
    given_to: HexKey | None = None
    since: Annotated[int, msgspec.Meta(ge=0, lt=2**40)] | None = None

    @classmethod
    def of(cls, tenure: Tenure) -> StoredTenure | None:
        """None for a wallet that never changed its key: it is written as before there were changes."""
        if tenure == FIRST:
            return None
        pending, made = tenure.pending, None
        if pending is not None:
            consent = pending.consent
            parts = (
                consent.public_key, consent.payout, consent.signature, pending.idempotency_key,
            )  # fmt: skip
            key, payout, signature, order = (part.hex() for part in parts)
            made = (key, payout, signature, order)
        given_to = tenure.given_to.hex() if tenure.given_to else None
        return cls(tenure.changes, made, given_to, tenure.since)

    def read(self, account: str | None) -> Tenure:
        """``account``: the wallet's, as hex. Raises ValueError."""
        pending = None
        if self.pending is not None:
            if account is None:
                raise ValueError("a change of the key of no account")
            key, payout, signature, order = (bytes.fromhex(part) for part in self.pending)
            pending = KeyChange(Consent(bytes.fromhex(account), key, payout, signature), order)
        given_to = bytes.fromhex(self.given_to) if self.given_to else None
        return Tenure(self.changes, pending, given_to, self.since)
