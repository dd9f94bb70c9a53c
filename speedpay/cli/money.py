"""``speedpay balance``, ``history`` and ``send``: what an account holds, did and pays."""

from __future__ import annotations

import re
import time

import click

from speedpay.cli import AMOUNT
from speedpay.cli.chain_wallet import keep_proof, promised
from speedpay.cli.output import (
    Output,
    age_text,
    clean,
    examples,
    pass_output,
    time_text,
    tokens_text,
)
from speedpay.cli.unlock import funds_of, ledger_of, unlock, wallet_options
from speedpay.config import Settings, load
from speedpay.errors import LedgerFailed, LedgerUnreachable
from speedpay.ledger_api.answers import Balance, HistoryEntry
from speedpay.ledger_api.shapes import MAX_HISTORY, Send
from speedpay.units import ZERO, Amount, MoneyClass
from speedpay.wallet.funds import Payment
from speedpay.wallet.keystore import Place
from speedpay.wallet.opening import applied, keystore_of


@click.command(epilog=examples("speedpay balance", "speedpay balance --json"))
@wallet_options
@pass_output
def balance(out: Output, ledger_url: str | None, passphrase_file: str | None) -> None:
    """Show the balance that the ledger confirms.

    When the ledger cannot be reached, the last confirmed balance is shown with its age, and the
    exit code is 4.
    """
    settings = load({"ledger_url": ledger_url, "passphrase_file": passphrase_file})
    opened = unlock(out, settings)
    with ledger_of(opened.place) as ledger:
        funds = funds_of(settings, opened, ledger)
        unresolved = funds.unresolved()
        try:
            confirmed = funds.balance(promised(settings))
        except (LedgerUnreachable, LedgerFailed) as error:
            last = funds.last_confirmed()
            if last is None:
                error.hint = "no balance was ever confirmed here; try again when the ledger runs"
            else:
                _show_balance(out, opened.place, last, unresolved, now_confirmed=False)
            raise
        keep_proof(out, settings, opened, ledger, funds)
    _show_balance(out, opened.place, confirmed, unresolved, now_confirmed=True)


def _show_balance(
    out: Output, place: Place, found: Balance, unresolved: Payment | None, now_confirmed: bool
) -> None:
    assert place.account is not None
    at, age_s = time_text(found.time), max(0, int(time.time()) - found.time)
    lines = []
    for name, free, locked in (
        ("credit", found.credit, found.credit_in_escrow),
        ("token", found.token, found.token_in_escrow),
    ):
        in_escrow = f"  and {tokens_text(locked)} in escrow" if locked else ""
        lines.append(f"{name:<10} {tokens_text(free)}{in_escrow}")
    lines.append(
        f"confirmed  {at}" if now_confirmed else f"last confirmed at {at} ({age_text(age_s)} ago)"
    )
    obj: dict[str, object] = {
        "account": place.account.hex(),
        "token": found.token.to_wire(),
        "credit": found.credit.to_wire(),
        "in_escrow": {
            "token": found.token_in_escrow.to_wire(),
            "credit": found.credit_in_escrow.to_wire(),
        },
        "confirmed_now": now_confirmed,
        "confirmed_at": at,
        "age_s": age_s,
        "unresolved_send": None,
    }
    if unresolved is not None:
        obj |= {"unresolved_send": _payment_json(unresolved)}
        lines.append(
            f"not known  whether {_payment_text(unresolved)} was paid: {_again(unresolved)}"
        )
    out.result(obj, "\n".join(lines))


def account_argument(_ctx: click.Context, _parameter: click.Parameter, text: str) -> bytes:
    if not re.fullmatch(r"[0-9a-f]{32}", text):
        raise click.BadParameter("an account has 32 lowercase hexadecimal digits")
    return bytes.fromhex(text)


def of_account(ctx: click.Context, parameter: click.Parameter, text: str | None) -> bytes | None:
    return None if text is None else account_argument(ctx, parameter, text)


def _place_of(settings: Settings) -> Place:
    """The wallet's ledger; without a wallet that of the settings."""
    keystore = keystore_of(settings)
    if keystore.exists():
        return applied(keystore.place(), settings)
    return Place(settings.network, settings.ledger_url, settings.ledger_id)


@click.command(
    epilog=examples(
        "speedpay history",
        "speedpay history --limit 200 --json",
        "speedpay history --of 00112233445566778899aabbccddeeff",
    )
)
@click.option("--limit", type=click.IntRange(1, MAX_HISTORY), default=20, show_default=True)
@click.option("--before", type=click.IntRange(1), help="Only what is older than this number.")
@click.option(
    "--of", "of", metavar="ACCOUNT", callback=of_account,
    help="Another account's, whose owner has published it: speedpay wallet publish-key.",
)  # fmt: skip
@wallet_options
@pass_output
def history(
    out: Output,
    limit: int,
    before: int | None,
    of: bytes | None,
    ledger_url: str | None,
    passphrase_file: str | None,
) -> None:
    """List the account's transfers, the newest first. With --json one line each."""
    settings = load({"ledger_url": ledger_url, "passphrase_file": passphrase_file})
    if of is not None:
        with ledger_of(_place_of(settings)) as ledger:
            page = ledger.published_history(of, before, limit)
    else:
        opened = unlock(out, settings)
        with ledger_of(opened.place) as ledger:
            page = funds_of(settings, opened, ledger).history(before, limit)
    if out.json:
        for entry in page.entries:
            out.result(entry.to_json() | {"time": time_text(entry.time)}, "")
    else:
        lines = [_entry_line(entry) for entry in page.entries]
        out.result(None, "\n".join(lines) if lines else "no transfers yet")
    if page.before is not None:
        whose = f" --of {of.hex()}" if of is not None else ""
        out.note(f"There is more: speedpay history{whose} --before {page.before}")


def _entry_line(entry: HistoryEntry) -> str:
    amount = ("+" if entry.incoming else "-") + str(entry.amount)
    with_whom = ""
    if entry.other is not None:
        with_whom = f"{'from' if entry.incoming else 'to'} {entry.other.hex()}"
    elif entry.reference:
        with_whom = f"channel {entry.reference.hex()[:16]}"
    return (
        f"{entry.sequence:>6}  {time_text(entry.time)}  {clean(entry.kind, 16):<7} "
        f"{amount:>14} tok  {entry.money_class.value:<6}  {with_whom}"
    ).rstrip()


@click.command(
    epilog=examples(
        "speedpay send 00112233445566778899aabbccddeeff 1.5",
        "speedpay send 00112233445566778899aabbccddeeff 1.5 --class token -y --json",
    )
)
@click.argument("account", callback=account_argument)
@click.argument("amount", type=AMOUNT)
@click.option(
    "--class", "money_class", type=click.Choice([c.value for c in MoneyClass]),
    default=MoneyClass.CREDIT.value, show_default=True, help="Credit stays credit when it is sent.",
)  # fmt: skip
@wallet_options
@pass_output
def send(
    out: Output,
    account: bytes,
    amount: Amount,
    money_class: str,
    ledger_url: str | None,
    passphrase_file: str | None,
) -> None:
    """Send AMOUNT tokens to ACCOUNT. It cannot be taken back.

    If the answer is lost, repeat the same command: it finishes that payment and never pays twice.
    """
    if amount == ZERO:
        raise click.BadParameter("must be above 0", param_hint="AMOUNT")
    settings = load({"ledger_url": ledger_url, "passphrase_file": passphrase_file})
    order = Send(account, MoneyClass(money_class), amount)
    out.confirm(f"Send {_order_text(order)}?")
    opened = unlock(out, settings)
    with ledger_of(opened.place) as ledger:
        sent = funds_of(settings, opened, ledger).send(order)
    if sent.earlier is not None:
        became = "was refused" if sent.earlier.refusal else "is paid now"
        out.note(f"Finished first: {_payment_text(sent.earlier)} {became}.")
    text = f"sent {_order_text(order)}"
    if sent.payment.resumed:
        begun = time_text(sent.payment.begun)
        text += f"\nThis is the payment begun at {begun}; to pay once more, repeat the command."
    out.result(_payment_json(sent.payment), text)


def _order_text(order: Send) -> str:
    return f"{tokens_text(order.amount)} of {order.money_class.value} to {order.to.hex()}"


def _payment_text(payment: Payment) -> str:
    return f"{_order_text(payment.order)}, begun at {time_text(payment.begun)},"


def _again(payment: Payment) -> str:
    order = payment.order
    options = "" if order.money_class is MoneyClass.CREDIT else " --class token"
    return f"speedpay send {order.to.hex()} {order.amount}{options}"


def _payment_json(payment: Payment) -> dict[str, object]:
    return payment.order.to_json() | {
        "payment": payment.key.hex(),
        "begun": time_text(payment.begun),
        "resumed": payment.resumed,
    }
