"""The plugin's settings, and the only place where they are checked. Each is text, as a person types it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from speedpay.config import resolve
from speedpay.errors import InvalidSetting, Malformed
from speedpay.units import Amount, Price

_MAX_CHARS = 4096


class Option(NamedTuple):
    """``parse`` takes text and the field's name; ``each``: a torrent may have its own."""

    default: str
    parse: Callable[[str, str], Any]
    each: bool


def _setting(name: str) -> Callable[[str, str], Any]:
    """As speedpay's own setting of that name; empty: what speedpay's own settings say."""

    def parse(text: str, field: str) -> Any:
        if not text:
            return None
        nowhere = Path()
        return getattr(resolve(nowhere, nowhere, {name: text}, {}, {}), name)

    return parse


def _home(text: str, field: str) -> Path | None:
    if text and ("\0" in text or not Path(text).expanduser().is_absolute()):
        raise InvalidSetting("must be an absolute path, or nothing", field=field)
    return Path(text).expanduser() if text else None


def _price(text: str, field: str) -> Price:
    try:
        return Price.from_tokens_per_gib(text, field)
    except Malformed as error:
        raise InvalidSetting(error.message, field=field) from error


def _price_or_none(text: str, field: str) -> Price | None:
    return None if text == "none" else _price(text, field)


def _amount_or_none(text: str, field: str) -> Amount | None:
    if text == "none":
        return None
    try:
        return Amount.from_tokens(text, field)
    except Malformed as error:
        raise InvalidSetting(error.message, field=field) from error


def _pay(text: str, field: str) -> str | Price:
    """``"off"``, ``"auto"`` or a fixed price."""
    if text in ("off", "auto"):
        return text
    try:
        price = _price(text, field)
    except InvalidSetting as error:
        raise InvalidSetting("must be auto, off, or tokens per GiB", field=field) from error
    if not price:
        raise InvalidSetting("is too small to be a price", field=field, hint="off")
    return price


OPTIONS: Mapping[str, Option] = {
    # Whose wallet: a folder as SPEEDPAY_HOME, or the one that speedpay has for deluged's user.
    "home": Option("", _home, each=False),
    "passphrase_file": Option("", _setting("passphrase_file"), each=False),
    "ledger_url": Option("", _setting("ledger_url"), each=False),
    # Selling: the least that is taken, tokens per GiB; also of what a torrent that is not paid for uploads.
    "ask": Option("0", _price, each=True),
    # Buying, for every torrent that has nothing else of its own.
    "pay": Option("off", _pay, each=True),
    "consumption": Option("", _setting("consumption"), each=True),
    "max_spend": Option("none", _amount_or_none, each=True),
    "max_price": Option("none", _price_or_none, each=True),
}
DEFAULTS = {name: option.default for name, option in OPTIONS.items()}


def checked(given: object, *, each: bool = False) -> dict[str, str]:
    """What was given, as text. ``each``: for one torrent. Raises InvalidSetting, naming the field."""
    if not isinstance(given, Mapping):
        raise InvalidSetting("must be names and values", field="config")
    allowed = [name for name, option in OPTIONS.items() if option.each or not each]
    found = {}
    for name, value in given.items():
        if name not in allowed:
            near = get_close_matches(str(name), allowed, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(allowed)}"
            what = "is not a torrent's setting" if name in OPTIONS else "is not a setting"
            raise InvalidSetting(what, field=str(name)[:64], hint=hint)
        # A float is never what was typed: Deluge's RPC sends 32 bits of it.
        if type(value) not in (str, int):
            raise InvalidSetting("must be text or a whole number", field=name)
        text = str(value).strip()
        if len(text) > _MAX_CHARS:
            raise InvalidSetting("is too long", field=name)
        OPTIONS[name].parse(text, name)
        found[name] = text
    return found


def parsed(texts: Mapping[str, str]) -> dict[str, Any]:
    """The values of all settings; what is not among ``texts`` has its default."""
    return {
        name: option.parse(texts.get(name, option.default), name)
        for name, option in OPTIONS.items()
    }
