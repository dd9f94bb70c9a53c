"""``speedpay ledger``: run a ledger, check its books."""

from __future__ import annotations

import json
from pathlib import Path

import click

from speedpay.errors import BooksBroken, InvalidSetting

_DATA = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the ledger's keys and database.",
)


def _directory(data: Path | None) -> Path:
    if data is not None:
        return data
    import platformdirs

    return Path(platformdirs.user_data_dir("speedpay")) / "ledger"


@click.group()
def ledger() -> None:
    """Run a ledger, check its books."""


@ledger.command()
@_DATA
@click.option("--listen", default="127.0.0.1:7461", show_default=True, metavar="HOST:PORT")
@click.option("--network", default="devnet", show_default=True)
@click.option(
    "--unlimited-loopback",
    is_flag=True,
    help="No rates for clients on this machine: neither on opening accounts nor on requests.",
)
@click.option("-j", "--json", "as_json", is_flag=True, help="Say where it listens as JSON.")
def serve(
    data: Path | None, listen: str, network: str, unlimited_loopback: bool, as_json: bool
) -> None:
    """Serve the ledger until Ctrl-C or SIGTERM."""
    from speedpay.ledger.http import LedgerServer
    from speedpay.ledger.service import Service, Settings

    host, port = _address(listen)
    settings = Settings(network=network, unlimited_loopback=unlimited_loopback)
    service = Service(_directory(data), settings)
    try:
        server = LedgerServer(service, host, port)
        ledger_id = service.domain.ledger_id.hex()

        def ready() -> None:
            if as_json:
                click.echo(json.dumps({"url": server.url, "ledger_id": ledger_id}))
            else:
                click.echo(f"listening on {server.url}")
                click.echo(f"ledger {ledger_id}")

        server.run_until_stopped(ready)
    finally:
        service.close()


@ledger.command()
@_DATA
@click.option("-j", "--json", "as_json", is_flag=True)
@click.pass_context
def fsck(context: click.Context, data: Path | None, as_json: bool) -> None:
    """Check the books: replay the journal, compare every balance and channel.

    May run beside a serving ledger. Exit code 1 when something does not hold.
    """
    from speedpay.ledger.fsck import examine

    found = examine(_directory(data) / "ledger.sqlite")
    if as_json:
        click.echo(json.dumps(found.to_json()))
        context.exit(1 if found.broken else 0)
    for line in found.lines():
        click.echo(line)
    if found.broken:
        raise BooksBroken(
            f"{len(found.broken)} of the ledger's promises do not hold", field="ledger.sqlite",
            hint="stop the ledger and compare with a backup",
        )  # fmt: skip


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise InvalidSetting("must look like 127.0.0.1:7461", field="--listen")
    return host.removeprefix("[").removesuffix("]"), int(port)
