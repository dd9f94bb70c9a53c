"""The tree of errors: codes are unique and stable, and text names the field."""

from __future__ import annotations

import pytest

from speedpay import errors
from speedpay.errors import BY_CODE, Malformed, Refused, SpeedpayError

#: They travel over HTTP and between peers: none may be renamed.
MISBEHAVIOUR = {
    "malformed", "out_of_order", "bad_signature", "bad_seal", "wrong_network", "wrong_ledger",
    "wrong_channel", "above_escrow",
}  # fmt: skip
NORMAL = {
    "refused", "not_increasing", "channel_unknown", "channel_closed", "stale", "over_limit",
    "not_allowed", "key_reused", "balance_too_small",
}  # fmt: skip


def every_error() -> list[type[SpeedpayError]]:
    return [
        kind for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, SpeedpayError)
    ]  # fmt: skip


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in every_error()]
    assert len(codes) == len(set(codes))
    assert {kind.code: kind for kind in every_error()} == BY_CODE


def test_refusals_say_which_ones_no_honest_peer_causes() -> None:
    refusals = [kind for kind in every_error() if issubclass(kind, Refused)]
    assert {kind.code for kind in refusals if kind.is_misbehaviour} == MISBEHAVIOUR
    assert {kind.code for kind in refusals if not kind.is_misbehaviour} == NORMAL


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.code)
def test_a_code_fits_the_wire_and_an_exit_code_a_process(kind: type[SpeedpayError]) -> None:
    assert kind.code.isascii()
    assert 1 <= len(kind.code) <= 32
    assert 1 <= kind.exit_code <= 125


def test_an_error_names_its_field_first() -> None:
    assert str(Malformed("must be whole", field="bid.price")) == "bid.price: must be whole"
    assert str(Malformed("must be whole")) == "must be whole"
