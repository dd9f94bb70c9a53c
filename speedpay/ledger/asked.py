"""A request as it came over HTTP, and what a route may ask of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

import sqlalchemy as sa

from speedpay.errors import Malformed, NotAllowed, SpeedpayError
from speedpay.ledger import idempotency
from speedpay.ledger.idempotency import Once
from speedpay.ledger.service import Service
from speedpay.ledger_api import strict
from speedpay.ledger_api.shapes import Json
from speedpay.ledger_api.signed import (
    ACCOUNT_HEADER,
    IDEMPOTENCY_KEY_BYTES,
    KEY_HEADER,
    SIGNATURE_HEADER,
    TIME_HEADER,
    Head,
    header_bytes,
)


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

    def once(self, account: bytes) -> Once:
        key = header_bytes(self.head.key, IDEMPOTENCY_KEY_BYTES, KEY_HEADER)
        return Once(account, key, self.head.request_hash(self.body))

    def part(self) -> bytes:
        return bytes.fromhex(self.parts[0])

    def own_account(self) -> bytes:
        """The account that the path names, which must be the one that signed."""
        account = self.owner()
        if account != self.part():
            raise NotAllowed("is another account's", field="account")
        return account

    def decide(self, account: bytes, work: Callable[[sa.Connection, int], Json]) -> bytes:
        """Decide on an order of ``account`` under its key; ``work(connection, now)`` does it."""
        request, now = self.once(account), self.service.now()
        with self.service.database.write() as connection:
            decided = idempotency.once(connection, request, now, lambda: work(connection, now))
        if isinstance(decided, SpeedpayError):  # raised only now, as it is committed
            raise decided
        return decided

    def numbers(self, **largest: int) -> dict[str, int]:
        """The query, which knows only these parameters: whole numbers, 1 to what is given."""
        given = dict(parse_qsl(self.query, keep_blank_values=True))
        if given.keys() - largest.keys():
            known = f"only {' and '.join(largest)}" if largest else "no parameters"
            raise Malformed(f"knows {known}", field="query")
        for name, text in given.items():
            if not re.fullmatch(r"[1-9][0-9]{0,18}", text) or int(text) > largest[name]:
                raise Malformed(f"must be a whole number, 1 to {largest[name]}", field=name)
        return {name: int(text) for name, text in given.items()}
