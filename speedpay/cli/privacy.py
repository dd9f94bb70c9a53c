"""``speedpay privacy``: the tables of ``client/privacy.py``, with what they are about in this home."""

from __future__ import annotations

from contextlib import suppress

import click

from speedpay.chain import address
from speedpay.channel.voucher import Statement
from speedpay.cli.output import Output, clean, examples, pass_output
from speedpay.cli.text import wrapped
from speedpay.client.privacy import KNOWS, KNOWS_NOT, TITLES, Observer
from speedpay.client.store import Store
from speedpay.config import Settings, load
from speedpay.errors import NotFound, SpeedpayError
from speedpay.ledger_api.client import LedgerClient
from speedpay.wallet.keystore import Place
from speedpay.wallet.opening import applied, keystore_of
from speedpay.wallet.payout import named_address

_PATIENCE_S = 3.0
_MAX_SHOWN = 5
_Here = dict[str, object]


@click.command(epilog=examples("speedpay privacy", "speedpay privacy --json"))
@click.option(
    "--offline", is_flag=True, help="Do not ask the ledger whether the history is published."
)
@pass_output
def privacy(out: Output, offline: bool) -> None:
    """Show what peers, your network, the ledger and the chain know about you, and what they do not.

    With your own keys, addresses and open channels where they are on this machine. Needs no passphrase.
    """
    settings = load()
    keystore = keystore_of(settings)
    place = applied(keystore.place(), settings) if keystore.exists() else None
    here: dict[Observer, _Here] = {
        Observer.PEER: _channels(settings),
        Observer.NETWORK: {"ledger_url": clean((place or settings).ledger_url)},
        Observer.LEDGER: _account(place, offline) if place else {},
        Observer.CHAIN: _address(settings, place) if place else {},
    }
    made = [_json(observer, here.get(observer, {})) for observer in Observer]
    blocks = [_lines(observer, here.get(observer, {})) for observer in Observer]
    out.result({"observers": made}, "\n\n".join("\n".join(block) for block in blocks))


def _channels(settings: Settings) -> _Here:
    """The open channels of this home; peers know the half that is about them."""
    path = settings.home / "client.db"
    if not path.exists():
        return {"pays": [], "is_paid": []}
    store = Store(path)
    try:
        pays = [channel.statement for channel, _ in store.open_paying()]
        is_paid = [earned.channel.statement for earned in store.open_paid()]
    finally:
        store.close()
    return {"pays": [_channel(one) for one in pays], "is_paid": [_channel(one) for one in is_paid]}


def _channel(statement: Statement) -> dict[str, str]:
    return {
        "channel": statement.channel.hex(), "payer_key": statement.payer_key.hex(),
        "payee_key": statement.payee_key.hex(), "escrow": statement.escrow.to_wire(),
    }  # fmt: skip


def _account(place: Place, offline: bool) -> _Here:
    """``published`` is None when the ledger did not say."""
    published: bool | None = None
    if place.account is not None and not offline:
        with (
            suppress(SpeedpayError),
            LedgerClient(
                place.ledger_url, place.ledger_id, place.network, timeout_s=_PATIENCE_S, attempts=1
            ) as ledger,
        ):
            try:
                ledger.published_history(place.account, limit=1)
                published = True
            except NotFound:
                published = False
    tenure = place.tenure
    return {
        "account": place.account and place.account.hex(),
        "key_changes": tenure.changes,
        "given_to": tenure.given_to and tenure.given_to.hex(),
        "published": published,
    }


def _address(settings: Settings, place: Place) -> _Here:
    named = named_address(settings.home / "wallet", place)
    return {"payout": address.to_base58(named) if named else None}


def _json(observer: Observer, here: _Here) -> dict[str, object]:
    return {
        "observer": observer.value,
        "knows": [{"says": row.says, "fields": list(row.fields())} for row in KNOWS[observer]],
        "does_not_know": list(KNOWS_NOT[observer]),
        "here": here,
    }


def _lines(observer: Observer, here: _Here) -> list[str]:
    made = [f"{TITLES[observer]} knows"]
    for row in KNOWS[observer]:
        made += wrapped(row.says, "  - ")
    made.append("  and does not know")
    for sentence in KNOWS_NOT[observer]:
        made += wrapped(sentence, "  - ")
    said = [line for name, value in here.items() for line in _said(name, value)]
    return made + (["  here"] if said else []) + said


def _said(name: str, value: object) -> list[str]:
    label = name.replace("_", " ")
    if isinstance(value, list):
        shown = [
            f"      {one['channel'][:16]}… from {one['payer_key'][:16]}… to {one['payee_key'][:16]}…"
            for one in value[:_MAX_SHOWN]
        ]
        more = [f"      and {len(value) - _MAX_SHOWN} more"] if len(value) > _MAX_SHOWN else []
        return [f"    {label}: {len(value)} open channels", *shown, *more]
    if value is None:
        return [f"    {label}: not known here"] if name == "published" else []
    words = {True: "yes", False: "no"}.get(value) if isinstance(value, bool) else value
    return [f"    {label}: {words}"]
