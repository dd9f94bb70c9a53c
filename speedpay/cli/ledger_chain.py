"""The chain's half of ``speedpay ledger serve``, and ``speedpay ledger audit``: options and objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from speedpay.config import Endpoint, load, parse_endpoint
from speedpay.errors import InvalidSetting, NotFound

if TYPE_CHECKING:
    from speedpay.chain.tron import Tron
    from speedpay.chain.vault import Vault
    from speedpay.ledger.service import Service

P = ParamSpec("P")
R = TypeVar("R")

ANCHOR_KEY = "operator.key"
#: A development chain may make many blocks a second.
_DEVNET_POLL_S = 0.2
_OPTIONS = (
    click.option(
        "--vault", metavar="ADDRESS",
        help="The vault, at the first start; else that of a deployment in --data.",
    ),
    click.option(
        "--chain-node", "chain_nodes", multiple=True, metavar="URL",
        help="A TRON node, may be repeated: two must agree. Else the setting chain_nodes.",
    ),
)  # fmt: skip
_SERVE_OPTIONS = (
    click.option(
        "--anchor-key", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
        help=f"Key of the vault's operator; {ANCHOR_KEY} in --data by default.",
    ),
    click.option(
        "--from-block", type=click.IntRange(0), metavar="N",
        help="A block from before the vault's deployment; needed once, for a vault with a history.",
    ),
    click.option(
        "--epoch-interval", type=click.IntRange(1, 86_400), default=600, show_default=True,
        metavar="SECONDS", help="Between two epochs.",
    ),
    click.option(
        "--withdraw-limit", default="1000", show_default=True, metavar="TOKENS",
        help="Released at each close for all accounts together; the rest waits in its order.",
    ),
    click.option(
        "--publish", metavar="HOST:PORT", help="Seed the epochs' files of leaves from there."
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ChainOptions:
    """``vault``: base58. ``nodes``: URLs, or none for the setting's."""

    vault: str | None = None
    nodes: tuple[str, ...] = ()
    anchor_key: Path | None = None
    from_block: int | None = None
    publish: str | None = None


def vault_options(command: Callable[P, R]) -> Callable[P, R]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def serve_options(command: Callable[P, R]) -> Callable[P, R]:
    for option in reversed(_SERVE_OPTIONS):
        command = option(command)
    return vault_options(command)


@dataclass(frozen=True, slots=True)
class Place:
    """Which vault on which chain. ``block``: of its deployment, if that is known."""

    vault: Vault
    block: int | None

    @property
    def tron(self) -> Tron:
        return self.vault.tron


def find_vault(options: ChainOptions, directory: Path, network: str) -> Place | None:
    """The vault of ``--vault``, or that to which the ledger is bound, or that of a deployment which
    ``speedpay chain deploy --data`` has left in ``directory``.

    Raises InvalidSetting when the ledger is bound to another one than was named.
    """
    from speedpay.chain import deploy
    from speedpay.chain.address import from_base58
    from speedpay.chain.networks import network_named
    from speedpay.chain.tron import Tron
    from speedpay.chain.vault import Vault
    from speedpay.ledger.audit import bound_vault

    bound = bound_vault(directory / "ledger.sqlite")
    named = from_base58(options.vault, "--vault") if options.vault is not None else None
    if bound is not None and named not in (None, bound):
        raise InvalidSetting("the ledger is bound to another vault", field="--vault")
    address, block = named or bound, None
    try:
        done = deploy.load(directory)
    except NotFound:
        done = None
    if done is not None and address in (None, done.vault):
        if done.network != network:
            raise InvalidSetting(f"the deployment is on {done.network}", field="--network")
        address, block = done.vault, done.block
    if address is None:
        return None
    nodes = ",".join(options.nodes) or None
    settings = load({"network": network, "chain_nodes": nodes})
    tron = Tron(network_named(network), settings.nodes(), settings.chain_api_key)
    return Place(Vault(tron, address), block)


@contextmanager
def chain_side(service: Service, options: ChainOptions, directory: Path) -> Iterator[Place | None]:
    """The worker and the publisher run until the end. None, and neither, without a vault."""
    from speedpay.chain.keyfile import load_key
    from speedpay.ledger.chain_side.worker import ChainSettings, ChainWorker

    place = find_vault(options, directory, service.settings.network)
    if place is None:
        if options.publish or options.anchor_key:
            raise InvalidSetting("is needed for that", field="--vault")
        yield None
        return
    key = load_key(options.anchor_key or directory / ANCHOR_KEY)
    from_block = place.block if options.from_block is None else options.from_block
    network = place.tron.network
    poll_s = network.block_seconds if network.genesis else _DEVNET_POLL_S
    settings = ChainSettings(poll_s=poll_s, from_block=from_block)
    with ExitStack() as stack:
        stack.callback(place.tron.close)
        published: Callable[[int], None] = lambda epoch: None  # noqa: E731
        if options.publish:
            publisher = stack.enter_context(_publishing(options.publish, directory))
            service.publisher = publisher.told
            published = publisher.look
        worker = ChainWorker(service, place.vault, key, settings, published)
        stack.enter_context(worker.running())
        yield place


@dataclass(frozen=True, slots=True)
class _Publishing:
    """``told``: HOST:PORT where others reach it; None when it listens on every address."""

    told: str | None
    look: Callable[[int], None]


@contextmanager
def _publishing(listen: str, directory: Path) -> Iterator[_Publishing]:
    from speedpay.client.publisher import Publisher

    endpoint = parse_endpoint(listen, "--publish")
    folder = directory / "epochs"
    folder.mkdir(mode=0o700, exist_ok=True)
    publisher = Publisher(folder, endpoint)
    with publisher.running():
        told = None
        if not ip_address(endpoint.host).is_unspecified:
            told = str(Endpoint(endpoint.host, publisher.port))
        yield _Publishing(told, lambda epoch: publisher.look())
