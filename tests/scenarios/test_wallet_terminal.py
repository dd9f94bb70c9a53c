"""The same wallet at a terminal: prompts that show no secret, second thoughts, Ctrl-C, Ctrl-D."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import socket
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from speedpay.wallet.keys import seed_from_words
from speedpay.wallet.keystore import Keystore, Place

CODE = "import sys; from speedpay.cli import main; sys.exit(main())"
PASSPHRASE = "correct horse battery"
WORDS = "abandon " * 11 + "about"
CTRL_C, CTRL_D = "\x03", "\x04"
WAIT_S = 30  # only so that a hanging test ends


class Terminal:
    """A command on a terminal of its own; stdout goes to a pipe unless ``all_on_terminal``."""

    def __init__(self, home: Path, *arguments: str, **environment: str) -> None:
        self._end, inner = pty.openpty()
        closed = socket.create_server(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        closed.close()  # nobody listens there now
        self._process = subprocess.Popen(
            [sys.executable, "-c", CODE, *arguments],
            stdin=inner, stdout=subprocess.PIPE, stderr=inner, text=True, start_new_session=True,
            # getpass asks the controlling terminal, not just any open one
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env=os.environ | environment | {
                "SPEEDPAY_HOME": str(home), "SPEEDPAY_LEDGER_URL": f"http://127.0.0.1:{port}",
            },
        )  # fmt: skip
        os.close(inner)
        self.shown = ""

    def answer(self, question: str, text: str, end: str = "\n") -> Terminal:
        """Waits for the question and types the answer."""
        seen = len(self.shown)
        while question not in self.shown[seen:]:
            part = os.read(self._end, 4096).decode()
            assert part, f"{question!r} was never asked: {self.shown}"
            self.shown += part
        os.write(self._end, (text + end).encode())
        return self

    def finish(self) -> tuple[int, str]:
        """Exit code and stdout; ``shown`` then holds all that the terminal showed."""
        out, _ = self._process.communicate(timeout=WAIT_S)
        while True:
            try:
                part = os.read(self._end, 4096).decode()
            except OSError:  # EIO: the other end is closed
                break
            if not part:
                break
            self.shown += part
        os.close(self._end)
        assert "Traceback" not in self.shown
        return self._process.returncode, out


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def wallet(home: Path) -> Keystore:
    keystore = Keystore(home / "wallet")
    place = Place("devnet", "http://127.0.0.1:1", bytes(32), bytes(16))
    keystore.create(seed_from_words(WORDS), PASSPHRASE, place, n=2**12)
    return keystore


def test_a_new_wallet_asks_twice_and_shows_the_words_on_stdout_only(home: Path) -> None:
    terminal = Terminal(home, "wallet", "new")
    terminal.answer("New passphrase", PASSPHRASE).answer("The same again: ", PASSPHRASE)
    exit_code, out = terminal.finish()
    assert exit_code == 4, "no ledger there"
    words = out.splitlines()[2].strip()
    assert seed_from_words(words)
    assert words not in terminal.shown
    assert PASSPHRASE not in terminal.shown + out
    assert (
        "hint: the wallet is saved; open its account with: speedpay wallet open" in terminal.shown
    )
    assert Keystore(home / "wallet").unlock(PASSPHRASE).place.account is None


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("short", None, "must have 8 to 1024"),
        (PASSPHRASE, "another one", "the two are not the same"),
    ],
)
def test_a_bad_new_passphrase_makes_no_wallet(
    home: Path, first: str, second: str | None, said: str
) -> None:
    terminal = Terminal(home, "wallet", "new").answer("New passphrase", first)
    if second is not None:
        terminal.answer("The same again: ", second)
    assert terminal.finish() == (2, "")
    assert f"error: passphrase: {said}" in terminal.shown
    assert not home.exists()


def test_ctrl_c_at_a_question_is_130_and_makes_no_wallet(home: Path) -> None:
    terminal = Terminal(home, "wallet", "new").answer("New passphrase", CTRL_C, end="")
    assert terminal.finish() == (130, "")
    assert "error" not in terminal.shown
    assert not home.exists()


def test_the_end_of_the_input_instead_of_a_passphrase_leaves_the_wallet_locked(
    home: Path, wallet: Keystore
) -> None:
    terminal = Terminal(home, "balance").answer("Passphrase: ", CTRL_D, end="")
    assert terminal.finish() == (8, "")
    assert "error: no passphrase was given" in terminal.shown


def test_a_passphrase_typed_at_the_terminal_opens_the_wallet_unseen(
    home: Path, wallet: Keystore
) -> None:
    terminal = Terminal(home, "balance").answer("Passphrase: ", PASSPHRASE)
    assert terminal.finish() == (4, "")
    assert "error: http://127.0.0.1:" in terminal.shown
    assert PASSPHRASE not in terminal.shown


@pytest.mark.parametrize("answer", ["", "n", "no", "yess", "\x1b[A"])
def test_anything_but_yes_sends_nothing_and_asks_for_no_passphrase(
    home: Path, wallet: Keystore, answer: str
) -> None:
    before = sorted(wallet.path.parent.iterdir())
    terminal = Terminal(home, "send", "00" * 16, "1.5")
    terminal.answer(f"Send 1.5 tok of credit to {'00' * 16}? [y/N] ", answer)
    assert terminal.finish() == (1, "")
    assert "Nothing was done." in terminal.shown
    assert sorted(wallet.path.parent.iterdir()) == before


def test_yes_goes_on_to_the_passphrase(home: Path, wallet: Keystore) -> None:
    terminal = Terminal(home, "send", "00" * 16, "1.5")
    terminal.answer("[y/N] ", "y").answer("Passphrase: ", "wrong horse")
    assert terminal.finish() == (8, "")
    assert "error: the passphrase is wrong" in terminal.shown


def test_words_typed_at_the_terminal_restore_the_wallet(home: Path) -> None:
    terminal = Terminal(home, "wallet", "restore").answer("Words: ", WORDS)
    terminal.answer("New passphrase", PASSPHRASE).answer("The same again: ", PASSPHRASE)
    assert terminal.finish() == (4, "")
    assert Keystore(home / "wallet").unlock(PASSPHRASE)


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_live_bar_is_drawn_on_a_terminal_and_colour_only_if_wanted(
    environment: dict[str, str],
) -> None:
    code = (
        "from speedpay.cli.output import Output\n"
        "with Output().progress('\\x1b[2Jdebian[red].iso', 1024) as bar:\n"
        "    bar.update(512, 100.0, '2 paid [bold]peers')\n"
    )
    # Whoever runs the tests may want no colours; here the test decides.
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    end, inner = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=inner, stdout=inner, stderr=inner,
        env=plain | {"TERM": "xterm-256color", "COLUMNS": "120"} | environment,
    )  # fmt: skip
    os.close(inner)
    seen = b""
    try:
        while part := os.read(end, 4096):  # a read may end inside a character
            seen += part
    except OSError:  # EIO: the other end is closed
        os.close(end)
    shown = seen.decode()
    assert process.wait(WAIT_S) == 0
    colours = re.findall(r"\x1b\[[0-9;]*3[0-9](?:;[0-9;]*)?m", shown)
    if environment.get("TERM") == "dumb":
        assert shown == "", "a plain line comes after ten seconds only"
        return
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "debian[red].iso" in text
    assert "50 % of 1.0 KiB, 100 B/s, 2 paid [bold]peers" in text
    assert "\x1b[2J" not in shown
    assert bool(colours) == (not environment)


@pytest.mark.parametrize(
    ("arguments", "question"),
    [
        (("withdraw", "2.5"), "Withdraw 2.5 tok? [y/N] "),
        (("verify", "--accept-spent"), "Did you spend what is missing, with another copy"),
    ],
)
@pytest.mark.parametrize("answer", ["", "n", "yess", "\x1b[A"])
def test_anything_but_yes_takes_nothing_out_and_accepts_nothing(
    home: Path, wallet: Keystore, arguments: tuple[str, ...], question: str, answer: str
) -> None:
    before = sorted(wallet.path.parent.iterdir())
    terminal = Terminal(home, *arguments).answer(question, answer)
    assert terminal.finish() == (1, "")
    assert "Nothing was done." in terminal.shown
    assert sorted(wallet.path.parent.iterdir()) == before
