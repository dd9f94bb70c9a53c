"""What a head that somebody shows is to those that are known: news, nothing new, or a lie. Pure.

Peers and the ledger show heads; nobody is believed. A head counts when the ledger signed it, whoever brings
it, so two that contradict convict the ledger and not the bringer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from speedpay.certificates import TOLERANCE_S, CertificateSet
from speedpay.errors import Stale
from speedpay.proof.evidence import CertifiedHead
from speedpay.proof.head import contradiction

#: Epochs of which a head is kept, the newest: ten hours of ten-minute epochs.
KEPT = 64


class Standing(StrEnum):
    """``OLDER``: of an epoch that was not known, and goes with all that are. ``TOO_OLD``: older than all
    that are kept; nothing is done with it."""

    SAME = "same"
    NEWER = "newer"
    OLDER = "older"
    TOO_OLD = "too_old"
    CONTRADICTION = "contradiction"


@dataclass(frozen=True, slots=True)
class Judgement:
    """``against``: the known head that cannot stand beside it, ``says``: why, as a sentence."""

    standing: Standing
    against: CertifiedHead | None = None
    says: str = ""


def check(shown: CertifiedHead, ledger: CertificateSet, utc: int) -> None:
    """Raises BadSignature unless ``ledger`` signed it with a key in force when the epoch closed; Stale when
    that key was revoked by then, or that is yet to come by our clock (``utc``: unix seconds)."""
    closed_at = shown.signed.head.closed_at
    ledger.check_at(shown.certificate, closed_at)
    shown.signed.check(ledger.domain, shown.certificate.response_key)
    if closed_at > utc + TOLERANCE_S:
        raise Stale("is of an epoch that is yet to close", field="head.closed_at")


def believed(
    known: Mapping[int, CertifiedHead], ledger: CertificateSet
) -> dict[int, CertifiedHead]:
    """Those that still count: a thief's head may have come before the news that his key is revoked."""
    revoked = {one.response_key: one.at for one in ledger.revocations}
    return {
        epoch: one
        for epoch, one in known.items()
        if one.signed.head.closed_at < revoked.get(one.certificate.response_key, math.inf)
    }


def judge(
    known: Mapping[int, CertifiedHead],
    shown: CertifiedHead,
    ledger: CertificateSet,
    utc: int,
    settled: int = 0,
) -> Judgement:
    """``known``: by epoch, each checked. What closed by ``settled`` (unix seconds) is judged no more: its
    reader has seen a contradiction then, and goes on all the same. Raises as ``check``."""
    head = shown.signed.head
    epoch, same = head.epoch, known.get(head.epoch)
    if same is not None and same.signed.head == head:
        return Judgement(Standing.SAME)
    check(shown, ledger, utc)
    if head.closed_at <= settled:
        return Judgement(Standing.TOO_OLD)
    for other in sorted(known.values(), key=lambda one: abs(one.signed.head.epoch - epoch)):
        says = contradiction(other.signed.head, head, ledger.domain)
        if says:
            return Judgement(Standing.CONTRADICTION, other, says)
    if not known or epoch > max(known):
        return Judgement(Standing.NEWER)
    full = len(known) >= KEPT
    return Judgement(Standing.TOO_OLD if full and epoch < min(known) else Standing.OLDER)


def convicts(
    one: CertifiedHead, other: CertifiedHead, ledger: CertificateSet, utc: int
) -> str | None:
    """What two heads that somebody calls evidence say of the ledger; None: nothing. Raises as ``check``."""
    check(one, ledger, utc)
    check(other, ledger, utc)
    return contradiction(one.signed.head, other.signed.head, ledger.domain)
