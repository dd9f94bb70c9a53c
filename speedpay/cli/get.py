"""``speedpay get``: download, free or paid."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from speedpay.cli import AMOUNT, PRICE, SHARE
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
from speedpay.client.download import Download, Moment, Payment, Receipt
from speedpay.client.loop import Client
from speedpay.config import Endpoint, load
from speedpay.errors import InvalidSetting, Malformed, Refused
from speedpay.market.bidder import Formula
from speedpay.swarm.content import check_torrent_file
from speedpay.swarm.torrent import Torrent
from speedpay.units import NO_PRICE, Amount, Price, Share


@click.command(
    epilog=examples(
        "speedpay get debian.torrent",
        "speedpay get debian.torrent --pay auto --max-spend 1.5",
        "speedpay get 'magnet:?xt=urn:btih:…' --pay 0.8 -o ~/images",
    )
)
@click.argument("source", metavar="TORRENT|MAGNET")
@click.option(
    "--pay", default="off", metavar="auto|PRICE|off", show_default=True,
    help="Bid by the formula, a fixed price in tokens per GiB, or nothing.",
)  # fmt: skip
@click.option("--consumption", type=SHARE, help="The formula's share of your money (0.25).")
@click.option(
    "--formula", type=click.Choice([f.value for f in Formula]), default=Formula.ANCHORED.value,
    show_default=True, help="Hold the bid against the plan, or follow the live balance.",
)  # fmt: skip
@click.option(
    "--shade/--no-shade", default=True, show_default=True,
    help="Of the formula's bid commit only what the speed needs.",
)  # fmt: skip
@click.option("--max-spend", type=AMOUNT, help="Never spend more on this download, in tokens.")
@click.option("--max-price", type=PRICE, help="Never bid more, in tokens per GiB.")
@click.option("--ask", type=PRICE, help="Sell to others at this price or above (0).")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path(), metavar="DIR")
@click.option("--seed/--no-seed", default=False, help="Go on seeding until Ctrl-C.")
@client_options
@pass_output
def get(
    out: Output,
    source: str,
    pay: str,
    consumption: Share | None,
    formula: str,
    shade: bool,
    max_spend: Amount | None,
    max_price: Price | None,
    ask: Price | None,
    output: Path,
    seed: bool,
    listen: str | None,
    up_limit: str | None,
    peers: tuple[str, ...],
    ledger_url: str | None,
    passphrase_file: str | None,
) -> None:
    """Download TORRENT (a file) or MAGNET (a link). Interrupted, it goes on when run again.

    Ctrl-C pays what is owed, keeps what is here and exits with 7; once more leaves at once with 130.
    """
    settings = load(
        {"listen": listen, "up_limit": up_limit, "ledger_url": ledger_url,
         "passphrase_file": passphrase_file}
    )  # fmt: skip
    fixed = _fixed_price(pay)
    share = settings.consumption if consumption is None else consumption
    payment = None
    if pay != "off":
        payment = Payment(share, Formula(formula), fixed, max_price, max_spend, shade)
    known = endpoints(peers)
    data = None if source.startswith("magnet:") else read_torrent(Path(source))
    infohash = check_torrent_file(data).infohash if data is not None else b""
    client = make_client(out, settings, ask or NO_PRICE, need_wallet=payment is not None)
    save_dir = output.expanduser().absolute()
    make_folder(save_dir, "output")
    if data is None:
        torrent = client.swarm.add_magnet(source, save_dir)
    else:
        torrent = _add(client, data, infohash, save_dir)

    async def work(stop: asyncio.Event) -> None:
        with out.progress(torrent.name) as bar:

            def show(moment: Moment) -> None:
                status = moment.status
                news = _news(moment)
                bar.update(
                    status.verified_bytes, status.download_rate, news, status.wanted_bytes,
                    paid_utok=moment.paid.to_wire(), paid_peers=moment.paid_peers,
                )  # fmt: skip

            async with client.running():
                download = Download(client, torrent, save_dir, payment, show)
                out.event("started", {"name": torrent.name, "port": client.swarm.listen_port})
                _connect(torrent, known)
                receipt = await download.run(stop)
                if not seed:
                    out.result(_as_json(receipt, client), _as_text(receipt))
                    return
                out.event("finished", _as_json(receipt, client))
                out.note(_as_text(receipt) + "\nseeding until Ctrl-C")
                await stop.wait()
        out.result(_as_json(receipt, client), _as_text(receipt))

    run(work)


def _fixed_price(pay: str) -> Price | None:
    if pay in ("auto", "off"):
        return None
    try:
        price = Price.from_tokens_per_gib(pay, "pay")
    except Refused as error:
        raise InvalidSetting("must be auto, off, or tokens per GiB", field="pay") from error
    if not price:
        raise InvalidSetting("is too small to be a price", field="pay", hint="--pay off")
    return price


def _add(client: Client, data: bytes, infohash: bytes, save_dir: Path) -> Torrent:
    resume = client.store.resume_of(infohash, save_dir)
    try:
        return client.swarm.add_torrent_file(data, save_dir, resume=resume)
    except Malformed as error:
        if error.field != "resume":
            raise
        return client.swarm.add_torrent_file(data, save_dir)  # what is on the disk is checked


def _connect(torrent: Torrent, peers: list[Endpoint]) -> None:
    for peer in peers:
        torrent.connect(peer.host, peer.port)


def _news(moment: Moment) -> str:
    peers = f"{moment.status.peers} peers"
    if moment.price is None and not moment.paid:
        return peers
    price = f" at {price_text(moment.price)}" if moment.price else ""
    return f"{peers}, {moment.paid_peers} paid{price}, {tokens_text(moment.paid)} spent"


def _as_json(receipt: Receipt, client: Client) -> dict[str, object]:
    return {
        "name": receipt.name,
        "bytes": receipt.byte_count,
        "seconds": round(receipt.seconds, 3),
        "paid_utok": receipt.paid.to_wire(),
        "protocol_bytes": client.market.protocol_bytes if client.market else 0,
        "bid": receipt.explanation,
        "payees": [
            {"peer": payee.peer, "utok": payee.paid.to_wire(), "bytes": payee.byte_count}
            for payee in receipt.payees
        ],
    }


def _as_text(receipt: Receipt) -> str:
    rate = receipt.byte_count / max(receipt.seconds, 0.001)
    lines = [
        f"{clean(receipt.name)}: {size_text(receipt.byte_count)} in {receipt.seconds:.1f} s"
        f" ({rate_text(rate)}), {tokens_text(receipt.paid)} paid"
    ]
    lines += [
        f"  {clean(payee.peer)}: {tokens_text(payee.paid)} for {size_text(payee.byte_count)}"
        for payee in receipt.payees
    ]
    return "\n".join(lines)
