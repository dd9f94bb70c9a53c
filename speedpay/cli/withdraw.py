"""``speedpay withdraw``: order a withdrawal, see where it is, and have the vault pay it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from speedpay.cli import AMOUNT
from speedpay.cli import claim as claims
from speedpay.cli.output import (
    Output,
    age_text,
    clean,
    examples,
    pass_output,
    time_text,
    tokens_text,
)
from speedpay.cli.unlock import ledger_of, unlock, wallet_options
from speedpay.config import Settings, load
from speedpay.errors import SpeedpayError
from speedpay.ledger_api.chain import Withdrawal, WithdrawalState
from speedpay.units import ZERO, Amount
from speedpay.wallet.funds import name_of
from speedpay.wallet.keystore import Unlocked
from speedpay.wallet.payout import Payout
from speedpay.wallet.withdrawing import Withdrawing


@click.command(
    epilog=examples(
        "speedpay withdraw 10",
        "speedpay withdraw --status",
        "speedpay withdraw --claim",
        "speedpay withdraw --save-proof proof.json",
        "speedpay withdraw --claim --proof proof.json",
    )
)
@click.argument("amount", type=AMOUNT, required=False)
@click.option("--status", is_flag=True, help="Where the withdrawals are.")
@click.option("--claim", is_flag=True, help="Have the vault pay what is due. Needs no ledger.")
@click.option(
    "--proof", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="With --claim: anybody's proof; this wallet pays the fee, the owner is paid.",
)  # fmt: skip
@click.option(
    "--leaves", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="With --claim, when no proof was kept: the epoch's published file of leaves.",
)  # fmt: skip
@click.option(
    "--save-proof", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write the proof to claim with, for somebody else to send; it shows account and balance.",
)  # fmt: skip
@wallet_options
@pass_output
def withdraw(
    out: Output,
    amount: Amount | None,
    status: bool,
    claim: bool,
    proof: Path | None,
    leaves: Path | None,
    save_proof: Path | None,
    ledger_url: str | None,
    passphrase_file: str | None,
) -> None:
    """Withdraw AMOUNT tokens to the wallet's own address on the chain.

    A withdrawal leaves the balance at once. It is queued, released in an epoch, anchored, and once the
    anchor is old enough the vault pays it to whoever brings the proof: --claim. After a freeze --claim
    brings out the whole balance, with the proof that the wallet kept and no ledger.
    """
    chosen = [amount is not None, status, claim, save_proof is not None]
    if sum(chosen) != 1:
        raise click.UsageError("give AMOUNT, or one of --status, --claim, --save-proof")
    if (proof is not None or leaves is not None) and (not claim or (proof and leaves)):
        raise click.UsageError("--claim takes --proof or --leaves, one of them")
    if amount == ZERO:
        raise click.BadParameter("must be above 0", param_hint="AMOUNT")
    settings = load({"ledger_url": ledger_url, "passphrase_file": passphrase_file})
    if amount is not None:
        out.confirm(f"Withdraw {tokens_text(amount)}?")
    opened = unlock(out, settings)
    if amount is not None:
        _order(out, settings, opened, amount)
    elif status:
        _status(out, settings, opened)
    elif claim:
        claims.claim(out, settings, opened, proof, leaves)
    else:
        assert save_proof is not None
        claims.save_proof(out, settings, opened, save_proof)


# --- ordering -----------------------------------------------------------------------------------


def _order(out: Output, settings: Settings, opened: Unlocked, amount: Amount) -> None:
    place, keys = opened.place, opened.keys
    assert place.account is not None
    with ledger_of(place) as ledger:
        # Without an address there is nowhere to pay to; so this one must succeed.
        Payout(settings.home / "wallet", place, keys).name(ledger)
        withdrawing = Withdrawing(
            settings.home / "wallet", name_of(place), keys.identity, place.account, ledger
        )
        ordered, resumed = withdrawing.order(amount)
        found: Withdrawal | None = None
        interval_s = 0
        with suppress(SpeedpayError):  # it is ordered; where it stands can be asked again
            shown = ledger.withdrawals(keys.identity, place.account)
            found = next((w for w in shown.withdrawals if w.number == ordered.number), None)
            interval_s = shown.interval_s
    text = f"withdrawal {ordered.number} of {tokens_text(amount)} to {keys.chain.base58}"
    if found is not None:
        text += f"\n{_where(found, interval_s)}"
    if resumed:
        text += (
            "\nThis is the withdrawal ordered before; to withdraw once more, repeat the command."
        )
    obj: dict[str, object] = {
        "number": ordered.number, "amount": amount.to_wire(), "to": keys.chain.base58,
        "resumed": resumed, "withdrawal": _json(found) if found else None,
    }  # fmt: skip
    out.result(obj, text + "\nNext: speedpay withdraw --status")


# --- where they are -----------------------------------------------------------------------------


def _status(out: Output, settings: Settings, opened: Unlocked) -> None:
    place, keys = opened.place, opened.keys
    assert place.account is not None
    with ledger_of(place) as ledger:
        shown = ledger.withdrawals(keys.identity, place.account)
        begun = Withdrawing(
            settings.home / "wallet", name_of(place), keys.identity, place.account, ledger
        ).under_way()
    lines = [_line(one, shown.interval_s) for one in shown.withdrawals] or ["no withdrawals yet"]
    lines.append(
        f"released   {tokens_text(shown.withdrawable)} in all, of which the vault has paid"
        f" {tokens_text(shown.claimed)}"
    )
    if shown.trouble:
        lines.append(f"trouble    {clean(shown.trouble)}")
    if begun is not None:
        again = f"speedpay withdraw {begun.amount}"
        lines.append(f"not known  whether {begun.amount} tok were ordered: {again}")
    if any(one.state is WithdrawalState.CLAIMABLE for one in shown.withdrawals):
        lines.append("Have it paid: speedpay withdraw --claim")
    obj: dict[str, object] = {
        "to": keys.chain.base58,
        "withdrawals": [_json(one) for one in shown.withdrawals],
        "withdrawable": shown.withdrawable.to_wire(),
        "claimed": shown.claimed.to_wire(),
        "limit": shown.limit.to_wire(),
        "trouble": shown.trouble,
        "unresolved": begun.amount.to_wire() if begun else None,
    }
    out.result(obj, "\n".join(lines))


def _line(one: Withdrawal, interval_s: int) -> str:
    asked_at, where = time_text(one.asked_at), _where(one, interval_s)
    return f"{one.number:>6}  {asked_at}  {one.amount!s:>14} tok  {where}"


def _where(one: Withdrawal, interval_s: int) -> str:
    when = f", about {time_text(one.expected)}" if one.expected is not None else ""
    if one.state is WithdrawalState.QUEUED:
        epochs = f"an epoch closes every {age_text(interval_s)}, " if interval_s else ""
        return (
            f"queued: number {one.position}, by estimate {one.ahead or ZERO} tok leave before its end"
            f"{when} ({epochs}later withdrawals have a share, too)"
        )
    if one.state is WithdrawalState.RELEASED:
        return f"released in epoch {one.epoch}, which is not on the chain yet"
    if one.state is WithdrawalState.ANCHORED:
        return f"anchored in epoch {one.epoch}; the vault pays{when or ' later'}"
    if one.state is WithdrawalState.CLAIMABLE:
        return f"claimable: the vault pays on epoch {one.epoch}"
    return "claimed: the vault has paid"


def _json(one: Withdrawal) -> dict[str, object]:
    shown = one.to_json() | {"asked_at": time_text(one.asked_at)}
    if one.expected is not None:
        shown["expected"] = time_text(one.expected)
    return shown
