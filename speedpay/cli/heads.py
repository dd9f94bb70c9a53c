"""``speedpay heads``: what the ledger signed for each epoch, as it was seen, and what two of them prove."""

from __future__ import annotations

import time

import click

from speedpay.cli.output import Output, examples, pass_output, time_text
from speedpay.client.heads import Contradiction, Heads, write_evidence
from speedpay.config import load
from speedpay.errors import NotFound
from speedpay.proof.evidence import CertifiedHead
from speedpay.signing import Domain
from speedpay.wallet.opening import keystore_of


@click.command(epilog=examples("speedpay heads", "speedpay heads --json", "speedpay heads --go-on"))
@click.option(
    "--go-on", is_flag=True,
    help="Trade again at a ledger that contradicted itself; the evidence stays where it is.",
)  # fmt: skip
@pass_output
def heads(out: Output, go_on: bool) -> None:
    """List the newest heads that the ledger signed, whoever showed them. Nobody is asked.

    Exit code 10: two of them cannot both be true, and nothing is bought or sold there until --go-on.
    """
    from speedpay.client.store import Store

    settings = load({})
    place = keystore_of(settings).place()
    if place.ledger_id is None:
        raise NotFound("the wallet has no account yet", hint="speedpay wallet open")
    domain = Domain(place.network, place.ledger_id)
    store = Store(settings.home / "client.db")
    try:
        kept = Heads(store, domain, settings.home / "evidence")
        if go_on:
            out.confirm("Do you trust this ledger with your money all the same?")
            kept.accept(int(time.time()))
        found, known = kept.contradiction(), list(kept.known().values())[::-1]
        if found is not None:
            write_evidence(found)
    finally:
        store.close()
    obj = {
        "ledger": domain.ledger_id.hex(),
        "heads": [_head_json(one, domain) for one in known],
        "contradiction": _contradiction_json(found, domain) if found else None,
    }
    out.result(obj, "\n".join(_lines(known, found, domain)))
    if found is not None:
        raise found.error()


def _lines(known: list[CertifiedHead], found: Contradiction | None, domain: Domain) -> list[str]:
    lines = [_line(one, domain) for one in known] or ["no head of this ledger was seen yet"]
    if found is not None:
        lines += [f"CONTRADICTION: {found.says}", *(_line(one, domain) for one in _both(found))]
        lines.append(f"found {time_text(found.at)}; the evidence is in {found.path}")
    return lines


def _line(one: CertifiedHead, domain: Domain) -> str:
    head = one.signed.head
    return f"epoch {head.epoch:>6}  {time_text(head.closed_at)}  {head.hash(domain).hex()}"


def _both(found: Contradiction) -> tuple[CertifiedHead, CertifiedHead]:
    return found.one, found.other


def _head_json(one: CertifiedHead, domain: Domain) -> dict[str, object]:
    head = one.signed.head
    return {
        "epoch": head.epoch,
        "closed_at": time_text(head.closed_at),
        "hash": head.hash(domain).hex(),
        "body": head.to_bytes().hex(),
        "signature": one.signed.signature.hex(),
    }


def _contradiction_json(found: Contradiction, domain: Domain) -> dict[str, object]:
    return {
        "says": found.says,
        "found": time_text(found.at),
        "heads": [_head_json(one, domain) for one in _both(found)],
        "evidence": str(found.path),
    }
