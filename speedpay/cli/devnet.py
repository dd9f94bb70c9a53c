"""``speedpay chain devnet``: run the development chain until somebody ends it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import NoReturn

import click

from speedpay.cli.output import Output, examples, pass_output
from speedpay.config import Endpoint, load, parse_endpoint
from speedpay.errors import InvalidSetting


@click.command(
    epilog=examples(
        "speedpay chain devnet",
        "speedpay chain devnet --data DIR --block-time 0.5",
        "speedpay chain devnet --listen 127.0.0.1:9090 --listen 127.0.0.1:9091",
    )
)
@click.option(
    "--listen",
    multiple=True,
    default=("127.0.0.1:9090",),
    show_default=True,
    metavar="HOST:PORT",
    help="On this machine only. Given twice: two nodes of one network.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the blocks; else 'devnet' in speedpay's own.",
)
@click.option(
    "--block-time", type=float, default=3.0, show_default=True, help="Seconds from block to block."
)
@click.option("--genesis", metavar="HEX", help="Id of the first block of a new chain; else random.")
@pass_output
def devnet(
    out: Output, listen: tuple[str, ...], data: Path | None, block_time: float, genesis: str | None
) -> None:
    """Run a TRON of your own, on this machine only, until Ctrl-C or SIGTERM.

    Wallets and the ledger use it like a real network. TRX for an address:

    curl -d '{"address": "T...", "amount_sun": 1000000000}' http://127.0.0.1:9090/dev/faucet
    """
    from speedpay.devnet.node import Devnet

    chain = Devnet(
        block_time=block_time,
        listen=[_endpoint(one) for one in listen],
        data=data if data is not None else load().home / "devnet",
        genesis=_genesis(genesis),
    )
    before = signal.signal(signal.SIGTERM, _end)
    try:
        chain.start()
        urls = [node.url for node in chain.nodes]
        result = {"network": "devnet", "url": urls[0], "urls": urls}
        genesis_id = chain.genesis_id.hex()
        lines = [
            "network: devnet",
            *(f"listening on {url}" for url in urls),
            f"genesis {genesis_id}",
        ]
        out.result(result | {"genesis_id": genesis_id}, "\n".join(lines))
        chain.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
        chain.close()


def _end(*_: object) -> NoReturn:
    raise click.exceptions.Exit(0)


def _endpoint(text: str) -> Endpoint:
    return parse_endpoint(text, "--listen")


def _genesis(text: str | None) -> bytes | None:
    try:
        return None if text is None else bytes.fromhex(text)
    except ValueError as error:
        raise InvalidSetting("must be 64 hexadecimal digits", field="--genesis") from error
