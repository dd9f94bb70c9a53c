"""``speedpay withdraw --claim`` and ``--save-proof``: what the vault pays, with the ledger or without."""

from __future__ import annotations

import time
from pathlib import Path

from speedpay.chain.address import to_base58
from speedpay.cli.chain_wallet import OnChain, on_chain, outbox_of, proofs_of, say_vault
from speedpay.cli.output import Output, age_text, clean, time_text, tokens_text
from speedpay.cli.unlock import ledger_of
from speedpay.config import Settings
from speedpay.errors import AlreadyExists, Malformed, NotFound, ProofBroken, Unfinished
from speedpay.ledger_api.client import LedgerClient
from speedpay.proof.evidence import Evidence
from speedpay.proof.sum_tree import NODE_BYTES, Node
from speedpay.units import Amount
from speedpay.wallet import files
from speedpay.wallet.claiming import Claiming, Due, GivenBack, proofs_for
from speedpay.wallet.keystore import Unlocked
from speedpay.wallet.proofs import read_evidence

MAX_LEAVES_BYTES = NODE_BYTES * 2**22  # four million accounts; they are held in memory


def claim(
    out: Output, settings: Settings, opened: Unlocked, file: Path | None, leaves: Path | None
) -> None:
    owner = opened.keys.chain.address
    with (
        ledger_of(opened.place) as ledger,
        on_chain(settings, opened, ledger) as chain,
    ):
        say_vault(out, chain)
        claiming = Claiming(chain.vault, outbox_of(settings, opened, chain.tron, "claim"), owner)
        given_back = [] if file else _give_back(out, claiming, chain)
        try:
            if file is not None:
                due = _due_by_file(claiming, file)
            elif leaves is not None:
                due = _due_by_leaves(settings, opened, claiming, leaves)
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
        fee = f"for a fee of about {Amount(claiming.fee_sun(due))} TRX"
        out.confirm(f"Have the vault pay {tokens_text(due.amount)} to {to} on {network}, {fee}?")
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


def _due_by_leaves(settings: Settings, opened: Unlocked, claiming: Claiming, file: Path) -> Due:
    account = opened.place.account
    assert account is not None
    content, _ = files.read(file.absolute(), MAX_LEAVES_BYTES)
    if len(content) > MAX_LEAVES_BYTES or len(content) % NODE_BYTES:
        raise Malformed("is no epoch's file of leaves", field="leaves")
    nodes = [
        Node.from_bytes(content[at : at + NODE_BYTES]) for at in range(0, len(content), NODE_BYTES)
    ]
    proof = claiming.proof_from_leaves(nodes, account, proofs_of(settings, opened))
    return claiming.due(account, lambda epoch: proof if epoch == proof.epoch else None)


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


def save_proof(out: Output, settings: Settings, opened: Unlocked, file: Path) -> None:
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
