"""The promises that hold after every step of a simulated market, against books of the checker's own.

I1 (money), I2 (ranges), I3 (what is paid stays paid), I5 (what was told is saved), I9 (unverified
bytes), I10 (a seller's exposure), I11 (limits), I14 (sizes): the numbers are those of the messages below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from speedpay.channel.payee import PayeeChannel
from speedpay.channel.payer import PayerChannel
from speedpay.market.metering import BLOCK_BYTES, on_account_limit
from speedpay.market.window import (
    FORGIVEN_BYTES,
    FORGIVEN_DIVISOR,
    TRUST_DIVISOR,
    WINDOW_MAX_BYTES,
    WINDOW_MIN_BYTES,
)
from speedpay.peer.buyer import Buyer
from speedpay.peer.messages import Ack, Message, VoucherMessage
from speedpay.units import MIB
from tests.simulation.client import Client
from tests.simulation.parts import PIECE_BYTES, Kind, Owed

if TYPE_CHECKING:
    from tests.simulation.world import World

_HALF_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2


def check(world: World) -> None:
    ledger = world.ledger
    assert ledger.total() == world.issued, "I1: tokens were made or lost"
    assert all(balance >= 0 for balance in ledger.balances.values()), "I2: a balance is negative"
    for identity, account in ledger.channels.items():
        before = world.known_paid.get(identity)
        if before != (account.paid, account.open):
            assert account.paid.utok <= account.statement.escrow.utok, "I2: paid above the escrow"
            assert account.paid.utok <= world.signed.get(identity, 0), (
                "I2: paid above what was signed"
            )
            if before is not None:
                assert account.paid >= before[0], "I3: paid has fallen"
                assert before[1], "I3: a closed channel changed"
            world.known_paid[identity] = account.paid, account.open
    for client in world.clients:
        if client.buyer is not None:
            _check_budget(world, client, client.buyer)
        for number in client.ends:
            _check_exposure(client, number)


def check_saved_payer(world: World, client: Client, channel: PayerChannel) -> None:
    """I9: what was signed for a payee is never more than verified and on-account bytes cost."""
    body = channel.statement
    world.signed[body.channel] = max(world.signed.get(body.channel, 0), channel.signed.utok)
    if not client.remembers or client.kind is Kind.FORGER:
        return  # it may have paid for these bytes before, or have lied about its own price
    escrow = world.ledger.channels[body.channel].statement.escrow
    assert channel.signed <= escrow, "I2: signed above the escrow"
    signed = channel.signed.utok + sum(
        account.paid.utok
        for identity, account in world.ledger.channels.items()
        if account.payer == client.name
        and account.statement.payee_key == body.payee_key
        and identity != body.channel
        and not account.open
    )
    owed = client.owed.get(body.payee_key, Owed())
    assert signed * MIB <= owed.most, "I9: more was paid than delivered"


def check_saved_payee(world: World, client: Client, channel: PayeeChannel) -> None:
    """Nothing is held that the channel's payer did not sign, in the one form that counts."""
    identity, best = channel.statement.channel, channel.best
    assert channel.statement.payee_key == client.payee_key.public, "a channel for somebody else"
    assert identity in world.ledger.channels, "a channel that the ledger never opened"
    assert channel.statement.escrow <= world.ledger.channels[identity].statement.escrow, (
        "I2: more escrow than the ledger holds"
    )
    if best is not None:
        assert best.cumulative.utok <= world.signed.get(identity, 0), "a voucher nobody signed"
        assert int.from_bytes(best.signature[32:]) <= _HALF_ORDER, "a signature has two forms"


def check_said(client: Client, message: Message) -> None:
    """I5: what leaves is saved."""
    if client.kind is not Kind.HONEST:
        return
    if isinstance(message, Ack):
        held = client.saved_payee[message.channel]
        assert message.cumulative <= held.accepted, "I5: acknowledged and not saved"
    elif isinstance(message, VoucherMessage):
        saved, _ = client.saved_payer[message.channel]
        assert message.cumulative <= saved.signed, "I5: sent and not saved"


def top_price(client: Client) -> int:
    first = client.plan.first_bid if client.plan else None
    return first.utok_per_mib * 3 // 2 if first else 0


def count_owed(client: Client, owed: Owed) -> None:
    limit = on_account_limit(PIECE_BYTES) * top_price(client)
    owed.most = max(owed.most, owed.verified + min(limit, sum(owed.unverified.values())))


def _check_budget(world: World, client: Client, buyer: Buyer) -> None:
    """I11. A store that was put back has forgotten what came after its copy, and its owner knows that: each
    time at most one allowance more."""
    at_risk = sum(
        (account.statement.escrow if account.open else account.paid).utok
        for account in world.ledger.channels.values()
        if account.payer == client.name
    )
    most = buyer.plan.allowance.utok * (1 + client.copies)
    assert at_risk <= most, "I11: more was locked and paid than allowed"
    assert buyer.spent <= buyer.plan.allowance, "I11: more was spent than allowed"


def _check_exposure(client: Client, number: int) -> None:
    """I10: unpaid bytes on a connection stay within the window that earlier payments earned."""
    buying = client.seller._buying.get(number)
    if buying is None or buying.channel is None or not buying.bids:
        return
    end = client.end(number)
    if end is None:
        return
    accepted = buying.channel.accepted.utok
    paid = max(0, accepted - end.signed_at_open) * MIB
    prices = [price.utok_per_mib for _, price in buying.bids]
    top, low = max(prices), min(prices)
    bytes_paid = max(0, accepted) * MIB // low
    window = min(
        max(WINDOW_MAX_BYTES, bytes_paid // TRUST_DIVISOR), bytes_paid + 2 * WINDOW_MIN_BYTES
    )
    forgiven = min(
        end.reported, max(FORGIVEN_BYTES, buying.window.billed_bytes // FORGIVEN_DIVISOR)
    )
    most = (window + 2 * BLOCK_BYTES + forgiven) * top + 2 * MIB
    assert end.billed - paid <= most, "I10: a buyer owes more than its window"


def lost_vouchers(world: World, client: Client) -> int:
    """What this seller accepted and the ledger has not paid it (µtok)."""
    return sum(
        held.accepted.minus_or_zero(world.ledger.channels[identity].paid).utok
        for identity, held in client.saved_payee.items()
    )
