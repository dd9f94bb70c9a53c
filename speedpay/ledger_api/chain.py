"""Money in and out, as the ledger tells of it: orders, answers and calls. Pure.

Read ``Withdrawals`` first: a withdrawal leaves the balance at once, waits in a queue, is *released*
into the account's leaf when an epoch is closed, and is paid by the vault to whoever brings the proof
of that leaf. What the ledger says here is its word; ``speedpay verify`` asks the chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from speedpay.errors import Malformed
from speedpay.ledger_api.answers import JournalHead
from speedpay.ledger_api.calls import Call
from speedpay.ledger_api.shapes import MAX_TIME, Json
from speedpay.ledger_api.strict import Fields, dump
from speedpay.signing import HASH_BYTES, SigningKey
from speedpay.units import MAX_UTOK, Amount

ADDRESS_BYTES = 20  # without TRON's 0x41
#: The newest so many withdrawals or deposits are shown.
MAX_SHOWN = 100
MAX_ALARM_CHARS = 300


class WithdrawalState(StrEnum):
    """``QUEUED``: the limit of an epoch has not reached it. ``RELEASED``: in the leaf of a closed
    epoch that the chain does not hold yet. ``ANCHORED``: on chain, not old enough. ``CLAIMABLE``:
    the vault pays against the proof. ``CLAIMED``: the vault has paid."""

    QUEUED = "queued"
    RELEASED = "released"
    ANCHORED = "anchored"
    CLAIMABLE = "claimable"
    CLAIMED = "claimed"


@dataclass(frozen=True, slots=True)
class Withdraw:
    amount: Amount

    @classmethod
    def from_json(cls, value: object) -> Withdraw:
        fields = Fields(value)
        made = cls(fields.amount("amount"))
        fields.end()
        return made

    def to_json(self) -> Json:
        return {"amount": self.amount.to_wire()}


@dataclass(frozen=True, slots=True)
class Ordered:
    """``number``: the withdrawal's place in the order of all that were ever asked for."""

    number: int
    journal_head: JournalHead

    @classmethod
    def read(cls, fields: Fields) -> Ordered:
        return cls(
            fields.integer("number", 1, MAX_UTOK), JournalHead.read(fields.inner("journal_head"))
        )

    def to_json(self) -> Json:
        return {"number": self.number, "journal_head": self.journal_head.to_json()}


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """``released`` of ``amount`` is in the leaf of ``epoch``, the newest that released any of it.

    While queued: ``position`` counts from 1 in the order of asking, which is not that of leaving:
    each close shares the limit out equally among the accounts that wait. ``ahead`` and ``expected``
    are estimates by that rule, of what is released to others and to older ones before its end, and
    of when that is, in unix seconds. Whoever asks later has a share too and makes it later. Once
    released ``expected`` is when the vault pays, if the chain holds the epoch.
    """

    number: int
    amount: Amount
    asked_at: int
    state: WithdrawalState
    released: Amount
    epoch: int | None = None
    position: int | None = None
    ahead: Amount | None = None
    expected: int | None = None

    @classmethod
    def read(cls, fields: Fields) -> Withdrawal:
        state = fields.text("state", 16)
        if state not in list(WithdrawalState):
            raise Malformed("is not a state of a withdrawal", field=fields.path("state"))
        return cls(
            fields.integer("number", 1, MAX_UTOK),
            fields.amount("amount"),
            fields.integer("asked_at", 0, MAX_TIME),
            WithdrawalState(state),
            fields.amount("released", zero=True),
            _optional(fields, "epoch", 1),
            _optional(fields, "position", 1),
            fields.amount("ahead", zero=True) if fields.has("ahead") else None,
            _optional(fields, "expected", 0, MAX_TIME),
        )

    def to_json(self) -> Json:
        made: Json = {
            "number": self.number, "amount": self.amount.to_wire(), "asked_at": self.asked_at,
            "state": self.state.value, "released": self.released.to_wire(),
        }  # fmt: skip
        for name in ("epoch", "position", "expected"):
            if (value := getattr(self, name)) is not None:
                made[name] = value
        if self.ahead is not None:
            made["ahead"] = self.ahead.to_wire()
        return made


@dataclass(frozen=True, slots=True)
class Withdrawals:
    """Newest first. ``withdrawable`` is all that was ever released to this account, ``claimed``
    what the vault has paid of it. ``limit`` of all accounts together leaves the queue at each
    close, an equal share to each account at most, and what it does not need to the others.
    ``trouble``: why it may take longer, in plain words; None when nothing is known."""

    withdrawals: tuple[Withdrawal, ...]
    withdrawable: Amount
    claimed: Amount
    limit: Amount
    interval_s: int
    trouble: str | None

    @classmethod
    def read(cls, fields: Fields) -> Withdrawals:
        items = fields.array("withdrawals", 0, MAX_SHOWN)
        return cls(
            tuple(
                Withdrawal.read(Fields(one, f"withdrawals[{at}]")) for at, one in enumerate(items)
            ),
            fields.amount("withdrawable", zero=True),
            fields.amount("claimed", zero=True),
            fields.amount("limit"),
            fields.integer("interval_s", 1, MAX_TIME),
            _text(fields, "trouble"),
        )

    def to_json(self) -> Json:
        made: Json = {
            "withdrawals": [one.to_json() for one in self.withdrawals],
            "withdrawable": self.withdrawable.to_wire(), "claimed": self.claimed.to_wire(),
            "limit": self.limit.to_wire(), "interval_s": self.interval_s,
        }  # fmt: skip
        return made | ({"trouble": self.trouble} if self.trouble else {})


@dataclass(frozen=True, slots=True)
class DepositView:
    """A deposit that was credited. ``seq``: the vault's own count of all deposits."""

    seq: int
    txid: bytes
    log_index: int
    sender: bytes
    amount: Amount
    block: int

    @classmethod
    def read(cls, fields: Fields) -> DepositView:
        return cls(
            fields.integer("seq", 1, MAX_UTOK),
            fields.hex("txid", HASH_BYTES),
            fields.integer("log_index", 0, MAX_UTOK),
            fields.hex("sender", ADDRESS_BYTES),
            fields.amount("amount"),
            fields.integer("block", 0, MAX_UTOK),
        )

    def to_json(self) -> Json:
        return {
            "seq": self.seq, "txid": self.txid.hex(), "log_index": self.log_index,
            "sender": self.sender.hex(), "amount": self.amount.to_wire(), "block": self.block,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Deposits:
    """Newest first. Blocks below ``next_block`` have been searched; None: the ledger does not look."""

    deposits: tuple[DepositView, ...]
    next_block: int | None

    @classmethod
    def read(cls, fields: Fields) -> Deposits:
        items = fields.array("deposits", 0, MAX_SHOWN)
        return cls(
            tuple(DepositView.read(Fields(one, f"deposits[{at}]")) for at, one in enumerate(items)),
            _optional(fields, "next_block", 0),
        )

    def to_json(self) -> Json:
        made: Json = {"deposits": [one.to_json() for one in self.deposits]}
        return made | ({} if self.next_block is None else {"next_block": self.next_block})


@dataclass(frozen=True, slots=True)
class LastAnchor:
    """The newest epoch that the chain holds for good. ``time`` is its block's, in unix seconds."""

    epoch: int
    txid: bytes
    block: int
    time: int

    @classmethod
    def read(cls, fields: Fields) -> LastAnchor:
        return cls(
            fields.integer("epoch", 1, MAX_UTOK),
            fields.hex("txid", HASH_BYTES),
            fields.integer("block", 0, MAX_UTOK),
            fields.integer("time", 0, MAX_TIME),
        )

    def to_json(self) -> Json:
        return {
            "epoch": self.epoch, "txid": self.txid.hex(), "block": self.block, "time": self.time
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class ChainHealth:
    """How the ledger stands with its chain. ``closed``: newest closed epoch, 0 for none.

    ``alarms`` are plain sentences, empty when all is well; ``low_trx`` says that the anchor key can
    pay only few anchors more, ``frozen_epoch`` that the vault is frozen for good.
    """

    closed: int
    anchor: LastAnchor | None
    age_s: int | None
    interval_s: int
    limit: Amount
    queued: Amount
    queue_length: int
    next_block: int | None
    low_trx: bool
    frozen_epoch: int | None
    alarms: tuple[str, ...]

    @classmethod
    def read(cls, fields: Fields) -> ChainHealth:
        alarms = fields.array("alarms", 0, 16)
        if not all(isinstance(one, str) and len(one) <= MAX_ALARM_CHARS for one in alarms):
            raise Malformed(f"must be texts of at most {MAX_ALARM_CHARS}", field="alarms")
        return cls(
            fields.integer("closed", 0, MAX_UTOK),
            LastAnchor.read(fields.inner("anchor")) if fields.has("anchor") else None,
            _optional(fields, "age_s", 0, MAX_TIME),
            fields.integer("interval_s", 1, MAX_TIME),
            fields.amount("limit"),
            fields.amount("queued", zero=True),
            fields.integer("queue_length", 0, MAX_UTOK),
            _optional(fields, "next_block", 0),
            fields.flag("low_trx"),
            _optional(fields, "frozen_epoch", 0),
            tuple("".join(c for c in str(one) if c.isprintable()) for one in alarms),
        )

    def to_json(self) -> Json:
        made: Json = {
            "closed": self.closed, "interval_s": self.interval_s, "limit": self.limit.to_wire(),
            "queued": self.queued.to_wire(), "queue_length": self.queue_length,
            "low_trx": self.low_trx, "alarms": list(self.alarms),
        }  # fmt: skip
        if self.anchor is not None:
            made["anchor"] = self.anchor.to_json()
        for name in ("age_s", "next_block", "frozen_epoch"):
            if (value := getattr(self, name)) is not None:
                made[name] = value
        return made


def withdraw(
    key: SigningKey, account: bytes, order: Withdraw, idempotency_key: bytes
) -> Call[Ordered]:
    return Call(
        "POST", "/v1/withdrawals", Ordered.read, dump(order.to_json()),
        key, account, idempotency_key,
    )  # fmt: skip


def withdrawals(key: SigningKey, account: bytes) -> Call[Withdrawals]:
    target = f"/v1/accounts/{account.hex()}/withdrawals"
    return Call("GET", target, Withdrawals.read, key=key, signer=account)


def deposits(key: SigningKey, account: bytes) -> Call[Deposits]:
    target = f"/v1/accounts/{account.hex()}/deposits"
    return Call("GET", target, Deposits.read, key=key, signer=account)


def health() -> Call[ChainHealth]:
    return Call("GET", "/v1/ledger/chain", ChainHealth.read)


def _optional(fields: Fields, name: str, low: int, high: int = MAX_UTOK) -> int | None:
    return fields.integer(name, low, high) if fields.has(name) else None


def _text(fields: Fields, name: str) -> str | None:
    """As with refusals: a ledger's words end up on a terminal."""
    if not fields.has(name):
        return None
    return "".join(c for c in fields.text(name, MAX_ALARM_CHARS) if c.isprintable())
