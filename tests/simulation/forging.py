"""An attacker's messages: sealed as they must be, well formed or not, and false in one way each.

Each maker gives a message, or bytes before they are sealed, that the other end must refuse or ignore. What
it must not do, whatever it answers, is believe: the promises are checked after each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from speedpay.channel.voucher import SignedStatement, Voucher
from speedpay.market.metering import BLOCK_BYTES
from speedpay.peer.messages import (
    Ack,
    Ask,
    Bid,
    Hello,
    Inquiry,
    Message,
    Open,
    Pause,
    ReceiptMessage,
    Resume,
    StopMessage,
    TopUp,
    VoucherMessage,
    encode,
)
from speedpay.signing import Domain, SigningKey
from speedpay.units import Amount, MoneyClass, Price, Share
from tests.simulation.parts import DOMAIN, UTC, End, Link

if TYPE_CHECKING:
    from tests.simulation.world import World

_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_OWN = SigningKey(hashlib.sha256(b"forger").digest())
_ELSEWHERE = (Domain("elsewhere", DOMAIN.ledger_id), Domain(DOMAIN.network, bytes(32)))

Maker = Callable[["World", Link, End], Message | bytes | None]


def forge(world: World, link: Link, end: End) -> None:
    """One false message from this end, if there is a session yet and something to lie about."""
    if not end.conversation.met:
        return
    made = world.random.choice(MAKERS)(world, link, end)
    if made is None:
        return
    world.forged += 1
    if isinstance(made, bytes):
        inject(world, link, end, made)
        return
    mine = end.client.saved_payer
    own = isinstance(made, Open) and made.statement.channel in mine
    by = mine[made.statement.channel][1] if isinstance(made, Open) and own else _OWN
    world.put(link, end, end.conversation.send(made, by))


def inject(world: World, link: Link, end: End, plaintext: bytes) -> None:
    """Any bytes at all, sealed for this session under the number that is next."""
    conversation = end.conversation
    session = conversation._session
    assert session is not None
    conversation.sent_count += 1
    world.put(link, end, session.seal(conversation.sent_count, plaintext))


def _channel(world: World) -> bytes | None:
    """Somebody's."""
    return world.random.choice(list(world.ledger.channels)) if world.ledger.channels else None


def _held_by(world: World, link: Link, end: End) -> tuple[SignedStatement, SigningKey] | None:
    """A channel of the forger's own with this seller, and its key."""
    payee = link.other(end).client.payee_key.public
    held = [
        (channel.opened, key)
        for channel, key in end.client.saved_payer.values()
        if channel.statement.payee_key == payee
    ]
    return world.random.choice(held) if held else None


def _signed(world: World, channel: bytes, utok: int, key: SigningKey, domain: Domain) -> bytes:
    """What the channel's owner signs counts, whatever he does with it afterwards."""
    account = world.ledger.channels[channel]
    if domain is DOMAIN and key.public == account.statement.payer_key:
        world.signed[channel] = max(world.signed.get(channel, 0), utok)
    return Voucher.sign(key, domain, channel, Amount(utok)).signature


def _own_voucher(
    world: World, link: Link, end: End, utok: Callable[[int, int], int]
) -> VoucherMessage | None:
    """``utok``: of what is signed and what is in escrow."""
    found = _held_by(world, link, end)
    if found is None:
        return None
    channel, key = found[0].statement.channel, found[1]
    escrow = world.ledger.channels[channel].statement.escrow.utok
    total = utok(world.signed.get(channel, 0), escrow)
    signature = _signed(world, channel, total, key, DOMAIN)
    return VoucherMessage(channel, Amount(total), signature, 0, 0)


def _voucher_of_another(world: World, link: Link, end: End) -> Message | None:
    channel = _channel(world)
    if channel is None:
        return None
    total = world.random.choice((1, 1_000, 10**9))
    return VoucherMessage(
        channel, Amount(total), _signed(world, channel, total, _OWN, DOMAIN), 0, 0
    )


def _voucher_for_elsewhere(world: World, link: Link, end: End) -> Message | None:
    found = _held_by(world, link, end)
    if found is None:
        return None
    channel, key = found[0].statement.channel, found[1]
    total = world.ledger.channels[channel].statement.escrow.utok
    signature = _signed(world, channel, total, key, world.random.choice(_ELSEWHERE))
    return VoucherMessage(channel, Amount(total), signature, 0, 0)


def _high_s(world: World, link: Link, end: End) -> Message | None:
    made = _own_voucher(world, link, end, lambda signed, escrow: min(signed + 1, escrow))
    if made is None:
        return None
    r, s = made.signature[:32], int.from_bytes(made.signature[32:])
    return replace(made, signature=r + (_ORDER - s).to_bytes(32))


def _above_escrow(world: World, link: Link, end: End) -> Message | None:
    return _own_voucher(world, link, end, lambda signed, escrow: escrow + 1)


def _repeated(world: World, link: Link, end: End) -> Message | None:
    return _own_voucher(world, link, end, lambda signed, escrow: signed)


def _lower(world: World, link: Link, end: End) -> Message | None:
    return _own_voucher(world, link, end, lambda signed, escrow: signed // 2)


def _leaked(world: World, link: Link, end: End) -> Message | None:
    """A good voucher of somebody else's channel, as its payee holds it."""
    held = [
        channel.best
        for client in world.clients
        for channel in client.saved_payee.values()
        if channel.best is not None
    ]
    if not held:
        return None
    best = world.random.choice(held)
    return VoucherMessage(best.channel, best.cumulative, best.signature, 0, 0)


def _statement_of(world: World, end: End) -> SignedStatement | None:
    held = [channel.opened for c in world.clients for channel, _ in c.saved_payer.values()]
    return world.random.choice(held) if held else None


def _open_of_another(world: World, link: Link, end: End) -> Message | None:
    found = _statement_of(world, end)
    return None if found is None else Open(found.statement, found.signature, Amount(0))


def _with_more(world: World, link: Link, end: End) -> SignedStatement | None:
    """The forger's own channel, holding more than the ledger says."""
    found = _held_by(world, link, end)
    if found is None:
        return None
    opened, _ = found
    more = replace(opened.statement, escrow=opened.statement.escrow + Amount(10**6))
    own = SignedStatement.sign(_OWN, DOMAIN, more).signature
    return SignedStatement(more, world.random.choice((opened.signature, own)))


def _open_with_more(world: World, link: Link, end: End) -> Message | None:
    made = _with_more(world, link, end)
    return None if made is None else Open(made.statement, made.signature, Amount(0))


def _topup_with_more(world: World, link: Link, end: End) -> Message | None:
    made = _with_more(world, link, end)
    return None if made is None else TopUp(made.statement, made.signature)


def _topup_of_another(world: World, link: Link, end: End) -> Message | None:
    found = _statement_of(world, end)
    return None if found is None else TopUp(found.statement, found.signature)


def _ask_of_another(world: World, link: Link, end: End) -> Message:
    """Another's key as payee, bound by our own."""
    key = world.random.choice(world.clients).payee_key
    ask = Ask(1, key.public, Price(1), frozenset(MoneyClass), Amount(0), Share(250_000),
              UTC + int(world.now) + 600, bytes(64))  # fmt: skip
    return ask.signed(world.random.choice((key, _OWN)), DOMAIN)


def _about(kind: type[Pause] | type[Resume] | type[StopMessage]) -> Maker:
    def make(world: World, link: Link, end: End) -> Message | None:
        channel = _channel(world)
        return None if channel is None else kind(channel, Amount(10**9), 2**40)

    return make


def _ack(world: World, link: Link, end: End) -> Message | None:
    channel = _channel(world)
    return None if channel is None else Ack(channel, Amount(10**9), 2**40)


def _receipt(world: World, link: Link, end: End) -> Message | None:
    channel = _channel(world)
    if channel is None:
        return None
    return ReceiptMessage(channel, Amount(1), BLOCK_BYTES, bytes(32), UTC, bytes(63) + b"\x01")


def _hello(world: World, link: Link, end: End) -> bytes:
    return encode(Hello((1,), DOMAIN.ledger_id, DOMAIN.network, bytes(31) + b"\x09"))


def _bid(world: World, link: Link, end: End) -> Message:
    return Bid(2**32 - 1, Price(2**63 - 1), 2**53, 60)


def _inquiry(world: World, link: Link, end: End) -> Message:
    return Inquiry(world.random.randint(1, 2**32 - 1), (Price(2**63 - 1),) * 8)


def _damaged(world: World, link: Link, end: End) -> bytes | None:
    """A message that is nearly one: cut, longer, or with another byte."""
    made = world.random.choice(MAKERS[:-3])(world, link, end)
    if made is None:
        return None
    body = bytearray(made if isinstance(made, bytes) else encode(made))
    how, at = world.random.randint(0, 2), world.random.randrange(len(body))
    if how == 0:
        del body[at:]
    elif how == 1:
        body.extend(b"e")
    else:
        body[at] ^= 1 << world.random.randint(0, 7)
    return bytes(body)


def _noise(world: World, link: Link, end: End) -> bytes:
    return bytes(world.random.getrandbits(8) for _ in range(world.random.randint(0, 80)))


def _replayed(world: World, link: Link, end: End) -> None:
    """Sealed bytes of this or another connection, once more."""
    payload = world.random.choice(world.recorded)
    end.conversation.sent_count += 1
    world.forged += 1
    world.put(link, end, payload)


#: The last three are not whole messages.
MAKERS: tuple[Maker, ...] = (
    _voucher_of_another, _voucher_for_elsewhere, _high_s, _above_escrow, _repeated, _lower, _leaked,
    _open_of_another, _open_with_more, _topup_with_more, _topup_of_another, _ask_of_another, _about(Pause),
    _about(Resume), _about(StopMessage), _ack, _receipt, _hello, _bid, _inquiry, _damaged, _noise,
    _replayed,
)  # fmt: skip
