"""A payee's client ends its channels at a real ledger, with what it signs for that."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from speedpay.channel.payee import PayeeChannel
from speedpay.channel.voucher import SignedStatement
from speedpay.client.account import Account
from speedpay.client.redeemer import Redeemer
from speedpay.client.store import Store
from speedpay.ledger.http import LedgerServer
from speedpay.ledger_api.client import AsyncLedgerClient
from speedpay.ledger_api.shapes import ChannelState
from speedpay.signing import SigningKey
from tests.unit.ledger.desk import Desk, Line

INFOHASH = bytes(20)


class OneKey:
    """The payee's keys of a line."""

    def __init__(self, line: Line) -> None:
        self.identity = line.payee.key
        self._key = line.payee_key

    def channel_key(self, infohash: bytes, peer_tag: bytes) -> SigningKey:
        raise AssertionError("a payee pays nobody")

    def payee_key(self, infohash: bytes) -> SigningKey:
        assert infohash == INFOHASH
        return self._key


async def _end(line: Line, store: Store, url: str) -> list[bytes]:
    ended: list[bytes] = []
    desk = line.desk
    account = Account(line.payee.account, OneKey(line), desk.service.domain)
    async with AsyncLedgerClient(url, clock=desk.clock) as ledger:
        redeemer = Redeemer(store, ledger, account, pytest.fail, ended.append)
        running = asyncio.create_task(redeemer.run())
        redeemer.redeem(line.id, close=True)
        await asyncio.wait_for(redeemer.idle(), 20)
        running.cancel()
    return ended


@pytest.mark.parametrize("utok", [0, 400])
def test_a_payee_that_leaves_is_paid_and_the_payer_has_the_rest(tmp_path: Path, utok: int) -> None:
    desk = Desk(tmp_path / "ledger")
    line = desk.line(escrow=1000)
    store = Store(tmp_path / "payee.sqlite")
    best = line.voucher(utok) if utok else None
    held = PayeeChannel(line.statement, best)
    signed = SignedStatement.sign(desk.service.keys.response, desk.service.domain, line.statement)
    store.save_channels([], [(INFOHASH, held, signed)])
    with LedgerServer(desk.service, "127.0.0.1", 0).running() as url:
        assert asyncio.run(_end(line, store, url)) == [line.id]
    assert line.view().state is ChannelState.CLOSED
    assert desk.credit(line.payee) == 10_000_000 + utok
    assert desk.credit(line.payer) == 10_000_000 - utok
    assert desk.broken() == []
    store.close()
    desk.service.close()
