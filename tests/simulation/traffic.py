"""What travels on the links of a simulated market: messages, requests and blocks, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speedpay.channel.life import State
from speedpay.errors import Refused
from speedpay.market.metering import BLOCK_BYTES
from speedpay.peer import effects as do
from speedpay.peer.buyer import Buyer
from speedpay.peer.messages import (
    Ack,
    Ask,
    ErrorMessage,
    Hello,
    Message,
    Open,
    Pause,
    Prospect,
    Quote,
    ReceiptMessage,
    Resume,
    StopMessage,
    VoucherMessage,
)
from tests.simulation import promises
from tests.simulation.client import Client
from tests.simulation.parts import (
    BLOCKS_PER_PIECE,
    INFOHASH,
    PIECE_BYTES,
    UTC,
    Block,
    End,
    Kind,
    Link,
    Owed,
    Request,
)

if TYPE_CHECKING:
    from tests.simulation.world import World

_EITHER_WAY = (Pause, Resume, StopMessage)
_TO_BUYERS = (Ask, Quote, Ack, ReceiptMessage, Prospect, ErrorMessage)
_MOST_ASKED = 12


def deliver(world: World, link: Link, end: End) -> None:
    if not end.inbox:
        return
    item = end.inbox.popleft()
    if isinstance(item, bytes):
        end.received += 1
        _hear(world, link, end, item)
    elif isinstance(item, Request):
        assert item.sent_count == end.received, "the two ends count differently"
        end.to_serve.append((item, end.received))
    else:
        _take_block(world, link, end, item)


def _hear(world: World, link: Link, end: End, payload: bytes) -> None:
    client, utc = end.client, UTC + int(world.now)
    try:
        message = end.conversation.receive(end.received, payload, world.now)
        effects = _dispatch(world, client, end, message, utc)
    except Refused as refusal:
        if refusal.is_misbehaviour:
            world.ban(client, link.other(end).client, str(refusal))
        elif end.conversation.met and end.conversation.heard_type != ErrorMessage.TYPE:
            refused = ErrorMessage(refusal.code, end.conversation.heard_type)
            world.send(client, end.number, refused)
        return
    if isinstance(message, Open):
        end.billed, end.signed_at_open, end.reported = 0, message.signed.utok, 0
    if isinstance(message, VoucherMessage):
        end.reported = max(end.reported, message.refused_bytes)
    world.perform(client, effects)


def _dispatch(
    world: World, client: Client, end: End, message: Message, utc: int
) -> list[do.Effect]:
    """As ``client/receiving.py`` does it."""
    if isinstance(message, Hello):
        return client.seller.met(end.number, client.payee_key, str(end.number), True, utc, INFOHASH)
    selling = isinstance(message, _EITHER_WAY) and client.seller.has_channel(
        end.number, message.channel
    )
    if not selling and isinstance(message, _EITHER_WAY + _TO_BUYERS):
        if client.buyer is None:
            return []
        return client.buyer.message(end.number, message, world.now, utc)
    return client.seller.message(end.number, end.received, message, world.now, utc)


def ask_blocks(world: World, link: Link, end: End) -> None:
    """A little of what this end lacks and the other has; now and then what it asked elsewhere."""
    client, other = end.client, link.other(end).client
    if client.buyer is None or not end.conversation.met:
        return
    useful = sorted(other.pieces - client.pieces)
    if end.wants is not bool(useful):
        end.wants = bool(useful)
        world.perform(client, client.buyer.interest(end.number, end.wants, world.now))
    if not useful or len(end.asked) >= _MOST_ASKED:
        return
    draw = world.random
    asked_elsewhere = {
        key
        for number in client.ends
        if (mine := client.end(number)) is not None and mine is not end
        for key in mine.asked
    }
    for piece in useful[: draw.randint(1, 4)]:
        have = client.blocks.get(piece, {})
        for index in range(BLOCKS_PER_PIECE):
            key = piece, index
            if index in have or key in end.asked or len(end.asked) >= _MOST_ASKED:
                continue
            if key in asked_elsewhere and draw.random() < 0.9:
                continue
            end.asked[key] = end.conversation.sent_count
            world.put(link, end, Request(piece, index, end.conversation.sent_count))


def serve(world: World, link: Link, end: End) -> None:
    """One block of what the other end asked for, unless withheld; the free lane is slower."""
    if not end.to_serve or end.withheld:
        return
    client, draw = end.client, world.random
    paying = any(d.price for d in client.seller.demands(world.now) if d.connection == end.number)
    if not paying and draw.random() < 0.5:
        return
    request, asked_after = end.to_serve.popleft()
    good = client.kind is not Kind.CORRUPT or draw.random() < 0.6
    copies = 2 if client.kind is Kind.REPEATER and draw.random() < 0.3 else 1
    for copy in range(copies):
        _bill(world, link, end, Block(request.piece, request.index, asked_after, good, not copy))


def _bill(world: World, link: Link, end: End, block: Block) -> None:
    client = end.client
    buying = client.seller._buying[end.number]
    before, channel = buying.window.due.numerator, buying.channel
    effects = client.seller.served(
        end.number, BLOCK_BYTES, block.asked_after, end.conversation.sent_count, world.now
    )
    if channel is not None:
        block.channel = channel.statement.channel
        block.billed = buying.window.due.numerator - before
        end.billed += block.billed
    world.put(link, end, block)
    world.perform(client, effects)


def _take_block(world: World, link: Link, end: End, block: Block) -> None:
    client, other = end.client, link.other(end).client
    buyer = client.buyer
    assert buyer is not None
    key = block.piece, block.index
    sent_count = end.asked.pop(key, 0)
    have = client.blocks.setdefault(block.piece, {})
    new = block.asked and block.index not in have and block.piece not in client.pieces
    owed = client.owed.setdefault(other.payee_key.public, Owed())
    sale = buyer.sales.get(end.number)
    on = sale.channel.statement.channel if sale and sale.channel else None
    state = sale.state if sale else State.FREE
    before, refused = _valued(buyer, end.number)
    if new:
        have[block.index] = block.good, end.number
        owed.unverified[block.piece] = owed.unverified.get(block.piece, 0) + block.billed
        promises.count_owed(client, owed)
    effects = buyer.received(
        end.number, block.piece, block.index * BLOCK_BYTES, BLOCK_BYTES, sent_count, block.asked,
        world.now,
    )  # fmt: skip
    after, refused_now = _valued(buyer, end.number)
    agree = Kind.FORGER is not client.kind and other.kind is Kind.HONEST
    if agree and on == block.channel and state in (State.ACTIVE, State.PAUSED):
        assert sent_count == block.asked_after or not block.asked, "the two ends count differently"
        if new:
            assert after - before == block.billed, "the two sides bill a block differently"
        else:
            assert after == before, "a block that was not new was billed"
            assert refused_now - refused == (BLOCK_BYTES if block.billed else 0), (
                "the two sides bill a block differently"
            )
    world.perform(client, effects)
    if len(have) == BLOCKS_PER_PIECE and block.piece not in client.pieces:
        _verify(world, client, block.piece)


def _verify(world: World, client: Client, piece: int) -> None:
    assert client.buyer is not None
    blocks = client.blocks.pop(piece)
    if all(good for good, _ in blocks.values()):
        client.pieces.add(piece)
        client.buyer.remaining_bytes -= PIECE_BYTES
        for owed in client.owed.values():
            owed.verified += owed.unverified.pop(piece, 0)
            promises.count_owed(client, owed)
        client.buyer.piece_passed(piece)
        return
    for owed in client.owed.values():
        owed.unverified.pop(piece, None)
    world.perform(client, client.buyer.piece_failed(piece))


def _valued(buyer: Buyer, connection: int) -> tuple[int, int]:
    delivery = buyer.meter.deliveries.get(connection)
    if delivery is None:
        return 0, 0
    runs = sum(r.byte_count * r.price.utok_per_mib for r in delivery.unverified)
    return delivery.verified_value.numerator + runs, delivery.refused_bytes
