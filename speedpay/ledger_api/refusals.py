"""An error on its way through HTTP, ``{"code", "message", "field"}`` and back, and what it decides.

A hint is a command that a person may copy, so the ledger gives none: what is shown as a hint here
was written here.
"""

from __future__ import annotations

from speedpay.errors import (
    BY_CODE,
    AboveEscrow,
    AlreadyExists,
    BadSignature,
    BalanceTooSmall,
    BooksBroken,
    ChannelClosed,
    ChannelUnknown,
    DiskFull,
    LedgerFailed,
    Malformed,
    NotAllowed,
    NotFound,
    NotIncreasing,
    Refused,
    SpeedpayError,
    Stale,
    WrongChannel,
)
from speedpay.ledger_api.shapes import Json
from speedpay.ledger_api.strict import Fields

_MAX_MESSAGE_CHARS = 300
_MAX_FIELD_CHARS = 64
_HINTS: dict[type[SpeedpayError], str] = {
    BalanceTooSmall: "use less, or wait for what others owe you",
    Stale: "is the clock of this machine right?",
}
_REFUSALS = (Refused, NotFound, AlreadyExists)
_ITS_OWN_TROUBLE = (BooksBroken, DiskFull, LedgerFailed)
_ABOUT_WHAT_WAS_ASKED = (
    AboveEscrow, AlreadyExists, BadSignature, BalanceTooSmall, ChannelClosed, ChannelUnknown,
    Malformed, NotAllowed, NotFound, NotIncreasing, WrongChannel,
)  # fmt: skip
#: Fields of a request around its body; they are judged before its idempotency key is looked up.
_ENVELOPE = frozenset({"address", "body", "method", "path", "query"})
_HEADERS = "speedpay-"


def decides(error: SpeedpayError) -> bool:
    """Does ``error``, signed by the ledger, say that what was asked was not and will not be done?

    Only if the order or voucher itself was judged. A bad time, rate or signature of the request, or
    a key that is taken, says nothing about an earlier attempt, which may have been carried out; nor
    does a refusal that we do not know.
    """
    field = error.field
    about_body = field is not None and field not in _ENVELOPE and not field.startswith(_HEADERS)
    return isinstance(error, _ABOUT_WHAT_WAS_ASKED) and about_body


def error_to_json(error: SpeedpayError) -> Json:
    return {"code": error.code, "message": error.message, "field": error.field}


def read_error(fields: Fields) -> SpeedpayError:
    """The error that the ledger named. Its disk and books are not ours: such trouble is
    LedgerFailed. A code that is none of a ledger's is a plain Refused."""

    def optional(name: str, max_chars: int) -> str | None:
        value = fields.take(name) if fields.has(name) else None
        return _printable(value, max_chars) if isinstance(value, str) else None

    named = BY_CODE.get(fields.text("code", 64), Refused)
    made: type[SpeedpayError] = named if issubclass(named, _REFUSALS) else Refused
    if issubclass(named, _ITS_OWN_TROUBLE):
        made = LedgerFailed
    message = optional("message", _MAX_MESSAGE_CHARS) or "refused"
    return made(message, field=optional("field", _MAX_FIELD_CHARS), hint=_HINTS.get(made))


def _printable(text: str, max_chars: int) -> str:
    """A ledger's words end up on a terminal: no control characters, and not a whole screen."""
    return "".join(c for c in text[:max_chars] if c.isprintable())
