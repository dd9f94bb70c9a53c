"""``speedpay verify``: is my balance on the chain, with the ledger off or hostile?"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import click

from speedpay.chain.address import to_base58
from speedpay.cli.chain_wallet import (
    OnChain,
    on_chain,
    promised,
    proofs_of,
    say_vault,
    when_text,
)
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
from speedpay.config import Endpoint, Settings, load, parse_endpoint
from speedpay.errors import (
    AlreadyExists,
    InvalidSetting,
    LedgerFailed,
    LedgerUnreachable,
    NotFound,
    ProofBroken,
    SpeedpayError,
)
from speedpay.ledger_api.client import LedgerClient
from speedpay.proof.balance import Anchored
from speedpay.proof.evidence import Evidence, head_alone
from speedpay.signing import Domain
from speedpay.units import Amount
from speedpay.wallet import files
from speedpay.wallet.judgement import Mismatch, Own
from speedpay.wallet.keeping import NOT_CHECKED
from speedpay.wallet.keystore import Unlocked
from speedpay.wallet.payout import Payout
from speedpay.wallet.proofs import Proofs
from speedpay.wallet.verification import Verification, Verified


@click.command(
    epilog=examples(
        "speedpay verify",
        "speedpay verify --epoch 12 --save evidence.json",
        "speedpay verify --whole --peer 203.0.113.7:6881",
    )
)
@click.option("--epoch", type=click.IntRange(1), help="This epoch instead of the newest anchored.")
@click.option(
    "--save", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write the evidence to FILE, which others can check. It shows them account and balance.",
)  # fmt: skip
@click.option(
    "--whole", is_flag=True, help="Download all leaves of the epoch by BitTorrent, and add them up.",
)  # fmt: skip
@click.option(
    "--peer", "peers", multiple=True, metavar="ADDR:PORT",
    help="With --whole: who has the file, beside whom the ledger names; may be repeated.",
)  # fmt: skip
@click.option(
    "--listen", metavar="ADDR:PORT", help="With --whole: where this client is in the swarm."
)
@click.option(
    "--accept-spent", is_flag=True,
    help="Another copy of this wallet spent what is missing: older receipts are dropped.",
)  # fmt: skip
@wallet_options
@pass_output
def verify(
    out: Output,
    epoch: int | None,
    save: Path | None,
    whole: bool,
    peers: tuple[str, ...],
    listen: str | None,
    accept_spent: bool,
    ledger_url: str | None,
    passphrase_file: str | None,
) -> None:
    """Check the balance against the chain. The ledger may be off, or lie.

    It is the newest epoch on the chain that counts, or the one that is named with --epoch.

    Exit code 10: something does not match; the evidence is kept in a file. 4: nobody shows a proof.
    6: the chain does not answer. Only 0 means verified.
    """
    if save is not None and save.exists():
        raise AlreadyExists(f"{save} exists already", field="save")
    settings = load({"ledger_url": ledger_url, "passphrase_file": passphrase_file})
    if accept_spent:
        out.confirm("Did you spend what is missing, with another copy of this wallet?")
    opened = unlock(out, settings)
    proofs = proofs_of(settings, opened)
    with (
        ledger_of(opened.place) as ledger,
        on_chain(settings, opened, ledger) as chain,
    ):
        say_vault(out, chain)
        try:
            verification = _verification(settings, opened, chain, ledger, proofs, accept_spent)
            found = verification.run(epoch)
            if whole:
                _check_whole(out, settings, found, peers, listen)
            paid = chain.vault.paid_to(found.finding.evidence.account)
            doubts = _doubts(chain)
        except Mismatch as error:
            _report_mismatch(out, chain, proofs, error)
            raise
    if found.finding.proof is None:
        raise NotFound(
            f"there is no leaf of yours in epoch {found.finding.head.epoch}, and your receipts demand"
            " none: this account had no tokens then",
            hint="tokens that came later stand in the next epoch; to bring some: speedpay fund",
        )
    if save is not None:
        files.write(save.absolute(), found.finding.evidence.to_json())
    for doubt in doubts:
        out.warn(doubt)
    agree = min(2, len(settings.nodes()))
    _report(out, chain, found, paid, agree, save)


def _doubts(chain: OnChain) -> list[str]:
    """What an anchored balance is worth when the ledger anchors no more."""
    state, now = chain.vault.state(), chain.tron.head().time_s
    if state.frozen:
        return [
            f"the vault is frozen and pays on epoch {state.frozen_epoch} alone, the whole balance:"
            " speedpay withdraw --claim"
        ]
    if now - state.last_time > state.terms.silence:
        return [
            f"the ledger has anchored nothing for {age_text(now - state.last_time)}: anybody may"
            " freeze the vault, and tokens that moved since would be lost to whoever got them"
        ]
    return []


def _check_whole(
    out: Output, settings: Settings, found: Verified, peers: tuple[str, ...], listen: str | None
) -> None:
    """Raises Mismatch; NoPeers when nobody has the file."""
    from speedpay.client.leaves import fetch_leaves
    from speedpay.wallet.whole import check_whole

    finding = found.finding
    if finding.proof is None:
        return
    known = [parse_endpoint(peer, "peer") for peer in peers]
    with suppress(
        InvalidSetting
    ):  # the ledger's word: if it is no address, others may have the file
        known.append(parse_endpoint(found.publisher or ""))
    # Beside a running client, which has the port of the settings.
    place = parse_endpoint(listen) if listen else Endpoint(settings.listen.host, 0)
    with out.progress(f"leaves of epoch {finding.head.epoch}") as bar:
        leaves = fetch_leaves(
            finding.head, known, place, settings.home,
            lambda done, total: bar.update(done, total_bytes=total),
        )  # fmt: skip
    try:
        total = check_whole(leaves, finding.head, finding.proof)
    except ProofBroken as error:
        evidence = replace(finding.evidence, verdict=error.message)
        raise Mismatch(error, evidence) from error
    found.checked.append(
        f"all {len(leaves)} published leaves together are {total} tok and lead to the root on the"
        " chain; yours is among them"
    )


def _verification(
    settings: Settings, opened: Unlocked, chain: OnChain, ledger: LedgerClient, proofs: Proofs,
    accept_spent: bool,
) -> Verification:  # fmt: skip
    """What the owner knows is read before the ledger is asked anything."""
    place, keys = opened.place, opened.keys
    assert place.account is not None
    assert place.ledger_id is not None
    funds = funds_of(settings, opened, ledger)
    given = promised(settings)
    domain = Domain(place.network, place.ledger_id)
    own = Own(
        domain, chain.bound, place.account, keys.chain.address,
        Payout(settings.home / "wallet", place, keys).named_at(), place.tenure.since,
        funds.given(given), proofs.seen(), (*proofs.all(), *_seen_by_clients(settings, domain)),
    )  # fmt: skip
    asked: LedgerClient | SpeedpayError = ledger
    try:
        funds.balance(given)  # a fresh receipt, for the epochs to come
    except (LedgerUnreachable, LedgerFailed) as error:
        asked = error
    else:
        if accept_spent:
            funds.accept_spent()
    return Verification(own, keys.identity, chain.vault, asked, proofs, funds.receipts)


def _seen_by_clients(settings: Settings, domain: Domain) -> list[Evidence]:
    """The ledger's heads as running clients saw them, from peers too; no leaf is among them."""
    from speedpay.client.heads import Heads
    from speedpay.client.store import Store

    path = settings.home / "client.db"
    if not path.exists():
        return []
    store = Store(path)
    try:
        known = Heads(store, domain, settings.home / "evidence").known().values()
    finally:
        store.close()
    return [head_alone(one, domain, NOT_CHECKED) for one in known]


def _report(
    out: Output, chain: OnChain, found: Verified, paid: Amount, agree: int, save: Path | None
) -> None:
    finding, proof = found.finding, found.finding.proof
    assert proof is not None
    head, network = finding.head, chain.tron.network.name
    released = f"{tokens_text(proof.withdrawable)} released for withdrawal in all"
    if paid:
        released += f"; the vault has paid {tokens_text(paid)} by now"
    lines = [
        f"verified   {tokens_text(proof.balance)} at the close of epoch {head.epoch}",
        f"           {released}",
        f"anchored   {_where(finding.anchor, network)}",
        f"closed     {when_text(head.closed_at)}",
        f"network    {network}, as {'two nodes tell it alike' if agree > 1 else 'one node tells it'}",
        f"vault      {to_base58(chain.bound.vault)}",
        f"proof      {'the copy that this wallet kept' if found.stored else 'shown by the ledger'}",
        *_block("checked", found.checked),
        *_block("unchecked", found.not_checked),
    ]
    if head.epoch < found.newest_epoch:
        lines.append(f"newest     the chain holds epoch {found.newest_epoch} by now")
    if save is not None:
        lines.append(f"evidence   {clean(str(save))}")
    obj = _anchor_json(finding.anchor, network) | {
        "verified": True,
        "balance": proof.balance.to_wire(),
        "withdrawable": proof.withdrawable.to_wire(),
        "claimed": paid.to_wire(),
        "at_least": finding.at_least.to_wire(),
        "closed_at": time_text(head.closed_at),
        "newest_epoch": found.newest_epoch,
        "vault": to_base58(chain.bound.vault),
        "nodes_agreed": agree,
        "proof_from": "wallet" if found.stored else "ledger",
        "checked": found.checked,
        "not_checked": found.not_checked,
        "evidence": str(save) if save else None,
    }
    out.result(obj, "\n".join(lines))


def _report_mismatch(out: Output, chain: OnChain, proofs: Proofs, error: Mismatch) -> None:
    evidence, network = error.evidence, chain.tron.network.name
    path = proofs.keep_mismatch(evidence, int(time.time()))
    error.hint = f"keep {path} and show it to others: scripts/verify_independent checks it"
    if error.field in ("proof.total", "leaf"):
        error.hint += "; if another copy of this wallet spent it: speedpay verify --accept-spent"
    lines = [f"NOT VERIFIED: {clean(error.message)}"]
    if evidence.anchor is not None:
        lines.append(
            f"epoch {evidence.anchor.epoch} was anchored in {_where(evidence.anchor, network)}"
        )
    lines.append(f"the evidence is in {clean(str(path))}")
    obj: dict[str, object] = {"verified": False, "field": error.field, "evidence": str(path)}
    if evidence.anchor is not None:
        obj |= _anchor_json(evidence.anchor, network)
    out.result(obj | _claimed_by_ledger(evidence), "\n".join(lines))


def _claimed_by_ledger(evidence: Evidence) -> dict[str, object]:
    shown = evidence.proof
    return {"shown_balance": shown.balance.to_wire() if shown else None}


def _where(anchor: Anchored, network: str) -> str:
    when = when_text(anchor.time) if anchor.time is not None else "at an unknown time"
    if anchor.txid is None:
        return f"the vault's ring of the last 8 epochs, {when}"
    return f"transaction {anchor.txid.hex()}, block {anchor.block} of {network}, {when}"


def _anchor_json(anchor: Anchored, network: str) -> dict[str, object]:
    return {
        "network": network,
        "epoch": anchor.epoch,
        "root": anchor.root.hex(),
        "txid": anchor.txid.hex() if anchor.txid else None,
        "block": anchor.block,
        "anchored_at": time_text(anchor.time) if anchor.time is not None else None,
        "age_s": max(0, int(time.time()) - anchor.time) if anchor.time is not None else None,
    }


def _block(name: str, sentences: list[str]) -> list[str]:
    return [
        f"{name if not at else '':<10} {clean(sentence)}" for at, sentence in enumerate(sentences)
    ]
