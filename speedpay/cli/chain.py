"""``speedpay chain``: contracts on a network, the test of the whole cycle, a chain for development."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from speedpay.cli import AMOUNT
from speedpay.cli.devnet import devnet
from speedpay.cli.output import Output, examples, pass_output
from speedpay.cli.vault_keys import accept_operator, freeze, propose_operator
from speedpay.config import Settings, load
from speedpay.errors import WrongNetwork
from speedpay.units import Amount

if TYPE_CHECKING:
    from speedpay.chain.answers import Receipt
    from speedpay.chain.keys import ChainKey
    from speedpay.chain.selftest import Step
    from speedpay.chain.tron import Tron

_NETWORK = click.option("--network", help="devnet, nile or shasta.")
_NODES = click.option("--nodes", metavar="URL,URL", help="TRON nodes; two that must agree.")

_DATA = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of keys and deployment; else 'chain' in speedpay's own.",
)


@click.group()
def chain() -> None:
    """Contracts on TRON's test networks, and a network for development."""


for _command in (devnet, freeze, propose_operator, accept_operator):
    chain.add_command(_command)


def tron_of(settings: Settings) -> Tron:
    """The chain that the settings name. Raises WrongNetwork for mainnet."""
    from speedpay.chain.networks import network_named
    from speedpay.chain.tron import Tron

    network = network_named(settings.network)
    return Tron(network, settings.nodes(), settings.chain_api_key)


@chain.command(epilog=examples("speedpay chain deploy --network nile --data DIR"))
@_NETWORK
@_NODES
@_DATA
@click.option("--min-interval", type=int, help="Seconds between two anchors, at least.")
@click.option("--delay", type=int, help="Seconds until an anchor counts for claims.")
@click.option("--silence", type=int, help="Seconds without an anchor until anybody may freeze.")
@click.option("--deposit-grace", type=int, help="Seconds in which a deposit must be covered.")
@pass_output
def deploy(
    out: Output, network: str | None, nodes: str | None, data: Path | None, min_interval: int | None,
    delay: int | None, silence: int | None, deposit_grace: int | None,
) -> None:  # fmt: skip
    """Deploy token and vault. What was interrupted goes on when it is run again.

    The first run makes three keys: operator (pays, and anchors), guardian (freezes), minter (makes
    tokens). Only their addresses are shown. Their files are all there is: back them up, and keep the
    guardian's on another machine.
    """
    from speedpay.chain import deploy as steps
    from speedpay.chain.address import to_base58

    settings = load({"network": network, "chain_nodes": nodes})
    folder = data if data is not None else settings.home / "chain"
    given = {
        "min_interval": min_interval, "delay": delay, "silence": silence,
        "deposit_grace": deposit_grace,
    }  # fmt: skip
    parameters = steps.Parameters(**{k: v for k, v in given.items() if v is not None})
    with tron_of(settings) as tron:
        tron.check_network()
        keys, made = steps.keys_of(folder)
        for name in made:
            out.note(f"made {folder / name}.key: {keys[name].base58}")
        if tron.network.genesis is None:
            for key in keys.values():
                _fill(tron, key.address)

        def report(name: str, txid: bytes, receipt: Receipt) -> None:
            out.event("deployed", {"name": name, "txid": txid.hex(), "block": receipt.block,
                                   "energy": receipt.energy, "fee_sun": receipt.fee_sun})  # fmt: skip
            out.note(
                f"{name}: block {receipt.block}, {receipt.energy} energy, "
                f"{Amount(receipt.fee_sun)} TRX, txid {txid.hex()}"
            )

        done = steps.deploy(tron, folder, keys, parameters, report)
    obj = {
        "network": done.network, "token": to_base58(done.token), "vault": to_base58(done.vault),
        "operator": to_base58(done.operator), "guardian": to_base58(done.guardian),
        "minter": to_base58(done.minter), "block": done.block,
        "file": str(folder / steps.DEPLOYMENT_FILE),
    }  # fmt: skip
    text = f"token  {obj['token']}\nvault  {obj['vault']}\nnetwork: {done.network}"
    out.result(obj, text)


@chain.command(epilog=examples("speedpay chain mint TQ... 100 --data DIR"))
@click.argument("address")
@click.argument("amount", type=AMOUNT)
@_NETWORK
@_NODES
@_DATA
@pass_output
def mint(
    out: Output, address: str, amount: Amount, network: str | None, nodes: str | None,
    data: Path | None,
) -> None:  # fmt: skip
    """Make AMOUNT test tokens for ADDRESS, with the minter's key of a deployment.

    The tokens are those of a test network, worth nothing. On a devnet ADDRESS is given TRX for its
    transactions as well.
    """
    from speedpay.chain import deploy as steps
    from speedpay.chain.address import from_base58, to_base58
    from speedpay.chain.token import Token

    settings = load({"network": network, "chain_nodes": nodes})
    folder = data if data is not None else settings.home / "chain"
    done, to = steps.load(folder), from_base58(address, "address")
    minter = steps.key_of(folder, steps.MINTER)
    with tron_of(settings) as tron:
        tron.check_network()
        if tron.genesis != done.genesis:
            raise WrongNetwork(f"the deployment is on {done.network}, not there", field="network")
        if tron.network.genesis is None:
            _fill(tron, minter.address)
            _fill(tron, to)
        token = Token(tron, done.token)
        signed = token.prepare_mint(minter.address, to, amount.utok).sign(minter)
        tron.broadcast(signed)
        receipt = tron.wait(signed)
    obj = {
        "network": done.network, "to": to_base58(to), "amount": amount.to_wire(),
        "txid": signed.txid.hex(), "block": receipt.block,
    }  # fmt: skip
    out.result(obj, f"minted {amount} tok for {to_base58(to)}\nnetwork: {done.network}")


@chain.command(
    epilog=examples(
        "speedpay chain selftest --network devnet",
        "speedpay chain selftest --network nile --key-file nile.key --json",
    )
)
@_NETWORK
@_NODES
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The account that pays; made when it does not exist. Not needed on a devnet.",
)
@pass_output
def selftest(out: Output, network: str | None, nodes: str | None, key_file: Path | None) -> None:
    """Deploy, mint, deposit, anchor, verify and claim on a network, with new contracts.

    Shows the txid, the energy and the TRX of every step. Needs about 300 TRX of a test network's
    faucet; a devnet gives them by itself.
    """
    from speedpay.chain.keyfile import load_or_make_key
    from speedpay.chain.selftest import run
    from speedpay.errors import InvalidSetting

    settings = load({"network": network, "chain_nodes": nodes})
    steps: list[Step] = []
    with tron_of(settings) as tron:
        if key_file is not None:
            key, made = load_or_make_key(key_file)
            if made:
                out.note(f"made {key_file}: {key.base58}")
        elif tron.network.genesis is None:
            key = _throw_away()
        else:
            raise InvalidSetting("is needed on a public network", field="--key-file")

        def report(step: Step) -> None:
            steps.append(step)
            out.event("step", _shown(step))
            out.note(_line(step))

        run(tron, key, report)
    energy, fee_sun = sum(s.energy for s in steps), sum(s.fee_sun for s in steps)
    obj = {
        "network": settings.network, "ok": True, "account": key.base58, "energy": energy,
        "fee_sun": fee_sun, "txids": {s.name: s.txid.hex() for s in steps if s.txid},
    }  # fmt: skip
    out.result(obj, f"all steps passed, {energy} energy, {Amount(fee_sun)} TRX\n"
                    f"network: {settings.network}")  # fmt: skip


def _shown(step: Step) -> dict[str, object]:
    return {
        "name": step.name, "said": step.said, "txid": step.txid.hex() if step.txid else None,
        "block": step.block, "energy": step.energy, "fee_sun": step.fee_sun,
    }  # fmt: skip


def _line(step: Step) -> str:
    if step.txid is None:
        return f"{step.name:<12} {step.said}"
    cost = f"{step.energy:>9} energy {Amount(step.fee_sun)!s:>10} TRX"
    return f"{step.name:<12} {cost}  {step.txid.hex()}  {step.said}"


def _throw_away() -> ChainKey:
    import secrets

    from speedpay.chain.keys import ChainKey

    return ChainKey(secrets.token_bytes(32))


def _fill(tron: Tron, account: bytes) -> None:
    """TRX for a key on a development chain, unless it has some."""
    from speedpay.chain.selftest import DEV_FAUCET_SUN, NEEDED_SUN

    if tron.trx_balance(account) < NEEDED_SUN:
        tron.dev_faucet(account, DEV_FAUCET_SUN)
