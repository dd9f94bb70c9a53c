"""Every lie that an operator can tell one user, and the sentence by which the wallet answers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from speedpay.ledger_api.bound import BoundVault
from speedpay.ledger_api.signed import TIME_TOLERANCE_S
from speedpay.proof.balance import Anchored, BalanceProof
from speedpay.proof.evidence import OK, CertifiedHead, Evidence
from speedpay.proof.head import EpochHead, SignedHead
from speedpay.proof.leaf import NO_PAYOUT, Leaf
from speedpay.signing import Certificate, SigningKey
from speedpay.units import ZERO, Amount
from speedpay.wallet.judgement import Finding, Gathered, Mismatch, Own, judge
from speedpay.wallet.receipts import Given, Receipt
from tests.unit.proof.anchored import CHAIN_ID, VAULT, Epoch, leaf
from tests.vectors.generate import CERTIFICATE, DOMAIN

MINE = 2
FIRST = Epoch()
LEAF = FIRST.leaves[MINE]
TOTAL = LEAF.withdrawable + LEAF.balance
OWN = Own(DOMAIN, BoundVault(CHAIN_ID, VAULT, bytes(20)), LEAF.account, LEAF.payout)
RECEIPT = Receipt(TOTAL, 70, ZERO, 1_799_999_000)


def gathered(
    shown: Epoch = FIRST, chain: Epoch | None = None, receipt: Receipt | None = RECEIPT
) -> Gathered:
    """What ``shown`` says, against the anchor of ``chain`` (an honest ledger: the same)."""
    head = CertifiedHead(shown.signed, CERTIFICATE)
    return Gathered(head, (chain or shown).anchor, shown.proof(MINE), receipt)


def after(epoch: Epoch, leaves: list[Leaf], **changes: object) -> Epoch:
    """The epoch after ``epoch``, with these leaves."""
    made = Epoch(leaves)
    made.head = replace(
        made.head, epoch=epoch.head.epoch + 1, prev=epoch.head.hash(DOMAIN),
        closed_at=epoch.head.closed_at + 600, journal_size=epoch.head.journal_size + 5,
        journal_root=bytes(31) + b"\x07", **changes,
    )  # fmt: skip
    return made


def with_mine(**changes: object) -> list[Leaf]:
    return [replace(one, **changes) if one is LEAF else one for one in FIRST.leaves]


def seen(epoch: Epoch = FIRST) -> Evidence:
    return judge(gathered(epoch, receipt=None), OWN).evidence


def mismatch(found: Gathered, own: Own = OWN) -> Mismatch:
    with pytest.raises(Mismatch) as caught:
        judge(found, own)
    error = caught.value
    assert error.evidence.verdict == error.message == str(error)
    assert Evidence.from_json(error.evidence.to_json()) == error.evidence
    return error


def test_a_balance_that_is_on_chain_is_found_with_its_evidence() -> None:
    found = judge(gathered(), OWN)
    assert isinstance(found, Finding)
    assert (found.total, found.at_least, found.follows) == (TOTAL, TOTAL, None)
    assert found.evidence.verdict == OK
    assert found.evidence.check() == TOTAL


def test_the_next_epoch_is_held_against_the_one_seen_before() -> None:
    second = after(FIRST, with_mine(balance=LEAF.balance + Amount(5)))
    found = judge(gathered(second), replace(OWN, seen=seen()))
    assert (found.total, found.follows) == (TOTAL + Amount(5), 1)
    older = judge(gathered(FIRST), replace(OWN, seen=seen(second)))
    assert older.total == TOTAL, "an older epoch may be asked for as well"


RICHER = with_mine(balance=LEAF.balance + Amount(1_000_000))
POORER = with_mine(balance=LEAF.balance.minus_or_zero(Amount(1_000_000)))
SECOND = after(FIRST, FIRST.leaves)

LIES: dict[str, tuple[Callable[[], Gathered], str, str]] = {
    "a balance row edited after the anchor, with a proof that fits": (
        lambda: gathered(Epoch(RICHER), FIRST),
        "anchor.root",
        "the tree on chain is not the one that the ledger shows",
    ),
    "the anchored head, and a leaf that is not in its tree": (
        lambda: replace(gathered(), proof=replace(FIRST.proof(MINE), balance=LEAF.balance + TOTAL)),
        "proof.root",
        "this leaf is not in the tree whose root is on chain",
    ),
    "another head than the anchored one": (
        lambda: gathered(FIRST.with_head(credit=Amount(1)), FIRST),
        "anchor.head",
        "the head on chain is another one",
    ),
    "a shrunken leaf, anchored": (
        lambda: gathered(Epoch(POORER)),
        "proof.total",
        f"the ledger has put {TOTAL.minus_or_zero(Amount(1_000_000))} tok of yours on chain;"
        f" your receipts say {TOTAL}",
    ),
    "a leaf that is gone": (
        lambda: replace(gathered(), proof=None),
        "leaf",
        f"the ledger shows no leaf of yours in epoch 1; your receipts say that it must hold at"
        f" least {TOTAL} tok",
    ),
    "somebody else's leaf": (
        lambda: replace(gathered(), proof=FIRST.proof(1)),
        "proof.account",
        "the proof is about another account",
    ),
    "claims paid to another address": (
        lambda: gathered(Epoch(with_mine(payout=bytes(19) + b"\x01"))),
        "proof.payout",
        "claims of this leaf would be paid to an address that is not yours",
    ),
    "another vault": (
        lambda: gathered(FIRST.with_head(vault=bytes(20))),
        "head.vault",
        "the head is meant for another vault",
    ),
    "another chain": (
        lambda: gathered(FIRST.with_head(chain_id=1)),
        "head.chain_id",
        "the head is meant for another chain",
    ),
    "an older epoch's proof under the newest anchor": (
        lambda: gathered(FIRST, SECOND),
        "anchor.epoch",
        "the anchor is that of epoch 2, the head that of epoch 1",
    ),
}


@pytest.mark.parametrize(("lie", "field", "sentence"), LIES.values(), ids=LIES.keys())
def test_a_lie_is_answered_by_its_sentence(
    lie: Callable[[], Gathered], field: str, sentence: str
) -> None:
    error = mismatch(lie())
    assert (error.field, error.message) == (field, sentence)
    assert (error.exit_code, error.code) == (10, "proof_broken")


def test_the_vault_is_the_wallets_and_never_the_ledgers() -> None:
    elsewhere = replace(OWN, vault=BoundVault(CHAIN_ID, bytes(20), bytes(20)))
    assert mismatch(gathered(), elsewhere).field == "head.vault"


def test_a_head_signed_by_a_key_without_the_ledgers_certificate_is_none_of_the_ledgers() -> None:
    stranger = SigningKey(bytes(31) + b"\x05")
    forged = SignedHead.sign(stranger, DOMAIN, FIRST.head)
    root = SigningKey(bytes(31) + b"\x06")
    own_certificate = Certificate.issue(root, DOMAIN.network, stranger.public, 0, 2_000_000_000)
    for certificate in (CERTIFICATE, own_certificate):
        for proof in (FIRST.proof(MINE), None):
            found = Gathered(CertifiedHead(forged, certificate), FIRST.anchor, proof)
            assert mismatch(found).field in ("head.signature", "certificate.root_key")


def test_no_leaf_is_in_order_for_whoever_never_had_tokens() -> None:
    found = judge(replace(gathered(receipt=None), proof=None), OWN)
    assert (found.proof, found.total) == (None, ZERO)
    nothing = Receipt(ZERO, 70, ZERO, 1)
    assert judge(replace(gathered(receipt=nothing), proof=None), OWN).total == ZERO
    spent = replace(OWN, given=Given(TOTAL, TOTAL))
    assert judge(replace(gathered(), proof=None), spent).total == ZERO


def test_without_a_leaf_the_head_is_checked_all_the_same() -> None:
    lie = replace(gathered(Epoch(RICHER), FIRST, receipt=None), proof=None)
    assert mismatch(lie).field == "anchor.root"


def test_a_leaf_once_seen_never_goes_away() -> None:
    later = after(FIRST, FIRST.leaves)
    found = replace(gathered(later, receipt=None), proof=None)
    error = mismatch(found, replace(OWN, seen=seen()))
    assert error.message == (
        f"the ledger shows no leaf of yours in epoch 2; in epoch 1 you had one with {TOTAL} tok"
    )


def test_what_was_released_for_withdrawal_never_falls() -> None:
    less = with_mine(withdrawable=ZERO, balance=TOTAL)
    error = mismatch(gathered(after(FIRST, less)), replace(OWN, seen=seen()))
    assert error.field == "proof.withdrawable"
    assert "were released for withdrawal by epoch 1, in epoch 2 it is only 0" in error.message


def test_a_leaf_never_moves() -> None:
    moved = [FIRST.leaves[0], FIRST.leaves[1], leaf(9), LEAF, *FIRST.leaves[4:]]
    second = after(FIRST, moved)
    found = replace(gathered(second), proof=second.proof(3))
    assert mismatch(found, replace(OWN, seen=seen())).field == "proof.position"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prev": bytes(31) + b"\x01"}, "follows another head of epoch 1"),
        ({"journal_size": 3}, "the journal lost transfers between epochs 1 and 2"),
        ({"deposit_seq": 0}, "credited deposits were taken back"),
    ],
)
def test_a_rewritten_history_is_shown_with_both_heads(
    changes: dict[str, object], said: str
) -> None:
    second = after(FIRST, FIRST.leaves)
    second.head = replace(second.head, **changes)
    error = mismatch(gathered(second, receipt=None), replace(OWN, seen=seen()))
    assert said in error.message
    assert error.evidence.other_head == CertifiedHead(FIRST.signed, CERTIFICATE)


def test_two_heads_for_one_epoch_are_shown_even_when_the_chain_holds_the_second() -> None:
    twin = FIRST.with_head(credit=Amount(1))
    error = mismatch(gathered(twin), replace(OWN, seen=seen()))
    assert error.message == "the ledger signed two different heads for epoch 1"


def test_no_payout_address_is_in_order_only_until_the_ledger_has_confirmed_one() -> None:
    unnamed = Epoch(with_mine(payout=NO_PAYOUT))
    assert judge(gathered(unnamed), OWN).total == TOTAL
    later = replace(OWN, named_at=FIRST.head.closed_at - 100)
    assert judge(gathered(unnamed), later).total == TOTAL
    before = replace(OWN, named_at=FIRST.head.closed_at - 200)
    assert mismatch(gathered(unnamed), before).field == "proof.payout"


def test_a_former_owners_address_is_in_order_only_in_epochs_from_before_the_account_came() -> None:
    theirs = Epoch(with_mine(payout=bytes(19) + b"\x01"))
    closed_at = theirs.head.closed_at
    came_later = replace(OWN, since=closed_at)
    assert judge(gathered(theirs), came_later).evidence.payout is None
    came_before = replace(OWN, since=closed_at - TIME_TOLERANCE_S - 1)
    assert mismatch(gathered(theirs), came_before).field == "proof.payout"
    assert judge(gathered(Epoch(with_mine())), came_before).evidence.payout == OWN.payout


def test_random_changes_of_what_was_gathered_are_never_called_verified() -> None:
    """Any one bit of the proof or of the head's body."""
    proof, body = FIRST.proof(MINE).to_bytes(), FIRST.head.to_bytes()
    changed = 0
    for bit in range(0, 8 * len(proof), 3):
        lie = bytearray(proof)
        lie[bit // 8] ^= 1 << bit % 8
        try:
            read = BalanceProof.from_bytes(bytes(lie))
        except Exception:
            continue
        changed += 1
        mismatch(replace(gathered(receipt=None), proof=read))
    for bit in range(0, 8 * len(body), 7):
        lie = bytearray(body)
        lie[bit // 8] ^= 1 << bit % 8
        try:
            head = EpochHead.from_bytes(bytes(lie))
        except Exception:
            continue
        changed += 1
        signed = SignedHead(head, FIRST.signed.signature)
        mismatch(replace(gathered(receipt=None), head=CertifiedHead(signed, CERTIFICATE)))
    assert changed > 500


def test_an_anchor_of_the_ring_has_no_file_and_is_enough() -> None:
    bare = replace(FIRST.anchor, file=None)
    assert isinstance(bare, Anchored)
    assert judge(replace(gathered(), anchor=bare), OWN).total == TOTAL


def test_tokens_that_were_paid_out_before_cannot_stand_for_those_that_are_missing() -> None:
    """Released tokens stay in the leaf's sum for ever, and are no part of a confirmed balance."""
    first = Epoch(with_mine(withdrawable=Amount(100), balance=Amount(0)))
    kept = Evidence(
        DOMAIN, CHAIN_ID, VAULT, LEAF.account, OK, first.proof(MINE),
        CertifiedHead(first.signed, CERTIFICATE),
    )  # fmt: skip
    later = Receipt(Amount(50), first.head.journal_size + 2, ZERO, 1_799_999_500)
    honest = after(first, with_mine(withdrawable=Amount(100), balance=Amount(50)))
    theft = after(first, with_mine(withdrawable=Amount(100), balance=Amount(0)))
    for own in (replace(OWN, seen=kept), replace(OWN, kept=(kept,))):
        assert judge(gathered(honest, receipt=later), own).at_least == Amount(150)
        assert mismatch(gathered(theft, receipt=later), own).field == "proof.total"
    before = replace(later, journal_size=first.head.journal_size - 1)
    assert judge(gathered(theft, receipt=before), replace(OWN, seen=kept)).at_least == Amount(50)


def test_a_head_that_was_signed_and_never_anchored_contradicts_the_one_on_the_chain() -> None:
    twin = FIRST.with_head(credit=Amount(1))
    shown = Evidence(
        DOMAIN, CHAIN_ID, VAULT, LEAF.account, "not checked", twin.proof(MINE),
        CertifiedHead(twin.signed, CERTIFICATE),
    )  # fmt: skip
    error = mismatch(gathered(), replace(OWN, kept=(shown,)))
    assert error.message == "the ledger signed two different heads for epoch 1"
    assert error.evidence.other_head == shown.head
