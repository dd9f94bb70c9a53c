"""A purchase, as the two clients write it down: from the order to the closed channel."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from speedpay.channel.payee import PayeeChannel
from speedpay.channel.payer import PayerChannel
from speedpay.channel.voucher import SignedStatement, Statement, Voucher, channel_id
from speedpay.client.database import Database
from speedpay.client.records import Ended, Records
from speedpay.client.spending import Spending
from speedpay.client.store import Order, Store
from speedpay.ledger_api.attested import SignedAnswer
from speedpay.ledger_api.signed import Answer, Head
from speedpay.market.bidder import Plan
from speedpay.market.budget import Span
from speedpay.signing import Certificate, Domain, SigningKey, ledger_id
from speedpay.units import MIB, Amount, MoneyClass, Share
from tests.crash.workload import NOW, Say, State, Workload, rows, whole_and_sound

BUYER, SELLER = "buyer.db", "seller.db"
HASH = b"\x01" * 20
PLAN = Plan(Share(250_000), Amount(10_000_000), 8 * MIB, 8 * MIB, max_spend=Amount(5_000))
TOTALS = (10, 300, 700)


def _key(name: str) -> SigningKey:
    return SigningKey(hashlib.sha256(name.encode()).digest())


ROOT, RESPONSE, PAYER, PAYEE = (_key(name) for name in ("root", "response", "payer", "payee"))
DOMAIN = Domain("crash", ledger_id(ROOT.public))
CERTIFICATE = Certificate.issue(ROOT, DOMAIN.network, RESPONSE.public, 0, 2**40)
NONCE = bytes(16)
CHANNEL = channel_id(DOMAIN, PAYER.public, PAYEE.public, NONCE)


def _statement(escrow: int) -> SignedStatement:
    body = Statement(
        CHANNEL, PAYER.public, PAYEE.public, NONCE, MoneyClass.CREDIT, Amount(escrow), NOW + 86_400,
        86_400, Share(0),
    )  # fmt: skip
    return SignedStatement.sign(RESPONSE, DOMAIN, body)


OPENED, TOPPED_UP = _statement(500), _statement(1_000)


def _closing() -> SignedAnswer:
    head = Head("GET", f"/v1/channels/{CHANNEL.hex()}", "", str(NOW), "")
    return SignedAnswer(head, b"", Answer(200, b"{}", "00" * 64, "00" * 8), CERTIFICATE)


def _nothing(folder: Path) -> None:
    """The clients are started for the first time."""


def _work(folder: Path, say: Say) -> None:
    buyer, seller = Store(folder / BUYER), Store(folder / SELLER)
    spending = Spending(buyer)
    spending._holder = b"the only"  # or each run would leave a lease of its own
    spending.set_cap(Span.DAY, Amount(2_000))
    plan = buyer.plan_of(HASH)
    if plan is None and not Records(buyer).bought():
        plan = buyer.save_plan(HASH, PLAN, MoneyClass.CREDIT)
    say("planned")
    if plan is not None:
        _buy(buyer, seller, spending, say)
        Records(buyer).ended(plan.id, Ended("file", 8 * MIB, NOW, NOW, 0, Amount(TOTALS[-1])))
        buyer.plan_done(plan)
    say("done")
    buyer.close()
    seller.close()


def _buy(buyer: Store, seller: Store, spending: Spending, say: Say) -> None:
    plan = buyer.plan_of(HASH)
    assert plan is not None
    order = Order(bytes(16), plan, PAYEE.public, NONCE, None, Amount(500), 86_400)
    more = Order(bytes([1] * 16), plan, PAYEE.public, NONCE, CHANNEL, Amount(500), 86_400)
    if not buyer.payees(plan) and not buyer.open_paying(plan):
        if not buyer.orders():
            buyer.add_order(order)
        say("an order leaves for the ledger")
        buyer.order_filled(order, OPENED)
    for number, total in enumerate(TOTALS):
        open_now = buyer.open_paying(plan)
        if not open_now:
            break  # closed before the crash
        channel = open_now[0][0]
        if number == 2 and channel.statement.escrow == Amount(500):
            if not buyer.orders():
                buyer.add_order(more)
            say("an order for more leaves")
            buyer.order_filled(more, TOPPED_UP)
            channel = buyer.open_paying(plan)[0][0]
        _pay(buyer, seller, spending, channel, total, say)
    seller.redeemed(CHANNEL, Amount(TOTALS[-1]), True, _closing())
    say("the seller's earnings are shown")
    buyer.payer_closed(CHANNEL, Amount(TOTALS[-1]), _closing())
    say("the buyer's costs are shown")


def _pay(
    buyer: Store, seller: Store, spending: Spending, channel: PayerChannel, total: int, say: Say
) -> None:
    """One voucher: saved and sent, accepted, saved and acknowledged."""
    plan = buyer.plan_of(HASH)
    assert plan is not None
    missing = Amount(total).minus_or_zero(channel.signed)
    if missing:
        signed = channel.signed + spending.permit(plan.id, missing)
        channel = replace(channel, signed=signed)
        buyer.save_channels([channel], [], spending.utc)
    say(f"voucher {total}")
    held = seller.earned(CHANNEL)
    if held is None or held.channel.accepted < Amount(total):
        voucher = Voucher.sign(PAYER, DOMAIN, CHANNEL, Amount(total))
        accepted = PayeeChannel(channel.statement, voucher)
        seller.save_channels([], [(HASH, accepted, channel.opened)])
    say(f"acknowledged {total}")
    if channel.acknowledged < Amount(total):
        buyer.save_channels([replace(channel, acknowledged=Amount(total))], [], NOW)


def _state(folder: Path) -> State:
    return rows(folder / BUYER) | rows(folder / SELLER)


def _examine(folder: Path, heard: list[str]) -> None:
    """What was sent is saved; what sellers hold was signed; what was signed is counted once."""
    for name in (BUYER, SELLER):
        whole_and_sound(folder / name)
    found = _state(folder)
    signed = sum(row[4] for row in found.get(f"{BUYER}:paying", []))
    accepted = sum(row[4] for row in found.get(f"{SELLER}:paid", []))
    spent = sum(row[1] for row in found.get(f"{BUYER}:spent", []))
    assert accepted <= signed == spent <= 2_000
    assert _last(heard, "voucher ") <= signed, "a voucher that was sent is not saved"
    assert _last(heard, "acknowledged ") <= accepted, "an acknowledged voucher is not saved"


def _last(heard: list[str], kind: str) -> int:
    return max((int(word.removeprefix(kind)) for word in heard if word.startswith(kind)), default=0)


CLIENT = Workload("client", _nothing, _work, _state, _examine, ((Database, "write"),))
