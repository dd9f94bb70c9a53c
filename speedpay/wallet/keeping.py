"""Keeping the proof of each epoch without being asked: on ``balance``, and while a client runs.

What a ledger shows today it may deny tomorrow, or be gone. So the newest leaf and its path are fetched
whenever the ledger is asked anyway, and from time to time by a running client. Only what is signed and
fits together is kept; whether the chain holds it is for ``speedpay verify`` to ask.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from speedpay.errors import Malformed, ProofBroken, SpeedpayError
from speedpay.ledger_api.client import LedgerClient
from speedpay.proof.evidence import Evidence
from speedpay.proof.head import contradiction
from speedpay.signing import Domain, SigningKey
from speedpay.units import ZERO
from speedpay.wallet.funds import Funds, name_of
from speedpay.wallet.judgement import released_in
from speedpay.wallet.keystore import Place
from speedpay.wallet.proofs import Proofs
from speedpay.wallet.receipts import Given, Receipts

_log = logging.getLogger(__name__)

#: Epochs are minutes long, and the question is a small one.
LOOK_S = 120.0
NOT_CHECKED = "shown by the ledger, not yet held against the chain"


def keep_newest(
    place: Place, key: SigningKey, ledger: LedgerClient, folder: Path, given: Given
) -> str | None:
    """Keeps the newest epoch's proof, unless it is here already; a sentence when its leaf is missing or
    holds less than the receipts demand. ``given``: by now, see ``Funds.given``.

    Raises what the ledger says, and ProofBroken when what it shows does not fit together.
    """
    assert place.account is not None
    assert place.ledger_id is not None
    name, domain = name_of(place), Domain(place.network, place.ledger_id)
    proofs, receipts = Proofs(folder, name), Receipts(folder / f"{name}.receipts")
    view = ledger.epoch()
    head = view.head.check(domain)
    kept = proofs.all()
    for one in kept:
        said = contradiction(head, one.head.signed.head, domain) if one.head else None
        if said:
            raise ProofBroken(said, field="head.prev")
    if any(one.proof and one.proof.epoch == head.epoch for one in kept):
        return None
    proof = ledger.proof(key, place.account, head.epoch)
    released = released_in(kept)
    receipt = receipts.strongest(head.journal_size, given, released)
    at_least = receipt.at_least(given, released) if receipt else ZERO
    if proof is None:
        if not at_least:
            return None
        return (
            f"the ledger shows no leaf of yours in epoch {head.epoch}, and confirmed {at_least} tok"
        )
    try:
        root = proof.root(head.chain_id, head.vault)
    except Malformed as error:
        raise ProofBroken("the sums of this proof are impossible", field="proof") from error
    shown = (proof.epoch, proof.account, root.hash, root.sum)
    if shown != (head.epoch, place.account, head.root, head.liabilities.utok):
        raise ProofBroken("this leaf is not in the tree of its head", field="proof.root")
    proofs.keep(
        Evidence(
            domain, head.chain_id, head.vault, place.account, NOT_CHECKED, proof, view.head
        )
    )  # fmt: skip
    _log.info("kept the proof of epoch %d", head.epoch)
    if proof.total < at_least:
        return (
            f"your leaf of epoch {head.epoch} holds {proof.total} tok, less than the {at_least} tok"
            " that your receipts demand"
        )
    return None


def keep_while_running(
    place: Place,
    key: SigningKey,
    folder: Path,
    promised: Callable[[], Given],
    warn: Callable[[str], None],
) -> Callable[[], None]:
    """Looks now and then in a thread of its own; returns how to stop it. Never raises."""
    stop = threading.Event()

    def work() -> None:
        with LedgerClient(place.ledger_url, place.ledger_id, place.network) as ledger:
            funds = Funds(folder, place, key, ledger)
            while True:
                try:
                    warning = keep_newest(place, key, ledger, folder, funds.given(promised()))
                except ProofBroken as error:
                    warning = str(error)
                except SpeedpayError as error:
                    _log.info("no proof kept: %s", error)
                    warning = None
                if warning is not None:
                    warn(warning)
                if stop.wait(LOOK_S):
                    return

    threading.Thread(target=work, name="proofs", daemon=True).start()
    return stop.set
