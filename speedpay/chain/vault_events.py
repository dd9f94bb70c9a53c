"""What the vault wrote into the chain's log: deposits, anchors, claims, the freeze, refunds.

Everything is checked: the first topic says which event it is, and what is not exactly of its types is
Malformed. A deposit is known by its transaction and the log's place in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from speedpay.chain import abi
from speedpay.chain.answers import Event
from speedpay.proof.balance import Anchored
from speedpay.units import Amount

_DEPOSITED = "Deposited(uint64,bytes16,address,uint64,uint64)"
_DEPOSITED_INDEXED = (True, True, True, False, False)
_ANCHORED = "Anchored(uint64,bytes32,bytes32,uint64,uint64,uint64,bytes20,bytes32)"
_ANCHORED_INDEXED = (True, *(False,) * 7)
_CLAIMED = "Claimed(bytes16,address,uint64,uint64,uint64)"
_CLAIMED_INDEXED = (True, True, False, False, False)
_FROZEN = "Frozen(uint64,uint64,address)"
_FROZEN_INDEXED = (True, False, False)
_REFUNDED = "Refunded(uint64,address,uint64)"
_REFUNDED_INDEXED = (True, True, False)


@dataclass(frozen=True, slots=True)
class Deposit:
    """``seq``: from 1 without a gap; ``account`` 16 bytes; ``sender`` 20; ``total``: of all so far."""

    seq: int
    account: bytes
    sender: bytes
    amount: Amount
    total: Amount
    txid: bytes
    log_index: int
    block: int


@dataclass(frozen=True, slots=True)
class Claim:
    """``amount``: paid now; ``paid``: to this account ever."""

    account: bytes
    payout: bytes
    amount: Amount
    paid: Amount
    epoch: int
    txid: bytes
    log_index: int
    block: int


@dataclass(frozen=True, slots=True)
class Frozen:
    """``epoch``: the last one that counts; ``by``: 20 bytes."""

    epoch: int
    deposit_seq: int
    by: bytes
    txid: bytes
    block: int


@dataclass(frozen=True, slots=True)
class Refund:
    seq: int
    to: bytes
    amount: Amount
    txid: bytes
    log_index: int
    block: int


@dataclass(frozen=True, slots=True)
class Events:
    """All that happened to the vault in a range of final blocks, each list in the chain's order."""

    deposits: list[Deposit]
    anchors: list[Anchored]
    claims: list[Claim]
    frozen: list[Frozen]
    refunds: list[Refund]


def read(logged: Sequence[Event]) -> Events:
    """Sorts them by kind. Raises Malformed; an event that is none of these is passed over."""
    found = Events([], [], [], [], [])
    for event in logged:
        here = (event.txid, event.index, event.block)
        if abi.is_event(_DEPOSITED, event.topics):
            seq, account, sender, amount, total = _decoded(_DEPOSITED, _DEPOSITED_INDEXED, event)
            found.deposits.append(
                Deposit(seq, account, sender, Amount(amount), Amount(total), *here)
            )
        elif abi.is_event(_ANCHORED, event.topics):
            epoch, root, head, liabilities, journal_size, deposit_seq, file, _ = _decoded(
                _ANCHORED, _ANCHORED_INDEXED, event
            )
            found.anchors.append(Anchored(
                epoch, root, head, Amount(liabilities), journal_size, deposit_seq, file,
                txid=event.txid, block=event.block,
            ))  # fmt: skip
        elif abi.is_event(_CLAIMED, event.topics):
            account, payout, amount, paid, epoch = _decoded(_CLAIMED, _CLAIMED_INDEXED, event)
            found.claims.append(Claim(account, payout, Amount(amount), Amount(paid), epoch, *here))
        elif abi.is_event(_FROZEN, event.topics):
            epoch, deposit_seq, by = _decoded(_FROZEN, _FROZEN_INDEXED, event)
            found.frozen.append(Frozen(epoch, deposit_seq, by, event.txid, event.block))
        elif abi.is_event(_REFUNDED, event.topics):
            seq, to, amount = _decoded(_REFUNDED, _REFUNDED_INDEXED, event)
            found.refunds.append(Refund(seq, to, Amount(amount), *here))
    return found


def _decoded(signature: str, indexed: Sequence[bool], event: Event) -> tuple[Any, ...]:
    return abi.decode_event(signature, indexed, event.topics, event.data)
