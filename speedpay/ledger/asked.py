"""A request as it came over HTTP, and what a route may ask of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import parse_qsl

import sqlalchemy as sa

from speedpay.errors import Malformed, NotFound, SpeedpayError
from speedpay.ledger import accounts, idempotency
from speedpay.ledger.accounts import Owner
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

    def owner(self) -> Owner:
        return self.service.owner(self.head, self.body, self.address)

    def once(self, account: bytes) -> Once:
        key = header_bytes(self.head.key, IDEMPOTENCY_KEY_BYTES, KEY_HEADER)
        return Once(account, key, self.head.request_hash(self.body))

    def part(self) -> bytes:
        return bytes.fromhex(self.parts[0])

    def own_account(self) -> Owner:
        """The account that the path names, which must be the one that signed. Whether there is another
        of that name is not looked up."""
        owner = self.owner()
        if owner.account != self.part():
            raise NotFound("there is no such account", field="account")
        return owner

    @contextmanager
    def reading(self, owner: Owner) -> Iterator[sa.Connection]:
        """One view of the database, in which ``owner`` still has the account."""
        with self.service.database.read() as connection:
            accounts.must_hold(connection, owner)
            yield connection

    def decide(
        self,
        owner: Owner,
        work: Callable[[sa.Connection, int], Json],
        may: Callable[[sa.Connection, Owner], None] = accounts.must_hold,
    ) -> bytes:
        """Decide on an order of ``owner`` under its idempotency key; ``work(connection, now)`` does it.
        ``may`` asks in the same transaction whether the key that signed may order it."""
        request, now = self.once(owner.account), self.service.now()
        with self.service.database.write() as connection:
            may(connection, owner)
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
