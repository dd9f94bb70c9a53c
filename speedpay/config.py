"""The user's settings: flag over environment over file over default, frozen once read.

The table ``_SETTINGS`` is the whole list: a setting is its name, its default as a person would type
it, and the function that checks it. ``resolve`` is pure; only ``load`` looks at the environment and
the disk. ``SPEEDPAY_HOME`` puts everything of a user into one folder; without it the folders are
those of the platform (XDG on Linux).
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from speedpay.errors import InvalidSetting, Malformed
from speedpay.units import GIB, KIB, MIB, Amount, Share

#: Folders and files are named once, here.
HOME_VARIABLE = "SPEEDPAY_HOME"
CONFIG_FILE = "config.toml"
_MAX_CONFIG_BYTES = 64 * KIB  # a page of settings; more is some other file
#: The development chain's own address; the other networks have no default.
DEVNET_NODE = "http://127.0.0.1:9090"
MAX_CHAIN_NODES = 4
_MAX_RATE = 2**40  # bytes a second; libtorrent takes an int, callers may bound it further


class Endpoint(NamedTuple):
    """Where to listen. ``str()`` gives back what a person would type."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Settings:
    """``origins`` names for each setting what decided it: flag, environment, file or default."""

    home: Path  # wallet, downloads in progress, what must survive
    config_file: Path
    ledger_url: str
    ledger_id: bytes | None  # 32 bytes; the wallet refuses any other ledger
    network: str
    passphrase_file: Path | None
    consumption: Share  # the formula's share of the money one download may use
    up_limit: int | None  # bytes a second; None: no limit given
    risk_cap: Amount  # what a seller leaves unredeemed at most
    listen: Endpoint
    chain_nodes: tuple[
        str, ...
    ]  # 1 to 4 TRON nodes; two that agree are asked where money depends on it
    chain_api_key: str | None  # sent to every node of chain_nodes
    vault: str | None  # base58check; the wallet refuses a ledger that is bound to any other
    other_token: str | None  # base58check; one more TRC-20 that the wallet shows and sends
    origins: Mapping[str, str]

    def chosen(self, name: str) -> bool:
        """Did the user decide this setting, or is it our default?"""
        return self.origins[name] != "default"

    def shown(self) -> dict[str, str | None]:
        """Every setting as text, in the table's order."""
        shown = {name: _shown(getattr(self, name)) for name in ("home", "config_file", *_SETTINGS)}
        return shown | {"chain_api_key": "(set)" if self.chain_api_key else None}  # a secret

    def nodes(self) -> tuple[str, ...]:
        """The TRON nodes to ask. Raises InvalidSetting where none is known."""
        if self.chain_nodes:
            return self.chain_nodes
        if self.network == "devnet":
            return (DEVNET_NODE,)
        raise InvalidSetting(
            f"no node of {self.network} is configured", field="chain_nodes",
            hint=f"put chain_nodes = \"https://…\" into {self.config_file}",
        )  # fmt: skip


def parse_rate(text: str, field: str = "up_limit") -> int:
    """Bytes a second from ``"512 KiB/s"``, ``"16MiB"`` or ``"65536"``; K, KB and KiB are 1,024."""
    match = re.fullmatch(
        r"([0-9]{1,13})(?:\.([0-9]{1,3}))?\s*([KMG]?)(?:i?B)?(?:/s)?", text.strip()
    )
    if not match:
        raise InvalidSetting("must be a rate such as 512KiB/s or 2MiB/s", field=field)
    whole, part, prefix = match.groups()
    unit = {"": 1, "K": KIB, "M": MIB, "G": GIB}[prefix]
    rate = int(whole) * unit + (int(part) * unit // 10 ** len(part) if part else 0)
    if not 0 < rate <= _MAX_RATE:
        raise InvalidSetting("must be more than zero and at most 1024 GiB/s", field=field)
    return rate


def parse_endpoint(text: str, field: str = "listen") -> Endpoint:
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([0-9]{1,5})", text.strip())
    if not match or int(match[3]) > 65_535:
        raise InvalidSetting("must be ADDRESS:PORT, such as 0.0.0.0:6881 or [::]:6881", field=field)
    try:
        host = ip_address(match[1] or match[2])
    except ValueError as error:
        raise InvalidSetting("is not an IP address", field=field) from error
    return Endpoint(str(host), int(match[3]))


def _rate_or_none(text: str, field: str) -> int | None:
    return None if text in ("", "none") else parse_rate(text, field)


def _some_tokens(text: str, field: str) -> Amount:
    try:
        amount = Amount.from_tokens(text, field)
    except Malformed as error:
        raise InvalidSetting(error.message, field=field) from error
    if not amount:
        raise InvalidSetting("must be above 0", field=field)
    return amount


def _url(text: str, field: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, an unclosed bracket
        usable = False
    if not usable or "@" in parts.netloc or parts.query or parts.fragment or not text.isprintable():
        raise InvalidSetting("must be a plain http:// or https:// address", field=field)
    return text.rstrip("/")


def _urls(text: str, field: str) -> tuple[str, ...]:
    urls = tuple(_url(url.strip(), field) for url in text.split(",") if url.strip())
    if len(urls) > MAX_CHAIN_NODES or len(set(urls)) != len(urls):
        raise InvalidSetting(f"must be at most {MAX_CHAIN_NODES} different addresses", field=field)
    return urls


def _api_key_or_none(text: str, field: str) -> str | None:
    if not re.fullmatch(r"[0-9A-Za-z._-]{0,128}", text):
        raise InvalidSetting("must be at most 128 of 0-9, A-Z, a-z, '.', '_' and '-'", field=field)
    return text or None


def _tron_address_or_none(text: str, field: str) -> str | None:
    """Its checksum is tested where it is used, by ``speedpay.chain.address``."""
    if text and not re.fullmatch(r"T[1-9A-HJ-NP-Za-km-z]{33}", text):
        raise InvalidSetting("must be a TRON address: T and 33 more characters", field=field)
    return text or None


def _id_or_none(text: str, field: str) -> bytes | None:
    if text == "":
        return None
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise InvalidSetting("must be 64 lowercase hexadecimal digits", field=field)
    return bytes.fromhex(text)


def _network(text: str, field: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", text):
        raise InvalidSetting("must be 1 to 32 of a-z, 0-9 and '-'", field=field)
    return text


def _path_or_none(text: str, field: str) -> Path | None:
    if "\0" in text:
        raise InvalidSetting("must be a path", field=field)
    try:
        return Path(text).expanduser() if text else None
    except RuntimeError as error:
        raise InvalidSetting("begins with a user that is not known here", field=field) from error


def _share(text: str, field: str) -> Share:
    try:
        return Share.from_text(text, field)
    except Malformed as error:
        raise InvalidSetting(error.message, field=field) from error


_SETTINGS: Mapping[str, tuple[str, Callable[[str, str], Any]]] = MappingProxyType({
    "ledger_url": ("http://127.0.0.1:7461", _url),
    "ledger_id": ("", _id_or_none),
    "network": ("devnet", _network),
    "passphrase_file": ("", _path_or_none),
    "consumption": ("0.25", _share),
    "up_limit": ("", _rate_or_none),
    "risk_cap": ("10", _some_tokens),
    "listen": ("0.0.0.0:6881", parse_endpoint),
    "chain_nodes": ("", _urls),
    "chain_api_key": ("", _api_key_or_none),
    "vault": ("", _tron_address_or_none),
    "other_token": ("", _tron_address_or_none),
})  # fmt: skip


def variable(name: str) -> str:
    return f"SPEEDPAY_{name.upper()}"


def resolve(
    home: Path,
    config_file: Path,
    flags: Mapping[str, str | None],
    environment: Mapping[str, str],
    in_file: Mapping[str, object],
    home_origin: str = "default",
) -> Settings:
    """Settings from what was given; raises InvalidSetting with the setting's name.

    A flag of None was not given. A value that another one overrides is checked all the same only
    in the file, because there a mistake would stay unseen until the day it counts.
    """
    from_file = {name: _text(name, value, config_file) for name, value in in_file.items()}
    values: dict[str, Any] = {}
    origins = {"home": home_origin, "config_file": home_origin}
    for name, (default, parse) in _SETTINGS.items():
        if name in from_file:
            parse(from_file[name], name)
        layers = (
            ("flag", flags.get(name)),
            ("environment", environment.get(variable(name))),
            ("file", from_file.get(name)),
            ("default", default),
        )
        origin, text = next((where, text) for where, text in layers if text is not None)
        values[name], origins[name] = parse(text, name), origin
    return Settings(home, config_file, **values, origins=MappingProxyType(origins))


def load(
    flags: Mapping[str, str | None] | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """Reads the environment and the file. Raises InvalidSetting, naming the setting."""
    env = os.environ if environment is None else environment
    unknown = sorted(set(flags or {}) - set(_SETTINGS))
    if unknown:
        raise TypeError(f"no such setting: {', '.join(unknown)}")
    if env.get(HOME_VARIABLE):
        home = Path(env[HOME_VARIABLE]).expanduser().absolute()
        config_file, home_origin = home / CONFIG_FILE, "environment"
    else:
        from platformdirs import user_config_path, user_data_path

        home = user_data_path("speedpay", appauthor=False)
        config_file = user_config_path("speedpay", appauthor=False) / CONFIG_FILE
        home_origin = "default"
    return resolve(home, config_file, flags or {}, env, _read(config_file), home_origin)


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Names that look like a setting of ours and are none: probably a typing mistake."""
    known = {variable(name) for name in _SETTINGS} | {HOME_VARIABLE}
    return sorted(n for n in environment if n.startswith("SPEEDPAY_") and n not in known)


def _read(config_file: Path) -> dict[str, object]:
    try:
        with config_file.open("rb") as file:
            content = file.read(_MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidSetting(f"cannot be read: {error.strerror}", field=str(config_file)) from error
    if len(content) > _MAX_CONFIG_BYTES:
        raise InvalidSetting("is larger than 64 KiB", field=str(config_file))
    try:
        # As text, so that no share of money passes through a float.
        return tomllib.loads(content.decode(), parse_float=str)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidSetting(f"is not valid TOML: {error}", field=str(config_file)) from error


def _text(name: str, value: object, config_file: Path) -> str:
    if name not in _SETTINGS:
        near = get_close_matches(name, _SETTINGS, n=1)
        raise InvalidSetting(
            f"is not a setting (in {config_file})",
            field=name,
            hint=f"did you mean {near[0]}?" if near else "see: speedpay config show",
        )
    if type(value) not in (str, int):
        raise InvalidSetting(f"must be text or a number (in {config_file})", field=name)
    return str(value)


def _shown(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, tuple) and not isinstance(value, Endpoint):
        return ",".join(value) or None
    return value.hex() if isinstance(value, bytes) else str(value)
