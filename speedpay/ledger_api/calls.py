"""One value per call: what to ask, who signs it, how to read the answer. Pure.

The client sends these; whether it waits in a thread or in an event loop makes no difference here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from speedpay.channel.voucher import SignedStatement, Voucher
from speedpay.errors import Malformed
from speedpay.ledger_api import answers, shapes
from speedpay.ledger_api.answers import (
    Balance,
    ChannelView,
    History,
    LedgerIdentity,
    OpenedAccount,
    Outcome,
)
from speedpay.ledger_api.shapes import OpenAccount, OpenChannel, Redemption, Send, TopUp
from speedpay.ledger_api.signed import Head, account_id, sign_request
from speedpay.ledger_api.strict import Fields, dump
from speedpay.signing import Domain, SigningKey

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """``key`` signs for ``signer`` (an account id, or the key's own 33 bytes); None: unsigned."""

    method: str
    target: str
    read: Callable[[Fields], T]
    body: bytes = b""
    key: SigningKey | None = None
    signer: bytes = b""
    idempotency_key: bytes | None = None

    def head(self, domain: Domain, now: int) -> Head:
        if self.key is None:
            return Head(self.method, self.target)
        return sign_request(
            self.key, domain, self.method, self.target, self.body, self.signer, now,
            self.idempotency_key,
        )  # fmt: skip


def identify() -> Call[LedgerIdentity]:
    return Call("GET", "/v1/ledger", LedgerIdentity.read)


def open_account(key: SigningKey, idempotency_key: bytes) -> Call[OpenedAccount]:
    return Call(
        "POST", "/v1/accounts", OpenedAccount.read, dump(OpenAccount(key.public).to_json()),
        key, account_id(key.public), idempotency_key,
    )  # fmt: skip


def balance(key: SigningKey, account: bytes) -> Call[Balance]:
    return Call(
        "GET", f"/v1/accounts/{account.hex()}/balance", Balance.read, key=key, signer=account
    )


def history(key: SigningKey, account: bytes, before: int | None, limit: int) -> Call[History]:
    query = f"limit={limit}" if before is None else f"before={before}&limit={limit}"
    target = f"/v1/accounts/{account.hex()}/history?{query}"
    return Call("GET", target, History.read, key=key, signer=account)


def send(key: SigningKey, account: bytes, order: Send, idempotency_key: bytes) -> Call[None]:
    return Call(
        "POST", "/v1/transfers", lambda fields: None, dump(order.to_json()),
        key, account, idempotency_key,
    )  # fmt: skip


def open_channel(
    key: SigningKey, account: bytes, order: OpenChannel, idempotency_key: bytes
) -> Call[SignedStatement]:
    return Call(
        "POST", "/v1/channels", answers.read_signed_statement, dump(order.to_json()),
        key, account, idempotency_key,
    )  # fmt: skip


def top_up(
    key: SigningKey, account: bytes, channel: bytes, order: TopUp, idempotency_key: bytes
) -> Call[SignedStatement]:
    return Call(
        "POST", f"/v1/channels/{channel.hex()}/topups", answers.read_signed_statement,
        dump(order.to_json()), key, account, idempotency_key,
    )  # fmt: skip


def deposit_voucher(voucher: Voucher) -> Call[None]:
    """Unsigned: the voucher's own signature says all, and (channel, cumulative) identifies it."""
    target = f"/v1/channels/{voucher.channel.hex()}/voucher"
    body = dump(shapes.voucher_to_json(voucher))
    return Call("POST", target, lambda fields: None, body)


def channel(key: SigningKey, signer: bytes, channel_id: bytes) -> Call[ChannelView]:
    target = f"/v1/channels/{channel_id.hex()}"
    return Call("GET", target, ChannelView.read, key=key, signer=signer)


def redeem(items: list[Redemption]) -> Call[list[Outcome]]:
    """At most ``MAX_REDEMPTIONS`` and ``MAX_REQUEST_BYTES``: see ``batches``."""

    def read(fields: Fields) -> list[Outcome]:
        found = fields.array("outcomes", len(items), len(items))
        outcomes = [Outcome.read(Fields(one, f"outcomes[{at}]")) for at, one in enumerate(found)]
        if [outcome.channel for outcome in outcomes] != [item.channel for item in items]:
            raise Malformed("are of other channels than were asked for", field="outcomes")
        return outcomes

    body = dump({"items": [item.to_json() for item in items]})
    return Call("POST", "/v1/redemptions", read, body)


def batches(items: list[Redemption]) -> list[list[Redemption]]:
    """``items`` in order, cut into requests that the ledger takes."""
    made: list[list[Redemption]] = []
    room = 0
    for item in items:
        size = len(dump(item.to_json())) + 1
        if size > room or len(made[-1]) == shapes.MAX_REDEMPTIONS:
            made.append([])
            room = shapes.MAX_REQUEST_BYTES - len(b'{"items":[]}')
        made[-1].append(item)
        room -= size
    return made
