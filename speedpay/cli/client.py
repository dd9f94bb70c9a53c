"""What ``get`` and ``seed`` share: their options, and a client that is set up from them."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from speedpay.cli.chain_wallet import promised, warn_of_leaf
from speedpay.cli.output import Output, clean
from speedpay.cli.unlock import unlock, wallet_options
from speedpay.client.account import Account
from speedpay.client.loop import Client
from speedpay.config import Endpoint, Settings, parse_endpoint
from speedpay.errors import DiskFull, InvalidSetting, NotFound
from speedpay.ledger_api.client import AsyncLedgerClient
from speedpay.market.allocator import DEFAULT_FREE_POOL
from speedpay.peer.seller import Terms
from speedpay.signing import Domain
from speedpay.swarm.settings import SwarmSettings
from speedpay.swarm.torrents import Swarm
from speedpay.units import MoneyClass, Price
from speedpay.wallet.keeping import keep_while_running
from speedpay.wallet.opening import keystore_of

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
_CTRL_C = 130
_SHOW_CURSOR = b"\x1b[?25h"


def client_options(command: Callable[P, R]) -> Callable[P, R]:
    """Arguments ``listen, up_limit, peers, ledger_url, passphrase_file``."""
    for option in (
        click.option("--listen", metavar="ADDR:PORT", help="Where peers reach this client."),
        click.option("--up-limit", metavar="RATE", help="Upload limit, such as 2MiB/s."),
        click.option(
            "--peer", "peers", multiple=True, metavar="ADDR:PORT",
            help="Connect to this peer; may be repeated.",
        ),
        wallet_options,
    ):  # fmt: skip
        command = option(command)
    return command


def endpoints(peers: tuple[str, ...]) -> list[Endpoint]:
    return [parse_endpoint(peer, "peer") for peer in peers]


def make_client(
    out: Output, settings: Settings, ask: Price, *, need_wallet: bool
) -> tuple[Client, Swarm]:
    """A client that is not running yet, and its session. Without a wallet and its account it neither pays
    nor sells, unless they are needed: then NotFound says how to make them."""
    account, ledger = None, None
    keystore = keystore_of(settings)
    if need_wallet or (keystore.exists() and keystore.place().has_account):
        wallet = unlock(out, settings)
        place = wallet.place
        if place.account is None or place.ledger_id is None:
            raise NotFound("the wallet has no account yet", hint="speedpay wallet open")
        account = Account(place.account, wallet.keys, Domain(place.network, place.ledger_id))
        ledger = AsyncLedgerClient(place.ledger_url, place.ledger_id, place.network)
        # Until the process ends: its files are whole at any moment.
        keep_while_running(
            place, wallet.keys.identity, settings.home / "wallet",
            lambda: promised(settings), lambda said: warn_of_leaf(out, said),
        )  # fmt: skip
    host, port = settings.listen
    loopback = host.startswith("127.") or host == "::1"
    swarm = Swarm(
        SwarmSettings(
            str(Endpoint(host, port)), settings.up_limit, dht=not loopback, lsd=not loopback
        )
    )
    terms = Terms(ask, frozenset(MoneyClass), DEFAULT_FREE_POOL, risk_cap=settings.risk_cap)
    make_folder(settings.home, "home", mode=0o700)
    client = Client(
        swarm, settings.home, account, ledger, terms, lambda text: out.note(clean(text)),
        lambda text: out.warn(clean(text)),
    )  # fmt: skip
    return client, swarm


def make_folder(folder: Path, field: str, mode: int = 0o777) -> None:
    """The folder and those above it, where they are missing. Raises InvalidSetting or DiskFull."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=mode)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"there is no room for {folder}") from error
        raise InvalidSetting(f"{folder} cannot be made: {error.strerror}", field=field) from error


def run(work: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    """Run ``work(stop)``. The first Ctrl-C (or SIGTERM) sets ``stop``; the second leaves at once,
    which is safe: everything owed is on disk before it is said."""

    async def main() -> T:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def interrupted() -> None:
            if stop.is_set():
                if sys.stderr is not None and sys.stderr.isatty():
                    os.write(2, _SHOW_CURSOR)  # a live bar has hidden it
                os._exit(_CTRL_C)
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupted)
        return await work(stop)

    return asyncio.run(main())


def read_torrent(source: Path) -> bytes:
    """A .torrent file's bytes; whether they are a torrent is checked by ``Swarm``."""
    from speedpay.swarm.content import MAX_TORRENT_FILE_BYTES

    try:
        with source.open("rb") as file:
            data = file.read(MAX_TORRENT_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {source}", field="torrent") from error
    except OSError as error:
        raise InvalidSetting(
            f"{source} cannot be read: {error.strerror}", field="torrent"
        ) from error
    return data
