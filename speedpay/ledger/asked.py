"""A request as it came over HTTP, and what a route may ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from speedpay.ledger.idempotency import Once
from speedpay.ledger.service import Service
from speedpay.ledger_api import strict
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
