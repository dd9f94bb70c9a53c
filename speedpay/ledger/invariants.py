"""The promises I1 to I7 as code: what must hold of any ledger database at any moment.

``quick`` sums what the database says now (I1, I2); a serving ledger runs it every minute and stops
when it fails. ``every`` also replays the journal from empty (I3 to I6), for tests and ``fsck``. For
leaves, trees and heads (I6, I7) both ask ``epoch_invariants.py``.
I5, that an acknowledged write is still there, needs a witness outside the database: ``holds`` asks
whether a journal head that was once given out is in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from speedpay.channel.voucher import Voucher, channel_id
from speedpay.errors import Malformed, SpeedpayError
from speedpay.ledger import anchor_invariants, chain_invariants, chart, epoch_invariants
from speedpay.ledger.book import GENESIS, Transfer
from speedpay.ledger.broken import Broken
from speedpay.ledger.chart import DEBIT_NORMAL, BookAccount, Kind, Role
from speedpay.ledger.schema import (
    account_keys,
    balances,
    channels,
    handovers,
    idempotency,
    ledger,
    transfers,
)
from speedpay.ledger_api.answers import JournalHead
from speedpay.ledger_api.owners import Consent, HandOver
from speedpay.ledger_api.shapes import ChannelState
from speedpay.ledger_api.signed import account_id
from speedpay.signing import Domain, verify
from speedpay.units import MAX_UTOK, Amount, MoneyClass

#: Whom a transfer about a channel shows: a column of its row.
_SIDE_OF_CHANNEL = {Kind.LOCK: "payer", Kind.REFUND: "payer", Kind.PAY: "payee"}


def quick(connection: sa.Connection) -> list[Broken]:
    # Sums only over what can be summed: a hand may have written anything into a row.
    return list(_in_range(connection)) or [
        *_conserved(connection),
        *epoch_invariants.quick(connection),
    ]


def every(connection: sa.Connection, journal_key: bytes | None = None) -> list[Broken]:
    """``journal_key``: the ledger's, 32 bytes; without it the leaves of the journal are believed."""
    return [
        *quick(connection),
        *_replayed(connection),
        *_keys_used_once(connection),
        *_own_keys(connection),
        *_signed_by_payers(connection),
        *chain_invariants.every(connection),
        *anchor_invariants.every(connection),
        *epoch_invariants.every(connection, journal_key),
    ]


def holds(connection: sa.Connection, head: JournalHead) -> bool:
    if head.sequence == 0:
        return head == GENESIS
    query = sa.select(transfers.c.hash).where(transfers.c.sequence == head.sequence)
    return connection.execute(query).scalar() == head.hash


def _conserved(connection: sa.Connection) -> Iterator[Broken]:
    """I1: issued = what accounts hold + what channels still hold + withdrawals under way."""
    sums: Counter[tuple[str, Role]] = Counter()
    for row in connection.execute(sa.select(balances)).mappings():
        sums[row["class"], Role(row["account"].partition(":")[0])] += row["balance"]
    held = channels.c.escrow - channels.c.paid - channels.c.refunded
    query = (
        sa.select(channels.c["class"], sa.func.sum(held))
        .where(channels.c.state != ChannelState.CLOSED.value)
        .group_by(channels.c["class"])
    )
    in_channels = {row[0]: row[1] for row in connection.execute(query)}
    for money_class in MoneyClass:
        issued = sum(sums[money_class, role] for role in DEBIT_NORMAL)
        owned = sum(sums[money_class, role] for role in Role if role not in DEBIT_NORMAL)
        if issued != owned:
            yield Broken("I1", money_class, f"{issued} µtok issued, {owned} accounted for")
        escrow, locked = sums[money_class, Role.ESCROW], in_channels.get(money_class, 0)
        if escrow != locked:
            yield Broken(
                "I1", f"escrow {money_class}", f"holds {escrow} µtok, channels need {locked}"
            )


def _in_range(connection: sa.Connection) -> Iterator[Broken]:
    """I2: every number is an integer in 0 … 2^63−1, and 0 ≤ paid ≤ signed ≤ escrow."""
    for row in connection.execute(sa.select(balances)).mappings():
        where = f"balances {row['account']} {row['class']}"
        try:
            may_hold = chart.CLASSES[BookAccount.of(row["account"]).role]
        except (ValueError, TypeError, AttributeError):
            yield Broken("I2", where, "is no account of the chart")
            continue
        if row["class"] not in list(may_hold):
            yield Broken("I2", where, "is money that this account never holds")
        if not _is_amount(row["balance"]):
            yield Broken("I2", where, "is out of range")
    for row in connection.execute(sa.select(channels)).mappings():
        where = f"channel {_shown(row['id'])}"
        numbers = [row[name] for name in ("escrow", "paid", "paid_before", "signed", "refunded")]
        if not all(map(_is_amount, numbers)):
            yield Broken("I2", where, "holds a number out of range")
        elif not (
            row["paid_before"] <= row["paid"] <= row["signed"] <= row["escrow"]
            and row["paid"] + row["refunded"] <= row["escrow"]
        ):
            yield Broken("I2", where, "paid ≤ signed ≤ escrow is broken")
        if row["class"] not in list(MoneyClass) or row["state"] not in list(ChannelState):
            yield Broken("I2", where, "is of no known class or state")


def _is_amount(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_UTOK


def _replayed(connection: sa.Connection) -> Iterator[Broken]:
    """I6: from empty, the journal's rows form one chain and lead to these very balances; and I3:
    what each channel locked, paid and gave back is what its row says, closed ones being empty."""
    replayed: Counter[tuple[str, str]] = Counter()
    by_channel: Counter[tuple[bytes, Kind]] = Counter()
    sides: set[tuple[bytes, str, str]] = set()
    prev, expected = GENESIS.hash, 1
    query = sa.select(transfers).order_by(transfers.c.sequence)
    for row in connection.execute(query.execution_options(yield_per=1000)).mappings():
        where = f"transfers {row['sequence']}"
        try:
            read = _transfer(row)
            chart.check(read.kind, read.debit, read.credit, read.money_class)
            expected_hash = read.hash(row["prev"])
        except (ValueError, TypeError, AttributeError, SpeedpayError) as error:
            yield Broken("I6", where, f"is no transfer: {error}")
            return
        if read.sequence != expected:
            yield Broken("I6", f"transfers {expected}", "is missing")
        if row["prev"] != prev:
            yield Broken("I6", where, "does not follow the row before it")
        if expected_hash != row["hash"]:
            yield Broken("I6", where, "was edited: its hash is another")
        prev, expected = row["hash"], read.sequence + 1
        for account, grows in (
            (read.debit, read.debit.role in DEBIT_NORMAL),
            (read.credit, read.credit.role not in DEBIT_NORMAL),
        ):
            at = (account.name, read.money_class.value)
            replayed[at] += read.amount.utok if grows else -read.amount.utok
            if replayed[at] < 0:
                yield Broken("I6", where, f"takes more than {account.name} held")
        by_channel[read.reference, read.kind] += read.amount.utok
        if read.kind in _SIDE_OF_CHANNEL:
            side = read.debit if read.kind is Kind.LOCK else read.credit
            sides.add((read.reference, _SIDE_OF_CHANNEL[read.kind], side.name))
    yield from _same_balances(connection, replayed)
    yield from _same_channels(connection, by_channel)
    yield from _same_owners(connection, sides)


def _transfer(row: sa.RowMapping) -> Transfer:
    return Transfer(
        row["sequence"], row["time"], Kind(row["kind"]), BookAccount.of(row["debit"]),
        BookAccount.of(row["credit"]), MoneyClass(row["class"]), Amount(row["amount"]),
        row["reference"],
    )  # fmt: skip


def _same_balances(
    connection: sa.Connection, replayed: Counter[tuple[str, str]]
) -> Iterator[Broken]:
    stored = {
        (row["account"], row["class"]): row["balance"]
        for row in connection.execute(sa.select(balances)).mappings()
    }
    for at in sorted(stored.keys() | replayed.keys(), key=str):
        if stored.get(at, 0) != replayed[at]:
            why = f"is {stored.get(at)} µtok, its transfers say {replayed[at]}"
            yield Broken("I6", f"balances {at[0]} {at[1]}", why)


def _same_channels(
    connection: sa.Connection, moved: Counter[tuple[bytes, Kind]]
) -> Iterator[Broken]:
    for row in connection.execute(sa.select(channels)).mappings():
        at, where = row["id"], f"channel {_shown(row['id'])}"
        paid = moved[at, Kind.PAY] + moved[at, Kind.FEE]
        for name, found in (
            ("escrow", moved[at, Kind.LOCK]),
            ("paid", paid),
            ("refunded", moved[at, Kind.REFUND]),
        ):
            if row[name] != found:
                yield Broken("I3", where, f"{name} is {row[name]}, its transfers say {found}")
        closed = row["state"] == ChannelState.CLOSED.value
        if closed and moved[at, Kind.LOCK] != paid + moved[at, Kind.REFUND]:
            yield Broken("I3", where, "is closed but not empty")


def _same_owners(connection: sa.Connection, sides: set[tuple[bytes, str, str]]) -> Iterator[Broken]:
    """I3: what is left of a channel is its payer's, who locked it; its payee has been paid."""
    owners = {row["id"]: row for row in connection.execute(sa.select(channels)).mappings()}
    for channel, side, name in sorted(sides):
        row = owners.get(channel)
        owner = row[side] if row is not None else None
        if not isinstance(owner, bytes) or chart.user(owner).name != name:
            yield Broken("I3", f"channel {_shown(channel)}", f"{name} is not its {side}")


def _keys_used_once(connection: sa.Connection) -> Iterator[Broken]:
    """I4: every order to move tokens out has the one row of its key, and no key has moved twice."""
    ordered = (Kind.SEND.value, Kind.WITHDRAW.value)
    query = sa.select(transfers.c.debit, transfers.c.reference)
    sent = Counter(
        (row.debit, row.reference)
        for row in connection.execute(query.where(transfers.c.kind.in_(ordered)))
    )
    known = {
        (chart.user(row.account).name, row.key)
        for row in connection.execute(sa.select(idempotency.c.account, idempotency.c.key))
    }
    for (name, key), times in sent.items():
        if times != 1 or (name, key) not in known:
            why = f"moved money {times} times and is kept {int((name, key) in known)} times"
            yield Broken("I4", f"idempotency {name} {_shown(key)}", why)


def _own_keys(connection: sa.Connection) -> Iterator[Broken]:
    """I3: whoever may order for an account has the key that its id is made of, or one that was given
    the account by the key before, and took it; no hand-over is without its account."""
    domain = _domain(connection)
    given = {row.new_key: row for row in connection.execute(sa.select(handovers))}
    followed, seen = set[object](), set[object]()
    for row in connection.execute(sa.select(account_keys.c.account, account_keys.c.public_key)):
        where, key = f"account {_shown(row.account)}", row.public_key
        if row.account in seen:
            yield Broken("I3", where, "has two keys")
        seen.add(row.account)
        try:
            while key in given and key not in followed:
                followed.add(key)
                key = _given_by(domain, row.account, given[key])
            own = account_id(key) == row.account
        except (SpeedpayError, ValueError, TypeError) as error:
            yield Broken("I3", where, f"was not handed over to {_shown(key)}: {error}")
            continue
        if not own:
            yield Broken("I3", where, f"its id is not made of its key {_shown(key)}")
    for key in given.keys() - followed:
        where = f"handovers {_shown(given[key].old_key)}"
        yield Broken("I3", where, "leads to a key that has no account")


def _given_by(domain: Domain, account: bytes, row: Any) -> bytes:
    """The key that gave ``account``. Raises SpeedpayError unless both keys signed just that."""
    if row.account != account:
        raise Malformed("is of another account", field="account")
    consent = Consent(account, row.new_key, row.payout, row.consent)
    HandOver(row.old_key, consent, row.given).check(domain)
    old_key: bytes = row.old_key
    return old_key


def _domain(connection: sa.Connection) -> Domain:
    own = connection.execute(sa.select(ledger.c.network, ledger.c.ledger_id)).one()
    return Domain(own.network, own.ledger_id)


def _signed_by_payers(connection: sa.Connection) -> Iterator[Broken]:
    """I3: a channel's id names its keys, so neither can be exchanged; what may still be paid of it was
    signed by the payer's."""
    domain = _domain(connection)
    columns = ("id", "payer_key", "payee_key", "nonce", "signed", "voucher")
    for row in connection.execute(sa.select(*(channels.c[name] for name in columns))).mappings():
        where = f"channel {_shown(row['id'])}"
        try:
            if channel_id(domain, row["payer_key"], row["payee_key"], row["nonce"]) != row["id"]:
                yield Broken("I3", where, "is of other keys than its id names")
            if row["signed"] or row["voucher"]:
                body = Voucher.body(row["id"], Amount(row["signed"]))
                verify(row["payer_key"], "voucher", domain, body, row["voucher"])
        except (SpeedpayError, ValueError, TypeError, AttributeError) as error:
            yield Broken("I3", where, f"its voucher is not the payer's: {error}")


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)
