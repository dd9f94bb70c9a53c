"""The command line: text and exit codes, nothing else.

May import everything below it, and only at use: this file, ``output.py``, ``text.py`` and click are all
that ``--help`` loads. A command is one row of ``COMMANDS`` and an object in its module::

    @click.command(epilog=examples("speedpay get debian.torrent --pay auto"))
    @click.argument("source")
    @click.option("--max-spend", type=AMOUNT, help="Never spend more, in tokens.")
    @pass_output
    def get(out: Output, source: str, max_spend: Amount | None) -> None:
        '''Download SOURCE, a torrent file or a magnet link.'''
        settings = load({"consumption": consumption})       # flags that were not given are None
        wallet = unlock(out, settings)                      # from speedpay.cli.unlock
        with out.progress("debian.iso", total_bytes) as bar:
            bar.update(done_bytes, bytes_per_s, news="2 paid peers, 0.12 tok")
        out.result({"sha256": digest}, f"saved {clean(name)}")

* ``pass_output`` (innermost, next to ``def``) gives ``out`` and the common options
  ``-j -q -v -y --debug``, which work before the verb and after it. Groups need nothing.
* Raise a ``SpeedpayError``: its sentence, hint and exit code come out as they must. For a wrong
  argument the types here (``AMOUNT``, ``PRICE``, ``RATE``, ``SHARE``) and ``click.UsageError`` exit
  with 2. Never print, never ``sys.exit``; ``click.exceptions.Exit(code)`` ends quietly.
* ``out.result(obj, text)`` once, ``out.note`` and ``out.progress`` on the way, ``clean`` around
  every outside text. Import heavy things inside the module's functions or at its top, never here.

Exit codes: 0 ok, 1 other, 2 usage, 3 not found, 4 ledger unreachable, 5 balance too small, 6 no
peers or no chain, 7 unfinished, 8 wallet locked, 9 disk full, 10 proof does not match, 13 exists
already, 130 Ctrl-C, 141 the reader of stdout went away.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import NamedTuple

import click

from speedpay import __version__
from speedpay.cli.output import Output, common_options
from speedpay.errors import DiskFull, SpeedpayError
from speedpay.units import Amount, Price, Share

_CTRL_C, _BROKEN_PIPE = 130, 141


class _Row(NamedTuple):
    module: str
    attribute: str
    help: str


#: verb → where it is. The help stands here so that ``--help`` imports none of them.
COMMANDS: dict[str, _Row] = {
    "get": _Row("get", "get", "Download a torrent or magnet link, free or paid."),
    "seed": _Row("seed", "seed", "Seed files or a torrent, and be paid for upload."),
    "create": _Row("create", "create", "Make a torrent of files."),
    "bid": _Row("bid", "bid", "Show what a download would bid, and why."),
    "simulate": _Row("simulate", "simulate", "Try out how an upload is divided; nothing is paid."),
    "budget": _Row("budget", "budget", "Show or set what may be spent a day and a month."),
    "quote": _Row("quote", "quote", "Ask a swarm how long it would take, and for how much."),
    "balance": _Row("money", "balance", "Show the last confirmed balance."),
    "send": _Row("money", "send", "Send tokens to another account."),
    "history": _Row("money", "history", "List the account's transfers."),
    "receipts": _Row("receipts", "receipts", "List what downloads cost, and prove each payment."),
    "earnings": _Row("earnings", "earnings", "List what seeding earned, and what to expect."),
    "fund": _Row("fund", "fund", "Turn tokens on the chain into balance; show the address."),
    "withdraw": _Row("withdraw", "withdraw", "Take tokens out, to the wallet's own address."),
    "verify": _Row(
        "verify", "verify", "Check the balance against the chain, whatever the ledger says."
    ),
    "heads": _Row("heads", "heads", "Show the ledger's signed heads, and evidence against it."),
    "wallet": _Row("wallet", "wallet", "Keys and money: new, restore, open, show, ..."),
    "account": _Row("wallet_keys", "account", "Hand the account over to another key."),
    "ledger": _Row("ledger", "ledger", "Run a ledger, and check its books."),
    "chain": _Row("chain", "chain", "Contracts on a test network, and a network for development."),
    "privacy": _Row("privacy", "privacy", "Show who knows what about you."),
    "deluge": _Row("deluge", "deluge", "Pay and be paid inside Deluge, by a plugin for deluged."),
    "config": _Row("config", "config", "Show the settings and where they come from."),
}


class _Verbs(click.Group):
    """Commands that are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        row = COMMANDS.get(cmd_name)
        if row is None:
            return None
        command: click.Command = getattr(import_module(f"speedpay.cli.{row.module}"), row.attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            near = get_close_matches(args[0], COMMANDS, n=1)
            error = click.UsageError(f"there is no command {args[0]!r}", ctx)
            raise _with_hint(error, f"did you mean: speedpay {near[0]}" if near else None)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, row.help) for name, row in COMMANDS.items()])


@click.group(
    cls=_Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: speedpay wallet new",
)
@click.version_option(__version__, "-V", "--version", message="speedpay %(version)s")
@common_options
@click.pass_context
def cli(ctx: click.Context) -> None:
    """A BitTorrent client whose users can pay for speed and be paid for upload."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code. Every error of every command ends here."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # an ASCII terminal shows "?" for µ and …
            stream.reconfigure(errors="replace")
    args = list(sys.argv[1:] if arguments is None else arguments)
    out = Output()
    # The parser may fail before it meets this option; the error shall have the right form anyway.
    out.json = any(a in ("-j", "--json") for a in args)
    try:
        return _run(args, out)
    except BrokenPipeError:
        _drop_what_is_left()  # whoever reads us has seen enough (`| head`)
        return _BROKEN_PIPE


def _drop_what_is_left() -> None:
    """What stdout's buffer holds must not raise again when the interpreter flushes it at exit: from
    Python 3.13 on that turns our exit code into its own, 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _run(args: list[str], out: Output) -> int:
    try:
        with cli.make_context("speedpay", args, obj=out) as ctx:
            cli.invoke(ctx)
        if sys.stdout is not None:
            sys.stdout.flush()
        return 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except (KeyboardInterrupt, click.Abort):
        out.interrupted()
        return _CTRL_C
    except BrokenPipeError:
        raise
    except click.UsageError as error:
        return _usage(error, out)
    except click.ClickException as error:
        out.error("usage", error.format_message())
        return 2
    except Exception as error:
        if out.debug:
            out.warn(traceback.format_exc())
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            error = DiskFull("no room left on the disk")
            if _stdout_is_full():
                _drop_what_is_left()
        if isinstance(error, SpeedpayError):
            out.error(error.code, str(error), error.hint)
            return error.exit_code
        # A bug of ours, or of something below us: said in one sentence all the same.
        message = f"something unexpected happened: {type(error).__name__}: {error}"
        out.error("unexpected", message, "run it again with --debug and report what it shows")
        return 1
    finally:
        out.stop_logging()


def _stdout_is_full() -> bool:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        return True
    return False


def _usage(error: click.UsageError, out: Output) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":  # click ≥ 8.2: a group without a command
        click.echo(error.format_message(), err=True)
        return 2
    path = error.ctx.command_path if error.ctx else "speedpay"
    hint = getattr(error, "hint", None) or f"{path} --help"
    message = error.format_message().rstrip(".")
    out.error("usage", message[:1].lower() + message[1:], hint)
    return 2


def _with_hint(error: click.UsageError, hint: str | None) -> click.UsageError:
    error.hint = hint  # type: ignore[attr-defined]
    return error


def _argument_type(name: str, parse: Callable[[str], object]) -> click.ParamType[object]:
    """One of our own parsers as click's type; what it refuses is a usage error."""

    def convert(value: object) -> object:
        if not isinstance(value, str):  # a default that is already what we want
            return value
        try:
            return parse(value)
        except SpeedpayError as error:
            raise click.BadParameter(error.message) from error

    made = click.types.FuncParamType(convert)
    made.name = name
    return made


def _rate(text: str) -> int:
    from speedpay.config import parse_rate

    return parse_rate(text)


AMOUNT = _argument_type("tok", Amount.from_tokens)
PRICE = _argument_type("tok/GiB", Price.from_tokens_per_gib)
SHARE = _argument_type("0..1", Share.from_text)
RATE = _argument_type("rate", _rate)
