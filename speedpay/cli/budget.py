"""``speedpay budget``: what may be spent in a day, in a month, and on one torrent."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from speedpay.cli import AMOUNT
from speedpay.cli.client import read_torrent
from speedpay.cli.output import Output, examples, pass_output, tokens_text
from speedpay.client.spending import Spending, starts_anew
from speedpay.client.store import Store
from speedpay.config import load
from speedpay.errors import InvalidSetting, NotFound
from speedpay.market.budget import Span
from speedpay.swarm.content import check_torrent_file
from speedpay.units import Amount


class _Limit(click.ParamType[object]):
    """Tokens, or ``none``."""

    name = "tok|none"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        return value if value == "none" else AMOUNT.convert(value, param, ctx)


LIMIT = _Limit()


@click.command(
    epilog=examples(
        "speedpay budget", "speedpay budget --day 2 --month 20", "speedpay budget --month none",
        "speedpay budget debian.torrent --max-spend 1.5",
    )
)  # fmt: skip
@click.argument("torrent", required=False, metavar="[TORRENT|INFOHASH]")
@click.option("--day", type=LIMIT, help="Spend no more in a UTC day, on all downloads together.")
@click.option(
    "--month", type=LIMIT, help="Spend no more in a UTC month, on all downloads together."
)
@click.option("--max-spend", type=LIMIT, help="TORRENT's own limit, of a download that has begun.")
@pass_output
def budget(
    out: Output,
    torrent: str | None,
    day: Amount | str | None,
    month: Amount | str | None,
    max_spend: Amount | str | None,
) -> None:
    """Show or set what may be spent; what is set holds from the next voucher on, of running downloads too.

    Where a budget is used up, downloads go on for free.
    """
    if (torrent is None) != (max_spend is None):
        raise InvalidSetting(
            "goes with a torrent, and a torrent with it", field="max_spend",
            hint="speedpay budget TORRENT --max-spend TOK",
        )  # fmt: skip
    store = Store(load({}).home / "client.db")
    try:
        if torrent is not None:
            _limit_torrent(store, torrent, max_spend)
        spending = Spending(store)
        for span, cap in ((Span.DAY, day), (Span.MONTH, month)):
            if cap is not None:
                spending.set_cap(span, cap if isinstance(cap, Amount) else None)
        _show(out, store, spending)
    finally:
        store.close()


def _limit_torrent(store: Store, torrent: str, most: Amount | str | None) -> None:
    if re.fullmatch("[0-9a-f]{40}", torrent):
        infohash = bytes.fromhex(torrent)
    else:
        infohash = check_torrent_file(read_torrent(Path(torrent))).infohash
    stored = store.plan_of(infohash)
    if stored is None:
        raise NotFound(
            "no paid download of this torrent is under way", field="torrent",
            hint="speedpay get TORRENT --pay auto --max-spend TOK",
        )  # fmt: skip
    limit = most if isinstance(most, Amount) else None
    store.save_plan(infohash, replace(stored.plan, max_spend=limit), stored.money_class)


def _show(out: Output, store: Store, spending: Spending) -> None:
    found, utc = spending.standing(), int(time.time())
    lines, spans = [], {}
    for span in Span:
        cap, left = found.caps.get(span), found.left_of(span)
        anew = datetime.fromtimestamp(starts_anew(span, utc), UTC)
        spans[span.value] = {
            "cap_utok": None if cap is None else cap.to_wire(),
            "spent_utok": found.spent[span].to_wire(),
            "left_utok": None if left is None else left.to_wire(),
            "starts_anew": anew.isoformat(),
        }
        held = "no limit"
        if cap is not None and left is not None:
            held = f"{tokens_text(left)} left of {tokens_text(cap)}"
        lines.append(
            f"this {span.value:<6} {tokens_text(found.spent[span])} spent, {held};"
            f" starts anew {anew:%Y-%m-%d %H:%M} UTC"
        )
    torrents = []
    for stored in store.open_plans():
        limit, spent = stored.plan.max_spend, store.spent(stored)
        torrents.append(
            {
                "infohash": stored.infohash.hex(),
                "max_spend_utok": None if limit is None else limit.to_wire(),
                "allowance_utok": stored.plan.allowance.to_wire(),
                "spent_utok": spent.to_wire(),
            }
        )
        lines.append(
            f"torrent {stored.infohash.hex()}: {tokens_text(spent)} spent of"
            f" {tokens_text(stored.plan.allowance)}"
            + (" (your limit)" if limit is not None else "")
        )
    out.result(spans | {"torrents": torrents}, "\n".join(lines))
