"""What the user's settings say of the wallet: where it is, which ledger is meant, its passphrase's file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from speedpay.config import Settings
from speedpay.errors import InvalidSetting, KeystoreLocked, NotFound, WrongLedger, WrongNetwork
from speedpay.wallet.keystore import MAX_PASSPHRASE, Keystore, Place

_MAX_CHARS = 4096  # more is the wrong file


def keystore_of(settings: Settings) -> Keystore:
    return Keystore(settings.home / "wallet")


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


def check_account(place: Place) -> None:
    """Raises NotFound where there is none, or it is another's by now."""
    if place.account is None:
        raise NotFound("the wallet has no account yet", hint="speedpay wallet open")
    if place.tenure.given_to is not None:
        raise NotFound(given_away(place))


def given_away(place: Place) -> str:
    assert place.account is not None
    assert place.tenure.given_to is not None
    return (
        f"the account {place.account.hex()} was handed over to the key {place.tenure.given_to.hex()},"
        " and this wallet can do nothing with it any more"
    )


def passphrase_in(path: Path) -> str:
    """The file's only line, without its line end. Raises KeystoreLocked, InvalidSetting."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            text = file.read(_MAX_CHARS + 1)
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
