"""A keystore is what was saved, or it is refused: damage, a wrong passphrase, other users."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from speedpay.errors import (
    AlreadyExists,
    DiskFull,
    InvalidSetting,
    KeystoreDamaged,
    KeystoreLocked,
    NotFound,
)
from speedpay.ledger_api.bound import BoundVault
from speedpay.ledger_api.owners import Consent
from speedpay.wallet import files
from speedpay.wallet.keys import Keys
from speedpay.wallet.keystore import (
    MAX_FILE_BYTES,
    SCRYPT_N,
    Keystore,
    Place,
    Unlocked,
)
from speedpay.wallet.tenure import KeyChange, Tenure

SEED = bytes(range(64))
PASSPHRASE = "correct horse battery"
PLACE = Place("devnet", "http://127.0.0.1:7461", bytes(range(32)), bytes(range(16)))
QUICK_N = 2**12  # the lowest that is read back: these tests are not about guessing


@pytest.fixture
def keystore(tmp_path: Path) -> Keystore:
    return Keystore(tmp_path / "wallet")


@pytest.fixture
def saved(keystore: Keystore) -> Keystore:
    keystore.create(SEED, PASSPHRASE, PLACE, n=QUICK_N)
    return keystore


def _checked(body: bytes) -> bytes:
    """``body`` with the checksum that belongs to it: what somebody would write on purpose."""
    return body + b"sha256 " + hashlib.sha256(body).hexdigest().encode() + b"\n"


def test_what_was_saved_comes_back(saved: Keystore) -> None:
    opened = saved.unlock(PASSPHRASE)
    assert opened.place == saved.place() == PLACE
    assert opened.keys.identity.public == Keys.from_seed(SEED).identity.public


def test_a_place_that_the_ledger_has_not_confirmed_yet_comes_back(keystore: Keystore) -> None:
    place = Place("devnet", "http://127.0.0.1:7461")
    keystore.create(SEED, PASSPHRASE, place, n=QUICK_N)
    assert keystore.unlock(PASSPHRASE).place == place


def test_the_vault_to_which_the_ledger_is_bound_comes_back(saved: Keystore) -> None:
    bound = replace(PLACE, chain=BoundVault(0x2B6653DD, bytes(range(20)), bytes(range(1, 21))))
    saved.update(saved.unlock(PASSPHRASE), bound)
    assert saved.place() == saved.unlock(PASSPHRASE).place == bound


def test_a_wallet_from_before_there_was_a_chain_still_opens(saved: Keystore) -> None:
    assert b'"chain"' not in saved.path.read_bytes()
    assert saved.unlock(PASSPHRASE).place.chain is None


def test_without_being_told_otherwise_guessing_costs_what_owasp_says(keystore: Keystore) -> None:
    keystore.create(SEED, PASSPHRASE, PLACE)
    assert SCRYPT_N == 2**17
    assert b'"n":131072,"r":8,"p":1' in keystore.path.read_bytes()
    assert keystore.unlock(PASSPHRASE).place == PLACE


def test_a_file_cut_at_any_offset_is_damaged(saved: Keystore) -> None:
    whole = saved.path.read_bytes()
    for length in range(len(whole)):
        saved.path.write_bytes(whole[:length])
        with pytest.raises(KeystoreDamaged):
            saved.unlock(PASSPHRASE)
        assert saved.path.read_bytes() == whole[:length], "and left as it was found"


def test_a_file_with_any_bit_flipped_is_damaged(saved: Keystore) -> None:
    whole = saved.path.read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        saved.path.write_bytes(flipped)
        with pytest.raises(KeystoreDamaged):
            saved.unlock(PASSPHRASE)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole + b"\n",
        lambda whole: b"\n" + whole,
        lambda whole: whole + whole,
        lambda whole: whole.replace(b"\n", b"\r\n"),
        lambda whole: b"\xef\xbb\xbf" + whole,
        lambda whole: bytes(len(whole)),
        lambda whole: whole + bytes(MAX_FILE_BYTES),
    ],
)
def test_a_file_with_more_or_other_bytes_is_damaged(
    saved: Keystore, damage: Callable[[bytes], bytes]
) -> None:
    saved.path.write_bytes(damage(saved.path.read_bytes()))
    with pytest.raises(KeystoreDamaged) as caught:
        saved.place()
    assert "speedpay wallet restore" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("what", "old", "new"),
    [
        ("a field twice", b'"p":1', b'"p":1,"p":1'),
        ("an unknown field", b'"p":1', b'"p":1,"q":1'),
        ("a field less", b'"p":1,', b""),
        ("a space", b'"p":1', b'"p": 1'),
        ("another version", b'"speedpay_wallet":1', b'"speedpay_wallet":2'),
        ("more memory than we give", b'"n":4096', b'"n":524288'),
        ("n too low", b'"n":4096', b'"n":2048'),
        ("n no power of two", b'"n":4096', b'"n":4097'),
        ("n no number", b'"n":4096', b'"n":true'),
        ("a huge r", b'"r":8', b'"r":1048576'),
        ("another p", b'"p":1', b'"p":2'),
        ("no object", b"{", b"["),
        ("deep nesting", b"{", b"[" * 10_000),
        ("a short id", b'"ledger_id":"00', b'"ledger_id":"'),
        ("a network that is no text", b'"devnet"', b"{}"),
    ],
)
def test_a_header_that_breaks_a_rule_is_damaged_even_with_its_checksum(
    saved: Keystore, what: str, old: bytes, new: bytes
) -> None:
    lines = saved.path.read_bytes().split(b"\n")
    assert old in lines[0], what
    body = lines[0].replace(old, new, 1) + b"\n" + lines[1] + b"\n"
    saved.path.write_bytes(_checked(body))
    with pytest.raises(KeystoreDamaged):
        saved.unlock(PASSPHRASE)


@pytest.mark.parametrize("sealed", [b"", b"00", b"00" * 79, b"0" * 159, b"zz" * 80, b"AB" * 80])
def test_a_sealed_seed_of_the_wrong_form_is_damaged(saved: Keystore, sealed: bytes) -> None:
    header = saved.path.read_bytes().split(b"\n")[0]
    saved.path.write_bytes(_checked(header + b"\n" + sealed + b"\n"))
    with pytest.raises(KeystoreDamaged):
        saved.unlock(PASSPHRASE)


def test_a_ledger_put_into_the_header_by_somebody_else_keeps_the_wallet_locked(
    saved: Keystore,
) -> None:
    """The clear part is authenticated: it cannot send a user to another ledger."""
    lines = saved.path.read_bytes().split(b"\n")
    body = lines[0].replace(b"127.0.0.1", b"10.6.6.6") + b"\n" + lines[1] + b"\n"
    saved.path.write_bytes(_checked(body))
    with pytest.raises(KeystoreLocked):
        saved.unlock(PASSPHRASE)


@pytest.mark.parametrize(
    "wrong", ["", "x", PASSPHRASE + " ", PASSPHRASE.upper(), "é" * 2000, "\ud800"]
)
def test_a_wrong_passphrase_leaves_the_wallet_locked(saved: Keystore, wrong: str) -> None:
    before = saved.path.read_bytes()
    with pytest.raises(KeystoreLocked) as caught:
        saved.unlock(wrong)
    assert caught.value.exit_code == 8
    assert saved.path.read_bytes() == before


def test_the_same_passphrase_typed_on_another_system_opens_the_wallet(keystore: Keystore) -> None:
    keystore.create(SEED, "caf\u00e9 au lait", PLACE, n=QUICK_N)
    assert keystore.unlock("cafe\u0301 au lait").place == PLACE


@pytest.mark.parametrize("passphrase", ["", "short", "x" * 1025])
def test_a_passphrase_that_is_too_short_or_long_is_refused_for_a_new_wallet(
    keystore: Keystore, passphrase: str
) -> None:
    with pytest.raises(InvalidSetting):
        keystore.create(SEED, passphrase, PLACE, n=QUICK_N)
    assert not keystore.exists()


def test_no_wallet_is_not_found_and_none_is_made(keystore: Keystore) -> None:
    with pytest.raises(NotFound) as caught:
        keystore.unlock(PASSPHRASE)
    assert caught.value.hint
    assert "speedpay wallet new" in caught.value.hint
    assert not keystore.path.parent.exists()


@pytest.mark.parametrize("there", ["good", "damaged", "empty", "a link to nowhere"])
def test_a_wallet_that_is_there_is_never_overwritten(saved: Keystore, there: str) -> None:
    if there == "damaged":
        saved.path.write_bytes(b"damaged")
    elif there == "empty":
        saved.path.write_bytes(b"")
    elif there == "a link to nowhere":
        saved.path.unlink()
        saved.path.symlink_to("nowhere")
    before = saved.path.read_bytes() if there != "a link to nowhere" else os.readlink(saved.path)
    with pytest.raises(AlreadyExists) as caught:
        saved.create(bytes(64), PASSPHRASE, PLACE, n=QUICK_N)
    assert caught.value.exit_code == 13
    after = saved.path.read_bytes() if there != "a link to nowhere" else os.readlink(saved.path)
    assert after == before


def test_an_update_keeps_seed_and_passphrase_and_uses_a_fresh_nonce(saved: Keystore) -> None:
    before = saved.path.read_bytes().split(b"\n")
    moved = Place("devnet", "http://127.0.0.2:80", PLACE.ledger_id, PLACE.account)
    saved.update(saved.unlock(PASSPHRASE), moved)
    opened = saved.unlock(PASSPHRASE)
    assert opened.place == moved
    assert opened.keys.identity.public == Keys.from_seed(SEED).identity.public
    assert saved.path.read_bytes().split(b"\n")[1] != before[1]


def test_an_update_never_replaces_another_wallet(saved: Keystore) -> None:
    opened: Unlocked = saved.unlock(PASSPHRASE)
    saved.path.unlink()
    saved.create(bytes(64), PASSPHRASE, PLACE, n=QUICK_N)
    other = saved.path.read_bytes()
    with pytest.raises(AlreadyExists):
        saved.update(opened, PLACE)
    assert saved.path.read_bytes() == other


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_file_and_folder_are_the_owners_alone(keystore: Keystore, umask: int) -> None:
    if umask == 0o777 and os.geteuid() != 0:
        umask = 0o077  # only root can enter a folder that it may not enter
    before = os.umask(umask)
    try:
        keystore.create(SEED, PASSPHRASE, PLACE, n=QUICK_N)
    finally:
        os.umask(before)
    assert keystore.path.stat().st_mode & 0o777 == 0o600
    assert keystore.path.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_file_that_other_users_may_open_is_refused_with_the_remedy(
    saved: Keystore, mode: int
) -> None:
    saved.path.chmod(mode)
    with pytest.raises(KeystoreLocked) as caught:
        saved.unlock(PASSPHRASE)
    assert caught.value.hint == f"chmod 600 {saved.path}"
    saved.path.chmod(0o600)
    assert saved.unlock(PASSPHRASE)


def test_a_full_disk_leaves_the_wallet_as_it_was(
    saved: Keystore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.path.read_bytes()
    opened = saved.unlock(PASSPHRASE)

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull) as caught:
        saved.update(opened, Place("devnet", "http://127.0.0.2:80"))
    assert caught.value.exit_code == 9
    assert saved.path.read_bytes() == before


def test_what_a_crash_left_beside_the_wallet_does_no_harm(saved: Keystore) -> None:
    neighbour = saved.path.with_name("keystore.new")
    neighbour.write_bytes(b"half a wall")
    neighbour.chmod(0o666)
    assert saved.unlock(PASSPHRASE).place == PLACE
    saved.update(saved.unlock(PASSPHRASE), PLACE)
    assert saved.path.stat().st_mode & 0o777 == 0o600
    assert not neighbour.exists()


def test_a_neighbour_planted_as_a_link_is_not_followed(saved: Keystore, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    saved.path.with_name("keystore.new").symlink_to(victim)
    opened = saved.unlock(PASSPHRASE)
    with pytest.raises(Exception, match="cannot use"):
        saved.update(opened, PLACE)
    assert victim.read_text() == "precious"


def test_two_processes_never_write_at_once(tmp_path: Path) -> None:
    lock_file = tmp_path / "lock"
    with files.locked(lock_file), lock_file.open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with lock_file.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_an_opened_wallet_shows_no_secret(saved: Keystore) -> None:
    shown = repr(saved.unlock(PASSPHRASE))
    assert SEED.hex() not in shown
    assert repr(SEED) not in shown
    assert "_seed" not in shown
    assert "sealing" not in shown


def test_a_wallet_that_never_changed_its_key_is_written_as_before_there_were_changes(
    saved: Keystore,
) -> None:
    assert b"tenure" not in saved.path.read_bytes()


def test_how_the_account_is_held_comes_back_and_decides_which_key_it_is(saved: Keystore) -> None:
    opened = saved.unlock(PASSPHRASE)
    assert PLACE.account is not None
    consent = Consent(PLACE.account, b"\x02" + bytes(32), b"\x05" * 20, bytes(range(64)))
    for tenure in (
        Tenure(0, KeyChange(consent, bytes(range(16)))), Tenure(1), Tenure(1, since=1_800_000_000),
        Tenure(7, None, b"\x03" + bytes(32)), Tenure(),
    ):  # fmt: skip
        opened = saved.hold(opened, tenure)
        again = saved.unlock(PASSPHRASE)
        assert again.place.tenure == opened.place.tenure == saved.place().tenure == tenure
        own = opened.keys_after(tenure.changes).identity.public
        assert again.keys.identity.public == opened.keys.identity.public == own
        assert again.keys.chain.address == opened.keys.chain.address


def test_of_two_that_change_the_key_at_once_the_later_is_refused(saved: Keystore) -> None:
    first, second = saved.unlock(PASSPHRASE), saved.unlock(PASSPHRASE)
    saved.hold(first, Tenure(1))
    with pytest.raises(AlreadyExists, match="another command changes the key"):
        saved.hold(second, Tenure(2))
    assert saved.place().tenure == Tenure(1)
