"""What can be asked of the ledger: one function a path, and the table of them at the end."""

from __future__ import annotations

import re
from collections.abc import Callable

import sqlalchemy as sa

from speedpay.channel.voucher import SignedStatement, Statement
from speedpay.errors import NotAllowed, SpeedpayError
from speedpay.ledger import accounts, book, channels, epoch_routes, redemption
from speedpay.ledger.asked import Asked
from speedpay.ledger.chain_routes import CHAIN_ROUTES
from speedpay.ledger.service import Service
from speedpay.ledger_api import answers, shapes, strict
from speedpay.ledger_api.answers import ChannelView, Outcome
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

    return asked.decide(opener, work)


def _balance(asked: Asked) -> bytes:
    account = asked.own_account()
    with asked.service.database.read() as connection:
        found = accounts.balance(connection, account, asked.service.now())
    return strict.dump(found.to_json())


def _history(asked: Asked) -> bytes:
    given = asked.numbers(before=MAX_UTOK, limit=shapes.MAX_HISTORY)
    account = asked.own_account()
    with asked.service.database.read() as connection:
        found = accounts.history(connection, account, given.get("before"), given.get("limit", 50))
    return strict.dump(found.to_json())


def _send(asked: Asked) -> bytes:
    order, account = shapes.Send.from_json(asked.json()), asked.owner()
    key = asked.once(account).key

    def work(connection: sa.Connection, now: int) -> Json:
        accounts.send(connection, account, order, key, now)
        return {"journal_head": book.head(connection).to_json()}

    return asked.decide(account, work)


def _open_channel(asked: Asked) -> bytes:
    order, account = shapes.OpenChannel.from_json(asked.json()), asked.owner()
    service, settings = asked.service, asked.service.settings

    def work(connection: sa.Connection, now: int) -> Json:
        opened = channels.open_channel(
            connection, service.domain, account, order, settings.fee, settings.claim_s, now
        )
        return _signed(service, opened)

    return asked.decide(account, work)


def _top_up(asked: Asked) -> bytes:
    order, account = shapes.TopUp.from_json(asked.json()), asked.owner()

    def work(connection: sa.Connection, now: int) -> Json:
        topped_up = channels.top_up(connection, account, asked.part(), order, now)
        return _signed(asked.service, topped_up)

    return asked.decide(account, work)


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
    who = service.channel_key(asked.head, asked.body) if by_key else asked.owner()
    with service.database.read() as connection:
        known = channels.load(connection, channel)
    body = known.statement
    if who not in ((body.payer_key, body.payee_key) if by_key else (known.payer, known.payee)):
        raise NotAllowed("is a channel of others", field="channel")
    signed = SignedStatement.sign(service.keys.response, service.domain, body)
    view = ChannelView(signed, known.state, known.paid, known.refunded, known.best)
    return strict.dump(view.to_json())


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
