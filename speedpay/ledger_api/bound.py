"""The vault that a ledger is bound to, as its identity tells it. Clients pin it."""

from __future__ import annotations

from dataclasses import dataclass

from speedpay.ledger_api.shapes import Json
from speedpay.ledger_api.strict import Fields
from speedpay.proof.leaf import ADDRESS_BYTES


@dataclass(frozen=True, slots=True)
class BoundVault:
    """The contract for which the ledger signs heads, and its token: 20 bytes each."""

    chain_id: int
    vault: bytes
    token: bytes

    @classmethod
    def read(cls, fields: Fields) -> BoundVault:
        return cls(
            int.from_bytes(fields.hex("chain_id", 32)),
            fields.hex("vault", ADDRESS_BYTES),
            fields.hex("token", ADDRESS_BYTES),
        )

    def to_json(self) -> Json:
        return {
            "chain_id": self.chain_id.to_bytes(32).hex(), "vault": self.vault.hex(),
            "token": self.token.hex(),
        }  # fmt: skip
