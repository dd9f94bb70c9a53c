"""Statements and vouchers: what a payee accepts, each refusal by name, and that it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedpay.certificates import CertificateSet
from speedpay.channel.life import State, Step, follow
from speedpay.channel.payee import PayeeChannel, check_voucher
from speedpay.channel.payer import Budget, PayerChannel
from speedpay.channel.voucher import Assignment, SignedStatement, Statement, Voucher, channel_id
from speedpay.errors import (
    AboveEscrow,
    BadSignature,
    ChannelClosed,
    Malformed,
    NotIncreasing,
    OutOfOrder,
    OverBudget,
    Refused,
    WrongChannel,
    WrongLedger,
)
from speedpay.signing import Domain
from speedpay.units import ZERO, Amount, MoneyClass, Share
from tests.vectors.generate import (
    CERTIFICATES,
    CHANNEL,
    DOMAIN,
    NONCE,
    PAYEE,
    PAYER,
    RESPONSE,
    SIGNED,
    STATEMENT,
    TOPPED_UP,
    key,
)

NOW = STATEMENT.expiry - 1000
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
OTHER = channel_id(DOMAIN, PAYER.public, PAYEE.public, bytes(16))


def _keys_of(domain: Domain) -> CertificateSet:
    return replace(CERTIFICATES, domain=domain)


def voucher(
    utok: int, domain: Domain = DOMAIN, channel: bytes = CHANNEL, by: str = "payer"
) -> Voucher:
    return Voucher.sign(key(by), domain, channel, Amount(utok))


def _twin(good: Voucher) -> Voucher:
    s = (ORDER - int.from_bytes(good.signature[32:])).to_bytes(32)
    return replace(good, signature=good.signature[:32] + s)


REFUSED: dict[str, tuple[Voucher, type[Refused], str]] = {
    "forged": (voucher(200, by="stranger"), BadSignature, "voucher.signature"),
    "of another channel": (voucher(200, channel=OTHER), WrongChannel, "voucher.channel"),
    "signed for another channel": (
        replace(voucher(200, channel=OTHER), channel=CHANNEL), BadSignature, "voucher.signature",
    ),
    "of another ledger": (
        voucher(200, Domain(DOMAIN.network, bytes(32))), BadSignature, "voucher.signature",
    ),
    "of another network": (
        voucher(200, Domain("other", DOMAIN.ledger_id)), BadSignature, "voucher.signature",
    ),
    "lower": (voucher(99), NotIncreasing, "voucher.cumulative"),
    "repeated": (voucher(100), NotIncreasing, "voucher.cumulative"),
    "repeated as high-s twin": (_twin(voucher(100)), NotIncreasing, "voucher.cumulative"),
    "of zero": (voucher(0), NotIncreasing, "voucher.cumulative"),
    "above the escrow": (voucher(48_830), AboveEscrow, "voucher.cumulative"),
    "the high-s twin": (_twin(voucher(200)), BadSignature, "voucher.signature"),
    "with trailing bytes": (
        replace(voucher(200), signature=voucher(200).signature + b"\x00"), BadSignature,
        "voucher.signature",
    ),
    "too short": (
        replace(voucher(200), signature=voucher(200).signature[:-1]), BadSignature, "voucher.signature",
    ),
    "raised after signing": (
        replace(voucher(200), cumulative=Amount(201)), BadSignature, "voucher.signature",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_voucher_that_is_wrong_is_refused_by_name_and_changes_nothing(name: str) -> None:
    wrong, kind, field = REFUSED[name]
    held = PayeeChannel(STATEMENT).accept(DOMAIN, voucher(100), NOW)
    with pytest.raises(Refused) as refused:
        held.accept(DOMAIN, wrong, NOW)
    assert type(refused.value) is kind
    assert refused.value.field == field
    assert held == PayeeChannel(STATEMENT, voucher(100))
    assert held.accept(DOMAIN, voucher(200), NOW).accepted == Amount(200)


def test_a_voucher_of_the_whole_escrow_is_accepted() -> None:
    check_voucher(DOMAIN, CHANNEL, PAYER.public, STATEMENT.escrow, ZERO, voucher(48_829))


def test_a_voucher_close_to_the_expiry_is_refused() -> None:
    held = PayeeChannel(STATEMENT)
    held.accept(DOMAIN, voucher(100), STATEMENT.expiry - 300)
    with pytest.raises(ChannelClosed) as refused:
        held.accept(DOMAIN, voucher(100), STATEMENT.expiry - 299)
    assert refused.value.field == "voucher.channel"


def test_a_statement_by_an_unknown_key_is_refused() -> None:
    forged = SignedStatement.sign(key("other"), DOMAIN, STATEMENT)
    with pytest.raises(BadSignature) as refused:
        forged.check(CERTIFICATES, NOW)
    assert refused.value.field == "statement.signature"
    assert SIGNED.check(CERTIFICATES, NOW) == RESPONSE.public


def test_a_statement_of_another_ledger_or_with_other_keys_is_refused() -> None:
    with pytest.raises(WrongLedger) as refused:
        SIGNED.check(_keys_of(Domain(DOMAIN.network, bytes(32))), NOW)
    assert refused.value.field == "statement.channel"
    for changed in (
        replace(STATEMENT, payee_key=key("other").public), replace(STATEMENT, nonce=bytes(16)),
    ):  # fmt: skip
        with pytest.raises(WrongLedger):
            SignedStatement(changed, SIGNED.signature).check(CERTIFICATES, NOW)


def test_a_statement_of_another_network_is_refused() -> None:
    with pytest.raises(BadSignature):
        SIGNED.check(_keys_of(Domain("other", DOMAIN.ledger_id)), NOW)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: replace(s, escrow=Amount(s.escrow.utok + 1)), lambda s: replace(s, expiry=s.expiry + 1),
        lambda s: replace(s, claim_s=s.claim_s + 1), lambda s: replace(s, fee=Share(0)),
        lambda s: replace(s, money_class=MoneyClass.TOKEN),
    ],
)  # fmt: skip
def test_a_statement_changed_after_signing_is_refused(
    change: Callable[[Statement], Statement],
) -> None:
    with pytest.raises(BadSignature):
        SignedStatement(change(STATEMENT), SIGNED.signature).check(CERTIFICATES, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"escrow": Amount(1)}, {"expiry": STATEMENT.expiry - 1}, {"claim_s": 1}, {"fee": Share(2_000)},
        {"money_class": MoneyClass.TOKEN}, {"payer_key": PAYEE.public}, {"payee_key": PAYER.public},
        {"channel": OTHER}, {"nonce": bytes(16)},
    ],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_a_top_up_that_changes_terms_is_refused(changes: dict[str, object]) -> None:
    newer = replace(TOPPED_UP, **changes)  # type: ignore[arg-type]
    held = PayeeChannel(STATEMENT, voucher(100))
    with pytest.raises(WrongChannel) as refused:
        held.topped_up(newer)
    assert refused.value.field == "statement"
    assert held.topped_up(TOPPED_UP) == PayeeChannel(TOPPED_UP, voucher(100))


@settings(derandomize=True)
@given(
    st.integers(0, 2**63 - 1), st.integers(0, 2**62 - 1), st.integers(0, 2**62 - 1),
    st.integers(0, 10**6), st.sampled_from(MoneyClass),
)  # fmt: skip
def test_a_statement_survives_its_bytes(
    escrow: int, expiry: int, claim_s: int, fee: int, money_class: MoneyClass
) -> None:
    statement = Statement(CHANNEL, PAYER.public, PAYEE.public, NONCE, money_class, Amount(escrow),
                          expiry, claim_s, Share(fee))  # fmt: skip
    assert Statement.from_bytes(statement.to_bytes()) == statement


@settings(derandomize=True)
@given(st.binary(max_size=200) | st.binary(min_size=143, max_size=143))
def test_bytes_that_are_no_statement_are_malformed(body: bytes) -> None:
    with suppress(Malformed):
        assert Statement.from_bytes(body).to_bytes() == body


@pytest.mark.parametrize(
    ("at", "with_", "field"),
    [
        (32, b"\x05", "payer_key"), (65, b"\x07", "payee_key"), (114, b"\x02", "class"),
        (115, b"\x80", "escrow"), (123, b"\x40", "expiry"), (131, b"\x40", "claim_s"),
        (139, b"\xff", "fee"),
    ],
)  # fmt: skip
def test_a_damaged_statement_names_its_field(at: int, with_: bytes, field: str) -> None:
    body = STATEMENT.to_bytes()
    with pytest.raises(Malformed) as refused:
        Statement.from_bytes(body[:at] + with_ + body[at + 1 :])
    assert refused.value.field == f"statement.{field}"


def test_an_assignment_holds_for_its_channel_account_and_payee_only() -> None:
    good = Assignment.sign(PAYEE, DOMAIN, CHANNEL, bytes(16))
    good.check(DOMAIN, PAYEE.public)
    for wrong in (replace(good, channel=OTHER), replace(good, account=b"\x01" * 16)):
        with pytest.raises(BadSignature) as refused:
            wrong.check(DOMAIN, PAYEE.public)
        assert refused.value.field == "assignment.signature"
    with pytest.raises(Malformed):
        replace(good, account=bytes(15)).check(DOMAIN, PAYEE.public)


# ------------------------------------------------------------------------------------------- payer


def test_a_payer_never_signs_a_total_that_does_not_rise_or_passes_escrow_or_caps() -> None:
    channel, first = PayerChannel(SIGNED).pay(PAYER, DOMAIN, Amount(100), Amount(100))
    assert first == voucher(100)
    for utok in (0, 99, 100):
        with pytest.raises(NotIncreasing):
            channel.pay(PAYER, DOMAIN, Amount(utok), Amount(utok))
    with pytest.raises(AboveEscrow):
        channel.pay(PAYER, DOMAIN, Amount(48_830), Amount(48_830))
    with pytest.raises(OverBudget):
        channel.pay(PAYER, DOMAIN, Amount(150), Amount(49))
    assert channel.pay(PAYER, DOMAIN, Amount(150), Amount(50))[0].signed == Amount(150)
    assert channel.repeat(PAYER, DOMAIN) == first
    assert channel.signed == Amount(100)


def test_an_acknowledgement_counts_up_to_what_was_signed_and_never_back() -> None:
    channel, _ = PayerChannel(SIGNED).pay(PAYER, DOMAIN, Amount(100), Amount(100))
    assert channel.acknowledge(Amount(500)).acknowledged == Amount(100)
    assert channel.acknowledge(Amount(60)).acknowledge(Amount(50)).acknowledged == Amount(60)


@settings(derandomize=True)
@given(st.lists(st.tuples(st.sampled_from("lusp"), st.integers(0, 400)), max_size=60))
def test_escrow_and_spending_never_pass_the_limit(steps: list[tuple[str, int]]) -> None:
    budget, locked = Budget(Amount(1000)), []
    for step, utok in steps:
        if step == "l":
            try:
                budget = budget.lock(Amount(utok))
                locked.append(utok)
            except OverBudget:
                assert utok > budget.free().utok
        elif locked:
            escrow = locked.pop()
            budget = (
                budget.unlock(Amount(escrow))
                if step == "u"
                else budget.settle(Amount(escrow), Amount(min(escrow, utok)))
            )
        assert budget.in_escrow.utok == sum(locked)
        assert (budget.settled + budget.in_escrow).utok <= 1000
        assert budget.free().utok == 1000 - budget.settled.utok - budget.in_escrow.utok


def test_every_pair_that_the_table_does_not_hold_is_out_of_order() -> None:
    known = set()
    for state, step in product(State, Step):
        with suppress(OutOfOrder):
            follow(state, step)
            known.add((state, step))
    assert len(known) == 24
    assert {state for state, step in known if step is Step.CONFIRM} == {
        State.OPENING, State.ACTIVE, State.PAUSED
    }  # fmt: skip
    with pytest.raises(OutOfOrder) as refused:
        follow(State.FREE, Step.LOCK)
    assert refused.value.field == "message"
