"""speedpay inside Debian's own deluged: it pays, it is paid, and without the plugin it is as it was."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import libtorrent as lt
import pytest

from speedpay.errors import InvalidSetting
from speedpay.integrations.deluge.egg import PLUGIN
from speedpay.units import MIB
from tests.scenarios.clients import PORT, WELCOME, Ledger, Town, auto, here, ledger_in
from tests.scenarios.deluged import deluged_in


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with ledger_in(tmp_path_factory.mktemp("ledger")) as ledger:
        yield ledger


@pytest.fixture
def town(ledger: Ledger, tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path, ledger)
    yield town
    town.close()


def test_deluged_pays_a_seeder_is_paid_by_a_buyer_and_is_ordinary_without_the_plugin(
    town: Town, tmp_path: Path
) -> None:
    user, seller, buyer = town.user(), town.user(), town.user()
    content = town.content(4 * MIB)
    origin = "127.0.79.1"
    seeding = town.seed(seller, content, origin, "--up-limit", "2MiB/s")
    with deluged_in(tmp_path) as deluged:
        deluged.enable(user)
        # --- a download in deluged pays a speedpay seeder ---
        torrent = deluged.add(content)
        deluged.call("speedpay.set_torrent", torrent, {"pay": "auto", "max_spend": "1"})
        deluged.until(
            lambda: deluged.status()["torrents"].get(torrent, {}).get("state") == "paying"
        )
        deluged.call("core.connect_peer", torrent, origin, PORT)
        deluged.until(
            lambda: deluged.status()["torrents"].get(torrent, {}).get("state") == "finished"
        )
        (receipt,) = deluged.call("speedpay.get_receipts")
        paid = int(receipt["paid_utok"])
        assert content.is_in(deluged.downloads)
        assert receipt["problems"] == []
        assert 0 < paid <= 1_000_000
        assert seller.credit == WELCOME + paid
        assert user.credit == WELCOME - paid
        print(deluged.status())

        # Deluge tells its peers of one another (ut_pex): the buyer would pay this one as well.
        assert seeding.end(signal.SIGINT) == 0

        # --- a seed inside deluged is paid by a speedpay buyer ---
        deluged.call("core.set_torrent_options", [torrent], {"max_upload_speed": 1024})

        async def buy() -> tuple[int, str]:
            async with here(buyer, content, town.place()) as leecher:
                download = leecher.download(auto())
                leecher.torrent.connect(deluged.at, PORT)
                receipt = await asyncio.wait_for(download.run(leecher.stop), 60)
                return receipt.paid.utok, receipt.payees[0].peer if receipt.payees else ""

        bought, payee = asyncio.run(buy())
        assert payee == f"{deluged.at}:{PORT}"
        assert 0 < bought == WELCOME - buyer.credit
        deluged.until(lambda: user.credit == WELCOME - paid + bought)
        print(deluged.status())

        # --- without the plugin ---
        deluged.call("core.disable_plugin", PLUGIN)
        assert deluged.payers() == []
        with pytest.raises(InvalidSetting, match="get_status"):
            deluged.status()

        bought, _ = asyncio.run(buy())
        assert bought == 0
        # --- and again ---
        deluged.call("core.enable_plugin", PLUGIN)
        deluged.running()
        bought, _ = asyncio.run(buy())
        assert bought > 0
        assert deluged.end() == 0
