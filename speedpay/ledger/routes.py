"""What can be asked of the ledger: one function a path, and the table of them at the end."""

from __future__ import annotations

import re
from collections.abc import Callable

import sqlalchemy as sa

from speedpay.channel.voucher import SignedStatement, Statement
from speedpay.errors import NotAllowed, NotFound, SpeedpayError
from speedpay.ledger import accounts, book, channels, epoch_routes, owners, redemption
from speedpay.ledger.asked import Asked
from speedpay.ledger.chain_routes import CHAIN_ROUTES
from speedpay.ledger.service import Service
from speedpay.ledger_api import answers, shapes, strict
from speedpay.ledger_api.answers import ChannelView, Outcome
from speedpay.ledger_api.owners import HandOver, Publish
from speedpay.ledger_api.shapes import Json
from speedpay.signing import PUBLIC_KEY_BYTES
from speedpay.units import MAX_UTOK

#: Judging this many redemptions costs as much as answering one other request.
_ITEMS_PER_REQUEST = 10


def _identify(asked: Asked) -> bytes:
    return strict.dump(asked.service.identity().to_json())


def _open_account(asked: Asked) -> bytes:
    service, order = asked.service, shapes.OpenAccount.from_json(asked.json())
    opener = service.opener(asked.head, asked.body, order.public_key)

    def work(connection: sa.Connection, now: int) -> Json:
        opening = service.opening(asked.address)
        return accounts.open_account(connection, order.public_key, opening, now).to_json()

    return asked.decide(opener, work, accounts.must_not_be_given_away)


def _balance(asked: Asked) -> bytes:
    owner = asked.own_account()
    with asked.reading(owner) as connection:
        found = accounts.balance(connection, owner.account, asked.service.now())
    return strict.dump(found.to_json())


def _history(asked: Asked) -> bytes:
    """The owner's own; for everybody else what its owner has published, signed or not."""
    given = asked.numbers(before=MAX_UTOK, limit=shapes.MAX_HISTORY)
    before, limit = given.get("before"), given.get("limit", 50)
    if asked.head.account == asked.parts[0]:
        owner = asked.own_account()
        with asked.reading(owner) as connection:
            found = accounts.history(connection, owner.account, before, limit)
    else:
        with asked.service.database.read() as connection:
            found = accounts.published_history(connection, asked.part(), before, limit)
    return strict.dump(found.to_json())


def _publish(asked: Asked) -> bytes:
    order, owner = Publish.from_json(asked.json()), asked.own_account()

    def work(connection: sa.Connection, now: int) -> Json:
        owners.publish(connection, owner.account, order.on, now)
        return order.to_json()

    return asked.decide(owner, work)


def _hand_over(asked: Asked) -> bytes:
    service, order = asked.service, HandOver.from_json(asked.json(), asked.part())
    giver = service.giver(asked.head, asked.body, asked.address, order)
    if giver.account != asked.part():
        raise NotFound("there is no such account", field="account")
    order.check(service.domain)

    def work(connection: sa.Connection, now: int) -> Json:
        owners.hand_over(connection, order, now)
        return {"account": giver.account.hex(), "key": order.consent.public_key.hex()}

    return asked.decide(giver, work, lambda connection, _: owners.may_give(connection, order))


def _send(asked: Asked) -> bytes:
    order, owner = shapes.Send.from_json(asked.json()), asked.owner()
    key = asked.once(owner.account).key

    def work(connection: sa.Connection, now: int) -> Json:
        accounts.send(connection, owner.account, order, key, now)
        return {"journal_head": book.head(connection).to_json()}

    return asked.decide(owner, work)


def _open_channel(asked: Asked) -> bytes:
    order, owner = shapes.OpenChannel.from_json(asked.json()), asked.owner()
    service, settings = asked.service, asked.service.settings

    def work(connection: sa.Connection, now: int) -> Json:
        opened = channels.open_channel(
            connection, service.domain, owner.account, order, settings.fee, settings.claim_s, now
        )
        return _signed(service, opened)

    return asked.decide(owner, work)


def _top_up(asked: Asked) -> bytes:
    order, owner = shapes.TopUp.from_json(asked.json()), asked.owner()

    def work(connection: sa.Connection, now: int) -> Json:
        topped_up = channels.top_up(connection, owner.account, asked.part(), order, now)
        return _signed(asked.service, topped_up)

    return asked.decide(owner, work)


def _signed(service: Service, statement: Statement) -> Json:
    signed = SignedStatement.sign(service.keys.response, service.domain, statement)
    return answers.signed_statement_to_json(signed)


def _deposit_voucher(asked: Asked) -> bytes:
    service = asked.service
    voucher = shapes.voucher_from_json(asked.json(), asked.part())
    with service.database.read() as connection:
        channels.check_deposit(
            service.domain, channels.load(connection, voucher.channel), voucher
        )  # fmt: skip
    with service.database.write() as connection:
        channels.deposit(connection, service.domain, voucher)
    return strict.dump({"channel": voucher.channel.hex(), "signed": voucher.cumulative.to_wire()})


def _channel(asked: Asked) -> bytes:
    """Either account may look, or either channel key without naming an account."""
    service, channel = asked.service, asked.part()
    by_key = len(asked.head.account) == 2 * PUBLIC_KEY_BYTES
    who: bytes
    if by_key:
        who, view = service.channel_key(asked.head, asked.body), service.database.read()
    else:
        owner = asked.owner()
        who, view = owner.account, asked.reading(owner)
    with view as connection:
        known = channels.load(connection, channel)
    body = known.statement
    if who not in ((body.payer_key, body.payee_key) if by_key else (known.payer, known.payee)):
        raise NotAllowed("is a channel of others", field="channel")
    signed = SignedStatement.sign(service.keys.response, service.domain, body)
    seen = ChannelView(signed, known.state, known.paid, known.refunded, known.best)
    return strict.dump(seen.to_json())


def _redeem(asked: Asked) -> bytes:
    """Not atomic: each item has its own outcome. Signatures are judged outside the lock."""
    service, items = asked.service, shapes.redemptions_from_json(asked.json())
    service.bound_address(asked.address, cost=len(items) // _ITEMS_PER_REQUEST)
    outcomes: list[Outcome] = []
    sound: list[tuple[int, shapes.Redemption]] = []

    def refuse(at: int, error: SpeedpayError) -> None:
        redemption.at_item(error, at)
        outcomes[at] = Outcome(items[at].channel, error=error)

    with service.database.read() as connection:
        for at, item in enumerate(items):
            outcomes.append(Outcome(item.channel))
            try:
                known = channels.load(connection, item.channel)
                redemption.check(service.domain, known, item)
                sound.append((at, item))
            except SpeedpayError as error:
                refuse(at, error)
        head = book.head(connection)
    if sound:
        with service.database.write() as connection:
            for at, item in sound:
                try:
                    outcomes[at] = redemption.redeem(
                        connection, service.domain, item, service.now()
                    )  # fmt: skip
                except SpeedpayError as error:
                    refuse(at, error)
            head = book.head(connection)
    return strict.dump(
        {"outcomes": [one.to_json() for one in outcomes], "journal_head": head.to_json()}
    )


_ACCOUNT = r"([0-9a-f]{32})"
_CHANNEL = r"([0-9a-f]{64})"
ROUTES: list[tuple[str, re.Pattern[str], Callable[[Asked], bytes]]] = [
    (method, re.compile(path), handler)
    for method, path, handler in (
        ("GET", "/v1/ledger", _identify),
        ("POST", "/v1/accounts", _open_account),
        ("GET", f"/v1/accounts/{_ACCOUNT}/balance", _balance),
        ("GET", f"/v1/accounts/{_ACCOUNT}/history", _history),
        ("POST", f"/v1/accounts/{_ACCOUNT}/key", _hand_over),
        ("POST", f"/v1/accounts/{_ACCOUNT}/publication", _publish),
        ("POST", "/v1/transfers", _send),
        ("POST", "/v1/channels", _open_channel),
        ("GET", f"/v1/channels/{_CHANNEL}", _channel),
        ("POST", f"/v1/channels/{_CHANNEL}/topups", _top_up),
        ("POST", f"/v1/channels/{_CHANNEL}/voucher", _deposit_voucher),
        ("POST", "/v1/redemptions", _redeem),
        *epoch_routes.ROUTES,
        *CHAIN_ROUTES,
    )
]
