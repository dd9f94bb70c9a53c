"""An error on its way through HTTP: ``{"code", "message", "field", "hint"}`` and back."""

from __future__ import annotations

from speedpay.errors import BY_CODE, Refused, SpeedpayError
from speedpay.ledger_api.shapes import Json
from speedpay.ledger_api.strict import Fields

_MAX_SHOWN_CHARS = 300


def error_to_json(error: SpeedpayError) -> Json:
    return {
        "code": error.code, "message": error.message, "field": error.field, "hint": error.hint
    }  # fmt: skip


def read_error(fields: Fields) -> SpeedpayError:
    """The error that the ledger named; an unknown code is a plain Refused."""

    def optional(name: str) -> str | None:
        value = fields.take(name) if fields.has(name) else None
        return _printable(value) if isinstance(value, str) else None

    made = BY_CODE.get(fields.text("code", 64), Refused)
    return made(optional("message") or "refused", field=optional("field"), hint=optional("hint"))


def _printable(text: str) -> str:
    """A ledger's words end up on a terminal: no control characters, and not a whole screen."""
    return "".join(c for c in text[:_MAX_SHOWN_CHARS] if c.isprintable())
