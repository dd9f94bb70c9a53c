"""``speedpay seed``: serve files or torrents, and be paid for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    rate_text,
    size_text,
    tokens_text,
)
from speedpay.client.lanes import Uplink
from speedpay.client.seeding import Moment, Offered, Seeding
from speedpay.config import load
from speedpay.errors import AlreadyExists, InvalidSetting
from speedpay.units import NO_PRICE, ZERO, Price, Share


@dataclass(frozen=True, slots=True)
class _Source:
    """A .torrent's bytes, where its files are, and its link if it was made here."""

    data: bytes
    save_dir: Path
    link: str | None


@click.command(
    epilog=examples(
        "speedpay seed debian.iso --up-limit 4MiB/s",
        "speedpay seed debian.torrent -o ~/images --ask 0.5 --up-limit 4MiB/s",
        "speedpay seed one.torrent two.torrent --up-limit 4MiB/s",
    )
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH…", type=click.Path(path_type=Path))
@click.option("--ask", type=PRICE, help="The least you take, in tokens per GiB (0: any bid).")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR",
    help="Where the files of .torrents are; each .torrent's own folder by default.",
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
    """Seed PATHs until Ctrl-C: files and folders, of which one torrent is made, or .torrents.

    Several .torrents, or a folder that holds nothing else, share one uplink. Without --up-limit it is
    measured while payers compete, and the upload kept just under it: bids divide no more than that.
    """
    settings = load(
        {"listen": listen, "up_limit": up_limit, "ledger_url": ledger_url,
         "passphrase_file": passphrase_file}
    )  # fmt: skip
    known = endpoints(peers)
    sources = _sources(out, tuple(path.expanduser() for path in paths), output)
    client, swarm = make_client(out, settings, ask or NO_PRICE, need_wallet=False)
    if client.account is None:
        out.note("no wallet here, so this seeds for free; to be paid: speedpay wallet new")
    else:
        out.note(f"at most {settings.risk_cap} tok wait for redemption at any time (risk_cap)")
    offered = []
    for source in sources:
        try:
            torrent = swarm.add_torrent_file(source.data, source.save_dir)
        except AlreadyExists as error:
            raise InvalidSetting("names one torrent twice", field="paths") from error
        offered.append(Offered(torrent, source.save_dir))
    torrents = [one.torrent for one in offered]
    name = torrents[0].name if len(torrents) == 1 else f"{len(torrents)} torrents"

    async def work(stop: asyncio.Event) -> None:
        seeding = Seeding(client, offered, lambda said: out.warn(clean(said)))
        with out.progress(f"seeding {name}") as bar:

            def show(now: Moment) -> None:
                bar.update(
                    now.sent_bytes, now.bytes_per_s, _news(now), earned_utok=now.earned.to_wire(),
                    peers=now.peers, ask_utok_per_mib=str((ask or NO_PRICE).utok_per_mib),
                    **_lanes_json(now.uplink),
                )  # fmt: skip

            async with client.running():
                if not await seeding.checked(stop):
                    return
                port = swarm.listen_port
                asked = price_text(ask) if ask else "any bid"
                for torrent, source in zip(torrents, sources, strict=True):
                    for peer in known:
                        torrent.connect(peer.host, peer.port)
                    infohash = torrent.infohash.hex()
                    out.event(
                        "seeding", {"infohash": infohash, "port": port, "magnet": source.link}
                    )
                    link = f"\n{source.link}" if source.link else ""
                    out.note(f"seeding {clean(torrent.name)} on port {port} for {asked}{link}")
                await seeding.run(stop, show)
        sent, earned = sum(seeding.sent.values()), seeding.earned()
        each = [
            {
                "name": torrent.name, "infohash": torrent.infohash.hex(),
                "sent_bytes": seeding.sent.get(torrent.infohash, 0),
                "earned_utok": earned.get(torrent.infohash, ZERO).to_wire(),
            }
            for torrent in torrents
        ]  # fmt: skip
        total, uplink = client.earned(), client.uplink()
        out.result(
            {
                "name": name,
                "sent_bytes": sent,
                "earned_utok": total.to_wire(),
                "protocol_bytes": client.market.protocol_bytes if client.market else 0,
                "paid_bytes": uplink.paid.byte_count,
                "free_bytes": uplink.free.byte_count,
                "torrents": each,
            },
            f"{clean(name)}: {size_text(sent)} sent, {tokens_text(total)} earned\n"
            f"  for payers {size_text(uplink.paid.byte_count)},"
            f" in the free lane {size_text(uplink.free.byte_count)}",
        )
        client.check_ledger()

    run(work)


def _sources(out: Output, paths: tuple[Path, ...], output: Path | None) -> list[_Source]:
    """What is to be seeded. Raises InvalidSetting for a mixture of .torrents and other files."""
    found = [_torrents_of(path) for path in paths]
    if all(found):
        return [
            _Source(read_torrent(path), (output or path.parent).expanduser().absolute(), None)
            for several in found
            for path in several
        ]
    if any(found):
        raise InvalidSetting(
            "are .torrents and other files; of the others one torrent would be made", field="paths",
            hint="seed the .torrents with one command and the other files with another",
        )  # fmt: skip
    if output is not None:
        raise InvalidSetting("goes with .torrent files", field="output")
    made = make(out, paths)
    return [_Source(made.data, made.save_dir, magnet(made))]


def _torrents_of(path: Path) -> list[Path]:
    """The .torrents that ``path`` stands for: itself, or all that is in a folder of nothing else."""
    if not path.is_dir():
        return [path] if path.suffix == ".torrent" else []
    inside = sorted(path.iterdir())
    return inside if all(p.suffix == ".torrent" and p.is_file() for p in inside) else []


def _news(now: Moment) -> str:
    up = now.uplink
    parts = [f"{now.peers} peers"]
    if up.paid.peers:
        prices = str(up.highest)
        if up.lowest != up.highest:
            prices = f"{up.lowest} to {prices}"
        parts.append(f"{up.paid.peers} pay {prices} tok/GiB: {rate_text(up.paid.bytes_per_s)}")
    if up.free_share is not None:
        parts.append(
            f"{up.free.peers} free: {rate_text(up.free.bytes_per_s)},"
            f" {_percent(up.free_share)} of it all (kept for them: {_percent(up.pool)})"
        )
    return ", ".join([*parts, f"{tokens_text(now.earned)} earned"])


def _percent(share: Share) -> str:
    return f"{round(share.ppm / 10_000)} %"


def _lanes_json(up: Uplink) -> dict[str, Any]:
    return {
        "paid_peers": up.paid.peers,
        "free_peers": up.free.peers,
        "paid_bytes_per_s": up.paid.bytes_per_s,
        "free_bytes_per_s": up.free.bytes_per_s,
        "free_share": None if up.free_share is None else str(up.free_share),
        "free_pool": str(up.pool),
        "lowest_utok_per_mib": str(up.lowest.utok_per_mib),
        "highest_utok_per_mib": str(up.highest.utok_per_mib),
    }
