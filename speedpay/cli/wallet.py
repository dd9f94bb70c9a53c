"""``speedpay wallet`` and its short forms ``balance``, ``history`` and ``send``.

``unlock`` and ``wallet_options`` are for every command that needs the wallet.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import ParamSpec, TextIO, TypeVar

import click

from speedpay.cli import AMOUNT
from speedpay.cli.output import (
    Output,
    age_text,
    clean,
    examples,
    pass_output,
    time_text,
    tokens_text,
)
from speedpay.config import Settings, load
from speedpay.errors import (
    InvalidSetting,
    KeystoreLocked,
    LedgerFailed,
    LedgerUnreachable,
    NotFound,
    SpeedpayError,
    WrongLedger,
    WrongNetwork,
)
from speedpay.ledger_api.answers import Balance, HistoryEntry
from speedpay.ledger_api.client import LedgerClient
from speedpay.ledger_api.shapes import MAX_HISTORY, Send
from speedpay.units import ZERO, Amount, MoneyClass
from speedpay.wallet.funds import Funds, Payment, open_account
from speedpay.wallet.keys import new_words, seed_from_words
from speedpay.wallet.keystore import (
    MAX_PASSPHRASE,
    Keystore,
    Place,
    Unlocked,
    check_new_passphrase,
)

P = ParamSpec("P")
R = TypeVar("R")
_MAX_INPUT_CHARS = 4096  # words or a passphrase; more is the wrong file
_SPEND_IT = "speedpay get TORRENT --pay auto"


# --- for other commands -------------------------------------------------------------------------


def wallet_options(command: Callable[P, R]) -> Callable[P, R]:
    """``--ledger-url`` and ``--passphrase-file``, as arguments ``ledger_url, passphrase_file``.

    Both are str or None, ready for ``config.load``.
    """
    command = click.option(
        "--passphrase-file", metavar="FILE", help="Read the wallet's passphrase from FILE."
    )(command)
    return click.option("--ledger-url", metavar="URL", help="Address of the ledger.")(command)


def unlock(out: Output, settings: Settings, *, with_account: bool = True) -> Unlocked:
    """The wallet, opened with the passphrase from a file or the terminal.

    ``.keys`` derives every key; ``.place`` says which ledger, network and account, the settings
    already applied. Raises NotFound without a wallet (or, unless ``with_account`` is False, without
    an account), KeystoreLocked, KeystoreDamaged, WrongLedger, WrongNetwork.
    """
    keystore = keystore_of(settings)
    place = _applied(keystore.place(), settings)
    if with_account and place.account is None:
        raise NotFound("the wallet has no account yet", hint="speedpay wallet open")
    unlocked = keystore.unlock(_passphrase(out, settings))
    return replace(unlocked, place=_applied(unlocked.place, settings))


def keystore_of(settings: Settings) -> Keystore:
    return Keystore(settings.home / "wallet")


def ledger_of(place: Place) -> LedgerClient:
    """A client that believes only the ledger of this place. Close it: it is a context manager."""
    return LedgerClient(place.ledger_url, place.ledger_id, place.network)


def funds_of(settings: Settings, wallet: Unlocked, ledger: LedgerClient) -> Funds:
    return Funds(settings.home / "wallet", wallet.place, wallet.keys.identity, ledger)


def _applied(place: Place, settings: Settings) -> Place:
    """The place with what the user chose now. The wallet's own choice comes before a default."""
    if settings.chosen("network") and settings.network != place.network:
        raise WrongNetwork(
            f"the wallet belongs to {place.network!r}, the settings say {settings.network!r}",
            hint="speedpay config show --origin",
        )
    if settings.ledger_id and place.ledger_id and settings.ledger_id != place.ledger_id:
        raise WrongLedger(
            "the wallet's account is at another ledger than the settings name",
            hint="speedpay config show --origin",
        )
    url = settings.ledger_url if settings.chosen("ledger_url") else place.ledger_url
    return replace(place, ledger_url=url, ledger_id=place.ledger_id or settings.ledger_id)


def _passphrase(out: Output, settings: Settings, *, new: bool = False) -> str:
    if settings.passphrase_file is not None:
        return _passphrase_in(settings)
    if not new:
        return out.ask_secret("Passphrase: ")
    passphrase = out.ask_secret("New passphrase (it encrypts the wallet on this disk): ")
    check_new_passphrase(passphrase)
    if out.ask_secret("The same again: ") != passphrase:
        raise InvalidSetting("the two are not the same", field="passphrase")
    return passphrase


def _passphrase_in(settings: Settings) -> str:
    """The file's only line, without its line end."""
    path = settings.passphrase_file
    assert path is not None
    try:
        with path.open(encoding="utf-8", newline="") as file:
            text = file.read(_MAX_INPUT_CHARS + 1)
    except OSError as error:
        raise InvalidSetting(
            f"{path} cannot be read: {error.strerror}", field="passphrase_file"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidSetting(f"{path} is not UTF-8 text", field="passphrase_file") from error
    line = text.removesuffix("\n").removesuffix("\r")
    if not line:
        raise KeystoreLocked(f"there is no passphrase in {path}")
    if "\n" in line or len(line) > MAX_PASSPHRASE:
        raise InvalidSetting(
            f"{path} must hold one line of at most {MAX_PASSPHRASE} characters",
            field="passphrase_file",
        )
    return line


# --- the group ----------------------------------------------------------------------------------


@click.group()
def wallet() -> None:
    """Keys and money of one user."""


@wallet.command(epilog=examples("speedpay wallet new", "speedpay wallet new --passphrase-file pw"))
@wallet_options
@pass_output
def new(out: Output, ledger_url: str | None, passphrase_file: str | None) -> None:
    """Make a wallet, and open its account at the ledger.

    The words are shown once. They are the wallet: whoever has them has the money, and without them
    a lost disk is lost money.
    """
    settings = load({"ledger_url": ledger_url, "passphrase_file": passphrase_file})
    keystore = keystore_of(settings)
    keystore.refuse_if_there()
    passphrase = _passphrase(out, settings, new=True)
    words = new_words()
    place = Place(settings.network, settings.ledger_url, settings.ledger_id)
    made = keystore.create(seed_from_words(words), passphrase, place)
    # Before anything that may take long or fail, and even with -q: nobody can show them again.
    said = "Write these words on paper. They are the wallet, and are not shown again."
    out.result({"event": "words", "words": words}, f"{said}\n\n    {words}\n")
    _open_and_report(out, settings, made)


@wallet.command(
    epilog=examples(
        "speedpay wallet restore",
        "speedpay wallet restore --words-file words.txt",
        "speedpay wallet restore --passphrase-file pw < words.txt",
    )
)
@click.option("--words-file", type=click.File(errors="replace"), help="Read the words from a file.")
@wallet_options
@pass_output
def restore(
    out: Output,
    words_file: TextIO | None,
    ledger_url: str | None,
    passphrase_file: str | None,
) -> None:
    """Make the wallet again from its words.

    They come from the terminal, from standard input or from a file, never from the command line:
    that is visible to every user of the machine.
    """
    settings = load({"ledger_url": ledger_url, "passphrase_file": passphrase_file})
    keystore = keystore_of(settings)
    keystore.refuse_if_there()
    if words_file is not None:
        text = words_file.read(_MAX_INPUT_CHARS)
    elif out.interactive:
        text = out.ask("Words: ")
    else:
        text = sys.stdin.read(_MAX_INPUT_CHARS)
    seed = seed_from_words(text)
    passphrase = _passphrase(out, settings, new=True)
    place = Place(settings.network, settings.ledger_url, settings.ledger_id)
    made = keystore.create(seed, passphrase, place)
    _open_and_report(out, settings, made)


@wallet.command("open", epilog=examples("speedpay wallet open --ledger-url http://127.0.0.1:7461"))
@wallet_options
@pass_output
def open_(out: Output, ledger_url: str | None, passphrase_file: str | None) -> None:
    """Open the wallet's account at the ledger, if 'wallet new' could not reach it.

    Also saves the ledger's new address when it has moved.
    """
    settings = load({"ledger_url": ledger_url, "passphrase_file": passphrase_file})
    opened = unlock(out, settings, with_account=False)
    _open_and_report(out, settings, opened)


def _open_and_report(out: Output, settings: Settings, opened: Unlocked) -> None:
    keystore = keystore_of(settings)
    try:
        with ledger_of(opened.place) as ledger:
            place, granted = open_account(ledger, opened.keys.identity, opened.place)
    except SpeedpayError as error:
        # Whatever it was (no ledger, another ledger, too many accounts today), nothing is lost.
        out.note(f"The wallet is saved: {keystore.path}")
        error.hint = "the wallet is saved; open its account with: speedpay wallet open"
        raise
    keystore.update(opened, place)
    lines = _place_lines(place)
    obj = _place_json(place) | {"granted": granted.to_wire()}
    if granted:
        lines += [f"granted    {tokens_text(granted)} of credit", "", f"Spend it: {_SPEND_IT}"]
        obj |= {"next": _SPEND_IT}
    out.result(obj, "\n".join(lines))


@wallet.command(epilog=examples("speedpay wallet show", "speedpay wallet show --json"))
@pass_output
def show(out: Output) -> None:
    """Show account, network and ledger. Needs no passphrase."""
    settings = load()
    keystore = keystore_of(settings)
    place = _applied(keystore.place(), settings)
    lines = [*_place_lines(place), f"keystore   {clean(str(keystore.path))}"]
    out.result(_place_json(place) | {"keystore": str(keystore.path)}, "\n".join(lines))


def _place_lines(place: Place) -> list[str]:
    return [
        f"account    {place.account.hex() if place.account else '(not opened yet)'}",
        f"network    {clean(place.network)}",
        f"ledger     {clean(place.ledger_url)}",
        f"ledger id  {place.ledger_id.hex() if place.ledger_id else '(not known yet)'}",
    ]


def _place_json(place: Place) -> dict[str, object]:
    return {
        "account": place.account and place.account.hex(),
        "network": place.network,
        "ledger_url": place.ledger_url,
        "ledger_id": place.ledger_id and place.ledger_id.hex(),
    }


# --- money --------------------------------------------------------------------------------------


@wallet.command(epilog=examples("speedpay balance", "speedpay balance --json"))
@wallet_options
@pass_output
def balance(out: Output, ledger_url: str | None, passphrase_file: str | None) -> None:
    """Show the balance that the ledger confirms.

    When the ledger cannot be reached, the last confirmed balance is shown with its age, and the
    exit code is 4.
    """
    settings = load({"ledger_url": ledger_url, "passphrase_file": passphrase_file})
    opened = unlock(out, settings)
    with ledger_of(opened.place) as ledger:
        funds = funds_of(settings, opened, ledger)
        unresolved = funds.unresolved()
        try:
            confirmed = funds.balance()
        except (LedgerUnreachable, LedgerFailed) as error:
            last = funds.last_confirmed()
            if last is None:
                error.hint = "no balance was ever confirmed here; try again when the ledger runs"
            else:
                _show_balance(out, opened.place, last, unresolved, now_confirmed=False)
            raise
    _show_balance(out, opened.place, confirmed, unresolved, now_confirmed=True)


def _show_balance(
    out: Output, place: Place, found: Balance, unresolved: Payment | None, now_confirmed: bool
) -> None:
    assert place.account is not None
    at, age_s = time_text(found.time), max(0, int(time.time()) - found.time)
    lines = []
    for name, free, locked in (
        ("credit", found.credit, found.credit_in_escrow),
        ("token", found.token, found.token_in_escrow),
    ):
        in_escrow = f"  and {tokens_text(locked)} in escrow" if locked else ""
        lines.append(f"{name:<10} {tokens_text(free)}{in_escrow}")
    lines.append(
        f"confirmed  {at}" if now_confirmed else f"last confirmed at {at} ({age_text(age_s)} ago)"
    )
    obj: dict[str, object] = {
        "account": place.account.hex(),
        "token": found.token.to_wire(),
        "credit": found.credit.to_wire(),
        "in_escrow": {
            "token": found.token_in_escrow.to_wire(),
            "credit": found.credit_in_escrow.to_wire(),
        },
        "confirmed_now": now_confirmed,
        "confirmed_at": at,
        "age_s": age_s,
        "unresolved_send": None,
    }
    if unresolved is not None:
        obj |= {"unresolved_send": _payment_json(unresolved)}
        lines.append(
            f"not known  whether {_payment_text(unresolved)} was paid: {_again(unresolved)}"
        )
    out.result(obj, "\n".join(lines))


@wallet.command(epilog=examples("speedpay history", "speedpay history --limit 200 --json"))
@click.option("--limit", type=click.IntRange(1, MAX_HISTORY), default=20, show_default=True)
@click.option("--before", type=click.IntRange(1), help="Only what is older than this number.")
@wallet_options
@pass_output
def history(
    out: Output,
    limit: int,
    before: int | None,
    ledger_url: str | None,
    passphrase_file: str | None,
) -> None:
    """List the account's transfers, the newest first. With --json one line each."""
    settings = load({"ledger_url": ledger_url, "passphrase_file": passphrase_file})
    opened = unlock(out, settings)
    with ledger_of(opened.place) as ledger:
        page = funds_of(settings, opened, ledger).history(before, limit)
    if out.json:
        for entry in page.entries:
            out.result(entry.to_json() | {"time": time_text(entry.time)}, "")
    else:
        lines = [_entry_line(entry) for entry in page.entries]
        out.result(None, "\n".join(lines) if lines else "no transfers yet")
    if page.before is not None:
        out.note(f"There is more: speedpay history --before {page.before}")


def _entry_line(entry: HistoryEntry) -> str:
    amount = ("+" if entry.incoming else "-") + str(entry.amount)
    with_whom = ""
    if entry.other is not None:
        with_whom = f"{'from' if entry.incoming else 'to'} {entry.other.hex()}"
    elif entry.reference:
        with_whom = f"channel {entry.reference.hex()[:16]}"
    return (
        f"{entry.sequence:>6}  {time_text(entry.time)}  {clean(entry.kind, 16):<7} "
        f"{amount:>14} tok  {entry.money_class.value:<6}  {with_whom}"
    ).rstrip()


def _account(_ctx: click.Context, _parameter: click.Parameter, text: str) -> bytes:
    if not re.fullmatch(r"[0-9a-f]{32}", text):
        raise click.BadParameter("an account has 32 lowercase hexadecimal digits")
    return bytes.fromhex(text)


@wallet.command(
    epilog=examples(
        "speedpay send 00112233445566778899aabbccddeeff 1.5",
        "speedpay send 00112233445566778899aabbccddeeff 1.5 --class token -y --json",
    )
)
@click.argument("account", callback=_account)
@click.argument("amount", type=AMOUNT)
@click.option(
    "--class", "money_class", type=click.Choice([c.value for c in MoneyClass]),
    default=MoneyClass.CREDIT.value, show_default=True, help="Credit stays credit when it is sent.",
)  # fmt: skip
@wallet_options
@pass_output
def send(
    out: Output,
    account: bytes,
    amount: Amount,
    money_class: str,
    ledger_url: str | None,
    passphrase_file: str | None,
) -> None:
    """Send AMOUNT tokens to ACCOUNT. It cannot be taken back.

    If the answer is lost, repeat the same command: it finishes that payment and never pays twice.
    """
    if amount == ZERO:
        raise click.BadParameter("must be above 0", param_hint="AMOUNT")
    settings = load({"ledger_url": ledger_url, "passphrase_file": passphrase_file})
    order = Send(account, MoneyClass(money_class), amount)
    out.confirm(f"Send {_order_text(order)}?")
    opened = unlock(out, settings)
    with ledger_of(opened.place) as ledger:
        sent = funds_of(settings, opened, ledger).send(order)
    if sent.earlier is not None:
        became = "was refused" if sent.earlier.refusal else "is paid now"
        out.note(f"Finished first: {_payment_text(sent.earlier)} {became}.")
    text = f"sent {_order_text(order)}"
    if sent.payment.resumed:
        begun = time_text(sent.payment.begun)
        text += f"\nThis is the payment begun at {begun}; to pay once more, repeat the command."
    out.result(_payment_json(sent.payment), text)


def _order_text(order: Send) -> str:
    return f"{tokens_text(order.amount)} of {order.money_class.value} to {order.to.hex()}"


def _payment_text(payment: Payment) -> str:
    return f"{_order_text(payment.order)}, begun at {time_text(payment.begun)},"


def _again(payment: Payment) -> str:
    order = payment.order
    options = "" if order.money_class is MoneyClass.CREDIT else " --class token"
    return f"speedpay send {order.to.hex()} {order.amount}{options}"


def _payment_json(payment: Payment) -> dict[str, object]:
    return payment.order.to_json() | {
        "payment": payment.key.hex(),
        "begun": time_text(payment.begun),
        "resumed": payment.resumed,
    }
