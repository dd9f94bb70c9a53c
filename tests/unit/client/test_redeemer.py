"""The way of an accepted voucher to the ledger, where the ledger takes its time."""

from __future__ import annotations

import asyncio
import os
from contextlib import closing, suppress
from pathlib import Path

from speedpay.channel.payee import PayeeChannel
from speedpay.channel.voucher import SignedStatement
from speedpay.client.account import Account
from speedpay.client.redeemer import Redeemer
from speedpay.client.store import Store
from speedpay.ledger_api.client import AsyncLedgerClient
from speedpay.units import Amount
from speedpay.wallet.keys import Keys, new_words, seed_from_words
from tests.unit.ledger.desk import Desk

HASH = b"\x01" * 20
NOBODY = "http://127.0.0.1:9"


def test_a_channel_takes_no_voucher_once_its_closing_is_signed_though_the_ledger_is_away(
    tmp_path: Path,
) -> None:
    """Found by the swarm under faults: a voucher that was accepted, and acknowledged, while the closing was
    on its way with an older one was refused by the ledger as too late."""
    desk = Desk(tmp_path / "desk")
    keys = Keys.from_seed(seed_from_words(new_words()))
    account = Account(bytes(16), keys, desk.service.domain)
    open_line, closed_line = desk.line(), desk.line()
    told: list[bytes] = []

    async def scene(store: Store) -> None:
        ledger = AsyncLedgerClient(
            NOBODY, desk.service.domain.ledger_id, desk.service.domain.network
        )
        away: asyncio.Queue[str] = asyncio.Queue()
        redeemer = Redeemer(store, ledger, account, away.put_nowait, told.append)
        running = asyncio.create_task(redeemer.run())
        redeemer.redeem(open_line.id, close=False)
        redeemer.redeem(closed_line.id, close=True)
        await asyncio.wait_for(away.get(), 20)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await ledger.close()

    with closing(Store(tmp_path / "client.db")) as store:
        for line in (open_line, closed_line):
            opened = SignedStatement(line.statement, os.urandom(64))
            store.save_channels([], [(HASH, PayeeChannel(line.statement, line.voucher(5)), opened)])
        asyncio.run(scene(store))
        assert told == [closed_line.id]
        for line in (open_line, closed_line):
            earned = store.earned(line.id)
            assert earned is not None
            assert earned.redeemed == Amount(0), "it is kept for when the ledger is back"
