"""``speedpay bid``: what a download would bid now, and why."""

from __future__ import annotations

from pathlib import Path

import click

from speedpay.cli import AMOUNT, PRICE, SHARE
from speedpay.cli.client import read_torrent
from speedpay.cli.output import Output, examples, pass_output, price_text, size_text, tokens_text
from speedpay.cli.unlock import funds_of, ledger_of, unlock, wallet_options
from speedpay.config import load
from speedpay.market.bidder import Formula, Plan, explain
from speedpay.units import ZERO, Amount, Price, Share


@click.command(
    epilog=examples(
        "speedpay bid debian.torrent --explain", "speedpay bid debian.torrent --consumption 0.1"
    )
)
@click.argument("torrent", type=click.Path(path_type=Path))
@click.option("--explain", "explained", is_flag=True, help="Show every input and each clamp.")
@click.option("--consumption", type=SHARE, help="The formula's share of your money (0.25).")
@click.option(
    "--formula", type=click.Choice([f.value for f in Formula]), default=Formula.ANCHORED.value,
    show_default=True,
)  # fmt: skip
@click.option("--max-spend", type=AMOUNT, help="As for get.")
@click.option("--max-price", type=PRICE, help="As for get.")
@wallet_options
@pass_output
def bid(
    out: Output,
    torrent: Path,
    explained: bool,
    consumption: Share | None,
    formula: str,
    max_spend: Amount | None,
    max_price: Price | None,
    ledger_url: str | None,
    passphrase_file: str | None,
) -> None:
    """Show what TORRENT would be bid for. A download that has begun is shown as it was planned."""
    from speedpay.client.store import Store
    from speedpay.swarm.content import check_torrent_file

    settings = load({"ledger_url": ledger_url, "passphrase_file": passphrase_file})
    description = check_torrent_file(read_torrent(torrent))
    wallet = unlock(out, settings)
    with ledger_of(wallet.place) as ledger:
        confirmed = funds_of(settings, wallet, ledger).balance()
    balance = max(
        confirmed.credit + confirmed.credit_in_escrow, confirmed.token + confirmed.token_in_escrow
    )
    share = settings.consumption if consumption is None else consumption
    wanted = description.total_bytes
    plan = Plan(share, balance, wanted, wanted, Formula(formula), None, max_price, max_spend)
    spent = ZERO
    store = Store(settings.home / "client.db")
    try:
        stored = store.plan_of(description.infohash)
        if stored is not None:
            plan, spent = stored.plan, store.settled(stored)
            for channel, _ in store.open_paying(stored):
                spent += channel.signed
    finally:
        store.close()
    plan = plan.start()
    found = explain(plan, spent, balance, wanted)
    lines = [str(found)]
    if explained:
        lines += [
            f"consumption       {plan.consumption}",
            f"balance           {tokens_text(plan.balance)} when planned, {tokens_text(balance)} now",
            f"allowance         {tokens_text(plan.allowance)}, {tokens_text(spent)} of it spent",
            f"remaining         {size_text(found.remaining_bytes)}"
            f" (divided by {size_text(found.divisor_bytes)})",
            f"raw               {price_text(found.raw)}",
            f"published formula {price_text(found.published)}",
            f"held by           {found.clamp}",
            f"bid               {price_text(found.price)}"
            + (f" ({found.stop})" if found.stop else ""),
        ]
    out.result(
        {
            "bid_utok_per_mib": str(found.price.utok_per_mib),
            "raw_utok_per_mib": str(found.raw.utok_per_mib),
            "published_utok_per_mib": str(found.published.utok_per_mib),
            "formula": plan.formula.value,
            "consumption": str(plan.consumption),
            "balance_utok": balance.to_wire(),
            "allowance_utok": plan.allowance.to_wire(),
            "spent_utok": spent.to_wire(),
            "left_utok": found.left.to_wire(),
            "remaining_bytes": found.remaining_bytes,
            "divisor_bytes": found.divisor_bytes,
            "clamp": found.clamp.value,
            "stop": found.stop.value if found.stop else None,
        },
        "\n".join(lines),
    )
