"""Rotating and revoking the ledger's response keys: what goes on, what a crash leaves, what is refused."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from speedpay.channel.voucher import SignedStatement
from speedpay.errors import (
    InvalidSetting,
    KeystoreDamaged,
    LedgerFailed,
    LedgerUnreachable,
    NotAllowed,
    NotFound,
    OverLimit,
    Stale,
)
from speedpay.ledger import response_keys
from speedpay.ledger.keys import LedgerKeys
from speedpay.ledger.response_keys import CERTIFICATE_S, WARN_S
from speedpay.ledger.service import Service
from speedpay.ledger_api import calls, epochs
from speedpay.ledger_api.attempts import Session
from speedpay.ledger_api.signed import key_id
from speedpay.signing import SigningKey
from tests.unit.ledger.closing import Closing
from tests.unit.ledger.desk import Desk, Line

DAY_S = 86_400


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "ledger")


def rotate(desk: Desk) -> bytes:
    """The key before."""
    before = desk.service.keys.response.public
    response_keys.rotate(desk.folder, desk.service.keys.root, desk.service.now())
    assert desk.service.keys.response.public != before
    return before


def revoke(desk: Desk, key: bytes) -> None:
    response_keys.revoke(desk.folder, desk.service.keys.root, key, desk.service.now())


def take_root_away(desk: Desk) -> SigningKey:
    root = desk.service.keys.root
    (desk.folder / "root.key").unlink()
    return root


def statement_of(line: Line) -> SignedStatement:
    return line.view().signed_statement


# --- a running ledger ------------------------------------------------------------------------------


def test_two_processes_of_one_ledger_change_to_the_new_key(desk: Desk) -> None:
    other = Service(desk.folder, desk.settings, desk.clock, desk.clock)
    before = rotate(desk)
    assert other.keys.response.public == desk.service.keys.response.public != before
    other.close()


def test_an_open_channel_survives_a_rotation(desk: Desk) -> None:
    line = desk.line()
    old = statement_of(line)
    before = rotate(desk)
    assert line.redeem(400).paid.utok == 400
    keys, now = desk.session.certificates, desk.service.now()
    assert keys is not None
    assert old.check(keys, now) == before
    assert statement_of(line).check(keys, now) == desk.service.keys.response.public


def test_an_open_channel_survives_a_revocation_and_its_statement_is_signed_anew(desk: Desk) -> None:
    line = desk.line()
    old = statement_of(line)
    revoke(desk, rotate(desk))
    assert line.redeem(400).paid.utok == 400
    keys, now = desk.session.certificates, desk.service.now()
    assert keys is not None
    with pytest.raises(Stale):
        old.check(keys, now)
    anew = statement_of(line)
    assert anew.statement == old.statement
    assert anew.check(keys, now) == desk.service.keys.response.public
    assert line.redeem(900, close=True).paid.utok == 900


def test_a_head_keeps_the_certificate_of_the_key_that_signed_it(tmp_path: Path) -> None:
    desk = Closing(tmp_path)
    owner = desk.person(tokens=5)
    desk.close()
    before = rotate(desk)
    revoke(desk, before)
    desk.close()
    first, second = (desk.ask(epochs.epoch(number)).head for number in (1, 2))
    assert first.certificate.response_key == before
    assert second.certificate.response_key == desk.service.keys.response.public
    for head in (first, second):
        head.check(desk.service.domain)
    desk.verified(owner, 1)
    desk.verified(owner, 2)
    assert desk.broken() == []


def test_a_head_whose_certificate_was_edited_is_named(tmp_path: Path) -> None:
    desk = Closing(tmp_path)
    desk.close()
    with desk.service.database.write() as connection:
        connection.exec_driver_sql("UPDATE certificates SET not_before = not_before - 1")
    assert [one for one in desk.broken() if "certificate" in one]


def test_heads_of_an_earlier_version_are_certified_at_the_first_start(tmp_path: Path) -> None:
    desk = Closing(tmp_path)
    desk.close()
    with desk.service.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM certificates")
    (desk.folder / "certificates.json").unlink()
    desk.restart()
    rotate(desk)
    desk.ask(epochs.epoch(1)).head.check(desk.service.domain)
    assert desk.broken() == []


# --- clients ---------------------------------------------------------------------------------------


def test_a_client_that_heard_of_a_revocation_is_not_made_to_forget_it(desk: Desk) -> None:
    """The thief answers with the ledger's own identity of last week, which the stolen key signed."""
    stolen_key = desk.service.keys.response
    person = desk.person()
    replayed = desk.exchange(calls.identify().head(desk.service.domain, 0), b"")
    revoke(desk, rotate(desk))
    session = Session(desk.settings.network, None, 1, desk.clock)
    desk.session = session
    desk.balance(person)
    later = Session(desk.settings.network, desk.service.domain.ledger_id, 1, desk.clock)
    assert session.certificates is not None
    later.remember(session.certificates)
    attempts = later.identify()
    next(attempts)
    with pytest.raises(LedgerUnreachable, match="revoked"):
        attempts.send(replayed)
    assert replayed.key_id == key_id(stolen_key.public)


def test_an_unknown_key_makes_a_client_ask_once_a_minute_who_the_ledger_is(desk: Desk) -> None:
    person = desk.person()
    asked: list[str] = []

    def balance() -> None:
        attempts = desk.session.carry(calls.balance(person.key, person.account))
        feed = None
        while True:
            step = attempts.send(feed)
            asked.append(step.head.target)  # type: ignore[union-attr]
            feed = desk.exchange(step.head, step.body)  # type: ignore[union-attr]
            if "balance" in asked[-1]:
                feed = type(feed)(feed.status, feed.body, feed.signature, "00" * 8)

    for _ in range(20):
        with pytest.raises(LedgerUnreachable):
            balance()
        desk.clock.now += 5
    assert asked.count("/v1/ledger") == 2
    assert len(asked) == 22


# --- without the root key --------------------------------------------------------------------------


def test_a_ledger_serves_without_its_root_key(desk: Desk) -> None:
    person = desk.person()
    take_root_away(desk)
    service = Service(desk.folder, desk.settings, desk.clock, desk.clock)
    assert service.domain == desk.service.domain
    service.close()
    desk.balance(person)
    assert not (desk.folder / "root.key").exists(), "another would be another ledger"


def test_without_the_root_key_the_end_is_announced_and_then_nothing_is_answered(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    person, line = desk.person(), desk.line()
    root = take_root_away(desk)
    caplog.set_level(logging.WARNING, "speedpay.ledger")
    desk.clock.now += CERTIFICATE_S - WARN_S - 1
    desk.service.tick()
    assert caplog.messages == []
    desk.clock.now += 2
    for _ in range(3):
        desk.service.tick()
    (said,) = caplog.messages
    assert "ends on" in said
    assert "speedpay ledger keys renew --root FILE" in said
    desk.clock.now += WARN_S
    desk.service.tick()
    assert "nothing is answered since" in caplog.messages[-1]
    before = desk.everything()
    with pytest.raises(LedgerUnreachable, match="its operator must renew it"):
        desk.balance(person)
    with pytest.raises((LedgerUnreachable, LedgerFailed)):
        line.redeem(5)
    assert desk.everything() == before
    with pytest.raises(InvalidSetting) as refused:
        Service(desk.folder, desk.settings, desk.clock, desk.clock)
    assert refused.value.hint == "speedpay ledger keys renew --root FILE"
    response_keys.renew(desk.folder, root, desk.service.now())
    desk.balance(person)


def test_with_the_root_key_beside_it_a_certificate_renews_itself(desk: Desk) -> None:
    person = desk.person()
    for _ in range(5):
        desk.clock.now += CERTIFICATE_S - DAY_S
        desk.service.tick()
        desk.balance(person)


def test_another_root_key_is_refused(desk: Desk, tmp_path: Path) -> None:
    other = Desk(tmp_path / "other")
    with pytest.raises(InvalidSetting) as refused:
        response_keys.rotate(desk.folder, other.service.keys.root, desk.service.now())
    assert refused.value.field == "--root"


# --- refusals --------------------------------------------------------------------------------------


def test_the_key_in_use_is_not_revoked(desk: Desk) -> None:
    with pytest.raises(NotAllowed):
        revoke(desk, desk.service.keys.response.public)
    desk.person()


def test_a_key_that_was_never_certified_is_not_found(desk: Desk) -> None:
    with pytest.raises(NotFound):
        revoke(desk, SigningKey(os.urandom(32)).public)


def test_revoking_twice_is_revoking_once(desk: Desk) -> None:
    before = rotate(desk)
    revoke(desk, before)
    desk.clock.now += 5
    revoke(desk, before)
    named = response_keys.read(desk.folder)
    assert named is not None
    (one,) = named.revocations
    assert one.at == desk.service.now() - 5


def test_no_more_keys_are_in_force_than_an_answer_may_list(desk: Desk) -> None:
    for _ in range(7):
        rotate(desk)
    desk.person()
    with pytest.raises(OverLimit):
        rotate(desk)
    desk.clock.now += 3 * DAY_S
    rotate(desk)
    desk.person()
    assert len(desk.service.identity().certificates) == 8


def test_the_secret_of_a_key_that_signs_no_more_is_removed(desk: Desk) -> None:
    for _ in range(2):
        rotate(desk)
        found = [*desk.folder.glob("response*.key")]
        assert [path.name for path in found] == [
            response_keys.name_of(desk.service.keys.response.public)
        ]


def test_a_lost_list_of_certificates_is_not_made_anew_after_a_rotation(desk: Desk) -> None:
    """It would forget what was revoked."""
    rotate(desk)
    (desk.folder / "certificates.json").unlink()
    with pytest.raises(KeystoreDamaged):
        Service(desk.folder, desk.settings, desk.clock, desk.clock)


def test_every_flipped_bit_of_the_list_is_noticed_or_changes_nothing(desk: Desk) -> None:
    revoke(desk, rotate(desk))
    path = desk.folder / "certificates.json"
    content, good = path.read_bytes(), response_keys.read(desk.folder)
    for at in range(0, len(content) * 8, 41):
        flipped = bytearray(content)
        flipped[at // 8] ^= 1 << at % 8
        path.write_bytes(flipped)
        try:
            assert response_keys.read(desk.folder) == good
        except KeystoreDamaged:
            continue


# --- killed between any two steps ------------------------------------------------------------------

STEPS = ("open", "link", "replace", "unlink", "fsync")


@dataclass
class Killed:
    """Ends the process before the n-th step that touches the disk."""

    left: int

    def instead(self, real: Callable[..., object]) -> Callable[..., object]:
        def step(*args: object, **kwargs: object) -> object:
            self.left -= 1
            if self.left < 0:
                os._exit(9)
            return real(*args, **kwargs)

        return step


def killed(n: int, work: Callable[[], object]) -> bool:
    """``work`` in another process that is killed at its n-th step; False when it came to its end."""
    child = os.fork()
    if not child:
        plug = Killed(n)
        for name in STEPS:
            setattr(os, name, plug.instead(getattr(os, name)))
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


ACTS: dict[str, Callable[[Path, SigningKey, bytes, int], object]] = {
    "begin": lambda folder, root, old, now: LedgerKeys(folder, "devnet", now),
    "rotate": lambda folder, root, old, now: response_keys.rotate(folder, root, now),
    "revoke": response_keys.revoke,
    "renew": lambda folder, root, old, now: response_keys.renew(folder, root, now),
}


@pytest.mark.parametrize("act", ACTS)
def test_a_kill_between_any_two_steps_leaves_a_working_ledger(tmp_path: Path, act: str) -> None:
    desk = Desk(tmp_path / "ledger")
    line, root, now = desk.line(), desk.service.keys.root, desk.service.now()
    old = rotate(desk)
    if act == "begin":  # the folder of an earlier version: the first key, and no list
        (new,) = desk.folder.glob("response-*.key")
        new.rename(desk.folder / "response.key")
        (desk.folder / "certificates.json").unlink()
    desk.service.close()
    points = 0
    while killed(
        points, partial(ACTS[act], _copy(desk.folder, tmp_path / str(points)), root, old, now)
    ):
        points += 1
    assert points > 5
    for point in range(points + 1):
        keys = LedgerKeys(tmp_path / str(point), "devnet", now)
        voice = keys.voice()
        assert voice.certificate.response_key == voice.key.public
        voice.certificate.check(desk.service.domain, now)
        named = response_keys.rotate(tmp_path / str(point), root, now)
        assert keys.response.public == named.key
        assert old in [one.response_key for one in named.certificates] or act == "begin"
        found = [*(tmp_path / str(point)).glob("*response*.key*")]
        assert len(found) == 1, "no secret is left lying about"
    again = Desk(tmp_path / str(points // 2), desk.settings, desk.clock)
    line.desk = again
    assert line.redeem(9, close=True).paid.utok == 9
    again.service.close()


def _copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to
