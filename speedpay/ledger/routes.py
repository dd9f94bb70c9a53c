"""What can be asked over HTTP, from the bytes of a request to the bytes of its signed answer.

Shape is judged first, then who signed, then the money; a refusal has changed nothing. Whatever a
stranger sends is answered with a status below 500; 503 says that the ledger itself is in trouble.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from speedpay.channel.voucher import SignedStatement, Statement
from speedpay.errors import LedgerFailed, Malformed, NotAllowed, NotFound, SpeedpayError
from speedpay.ledger import accounts, book, channels, redemption
from speedpay.ledger.service import Service
from speedpay.ledger_api import answers, shapes, strict
from speedpay.ledger_api.answers import ChannelView, Outcome
from speedpay.ledger_api.refusals import error_to_json
from speedpay.ledger_api.signed import (
    ACCOUNT_HEADER,
    IDEMPOTENCY_KEY_BYTES,
    KEY_HEADER,
    SIGNATURE_HEADER,
    TIME_HEADER,
    Head,
    header_bytes,
    sign_answer,
)
from speedpay.signing import PUBLIC_KEY_BYTES
from speedpay.units import MAX_UTOK

_log = logging.getLogger("speedpay.ledger")

#: code → HTTP status. What is not here is a Refused of another kind: 422.
STATUS: dict[str, int] = {
    "balance_too_small": 402,
    "not_allowed": 403,
    "bad_signature": 401,
    "stale": 401,
    "not_found": 404,
    "channel_unknown": 404,
    "not_increasing": 409,
    "channel_closed": 409,
    "already_exists": 409,
    "out_of_order": 409,
    "over_limit": 429,
    "ledger_failed": 503,
    "books_broken": 503,
    "disk_full": 503,
}
OTHER_REFUSAL = 422
BODY_TOO_LARGE = 413


@dataclass(frozen=True, slots=True)
class Request:
    """``headers``: lowercase names. ``body`` None: it was too large or too slow to be read."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None
    address: str

    def head(self) -> Head:
        get = self.headers.get
        return Head(
            self.method, self.target, get(ACCOUNT_HEADER, ""), get(TIME_HEADER, ""),
            get(KEY_HEADER, ""), get(SIGNATURE_HEADER, ""),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request on its way: ``parts`` are what its path names, ``query`` its parameters."""

    service: Service
    head: Head
    body: bytes
    address: str
    parts: tuple[str, ...]
    query: str

    def json(self) -> object:
        return strict.parse(self.body)

    def owner(self) -> bytes:
        return self.service.owner(self.head, self.body, self.address)

    def once(self, account: bytes) -> book.Once:
        key = header_bytes(self.head.key, IDEMPOTENCY_KEY_BYTES, KEY_HEADER)
        return book.Once(account, key, self.head.request_hash(self.body))

    def part(self) -> bytes:
        return bytes.fromhex(self.parts[0])


def answer(service: Service, request: Request) -> Reply:
    """Never raises: an error is an answer too, and is signed like any other."""
    head, body = request.head(), request.body or b""
    try:
        status, text = 200, _find(service, request, head)
    except SpeedpayError as error:
        status = STATUS.get(error.code, OTHER_REFUSAL)
        if request.body is None:
            status = BODY_TOO_LARGE
        text = strict.dump({"error": error_to_json(error)})
    except Exception:
        # The boundary: our own mistake must not look like a refusal, nor end the process.
        _log.exception("%s could not be answered", request.method)
        status = STATUS[LedgerFailed.code]
        failed = LedgerFailed("the ledger made a mistake; nothing has changed")
        text = strict.dump({"error": error_to_json(failed)})
    signed = sign_answer(service.keys.response, service.domain, head, body, status, text)
    return Reply(status, text, {"content-type": "application/json"} | signed)


def _find(service: Service, request: Request, head: Head) -> bytes:
    if request.body is None:
        raise Malformed(f"must be at most {shapes.MAX_REQUEST_BYTES} bytes", field="body")
    service.bound_address(request.address)
    path, _, query = request.target.partition("?")
    known_path = False
    for method, pattern, handler in ROUTES:
        found = pattern.fullmatch(path)
        if not found:
            continue
        known_path = True
        if method == request.method:
            asked = Asked(service, head, request.body, request.address, found.groups(), query)
            return handler(asked)
    if known_path:
        raise NotFound("this path does not know that method", field="method")
    raise NotFound("there is no such path", field="path")


def _identify(asked: Asked) -> bytes:
    return strict.dump(asked.service.identity().to_json())


def _open_account(asked: Asked) -> bytes:
    service, order = asked.service, shapes.OpenAccount.from_json(asked.json())
    once = asked.once(service.opener(asked.head, asked.body, order.public_key))
    opening, now = service.opening(asked.address), service.now()
    with service.database.write() as connection:
        return book.once(
            connection, once, now,
            lambda: accounts.open_account(connection, order.public_key, opening, now).to_json(),
        )  # fmt: skip


def _own_account(asked: Asked) -> bytes:
    account = asked.owner()
    if account != asked.part():
        raise NotAllowed("is another account's", field="account")
    return account


def _balance(asked: Asked) -> bytes:
    account = _own_account(asked)
    with asked.service.database.read() as connection:
        found = accounts.balance(connection, account, asked.service.now())
    return strict.dump(found.to_json())


def _history(asked: Asked) -> bytes:
    given = dict(parse_qsl(asked.query, keep_blank_values=True))
    before = _number(given.pop("before", None), "before", MAX_UTOK)
    limit = _number(given.pop("limit", "50"), "limit", shapes.MAX_HISTORY)
    if given:
        raise Malformed("knows only before and limit", field="query")
    account = _own_account(asked)
    with asked.service.database.read() as connection:
        found = accounts.history(connection, account, before, limit or 1)
    return strict.dump(found.to_json())


def _number(text: str | None, field: str, high: int) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,18}", text) or int(text) > high:
        raise Malformed(f"must be a whole number, 1 to {high}", field=field)
    return int(text)


def _send(asked: Asked) -> bytes:
    service, order = asked.service, shapes.Send.from_json(asked.json())
    once, now = asked.once(asked.owner()), service.now()

    with service.database.write() as connection:

        def work() -> shapes.Json:
            accounts.send(connection, once.account, order, once.key, now)
            return {"journal_head": book.head(connection).to_json()}

        return book.once(connection, once, now, work)


def _open_channel(asked: Asked) -> bytes:
    service, order = asked.service, shapes.OpenChannel.from_json(asked.json())
    once, now, settings = asked.once(asked.owner()), service.now(), service.settings
    with service.database.write() as connection:
        return book.once(
            connection, once, now,
            lambda: _signed(
                service,
                channels.open_channel(
                    connection, service.domain, once.account, order, settings.fee,
                    settings.claim_s, now,
                ),
            ),
        )  # fmt: skip


def _top_up(asked: Asked) -> bytes:
    service, order = asked.service, shapes.TopUp.from_json(asked.json())
    once, now, channel = asked.once(asked.owner()), service.now(), asked.part()
    with service.database.write() as connection:
        return book.once(
            connection, once, now,
            lambda: _signed(
                service, channels.top_up(connection, once.account, channel, order, now)
            ),
        )  # fmt: skip


def _signed(service: Service, statement: Statement) -> shapes.Json:
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
    )
]
