"""What was paid and earned is explained to the µtok by signed objects, and a changed record is told."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from speedpay.channel.receipt import PayeeReceipt, content_commitment
from speedpay.cli import main
from speedpay.client.records import Records
from speedpay.signing import Domain
from speedpay.units import MIB, Amount
from tests.scenarios.clients import (
    PORT,
    WELCOME,
    Content,
    Ledger,
    Process,
    Town,
    User,
    address,
    here,
    ledger_in,
    seeder,
    until,
)

Run = Callable[..., tuple[int, str, str]]
#: One letter of what the ledger signed.
ONE_LETTER = "body = CAST(replace(CAST(body AS TEXT), 'paid', 'pald') AS BLOB)"


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
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    def one(who: User, *arguments: str) -> tuple[int, str, str]:
        for name, value in who.environment().items():
            monkeypatch.setenv(name, value)
        capfd.readouterr()
        code = main(arguments)
        out, err = capfd.readouterr()
        assert "unexpected" not in err
        return code, out, err

    return one


def _seed(town: Town, user: User, *contents: Content) -> tuple[str, Process]:
    at = address()
    paths = [str(content.torrent) for content in contents]
    process = town.start(user, "seed", *paths, "--listen", f"{at}:{PORT}", "--up-limit", "4MiB/s")
    for content in contents:
        process.until("seeding", lambda said, c=content: said["infohash"] == c.infohash.hex())  # type: ignore[misc]
    return at, process


def test_receipts_and_earnings_add_up_to_the_ledgers_balances_and_tampering_is_told(
    town: Town, run: Run
) -> None:
    """Two torrents of one seeding process, bought one after the other; then the ledger is switched off."""
    payer, payee = town.user(), town.user()
    contents = [town.content(2 * MIB), town.content(MIB)]
    at, origin = _seed(town, payee, *contents)
    for content in contents:
        place = town.place()
        leecher = town.get(payer, content, place, "--pay", "2", peers=(at,))
        assert leecher.end() == 0, leecher.err
        assert content.is_in(place)
    shown = origin.until("progress", lambda said: said["free_share"] is not None)
    assert shown["free_pool"] == "0.25"
    assert origin.end(signal.SIGINT) == 0
    assert len(origin.result["torrents"]) == 2
    earned, spent = payee.credit - WELCOME, WELCOME - payer.credit
    assert earned == spent > 0

    code, out, err = run(payer, "receipts", "--json")
    assert code == 0, err
    found = [json.loads(line) for line in out.splitlines()]
    assert [one["infohash"] for one in found] == [c.infohash.hex() for c in contents]
    assert sum(int(one["paid_utok"]) for one in found) == spent
    for one in found:
        assert one["paid_utok"] == one["proved_utok"]
        assert one["complete"]
    code, out, err = run(payer, "receipts", contents[0].infohash.hex(), "--vouchers", "--json")
    assert code == 0, err
    (full,) = [json.loads(line) for line in out.splitlines()]
    assert sum(int(one["paid_utok"]) for one in full["channels"]) == int(found[0]["paid_utok"])
    for one in full["channels"]:
        assert int(one["paid_utok"]) + int(one["refunded_utok"]) == int(one["escrow_utok"])
        assert len(bytes.fromhex(one["voucher_signature"])) == 64
        signed = one["receipt"]
        PayeeReceipt(
            bytes.fromhex(one["channel"]), Amount(int(one["voucher_utok"])), signed["bytes"],
            content_commitment(bytes.fromhex(signed["salt"]), contents[0].infohash),
            signed["signed_at"], bytes.fromhex(signed["signature"]),
        ).check(Domain("devnet", town.ledger.id), bytes.fromhex(one["payee"]))  # fmt: skip

    code, out, err = run(payee, "earnings", "--json")
    assert code == 0, err
    sold = json.loads(out)
    assert sold["earned_utok"] == sold["redeemed_utok"] == str(earned)
    assert sold["paid_bytes"] + sold["free_bytes"] >= 3 * MIB
    by_torrent = {one["infohash"]: one["earned_utok"] for one in sold["torrents"]}
    assert by_torrent == {one["infohash"]: one["paid_utok"] for one in found}
    assert sold["next_day"] == {
        "expected_utok": None, "low_utok": None, "high_utok": None, "sureness": "unknown",
        "looked_at_s": sold["next_day"]["looked_at_s"], "payers": 0,
    }, "seconds say nothing about days"  # fmt: skip
    code, out, _ = run(payee, "earnings", "--csv")
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert (code, sum(int(row["earned_utok"]) for row in rows)) == (0, earned)

    for who, table, change, command, told in (
        (payer, "paying", "paid = paid - 1 WHERE paid > 0", "receipts", "the ledger signed"),
        (payer, "paying", "paid = paid + 1", "receipts", "the ledger signed"),
        (
            payer,
            "paying",
            "signed = signed - 1 WHERE signed > 0",
            "receipts",
            "the ledger holds a voucher",
        ),
        (payer, "paying", "paid = NULL", "receipts", "the ledger signed that it was closed"),
        (payer, "paying", "signature = zeroblob(64)", "receipts", "its statement has no signature"),
        (payer, "receipts", "paid = paid + 1", "receipts", "the receipt says"),
        (payer, "receipts", "paid = paid - 1 WHERE paid > 0", "receipts", "the receipt says"),
        (payer, "paying", "signed = 'much'", "receipts", "not a number any more"),
        (
            payer,
            "payee_receipts",
            "cumulative = cumulative - 1",
            "receipts",
            "of its payee does not",
        ),
        (payer, "payee_receipts", "salt = zeroblob(32)", "receipts", "of its payee does not"),
        (payer, "answers", "body = 'no bytes'", "receipts", "was changed where it was kept"),
        (payer, "answers", ONE_LETTER, "receipts", "does not hold"),
        (payee, "paid", "redeemed = redeemed + 1", "earnings", "the ledger signed"),
        (payee, "paid", "cumulative = cumulative + 1", "earnings", "did not sign the voucher"),
        (payee, "answers", "body = x'00'", "earnings", "was changed where it was kept"),
    ):
        path = who.home / "client.db"
        before = path.read_bytes()
        with closing(sqlite3.connect(path)) as db:
            db.execute(f"UPDATE {table} SET {change}")
            db.commit()
        code, out, err = run(who, command, "--json")
        assert (code, told in out + err) == (10, True), (change, out, err)
        assert json.loads(err.splitlines()[-1])["error"]["code"] == "proof_broken"
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.write_bytes(before)
    with closing(sqlite3.connect(payer.home / "client.db")) as db:
        db.execute("DELETE FROM closings")  # as a file of an earlier version has none
        db.execute("DELETE FROM payee_receipts")
        db.commit()
    code, out, err = run(payer, "receipts", "1")
    assert code == 0, err
    assert "kept no closing answer" in out
    assert "receipt   none: its payee gave none" in out
    assert "every µtok is in an answer" not in out


def test_a_torrent_whose_file_is_gone_is_said_and_the_others_are_served(town: Town) -> None:
    """Everybody here has no wallet: what is free needs none."""
    contents, at, place = [town.content(MIB), town.content(2 * MIB)], address(), town.place()

    def start(*arguments: str) -> Process:
        town.processes.append(
            Process((*arguments, "--json"), {"SPEEDPAY_HOME": str(town.stranger())})
        )
        return town.processes[-1]

    def get(content: Content, into: Path) -> Process:
        there = ("--listen", f"{address()}:0", "--peer", f"{at}:{PORT}", "-o", str(into))
        return start("get", str(content.torrent), *there)

    origin = start("seed", *(str(one.torrent) for one in contents), "--listen", f"{at}:{PORT}")
    origin.until("seeding", lambda said: said["infohash"] == contents[1].infohash.hex())
    contents[0].path.unlink()
    waiting, served = get(contents[0], town.place()), get(contents[1], place)
    assert served.end() == 0
    assert contents[1].is_in(place)
    asyncio.run(until(lambda: "content.bin cannot be served: " in origin.err))
    assert waiting.end(signal.SIGINT) == 7
    assert origin.end(signal.SIGINT) == 0
    assert len(origin.result["torrents"]) == 2


def test_what_left_is_written_down_while_a_client_runs_so_that_a_crash_loses_only_the_last_minute(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speedpay.client.loop.COUNT_EVERY_S", 0.1)  # a minute for a user
    content, home = town.content(MIB), town.stranger()

    async def scene() -> None:
        async with (
            seeder(home, content) as origin,
            here(town.stranger(), content, town.place()) as peer,
        ):
            await peer.get(None, origin)
            records = Records(origin.client.store)
            await until(lambda: sum(one.free_bytes for _, one in records.traffic()) == MIB)
            assert {infohash for infohash, _ in records.traffic()} == {content.infohash}
            assert records.names() == {content.infohash: "content.bin"}

    asyncio.run(scene())
