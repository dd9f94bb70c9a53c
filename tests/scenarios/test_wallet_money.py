"""A user makes a wallet, pays somebody, loses the connection, the answer or the whole disk.

Against a real ledger in a process of its own, through the real command. A small proxy stands
between the two where an answer has to be lost.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from speedpay.ledger_api.client import LedgerClient
from speedpay.signing import SigningKey
from speedpay.wallet.funds import open_account
from speedpay.wallet.keys import new_words, seed_from_words
from speedpay.wallet.keystore import Keystore, Place

SPEEDPAY = [sys.executable, "-c", "import sys; from speedpay.cli import main; sys.exit(main())"]
PASSPHRASE = "correct horse battery"
NOBODY = "00112233445566778899aabbccddeeff"
WAIT_S = 30  # only so that a hanging test ends


@dataclass(frozen=True)
class Done:
    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, object]:
        """The result: the last line of stdout."""
        found: dict[str, object] = json.loads(self.out.splitlines()[-1])
        return found

    @property
    def error(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.err.splitlines()[-1])["error"]
        return found


@dataclass(frozen=True)
class User:
    """One home folder and the address by which this user reaches the ledger."""

    home: Path
    url: str

    def environment(self) -> dict[str, str]:
        return os.environ | {
            "SPEEDPAY_HOME": str(self.home),
            "SPEEDPAY_LEDGER_URL": self.url,
            "SPEEDPAY_PASSPHRASE_FILE": str(self.home / "passphrase"),
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*SPEEDPAY, *arguments], env=self.environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str, stdin: str = "") -> Done:
        process = self.start(*arguments)
        out, err = process.communicate(stdin, WAIT_S)
        assert "Traceback" not in err
        return Done(process.returncode, out, err)

    def ok(self, *arguments: str, stdin: str = "") -> Done:
        done = self.run(*arguments, stdin=stdin)
        assert done.exit_code == 0, done.err
        return done

    # What a test wants to know, rather than what it tests, is asked without another process.

    def account(self) -> str:
        account = Keystore(self.home / "wallet").place().account
        assert account is not None
        return account.hex()

    def credit(self) -> str:
        with LedgerClient(self.url) as ledger:
            balance = ledger.balance(_identity(self.home), bytes.fromhex(self.account()))
        return balance.credit.to_wire()

    def sends(self) -> list[tuple[str, str]]:
        """(other account, amount) of every payment this user made, the newest first."""
        with LedgerClient(self.url) as ledger:
            page = ledger.history(_identity(self.home), bytes.fromhex(self.account()))
        return [
            (entry.other.hex(), entry.amount.to_wire())
            for entry in page.entries
            if entry.kind == "send" and entry.other and not entry.incoming
        ]


@functools.cache
def _identity(home: Path) -> SigningKey:
    return Keystore(home / "wallet").unlock(PASSPHRASE).keys.identity


@contextmanager
def running_ledger(data: Path, listen: str = "127.0.0.1:0") -> Iterator[str]:
    """A ledger process; yields its URL."""
    process = subprocess.Popen(
        [*SPEEDPAY, "ledger", "serve", "--data", str(data), "--listen", listen,
         "--unlimited-loopback", "--json"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT_S)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_ledger(tmp_path_factory.mktemp("ledger")) as url:
        yield url


def _user(home: Path, url: str) -> User:
    home.mkdir(mode=0o700)
    (home / "passphrase").write_text(PASSPHRASE + "\n")
    return User(home, url)


def _user_with_wallet(home: Path, url: str) -> User:
    """Made without the command, and cheap to unlock: these tests are about what comes later."""
    user = _user(home, url)
    keystore = Keystore(home / "wallet")
    place = Place("devnet", url)
    made = keystore.create(seed_from_words(new_words()), PASSPHRASE, place, n=2**12)
    with LedgerClient(url) as ledger:
        keystore.update(made, open_account(ledger, made.keys.identity, place)[0])
    return user


@pytest.fixture(scope="module")
def bob(ledger: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An account that others pay; nobody looks at what it holds."""
    home = tmp_path_factory.mktemp("bob") / "home"
    return _user_with_wallet(home, ledger).account()


class Proxy:
    """Between a user and the ledger, and able to lose what passes through.

    ``lose`` is what happens to a payment (``POST /v1/transfers``) from now on: "nothing", "request"
    (the ledger never hears of it), "answer" (the ledger has paid, the user never hears of it),
    "hold" (the same, and the connection stays open), or "identity" (nothing but a refusal of the
    proxy's own for whoever asks who the ledger is). ``reached`` is set once the ledger answered.
    """

    def __init__(self, ledger_url: str) -> None:
        host, port = ledger_url.removeprefix("http://").split(":")
        self._ledger = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.lose = "nothing"
        self.reached = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near, socket.create_connection(self._ledger) as far, suppress(OSError):
            while request := near.recv(65_536):
                if b"POST /v1/transfers " in request and self.lose == "request":
                    return
                if b"GET /v1/ledger " in request and self.lose == "identity":
                    near.sendall(_NO_MONEY)
                    return
                far.sendall(request)
                body = request.partition(b"\r\n\r\n")[2]
                while len(body) < _content_length(request):
                    part = near.recv(65_536)
                    far.sendall(part)
                    body += part
                answer = _whole_answer(far)
                if b"POST /v1/transfers " in request and self.lose in ("answer", "hold"):
                    self.reached.set()
                    if self.lose == "hold":
                        near.recv(1)  # until the user is gone
                    return
                near.sendall(answer)


_REFUSAL = b'{"error":{"code":"balance_too_small","message":"no","field":"amount"}}'
_NO_MONEY = b"HTTP/1.1 402 x\r\ncontent-length: %d\r\n\r\n%s" % (len(_REFUSAL), _REFUSAL)


def _content_length(head: bytes) -> int:
    for line in head.partition(b"\r\n\r\n")[0].lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


def _whole_answer(far: socket.socket) -> bytes:
    answer = b""
    while b"\r\n\r\n" not in answer or (
        len(answer.partition(b"\r\n\r\n")[2]) < _content_length(answer)
    ):
        part = far.recv(65_536)
        if not part:
            raise OSError("the ledger closed the connection")
        answer += part
    return answer


@pytest.fixture
def proxy(ledger: str) -> Iterator[Proxy]:
    made = Proxy(ledger)
    yield made
    made.close()


def test_from_a_new_wallet_over_a_payment_to_a_restored_one(ledger: str, tmp_path: Path) -> None:
    alice, bob = _user(tmp_path / "alice", ledger), _user_with_wallet(tmp_path / "bob", ledger)

    made = alice.ok("wallet", "new")
    words = made.out.splitlines()[2].strip()
    assert len(words.split()) == 12
    assert "granted    10 tok of credit" in made.out
    assert made.out.endswith("Spend it: speedpay get TORRENT --pay auto\n")
    assert made.out.count(words) == 1
    keystore = alice.home / "wallet" / "keystore"
    assert not set(words.split()) & set(keystore.read_text().split())

    assert alice.credit() == "10000000"
    sent = alice.ok("send", bob.account(), "2.5", "--yes")
    assert sent.out == f"sent 2.5 tok of credit to {bob.account()}\n"
    assert alice.ok("balance").out.startswith("credit     7.5 tok\ntoken      0 tok\nconfirmed  ")
    assert bob.credit() == "12500000"
    assert alice.sends() == [(bob.account(), "2500000")]
    shown = alice.ok("history").out
    assert shown == alice.ok("wallet", "history").out, "the short form says the same"
    assert f"-2.5 tok  credit  to {bob.account()}\n" in shown
    assert f"+2.5 tok  credit  from {alice.account()}\n" in bob.ok("history").out

    restored = _user(tmp_path / "restored", ledger)
    again = restored.ok("wallet", "restore", stdin=words.upper() + "\n")
    assert "granted" not in again.out, "the welcome credit is granted once"
    assert restored.account() == alice.account()
    assert restored.credit() == "7500000"
    from_file = _user(tmp_path / "from-file", ledger)
    (tmp_path / "words").write_text(words)
    from_file.ok("wallet", "restore", "--words-file", str(tmp_path / "words"))
    assert from_file.account() == alice.account()


def test_with_the_ledger_off_the_last_confirmed_balance_is_shown_with_its_age(
    tmp_path: Path,
) -> None:
    with running_ledger(tmp_path / "ledger") as url:
        user = _user_with_wallet(tmp_path / "user", url)
        never_asked = _user_with_wallet(tmp_path / "other", url)
        confirmed = user.ok("balance", "--json").json
    assert confirmed["confirmed_now"] is True

    off = user.run("balance")
    assert off.exit_code == 4
    assert off.out.startswith("credit     10 tok\ntoken      0 tok\nlast confirmed at 20")
    assert off.out.endswith(" ago)\n")
    assert off.err.startswith("error: ")

    off = user.run("balance", "--json")
    assert off.exit_code == 4
    assert off.json["confirmed_now"] is False
    assert off.json["confirmed_at"] == confirmed["confirmed_at"]
    assert int(str(off.json["age_s"])) >= 0
    assert off.json["credit"] == "10000000"
    assert off.error["code"] == "ledger_unreachable"

    nothing = never_asked.run("balance", "--json")
    assert (nothing.exit_code, nothing.out) == (4, "")
    assert user.ok("wallet", "show", "--json").json["account"] == confirmed["account"]

    # What was remembered may rot: it is only a memory, and no error of its own.
    (remembered,) = (user.home / "wallet").glob("*.balance")
    remembered.write_bytes(b'{"token":')
    rotten = user.run("balance")
    assert (rotten.exit_code, rotten.out) == (4, "")


def test_a_wallet_made_without_a_ledger_is_kept_and_opened_later(tmp_path: Path) -> None:
    with running_ledger(tmp_path / "ledger") as url:
        pass
    user = _user(tmp_path / "user", url)
    made = user.run("wallet", "new", "--json", "--quiet")
    assert made.exit_code == 4
    assert len(str(made.json["words"]).split()) == 12, "the words are shown all the same"
    assert "speedpay wallet open" in str(made.error["hint"])
    before = user.ok("wallet", "show", "--json").json
    assert (before["account"], before["ledger_id"]) == (None, None)
    for early in (("balance",), ("history",), ("send", NOBODY, "1", "-y")):
        done = user.run(*early)
        assert done.exit_code == 3
        assert "hint: speedpay wallet open\n" in done.err
    with running_ledger(tmp_path / "ledger", url.removeprefix("http://")):
        opened = user.ok("wallet", "open", "--json")
        assert opened.json["granted"] == "10000000"
        assert opened.json["next"] == "speedpay get TORRENT --pay auto"
        assert user.credit() == "10000000"
        assert user.ok("wallet", "open", "--json").json["granted"] == "0", "and only once"


def test_a_wallet_restored_without_a_ledger_is_told_of_no_grant_of_long_ago(
    ledger: str, tmp_path: Path
) -> None:
    words = new_words()
    for name in ("first", "second"):
        user = _user(tmp_path / name, "http://127.0.0.1:1")
        assert user.run("wallet", "restore", stdin=words).exit_code == 4, "no ledger there"
        opened = User(user.home, ledger).ok("wallet", "open", "--json").json
        assert opened["granted"] == ("10000000" if name == "first" else "0")


def test_a_lost_answer_never_pays_twice(proxy: Proxy, bob: str, tmp_path: Path) -> None:
    alice = _user_with_wallet(tmp_path / "alice", proxy.url)

    proxy.lose = "answer"
    lost = alice.run("send", bob, "1", "-y")
    assert proxy.reached.is_set()
    assert lost.exit_code == 4
    assert lost.out == ""
    assert "is not known" in lost.err
    assert "hint: repeat the same command" in lost.err
    assert "repeat" in alice.run("send", bob, "1", "-y").err, "still lost, still not paid twice"

    proxy.lose = "nothing"
    known = alice.ok("balance", "--json").json
    assert known["credit"] == "9000000", "the ledger had paid"
    assert dict(known["unresolved_send"])["amount"] == "1000000"  # type: ignore[call-overload]
    assert f"speedpay send {bob} 1\n" in alice.ok("balance").out

    repeated = alice.ok("send", bob, "1", "-y")
    assert "This is the payment begun at" in repeated.out
    assert alice.sends() == [(bob, "1000000")]
    assert alice.ok("balance", "--json").json["unresolved_send"] is None

    assert alice.ok("send", bob, "1", "-y", "--json").json["resumed"] is False
    assert alice.sends() == [(bob, "1000000")] * 2, "and a new one is a new one"


def test_a_refusal_forged_for_the_ledgers_identity_never_pays_twice(
    proxy: Proxy, bob: str, tmp_path: Path
) -> None:
    """Reproduced once: the wallet forgot the payment, and the same command paid again."""
    alice = _user_with_wallet(tmp_path / "alice", proxy.url)
    proxy.lose = "answer"
    assert alice.run("send", bob, "1", "-y").exit_code == 4
    proxy.lose = "identity"
    forged = alice.run("send", bob, "1", "-y")
    assert forged.exit_code == 4
    assert "is not known" in forged.err
    proxy.lose = "nothing"
    assert alice.ok("send", bob, "1", "-y", "--json").json["resumed"] is True
    assert alice.sends() == [(bob, "1000000")]


def test_a_lost_request_is_paid_once_when_it_is_repeated(
    proxy: Proxy, bob: str, tmp_path: Path
) -> None:
    alice = _user_with_wallet(tmp_path / "alice", proxy.url)
    proxy.lose = "request"
    assert alice.run("send", bob, "1", "-y").exit_code == 4
    proxy.lose = "nothing"
    assert alice.credit() == "10000000"
    assert alice.ok("send", bob, "1", "-y", "--json").json["resumed"] is True
    assert alice.sends() == [(bob, "1000000")]


def test_another_payment_finishes_the_unresolved_one_first(
    proxy: Proxy, bob: str, tmp_path: Path
) -> None:
    alice = _user_with_wallet(tmp_path / "alice", proxy.url)
    proxy.lose = "request"
    assert alice.run("send", bob, "1", "-y").exit_code == 4
    assert alice.run("send", bob, "2", "-y").exit_code == 4, "the first is still in the way"
    proxy.lose = "nothing"
    sent = alice.ok("send", bob, "2", "-y")
    assert f"Finished first: 1 tok of credit to {bob}" in sent.err
    assert alice.sends() == [(bob, "2000000"), (bob, "1000000")]


def test_an_unresolved_payment_that_is_then_refused_does_not_stay_in_the_way(
    proxy: Proxy, bob: str, tmp_path: Path
) -> None:
    alice = _user_with_wallet(tmp_path / "alice", proxy.url)
    proxy.lose = "request"
    assert alice.run("send", bob, "11", "-y").exit_code == 4
    proxy.lose = "nothing"
    sent = alice.ok("send", bob, "2", "-y")
    assert f"Finished first: 11 tok of credit to {bob}" in sent.err
    assert "was refused." in sent.err
    assert alice.sends() == [(bob, "2000000")]


def test_a_client_killed_while_it_waits_never_pays_twice(
    proxy: Proxy, bob: str, tmp_path: Path
) -> None:
    alice = _user_with_wallet(tmp_path / "alice", proxy.url)
    proxy.lose = "hold"
    process = alice.start("send", bob, "1", "-y")
    assert proxy.reached.wait(WAIT_S)
    process.kill()
    process.communicate(timeout=WAIT_S)
    proxy.lose = "nothing"
    assert alice.ok("send", bob, "1", "-y", "--json").json["resumed"] is True
    assert alice.sends() == [(bob, "1000000")]


def test_ctrl_c_while_it_waits_is_130_and_never_pays_twice(
    proxy: Proxy, bob: str, tmp_path: Path
) -> None:
    alice = _user_with_wallet(tmp_path / "alice", proxy.url)
    proxy.lose = "hold"
    process = alice.start("send", bob, "1", "-y")
    assert proxy.reached.wait(WAIT_S)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=WAIT_S) == ("", "")
    assert process.returncode == 130
    proxy.lose = "nothing"
    assert alice.ok("send", bob, "1", "-y", "--json").json["resumed"] is True
    assert alice.sends() == [(bob, "1000000")]


def test_a_damaged_record_of_a_payment_stops_further_payments(
    proxy: Proxy, bob: str, tmp_path: Path
) -> None:
    alice = _user_with_wallet(tmp_path / "alice", proxy.url)
    proxy.lose = "answer"
    assert alice.run("send", bob, "1", "-y").exit_code == 4
    proxy.lose = "nothing"
    (record,) = (alice.home / "wallet").glob("*.send")
    record.write_bytes(record.read_bytes()[:-9])
    refused = alice.run("send", bob, "1", "-y")
    assert refused.exit_code == 1
    assert "hint: look for it in: speedpay history" in refused.err
    assert alice.sends() == [(bob, "1000000")]


def test_two_payments_at_once_from_one_wallet_are_both_made_once(
    ledger: str, bob: str, tmp_path: Path
) -> None:
    alice = _user_with_wallet(tmp_path / "alice", ledger)
    both = [alice.start("send", bob, amount, "-y") for amount in ("1", "2")]
    for process in both:
        process.communicate(timeout=WAIT_S)
        assert process.returncode == 0
    assert sorted(alice.sends()) == [(bob, "1000000"), (bob, "2000000")]
    assert alice.credit() == "7000000"


def test_a_refused_payment_changes_nothing_and_leaves_nothing_behind(
    ledger: str, bob: str, tmp_path: Path
) -> None:
    alice = _user_with_wallet(tmp_path / "alice", ledger)
    for arguments, exit_code, code in (
        ((NOBODY, "1"), 3, "not_found"),
        ((bob, "10.000001"), 5, "balance_too_small"),
        ((bob, "1", "--class", "token"), 5, "balance_too_small"),
        ((alice.account(), "1"), 1, "not_allowed"),
    ):
        refused = alice.run("send", *arguments, "-y", "--json")
        assert (refused.exit_code, refused.error["code"]) == (exit_code, code)
        assert refused.out == ""
        assert not list((alice.home / "wallet").glob("*.send"))
    assert alice.credit() == "10000000"


def test_nothing_is_sent_without_a_yes(ledger: str, tmp_path: Path) -> None:
    alice = _user_with_wallet(tmp_path / "alice", ledger)
    asked = alice.run("send", NOBODY, "1", stdin="y\n")
    assert asked.exit_code == 2
    assert "hint: add -y\n" in asked.err


def test_another_ledger_than_the_one_of_the_wallet_is_not_believed(
    ledger: str, tmp_path: Path
) -> None:
    alice = _user_with_wallet(tmp_path / "alice", ledger)
    assert alice.credit() == "10000000"
    with running_ledger(tmp_path / "impostor") as url:
        elsewhere = User(alice.home, url)
        done = elsewhere.run("balance", "--json")
        assert done.exit_code == 4
        assert (done.out, done.error["code"]) == ("", "ledger_unreachable")
        assert "another ledger answers" in str(done.error["message"])
        assert elsewhere.run("send", alice.account(), "1", "-y").exit_code == 4
    other_network = alice.environment() | {"SPEEDPAY_NETWORK": "mainnet"}
    done_there = subprocess.run(
        [*SPEEDPAY, "balance", "--json"], env=other_network, capture_output=True, check=False
    )
    assert json.loads(done_there.stderr)["error"]["code"] == "wrong_network"


def test_a_wrong_passphrase_is_8_and_a_damaged_wallet_says_what_to_do(
    ledger: str, tmp_path: Path
) -> None:
    alice = _user_with_wallet(tmp_path / "alice", ledger)
    keystore = Keystore(alice.home / "wallet").path
    (alice.home / "passphrase").write_text("another horse battery")
    for verb in (("balance",), ("send", NOBODY, "1", "-y")):
        assert alice.run(*verb).exit_code == 8
    (alice.home / "passphrase").write_text("")
    assert alice.run("balance").exit_code == 8
    (alice.home / "passphrase").unlink()
    assert alice.run("balance", "--json").error["code"] == "invalid_setting"
    (alice.home / "passphrase").write_text(PASSPHRASE)

    whole = keystore.read_bytes()
    keystore.write_bytes(whole[:-1])
    for verb in (("balance",), ("wallet", "show"), ("send", NOBODY, "1", "-y")):
        done = alice.run(*verb)
        assert done.exit_code == 1
        assert "error: the wallet file is damaged" in done.err
        assert "speedpay wallet restore" in done.err
    for verb in (("wallet", "new"), ("wallet", "restore")):
        assert alice.run(*verb).exit_code == 13, "a damaged wallet is not overwritten either"
    assert keystore.read_bytes() == whole[:-1]
    keystore.write_bytes(whole)
    assert alice.credit() == "10000000"


@pytest.mark.parametrize(
    ("words", "said"),
    [("", "not 0"), ("abandon " * 12, "checksum"), ("\udcff\x00", "not 1")],
)
def test_wrong_words_make_no_wallet(ledger: str, tmp_path: Path, words: str, said: str) -> None:
    user = _user(tmp_path / "user", ledger)
    (tmp_path / "words").write_bytes(words.encode("utf-8", "surrogateescape"))
    done = user.run("wallet", "restore", "--words-file", str(tmp_path / "words"))
    assert done.exit_code == 2
    assert said in done.err
    assert not (user.home / "wallet").exists()
