"""A user changes the account's key, gives the account to somebody, and shows its history to everybody."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from speedpay.channel.payee import PayeeChannel
from speedpay.channel.voucher import SignedStatement, Statement
from speedpay.cli import main
from speedpay.client.locks import LOCKS, TorrentLocks
from speedpay.client.store import Store
from speedpay.errors import LedgerUnreachable, NotFound
from speedpay.ledger import invariants
from speedpay.ledger.http import LedgerServer
from speedpay.ledger.service import Service, Settings
from speedpay.ledger_api import owners
from speedpay.ledger_api.client import LedgerClient
from speedpay.units import Amount, MoneyClass, Share
from speedpay.wallet import files, owning
from speedpay.wallet.funds import open_account
from speedpay.wallet.keys import new_words, seed_from_words
from speedpay.wallet.keystore import Keystore, Place, Unlocked
from speedpay.wallet.payout import Payout
from speedpay.wallet.tenure import Tenure
from tests.unit.ledger.desk import new_key

PASSPHRASE = "correct horse battery"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("ledger"), Settings(unlimited_loopback=True))
    yield made
    with made.database.read() as connection:
        assert invariants.every(connection) == []
    made.close()


@pytest.fixture(scope="module")
def url(service: Service) -> Iterator[str]:
    with LedgerServer(service, "127.0.0.1", 0).running() as url:
        yield url


@dataclass
class Home:
    """One user's folder and what his commands print."""

    folder: Path
    url: str
    patch: pytest.MonkeyPatch
    output: pytest.CaptureFixture[str]

    @property
    def keystore(self) -> Keystore:
        return Keystore(self.folder / "wallet")

    def unlock(self) -> Unlocked:
        return self.keystore.unlock(PASSPHRASE)

    def with_account(self, words: str | None = None) -> Home:
        """Made without a command, and cheap to unlock."""
        place = Place("devnet", self.url)
        seed = seed_from_words(words or new_words())
        made = self.keystore.create(seed, PASSPHRASE, place, n=2**12)
        with LedgerClient(self.url) as ledger:
            place, _ = open_account(ledger, made.keys.identity, place)
            Payout(self.folder / "wallet", place, made.keys).name(ledger)
        self.keystore.update(made, place)
        return self

    @property
    def account(self) -> bytes:
        account = self.keystore.place().account
        assert account is not None
        return account

    def run(self, *arguments: str) -> tuple[int, str, str]:
        for name, value in (
            ("SPEEDPAY_HOME", str(self.folder)), ("SPEEDPAY_LEDGER_URL", self.url),
            ("SPEEDPAY_PASSPHRASE_FILE", str(self.folder / "passphrase")),
        ):  # fmt: skip
            self.patch.setenv(name, value)
        self.output.readouterr()
        code = main(["--yes", *arguments])
        said = self.output.readouterr()
        return code, said.out, said.err

    def json(self, *arguments: str) -> dict[str, Any]:
        code, out, err = self.run("--json", *arguments)
        assert code == 0, err
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found


@pytest.fixture
def home(
    tmp_path: Path,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[[str], Home]:
    monkeypatch.setattr(Keystore.create, "__defaults__", (2**12,))  # cheap to unlock

    def make(name: str) -> Home:
        folder = tmp_path / name
        folder.mkdir(mode=0o700)
        (folder / "passphrase").write_text(PASSPHRASE + "\n")
        return Home(folder, url, monkeypatch, capsys)

    return make


def test_an_account_is_given_to_a_friend_who_sees_its_balance(home: Callable[[str], Home]) -> None:
    words = new_words()
    ann, ben = home("ann").with_account(words), home("ben")
    before = ann.json("wallet", "show")
    assert (before["given_to"], before["key_change_pending"]) == (None, False)
    made = ben.json("wallet", "new", "--without-account")
    assert made["account"] is None
    consent = ben.json("wallet", "consent", ann.account.hex())
    given = ann.json("account", "hand-over", consent["consent"])
    assert given == {"account": ann.account.hex(), "key": consent["key"]}
    opened = ben.json("wallet", "open", "--account", ann.account.hex())
    assert (opened["account"], opened["granted"]) == (ann.account.hex(), "0")
    assert ben.json("balance")["credit"] == "10000000"
    since = ben.keystore.place().tenure.since
    assert since is not None
    ben.json("wallet", "rotate-key")
    assert ben.json("wallet", "open")["account"] == ann.account.hex()
    assert ben.keystore.place().tenure == Tenure(1, since=since)
    # and the giver is told, by every command that would need the account
    for command in (("balance",), ("history",), ("send", "00" * 16, "1"), ("wallet", "open")):
        code, _, err = ann.run(*command)
        assert code == 3
        assert f"handed over to the key {consent['key']}" in err
    assert ann.json("wallet", "show")["given_to"] == consent["key"]
    assert "can do nothing with it any more" in ann.run("wallet", "show")[1]
    again = home("again")
    (again.folder / "words").write_text(words)
    again.patch.setattr(owning, "MOST_CHANGES", 3)  # 64 small questions otherwise
    code, _, err = again.run("wallet", "restore", "--words-file", str(again.folder / "words"))
    assert code == 3
    assert "it was handed over to somebody else" in err


def test_an_account_whose_tokens_leave_elsewhere_is_not_given_away(
    home: Callable[[str], Home], service: Service
) -> None:
    ann, ben = home("ann").with_account(), home("ben")
    service.issue(ann.account, Amount(700), b"deposit")
    ben.json("wallet", "new", "--without-account")
    consent = ben.json("wallet", "consent", ann.account.hex())["consent"]
    code, _, err = ann.run("account", "hand-over", consent)
    assert code != 0
    assert "0.0007 tok of this account leave to an address that the new key does not take" in err
    shown = ann.json("wallet", "show")
    assert (shown["given_to"], shown["key_change_pending"]) == (None, False)
    friend = home("friend").with_account()
    ann.json("send", friend.account.hex(), "0.0007", "--class", "token")
    ann.json("account", "hand-over", consent)
    ben.json("wallet", "open", "--account", ann.account.hex())
    assert ben.json("balance")["token"] == "0"


def test_a_changed_key_keeps_the_account_and_is_found_again_from_the_words(
    home: Callable[[str], Home], service: Service
) -> None:
    words = new_words()
    ann = home("ann").with_account(words)
    service.issue(ann.account, Amount(700), b"deposit")
    old = ann.unlock().keys.identity
    first, second = ann.json("wallet", "rotate-key"), ann.json("wallet", "rotate-key")
    assert first["old_key"] == old.public.hex()
    assert first["key"] == second["old_key"] != second["key"]
    assert ann.json("balance")["token"] == "700"
    with LedgerClient(ann.url) as ledger, pytest.raises(NotFound):
        ledger.balance(old, ann.account)
    again = home("again")
    (again.folder / "words").write_text(words)
    found = again.json("wallet", "restore", "--words-file", str(again.folder / "words"))
    assert (found["account"], found["granted"]) == (ann.account.hex(), "0")
    assert again.keystore.place().tenure == Tenure(2)
    assert again.json("balance")["token"] == "700"


def test_a_key_for_which_somebody_made_an_account_is_passed_over(
    home: Callable[[str], Home],
) -> None:
    ann = home("ann").with_account()
    opened = ann.unlock()
    with LedgerClient(ann.url) as ledger:
        for changes in (1, 2):
            open_account(ledger, opened.keys_after(changes).identity, Place("devnet", ann.url))
        # It was killed when the ledger had refused the first of them.
        assert die_at(5, ann.keystore, opened, ann.url)
    ann.json("wallet", "rotate-key")
    assert ann.keystore.place().tenure == Tenure(3)
    assert ann.json("balance")


class Killed(BaseException):
    """The process is gone: nothing after this line runs."""


class Mortal:
    """Counts the moments of a command at which a crash leaves something different, and dies at one."""

    def __init__(self, dies_at: int) -> None:
        self.left = dies_at

    def step(self) -> None:
        if not self.left:
            raise Killed
        self.left -= 1


class MortalLedger(LedgerClient):
    mortal: Mortal

    def hand_over(self, *order: Any) -> None:
        self.mortal.step()
        super().hand_over(*order)
        self.mortal.step()


def die_at(
    moment: int,
    keystore: Keystore,
    opened: Unlocked,
    url: str,
    change: Callable[..., Unlocked] = owning.rotate,
    *more: object,
) -> bool:
    """Change the key; whether it was killed on the way."""
    mortal, write = Mortal(moment), files.write

    def mortal_write(path: Path, content: bytes) -> None:
        mortal.step()
        write(path, content)
        mortal.step()

    with pytest.MonkeyPatch.context() as patch, MortalLedger(url) as ledger:
        ledger.mortal = mortal
        patch.setattr(files, "write", mortal_write)
        try:
            change(keystore, opened, ledger, *more)
        except Killed:
            return True
        return False


def test_killed_at_any_moment_the_change_of_key_goes_on_and_happens_once(
    home: Callable[[str], Home], service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    moment = 0
    while True:
        user = home(f"killed{moment}").with_account()
        first = user.unlock()
        killed = die_at(moment, user.keystore, first, user.url)
        reopened = user.unlock()
        assert reopened.place.account == first.place.account
        with LedgerClient(user.url) as ledger:
            if reopened.place.tenure.changes == 0:  # else it was done, but for saying so
                reopened = owning.rotate(user.keystore, reopened, ledger)
            assert user.unlock().place.tenure == Tenure(1)
            assert ledger.balance(user.unlock().keys.identity, user.account).credit.utok == 10**7
            with pytest.raises(NotFound):
                ledger.balance(first.keys.identity, user.account)
        if not killed:
            break
        moment += 1
    assert moment == 6
    with capsys.disabled():
        print(f" rotate-key: {moment} kill points, 0 lost, 0 doubled")


def test_a_wallet_that_forgets_the_order_before_it_asks_would_lose_the_account(
    home: Callable[[str], Home],
) -> None:
    """The planted bug: the ledger is asked first, and the answer lost. Only the words help then."""
    user = home("forgetful").with_account()
    opened = user.unlock()
    consent = owning.consent_of(opened, user.account, 1)
    with LedgerClient(user.url) as ledger:
        order = owners.HandOver.sign(opened.keys.identity, owning._domain(opened), consent)
        ledger.hand_over(opened.keys.identity, order, bytes(16))
        with pytest.raises(NotFound):
            ledger.balance(user.unlock().keys.identity, user.account)
    assert user.run("balance")[0] == 3
    assert user.json("wallet", "open")["account"] == user.account.hex()
    assert user.json("balance")["credit"] == "10000000"


def test_a_lost_answer_is_told_of_and_another_change_has_to_wait(
    home: Callable[[str], Home],
) -> None:
    ann, ben = home("ann").with_account(), home("ben")
    opened = ann.unlock()
    assert die_at(3, ann.keystore, opened, ann.url), "the ledger has done it, and nobody knows"
    assert "on its way to the key" in ann.run("balance")[2]
    assert "repeat the command that began it" in ann.run("wallet", "show")[1]
    ben.json("wallet", "new", "--without-account")
    consent = ben.json("wallet", "consent", ann.account.hex())["consent"]
    code, _, err = ann.run("account", "hand-over", consent)
    assert code == 13
    assert "finish that first" in err
    ann.json("wallet", "rotate-key")
    assert ann.json("balance")["credit"] == "10000000"


def test_a_saved_place_does_not_bring_an_old_key_back(home: Callable[[str], Home]) -> None:
    """Another command read the wallet before the change, and saves what it learned after it."""
    user = home("slow").with_account()
    slow = user.unlock()
    user.json("wallet", "rotate-key")
    saved = user.keystore.update(slow, slow.place)
    assert saved.place.tenure == Tenure(1)
    assert saved.keys.identity.public == user.unlock().keys.identity.public
    with LedgerClient(user.url) as ledger:
        assert ledger.balance(saved.keys.identity, user.account).credit.utok == 10**7


def test_a_hand_over_without_a_ledger_goes_on_later(home: Callable[[str], Home]) -> None:
    ann, ben = home("ann").with_account(), home("ben")
    ben.json("wallet", "new", "--without-account")
    consent = ben.json("wallet", "consent", ann.account.hex())["consent"]
    code, _, _ = ann.run("account", "hand-over", consent, "--ledger-url", "http://127.0.0.1:1")
    assert code == LedgerUnreachable.exit_code
    assert ann.json("wallet", "show")["key_change_pending"] is True
    # And the ledger has done it, but the answer is lost.
    taken = owners.Consent.from_text(consent)
    assert die_at(1, ann.keystore, ann.unlock(), ann.url, owning.hand_over, taken)
    assert ann.json("wallet", "show")["key_change_pending"] is True
    ben.json("wallet", "open", "--account", ann.account.hex())
    ann.json("account", "hand-over", consent)
    assert ann.json("wallet", "show")["given_to"] == taken.public_key.hex()
    ben.json("wallet", "open", "--account", ann.account.hex())
    assert ben.json("balance")["credit"] == "10000000"


def test_a_history_is_published_read_by_a_stranger_and_taken_back(
    home: Callable[[str], Home],
) -> None:
    ann, ben, stranger = home("ann").with_account(), home("ben").with_account(), home("stranger")
    ann.json("send", ben.account.hex(), "1.5")
    of = ("history", "--of", ann.account.hex())
    assert stranger.run(*of)[0] == 3
    assert ann.json("wallet", "publish-key")["published"] is True
    code, out, _ = stranger.run(*of)
    assert code == 0
    assert "-1.5 tok" in out
    assert ben.account.hex() not in out
    code, out, err = stranger.run(*of, "--limit", "1")
    assert f"speedpay history --of {ann.account.hex()} --before" in err
    assert ann.json("wallet", "publish-key", "--off")["published"] is False
    assert stranger.run(*of)[0] == 3
    assert not (stranger.folder / "wallet").exists()


def _channel_that_pays(home: Home) -> SignedStatement:
    """One that the client of ``home`` has accepted and not redeemed."""
    statement = Statement(
        bytes(range(32)), new_key().public, new_key().public, bytes(16), MoneyClass.CREDIT,
        Amount(500), 2_000_000_000, 0, Share(0),
    )  # fmt: skip
    signed = SignedStatement(statement, bytes(64))
    store = Store(home.folder / "client.db")
    store.save_channels([], [(bytes(20), PayeeChannel(statement), signed)])
    store.close()
    return signed


def test_an_account_with_business_under_way_is_not_given_away(
    home: Callable[[str], Home],
) -> None:
    """The keys that are paid are the giver's own: nobody else could redeem what they have earned. Whether
    a payment was made only its wallet can find out, and a running client goes on with the old key."""
    ann, ben = home("ann").with_account(), home("ben")
    ben.json("wallet", "new", "--without-account")
    consent = ben.json("wallet", "consent", ann.account.hex())["consent"]
    _channel_that_pays(ann)
    code, _, err = ann.run("account", "hand-over", consent)
    assert code != 0
    assert "channels that pay this account and are not redeemed yet: 1" in err
    ann.run("send", "00" * 16, "1", "--ledger-url", "http://127.0.0.1:1")
    code, _, err = ann.run("account", "hand-over", consent)
    assert code != 0
    assert "a payment of this account is not finished" in err
    locks = TorrentLocks(ann.folder / LOCKS)
    assert locks.take(bytes(20))
    for command in (("account", "hand-over", consent), ("wallet", "rotate-key")):
        code, _, err = ann.run(*command)
        assert code != 0
        assert "a speedpay program of this wallet is running" in err
    locks.close()
    assert ann.json("wallet", "show")["key_change_pending"] is False


def test_privacy_shows_the_users_own_keys_addresses_and_channels(
    home: Callable[[str], Home],
) -> None:
    ann = home("ann").with_account()
    statement = _channel_that_pays(ann).statement

    def seen() -> dict[str, dict[str, Any]]:
        shown = ann.json("privacy")["observers"]
        assert all(one["knows"] and one["does_not_know"] for one in shown)
        return {one["observer"]: one["here"] for one in shown}

    first = seen()
    assert first["peer"]["pays"] == []
    (channel,) = first["peer"]["is_paid"]
    assert channel["channel"] == statement.channel.hex()
    assert channel["payee_key"] == statement.payee_key.hex()
    assert first["network"] == {"ledger_url": ann.url}
    own = {"account": ann.account.hex(), "key_changes": 0, "given_to": None, "published": False}
    assert first["ledger"] == own
    assert first["chain"] == {"payout": ann.unlock().keys.chain.base58}
    assert first["tracker"] == {}
    ann.json("wallet", "rotate-key")
    ann.json("wallet", "publish-key")
    assert seen()["ledger"] == own | {"key_changes": 1, "published": True}
    text = ann.run("privacy")[1]
    for told in (ann.account.hex(), ann.url, first["chain"]["payout"], "is paid: 1 open channels"):
        assert told in text
    code, out, _ = home("stranger").run("privacy", "--offline")
    assert code == 0
    assert "The ledger's operator knows" in out
