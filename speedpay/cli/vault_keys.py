"""``speedpay chain freeze``, ``propose-operator`` and ``accept-operator``: what the vault's keys are for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

import click

from speedpay.cli.output import Output, examples, pass_output
from speedpay.config import load
from speedpay.units import Amount

if TYPE_CHECKING:
    from speedpay.chain.transaction import Unsigned
    from speedpay.chain.vault import Vault

P = ParamSpec("P")
Prepare = Callable[["Vault", bytes], "Unsigned"]


def _options(command: Callable[P, None]) -> Callable[P, None]:
    for option in (
        click.option("--nodes", metavar="URL,URL", help="TRON nodes."),
        click.option("--network", help="devnet, nile or shasta."),
        click.option(
            "--key-file",
            type=click.Path(dir_okay=False, path_type=Path),
            required=True,
            help="The key that signs, and whose account pays.",
        ),
        click.argument("vault"),
    ):
        command = option(command)
    return command


@click.command(epilog=examples("speedpay chain freeze TV... --key-file guardian.key"))
@_options
@pass_output
def freeze(out: Output, vault: str, key_file: Path, network: str | None, nodes: str | None) -> None:
    """Freeze a vault for good: the guardian at once, anybody after long silence.

    The last epoch that was final then counts, and nothing after it. Users claim their whole balance
    from it, and later deposits go back to who made them. It can never be undone.
    """
    out.confirm(f"Freeze {vault} for ever?")
    _send(out, vault, key_file, network, nodes, lambda v, owner: v.prepare_freeze(owner), "frozen")


@click.command(
    epilog=examples("speedpay chain propose-operator TV... TNEW... --key-file operator.key")
)
@_options
@click.argument("address")
@pass_output
def propose_operator(
    out: Output, vault: str, address: str, key_file: Path, network: str | None, nodes: str | None
) -> None:
    """Propose ADDRESS as the vault's next operator; the operator's key signs.

    It takes over when the delay has passed and it accepts: speedpay chain accept-operator.
    """
    from speedpay.chain.address import from_base58

    proposed = from_base58(address)
    _send(
        out, vault, key_file, network, nodes,
        lambda v, owner: v.prepare_propose_operator(owner, proposed), f"proposed {address}",
    )  # fmt: skip


@click.command(epilog=examples("speedpay chain accept-operator TV... --key-file new.key"))
@_options
@pass_output
def accept_operator(
    out: Output, vault: str, key_file: Path, network: str | None, nodes: str | None
) -> None:
    """Become the vault's operator, after the delay; the proposed key signs."""
    _send(
        out, vault, key_file, network, nodes,
        lambda v, owner: v.prepare_accept_operator(owner), "the operator is this key",
    )  # fmt: skip


def _send(
    out: Output, vault: str, key_file: Path, network: str | None, nodes: str | None,
    prepare: Prepare, said: str,
) -> None:  # fmt: skip
    from speedpay.chain.address import from_base58
    from speedpay.chain.keyfile import load_key
    from speedpay.chain.networks import network_named
    from speedpay.chain.tron import Tron
    from speedpay.chain.vault import Vault

    settings = load({"network": network, "chain_nodes": nodes})
    address, key = from_base58(vault, "vault"), load_key(key_file)
    chosen = network_named(settings.network)
    with Tron(chosen, settings.nodes(), settings.chain_api_key) as tron:
        tron.check_network()
        signed = prepare(Vault(tron, address), key.address).sign(key)
        tron.broadcast(signed)
        receipt = tron.wait(signed)
    obj = {
        "network": settings.network, "vault": vault, "txid": signed.txid.hex(),
        "block": receipt.block, "fee_sun": receipt.fee_sun,
    }  # fmt: skip
    text = f"{said}\ntxid {signed.txid.hex()}, block {receipt.block}, {Amount(receipt.fee_sun)} TRX"
    out.result(obj, f"{text}\nnetwork: {settings.network}")
