"""stdout holds the result, stderr the rest, and no stranger's byte moves the terminal."""

from __future__ import annotations

import io
import json
import logging
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedpay.cli.output import (
    Output,
    age_text,
    clean,
    price_text,
    rate_text,
    size_text,
    time_text,
    tokens_text,
)
from speedpay.errors import InvalidSetting, KeystoreLocked
from speedpay.units import GIB, KIB, MIB, Amount, Price

Captured = pytest.CaptureFixture[str]


class Clock:
    """Time that moves when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("debian-12.iso", "debian-12.iso"),
        ("µtok … žluťoučký 日本 🎬", "µtok … žluťoučký 日本 🎬"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07name", "name"),
        ("\x1b]8;;http://evil.example\x1b\\update now\x1b]8;;\x1b\\", "update now"),
        ("\x1b]52;c;Y3VybA==\x07x", "x"),
        ("\x1bPq#0;2;0\x1b\\x", "x"),
        ("\x9b31mred", "red"),
        ("\x9d0;title\x9cname", "name"),
        ("a\x1b]0;never closed", "a"),
        ("a\x1b", "a"),
        ("a\x1bcb", "ab"),
        ("a\x1b(0b", "ab"),
        ("one\r\ntwo\tthree", "one  two three"),
        ("back\x08\x08space\x00\x7f", "backspace"),
        ("\u202eexe.iso\u202c", "exe.iso"),
        ("\u2066a\u2069\u200f\u061cb", "ab"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("line\u2028end\u2029", "line end"),
        ("lone\ud800", "lone"),
        ("tag\U000e0041", "tag"),
        ("\ue000private", "private"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_outside_text_loses_what_moves_a_terminal(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(st.text())
def test_whatever_comes_only_visible_characters_of_one_line_remain(text: str) -> None:
    cleaned = clean(text)
    assert all(
        unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for c in cleaned
    )
    assert clean(cleaned) == cleaned


def test_outside_text_is_short() -> None:
    assert clean("x" * 10**7) == "x" * 499 + "…"
    assert clean("abcdef", 4) == "abc…"


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (size_text(0), "0 B"), (size_text(1023), "1023 B"), (size_text(KIB), "1.0 KiB"),
        (size_text(3 * MIB // 2), "1.5 MiB"), (size_text(40 * GIB), "40.0 GiB"),
        (rate_text(524_288.7), "512.0 KiB/s"),
        (tokens_text(Amount(1_250_000)), "1.25 tok"), (tokens_text(Amount(0)), "0 tok"),
        (price_text(Price(781)), "0.799744 tok/GiB"),
        (time_text(0), "1970-01-01T00:00:00Z"), (time_text(1_763_703_000.9), "2025-11-21T05:30:00Z"),
        (age_text(-5), "0 seconds"), (age_text(59), "59 seconds"), (age_text(60), "1 minute"),
        (age_text(7_199), "1 hour"), (age_text(172_800), "2 days"),
    ],
)  # fmt: skip
def test_units_are_shown_as_people_read_them(shown: str, text: str) -> None:
    assert shown == text


def test_a_result_is_text_or_one_line_of_json(capsys: Captured) -> None:
    out = Output()
    out.result({"n": "1"}, "one\n  two \x1b[31m\u202ethree")
    out.json = True
    out.result({"name": "a\u202e\x1b\n", "n": "1"}, "unseen")
    text, line = capsys.readouterr().out.split("three\n")
    assert text == "one\n  two "
    assert line == '{"name":"a\\u202e\\u001b\\n","n":"1"}\n'


def test_notes_and_questions_never_reach_stdout(capsys: Captured) -> None:
    out = Output()
    out.note("working")
    out.warn("careful")
    out.error("bad", "it \x1b[31mbroke", "mend it")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "working\nwarning: careful\nerror: it broke\nhint: mend it\n"


def test_an_error_in_json_has_code_message_and_hint(capsys: Captured) -> None:
    out = Output()
    out.json = True
    out.error("not_found", "nothing there")
    out.error("over_budget", "too much\x1b[2J", "less")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [json.loads(line) for line in captured.err.splitlines()] == [
        {"error": {"code": "not_found", "message": "nothing there", "hint": None}},
        {"error": {"code": "over_budget", "message": "too much", "hint": "less"}},
    ]


def test_quiet_leaves_results_warnings_and_errors(capsys: Captured) -> None:
    out = Output()
    out.quiet = True
    out.note("unseen")
    out.event("unseen", {})
    out.result(None, "result")
    out.warn("seen")
    out.error("e", "seen too")
    captured = capsys.readouterr()
    assert captured.out == "result\n"
    assert captured.err == "warning: seen\nerror: seen too\n"


def test_events_are_for_machines_only(capsys: Captured) -> None:
    out = Output()
    out.event("paid", {"utok": "1"})
    out.json = True
    out.event("paid", {"utok": "2"})
    assert capsys.readouterr().out == '{"event":"paid","utok":"2"}\n'


def test_progress_in_a_pipe_is_a_plain_line_every_ten_seconds(capsys: Captured) -> None:
    clock = Clock()
    with Output(clock).progress("big\x1b[31m.iso", 4 * MIB) as bar:
        for done in range(25):
            clock.now += 1
            bar.update(done * MIB // 10, MIB / 10, "2 paid\x1b[0m peers")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "big.iso: 22 % of 4.0 MiB, 102.4 KiB/s, 2 paid peers\n"
        "big.iso: 47 % of 4.0 MiB, 102.4 KiB/s, 2 paid peers\n"
    )


def test_progress_of_unknown_length_shows_what_is_done(capsys: Captured) -> None:
    clock = Clock()
    with Output(clock).progress("magnet") as bar:
        clock.now += 10
        bar.update(512, 0)
        clock.now += 10
        bar.update(KIB, 0, total_bytes=2 * KIB)
    assert capsys.readouterr().err == "magnet: 512 B, 0 B/s\nmagnet: 50 % of 2.0 KiB, 0 B/s\n"


def test_progress_in_json_is_an_event_each_second(capsys: Captured) -> None:
    clock = Clock()
    out = Output(clock)
    out.json = True
    with out.progress("a.iso", 100) as bar:
        clock.now += 1
        bar.update(50, 5.5, "unseen", spent_utok="7")
        clock.now += 0.9
        bar.update(60, 5.5)
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out) == {
        "event": "progress", "label": "a.iso", "done_bytes": 50, "total_bytes": 100,
        "bytes_per_s": 5, "spent_utok": "7",
    }  # fmt: skip


def test_the_last_byte_is_a_json_event_of_its_own_said_once(capsys: Captured) -> None:
    clock = Clock()
    out = Output(clock)
    out.json = True
    with out.progress("a.iso", 100) as bar:
        for done in (0, 99, 100, 100, 100):
            clock.now += 0.01
            bar.update(done)
    assert [json.loads(line)["done_bytes"] for line in capsys.readouterr().out.splitlines()] == [
        100
    ]


def test_quiet_progress_says_nothing(capsys: Captured) -> None:
    clock = Clock()
    out = Output(clock)
    out.quiet = True
    with out.progress("a.iso", 100) as bar:
        clock.now += 100
        bar.update(50, 5)
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_several_downloads_have_a_bar_each_in_one_display(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    out = Output()
    with out.progress("one.iso", 100) as one:
        with out.progress("two.iso", 100) as two:
            one.update(25)
            two.update(75)
        one.update(100)  # the first is still there when the second has ended
    with out.progress("three.iso", 100) as three:
        three.update(50)
    shown = terminal.getvalue()
    assert all(name in shown for name in ("one.iso", "two.iso", "three.iso"))
    assert "100 %" in shown
    assert "75 %" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 2, "two displays, both ended"


def test_logs_go_to_stderr_cleaned_and_only_when_asked_for(capsys: Captured) -> None:
    log = logging.getLogger("speedpay.test")
    out = Output()
    out.start_logging()
    log.info("unseen")
    assert capsys.readouterr() == ("", "")
    out.verbose = True
    out.start_logging()
    out.start_logging()
    log.debug("unseen")
    log.info("peer said %s", "\x1b[2J\u202ehello")
    out.stop_logging()
    log.info("unseen")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.endswith("Z INFO speedpay.test: peer said hello\n")


def test_without_a_terminal_nobody_is_asked() -> None:
    out = Output()
    with pytest.raises(KeystoreLocked) as locked:
        out.ask_secret("Passphrase: ")
    assert "--passphrase-file" in (locked.value.hint or "")
    with pytest.raises(InvalidSetting) as unsaid:
        out.confirm("Send?")
    assert unsaid.value.hint == "add -y"
    out.assume_yes = True
    out.confirm("Send?")
