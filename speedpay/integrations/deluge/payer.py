"""The process beside deluged: an ordinary client, whose session is deluged's.

It is started by ``host.py`` and ends when it is told to, or when deluged is gone; then it pays what is owed
and redeems what was earned, as at the end of any other run of ours. What it could not finish is in the store.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from speedpay import __version__
from speedpay.client.account import Account
from speedpay.client.download import Download, Moment, Payment, Together
from speedpay.client.loop import Client
from speedpay.client.proving import Prover
from speedpay.client.receipts import judged
from speedpay.client.records import Records
from speedpay.config import HOME_VARIABLE, Settings, load
from speedpay.errors import NotFound, SpeedpayError, Unfinished
from speedpay.integrations.deluge import options, wire
from speedpay.integrations.deluge.remote import RemoteSwarm, RemoteTorrent
from speedpay.ledger_api.client import AsyncLedgerClient
from speedpay.market.allocator import DEFAULT_FREE_POOL
from speedpay.market.bidder import Formula
from speedpay.peer.seller import Terms
from speedpay.signing import Domain
from speedpay.units import MoneyClass, Price
from speedpay.wallet.opening import applied, check_account, keystore_of, passphrase_in

_log = logging.getLogger(__name__)
#: A download that could not be paid for, with the ledger away for example, is tried again after this.
RETRY_S = 15.0


@dataclass(slots=True)
class Paying:
    """One torrent that is paid for, or to be. ``said``: the last thing that went wrong, or nothing."""

    torrent: RemoteTorrent
    options: Mapping[str, str]
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    moment: Moment | None = None
    state: str = "waiting"
    said: str = ""
    paid_utok: int = 0


class Payer:
    """``tell`` says something to deluged, and never waits."""

    def __init__(self, start: wire.Start, tell: Any) -> None:
        """Raises what keeps the wallet shut: NotFound, KeystoreLocked, WrongLedger, InvalidSetting, …"""
        chosen = options.parsed(start.options)
        settings = _settings(chosen["home"], start.options)
        keystore = keystore_of(settings)
        place = applied(keystore.place(), settings)
        check_account(place)
        assert place.account is not None
        if place.ledger_id is None:
            raise NotFound("the wallet has no ledger yet", hint="speedpay wallet open")
        if settings.passphrase_file is None:
            raise SpeedpayError(
                "nobody types a passphrase here: name a file", field="passphrase_file"
            )
        keys = keystore.unlock(passphrase_in(settings.passphrase_file)).keys
        self._tell = tell
        self._consumption = settings.consumption
        self._domain = Domain(place.network, place.ledger_id)
        self._account = Account(place.account, keys, self._domain)
        self._ledger = AsyncLedgerClient(place.ledger_url, place.ledger_id, place.network)
        self.swarm = RemoteSwarm(tell, start.uplink, start.free_slots)
        own = {one: options.parsed({"ask": ask})["ask"] for one, ask in start.asks.items()}
        terms = Terms(chosen["ask"], frozenset(MoneyClass), DEFAULT_FREE_POOL, own=own)
        self.client = Client(
            self.swarm, settings.home, self._account, self._ledger, terms, self._note
        )
        self.swarm.hold = self.client.hold
        # No torrent's; also while none is traded, nobody may change the wallet's key under us.
        self.client.hold(bytes(20))
        self._paying: dict[bytes, Paying] = {}
        #: Those whose options have changed: they still settle, and must not be paid for twice at a time.
        self._ending: dict[bytes, asyncio.Task[None]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        async with self.client.running():
            self._tell(wire.Told(wire.Saying.RUNNING))
            await stop.wait()
            for infohash in list(self._paying):
                self._end(infohash)
            await asyncio.gather(*self._ending.values())

    # ---- torrents ----

    def seen(self, told: wire.Seen) -> None:
        known = self._paying.get(told.infohash)
        if told.options is None or told.sight is None:
            self._end(told.infohash)
            self.swarm.forget(told.infohash)
            return
        torrent = self.swarm.saw(told.infohash, told.sight)
        if known is None or known.options != told.options:
            self._end(told.infohash)
            paying = self._paying[told.infohash] = Paying(torrent, told.options)
            paying.task = asyncio.create_task(self._pay(paying))

    def _end(self, infohash: bytes) -> None:
        paying = self._paying.pop(infohash, None)
        if paying is not None and paying.task is not None:
            paying.stop.set()
            task = self._ending[infohash] = paying.task
            task.add_done_callback(
                lambda done: (
                    self._ending.pop(infohash) if self._ending.get(infohash) is done else None
                )
            )

    async def _pay(self, paying: Paying) -> None:
        """Until the torrent is complete, or nobody wants it to be paid for any more."""
        if before := self._ending.get(paying.torrent.infohash):
            await asyncio.wait([before])

        def show(moment: Moment) -> None:
            paying.moment, paying.paid_utok = moment, moment.paid.utok
            paying.state, paying.said = "paying", ""

        while not paying.stop.is_set():
            try:
                download = Download(
                    self.client,
                    paying.torrent,
                    None,
                    self._payment(paying.options),
                    show,
                    Together(),
                )
                receipt = await download.run(paying.stop)
                paying.state, paying.paid_utok = "finished", receipt.paid.utok
                self._note(f"{receipt.name}: {receipt.paid} tok paid")
                return
            except SpeedpayError as error:
                if isinstance(error, Unfinished) and paying.stop.is_set():
                    return
                paying.state, paying.said = "waiting", str(error)
                _log.warning("%s: %s", paying.torrent.name, error)
            try:
                await asyncio.wait_for(paying.stop.wait(), RETRY_S)
            except TimeoutError:
                continue

    def _payment(self, texts: Mapping[str, str]) -> Payment:
        chosen = options.parsed(texts)
        pay = chosen["pay"]
        return Payment(
            chosen["consumption"] or self._consumption, Formula.ANCHORED,
            pay if isinstance(pay, Price) else None, chosen["max_price"], chosen["max_spend"],
        )  # fmt: skip

    def _note(self, text: str) -> None:
        self._tell(wire.Noted(text))

    # ---- questions ----

    async def answer(self, question: wire.Question) -> None:
        try:
            result = await self.QUESTIONS[question.name](self)
            self._tell(wire.Answer(question.number, result))
        except SpeedpayError as error:
            self._tell(wire.Answer(question.number, None, str(error)))

    async def _status(self) -> dict[str, Any]:
        uplink = self.client.uplink()
        return {
            "account": self._account.id.hex(),
            "ledger_reached": self.client.market is not None,
            "earned_utok": self.client.earned().to_wire(),
            "paid_utok": str(sum(one.paid_utok for one in self._paying.values())),
            "paid_peers": uplink.paid.peers,
            "free_peers": uplink.free.peers,
            "paid_bytes": uplink.paid.byte_count,
            "free_bytes": uplink.free.byte_count,
            "torrents": {
                infohash.hex(): _shown(paying) for infohash, paying in self._paying.items()
            },
        }

    async def _balance(self) -> dict[str, str]:
        found = await self._ledger.balance(self._account.keys.identity, self._account.id)
        return {
            "token_utok": found.token.to_wire(),
            "credit_utok": found.credit.to_wire(),
            "token_in_escrow_utok": found.token_in_escrow.to_wire(),
            "credit_in_escrow_utok": found.credit_in_escrow.to_wire(),
        }

    async def _receipts(self) -> list[dict[str, Any]]:
        """As ``speedpay receipts``, checked again each time."""
        records = Records(self.client.store)
        prover, names = Prover(records, self._domain), records.names()
        found = []
        for bought in records.bought():
            one = judged(bought, names.get(bought.infohash, bought.infohash.hex()), prover)
            found.append({
                "number": one.number,
                "infohash": one.infohash.hex(),
                "name": one.name,
                "bytes": one.ended.byte_count if one.ended else None,
                "ended": one.ended.ended if one.ended else None,
                "complete": one.done,
                "paid_utok": one.paid.to_wire(),
                "proved_utok": one.proved.to_wire(),
                "voucher_utok": one.promised.to_wire(),
                "problems": one.problems(),
            })  # fmt: skip
        return found

    QUESTIONS = {"status": _status, "balance": _balance, "receipts": _receipts}  # noqa: RUF012


def _settings(home: Any, texts: Mapping[str, str]) -> Settings:
    environment = dict(os.environ) | ({HOME_VARIABLE: str(home)} if home else {})
    flags = {name: texts.get(name) or None for name in ("passphrase_file", "ledger_url")}
    return load(flags, environment)


def _shown(paying: Paying) -> dict[str, Any]:
    moment = paying.moment
    return {
        "state": paying.state,
        "said": paying.said,
        "paid_utok": str(paying.paid_utok),
        "paid_peers": moment.paid_peers if moment else 0,
        "price_utok_per_mib": str(moment.price.utok_per_mib) if moment and moment.price else None,
        "capped": moment.capped if moment else False,
        "gain": f"{moment.gain.times:.2f}" if moment and moment.gain else None,
    }


# ---- the process ----


async def _work() -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    hears = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(hears), sys.stdin.buffer)
    speaks, _ = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(wire.SPEAKS, "wb"))
    # From the terminal on which deluged runs, if it does: deluged is what ends us.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGTERM, stop.set)

    def tell(message: NamedTuple) -> None:
        if not speaks.is_closing():
            speaks.write(wire.packed(message))

    try:
        start = await _next(hears)
        if start is None:
            return 0
        if start.version != __version__:
            raise SpeedpayError("speedpay was updated since deluged began: restart deluged")
        payer = Payer(start, tell)
        reader = asyncio.create_task(_hear(hears, payer, stop))
        try:
            await payer.run(stop)
        finally:
            reader.cancel()
    except SpeedpayError as error:
        why = f"{error} ({error.hint})" if error.hint else str(error)
        tell(wire.Told(wire.Saying.FAILED, why))
        return error.exit_code
    finally:
        speaks.close()
        await asyncio.sleep(0)  # what was said last leaves
    return 0


async def _next(hears: asyncio.StreamReader) -> Any:
    """The next message; None when deluged is gone."""
    try:
        (length,) = struct.unpack(">I", await hears.readexactly(4))
        (message,) = wire.Unpacker().feed(
            struct.pack(">I", length) + await hears.readexactly(length)
        )
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return message


async def _hear(hears: asyncio.StreamReader, payer: Payer, stop: asyncio.Event) -> None:
    answers: set[asyncio.Task[None]] = set()
    while (message := await _next(hears)) is not None:
        match message:
            case wire.Happened(events):
                payer.swarm.happened(events)
            case wire.Uplink():
                payer.swarm.looks(message)
            case wire.Seen():
                if not stop.is_set():
                    payer.seen(message)
            case wire.Question():
                task = asyncio.create_task(payer.answer(message))
                answers.add(task)
                task.add_done_callback(answers.discard)
            case wire.Stop():
                stop.set()
    stop.set()


def main() -> int:
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return asyncio.run(_work())
