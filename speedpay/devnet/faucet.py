"""Money for tests: an account with nearly all TRX, whose key anybody can compute.

Its grants are ordinary signed transfers, so they survive restarts and reorgs like everything else.
"""

from __future__ import annotations

import hashlib
import itertools

import coincurve

from speedpay.chain.address import of_public_key
from speedpay.devnet.schema import TYPE_URL, Fields
from speedpay.devnet.transaction import Transaction, build
from speedpay.errors import InvalidSetting

FUNDS_SUN = 90_000_000_000 * 1_000_000
MAX_GRANT_SUN = 1_000_000_000 * 1_000_000
_LIFETIME_MS = 60 * 60 * 1000


class Faucet:
    def __init__(self, genesis_id: bytes) -> None:
        self._key = coincurve.PrivateKey(hashlib.sha256(b"devnet faucet" + genesis_id).digest())
        self.address = of_public_key(self._key.public_key.format())
        self._counter = itertools.count()

    def grant(self, to: bytes, sun: int, reference: bytes, now_ms: int) -> Transaction:
        """A signed transfer. ``reference``: the id of a block."""
        if not 0 < sun <= MAX_GRANT_SUN:
            raise InvalidSetting(f"must be 1 to {MAX_GRANT_SUN}", field="amount_sun")
        raw_data: Fields = {
            "ref_block_bytes": reference[6:8],
            "ref_block_hash": reference[8:16],
            # The same grant twice in a millisecond shall be two transactions.
            "expiration": now_ms + _LIFETIME_MS + next(self._counter) % _LIFETIME_MS,
            "timestamp": now_ms,
            "contract": [
                {
                    "type": "TransferContract",
                    "parameter": {
                        "type_url": TYPE_URL + "TransferContract",
                        "value": {
                            "owner_address": self.address, "to_address": to, "amount": sun,
                        },
                    },
                }
            ],
        }  # fmt: skip
        signature = self._key.sign_recoverable(build(raw_data).txid, hasher=None)
        return build(raw_data, (signature[:64] + bytes([signature[64] + 27]),))
