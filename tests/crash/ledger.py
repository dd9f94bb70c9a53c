"""Orders of users to a real ledger, its epochs, and the answers that leave."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar

from speedpay.channel.voucher import Assignment, Closing, Voucher
from speedpay.ledger import durable, invariants
from speedpay.ledger.database import Database
from speedpay.ledger.keeper import Keeper
from speedpay.ledger.keys import journal_key
from speedpay.ledger.leaves import Vault
from speedpay.ledger_api import calls
from speedpay.ledger_api.calls import Call
from speedpay.ledger_api.shapes import OpenChannel, Redemption, Send
from speedpay.signing import SigningKey
from speedpay.units import Amount
from tests.crash.workload import NOW, Say, State, Workload, contents, rows, whole_and_sound
from tests.unit.ledger.desk import CREDIT, HOUR_S, TOKEN, Clock, Desk, Person

VAULT = Vault((0xC0FFEE).to_bytes(32), b"\x05" * 20, b"\x06" * 20)
DATABASE = "ledger.sqlite"
T = TypeVar("T")


def _bytes(name: str, length: int = 16) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:length]


def _key(name: str) -> SigningKey:
    return SigningKey(_bytes(name, 32))


def _desk(folder: Path) -> Desk:
    return Desk(folder, clock=Clock(float(NOW)))


def _keeper(desk: Desk) -> Keeper:
    service = desk.service
    return Keeper(desk.folder, service.database, service.keys, service.now)


def _prepare(folder: Path) -> None:
    """Two users of a ledger with one closed epoch."""
    desk = _desk(folder)
    for name in ("alice", "bob"):
        desk.ask(calls.open_account(_key(name), _bytes(f"open {name}")))
    alice = desk.ask(calls.open_account(_key("alice"), _bytes("open alice"))).account
    desk.service.issue(alice, Amount(9_000), b"deposit")
    keeper = _keeper(desk)
    keeper.bind(VAULT)
    keeper.publish(keeper.close(1).number)
    desk.service.close()


def _work(folder: Path, say: Say) -> None:
    desk = _desk(folder)

    def ask(call: Call[T], word: str) -> T:
        answered = desk.ask(call)
        say(word)
        return answered

    def person(name: str) -> Person:
        opened = ask(calls.open_account(_key(name), _bytes(f"open {name}")), f"account of {name}")
        return Person(_key(name), opened.account)

    alice, carol = person("alice"), person("carol")
    order = Send(carol.account, TOKEN, Amount(40))
    ask(calls.send(alice.key, alice.account, order, _bytes("send")), "sent")
    payer, payee = _key("payer"), _key("payee")
    opening = OpenChannel(
        payer.public, payee.public, _bytes("nonce"), CREDIT, Amount(1_000), HOUR_S
    )
    opened = ask(
        calls.open_channel(alice.key, alice.account, opening, _bytes("lock")), "channel open"
    )
    channel, domain = opened.statement.channel, desk.service.domain
    desk.session.ordered(opened, opening)
    assignment = Assignment.sign(payee, domain, channel, carol.account)
    for total in (100, 250):
        voucher = Voucher.sign(payer, domain, channel, Amount(total))
        ask(calls.redeem([Redemption(channel, voucher, assignment)]), f"redeemed {total}")
    closing = Closing.sign(payee, domain, channel, carol.account, Amount(250))
    ask(calls.redeem([Redemption(channel, voucher, assignment, closing)]), "channel closed")
    keeper = _keeper(desk)
    keeper.resume()
    if max(row[0] for row in rows(folder / DATABASE)[f"{DATABASE}:epochs"]) < 2:
        keeper.close(2)
        keeper.resume()
    say("epoch 2 published")
    desk.service.close()


def _state(folder: Path) -> State:
    files = {name: body for name, body in contents(folder).items() if name != DATABASE}
    return rows(folder / DATABASE, ("refusals", "address_blocks")) | files


def _examine(folder: Path, heard: list[str]) -> None:
    """I1 to I7. The next start holds the books against the head that was given out last (I8)."""
    whole_and_sound(folder / DATABASE)
    database = Database(folder / DATABASE)
    with database.read() as connection:
        assert invariants.every(connection, journal_key(folder)) == []
    database.close()


_DURABLE: tuple[tuple[object, str], ...] = ((Database, "write"), (durable, "replace"))
LEDGER = Workload("ledger", _prepare, _work, _state, _examine, _DURABLE)
