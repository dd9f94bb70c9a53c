"""The one place that knows the rules of stdout and stderr.

* stdout carries the result and nothing else; progress, notes, prompts and logs go to stderr.
* ``--json``: one object a line on stdout (a line with ``"event"`` is news, the line without it is
  the result); an error is ``{"error":{"code","message","hint"}}`` on stderr, so that a pipe into
  ``jq`` never takes an error for a result.
* A live bar only on a terminal; in a pipe a line every 10 s, with ``--json`` an event each second;
  nothing with ``-q``. No escape byte ever reaches a pipe. Outside text (from a peer, a torrent, a
  ledger) goes through ``clean``.

rich is imported when a live bar is drawn, and not before: it costs more than a whole ``--help``.
"""

from __future__ import annotations

import functools
import getpass
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TextIO, TypeVar

import click

from speedpay.cli.text import (
    Cell,
    age_text,
    clean,
    clean_lines,
    csv_text,
    examples,
    price_text,
    rate_text,
    size_text,
    time_text,
    tokens_text,
)
from speedpay.errors import InvalidSetting, KeystoreLocked

#: With the words of ``text.py`` that commands use, so that a command imports one module.
__all__ = [
    "Output", "Progress", "age_text", "clean", "common_options", "examples", "pass_output",
    "price_text", "rate_text", "size_text", "time_text", "tokens_text",
]  # fmt: skip

PROGRESS_LINE_S = 10
PROGRESS_EVENT_S = 1

P = ParamSpec("P")
R = TypeVar("R")


class Output:
    """What a command says, and how. One object a run; ``pass_output`` hands it to the command."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.json = False
        self.quiet = False
        self.verbose = False
        self.assume_yes = False
        self.debug = False
        self._clock = clock
        self._log_handler: logging.Handler | None = None
        #: The one live display, while some bars are shown, and how many.
        self._bars: Any = None
        self._bar_count = 0

    def result(self, obj: object, text: str) -> None:
        """The result: ``obj`` as one line of JSON with ``--json``, else ``text``.

        Amounts in ``obj`` are decimal strings of µtok (``Amount.to_wire()``), times ISO 8601.
        """
        self._write(sys.stdout, _json_line(obj) if self.json else clean_lines(text))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
        """The result as CSV (RFC 4180), for ``--csv``."""
        if self.json:
            raise InvalidSetting("either --csv or --json", field="csv")
        self._write(sys.stdout, csv_text(columns, rows) + "\r")

    def event(self, name: str, obj: dict[str, object]) -> None:
        """News during a long command, for machines: a line ``{"event": name, …}`` with ``--json``.

        Nothing without ``--json``: what people should read is ``note`` or ``progress``.
        """
        if self.json and not self.quiet:
            self._write(sys.stdout, _json_line({"event": name} | obj))

    def note(self, text: str) -> None:
        """A sentence for people, on stderr; not with ``-q`` or ``--json``."""
        if not (self.quiet or self.json):
            self._write(sys.stderr, clean_lines(text))

    def warn(self, text: str) -> None:
        """A sentence that must be seen, on stderr, even with ``-q`` and ``--json``."""
        line = _json_line({"warning": text}) if self.json else f"warning: {clean_lines(text)}"
        self._write(sys.stderr, line)

    def error(self, code: str, message: str, hint: str | None = None) -> None:
        if self.json:
            body = {"code": code, "message": clean(message), "hint": hint and clean(hint)}
            self._write(sys.stderr, _json_line({"error": body}))
            return
        self._write(sys.stderr, f"error: {clean(message)}")
        if hint:
            self._write(sys.stderr, f"hint: {clean(hint)}")

    def progress(self, label: str, total_bytes: int | None = None) -> Progress:
        """A context manager for one long piece of work; see ``Progress.update``."""
        return Progress(self, clean(label, 60), total_bytes, self._clock)

    def open_bars(self) -> Any:
        """The live display; bars of several pieces of work stand in it below each other."""
        if self._bars is None:
            from rich import progress as bars
            from rich.console import Console

            # Console honours NO_COLOR. markup=False: a torrent's name is not our markup.
            self._bars = bars.Progress(
                bars.TextColumn("{task.description}", markup=False),
                bars.BarColumn(),
                bars.TextColumn("{task.fields[news]}", markup=False),
                console=Console(file=sys.stderr, markup=False, highlight=False, emoji=False),
                transient=True,
            )
            self._bars.start()
        self._bar_count += 1
        return self._bars

    def close_bars(self) -> None:
        """One bar less; the display ends with the last."""
        self._bar_count -= 1
        if not self._bar_count:
            self._bars.stop()
            self._bars = None

    # --- questions ------------------------------------------------------------------------------

    @property
    def interactive(self) -> bool:
        return bool(sys.stdin and sys.stdin.isatty())

    def confirm(self, question: str) -> None:
        """Returns if the answer is yes or ``-y`` was given; otherwise raises and nothing is done."""
        if self.assume_yes:
            return
        if not self.interactive:
            raise InvalidSetting("this needs a yes, and nobody is there to ask", hint="add -y")
        if self.ask(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
            self.note("Nothing was done.")
            raise click.exceptions.Exit(1)

    def interrupted(self) -> None:
        """After Ctrl-C: leaves the line of the question or the bar, so that the shell's prompt
        stands on one of its own."""
        if _is_terminal(sys.stderr):
            self._write(sys.stderr, "")

    def ask(self, question: str) -> str:
        """One line from stdin, the question on stderr. Empty at the end of the input."""
        sys.stderr.write(clean_lines(question))
        sys.stderr.flush()
        return sys.stdin.readline().rstrip("\n")

    def ask_secret(self, question: str) -> str:
        """One line from the terminal, unseen. Raises KeystoreLocked where there is no terminal."""
        if not self.interactive:
            raise KeystoreLocked(
                "a passphrase is needed, and there is no terminal to ask for it",
                hint="--passphrase-file FILE, or set SPEEDPAY_PASSPHRASE_FILE",
            )
        try:
            return getpass.getpass(question, stream=sys.stderr)
        except EOFError as error:
            raise KeystoreLocked("no passphrase was given") from error

    def start_logging(self) -> None:
        """``-v`` shows what speedpay logs, ``--debug`` its details as well; on stderr."""
        if (self.verbose or self.debug) and self._log_handler is None:
            self._log_handler = _StderrHandler()
            logger = logging.getLogger("speedpay")
            logger.addHandler(self._log_handler)
            logger.setLevel(logging.DEBUG if self.debug else logging.INFO)

    def stop_logging(self) -> None:
        if self._log_handler is not None:
            logger = logging.getLogger("speedpay")
            logger.removeHandler(self._log_handler)
            logger.setLevel(logging.NOTSET)
            self._log_handler = None

    def _write(self, stream: TextIO | None, line: str) -> None:
        if stream is not None:  # a closed descriptor: `>&-`
            stream.write(line + "\n")
            stream.flush()


class Progress:
    """A live bar, a line every 10 s, a JSON event each second and one at the end, or nothing: as
    ``Output`` decides."""

    def __init__(
        self, out: Output, label: str, total_bytes: int | None, clock: Callable[[], float]
    ) -> None:
        self._out = out
        self._label = label
        self._total_bytes = total_bytes
        self._clock = clock
        self._last_line = clock()
        self._complete = False
        self._live: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        out = self._out
        if not out.quiet and not out.json and _is_terminal(sys.stderr):
            self._live = out.open_bars()
            self._task = self._live.add_task(self._label, total=self._total_bytes, news="")
        return self

    def update(
        self,
        done_bytes: int,
        bytes_per_s: float = 0,
        news: str = "",
        total_bytes: int | None = None,
        **for_json: object,
    ) -> None:
        """How far it is. ``news``: a few words for people ("3 paid peers, 0.12 tok");
        ``for_json``: fields of the JSON event."""
        self._total_bytes = total_bytes or self._total_bytes
        if self._out.quiet:
            return
        if self._live is not None:
            said = self._said(done_bytes, bytes_per_s, news)
            self._live.update(self._task, completed=done_bytes, total=self._total_bytes, news=said)
            return
        now = self._clock()
        # To the program that reads events the moment of the last byte is worth one of its own.
        completed = self._out.json and done_bytes == self._total_bytes and not self._complete
        pause_s = PROGRESS_EVENT_S if self._out.json else PROGRESS_LINE_S
        if now - self._last_line < pause_s and not completed:
            return
        self._last_line = now
        self._complete = done_bytes == self._total_bytes
        if self._out.json:
            event = {"done_bytes": done_bytes, "total_bytes": self._total_bytes}
            event |= {"bytes_per_s": int(bytes_per_s)}
            self._out.event("progress", {"label": self._label} | event | for_json)
        else:
            self._out.note(f"{self._label}: {self._said(done_bytes, bytes_per_s, news)}")

    def _said(self, done_bytes: int, bytes_per_s: float, news: str) -> str:
        parts = [size_text(done_bytes)]
        if self._total_bytes:
            percent = min(100, done_bytes * 100 // self._total_bytes)
            parts = [f"{percent} % of {size_text(self._total_bytes)}"]
        return ", ".join([*parts, rate_text(bytes_per_s), *([clean(news)] if news else [])])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._out.close_bars()


class _StderrHandler(logging.Handler):
    """Log lines with UTC times, cleaned: they quote what peers and ledgers say."""

    def __init__(self) -> None:
        super().__init__()
        form = logging.Formatter(
            "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
        )
        form.converter = time.gmtime
        self.setFormatter(form)

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is not None:
            sys.stderr.write(clean_lines(self.format(record)) + "\n")


def _is_terminal(stream: TextIO | None) -> bool:
    return bool(stream and stream.isatty()) and os.environ.get("TERM") != "dumb"


def _json_line(obj: object) -> str:
    # ASCII only: escapes, direction marks and lone surrogates travel as \uXXXX, harmless.
    return json.dumps(obj, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


# --- for command authors ------------------------------------------------------------------------


def _switch(name: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def callback(ctx: click.Context, _parameter: click.Parameter, given: bool) -> None:
        if given:
            setattr(ctx.ensure_object(Output), name, True)

    return callback


#: Options of every command, accepted before the verb and after it: (flags, Output's field, help).
_COMMON: Iterable[tuple[tuple[str, ...], str, str]] = (
    (("-j", "--json"), "json", "One JSON object a line; amounts in µtok."),
    (("-q", "--quiet"), "quiet", "Only the result, warnings and errors."),
    (("-v", "--verbose"), "verbose", "Say on stderr what is being done."),
    (("-y", "--yes"), "assume_yes", "Answer every question with yes."),
    (("--debug",), "debug", "Log details; show a traceback if it fails."),
)


def common_options(command: Callable[P, R]) -> Callable[P, R]:
    for flags, name, text in reversed(tuple(_COMMON)):
        # Eager: an error in a later argument is already reported in the form that was asked for.
        command = click.option(
            *flags, is_flag=True, is_eager=True, expose_value=False, callback=_switch(name),
            help=text,
        )(command)  # fmt: skip
    return command


def pass_output(command: Callable[Concatenate[Output, P], R]) -> Callable[P, R]:
    """Gives a command the common options, and ``out: Output`` as its first argument."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        out = click.get_current_context().ensure_object(Output)
        out.start_logging()
        return command(out, *args, **kwargs)

    return common_options(wrapped)
