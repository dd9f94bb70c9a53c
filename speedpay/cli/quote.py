"""``speedpay quote``: what a download would take and cost, asked of its swarm."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import click

from speedpay.cli import SHARE
from speedpay.cli.client import (
    client_options,
    endpoints,
    make_client,
    make_folder,
    read_torrent,
    run,
)
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
from speedpay.client.quoting import Lane, Quotation, Quoting
from speedpay.config import load
from speedpay.swarm.content import check_torrent_file
from speedpay.units import NO_PRICE, Share

_HEADER = ("lane", "pays up to", "takes", "costs", "sure")


@click.command(
    epilog=examples(
        "speedpay quote debian.torrent",
        "speedpay quote debian.torrent --consumption 0.1 --wait 15",
        "speedpay quote 'magnet:?xt=urn:btih:…' -o ~/images",
    )
)
@click.argument("source", metavar="TORRENT|MAGNET")
@click.option("--consumption", type=SHARE, help="The formula's share of your money (0.25).")
@click.option(
    "--wait", "wait_s", type=click.FloatRange(1, 120), default=6.0, show_default=True,
    metavar="SECONDS", help="How long to ask and to measure.",
)  # fmt: skip
@click.option(
    "--patience", "patience_s", type=click.FloatRange(1, 600), default=30.0, show_default=True,
    metavar="SECONDS", help="How long to look for a first peer.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR",
    help="Keep what comes while measuring, for a download there.",
)  # fmt: skip
@client_options
@pass_output
def quote(
    out: Output,
    source: str,
    consumption: Share | None,
    wait_s: float,
    patience_s: float,
    output: Path | None,
    listen: str | None,
    up_limit: str | None,
    peers: tuple[str, ...],
    ledger_url: str | None,
    passphrase_file: str | None,
) -> None:
    """Show how long TORRENT (a file) or MAGNET (a link) would take and what it would cost.

    Joins the swarm for some seconds, asks its sellers, downloads a little for free to measure, and
    leaves. Nothing is paid.
    """
    settings = load(
        {"listen": listen, "up_limit": up_limit, "ledger_url": ledger_url,
         "passphrase_file": passphrase_file}
    )  # fmt: skip
    share = settings.consumption if consumption is None else consumption
    known = endpoints(peers)
    data = None if source.startswith("magnet:") else read_torrent(Path(source))
    if data is not None:
        check_torrent_file(data)
    if output is not None:
        make_folder(output.expanduser().absolute(), "output")
    with tempfile.TemporaryDirectory(prefix="speedpay-quote-") as scratch:
        save_dir = Path(scratch) if output is None else output.expanduser().absolute()
        client, swarm = make_client(out, settings, NO_PRICE, need_wallet=True)
        if data is None:
            torrent = swarm.add_magnet(source, save_dir)
        else:
            torrent = swarm.add_torrent_file(data, save_dir)

        async def work(stop: asyncio.Event) -> Quotation:
            async with client.running():
                quoting = Quoting(client, torrent, keep=output is not None)
                for peer in known:
                    torrent.connect(peer.host, peer.port)
                found = await quoting.run(share, wait_s, patience_s, stop)
                if output is not None:
                    await client.save_resume(torrent, save_dir)
                return found

        found = run(work)
    out.result(_as_json(found), _as_text(found))


def _as_json(found: Quotation) -> dict[str, object]:
    return {
        "name": found.name,
        "bytes": found.wanted_bytes,
        "remaining_bytes": found.remaining_bytes,
        "peers": found.peers,
        "answered": found.answered,
        "measured_seconds": round(found.measured_s, 3),
        "measured_bytes_s": found.measured_rate,
        "bid": str(found.bid) if found.bid else None,
        "lanes": [_lane_json(lane) for lane in found.lanes],
    }


def _lane_json(lane: Lane) -> dict[str, object]:
    said = lane.prediction

    def seconds(value: float | None) -> float | None:
        return None if value is None else round(value, 3)

    return {
        "lane": lane.name,
        "price_utok_per_mib": said.price.utok_per_mib,
        "seconds": seconds(said.seconds),
        "low_seconds": seconds(said.low_s),
        "high_seconds": seconds(said.high_s),
        "cost_utok": said.cost.to_wire(),
        "low_cost_utok": said.low_cost.to_wire(),
        "high_cost_utok": said.high_cost.to_wire(),
        "sure": said.certainty.value,
        "why": said.why,
    }


def _as_text(found: Quotation) -> str:
    words = "peer" if found.peers == 1 else "peers"
    head = f"{clean(found.name)}: {size_text(found.remaining_bytes)}, {found.peers} {words}"
    if found.measured_s:
        rate = rate_text(found.measured_rate)
        head += f", {rate} free as measured for {found.measured_s:.0f} s"
    rows = [_HEADER, *(_row(lane) for lane in found.lanes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = [head]
    lines += [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    whys = dict.fromkeys(lane.prediction.why for lane in found.lanes)
    lines += [f"  {why}" for why in whys]
    if found.bid is None:
        lines.append("  there is nothing in the account to bid with")
    return "\n".join(lines)


def _row(lane: Lane) -> tuple[str, ...]:
    said = lane.prediction
    price = price_text(said.price) if said.price else "nothing"
    return (
        lane.name,
        price,
        _time(said.seconds, said.low_s, said.high_s),
        _cost(lane),
        said.certainty,
    )


def _time(seconds: float | None, low: float | None, high: float | None) -> str:
    if seconds is None:
        return "not known"
    most = "?" if high is None else _span(high)
    return f"{_span(seconds)} ({_span(low or 0.0)} to {most})"


def _span(seconds: float) -> str:
    for unit_s, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 3 * unit_s:
            return f"{seconds / unit_s:.0f} {name}"
    return f"{seconds:.0f} s"


def _cost(lane: Lane) -> str:
    said = lane.prediction
    if not said.high_cost:
        return "nothing"
    if said.seconds is None:
        return f"at most {tokens_text(said.high_cost)}"
    return f"{tokens_text(said.cost)} ({said.low_cost} to {said.high_cost})"
