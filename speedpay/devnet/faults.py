"""What can be wrong with a node, on request: slow, busy, lying, behind, on another network.

A fault has a kind, a pattern for the paths it concerns, and how often it strikes (None: until cleared).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from enum import Enum
from fnmatch import fnmatchcase

from speedpay.devnet.schema import TYPE_URL, Fields
from speedpay.devnet.transaction import Transaction, build
from speedpay.errors import InvalidSetting

_BROADCAST = "wallet/broadcast*"
_MAX_FAULTS = 100


class Kind(Enum):
    BUSY = "busy"  # SERVER_BUSY, or java-tron's words for a call beyond its rate
    TIMEOUT = "timeout"  # no answer for `seconds`, then the connection is cut; nothing was done
    TOO_MANY = "429"
    HTTP_500 = "http500"
    LOST_BUT_MINED = "lost_but_mined"  # accepted, and the connection is cut instead of an answer
    NEVER_MINED = "accepted_never_mined"  # "success", and forgotten
    LIE_TXID = "lie_txid"  # another transaction to sign than asked for
    BEHIND = "behind"  # the node's head is `blocks` behind
    WRONG_GENESIS = "wrong_genesis"  # its block 0 has another id, `genesis` or a made-up one


#: These colour every answer; the others take the place of one.
STANDING = (Kind.BEHIND, Kind.WRONG_GENESIS)
_PATTERNS = dict.fromkeys((Kind.BUSY, Kind.LOST_BUT_MINED, Kind.NEVER_MINED), _BROADCAST)


@dataclass(frozen=True)
class Fault:
    kind: Kind
    count: int | None
    path: str
    seconds: float = 30.0
    blocks: int = 0
    genesis: bytes = b"\x00" * 8 + b"\xff" * 24

    def to_json(self) -> dict[str, object]:
        return {"kind": self.kind.value, "count": self.count, "path": self.path}


class Faults:
    """Of one node. Used by its own thread and by whoever injects."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(
        self,
        kind: str,
        count: int | None = None,
        path: str | None = None,
        *,
        seconds: float = 30.0,
        blocks: int = 0,
        genesis: bytes | None = None,
    ) -> Fault:
        """``count`` defaults to 1, and for ``behind`` and ``wrong_genesis`` to no end."""
        try:
            known = Kind(kind)
        except ValueError as error:
            names = ", ".join(one.value for one in Kind)
            raise InvalidSetting(f"must be one of {names}", field="kind") from error
        standing = known in STANDING
        if count is not None and not 0 < count <= 1_000_000:
            raise InvalidSetting("must be 1 to 1000000", field="count")
        if not 0 <= seconds <= 600:
            raise InvalidSetting("must be 0 to 600", field="seconds")
        if (known is Kind.BEHIND) != (blocks > 0) or blocks > 1_000:
            raise InvalidSetting("must be 1 to 1000, for the kind behind", field="blocks")
        fault = Fault(
            known,
            count if count is not None or standing else 1,
            path or _PATTERNS.get(known, "*"),
            seconds,
            blocks,
        )
        if genesis is not None:
            fault = replace(fault, genesis=genesis)
        with self._lock:
            if len(self._faults) >= _MAX_FAULTS:
                raise InvalidSetting(f"at most {_MAX_FAULTS} at a time", field="fault")
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._faults = []

    def pending(self) -> list[Fault]:
        with self._lock:
            return list(self._faults)

    def take(self, path: str) -> dict[Kind, Fault]:
        """What strikes a request: all that stands, and the oldest of the others."""
        struck: dict[Kind, Fault] = {}
        with self._lock:
            for at, fault in enumerate(self._faults):
                if not fnmatchcase(path, fault.path) or fault.kind in struck:
                    continue
                if fault.kind not in STANDING and any(kind not in STANDING for kind in struck):
                    continue
                if fault.kind is Kind.LIE_TXID and path not in LYING_PATHS:
                    continue
                struck[fault.kind] = fault
                if fault.count is not None:
                    self._faults[at] = replace(fault, count=fault.count - 1)
            self._faults = [fault for fault in self._faults if fault.count != 0]
        return struck


LYING_PATHS = tuple(
    f"wallet/{name}"
    for name in ("getsignweight", "createtransaction", "triggersmartcontract", "deploycontract")
)
#: Where the liar wants the money.
THIEF = bytes.fromhex("bad0" * 10)


def another(asked: Transaction) -> Transaction:
    """A transfer of one TRX to the thief, in all else like the transaction that was asked about."""
    stolen: Fields = {
        "type": "TransferContract",
        "parameter": {
            "type_url": TYPE_URL + "TransferContract",
            "value": {"owner_address": asked.owner, "to_address": THIEF, "amount": 1_000_000},
        },
    }
    raw_data = {name: value for name, value in asked.raw_data.items() if name != "fee_limit"}
    return build(raw_data | {"contract": [stolen]})
