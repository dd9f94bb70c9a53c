"""Naming the payout address to the ledger, once for ever, and remembering that it was confirmed.

The request is signed by the identity; inside it the payout key signs that this account may name it. With
it goes the key from which owner and ledger derive the salts of the leaf. After the ledger has confirmed,
a leaf that names no address, or another, is a lie: ``judgement.py`` asks for the time kept here.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from speedpay.errors import AlreadyExists, SpeedpayError
from speedpay.ledger_api import strict
from speedpay.ledger_api.client import LedgerClient
from speedpay.ledger_api.epochs import NamePayout
from speedpay.ledger_api.shapes import MAX_TIME
from speedpay.ledger_api.signed import IDEMPOTENCY_KEY_BYTES
from speedpay.ledger_api.strict import Fields
from speedpay.signing import Domain
from speedpay.wallet import files
from speedpay.wallet.funds import name_of
from speedpay.wallet.keys import Keys
from speedpay.wallet.keystore import Place

_MAX_FILE_BYTES = 1024


def named_address(folder: Path, place: Place) -> bytes | None:
    """The address that the ledger has confirmed for this account, as far as this wallet remembers."""
    try:
        content, _ = files.read(folder / f"{name_of(place)}.payout", _MAX_FILE_BYTES)
        return Fields(strict.parse(content)).hex("address", 20)
    except SpeedpayError:
        return None


class Payout:
    """Of one account at one ledger; its file is in ``folder``."""

    def __init__(
        self, folder: Path, place: Place, keys: Keys, clock: Callable[[], float] = time.time
    ) -> None:
        assert place.account is not None
        assert place.ledger_id is not None
        name = name_of(place)
        self._path, self._lock = folder / f"{name}.payout", folder / f"{name}.lock"
        self._account, self._domain = place.account, Domain(place.network, place.ledger_id)
        self._keys, self._clock = keys, clock

    def named_at(self) -> int | None:
        """When the ledger confirmed it, unix seconds; None when it never did, or nobody remembers."""
        try:
            content, _ = files.read(self._path, _MAX_FILE_BYTES)
            fields = Fields(strict.parse(content))
            same = fields.hex("address", 20) == self._keys.chain.address
            return fields.integer("confirmed_at", 0, MAX_TIME) if same else None
        except SpeedpayError:
            return None

    def name(self, ledger: LedgerClient) -> None:
        """Asks the ledger, unless it has confirmed before. Raises what the ledger says."""
        if self.named_at() is not None:
            return
        keys = self._keys
        order = NamePayout.sign(
            keys.payout, keys.chain.address, keys.salt_key(self._domain.ledger_id),
            self._domain, self._account,
        )  # fmt: skip
        # The order is the same each time, and it is set once while an owner has the account: so is its
        # key, which is another for each owner, as an account may come back to these words.
        named = keys.chain.address + keys.identity.public
        digest = hashlib.sha256(b"speedpay/v1/payout-key\x00" + named).digest()
        try:
            ledger.name_payout(keys.identity, self._account, order, digest[:IDEMPOTENCY_KEY_BYTES])
        except AlreadyExists as error:
            error.hint = "withdrawals of this account go to another address than the words give"
            raise
        body = {"address": keys.chain.address.hex(), "confirmed_at": int(self._clock())}
        with files.locked(self._lock):
            files.write(self._path, strict.dump(body))
