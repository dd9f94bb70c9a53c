"""What a seller has accepted and not redeemed, by channel and by the key that vouches for it.

``market/risk.py`` says how much that may be. The sums are kept as they change: they are asked for each
block that leaves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from speedpay.market.risk import Risk, is_time_to_redeem, room
from speedpay.units import ZERO, Amount

#: Of channels from before a restart: which key signed for them was not written down.
NO_KEY = b""


@dataclass(slots=True)
class Held:
    """``asked``: redemption was asked for, and the ledger has not answered since."""

    key: bytes
    accepted: Amount = ZERO
    redeemed: Amount = ZERO
    asked: bool = False

    @property
    def open(self) -> Amount:
        return self.accepted.minus_or_zero(self.redeemed)


class Unredeemed:
    """``proven``: response keys on whose channels the ledger has paid before."""

    def __init__(self, cap: Amount, proven: Iterable[bytes] = ()) -> None:
        self.cap = cap
        self._proven = set(proven)
        self._revoked: set[bytes] = set()
        self._held: dict[bytes, Held] = {}
        #: What no ledger will pay, by key: it counts until that key is revoked.
        self._lost: dict[bytes, Amount] = {}
        self._total = ZERO
        self._under: dict[bytes, Amount] = {}

    def vouched(self, channel: bytes, key: bytes) -> None:
        """The newest statement of ``channel`` was signed by ``key``."""
        held = self._held.setdefault(channel, Held(key))
        self._count(held.key, held.open, ZERO)
        held.key = key
        self._count(key, ZERO, held.open)

    def accepted(self, channel: bytes, total: Amount) -> None:
        held = self._held.setdefault(channel, Held(NO_KEY))
        before, held.accepted = held.open, total
        self._count(held.key, before, held.open)

    def redeemed(self, channel: bytes, total: Amount) -> bytes | None:
        """The ledger has paid ``total`` of it. The key, if this is the first that it has paid for."""
        held = self._held.get(channel)
        if held is None:
            return None
        before, held.redeemed, held.asked = held.open, total, False
        self._count(held.key, before, held.open)
        if not total or held.key == NO_KEY or held.key in self._proven:
            return None
        self._proven.add(held.key)
        return held.key

    def closed(self, channel: bytes) -> None:
        """The ledger has closed it: what it paid is paid, and no more will come."""
        held = self._held.pop(channel, None)
        if held is not None:
            self._count(held.key, held.open, ZERO)

    def lost(self, channel: bytes) -> Amount:
        """The ledger does not know this channel. What it holds counts against its key for ever, which is no
        longer proven, so that whoever forged it cannot come again for as much; but not against other keys.
        Not so from before a restart: no revocation would ever write it off, and each start would find it
        again."""
        held = self._held.pop(channel, None)
        if held is None:
            return ZERO
        if held.key in self._revoked or held.key == NO_KEY:
            self._count(held.key, held.open, ZERO)
        else:
            self._lost[held.key] = self._lost.get(held.key, ZERO) + held.open
            self._total -= held.open
        return held.open

    def revoked(self, keys: Iterable[bytes]) -> list[bytes]:
        """These keys are not believed any more. Returns the channels to redeem now; sales on them go on
        under the first cap. What was lost under them is written off: it cannot come again."""
        fresh = set(keys) - self._revoked
        self._revoked |= fresh
        for key in fresh & self._lost.keys():
            self._under[key] -= self._lost.pop(key)
        return [channel for channel, held in self._held.items() if held.key in fresh and held.open]

    def room(self, channel: bytes) -> Amount:
        """How much more may be accepted on ``channel`` before the ledger has confirmed."""
        held = self._held.get(channel)
        return room(self.cap, self._risk(held.key if held else NO_KEY))

    def due(self, raised: bytes) -> list[bytes]:
        """Channels to redeem now that more was accepted on ``raised``, each once until the ledger answers."""
        if not is_time_to_redeem(self.cap, self._risk(self._held[raised].key)):
            return []
        found = []
        for channel, held in self._held.items():
            if held.open and not held.asked and is_time_to_redeem(self.cap, self._risk(held.key)):
                held.asked = True
                found.append(channel)
        return found

    def _risk(self, key: bytes) -> Risk:
        proven = key in self._proven and key not in self._revoked and key not in self._lost
        return Risk(self._total, self._under.get(key, ZERO), proven)

    def _count(self, key: bytes, before: Amount, after: Amount) -> None:
        self._total = self._total - before + after
        self._under[key] = self._under.get(key, ZERO) - before + after
