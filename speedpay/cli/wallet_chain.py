"""``speedpay wallet chain`` and ``wallet chain-send``: the wallet's own address on the chain."""

from __future__ import annotations

from contextlib import suppress

import click

from speedpay.chain import address
from speedpay.chain.answers import Receipt
from speedpay.chain.tron import Tron
from speedpay.cli.chain_wallet import REFUSED, on_chain, outbox_of, tron_for
from speedpay.cli.holdings import coin_of, holdings, holdings_json, holdings_lines
from speedpay.cli.output import Output, examples, pass_output, time_text
from speedpay.cli.unlock import ledger_of, unlock, wallet_options
from speedpay.config import Settings, load
from speedpay.errors import InvalidSetting, Malformed, NotFound, SpeedpayError
from speedpay.units import Amount
from speedpay.wallet.chain_money import Coin, Currency, Transfer, send
from speedpay.wallet.keystore import Unlocked
from speedpay.wallet.opening import keystore_of
from speedpay.wallet.outbox import Job


@click.command(epilog=examples("speedpay wallet chain", "speedpay wallet chain --json"))
@wallet_options
@pass_output
def chain(out: Output, ledger_url: str | None, passphrase_file: str | None) -> None:
    """Show the wallet's address on the chain: its TRX, tokens, and one more token.

    The other token is a TRC-20 that you name: other_token = "T..." in the settings.
    """
    settings = load({"ledger_url": ledger_url, "passphrase_file": passphrase_file})
    opened = unlock(out, settings, with_account=False)
    with tron_for(settings, opened) as tron:
        owner, token = opened.keys.chain, _token(settings, opened)
        held = holdings(settings, tron, token, owner.address)
        network = tron.network.name
    lines = holdings_lines(owner.base58, network, held)
    out.result(holdings_json(owner.base58, network, held), "\n".join(lines))


def _tron_address(_ctx: click.Context, _parameter: click.Parameter, text: str) -> bytes:
    try:
        return address.from_base58(text)
    except Malformed as error:
        raise click.BadParameter(error.message) from error


@click.command(
    "chain-send",
    epilog=examples(
        "speedpay wallet chain-send TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH 12.5",
        "speedpay wallet chain-send TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH 3 --currency trx",
    ),
)
@click.argument("to", metavar="ADDRESS", callback=_tron_address)
@click.argument("amount")
@click.option(
    "--currency", type=click.Choice([c.value for c in Currency]), default=Currency.TOKEN.value,
    show_default=True, help="token is the ledger's; other is that of the settings.",
)  # fmt: skip
@wallet_options
@pass_output
def chain_send(
    out: Output,
    to: bytes,
    amount: str,
    currency: str,
    ledger_url: str | None,
    passphrase_file: str | None,
) -> None:
    """Send AMOUNT from the wallet's own address on the chain to ADDRESS. It cannot be taken back.

    This moves what is on the chain, not the balance at the ledger. Interrupted, the same command goes
    on: it finishes that payment and never pays twice.
    """
    settings = load({"ledger_url": ledger_url, "passphrase_file": passphrase_file})
    opened = unlock(out, settings, with_account=False)
    owner = opened.keys.chain.address
    if to == owner:
        raise InvalidSetting("is the wallet's own address", field="ADDRESS")
    with tron_for(settings, opened) as tron:
        coin = _coin(settings, opened, tron, Currency(currency))
        _refuse_contract(to, settings, coin)
        transfer = Transfer(to, coin, coin.base_units(amount))
        fee_sun = transfer.prepare(tron, owner).estimated_sun
        network = tron.network.name
        out.confirm(
            f"Send {coin.text(transfer.base_units)} to {address.to_base58(to)} on {network},"
            f" for a fee of about {Amount(fee_sun)} TRX?"
        )

        def happened(_step: str, news: str, _job: Job, receipt: Receipt | None) -> None:
            if receipt is not None:
                out.event(news, {"txid": receipt.txid.hex(), "block": receipt.block})
                out.note(f"{news} in block {receipt.block}: {receipt.txid.hex()}")
            elif news == "refused":
                out.note(REFUSED)

        sent = send(tron, outbox_of(settings, opened, tron, "send", happened), owner, transfer)
    if sent.earlier is not None:
        begun = time_text(sent.earlier.begun)
        out.note(f"Finished first: the payment begun at {begun}.")
    receipt = sent.receipt
    text = (
        f"sent {coin.text(transfer.base_units)} to {address.to_base58(to)} on {network}\n"
        f"transaction {receipt.txid.hex()}, block {receipt.block}, fee {Amount(receipt.fee_sun)} TRX"
    )
    if sent.job.resumed:
        text += "\nThis is the payment begun before; to pay once more, repeat the command."
    obj = {
        "to": address.to_base58(to), "currency": coin.currency.value, "name": coin.name,
        "base_units": str(transfer.base_units), "network": network, "txid": receipt.txid.hex(),
        "block": receipt.block, "fee_sun": receipt.fee_sun, "resumed": sent.job.resumed,
    }  # fmt: skip
    out.result(obj, text)


def _refuse_contract(to: bytes, settings: Settings, coin: Coin) -> None:
    """What is sent to these by an ordinary transfer stays there for ever."""
    bound = keystore_of(settings).place().chain  # it may have been heard of just now
    named = (settings.vault, settings.other_token)
    known = {address.from_base58(text) for text in named if text} | {coin.contract}
    if bound is not None:
        known |= {bound.vault, bound.token}
    if to in known:
        raise InvalidSetting(
            "is a vault or a token, a contract that gives back nothing of what is sent to it",
            field="ADDRESS", hint="to bring tokens to the ledger: speedpay fund AMOUNT",
        )  # fmt: skip


def _coin(settings: Settings, opened: Unlocked, tron: Tron, currency: Currency) -> Coin:
    token = _token(settings, opened) if currency is Currency.TOKEN else None
    coin = coin_of(settings, tron, currency, token)
    if coin is not None:
        return coin
    if currency is Currency.OTHER:
        raise NotFound("no other token is named", hint='put other_token = "T…" into the settings')
    raise NotFound(
        "the wallet does not know yet which token is the ledger's", hint="speedpay fund, once"
    )


def _token(settings: Settings, opened: Unlocked) -> bytes | None:
    """The ledger's token, if the wallet or anybody says which it is."""
    if opened.place.chain is not None:
        return opened.place.chain.token
    if opened.place.account is None:
        return None
    with (
        suppress(SpeedpayError),
        ledger_of(opened.place) as ledger,
        on_chain(settings, opened, ledger) as found,
    ):
        return found.bound.token
    return None
