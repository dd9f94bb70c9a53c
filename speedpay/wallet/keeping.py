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
from speedpay.signing import Domain, SigningKey
from speedpay.wallet.funds import name_of
from speedpay.wallet.keystore import Place
from speedpay.wallet.proofs import Proofs

_log = logging.getLogger(__name__)

#: Epochs are minutes long, and the question is a small one.
LOOK_S = 120.0
NOT_CHECKED = "shown by the ledger, not yet held against the chain"


def keep_newest(place: Place, key: SigningKey, ledger: LedgerClient, proofs: Proofs) -> int | None:
    """The newest epoch's number when its proof was kept just now; None when there is nothing new.

    Raises what the ledger says, and ProofBroken when what it shows does not fit together.
    """
    assert place.account is not None
    assert place.ledger_id is not None
    view = ledger.epoch()
    head = view.head.check(Domain(place.network, place.ledger_id))
    if proofs.of(head.epoch) is not None:
        return None
    proof = ledger.proof(key, place.account, head.epoch)
    if proof is None:
        return None
    try:
        root = proof.root(head.chain_id, head.vault)
    except Malformed as error:
        raise ProofBroken("the sums of this proof are impossible", field="proof") from error
    shown = (proof.epoch, proof.account, root.hash, root.sum)
    if shown != (head.epoch, place.account, head.root, head.liabilities.utok):
        raise ProofBroken("this leaf is not in the tree of its head", field="proof.root")
    proofs.keep(
        Evidence(
            Domain(place.network, place.ledger_id), head.chain_id, head.vault, place.account,
            NOT_CHECKED, proof, view.head,
        )
    )  # fmt: skip
    return head.epoch


def keep_while_running(folder: Path, place: Place, key: SigningKey) -> Callable[[], None]:
    """Looks now and then in a thread of its own; returns how to stop it. Never raises."""
    stop = threading.Event()

    def work() -> None:
        with LedgerClient(place.ledger_url, place.ledger_id, place.network) as ledger:
            while True:
                try:
                    epoch = keep_newest(place, key, ledger, Proofs(folder, name_of(place)))
                    if epoch is not None:
                        _log.info("kept the proof of epoch %d", epoch)
                except SpeedpayError as error:
                    _log.info("no proof kept: %s", error)
                if stop.wait(LOOK_S):
                    return

    threading.Thread(target=work, name="proofs", daemon=True).start()
    return stop.set
