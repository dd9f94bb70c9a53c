"""Every command fails in the same form, and a help text costs no more than click."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedpay import __version__, errors
from speedpay.cli import AMOUNT, COMMANDS, PRICE, RATE, SHARE, _Row, main
from speedpay.cli.output import Output, pass_output
from speedpay.units import Amount, Price, Share

Captured = pytest.CaptureFixture[str]
Probe = Callable[[Callable[[Output], None]], None]


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Probe:
    """Installs a command ``speedpay probe`` that does what the test says."""

    def install(action: Callable[[Output], None]) -> None:
        @click.command()
        @click.option("--amount", type=AMOUNT)
        @click.option("--price", type=PRICE)
        @click.option("--share", type=SHARE)
        @click.option("--rate", type=RATE)
        @pass_output
        def probe(out: Output, **given: object) -> None:
            out.given = given  # type: ignore[attr-defined]
            action(out)

        module = ModuleType("speedpay.cli.probe")
        module.probe = probe  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "speedpay.cli.probe", module)
        monkeypatch.setitem(COMMANDS, "probe", _Row("probe", "probe", "For tests."))

    return install


def _raise(error: BaseException) -> Callable[[Output], None]:
    def action(_out: Output) -> None:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (errors.SpeedpayError, 1), (errors.Malformed, 1), (errors.InvalidSetting, 2),
        (errors.NotFound, 3), (errors.LedgerUnreachable, 4), (errors.LedgerFailed, 4),
        (errors.BalanceTooSmall, 5), (errors.OverBudget, 5), (errors.NoPeers, 6),
        (errors.Unfinished, 7), (errors.KeystoreLocked, 8), (errors.DiskFull, 9),
        (errors.AlreadyExists, 13), (errors.ProofBroken, 10), (errors.ChainUnreachable, 6),
    ],
)  # fmt: skip
def test_an_error_of_ours_is_a_sentence_a_hint_and_its_exit_code(
    probe: Probe, capsys: Captured, error: type[errors.SpeedpayError], exit_code: int
) -> None:
    probe(_raise(error("is wrong", field="thing", hint="speedpay mend")))
    assert main(["probe"]) == exit_code
    assert capsys.readouterr() == ("", "error: thing: is wrong\nhint: speedpay mend\n")
    assert main(["probe", "--json"]) == exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err) == {
        "error": {"code": error.code, "message": "thing: is wrong", "hint": "speedpay mend"}
    }


def test_ctrl_c_is_130_and_says_nothing(probe: Probe, capsys: Captured) -> None:
    probe(_raise(KeyboardInterrupt()))
    assert main(["probe"]) == 130
    assert capsys.readouterr() == ("", "")


def test_an_unexpected_error_is_one_sentence_unless_debug_is_asked_for(
    probe: Probe, capsys: Captured
) -> None:
    probe(_raise(RuntimeError("no\x1b[31m\nidea")))
    assert main(["probe"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: something unexpected happened: RuntimeError: no idea\nhint: ")
    assert "--debug" in said
    assert "Traceback" not in said
    assert main(["--debug", "probe"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_9_wherever_it_happens(probe: Probe, capsys: Captured, number: int) -> None:
    probe(_raise(OSError(number, os.strerror(number))))
    assert main(["probe"]) == 9
    assert capsys.readouterr().err.startswith("error: no room left")


def test_a_command_may_end_with_a_code_of_its_own(probe: Probe, capsys: Captured) -> None:
    probe(_raise(click.exceptions.Exit(7)))
    assert main(["probe"]) == 7
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("flag", ["-j", "--json"])
@pytest.mark.parametrize("after", [False, True])
def test_json_is_taken_before_and_after_the_verb(
    probe: Probe, capsys: Captured, flag: str, after: bool
) -> None:
    probe(lambda out: out.result({"a": 1}, "text"))
    assert main(["probe", flag] if after else [flag, "probe"]) == 0
    assert capsys.readouterr().out == '{"a":1}\n'
    assert main(["probe"]) == 0
    assert capsys.readouterr().out == "text\n"


def test_the_common_options_reach_the_command_from_both_sides(probe: Probe) -> None:
    seen: list[Output] = []
    probe(seen.append)
    assert main(["-q", "-y", "probe", "-v"]) == 0
    assert (seen[0].quiet, seen[0].assume_yes, seen[0].verbose, seen[0].debug) == (
        True, True, True, False,
    )  # fmt: skip


def test_arguments_become_our_types(probe: Probe) -> None:
    seen: list[Output] = []
    probe(seen.append)
    arguments = ["--amount", "1.5", "--price", "0.8", "--share", "0.25", "--rate", "2MiB/s"]
    assert main(["probe", *arguments]) == 0
    assert seen[0].given == {  # type: ignore[attr-defined]
        "amount": Amount(1_500_000), "price": Price(781), "share": Share(250_000), "rate": 2 * 2**20,
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ["probe", "--amount", "1.0000001"], ["probe", "--amount", "-1"], ["probe", "--amount", "nan"],
        ["probe", "--amount", "9223372036855"], ["probe", "--price", "1e3"],
        ["probe", "--share", "1.5"], ["probe", "--rate", "fast"], ["probe", "extra"],
        ["probe", "--unknown"], ["--unknown"], ["unknown"], ["wallet"], ["wallet", "unknown"],
        ["send"], ["send", "zz", "1"], ["withdraw"], ["withdraw", "1", "--claim"], ["fund", "0"],
        ["withdraw", "--proof", "x"], ["verify", "--epoch", "0"],
        ["wallet", "chain-send", "T", "1"], ["send", "00" * 16, "0"], ["history", "--limit", "0"],
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_2_and_touches_nothing(
    probe: Probe, capsys: Captured, arguments: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("SPEEDPAY_HOME", str(tmp_path))
    probe(lambda out: out.result(None, "reached"))
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(("error: ", "Usage: "))
    assert not any(tmp_path.iterdir())


def test_a_usage_error_in_json_has_the_same_form_even_before_the_parser_saw_the_flag(
    capsys: Captured,
) -> None:
    assert main(["unknwon", "--json"]) == 2
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["code"] == "usage"
    assert error["hint"] == "speedpay --help"


@pytest.mark.parametrize(
    ("typed", "meant"), [("sed", "send"), ("seeed", "seed"), ("walet", "wallet"), ("gett", "get")]
)
def test_a_mistyped_verb_is_answered_with_the_one_that_was_meant(
    capsys: Captured, typed: str, meant: str
) -> None:
    assert main([typed]) == 2
    assert f"hint: did you mean: speedpay {meant}\n" in capsys.readouterr().err


def test_version_and_help(capsys: Captured) -> None:
    for flag in ("-V", "--version"):
        assert main([flag]) == 0
        assert capsys.readouterr().out == f"speedpay {__version__}\n"
    for arguments in (["-h"], ["--help"], []):
        assert main(arguments) == 0
        shown = capsys.readouterr().out
        assert all(f"  {verb} " in shown for verb in COMMANDS)


@pytest.mark.parametrize(
    "verb",
    [["balance"], ["history"], ["send"], ["fund"], ["withdraw"], ["verify"], ["config", "show"],
     *(["wallet", name] for name in ("new", "restore", "open", "show", "balance", "history", "send",
                                     "chain", "chain-send", "consent", "rotate-key",
                                     "publish-key")),
     ["account", "hand-over"], ["privacy"]],
)  # fmt: skip
def test_every_command_has_json_and_an_example(capsys: Captured, verb: list[str]) -> None:
    assert main([*verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--json" in shown
    assert "Examples:\n    speedpay " in shown


_WORDS_OF_A_COMMAND_LINE = st.sampled_from(
    ["wallet", "new", "restore", "open", "show", "balance", "history", "send", "config", "--origin",
     "fund", "withdraw", "verify", "chain-send", "account", "hand-over", "consent", "rotate-key",
     "publish-key", "privacy", "--off", "--of", "--account", "--without-account",
     "--status", "--claim", "--proof", "--epoch", "--save",
     "--whole", "--currency", "trx", "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH",
     "-j", "--json", "-q", "-y", "-v", "--debug", "-h", "--help", "-V", "--", "-", "00" * 16, "1", "0",
     "-1", "1e9", "--class", "token", "--limit", "--before", "--ledger-url", "http://127.0.0.1:1",
     "--passphrase-file", "/dev/null", "--words-file", "/nonexistent", ""]
)  # fmt: skip


@settings(max_examples=200)
@given(st.lists(_WORDS_OF_A_COMMAND_LINE | st.text(max_size=8), max_size=6))
def test_no_command_line_ends_in_a_traceback_or_an_unknown_code(arguments: list[str]) -> None:
    """In a home without a wallet. Commands that serve or download are left to their own tests."""
    verb = next((word for word in arguments if not word.startswith("-")), "")
    if verb in {"get", "seed", "create", "bid", "ledger"}:
        arguments = ["wallet", *arguments]
    said = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as home,
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(said),
    ):
        patch.setenv("SPEEDPAY_HOME", home)
        patch.setattr(sys, "stdin", io.StringIO(""))
        assert main(arguments) in {0, 2, 3, 8}
        assert not os.listdir(home)
    assert "something unexpected" not in said.getvalue()


def _python(code: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, **options
    )  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["unknown"]])
def test_help_and_version_load_nothing_heavy(arguments: list[str]) -> None:
    """Each of these costs more than the whole answer may take (150 ms)."""
    code = (
        f"import sys; from speedpay.cli import main; main({arguments!r});"
        "print('LOADED', *sys.modules)"
    )
    loaded = set(_python(code).stdout.split("LOADED ")[1].split())
    heavy = (
        "tronpy httpx sqlalchemy rich coincurve cryptography msgspec mnemonic libtorrent "
        "asyncio starlette uvicorn platformdirs"
    )
    assert not loaded.intersection(heavy.split())
    ours = {name for name in loaded if name.startswith("speedpay.cli.")}
    assert ours == {"speedpay.cli.output", "speedpay.cli.text"}


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code = "import sys; from speedpay.cli import main; sys.exit(main(['--help']))"
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode == 141


@pytest.mark.parametrize("closed", ["1", "2", "0"])
def test_a_closed_stream_is_no_error(closed: str) -> None:
    code = "import sys; from speedpay.cli import main; sys.exit(main(['config', 'show', '-j']))"
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {closed}>&-', sys.executable, code],
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


def test_a_full_disk_under_stdout_is_9() -> None:
    code = "import sys; from speedpay.cli import main; sys.exit(main(['config', 'show']))"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 9
    assert done.stderr.startswith(b"error: no room left")


def test_an_ascii_terminal_shows_a_question_mark_and_no_traceback() -> None:
    code = "import sys; from speedpay.cli import main; sys.exit(main(['config', 'show']))"
    environment = os.environ | {
        "PYTHONIOENCODING": "ascii",
        "SPEEDPAY_PASSPHRASE_FILE": "/a/\u00b5",
    }
    done = _python(code, env=environment)
    assert done.returncode == 0
    assert "/a/?" in done.stdout


def test_config_show_tells_where_each_setting_comes_from(
    capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEEDPAY_HOME", str(tmp_path))
    monkeypatch.setenv("SPEEDPAY_NETWORK", "testnet")
    monkeypatch.setenv("SPEEDPAY_LEDGER", "typo")
    (tmp_path / "config.toml").write_text("consumption = 0.5\n")
    assert main(["config", "show", "--origin"]) == 0
    captured = capsys.readouterr()
    lines = dict(line.split(maxsplit=1) for line in captured.out.splitlines())
    assert lines["network"] == "testnet  (environment)"
    assert lines["consumption"] == "0.5  (file)"
    assert lines["up_limit"] == "-  (default)"
    assert captured.err == "warning: SPEEDPAY_LEDGER is not a setting of speedpay\n"
    assert main(["config", "show", "--origin", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["network"] == {"value": "testnet", "origin": "environment"}
