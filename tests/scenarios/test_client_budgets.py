"""Budgets of real downloads: a day's cap in mid-download, a limit that changes, several torrents."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from speedpay.swarm.create import create_torrent
from speedpay.units import MIB
from tests.scenarios.clients import (
    WELCOME,
    Content,
    Ledger,
    Process,
    Town,
    User,
    address,
    ledger_in,
)

#: At 200 tok a GiB 8 MiB cost 1.56 tok: it is reached in mid-download.
DAY = 400_000


@pytest.fixture(scope="module")
def shared_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with ledger_in(tmp_path_factory.mktemp("ledger")) as ledger:
        yield ledger


@pytest.fixture
def town(shared_ledger: Ledger, tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path, shared_ledger)
    yield town
    town.close()


def _budget(town: Town, user: User, *arguments: str) -> Process:
    process = town.start(user, "budget", *arguments)
    assert process.end() == 0, process.err
    return process


def test_a_download_that_meets_the_days_cap_goes_on_for_free_and_spends_no_more(town: Town) -> None:
    payer, payee, content, place = town.user(), town.user(), town.content(8 * MIB), town.place()
    at = address()
    origin = town.seed(payee, content, at, "--up-limit", "4MiB/s")
    set_to = _budget(town, payer, "--day", "0.4", "--month", "7").result
    assert set_to["day"]["left_utok"] == str(DAY)
    leecher = town.get(payer, content, place, "--pay", "200", peers=(at,))
    assert leecher.end() == 0
    assert content.is_in(place)
    assert leecher.result["bytes"] == 8 * MIB
    assert any(said.get("capped") for said in leecher.said), leecher.said
    paid = int(leecher.result["paid_utok"])
    assert origin.end(signal.SIGINT) == 0
    assert int(origin.result["earned_utok"]) == paid, (
        "what was delivered was paid, to the last unit"
    )
    assert WELCOME - payer.credit == paid
    assert DAY * 3 // 10 < paid <= DAY
    shown = _budget(town, payer).result
    assert shown["day"]["spent_utok"] == shown["month"]["spent_utok"] == str(paid)
    assert shown["day"]["left_utok"] == str(DAY - paid)
    assert shown["torrents"] == []


@pytest.mark.long
def test_a_limit_lowered_and_raised_while_it_runs_holds_from_the_next_unit(town: Town) -> None:
    payer, payee, content, place = town.user(), town.user(), town.content(16 * MIB), town.place()
    at = address()
    origin = town.seed(payee, content, at, "--up-limit", "1MiB/s")
    leecher = town.get(payer, content, place, "--pay", "200", peers=(at,))
    leecher.until("progress", lambda said: int(said["paid_utok"]) > 100_000)
    lowered = _budget(town, payer, str(content.torrent), "--max-spend", "0.05").result
    (torrent,) = lowered["torrents"]
    assert torrent["max_spend_utok"] == "50000"
    leecher.until("progress", lambda said: said["capped"])
    spent = int(_budget(town, payer).result["torrents"][0]["spent_utok"])
    assert spent == int(torrent["spent_utok"]), "not one voucher after it was lowered"
    _budget(town, payer, content.infohash.hex(), "--max-spend", "none")
    leecher.until("progress", lambda said: not said["capped"] and int(said["paid_utok"]) > spent)
    assert leecher.end(signal.SIGINT) == 7
    assert origin.end(signal.SIGINT) == 0
    assert int(origin.result["earned_utok"]) == WELCOME - payer.credit > spent


def _named(content: Content, name: str) -> Content:
    path = content.path.rename(content.path.with_name(name))
    made = create_torrent([path], piece_length=256 * 1024)
    content.torrent.write_bytes(made.data)
    return Content(made, path, content.torrent)


def test_two_torrents_that_would_write_the_same_file_are_refused(town: Town) -> None:
    one, other = town.content(MIB), town.content(2 * MIB)
    words = [str(one.torrent), str(other.torrent)]
    refused = town.start(town.user(), "get", *words, "-o", str(town.place()))
    assert refused.end() == 2
    assert refused.error["message"].endswith("two of them have the same name, content.bin")


def test_several_torrents_share_one_consumption_by_their_weights(town: Town) -> None:
    payer, place = town.user(), town.place()
    contents = [
        _named(town.content(4 * MIB), "one.bin"),
        _named(town.content(3 * MIB + 1), "two.bin"),
    ]
    ats = [address(), address()]
    for content, at in zip(contents, ats, strict=True):
        town.seed(town.user(), content, at, "--up-limit", "4MiB/s")
    words = [str(content.torrent) for content in contents]
    named = [word for at in ats for word in ("--peer", f"{at}:7871")]
    leecher = town.start(
        payer, "get", *words, "-o", str(place), "--listen", f"{address()}:0", *named,
        "--pay", "auto", "--weight", "3,1", "--consumption", "0.2",
    )  # fmt: skip
    assert leecher.end() == 0, leecher.err
    first, second = leecher.result["torrents"]
    assert [first["infohash"], second["infohash"]] == [c.infohash.hex() for c in contents]
    assert 0 < int(first["paid_utok"]) <= 1_500_000
    assert 0 < int(second["paid_utok"]) <= 500_000
    paid = int(leecher.result["paid_utok"])
    assert paid == int(first["paid_utok"]) + int(second["paid_utok"]) == WELCOME - payer.credit
    assert all(content.is_in(place) for content in contents)
    seen = {said["infohash"] for said in leecher.said if said.get("event") == "progress"}
    assert seen == {first["infohash"], second["infohash"]}


@pytest.mark.long
def test_ctrl_c_ends_several_downloads_with_all_paid_and_the_worst_exit_code(town: Town) -> None:
    payer, place = town.user(), town.place()
    contents = [_named(town.content(MIB), "small.bin"), _named(town.content(16 * MIB), "large.bin")]
    payees = [town.user(), town.user()]
    ats = [address(), address()]
    origins = [
        town.seed(payee, content, at, "--up-limit", "1MiB/s")
        for payee, content, at in zip(payees, contents, ats, strict=True)
    ]
    named = [word for at in ats for word in ("--peer", f"{at}:7871")]
    words = [str(content.torrent) for content in contents]
    leecher = town.start(
        payer, "get", *words, "-o", str(place), "--listen", f"{address()}:0", *named, "--pay", "200"
    )
    small, large = (content.infohash.hex() for content in contents)
    for infohash, wanted in ((small, MIB), (large, 2 * MIB)):
        leecher.until(
            "progress",
            lambda said: said["infohash"] == infohash and said["done_bytes"] >= wanted,  # noqa: B023
        )
    assert leecher.end(signal.SIGINT) == 7
    assert leecher.error["code"] == "unfinished"
    done, stopped = leecher.result["torrents"]
    assert done["bytes"] == MIB
    assert stopped["error"]["code"] == "unfinished"
    paid = int(leecher.result["paid_utok"])
    assert paid > int(done["paid_utok"]) > 0
    assert [origin.end(signal.SIGINT) for origin in origins] == [0, 0]
    assert sum(int(origin.result["earned_utok"]) for origin in origins) == paid
    assert WELCOME - payer.credit == paid
    assert town.in_escrow() == 0


@pytest.mark.long
def test_two_clients_of_one_home_keep_the_days_cap_together(town: Town) -> None:
    payer = town.user()
    contents = [town.content(6 * MIB), town.content(5 * MIB)]
    payees, ats = [town.user(), town.user()], [address(), address()]
    origins = [
        town.seed(payee, content, at, "--up-limit", "3MiB/s")
        for payee, content, at in zip(payees, contents, ats, strict=True)
    ]
    _budget(town, payer, "--day", "0.4")
    places = [town.place(), town.place()]
    leechers = [
        town.get(payer, content, place, "--pay", "200", peers=(at,))
        for content, place, at in zip(contents, places, ats, strict=True)
    ]
    assert [leecher.end() for leecher in leechers] == [0, 0]
    assert all(content.is_in(place) for content, place in zip(contents, places, strict=True))
    paid = [int(leecher.result["paid_utok"]) for leecher in leechers]
    assert [origin.end(signal.SIGINT) for origin in origins] == [0, 0]
    assert [int(origin.result["earned_utok"]) for origin in origins] == paid
    assert WELCOME - payer.credit == sum(paid)
    assert DAY // 4 < sum(paid) <= DAY
