"""``get``, ``seed``, ``create`` and ``bid`` as people and programs meet them: shapes, texts, exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from speedpay.cli import main
from speedpay.ledger_api.client import LedgerClient
from speedpay.ledger_api.shapes import Send
from speedpay.swarm.bencoding import encode
from speedpay.units import MIB, Amount, MoneyClass
from tests.scenarios.clients import (
    PORT,
    WELCOME,
    Ledger,
    Process,
    Town,
    User,
    address,
    ledger_in,
    until,
)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with ledger_in(tmp_path_factory.mktemp("ledger")) as ledger:
        yield ledger


@pytest.fixture
def town(ledger: Ledger, tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path, ledger)
    yield town
    town.close()


@pytest.fixture
def run(town: Town, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """``main`` for a user, or for a home without a wallet; gives exit code, stdout and stderr."""

    def one(who: User | Path, *arguments: str) -> tuple[int, str, str]:
        environment = {"SPEEDPAY_HOME": str(who)}
        if isinstance(who, User):
            environment = who.environment()
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        capfd.readouterr()
        code = main(arguments)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        assert "unexpected" not in err
        assert "\x1b" not in out + err
        return code, out, err

    return one


def _error(err: str) -> dict[str, str | None]:
    found: dict[str, str | None] = json.loads(err.splitlines()[-1])["error"]
    assert found.keys() == {"code", "message", "hint"}
    return found


def test_each_command_says_the_same_fields_to_programs(town: Town, run: Run) -> None:
    payer, payee, content, place = town.user(), town.user(), town.content(4 * MIB), town.place()
    target = town.folder / "made.torrent"
    code, out, _ = run(payer, "create", str(content.path), "-o", str(target), "--json")
    assert code == 0
    made = json.loads(out.splitlines()[-1])
    assert made.keys() == {"torrent", "magnet", "infohash", "bytes"}
    assert made["bytes"] == 4 * MIB
    assert made["magnet"].endswith(made["infohash"])

    at = address()
    origin = town.seed(payee, content, at, "--up-limit", "2MiB/s")
    seeding = origin.until("seeding")
    assert seeding.keys() == {"event", "infohash", "port", "magnet"}
    assert seeding["port"] == PORT
    assert seeding["infohash"] == content.infohash.hex()

    leecher = town.get(payer, content, place, "--pay", "auto", "--seed", peers=(at,))
    assert leecher.until("started").keys() == {"event", "name", "infohash", "port"}
    progress = leecher.until("progress")
    assert progress.keys() == {
        "event", "label", "infohash", "done_bytes", "total_bytes", "bytes_per_s", "paid_utok",
        "paid_peers", "capped", "predicted_seconds",
    }  # fmt: skip
    assert isinstance(progress["paid_utok"], str)
    finished = leecher.until("finished")
    assert leecher.end(signal.SIGINT) == 0, "it was only seeding any more"
    result = leecher.result
    of_the_preview = {
        "predicted_seconds",
        "predicted_utok",
        "preview_error_ppm",
    }  # where it could say
    assert result.keys() - of_the_preview == {
        "name", "infohash", "bytes", "seconds", "paid_utok", "protocol_bytes", "bid", "payees", "gain",
        "gain_certainty", "price_utok_per_gib",
    }  # fmt: skip
    assert finished.keys() == result.keys() | {"event"}
    (paid,) = result["payees"]
    assert paid.keys() == {"peer", "utok", "bytes"}
    assert paid["utok"] == result["paid_utok"] == str(WELCOME - payer.credit)

    assert origin.end(signal.SIGTERM) == 0
    assert origin.result.keys() == {
        "name", "sent_bytes", "earned_utok", "protocol_bytes", "paid_bytes", "free_bytes", "torrents",
    }  # fmt: skip
    (seeded,) = origin.result["torrents"]
    assert seeded == {
        "name": "content.bin", "infohash": content.infohash.hex(),
        "sent_bytes": origin.result["sent_bytes"], "earned_utok": result["paid_utok"],
    }  # fmt: skip
    both_lanes = origin.result["paid_bytes"] + origin.result["free_bytes"]
    assert both_lanes == origin.result["sent_bytes"]
    assert origin.result["earned_utok"] == result["paid_utok"]
    assert origin.result["sent_bytes"] >= 4 * MIB


def test_a_bid_is_explained_with_every_input_and_clamp(town: Town, run: Run) -> None:
    payer, content = town.user(), town.content(4 * MIB)
    code, out, _ = run(payer, "bid", str(content.torrent), "--json")
    assert code == 0
    said = json.loads(out)
    assert said == {
        "bid_utok_per_mib": "625000", "raw_utok_per_mib": "625000",
        "published_utok_per_mib": "625000", "formula": "anchored", "consumption": "0.25",
        "balance_utok": "10000000", "allowance_utok": "2500000", "spent_utok": "0",
        "left_utok": "2500000", "remaining_bytes": 4 * MIB, "divisor_bytes": 4 * MIB,
        "clamp": "none", "stop": None,
    }  # fmt: skip
    code, out, _ = run(payer, "bid", str(content.torrent), "--explain", "--max-spend", "1")
    assert code == 0
    assert out.splitlines()[1:] == [
        "consumption       0.25",
        "balance           10 tok when planned, 10 tok now",
        "allowance         1 tok, 0 tok of it spent",
        "remaining         4.0 MiB (divided by 4.0 MiB)",
        "raw               256 tok/GiB",
        "published formula 640 tok/GiB",
        "held by           none",
        "bid               256 tok/GiB",
    ]
    code, out, _ = run(payer, "bid", str(content.torrent), "--max-price", "2", "--json")
    assert (code, json.loads(out)["clamp"]) == (0, "your cap")


def test_a_pipe_gets_plain_lines_and_the_receipt_on_stdout(town: Town) -> None:
    payer, payee, content, place = town.user(), town.user(), town.content(2 * MIB), town.place()
    at = address()
    origin = town.seed(payee, content, at, "--up-limit", "4MiB/s")
    leecher = Process(
        ("get", str(content.torrent), "-o", str(place), "--pay", "2", "--peer", f"{at}:{PORT}",
         "--listen", f"{address()}:0"), payer.environment(),
    )  # fmt: skip
    assert leecher.end() == 0
    paid = Amount(WELCOME - payer.credit)
    first, second = leecher.out.splitlines()
    assert first.startswith("content.bin: 2.0 MiB in ")
    assert first.endswith(f" MiB/s), {paid} tok paid")
    assert second.startswith(f"  {at}:{PORT}: {paid} tok for ")
    assert origin.end(signal.SIGINT) == 0
    assert "\x1b" not in leecher.out + leecher.err + origin.out + origin.err
    assert "\r" not in leecher.out + leecher.err


def test_without_a_wallet_a_download_is_free_and_paying_says_how_to_get_one(
    town: Town, run: Run
) -> None:
    payee, content, place = town.user(), town.content(MIB), town.place()
    stranger = town.stranger()
    at = address()
    town.seed(payee, content, at)
    there = ("--peer", f"{at}:{PORT}", "--listen", f"{address()}:0", "-o", str(place), "--json")
    code, out, _ = run(stranger, "get", str(content.torrent), *there)
    assert code == 0
    result = json.loads(out.splitlines()[-1])
    assert (result["paid_utok"], result["payees"], result["bid"]) == ("0", [], "free")
    assert content.is_in(place)
    code, out, err = run(stranger, "get", str(content.torrent), "--pay", "auto", *there)
    assert (code, out) == (3, "")
    assert _error(err)["hint"] == "speedpay wallet new, or: speedpay wallet restore"


def test_a_wallet_without_an_account_does_not_stop_a_free_download(town: Town, run: Run) -> None:
    home = town.stranger()
    (home / "passphrase").write_text("correct horse battery\n")
    secret = ("--passphrase-file", str(home / "passphrase"))
    away = ("--ledger-url", "http://127.0.0.1:9")
    assert run(home, "wallet", "new", "--json", *away, *secret)[0] == 4
    payee, content, place = town.user(), town.content(MIB), town.place()
    at = address()
    town.seed(payee, content, at)
    there = ("--peer", f"{at}:{PORT}", "--listen", f"{address()}:0", "-o", str(place), *secret)
    code, _, err = run(home, "get", str(content.torrent), "--pay", "auto", "--json", *there)
    assert (code, _error(err)["hint"]) == (3, "speedpay wallet open")
    assert run(home, "get", str(content.torrent), *there)[0] == 0
    assert content.is_in(place)


def test_an_empty_account_cannot_pay_and_a_wrong_passphrase_opens_nothing(
    town: Town, run: Run
) -> None:
    payer, other, content = town.user(), town.user(), town.content(MIB)
    with LedgerClient(town.ledger.url) as ledger:
        everything = Send(other.account, MoneyClass.CREDIT, Amount(WELCOME))
        ledger.send(payer.wallet.keys.identity, payer.account, everything, os.urandom(16))
    there = ("-o", str(town.place()), "--listen", f"{address()}:0", "--json")
    code, _, err = run(payer, "get", str(content.torrent), "--pay", "auto", *there)
    assert code == 5
    assert _error(err)["code"] == "balance_too_small"
    assert _error(err)["hint"] == "download for free: --pay off"
    wrong = town.folder / "wrong"
    wrong.write_text("not this one\n")
    for command in ("get", "bid"):
        secret = ("--passphrase-file", str(wrong), "--json")
        code, _, err = run(payer, command, str(content.torrent), *secret)
        assert (code, _error(err)["code"]) == (8, "keystore_locked")


def test_a_torrent_is_never_written_over_another_file(town: Town, run: Run) -> None:
    content = town.content(MIB)
    target = town.folder / "taken.torrent"
    target.write_text("precious")
    code, _, err = run(town.stranger(), "create", str(content.path), "-o", str(target), "--json")
    assert (code, _error(err)["code"]) == (13, "already_exists")
    assert target.read_text() == "precious"


@pytest.mark.parametrize(
    ("named", "field"),
    [
        ({b"name": b"../evil", b"length": 1}, "info.name"),
        ({b"name": b"..", b"length": 1}, "info.name"),
        ({b"name": b"/etc/evil", b"length": 1}, "info.name"),
        (
            {b"name": b"good", b"files": [{b"length": 1, b"path": [b"..", b"evil"]}]},
            "info.files[0].path",
        ),
        (
            {b"name": b"good", b"files": [{b"length": 1, b"path": [b"a/../../evil"]}]},
            "info.files[0].path",
        ),
    ],
)
def test_names_that_leave_the_folder_are_refused_and_nothing_is_written(
    town: Town, run: Run, named: dict[bytes, object], field: str
) -> None:
    info = {b"piece length": 16384, b"pieces": bytes(20)} | named
    torrent = town.folder / "evil.torrent"
    torrent.write_bytes(encode({b"info": info}))  # type: ignore[dict-item]
    home, place = town.stranger(), town.folder / "inner" / "place"
    before = set(town.folder.rglob("*"))
    code, out, err = run(home, "get", str(torrent), "-o", str(place), "--json")
    assert (code, out) == (1, "")
    error = _error(err)
    assert error["code"] == "malformed"
    assert str(error["message"]).startswith(field)
    assert set(town.folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (2, ("get",)),
        (2, ("get", "{torrent}", "--pay", "lots")),
        (2, ("get", "{torrent}", "--pay", "-1")),
        (2, ("get", "{torrent}", "--pay", "0")),
        (2, ("get", "{torrent}", "--pay", "NaN")),
        (2, ("get", "{torrent}", "--consumption", "1.5")),
        (2, ("get", "{torrent}", "--max-spend", "-1")),
        (2, ("get", "{torrent}", "--max-spend", "9" * 40)),
        (2, ("get", "{torrent}", "--listen", "nowhere")),
        (2, ("get", "{torrent}", "--peer", "example.org:1")),
        (2, ("get", "{torrent}", "--up-limit", "fast")),
        (2, ("get", "{torrent}", "-o", "{torrent}")),
        (2, ("get", "{torrent}", "-o", "{torrent}/below")),
        (2, ("get", "{folder}")),
        (3, ("get", "no-such-file.torrent")),
        (1, ("get", "{garbage}")),
        (1, ("get", "magnet:?nothing")),
        (1, ("get", "magnet:?xt=urn:btih:zz")),
        (2, ("seed",)),
        (2, ("seed", "{torrent}", "--ask", "x")),
        (2, ("seed", "{content}", "-o", "elsewhere")),
        (2, ("seed", "{torrent}", "{content}")),
        (2, ("seed", "{torrent}", "{torrent}")),
        (3, ("seed", "no-such-file")),
        (3, ("seed", "{torrent}", "-o", "{empty}")),
        (2, ("create",)),
        (3, ("create", "no-such-file")),
        (2, ("create", "{content}", "-o", "{torrent}/below")),
        (3, ("bid", "no-such-file.torrent")),
        (3, ("bid", "{torrent}")),
        (1, ("bid", "{garbage}")),
        (2, ("got", "{torrent}")),
    ],
)
def test_wrong_arguments_get_one_sentence_and_the_right_exit_code(
    town: Town, run: Run, code: int, arguments: tuple[str, ...]
) -> None:
    content, garbage, empty = town.content(MIB), town.folder / "garbage", town.place()
    garbage.write_bytes(b"\x1b]0;title\x07 not a torrent \xff")
    names = {
        "torrent": content.torrent, "content": content.path, "folder": content.path.parent,
        "garbage": garbage, "empty": empty,
    }  # fmt: skip
    words = [word.format(**names) for word in arguments]
    if words[0] in ("get", "seed") and "--listen" not in words:
        words += ["--listen", f"{address()}:0"]
    found, out, err = run(town.stranger(), *words, "--json")
    assert found == code, err
    assert all("event" in json.loads(line) for line in out.splitlines()), "there is no result"
    assert _error(err)["message"]


def test_a_client_whose_port_is_taken_says_so_and_works_all_the_same(town: Town) -> None:
    payee, content, place = town.user(), town.content(MIB), town.place()
    at = address()
    town.seed(payee, content, at)
    other = Process(
        ("get", str(content.torrent), "-o", str(place), "--listen", f"{at}:{PORT}"),
        {"SPEEDPAY_HOME": str(town.stranger())},
    )
    asyncio.run(until(lambda: other.err))
    assert other.err.startswith(f"{at}:{PORT} cannot be listened on, so no peer calls us: ")
    assert other.end(signal.SIGINT) == 7


@pytest.mark.long
def test_a_disk_without_room_ends_a_download_and_what_is_there_is_kept(town: Town) -> None:
    """A limit on the size of files stands for the full disk."""
    payee, content, place = town.user(), town.content(6 * MIB), town.place()
    at = address()
    town.seed(payee, content, at, "--up-limit", "4MiB/s")
    leecher = town.get(town.user(), content, place, "--pay", "auto", peers=(at,))
    leecher.until("progress")
    resource.prlimit(leecher.process.pid, resource.RLIMIT_FSIZE, (MIB, MIB))
    assert leecher.end() in (7, 9)
    assert leecher.error["code"] in ("unfinished", "disk_full")
    again = town.get(town.users[-1], content, place, "--pay", "auto", peers=(at,))
    assert again.end() == 0
    assert content.is_in(place)
