"""speedpay inside Debian's own deluged: it pays, it is paid, and without the plugin it is as it was."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import libtorrent as lt
import pytest

from speedpay.client.download import Receipt
from speedpay.errors import InvalidSetting, NotFound, Unfinished
from speedpay.integrations.deluge.egg import PLUGIN
from speedpay.swarm.extension import load_native
from speedpay.units import MIB
from tests.scenarios.clients import (
    PORT,
    WAIT_S,
    WELCOME,
    Content,
    Ledger,
    Town,
    User,
    address,
    auto,
    here,
    ledger_in,
    until,
)
from tests.scenarios.deluged import Deluged, deluged_in

SITE_PACKAGES = "/site-packages/"


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with ledger_in(tmp_path_factory.mktemp("ledger")) as ledger:
        yield ledger


@pytest.fixture
def town(ledger: Ledger, tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path, ledger)
    yield town
    town.close()


def _is(deluged: Deluged, torrent: str, state: str) -> Callable[[], bool]:
    return lambda: deluged.status()["torrents"].get(torrent, {}).get("state") == state


def _proved(receipts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those whose channels the ledger has closed."""
    return [
        one for one in receipts if one["proved_utok"] == one["voucher_utok"] == one["paid_utok"]
    ]


async def _buy(town: Town, buyer: User, content: Content, deluged: Deluged) -> Receipt:
    """What the buyer's own receipt says of a download from deluged alone."""
    async with here(buyer, content, town.place()) as leecher:
        leecher.torrent.connect(deluged.at, PORT)
        return await asyncio.wait_for(leecher.download(auto()).run(leecher.stop), WAIT_S)


def test_deluged_pays_a_seeder_is_paid_by_a_buyer_and_is_ordinary_without_the_plugin(
    town: Town, tmp_path: Path
) -> None:
    user, seller, buyer = town.user(), town.user(), town.user()
    content, origin = town.content(2 * MIB), address()
    seeding = town.seed(seller, content, origin, "--up-limit", "2MiB/s")
    with deluged_in(tmp_path) as deluged:
        deluged.enable(user)
        ours = {line.split(maxsplit=5)[-1] for line in deluged.maps() if SITE_PACKAGES in line}
        assert ours == {load_native().__file__}, "of our libraries deluged has but the extension"
        with pytest.raises(InvalidSetting, match="max_spend: must be"):
            deluged.call("speedpay.set_config", {"pay": "auto", "max_spend": "-1"})
        assert deluged.call("speedpay.get_config")["pay"] == "off", "refused as a whole"

        torrent = deluged.add(content)
        deluged.call("speedpay.set_torrent", torrent, {"pay": "auto", "max_spend": "1"})
        deluged.until(_is(deluged, torrent, "paying"))
        deluged.call("core.connect_peer", torrent, origin, PORT)
        deluged.until(_is(deluged, torrent, "finished"))
        (receipt,) = deluged.until(lambda: _proved(deluged.call("speedpay.get_receipts")))
        paid = int(receipt["paid_utok"])
        assert content.is_in(deluged.downloads)
        assert (receipt["problems"], receipt["complete"]) == ([], True)
        assert 0 < paid <= 1_000_000
        assert seller.credit == WELCOME + paid
        assert user.credit == WELCOME - paid

        # Deluge tells its peers of one another (ut_pex): the buyer would pay this one as well.
        assert seeding.end(signal.SIGINT) == 0
        deluged.call("core.set_torrent_options", [torrent], {"max_upload_speed": 1024})
        bought = asyncio.run(_buy(town, buyer, content, deluged))
        assert [payee.peer for payee in bought.payees] == [f"{deluged.at}:{PORT}"]
        assert 0 < bought.paid.utok == WELCOME - buyer.credit
        deluged.until(lambda: user.credit == WELCOME - paid + bought.paid.utok)

        deluged.call("core.set_torrent_options", [torrent], {"max_upload_speed": -1})
        deluged.call("core.disable_plugin", PLUGIN)
        assert deluged.payers() == []
        with pytest.raises(NotFound, match="not enabled"):
            deluged.status()
        free = asyncio.run(_buy(town, buyer, content, deluged))
        assert (free.paid.utok, free.byte_count) == (0, 2 * MIB)


@pytest.mark.long
def test_when_deluged_is_killed_what_it_sold_is_redeemed_and_it_comes_back_as_it_was(
    town: Town, tmp_path: Path
) -> None:
    user, buyer = town.user(), town.user()
    content = town.content(2 * MIB)
    with deluged_in(tmp_path) as deluged:
        deluged.enable(user)
        torrent = deluged.add(content, content.path.parent)
        deluged.until(lambda: deluged.torrent(torrent)["state"] == "Seeding")
        deluged.call("core.set_torrent_options", [torrent], {"max_upload_speed": 256})

        async def sale() -> int:
            async with here(buyer, content, town.place()) as leecher:
                leecher.torrent.connect(deluged.at, PORT)
                running = asyncio.create_task(leecher.download(auto()).run(leecher.stop))
                while not int(deluged.status()["earned_utok"]):
                    await asyncio.sleep(0.05)
                (beside,) = deluged.payers()
                deluged.end(signal.SIGKILL)
                await until(lambda: not Path(f"/proc/{beside}").exists())
                leecher.stop.set()
                with contextlib.suppress(Unfinished):
                    await running
                return leecher.client.market.purchases[content.infohash].buyer.spent.utok

        spent = asyncio.run(sale())
        # Its process redeemed what the ledger answered in time; the next start does the rest.
        deluged.begin()
        deluged.running()
        deluged.until(lambda: town.in_escrow() == 0)
        earned = user.credit - WELCOME
        assert 0 < earned <= spent
        assert buyer.credit == WELCOME - earned

        deluged.call("core.resume_torrents", [torrent])  # a killed Deluge remembers it as paused
        deluged.until(lambda: deluged.torrent(torrent)["state"] == "Seeding")
        deluged.call("core.set_torrent_options", [torrent], {"max_upload_speed": 1024})
        asyncio.run(_buy(town, buyer, content, deluged))
        deluged.until(lambda: town.in_escrow() == 0)
        assert user.credit - WELCOME == WELCOME - buyer.credit > earned
        assert deluged.status()["changed"]["tick_interval"] == 10
        assert deluged.end() == 0
        state = lt.bdecode((deluged.config / "session.state").read_bytes())
        assert state[b"settings"].get(b"tick_interval", 500) == 500
        assert f'"{PLUGIN}"' in (deluged.config / "core.conf").read_text()
