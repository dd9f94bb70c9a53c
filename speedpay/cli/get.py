"""``speedpay get``: download, free or paid."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from fractions import Fraction
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
    Progress,
    clean,
    examples,
    pass_output,
    price_text,
    rate_text,
    size_text,
    tokens_text,
)
from speedpay.client.download import Download, Moment, Payment, Receipt, Together
from speedpay.client.loop import Client
from speedpay.config import Endpoint, load
from speedpay.errors import InvalidSetting, Malformed, Refused, SpeedpayError
from speedpay.market.bidder import Formula, parts_of_one
from speedpay.market.preview import error_ppm
from speedpay.swarm.content import check_torrent_file
from speedpay.swarm.torrent import Torrent
from speedpay.swarm.torrents import Swarm
from speedpay.units import GIB, NO_PRICE, ZERO, Amount, Price, Share


@click.command(
    epilog=examples(
        "speedpay get debian.torrent",
        "speedpay get debian.torrent --pay auto --max-spend 1.5",
        "speedpay get 'magnet:?xt=urn:btih:…' --pay 0.8 -o ~/images",
        "speedpay get a.torrent b.torrent --pay auto --weight 3,1",
    )
)
@click.argument("sources", metavar="TORRENT|MAGNET…", nargs=-1, required=True)
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
@click.option(
    "--weight", metavar="N,N,…", help="How several torrents share the consumption (evenly)."
)
@click.option("--max-spend", type=AMOUNT, help="Never spend more on all of these, in tokens.")
@click.option("--max-price", type=PRICE, help="Never bid more, in tokens per GiB.")
@click.option("--ask", type=PRICE, help="Sell to others at this price or above (0).")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path(), metavar="DIR")
@click.option("--seed/--no-seed", default=False, help="Go on seeding until Ctrl-C.")
@client_options
@pass_output
def get(
    out: Output,
    sources: tuple[str, ...],
    pay: str,
    consumption: Share | None,
    formula: str,
    shade: bool,
    weight: str | None,
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
    """Download TORRENT (a file) or MAGNET (a link), or several at once, which then share one consumption.

    Interrupted, it goes on when run again. Ctrl-C pays what is owed, keeps what is here and exits with 7;
    once more leaves at once with 130. Of several downloads the highest exit code counts.
    """
    settings = load(
        {"listen": listen, "up_limit": up_limit, "ledger_url": ledger_url,
         "passphrase_file": passphrase_file}
    )  # fmt: skip
    fixed = _fixed_price(pay)
    share = settings.consumption if consumption is None else consumption
    parts = _parts(weight, len(sources))
    if weight is not None and pay == "off":
        raise InvalidSetting(
            "divides what is paid, and nothing is", field="weight", hint="--pay auto"
        )
    payments: list[Payment | None] = [None] * len(sources)
    if pay != "off":
        payments = [
            Payment(
                share, Formula(formula), fixed, max_price,
                max_spend and max_spend.part_floor(part.numerator, part.denominator), shade,
                part,
            )
            for part in parts
        ]  # fmt: skip
    known = endpoints(peers)
    files = [None if s.startswith("magnet:") else read_torrent(Path(s)) for s in sources]
    infohashes = [check_torrent_file(data).infohash if data else b"" for data in files]
    client, swarm = make_client(out, settings, ask or NO_PRICE, need_wallet=pay != "off")
    save_dir = output.expanduser().absolute()
    make_folder(save_dir, "output")
    torrents: list[Torrent] = []
    for source, data, infohash in zip(sources, files, infohashes, strict=True):
        if data is None:
            torrents.append(swarm.add_magnet(source, save_dir))
        else:
            torrents.append(_add(client, swarm, data, infohash, save_dir))
        _differ(torrents[:-1], torrents[-1])

    async def work(stop: asyncio.Event) -> None:
        with ExitStack() as bars:
            shows = [
                _show(bars.enter_context(out.progress(torrent.name)), torrent)
                for torrent in torrents
            ]
            async with client.running():
                together = Together()
                downloads = [
                    Download(client, torrent, save_dir, payment, show, together)
                    for torrent, payment, show in zip(torrents, payments, shows, strict=True)
                ]
                for torrent in torrents:
                    out.event("started", _named(torrent) | {"port": swarm.listen_port})
                    _connect(torrent, known)
                ended = await asyncio.gather(*(_run(download, stop) for download in downloads))
                if seed and all(isinstance(one, Receipt) for one in ended):
                    paid = _total(downloads)
                    out.event("finished", _as_json(torrents, ended, paid, client))
                    out.note(_as_text(torrents, ended, paid) + "\nseeding until Ctrl-C")
                    await stop.wait()
        failures = [one for one in ended if not isinstance(one, Receipt)]
        if len(ended) > 1 or not failures:
            paid = _total(downloads)
            out.result(_as_json(torrents, ended, paid, client), _as_text(torrents, ended, paid))
        if failures:
            raise max(failures, key=lambda failure: failure.exit_code)
        client.check_ledger()

    run(work)


async def _run(download: Download, stop: asyncio.Event) -> Receipt | SpeedpayError:
    """One download may fail, and the others go on."""
    try:
        return await download.run(stop)
    except SpeedpayError as failure:
        return failure


def _total(downloads: Sequence[Download]) -> Amount:
    return sum((download.paid() for download in downloads), ZERO)


def _differ(torrents: Sequence[Torrent], newest: Torrent) -> None:
    """Two that write the same file would never be complete."""
    if newest.name in {torrent.name for torrent in torrents}:
        raise InvalidSetting(
            f"two of them have the same name, {newest.name}", field="torrent",
            hint="run one of them by itself, with another -o DIR",
        )  # fmt: skip


def _parts(weight: str | None, count: int) -> list[Fraction]:
    """Each torrent's part of the consumption; exact, together 1."""
    if weight is None:
        return parts_of_one([1] * count)
    if not re.fullmatch(r"[1-9][0-9]{0,5}(,[1-9][0-9]{0,5})*", weight):
        raise InvalidSetting("must be whole numbers from 1 to 999999, such as 3,1", field="weight")
    numbers = [int(word) for word in weight.split(",")]
    if len(numbers) != count:
        raise InvalidSetting(
            f"has {len(numbers)} numbers for {count} torrents", field="weight",
            hint="name one for each torrent, in the same order",
        )  # fmt: skip
    return parts_of_one(numbers)


def _show(bar: Progress, torrent: Torrent) -> Callable[[Moment], None]:
    def show(moment: Moment) -> None:
        status = moment.status
        bar.update(
            status.verified_bytes, status.download_rate, _news(moment), status.wanted_bytes,
            infohash=torrent.infohash.hex(), paid_utok=moment.paid.to_wire(),
            paid_peers=moment.paid_peers, capped=moment.capped,
            predicted_seconds=moment.forecast.milliseconds / 1000 if moment.forecast else None,
        )  # fmt: skip

    return show


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


def _add(client: Client, swarm: Swarm, data: bytes, infohash: bytes, save_dir: Path) -> Torrent:
    resume = client.store.resume_of(infohash, save_dir)
    try:
        return swarm.add_torrent_file(data, save_dir, resume=resume)
    except Malformed as error:
        if error.field != "resume":
            raise
        return swarm.add_torrent_file(data, save_dir)  # what is on the disk is checked


def _connect(torrent: Torrent, peers: list[Endpoint]) -> None:
    for peer in peers:
        torrent.connect(peer.host, peer.port)


def _news(moment: Moment) -> str:
    peers = f"{moment.status.peers} peers"
    if moment.price is None and not moment.paid:
        return peers
    price = f" at {price_text(moment.price)}" if moment.price else ""
    paying = "budget used up" if moment.capped else f"{moment.paid_peers} paid{price}"
    said = moment.forecast
    ahead = (
        f", expected {said.milliseconds / 1000:.0f} s and {tokens_text(said.paid)}" if said else ""
    )
    gain = f", {moment.gain.times:.1f}x faster than free" if moment.gain else ""
    return f"{peers}, {paying}, {tokens_text(moment.paid)} spent{gain}{ahead}"


def _named(torrent: Torrent) -> dict[str, object]:
    return {"name": torrent.name, "infohash": torrent.infohash.hex()}


def _as_json(
    torrents: Sequence[Torrent],
    ended: Sequence[Receipt | SpeedpayError],
    paid: Amount,
    client: Client,
) -> dict[str, object]:
    """One receipt as it is; of several torrents a list in their order, with the errors of those that
    failed, and ``paid`` for all."""
    protocol: dict[str, object] = {
        "protocol_bytes": client.market.protocol_bytes if client.market else 0
    }
    found: list[dict[str, object]] = []
    for torrent, one in zip(torrents, ended, strict=True):
        if isinstance(one, Receipt):
            found.append(_named(torrent) | receipt_json(one))
        else:
            error = {"code": one.code, "message": one.message, "hint": one.hint}
            found.append(_named(torrent) | {"error": error})
    if len(found) == 1:
        return found[0] | protocol
    return {"torrents": found, "paid_utok": paid.to_wire()} | protocol


def _as_text(
    torrents: Sequence[Torrent], ended: Sequence[Receipt | SpeedpayError], paid: Amount
) -> str:
    lines = [
        receipt_text(one) if isinstance(one, Receipt) else f"{clean(torrent.name)}: {clean(one.message)}"
        for torrent, one in zip(torrents, ended, strict=True)
    ]  # fmt: skip
    if len(ended) > 1:
        lines.append(f"together: {tokens_text(paid)} paid")
    return "\n".join(lines)


def receipt_json(receipt: Receipt) -> dict[str, object]:
    return {
        "name": receipt.name,
        "bytes": receipt.byte_count,
        "seconds": round(receipt.seconds, 3),
        "paid_utok": receipt.paid.to_wire(),
        "bid": receipt.explanation,
        **_preview_json(receipt),
        "price_utok_per_gib": _per_gib(receipt).to_wire(),
        "gain": round(receipt.gain.times, 3) if receipt.gain else None,
        "gain_certainty": round(receipt.gain.certainty, 3) if receipt.gain else None,
        "payees": [
            {"peer": payee.peer, "utok": payee.paid.to_wire(), "bytes": payee.byte_count}
            for payee in receipt.payees
        ],
    }


def _preview_json(receipt: Receipt) -> dict[str, object]:
    """What the download said of itself in its first seconds; nothing where it could not say."""
    if receipt.predicted_ms is None or receipt.predicted_paid is None:
        return {}
    return {
        "predicted_seconds": receipt.predicted_ms / 1000,
        "predicted_utok": receipt.predicted_paid.to_wire(),
        "preview_error_ppm": error_ppm(receipt.predicted_ms, int(receipt.seconds * 1000)),
    }


def _preview_text(receipt: Receipt) -> list[str]:
    if receipt.predicted_ms is None or receipt.predicted_paid is None:
        return []
    off = error_ppm(receipt.predicted_ms, int(receipt.seconds * 1000))
    return [
        f"  predicted {receipt.predicted_ms / 1000:.0f} s and {tokens_text(receipt.predicted_paid)},"
        f" took {receipt.seconds:.1f} s and {tokens_text(receipt.paid)} ({off / 10_000:.0f} % off)"
    ]


def _per_gib(receipt: Receipt) -> Amount:
    """What a GiB of the whole download cost."""
    return receipt.paid.part_floor(GIB, max(1, receipt.byte_count))


def receipt_text(receipt: Receipt) -> str:
    rate = receipt.byte_count / max(receipt.seconds, 0.001)
    lines = [
        f"{clean(receipt.name)}: {size_text(receipt.byte_count)} in {receipt.seconds:.1f} s"
        f" ({rate_text(rate)}), {tokens_text(receipt.paid)} paid"
    ]
    lines += _preview_text(receipt)
    if receipt.gain is not None:
        gain = receipt.gain
        lines[0] += (
            f"\n{gain.times:.1f}x faster than free ({gain.low:.1f}x to {gain.high:.1f}x),"
            f" {tokens_text(_per_gib(receipt))} a GiB"
        )
    lines += [
        f"  {clean(payee.peer)}: {tokens_text(payee.paid)} for {size_text(payee.byte_count)}"
        for payee in receipt.payees
    ]
    return "\n".join(lines)
