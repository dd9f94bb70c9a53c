"""``speedpay seed``: serve files or a torrent, and be paid for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from speedpay.cli import PRICE
from speedpay.cli.client import client_options, endpoints, make_client, read_torrent, run
from speedpay.cli.create import magnet, make
from speedpay.cli.output import (
    Output,
    clean,
    examples,
    pass_output,
    price_text,
    size_text,
    tokens_text,
)
from speedpay.config import load
from speedpay.errors import InvalidSetting, NotFound, Unfinished
from speedpay.swarm.torrent import TorrentState
from speedpay.units import NO_PRICE, Price

_LOOK_S = 0.5


@click.command(
    epilog=examples(
        "speedpay seed debian.iso --up-limit 4MiB/s",
        "speedpay seed debian.torrent -o ~/images --ask 0.5 --up-limit 4MiB/s",
    )
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH…", type=click.Path(path_type=Path))
@click.option("--ask", type=PRICE, help="The least you take, in tokens per GiB (0: any bid).")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR",
    help="Where a .torrent's files are; the .torrent's own folder by default.",
)  # fmt: skip
@client_options
@pass_output
def seed(
    out: Output,
    paths: tuple[Path, ...],
    ask: Price | None,
    output: Path | None,
    listen: str | None,
    up_limit: str | None,
    peers: tuple[str, ...],
    ledger_url: str | None,
    passphrase_file: str | None,
) -> None:
    """Seed PATHs until Ctrl-C: files and folders (a torrent is made of them), or one .torrent.

    Without --up-limit the upload cannot be divided by price: everybody is served alike.
    """
    settings = load(
        {"listen": listen, "up_limit": up_limit, "ledger_url": ledger_url,
         "passphrase_file": passphrase_file}
    )  # fmt: skip
    known = endpoints(peers)
    if len(paths) == 1 and paths[0].suffix == ".torrent":
        data = read_torrent(paths[0])
        save_dir = (output or paths[0].parent).expanduser().absolute()
        link = None
    else:
        if output is not None:
            raise InvalidSetting("goes with one .torrent file", field="output")
        made = make(out, tuple(path.expanduser() for path in paths))
        data, save_dir, link = made.data, made.save_dir, magnet(made)
    client = make_client(out, settings, ask or NO_PRICE, need_wallet=False)
    if client.account is None:
        out.note("no wallet here, so this seeds for free; to be paid: speedpay wallet new")
    if settings.up_limit is None:
        out.warn("without --up-limit nobody can be served faster: bids divide an upload limit")
    torrent = client.swarm.add_torrent_file(data, save_dir)

    async def work(stop: asyncio.Event) -> None:
        sent = 0
        with out.progress(f"seeding {torrent.name}") as bar:
            async with client.running():
                watch = client.add(torrent)
                while (status := torrent.status()).state is TorrentState.CHECKING:
                    if stop.is_set():
                        return
                    await asyncio.sleep(0.05)
                if not status.seeding:
                    raise NotFound(
                        f"{save_dir} does not hold all of {clean(torrent.name)}",
                        hint="download it first: speedpay get",
                    )
                for peer in known:
                    torrent.connect(peer.host, peer.port)
                port = client.swarm.listen_port
                out.event(
                    "seeding", {"infohash": torrent.infohash.hex(), "port": port, "magnet": link}
                )
                asked = price_text(ask) if ask else "any bid"
                out.note(f"seeding {clean(torrent.name)} on port {port} for {asked}\n{link or ''}")
                while not stop.is_set():
                    if watch.failure is not None:
                        raise Unfinished(
                            f"{clean(torrent.name)} cannot be served: {watch.failure.message}",
                            hint="look at its files, then seed it again",
                        )
                    status = torrent.status()
                    sent = status.uploaded_bytes
                    earned = client.earned()
                    bar.update(
                        sent, status.upload_rate,
                        f"{status.peers} peers, {tokens_text(earned)} earned",
                        earned_utok=earned.to_wire(),
                    )  # fmt: skip
                    try:
                        await asyncio.wait_for(stop.wait(), _LOOK_S)
                    except TimeoutError:
                        continue
            earned = client.earned()
        protocol_bytes = client.market.protocol_bytes if client.market else 0
        out.result(
            {
                "name": torrent.name,
                "sent_bytes": sent,
                "earned_utok": earned.to_wire(),
                "protocol_bytes": protocol_bytes,
            },
            f"{clean(torrent.name)}: {size_text(sent)} sent, {tokens_text(earned)} earned",
        )

    run(work)
