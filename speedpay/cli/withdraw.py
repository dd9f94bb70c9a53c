"""``speedpay withdraw``: order a withdrawal, see where it is, and have the vault pay it."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import click

from speedpay.chain.address import to_base58
from speedpay.cli import AMOUNT
from speedpay.cli.chain_wallet import OnChain, on_chain, outbox_of, proofs_of
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
from speedpay.errors import AlreadyExists, NotFound, ProofBroken, SpeedpayError, Unfinished
from speedpay.ledger_api.chain import Withdrawal, WithdrawalState
from speedpay.ledger_api.client import LedgerClient
from speedpay.proof.evidence import Evidence
from speedpay.units import ZERO, Amount
from speedpay.wallet import files
from speedpay.wallet.claiming import Claiming, Due, GivenBack, proofs_for
from speedpay.wallet.funds import name_of
from speedpay.wallet.keystore import Unlocked
from speedpay.wallet.payout import Payout
from speedpay.wallet.proofs import read_evidence
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
    "--save-proof", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write the proof to claim with, for somebody else to send.",
)  # fmt: skip
@wallet_options
@pass_output
def withdraw(
    out: Output,
    amount: Amount | None,
    status: bool,
    claim: bool,
    proof: Path | None,
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
    if proof is not None and not claim:
        raise click.UsageError("--proof goes with --claim")
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
        _claim(out, settings, opened, proof)
    else:
        assert save_proof is not None
        _save_proof(out, settings, opened, save_proof)


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
        epochs = f" (an epoch closes every {age_text(interval_s)})" if interval_s else ""
        return f"queued: number {one.position}, {one.ahead or ZERO} tok leave first{when}{epochs}"
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


# --- claiming -----------------------------------------------------------------------------------


def _claim(out: Output, settings: Settings, opened: Unlocked, file: Path | None) -> None:
    owner = opened.keys.chain.address
    with (
        ledger_of(opened.place) as ledger,
        on_chain(settings, opened, ledger) as chain,
    ):
        claiming = Claiming(chain.vault, outbox_of(settings, opened, chain.tron, "claim"), owner)
        given_back = [] if file else _give_back(out, claiming, chain)
        try:
            if file is not None:
                due = _due_by_file(claiming, file)
            else:
                due = _own_due(settings, opened, ledger, claiming)
        except NotFound:
            if not given_back:
                raise
            _report_given_back(out, chain, given_back)
            return
        if due.from_time is not None:
            wait_s = max(1, due.from_time - chain.tron.head().time_s)
            raise Unfinished(
                f"the anchor of epoch {due.proof.epoch} is too young; the vault pays"
                f" {tokens_text(due.amount)} on it from {time_text(due.from_time)} on",
                hint=f"try again in {age_text(wait_s)}",
            )
        to, network = to_base58(due.proof.payout), chain.tron.network.name
        out.confirm(f"Have the vault pay {tokens_text(due.amount)} to {to} on {network}?")
        done = claiming.claim(due)
    text = (
        f"claimed {tokens_text(done.amount)} on epoch {done.epoch}, paid to {to} on {network}\n"
        f"transaction {done.txid.hex()}, fee {Amount(done.fee_sun)} TRX"
    )
    obj = {
        "amount": done.amount.to_wire(), "to": to, "epoch": done.epoch, "network": network,
        "txid": done.txid.hex(), "fee_sun": done.fee_sun, "after_freeze": due.frozen,
        "given_back": _given_back_json(given_back),
    }  # fmt: skip
    out.result(obj, "\n".join([text, *_given_back_lines(given_back)]))


def _own_due(settings: Settings, opened: Unlocked, ledger: LedgerClient, claiming: Claiming) -> Due:
    account = opened.place.account
    assert account is not None
    proofs = proofs_of(settings, opened)
    return claiming.due(account, proofs_for(account, opened.keys.identity, ledger, proofs))


def _due_by_file(claiming: Claiming, file: Path) -> Due:
    proof = claiming.check(read_evidence(file.absolute()))
    return claiming.due(proof.account, lambda epoch: proof if epoch == proof.epoch else None)


def _give_back(out: Output, claiming: Claiming, chain: OnChain) -> list[GivenBack]:
    """After a freeze: own deposits that no epoch covers."""
    waiting = claiming.to_give_back()
    if waiting:
        count = f"{len(waiting)} deposit{'s' if len(waiting) > 1 else ''}"
        out.confirm(f"Have the frozen vault give back {count} on {chain.tron.network.name}?")
    return [claiming.give_back(seq) for seq in waiting]


def _report_given_back(out: Output, chain: OnChain, given_back: list[GivenBack]) -> None:
    obj = {"network": chain.tron.network.name, "given_back": _given_back_json(given_back)}
    out.result(obj, "\n".join(_given_back_lines(given_back)))


def _given_back_lines(given_back: list[GivenBack]) -> list[str]:
    return [
        f"given back {tokens_text(one.amount)}, deposit {one.seq}, transaction {one.txid.hex()}"
        for one in given_back
    ]


def _given_back_json(given_back: list[GivenBack]) -> list[dict[str, object]]:
    return [
        {"seq": one.seq, "amount": one.amount.to_wire(), "txid": one.txid.hex()}
        for one in given_back
    ]


# --- the proof as a file ------------------------------------------------------------------------


def _save_proof(out: Output, settings: Settings, opened: Unlocked, file: Path) -> None:
    """The newest that the wallet kept: it was checked when it was kept."""
    if file.exists():
        raise AlreadyExists(f"{file} exists already", field="save_proof")
    proofs = proofs_of(settings, opened)
    found: Evidence | None = next(
        (kept for epoch in proofs.epochs() if (kept := proofs.of(epoch))), None
    )
    if found is None or found.proof is None:
        raise NotFound("no proof is kept here yet", hint="speedpay verify fetches and keeps one")
    if found.account != opened.place.account:
        raise ProofBroken("the kept proof is of another account", field="proof.account")
    files.write(file.absolute(), found.to_json())
    obj = {"epoch": found.proof.epoch, "withdrawable": found.proof.withdrawable.to_wire(),
           "file": str(file), "age_s": max(0, int(time.time()) - _closed(found))}  # fmt: skip
    out.result(
        obj,
        f"proof of epoch {found.proof.epoch}, {tokens_text(found.proof.withdrawable)} released in all:"
        f" {clean(str(file))}\nAnybody with TRX can send it: speedpay withdraw --claim --proof FILE",
    )


def _closed(found: Evidence) -> int:
    return found.head.signed.head.closed_at if found.head else 0
