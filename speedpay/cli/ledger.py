"""``speedpay ledger``: run a ledger, check its books."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import click

from speedpay.cli.ledger_chain import (
    ChainOptions,
    chain_side,
    find_vault,
    serve_options,
    vault_options,
)
from speedpay.cli.ledger_keys import DATA, directory_of, keys
from speedpay.cli.output import Output, examples, pass_output
from speedpay.errors import BooksBroken, InvalidSetting, NotFound, ProofBroken
from speedpay.units import Amount


@click.group()
def ledger() -> None:
    """Run a ledger, check its books."""


ledger.add_command(keys)


@ledger.command(epilog=examples("speedpay ledger serve", "speedpay ledger serve --data DIR -j"))
@DATA
@click.option("--listen", default="127.0.0.1:7461", show_default=True, metavar="HOST:PORT")
@click.option("--network", default="devnet", show_default=True)
@click.option(
    "--unlimited-loopback",
    is_flag=True,
    help="No rates for clients on this machine: neither on opening accounts nor on requests.",
)
@serve_options
@pass_output
def serve(
    out: Output,
    data: Path | None,
    listen: str,
    network: str,
    unlimited_loopback: bool,
    vault: str | None,
    chain_nodes: tuple[str, ...],
    anchor_key: Path | None,
    from_block: int | None,
    epoch_interval: int,
    withdraw_limit: str,
    publish: str | None,
) -> None:
    """Serve the ledger until Ctrl-C or SIGTERM. Says where it listens when it does.

    With a vault it also credits deposits, closes epochs and anchors them. Without one it only moves
    credit. The vault is bound at the first start, for ever.
    """
    from speedpay.chain.address import to_base58
    from speedpay.ledger.http import LedgerServer
    from speedpay.ledger.service import Service, Settings

    host, port = _address(listen)
    directory = directory_of(data)
    options = ChainOptions(vault, chain_nodes, anchor_key, from_block, publish)
    settings = Settings(
        network=network,
        unlimited_loopback=unlimited_loopback,
        epoch_interval_s=epoch_interval,
        withdrawals_per_epoch=_limit(withdraw_limit),
    )
    service = Service(directory, settings)
    try:
        with chain_side(service, options, directory) as place:
            server = LedgerServer(service, host, port)
            told = {"url": server.url, "ledger_id": service.domain.ledger_id.hex()}
            lines = [f"listening on {server.url}", f"ledger {told['ledger_id']}"]
            if place is not None:
                told |= {"network": network, "vault": to_base58(place.vault.address)}
                lines.append(f"vault {told['vault']}\nnetwork: {network}")
            if service.publisher:
                told["publisher"] = service.publisher
                lines.append(f"publishing epochs on {service.publisher}")
            server.run_until_stopped(lambda: out.result(told, "\n".join(lines)))
    finally:
        service.close()


@ledger.command(epilog=examples("speedpay ledger fsck --data DIR"))
@DATA
@pass_output
def fsck(out: Output, data: Path | None) -> None:
    """Check the books: replay the journal, compare every balance and channel.

    May run beside a serving ledger. Exit code 1 when something does not hold.
    """
    from speedpay.ledger.fsck import examine

    found = examine(directory_of(data) / "ledger.sqlite")
    out.result(found.to_json(), "\n".join(found.lines()))
    if found.broken:
        raise BooksBroken(
            f"{len(found.broken)} of the ledger's promises do not hold", field="ledger.sqlite",
            hint="stop the ledger and compare with a backup",
        )  # fmt: skip


@ledger.command(
    epilog=examples(
        "speedpay ledger audit --data DIR",
        "speedpay ledger audit --data COPY --network nile --chain-node https://nile.trongrid.io",
    )
)
@DATA
@click.option("--network", default="devnet", show_default=True)
@vault_options
@pass_output
def audit(
    out: Output,
    data: Path | None,
    network: str,
    vault: str | None,
    chain_nodes: tuple[str, ...],
) -> None:
    """Check the whole books against the chain: anchors, deposits, payments, reserves.

    For the operator, or for whoever was given a copy of the folder; beside a serving ledger, too.
    Exit code 10 when something does not match, 6 when the chain does not answer. (``fsck`` checks the
    books against themselves and asks nobody.)
    """
    from speedpay.ledger.audit import examine

    directory = directory_of(data)
    database = directory / "ledger.sqlite"
    if not database.exists():
        raise NotFound("there is no ledger here", field=str(database), hint="name it with --data")
    place = find_vault(ChainOptions(vault, chain_nodes), directory, network)
    if place is None:
        raise InvalidSetting("is needed: the ledger's folder names none", field="--vault")
    with closing(place.tron):
        found = examine(database, place.vault)
    out.result(found.to_json(), "\n".join(found.lines()))
    if found.broken:
        raise ProofBroken(
            f"{len(found.broken)} things do not match the chain", field="ledger.sqlite",
            hint="what stands on chain cannot be changed: believe it, not the books",
        )  # fmt: skip


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        raise InvalidSetting("must look like 127.0.0.1:7461", field="--listen")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _limit(tokens: str) -> Amount:
    limit = Amount.from_tokens(tokens, "--withdraw-limit")
    if not limit:
        raise InvalidSetting("must be above 0", field="--withdraw-limit")
    return limit
