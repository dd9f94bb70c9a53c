"""The wallet for every command that needs it: its options, its passphrase, what is opened with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ParamSpec, TypeVar

import click

from speedpay.cli.output import Output
from speedpay.config import Settings
from speedpay.errors import InvalidSetting, KeystoreLocked, NotFound, WrongLedger, WrongNetwork
from speedpay.ledger_api.client import LedgerClient
from speedpay.wallet.funds import Funds
from speedpay.wallet.keystore import (
    MAX_PASSPHRASE,
    Keystore,
    Place,
    Unlocked,
    check_new_passphrase,
)

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
    if with_account and place.account is None:
        raise NotFound("the wallet has no account yet", hint="speedpay wallet open")
    unlocked = keystore.unlock(passphrase_of(out, settings))
    return replace(unlocked, place=applied(unlocked.place, settings))


def keystore_of(settings: Settings) -> Keystore:
    return Keystore(settings.home / "wallet")


def ledger_of(place: Place) -> LedgerClient:
    """A client that believes only the ledger of this place. Close it: it is a context manager."""
    return LedgerClient(place.ledger_url, place.ledger_id, place.network)


def funds_of(settings: Settings, wallet: Unlocked, ledger: LedgerClient) -> Funds:
    return Funds(settings.home / "wallet", wallet.place, wallet.keys.identity, ledger)


def applied(place: Place, settings: Settings) -> Place:
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


def passphrase_of(out: Output, settings: Settings, *, new: bool = False) -> str:
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
            text = file.read(MAX_INPUT_CHARS + 1)
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
