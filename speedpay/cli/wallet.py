"""``speedpay wallet``: make one, restore it, open its account, look at it, and move its money."""

from __future__ import annotations

import sys
from typing import TextIO

import click

from speedpay.cli.money import balance, history, of_account, send
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
from speedpay.cli.wallet_keys import consent, publish_key, rotate_key
from speedpay.config import Settings, load
from speedpay.errors import AlreadyExists, NotFound, SpeedpayError
from speedpay.ledger_api.client import LedgerClient
from speedpay.wallet.keys import new_words, seed_from_words
from speedpay.wallet.keystore import Place, Unlocked
from speedpay.wallet.opening import applied, given_away, keystore_of
from speedpay.wallet.owning import open_or_find
from speedpay.wallet.payout import Payout

__all__ = ["funds_of", "keystore_of", "ledger_of", "unlock", "wallet", "wallet_options"]

_SPEND_IT = "speedpay get TORRENT --pay auto"


@click.group()
def wallet() -> None:
    """Keys and money of one user."""


for command in (balance, history, send, chain, chain_send, consent, rotate_key, publish_key):
    wallet.add_command(command)


@wallet.command(epilog=examples("speedpay wallet new", "speedpay wallet new --passphrase-file pw"))
@click.option(
    "--without-account", is_flag=True, help="Open none: somebody hands one over to this wallet."
)
@wallet_options
@pass_output
def new(
    out: Output, without_account: bool, ledger_url: str | None, passphrase_file: str | None
) -> None:
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
    if without_account:
        out.result(_place_json(place), "\n".join(_place_lines(place)))
    else:
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


@wallet.command(
    "open",
    epilog=examples(
        "speedpay wallet open --ledger-url http://127.0.0.1:7461",
        "speedpay wallet open --account 00112233445566778899aabbccddeeff",
    ),
)
@click.option(
    "--account", callback=of_account, help="One that was handed over to this wallet's consent."
)
@wallet_options
@pass_output
def open_(
    out: Output, account: bytes | None, ledger_url: str | None, passphrase_file: str | None
) -> None:
    """Open the wallet's account at the ledger, if 'wallet new' could not reach it.

    Also saves the ledger's new address when it has moved.
    """
    settings = load({"ledger_url": ledger_url, "passphrase_file": passphrase_file})
    opened = unlock(out, settings, with_account=False)
    place = opened.place
    if place.tenure.given_to is not None:
        raise NotFound(given_away(place))
    if account is not None and place.account not in (None, account):
        raise AlreadyExists(
            "this wallet has another account already", hint="use another SPEEDPAY_HOME"
        )
    # Its own, by the key that it has; one that came to it has to be asked for again.
    _open_and_report(out, settings, opened, account)


def _open_and_report(
    out: Output, settings: Settings, opened: Unlocked, account: bytes | None = None
) -> None:
    keystore = keystore_of(settings)
    try:
        with ledger_of(opened.place) as ledger:
            opened, granted = open_or_find(keystore, opened, ledger, account)
            place = opened.place
            _name_payout(out, settings, opened, ledger)
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
    tenure = place.tenure
    held = []
    if tenure.given_to is not None:
        held = [f"given to   {tenure.given_to.hex()}: this wallet can do nothing with it any more"]
    elif tenure.pending is not None:
        key = tenure.pending.consent.public_key.hex()
        held = [f"pending    on its way to {key}: repeat the command that began it"]
    return [
        f"account    {place.account.hex() if place.account else '(not opened yet)'}",
        *held,
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
        "given_to": place.tenure.given_to and place.tenure.given_to.hex(),
        "key_change_pending": place.tenure.pending is not None,
    }
