"""``speedpay chain``: the chain that the ledger anchors to."""

from __future__ import annotations

import click

from speedpay.cli.devnet import devnet


@click.group()
def chain() -> None:
    """Run a development chain."""


chain.add_command(devnet)
