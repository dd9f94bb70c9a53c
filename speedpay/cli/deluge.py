"""``speedpay deluge``: our plugin in a deluged, and its settings."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from speedpay.cli.output import Output, clean, examples, pass_output, tokens_text
from speedpay.errors import InvalidSetting, NotFound
from speedpay.integrations.deluge import egg
from speedpay.integrations.deluge.options import checked
from speedpay.integrations.deluge.rpc import Daemon
from speedpay.units import Amount

P = ParamSpec("P")
R = TypeVar("R")
_DEBIANS = "/var/lib/deluged/config"
_START_S = 20.0


def _config(command: Callable[P, R]) -> Callable[P, R]:
    return click.option(
        "--config", type=click.Path(path_type=Path), metavar="DIR",
        help=f"deluged's own folder (~/.config/deluge; of Debian's service {_DEBIANS}).",
    )(command)  # fmt: skip


def _folder(config: Path | None) -> Path:
    if config is None:
        from platformdirs import user_config_path

        config = user_config_path("deluge", appauthor=False)
    return config.expanduser().absolute()


@click.group()
def deluge() -> None:
    """Pay and be paid inside Deluge: a plugin for deluged. See docs/deluge.md."""


@deluge.command(
    epilog=examples("speedpay deluge install", f"speedpay deluge install --config {_DEBIANS}")
)
@_config
@pass_output
def install(out: Output, config: Path | None) -> None:
    """Put the plugin into deluged's folder. It does nothing until it is enabled."""
    path = egg.install(_folder(config))
    out.result(
        {"plugin": str(path)},
        f"{path}\nNow: speedpay deluge enable (where an older one was enabled, restart deluged instead)",
    )


@deluge.command(epilog=examples("speedpay deluge uninstall"))
@_config
@pass_output
def uninstall(out: Output, config: Path | None) -> None:
    """Disable the plugin and remove its file. Its settings and the wallet stay."""
    folder = _folder(config)
    try:
        with Daemon(folder) as daemon:
            daemon.call("core.disable_plugin", egg.PLUGIN)
    except NotFound:
        out.note("deluged does not run")
    removed = [str(path) for path in egg.uninstall(folder)]
    out.result({"removed": removed}, "\n".join(removed) or "it was not installed")


@deluge.command(epilog=examples("speedpay deluge enable"))
@_config
@pass_output
def enable(out: Output, config: Path | None) -> None:
    """Enable the plugin in the deluged that runs, and from now on whenever it starts."""
    with Daemon(_folder(config)) as daemon:
        daemon.call("core.rescan_plugins")
        if not daemon.call("core.enable_plugin", egg.PLUGIN):
            raise NotFound(
                "deluged does not load the plugin",
                hint="speedpay deluge install; then its log says why",
            )
        said = daemon.call("speedpay.get_status")
        until = time.monotonic() + _START_S
        while said["state"] == "starting" and time.monotonic() < until:
            time.sleep(0.2)
            said = daemon.call("speedpay.get_status")
    out.result(said, _status(said))


@deluge.command(epilog=examples("speedpay deluge disable"))
@_config
@pass_output
def disable(out: Output, config: Path | None) -> None:
    """Settle, redeem, and leave deluged as it was."""
    with Daemon(_folder(config)) as daemon:
        daemon.call("core.disable_plugin", egg.PLUGIN)
    out.result({"enabled": False}, "disabled: every peer is an ordinary one again")


@deluge.command(epilog=examples("speedpay deluge status", "speedpay deluge status --json"))
@_config
@pass_output
def status(out: Output, config: Path | None) -> None:
    """Show what the plugin does, what it paid and earned since it began, and what it changed."""
    with Daemon(_folder(config)) as daemon:
        said = daemon.call("speedpay.get_status")
    out.result(said, _status(said))


@deluge.command(
    "set",
    epilog=examples(
        "speedpay deluge set",
        "speedpay deluge set passphrase_file=/etc/speedpay/passphrase pay=auto max_spend=0.5",
        "speedpay deluge set --torrent d551…cb60 pay=0.8",
    ),
)
@click.argument("settings", nargs=-1, metavar="[NAME=TEXT…]")
@click.option("--torrent", metavar="ID", help="Only for this torrent, by Deluge's number of it.")
@_config
@pass_output
def set_(out: Output, settings: tuple[str, ...], torrent: str | None, config: Path | None) -> None:
    """Change settings, and show them. Nothing is changed when one of them is wrong.

    pay: off, auto or tokens per GiB; consumption, max_spend, max_price: as in speedpay get, for each torrent
    that has none of its own. ask: the least that is taken for upload, likewise.
    home, passphrase_file, ledger_url: whose wallet.
    """
    given: dict[str, str] = {}
    for one in settings:
        name, equals, text = one.partition("=")
        if not equals:
            raise InvalidSetting("must be NAME=TEXT", field=clean(one, 64))
        given[name] = text
    given = checked(given, each=torrent is not None)
    about = [] if torrent is None else [torrent]
    kind = "config" if torrent is None else "torrent"
    with Daemon(_folder(config)) as daemon:
        if given:
            daemon.call(f"speedpay.set_{kind}", *about, given)
        shown = daemon.call(f"speedpay.get_{kind}", *about)
    out.result(shown, "\n".join(f"{name:<16} {clean(shown[name]) or '-'}" for name in shown))


def _status(said: dict[str, Any]) -> str:
    lines = [said["state"] + (f": {clean(said['why'])}" if said["why"] else "")]
    if "account" in said:
        paid, earned = (Amount.from_wire(said[name]) for name in ("paid_utok", "earned_utok"))
        reached = "" if said["ledger_reached"] else ", the ledger has not answered yet"
        lines[0] += f", {tokens_text(paid)} paid, {tokens_text(earned)} earned{reached}"
        lines.append(f"upload: {said['paid_peers']} pay, {said['free_peers']} in the free lane")
        for infohash, one in said["torrents"].items():
            more = f": {clean(one['said'])}" if one["said"] else ""
            spent = tokens_text(Amount.from_wire(one["paid_utok"]))
            lines.append(
                f"  {infohash}  {one['state']}, {spent} to {one['paid_peers']} peers{more}"
            )
    changed = ", ".join(f"{name} = {value}" for name, value in said["changed"].items())
    lines.append(f"libtorrent's settings that are changed: {changed or 'none'}")
    return "\n".join(lines)
