"""What is on the disk: the schema, the keys, and what happens when the disk fails."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from speedpay.errors import BooksBroken, KeystoreDamaged, LedgerFailed
from speedpay.ledger import keys, migrations
from speedpay.ledger.database import Database
from speedpay.ledger.response_keys import CERTIFICATE_S
from speedpay.ledger.schema import metadata
from speedpay.ledger.service import Service, Settings
from speedpay.ledger_api import calls, owners
from speedpay.ledger_api.owners import Consent, HandOver
from speedpay.ledger_api.shapes import Send
from speedpay.units import Amount
from tests.unit.ledger.desk import CREDIT, Desk, Person, fresh, new_key

NOW = 1_800_000_000
#: As words of a column's or table's name.
FORBIDDEN = {
    "ip", "address", "addr", "host", "infohash", "info", "hash_v2", "torrent", "file", "filename",
    "name", "email", "mail", "user", "agent", "path",
}  # fmt: skip


def statements(connection: sa.Connection) -> set[str]:
    """Every CREATE of the database with its spaces, quotes and order of constraints evened out."""
    found = connection.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name <> 'alembic_version'"
    ).scalars()
    return {
        "\n".join(sorted(re.sub(r"[\s\",()]+", " ", line) for line in sql.split("\n")))
        for sql in found
    }


def test_the_migrations_make_exactly_the_schema() -> None:
    made, declared = sa.create_engine("sqlite://"), sa.create_engine("sqlite://")
    with made.begin() as by_migration, declared.begin() as by_schema:
        migrations.upgrade(by_migration)
        metadata.create_all(by_schema)
        assert statements(by_migration) == statements(by_schema)
        context = MigrationContext.configure(by_migration, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_whoever_holds_tokens_when_epochs_come_is_marked() -> None:
    holder, payer, former, creditor = (bytes([n]) * 16 for n in (0x2A, 0xB0, 3, 4))
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        migrations.upgrade(connection, "0002")
        for account in (holder, payer, former, creditor):
            connection.exec_driver_sql("INSERT INTO accounts VALUES (?, 0)", (account,))
        for name, held, utok in (
            (f"user:{holder.hex()}", "token", 1), (f"user:{payer.hex()}", "token", 0),
            (f"user:{former.hex()}", "token", 0), (f"user:{creditor.hex()}", "credit", 9),
            ("escrow", "token", 5), ("fees", "token", 7),
        ):  # fmt: skip
            row = (name, held, utok)
            connection.exec_driver_sql("INSERT INTO balances VALUES (?, ?, ?)", row)
        for at, (who, held, state, refunded) in enumerate(
            ((payer, "token", "open", 0), (former, "token", "closed", 5),
             (creditor, "credit", "open", 0))
        ):  # fmt: skip
            connection.exec_driver_sql(
                "INSERT INTO channels (id, payer, payer_key, payee_key, nonce, class, escrow, paid,"
                " paid_before, signed, refunded, state, expiry, claim_s, fee_ppm)"
                " VALUES (?, ?, '', '', '', ?, 5, 0, 0, 0, ?, ?, 0, 0, 0)",
                (bytes([at]) * 32, who, held, refunded, state),
            )
        migrations.upgrade(connection)
        marked = connection.exec_driver_sql("SELECT account FROM dirty").scalars()
        assert set(marked) == {holder, payer}


def test_an_interrupted_migration_has_not_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PulledPlug(Exception):
        pass

    def pull(*_: object) -> None:
        raise PulledPlug

    with monkeypatch.context() as patch:
        patch.setattr(migrations.book, "open_account", pull)
        with pytest.raises(PulledPlug):
            Service(tmp_path, Settings())
    with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    Service(tmp_path, Settings()).close()


def test_a_journal_that_is_older_than_withdrawals_is_kept_to_the_byte(tmp_path: Path) -> None:
    """The migration that lets the journal know them copies it into a new table."""
    desk = Desk(tmp_path)
    ann, ben = desk.person(tokens=700), desk.person()
    desk.ask(calls.send(ann.key, ann.account, Send(ben.account, CREDIT, Amount(5)), fresh()))
    before = desk.everything()["transfers"]
    desk.service.close()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:
        for table in (
            "withdrawals",
            "deposits",
            "claims",
            "anchors",
            "anchor_attempts",
            "chain_watch",
            "handovers",
            "published",
            "certificates",
        ):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("UPDATE alembic_version SET version_num = '0003'")
    connection.close()
    desk = Desk(tmp_path)
    assert desk.everything()["transfers"] == before
    assert desk.broken() == []
    desk.service.close()


def test_a_ledger_that_is_older_than_hand_overs_lets_its_accounts_be_handed_over(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path)
    ann = desk.person()
    before = desk.everything()
    desk.service.close()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:
        for table in ("handovers", "published", "certificates"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("UPDATE alembic_version SET version_num = '0004'")
    connection.close()
    desk = Desk(tmp_path)
    assert desk.everything() == before
    heir = new_key()
    consent = Consent.sign(heir, desk.service.domain, ann.account, bytes(20))
    order = HandOver.sign(ann.key, desk.service.domain, consent)
    desk.ask(owners.hand_over(ann.key, order, fresh()))
    assert desk.credit(Person(heir, ann.account)) == 10_000_000
    assert desk.broken() == []
    desk.service.close()


def test_no_column_is_for_an_address_a_content_or_a_person() -> None:
    for table in metadata.sorted_tables:
        for column in table.columns:
            assert not FORBIDDEN & set(column.name.split("_")), f"{table.name}.{column.name}"


def test_what_a_client_sends_from_leaves_no_trace(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Settings(), address="198.51.100.77")
    ann, ben = desk.person(), desk.person()
    desk.ask(calls.send(ann.key, ann.account, Send(ben.account, CREDIT, Amount(5)), fresh()))
    desk.service.close()
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        for trace in (b"198.51", bytes([198, 51, 100])):
            assert trace not in content


def test_the_database_is_opened_so_that_a_power_cut_loses_nothing(desk: Desk) -> None:
    with desk.service.database.read() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert found == ["wal", 2, 1]


def test_files_of_a_ledger_are_its_owners_alone(desk: Desk) -> None:
    for file in desk.folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
    assert stat.S_IMODE(desk.folder.stat().st_mode) == 0o700


def test_keys_are_made_once(tmp_path: Path) -> None:
    first = keys.LedgerKeys(tmp_path, "devnet", NOW)
    second = keys.LedgerKeys(tmp_path, "devnet", NOW)
    assert first.domain == second.domain
    assert first.response.public == second.response.public
    assert (second.leaves, second.journal) == (first.leaves, first.journal)
    assert first.leaves != first.journal
    assert sorted(os.listdir(tmp_path)) == [
        ".lock", "blocks.key", "certificates.json", "journal.key", "leaves.key", "response.key",
        "root.key",
    ]  # fmt: skip


@pytest.mark.parametrize("damage", [b"", b"00", b"\xff" * 82])
def test_a_damaged_key_file_is_refused_and_left_as_it_is(tmp_path: Path, damage: bytes) -> None:
    keys.LedgerKeys(tmp_path, "devnet", NOW)
    (tmp_path / "root.key").write_bytes(damage)
    with pytest.raises(KeystoreDamaged) as caught:
        keys.LedgerKeys(tmp_path, "devnet", NOW)
    assert caught.value.field == "root.key"
    assert (tmp_path / "root.key").read_bytes() == damage


def test_every_flipped_bit_of_a_key_file_is_noticed(tmp_path: Path) -> None:
    good = keys.LedgerKeys(tmp_path, "devnet", NOW)
    path = tmp_path / "root.key"
    content = path.read_bytes()
    for at in range(len(content) * 8):
        flipped = bytearray(content)
        flipped[at // 8] ^= 1 << at % 8
        path.write_bytes(flipped)
        try:
            assert keys.LedgerKeys(tmp_path, "devnet", NOW).domain == good.domain
        except KeystoreDamaged:
            continue


def test_a_database_whose_root_key_was_lost_is_refused(tmp_path: Path) -> None:
    Service(tmp_path, Settings()).close()
    for name in ("root.key", "certificates.json"):
        (tmp_path / name).unlink()
    with pytest.raises(BooksBroken, match=r"ledger\.sqlite"):
        Service(tmp_path, Settings())


def test_a_database_of_another_network_is_refused(tmp_path: Path) -> None:
    Service(tmp_path, Settings()).close()
    with pytest.raises(BooksBroken):
        Service(tmp_path, Settings(network="mainnet"))


def test_the_certificate_is_renewed_before_it_ends(desk: Desk) -> None:
    first = desk.service.identity().certificates[0]
    desk.clock.now += CERTIFICATE_S - 29 * 86_400
    second = desk.service.identity().certificates[0]
    assert second.not_after > first.not_after
    assert second.response_key == first.response_key


def test_on_a_full_disk_writes_fail_and_reads_go_on(desk: Desk) -> None:
    ann, ben = desk.person(), desk.person()
    order = Send(ben.account, CREDIT, Amount(5))
    full = desk.service.database

    def shrink(connection: sqlite3.Connection, _: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    full._engine.dispose()
    sa.event.listen(full._engine, "connect", shrink)
    answered = 0

    def fill() -> None:
        nonlocal answered
        for _ in range(500):
            desk.ask(calls.send(ann.key, ann.account, order, fresh()))
            answered += 1

    with pytest.raises(LedgerFailed, match="disk is full"):
        fill()
    assert desk.credit(ann) == 10_000_000 - 5 * answered
    assert full.stopped is None
    sa.event.remove(full._engine, "connect", shrink)
    full._engine.dispose()
    desk.ask(calls.send(ann.key, ann.account, order, fresh()))


def test_an_error_of_the_disk_inside_a_redemption_stops_all_writing(desk: Desk) -> None:
    """SQLite may undo the transaction by itself; going back to the savepoint then fails as well."""
    line = desk.line(escrow=1000)
    item = line.item(100)

    class FailedWrite(sqlite3.OperationalError):
        sqlite_errorname = "SQLITE_IOERR_WRITE"

    def fail(connection: sa.Connection, _: object, statement: str, *__: object) -> None:
        if statement.startswith("UPDATE channels"):
            connection.connection.execute("ROLLBACK")  # type: ignore[attr-defined]
            raise FailedWrite("disk I/O error")

    database = desk.service.database
    sa.event.listen(database._engine, "before_cursor_execute", fail)
    with pytest.raises(LedgerFailed, match="SQLITE_IOERR_WRITE"):
        desk.redeem(item)
    sa.event.remove(database._engine, "before_cursor_execute", fail)
    assert database.stopped is not None
    assert line.view().paid == Amount(0)


def test_after_an_error_of_the_disk_nothing_is_written_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, ben = desk.person(), desk.person()
    order = Send(ben.account, CREDIT, Amount(5))

    class FailedFsync(sqlite3.OperationalError):
        sqlite_errorname = "SQLITE_IOERR_FSYNC"

    def fail(_: sa.Connection) -> None:
        raise FailedFsync("disk I/O error")

    database = desk.service.database
    sa.event.listen(database._engine, "commit", fail)
    with pytest.raises(LedgerFailed, match="SQLITE_IOERR_FSYNC"):
        desk.ask(calls.send(ann.key, ann.account, order, fresh()))
    sa.event.remove(database._engine, "commit", fail)
    with pytest.raises(LedgerFailed, match="stopped"):
        desk.ask(calls.send(ann.key, ann.account, order, fresh()))
    assert desk.credit(ann) == 10_000_000


def test_a_second_opening_in_one_process_leaves_the_first_its_locks(desk: Desk) -> None:
    """POSIX locks belong to the process: closing any descriptor of the file drops them all, and then
    whoever looks at the books from outside takes the log away as the last one to leave."""
    ann, ben = desk.person(), desk.person()
    path = desk.service.database.path
    second = Database(path)
    with second.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM accounts").scalar_one() >= 2
    second.close()
    look = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM ledger')"
    )
    subprocess.run([sys.executable, "-c", look, str(path)], check=True, timeout=30)
    assert path.with_name(path.name + "-wal").exists()
    desk.ask(calls.send(ann.key, ann.account, Send(ben.account, CREDIT, Amount(5)), fresh()))
    assert desk.credit(ben) == 10_000_005
