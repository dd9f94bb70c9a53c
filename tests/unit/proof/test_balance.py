"""The one check of a balance: what it accepts, each lie by the field it names, and every flipped bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedpay.errors import Malformed, ProofBroken
from speedpay.proof.balance import MAX_PROOF_BYTES, Anchored, BalanceProof
from speedpay.proof.head import EpochHead, SignedHead
from speedpay.proof.leaf import NO_PAYOUT, TREASURY, own_salt_key, salt_of
from speedpay.proof.sum_tree import EMPTY, Node
from speedpay.signing import Domain
from speedpay.units import MAX_UTOK, ZERO, Amount
from tests.unit.proof.anchored import CHAIN_ID, VAULT, Epoch, leaf
from tests.vectors.generate import DOMAIN, PAYER, RESPONSE

EPOCH = Epoch()
PROOF, SIGNED, ANCHOR = EPOCH.proof(), EPOCH.signed, EPOCH.anchor
TOTAL = PROOF.total
LEAST = Amount(1)
OTHER_CHAIN = Epoch([leaf(n, chain_id=CHAIN_ID + 1) for n in range(1, 6)])
OTHER_VAULT = Epoch([leaf(n, vault=bytes(20)) for n in range(1, 6)])
RICHER = EPOCH.with_head(liabilities=EPOCH.head.liabilities + LEAST)
LONGER = EPOCH.with_head(journal_size=78)
SHALLOW = EPOCH.with_head(leaf_count=3)
DEEP = EPOCH.with_head(leaf_count=9)
SHORT = EPOCH.with_head(leaf_count=2)


def test_every_owner_of_an_honest_epoch_gets_his_total() -> None:
    for count in (1, 2, 3, 5, 8, 9):
        epoch = Epoch([leaf(n) for n in range(1, count + 1)])
        for position, each in enumerate(epoch.leaves):
            found = epoch.verify(
                BalanceProof.from_bytes(epoch.proof(position).to_bytes()),
                account=each.account, payout=each.payout, at_least=each.withdrawable + each.balance,
            )  # fmt: skip
            assert found == each.withdrawable + each.balance


def test_an_owner_without_receipts_and_payout_is_answered_too() -> None:
    assert EPOCH.verify(payout=None, at_least=ZERO) == TOTAL


def test_an_anchor_from_the_ring_which_has_no_file_is_enough() -> None:
    assert EPOCH.verify(anchor=replace(ANCHOR, file=None, time=1, txid=bytes(32), block=9)) == TOTAL


LIES: dict[str, tuple[str, dict[str, Any]]] = {
    "signed by somebody else": (
        "head.signature", {"signed": SignedHead.sign(PAYER, DOMAIN, EPOCH.head)},
    ),
    "not signed": ("head.signature", {"signed": SignedHead(EPOCH.head, b"")}),
    "another head under the signature": (
        "head.signature", {"signed": SignedHead(RICHER.head, SIGNED.signature)},
    ),
    "of another ledger": ("head.signature", {"domain": Domain(DOMAIN.network, bytes(32))}),
    "of another network": ("head.signature", {"domain": Domain("other", DOMAIN.ledger_id)}),
    "head for another chain": ("head.chain_id", {"chain_id": CHAIN_ID + 1}),
    "head for another vault": ("head.vault", {"vault": bytes(20)}),
    "anchor of another epoch": ("anchor.epoch", {"anchor": replace(ANCHOR, epoch=2)}),
    "another root on chain": ("anchor.root", {"anchor": replace(ANCHOR, root=bytes(32))}),
    "another head on chain": ("anchor.head", {"anchor": replace(ANCHOR, head=bytes(32))}),
    "other liabilities on chain": (
        "anchor.liabilities", {"anchor": replace(ANCHOR, liabilities=LEAST)},
    ),
    "another journal size on chain": (
        "anchor.journal_size", {"anchor": replace(ANCHOR, journal_size=76)},
    ),
    "another deposit on chain": ("anchor.deposit_seq", {"anchor": replace(ANCHOR, deposit_seq=4)}),
    "another file on chain": ("anchor.file", {"anchor": replace(ANCHOR, file=bytes(20))}),
    "a second signed head, more owed": ("anchor.liabilities", {"signed": RICHER.signed}),
    "a second signed head, longer journal": ("anchor.journal_size", {"signed": LONGER.signed}),
    "a second signed head, more credit": (
        "anchor.head", {"signed": EPOCH.with_head(credit=ZERO).signed},
    ),
    "proof of another epoch": ("proof.epoch", {"proof": replace(PROOF, epoch=2)}),
    "proof of another account": ("proof.account", {"proof": EPOCH.proof(1)}),
    "own name on another's leaf": (
        "proof.root", {"proof": replace(EPOCH.proof(1), account=PROOF.account), "payout": None},
    ),
    "a payout that is not ours": ("proof.payout", {"payout": bytes(20)}),
    "a payout put in afterwards": (
        "proof.root", {"proof": replace(PROOF, payout=NO_PAYOUT), "payout": None},
    ),
    "a larger balance": ("proof.root", {"proof": replace(PROOF, balance=PROOF.balance + LEAST)}),
    "a smaller balance": ("proof.root", {"proof": replace(PROOF, balance=PROOF.balance - LEAST)}),
    "released instead of owned": (
        "proof.root",
        {"proof": replace(PROOF, balance=ZERO, withdrawable=TOTAL)},
    ),
    "another salt": ("proof.root", {"proof": replace(PROOF, salt=bytes(32))}),
    "another position": ("proof.root", {"proof": replace(PROOF, position=3)}),
    "a position beyond the leaves": ("proof.position", {"proof": replace(PROOF, position=5)}),
    "a path too short": ("proof.depth", {"proof": replace(PROOF, path=PROOF.path[:2])}),
    "a path too long": ("proof.depth", {"proof": replace(PROOF, path=(*PROOF.path, EMPTY))}),
    "sums that overflow": (
        "proof.node.sum",
        {"proof": replace(PROOF, path=(Node(bytes([1]) * 32, MAX_UTOK), *PROOF.path[1:]))},
    ),
    "a leaf whose own sum overflows": (
        "proof.node.sum", {"proof": replace(PROOF, balance=Amount(MAX_UTOK))},
    ),
    "an empty subtree that owes": (
        "proof.path", {"proof": replace(PROOF, path=(Node(EMPTY.hash, 5), *PROOF.path[1:]))},
    ),
    "below the receipts": ("proof.total", {"at_least": TOTAL + LEAST}),
}  # fmt: skip


@pytest.mark.parametrize(("field", "change"), LIES.values(), ids=LIES.keys())
def test_a_lie_is_refused_by_name(field: str, change: dict[str, Any]) -> None:
    with pytest.raises(ProofBroken) as caught:
        EPOCH.verify(**change)
    assert caught.value.field == field
    assert caught.value.exit_code == 10


WHOLE_EPOCH_LIES = {
    "leaves for another chain": (OTHER_CHAIN, "proof.root"),
    "leaves for another vault": (OTHER_VAULT, "proof.root"),
    "liabilities that are not the leaves'": (RICHER, "proof.sum"),
    "fewer leaves than there are": (SHALLOW, "proof.depth"),
    "more leaves than there are": (DEEP, "proof.depth"),
    "our leaf cut off": (SHORT, "proof.position"),
    "something after the last leaf": (EPOCH.with_head(leaf_count=4), "proof.depth"),
}


@pytest.mark.parametrize(("epoch", "field"), WHOLE_EPOCH_LIES.values(), ids=WHOLE_EPOCH_LIES.keys())
def test_a_lie_that_is_signed_and_anchored_is_refused_by_name(epoch: Epoch, field: str) -> None:
    proof = PROOF if epoch not in (OTHER_CHAIN, OTHER_VAULT) else epoch.proof()
    with pytest.raises(ProofBroken) as caught:
        epoch.verify(proof)
    assert caught.value.field == field


def test_a_tree_with_something_after_its_last_leaf_is_refused() -> None:
    """Six leaves under a head that says five: an amount nobody can ask for."""
    six = Epoch([leaf(n) for n in range(1, 7)])
    hidden = six.with_head(leaf_count=5)
    with pytest.raises(ProofBroken) as caught:
        hidden.verify(six.proof(4), account=six.leaves[4].account, payout=None, at_least=ZERO)
    assert caught.value.field == "proof.path"


def test_a_head_without_leaves_owes_nothing() -> None:
    with pytest.raises(ProofBroken) as caught:
        EPOCH.with_head(leaf_count=0).verify()
    assert caught.value.field == "head.root"


def test_amounts_in_the_sentences_are_tokens() -> None:
    with pytest.raises(ProofBroken, match=r"7\.503 tok of yours on chain; your receipts say 8"):
        EPOCH.verify(at_least=Amount(8_000_000))


def flipped(body: bytes, bit: int) -> bytes:
    changed = bytearray(body)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_any_flipped_bit_of_a_proof_is_refused() -> None:
    body = PROOF.to_bytes()
    for bit in range(len(body) * 8):
        with pytest.raises((ProofBroken, Malformed)):
            EPOCH.verify(BalanceProof.from_bytes(flipped(body, bit)))


def test_any_flipped_bit_of_a_head_or_its_signature_is_refused() -> None:
    body = SIGNED.head.to_bytes()
    for bit in range(len(body) * 8):
        with pytest.raises((ProofBroken, Malformed)):
            EPOCH.verify(
                signed=SignedHead(EpochHead.from_bytes(flipped(body, bit)), SIGNED.signature)
            )
    for bit in range(len(SIGNED.signature) * 8):
        with pytest.raises(ProofBroken, match=r"head\.signature"):
            EPOCH.verify(signed=SignedHead(SIGNED.head, flipped(SIGNED.signature, bit)))


def test_a_head_signed_anew_after_any_flipped_bit_does_not_match_the_chain() -> None:
    body = SIGNED.head.to_bytes()
    refused = 0
    for bit in range(0, len(body) * 8, 3):
        try:
            changed = EpochHead.from_bytes(flipped(body, bit))
        except Malformed:
            continue
        signed = SignedHead.sign(RESPONSE, DOMAIN, changed)
        with pytest.raises(ProofBroken):
            EPOCH.verify(signed=signed)
        refused += 1
    assert refused > 400


def test_any_flipped_bit_of_an_anchor_is_refused() -> None:
    for name in ("root", "head", "file"):
        body = getattr(ANCHOR, name)
        for bit in range(len(body) * 8):
            with pytest.raises(ProofBroken, match=rf"anchor\.{name}"):
                EPOCH.verify(anchor=replace(ANCHOR, **{name: flipped(body, bit)}))
    for name in ("epoch", "liabilities", "journal_size", "deposit_seq"):
        number = getattr(ANCHOR, name)
        for bit in range(63):
            if name == "liabilities":
                changed: object = Amount(number.utok ^ 1 << bit)
            else:
                changed = number ^ 1 << bit
            with pytest.raises(ProofBroken, match=rf"anchor\.{name}"):
                EPOCH.verify(anchor=replace(ANCHOR, **{name: changed}))


def test_a_proof_has_one_encoding_and_its_size_is_known() -> None:
    body = PROOF.to_bytes()
    assert BalanceProof.from_bytes(body) == PROOF
    assert len(body) == 102 + 3 * 40
    deep = replace(PROOF, path=PROOF.path + (EMPTY,) * 37)
    assert len(deep.to_bytes()) == MAX_PROOF_BYTES
    assert BalanceProof.from_bytes(deep.to_bytes()) == deep
    of_a_million = replace(PROOF, path=(PROOF.path[0],) * 20)
    assert len(of_a_million.to_bytes()) == 902
    with pytest.raises(Malformed, match=r"proof\.path"):
        replace(PROOF, path=(EMPTY,) * 41)


def _with(at: int, value: bytes) -> bytes:
    body = PROOF.to_bytes()
    return body[:at] + value + body[at + len(value) :]


NOT_PROOFS = {
    "nothing": (b"", "proof"),
    "cut short": (PROOF.to_bytes()[:-1], "proof.depth"),
    "cut within the leaf": (PROOF.to_bytes()[:101], "proof"),
    "a trailing byte": (PROOF.to_bytes() + b"\x00", "proof.depth"),
    "a trailing level": (PROOF.to_bytes() + bytes(40), "proof.depth"),
    "longer than 40 levels": (bytes(102 + 41 * 40), "proof"),
    "version 0": (_with(0, b"\x00"), "proof.version"),
    "version 2": (_with(0, b"\x02"), "proof.version"),
    "epoch 2^63": (_with(1, b"\x80"), "proof.epoch"),
    "position 2^depth": (_with(9, (8).to_bytes(8)), "proof.position"),
    "position 2^64-1": (_with(9, b"\xff" * 8), "proof.position"),
    "withdrawable 2^63": (_with(53, b"\x80"), "proof.withdrawable"),
    "balance 2^63": (_with(61, b"\x80"), "proof.balance"),
    "a sibling's sum of 2^63": (_with(134, b"\x80"), "node.sum"),
    "depth 255": (_with(101, b"\xff"), "proof.depth"),
}


@pytest.mark.parametrize(("body", "field"), NOT_PROOFS.values(), ids=NOT_PROOFS.keys())
def test_bytes_that_are_no_proof_are_refused(body: bytes, field: str) -> None:
    with pytest.raises(Malformed) as caught:
        BalanceProof.from_bytes(body)
    assert caught.value.field == field


@given(st.binary(max_size=400))
def test_random_bytes_never_do_anything_but_be_refused(body: bytes) -> None:
    with pytest.raises(Malformed):
        BalanceProof.from_bytes(b"\x02" + body)


def test_an_anchor_of_impossible_sizes_is_refused() -> None:
    for changes in ({"root": b""}, {"head": bytes(31)}, {"file": bytes(32)}, {"txid": b"1"},
                    {"epoch": -1}, {"journal_size": 2**63}, {"block": -1}):  # fmt: skip
        with pytest.raises(Malformed, match="anchor"):
            replace(ANCHOR, **changes)  # type: ignore[arg-type]
    assert Anchored(0, bytes(32), bytes(32), ZERO, 0, 0).file is None


def test_a_leaf_of_wrong_sizes_is_refused() -> None:
    good = leaf(1)
    for changes in ({"vault": b""}, {"account": bytes(15)}, {"payout": bytes(21)},
                    {"salt": b"s"}, {"chain_id": 0}, {"chain_id": 2**256}):  # fmt: skip
        with pytest.raises(Malformed, match="leaf"):
            replace(good, **changes)  # type: ignore[arg-type]


def test_a_salt_changes_with_the_version_and_the_key() -> None:
    salts = {salt_of(key, version) for key in (bytes(32), b"k" * 32) for version in range(5)}
    assert len(salts) == 10
    assert own_salt_key(bytes(32), TREASURY) != own_salt_key(bytes(32), PROOF.account)
    for wrong in (lambda: salt_of(b"", 1), lambda: salt_of(bytes(32), -1),
                  lambda: own_salt_key(bytes(31), TREASURY)):  # fmt: skip
        with pytest.raises(Malformed):
            wrong()


def test_the_vault_is_part_of_every_leaf() -> None:
    assert PROOF.root(CHAIN_ID, VAULT).hash == EPOCH.head.root
    assert PROOF.root(CHAIN_ID, bytes(20)).hash != EPOCH.head.root
