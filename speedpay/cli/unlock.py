"""The wallet for every command that needs it: its options, its passphrase, what is opened with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ParamSpec, TypeVar

import click

from speedpay.cli.output import Output
from speedpay.config import Settings
from speedpay.errors import InvalidSetting
from speedpay.ledger_api.client import LedgerClient
from speedpay.wallet.funds import Funds
from speedpay.wallet.keystore import Place, Unlocked, check_new_passphrase
from speedpay.wallet.opening import applied, check_account, keystore_of, passphrase_in

P = ParamSpec("P")
R = TypeVar("R")
MAX_INPUT_CHARS = 4096  # words or a passphrase; more is the wrong file


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
    place = applied(keystore.place(), settings)
    if with_account:
        check_account(place)
    if place.tenure.pending is not None:
        key = place.tenure.pending.consent.public_key.hex()
        out.note(f"The account is on its way to the key {key}; repeat the command that began it.")
    unlocked = keystore.unlock(passphrase_of(out, settings))
    return replace(unlocked, place=applied(unlocked.place, settings))


def ledger_of(place: Place) -> LedgerClient:
    """A client that believes only the ledger of this place. Close it: it is a context manager."""
    return LedgerClient(place.ledger_url, place.ledger_id, place.network)


def funds_of(settings: Settings, wallet: Unlocked, ledger: LedgerClient) -> Funds:
    return Funds(settings.home / "wallet", wallet.place, wallet.keys.identity, ledger)


def passphrase_of(out: Output, settings: Settings, *, new: bool = False) -> str:
    if settings.passphrase_file is not None:
        return passphrase_in(settings.passphrase_file)
    if not new:
        return out.ask_secret("Passphrase: ")
    passphrase = out.ask_secret("New passphrase (it encrypts the wallet on this disk): ")
    check_new_passphrase(passphrase)
    if out.ask_secret("The same again: ") != passphrase:
        raise InvalidSetting("the two are not the same", field="passphrase")
    return passphrase
