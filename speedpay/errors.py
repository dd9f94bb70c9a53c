"""Every error that speedpay raises on purpose.

::

    SpeedpayError
    ├── Refused                 an outsider's input broke a rule; nothing has changed
    │   ├── Malformed           shape, size, range or encoding
    │   ├── OutOfOrder          a message that this state does not allow
    │   ├── BadSignature        forged, or not in the one canonical form
    │   ├── BadSeal             not sealed for this connection, direction and number
    │   ├── WrongNetwork        signed for another network
    │   ├── WrongLedger         signed for another ledger
    │   ├── WrongChannel        signed for another channel, payee or price
    │   ├── NotIncreasing       a cumulative total that does not rise
    │   ├── AboveEscrow         more than the channel holds
    │   ├── ChannelUnknown      no such channel, or not confirmed yet
    │   ├── ChannelClosed       closed or expired
    │   ├── Stale               too old, too new, or replayed
    │   ├── OverLimit           too many, too often
    │   ├── NotAllowed          somebody else's account or channel
    │   ├── KeyReused           one idempotency key with two different requests
    │   └── BalanceTooSmall     the account does not hold that much
    ├── OverBudget              our own spending limit says no
    ├── InvalidSetting          a flag, file or variable of the user's
    ├── NotFound
    ├── AlreadyExists
    ├── LedgerUnreachable       no confirmed answer; the request may be repeated
    ├── LedgerFailed            the ledger could not serve the request now (5xx)
    ├── NoPeers
    ├── Unfinished              stopped before the work was complete; it can go on later
    ├── KeystoreLocked          wrong or missing passphrase
    ├── KeystoreDamaged         the file is not what was saved
    ├── DiskFull
    ├── ChainUnreachable        no node answered, or two contradict; the request may be repeated
    ├── ChainRefused            the network or a contract said no; nothing has happened there
    ├── ProofBroken             the ledger's word, its proof and the chain do not agree
    ├── NativeUnavailable       the libtorrent extension cannot be used here
    └── BooksBroken             an invariant of the ledger does not hold

Codes are stable: they travel over HTTP and in the peer protocol's ``error`` message. Exit codes are
those of the command line. ``is_misbehaviour`` says that no honest peer could have caused it.
"""

from __future__ import annotations

from typing import ClassVar


class SpeedpayError(Exception):
    """Base of the tree. ``field`` names the offending input, ``hint`` what to do next."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    is_misbehaviour: ClassVar[bool] = False

    def __init__(self, message: str, *, field: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class Refused(SpeedpayError):
    code = "refused"


class Malformed(Refused):
    code = "malformed"
    is_misbehaviour = True


class OutOfOrder(Refused):
    code = "out_of_order"
    is_misbehaviour = True


class BadSignature(Refused):
    code = "bad_signature"
    is_misbehaviour = True


class BadSeal(Refused):
    code = "bad_seal"
    is_misbehaviour = True


class WrongNetwork(Refused):
    code = "wrong_network"
    is_misbehaviour = True


class WrongLedger(Refused):
    code = "wrong_ledger"
    is_misbehaviour = True


class WrongChannel(Refused):
    code = "wrong_channel"
    is_misbehaviour = True


class NotIncreasing(Refused):
    """Normal after a reconnect, hence no misbehaviour."""

    code = "not_increasing"


class AboveEscrow(Refused):
    code = "above_escrow"
    is_misbehaviour = True


class ChannelUnknown(Refused):
    code = "channel_unknown"


class ChannelClosed(Refused):
    code = "channel_closed"


class Stale(Refused):
    code = "stale"


class OverLimit(Refused):
    code = "over_limit"


class NotAllowed(Refused):
    code = "not_allowed"


class KeyReused(Refused):
    code = "key_reused"


class BalanceTooSmall(Refused):
    code = "balance_too_small"
    exit_code = 5


class OverBudget(SpeedpayError):
    code = "over_budget"
    exit_code = 5


class InvalidSetting(SpeedpayError):
    code = "invalid_setting"
    exit_code = 2


class NotFound(SpeedpayError):
    code = "not_found"
    exit_code = 3


class AlreadyExists(SpeedpayError):
    code = "already_exists"
    exit_code = 13


class LedgerUnreachable(SpeedpayError):
    code = "ledger_unreachable"
    exit_code = 4


class LedgerFailed(SpeedpayError):
    code = "ledger_failed"
    exit_code = 4


class NoPeers(SpeedpayError):
    code = "no_peers"
    exit_code = 6


class Unfinished(SpeedpayError):
    code = "unfinished"
    exit_code = 7


class KeystoreLocked(SpeedpayError):
    code = "keystore_locked"
    exit_code = 8


class KeystoreDamaged(SpeedpayError):
    code = "keystore_damaged"


class DiskFull(SpeedpayError):
    code = "disk_full"
    exit_code = 9


class ChainUnreachable(SpeedpayError):
    code = "chain_unreachable"
    exit_code = 6


class ChainRefused(SpeedpayError):
    code = "chain_refused"


class ProofBroken(SpeedpayError):
    code = "proof_broken"
    exit_code = 10


class NativeUnavailable(SpeedpayError):
    code = "native_unavailable"


class BooksBroken(SpeedpayError):
    code = "books_broken"


def _tree(root: type[SpeedpayError]) -> dict[str, type[SpeedpayError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


#: code → class, for errors that arrive from the ledger or a peer.
BY_CODE: dict[str, type[SpeedpayError]] = _tree(SpeedpayError)
