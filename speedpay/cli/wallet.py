"""``speedpay wallet``: make one, restore it, open its account, look at it, and move its money."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TextIO

import click

from speedpay.cli.money import balance, history, send
from speedpay.cli.output import Output, clean, examples, pass_output, tokens_text
from speedpay.cli.unlock import (
    MAX_INPUT_CHARS,
    funds_of,
    ledger_of,
    passphrase_of,
    unlock,
    wallet_options,
)
from speedpay.cli.wallet_chain import chain, chain_send
from speedpay.config import Settings, load
from speedpay.errors import SpeedpayError
from speedpay.ledger_api.client import LedgerClient
from speedpay.wallet.funds import open_account
from speedpay.wallet.keys import new_words, seed_from_words
from speedpay.wallet.keystore import Place, Unlocked
from speedpay.wallet.opening import applied, keystore_of
from speedpay.wallet.payout import Payout

__all__ = ["funds_of", "keystore_of", "ledger_of", "unlock", "wallet", "wallet_options"]

_SPEND_IT = "speedpay get TORRENT --pay auto"


@click.group()
def wallet() -> None:
    """Keys and money of one user."""


for command in (balance, history, send, chain, chain_send):
    wallet.add_command(command)


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
    passphrase = passphrase_of(out, settings, new=True)
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
        text = words_file.read(MAX_INPUT_CHARS)
    elif out.interactive:
        text = out.ask("Words: ")
    else:
        text = sys.stdin.read(MAX_INPUT_CHARS)
    seed = seed_from_words(text)
    passphrase = passphrase_of(out, settings, new=True)
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
            _name_payout(out, settings, replace(opened, place=place), ledger)
    except SpeedpayError as error:
        # Whatever it was (no ledger, another ledger, too many accounts today), nothing is lost.
        out.note(f"The wallet is saved: {keystore.path}")
        error.hint = "the wallet is saved; open its account with: speedpay wallet open"
        raise
    opened = keystore.update(opened, place)
    lines = _place_lines(place)
    obj = _place_json(place) | {"granted": granted.to_wire(), "address": opened.keys.chain.base58}
    if granted:
        lines += [f"granted    {tokens_text(granted)} of credit", "", f"Spend it: {_SPEND_IT}"]
        obj |= {"next": _SPEND_IT}
    out.result(obj, "\n".join(lines))


def _name_payout(out: Output, settings: Settings, opened: Unlocked, ledger: LedgerClient) -> None:
    """The way out is named with the account. What fails here is tried again by whoever needs it."""
    try:
        Payout(settings.home / "wallet", opened.place, opened.keys).name(ledger)
    except SpeedpayError as error:
        out.note(f"The payout address is not named yet: {error}")


@wallet.command(epilog=examples("speedpay wallet show", "speedpay wallet show --json"))
@pass_output
def show(out: Output) -> None:
    """Show account, network and ledger. Needs no passphrase."""
    settings = load()
    keystore = keystore_of(settings)
    place = applied(keystore.place(), settings)
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
