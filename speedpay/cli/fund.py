"""``speedpay fund``: show the wallet's address on the chain, and turn tokens there into balance."""

from __future__ import annotations

import sys

import click

from speedpay.chain.address import to_base58
from speedpay.chain.answers import Receipt
from speedpay.cli import AMOUNT
from speedpay.cli.chain_wallet import REFUSED, OnChain, on_chain, outbox_of, say_vault
from speedpay.cli.holdings import holdings, holdings_json, holdings_lines
from speedpay.cli.output import Output, examples, pass_output, tokens_text
from speedpay.cli.unlock import ledger_of, unlock, wallet_options
from speedpay.config import Settings, load
from speedpay.errors import LedgerFailed, LedgerUnreachable, SpeedpayError, WrongLedger
from speedpay.ledger_api.client import LedgerClient
from speedpay.units import ZERO, Amount
from speedpay.wallet.funding import Funded, Funding, Stage
from speedpay.wallet.keystore import Unlocked
from speedpay.wallet.outbox import Job
from speedpay.wallet.payout import Payout

_QUIET = 4  # light modules around the code, as ISO/IEC 18004 asks
_SAID = {
    Stage.APPROVED: "the vault may take the amount",
    Stage.SEEN: "the deposit is in a block",
    Stage.SOLID: "the deposit is in a final block",
    Stage.CREDITED: "the ledger has credited it",
}


@click.command(
    epilog=examples("speedpay fund", "speedpay fund 25", "speedpay fund 25 --yes --json")
)
@click.argument("amount", type=AMOUNT, required=False)
@wallet_options
@pass_output
def fund(
    out: Output, amount: Amount | None, ledger_url: str | None, passphrase_file: str | None
) -> None:
    """Turn AMOUNT tokens of the wallet's own address into balance at the ledger.

    Without AMOUNT: show the address, as a QR code on a terminal, and what it holds. Ctrl-C at any time:
    the same command goes on, and never deposits twice.
    """
    if amount == ZERO:
        raise click.BadParameter("must be above 0", param_hint="AMOUNT")
    settings = load({"ledger_url": ledger_url, "passphrase_file": passphrase_file})
    opened = unlock(out, settings)
    with (
        ledger_of(opened.place) as ledger,
        on_chain(settings, opened, ledger) as chain,
    ):
        say_vault(out, chain)
        if amount is None:
            _show_address(out, settings, opened, chain)
            return
        funding = _funding(out, settings, opened, chain, ledger)
        begun = funding.under_way()
        if begun != amount:
            before = f" (after the {tokens_text(begun)} that were begun earlier)" if begun else ""
            _check_ledger(ledger, chain)
            fee = "" if begun else f", for fees of about {Amount(funding.fee_sun(amount))} TRX"
            out.confirm(
                f"Deposit {tokens_text(amount)} on {chain.tron.network.name} into the vault"
                f" {to_base58(chain.bound.vault)}{before}{fee}?"
            )
        _name_payout(out, settings, opened, ledger)
        done = funding.run(amount)
    _report(out, chain, done)


def _check_ledger(ledger: LedgerClient, chain: OnChain) -> None:
    """Before the first token moves: a ledger that is gone, or that has another vault, would never
    credit it, and only a freeze would bring it back."""
    try:
        named = ledger.identify().chain
    except (LedgerUnreachable, LedgerFailed) as error:
        error.hint = "nothing was deposited: who should credit it does not answer; try again later"
        raise
    if named != chain.bound:
        vault = "none" if named is None else to_base58(named.vault)
        raise WrongLedger(
            f"the wallet's vault is {to_base58(chain.bound.vault)}, the ledger's is {vault}: it would"
            " not credit the deposit",
            field="vault", hint="nothing was deposited; ask the ledger's operator, who may have moved",
        )  # fmt: skip


def _funding(
    out: Output, settings: Settings, opened: Unlocked, chain: OnChain, ledger: LedgerClient
) -> Funding:
    def staged(stage: Stage, txid: bytes) -> None:
        out.event(stage.value, {"txid": txid.hex()})
        out.note(f"{_SAID[stage]}: {txid.hex()}")

    def happened(step: str, news: str, job: Job, receipt: Receipt | None) -> None:
        if step == "deposit" and news == "seen" and receipt is not None:
            staged(Stage.SEEN, receipt.txid)
        elif news == "refused":
            out.note(REFUSED)

    place, keys = opened.place, opened.keys
    assert place.account is not None
    outbox = outbox_of(settings, opened, chain.tron, "fund", happened)
    return Funding(
        chain.vault, outbox, keys.chain.address, place.account, keys.identity, ledger, report=staged
    )


def _name_payout(out: Output, settings: Settings, opened: Unlocked, ledger: LedgerClient) -> None:
    """Whoever brings tokens shall be able to take them away: the way out is named before."""
    try:
        Payout(settings.home / "wallet", opened.place, opened.keys).name(ledger)
    except SpeedpayError as error:
        out.note(f"the payout address is not named yet: {error}")


def _report(out: Output, chain: OnChain, done: Funded) -> None:
    if done.earlier is not None:
        out.note(f"Finished first: the deposit of {tokens_text(done.earlier)} is credited now.")
    deposit, network = done.deposit, chain.tron.network.name
    text = (
        f"credited {tokens_text(done.amount)}, deposit {deposit.seq} of the vault on {network}\n"
        f"transaction {deposit.txid.hex()}, block {deposit.block}"
    )
    if done.resumed:
        text += "\nThis is the deposit begun before; to deposit once more, repeat the command."
    obj = {
        "amount": done.amount.to_wire(), "network": network, "seq": deposit.seq,
        "txid": deposit.txid.hex(), "block": deposit.block,
        "approve_txid": done.approve.hex() if done.approve else None, "resumed": done.resumed,
    }  # fmt: skip
    out.result(obj, text)


def _show_address(out: Output, settings: Settings, opened: Unlocked, chain: OnChain) -> None:
    here, network = opened.keys.chain.base58, chain.tron.network.name
    held = holdings(settings, chain.tron, chain.bound.token, opened.keys.chain.address)
    lines = [
        *holdings_lines(here, network, held),
        "",
        f"Send tokens here, and some TRX for the fees ({network} only), then: speedpay fund AMOUNT",
    ]
    if not out.json and sys.stdout is not None and sys.stdout.isatty():
        lines = [qr_text(here), *lines]
    obj = holdings_json(here, network, held)
    obj["token_contract"] = to_base58(chain.bound.token)
    obj["vault"] = to_base58(chain.bound.vault)
    out.result(obj, "\n".join(lines))


def qr_text(text: str) -> str:
    """A QR code of half blocks, two rows a line, with the border that readers need."""
    import segno

    rows = [bytes(row) for row in segno.make(text, micro=False).matrix_iter(border=_QUIET)]
    if len(rows) % 2:
        rows.append(bytes(len(rows[0])))
    # Dark modules are left to the terminal's background.
    return "\n".join(
        "".join(_HALVES[a, b] for a, b in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    )


_HALVES = {(0, 0): "█", (0, 1): "▀", (1, 0): "▄", (1, 1): " "}
