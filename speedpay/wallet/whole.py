"""The whole tree of an epoch, added up by one of its owners. Pure.

It shows what no single proof can: that the leaves published for everybody lead to the anchored root,
that together they are what the ledger says it owes, and that one's own leaf stands among them. Whose
the others are it does not show, nor that each of their owners agrees.
"""

from __future__ import annotations

from collections.abc import Sequence

from speedpay.errors import Malformed
from speedpay.proof.balance import BalanceProof, broken
from speedpay.proof.head import EpochHead
from speedpay.proof.leaf import Leaf
from speedpay.proof.sum_tree import Node, root_of
from speedpay.units import Amount


def check_whole(leaves: Sequence[Node], head: EpochHead, proof: BalanceProof) -> Amount:
    """The sum of all. ``head`` and ``proof`` have been checked before. Raises ProofBroken."""
    if len(leaves) != head.leaf_count:
        broken(
            "head.leaf_count", f"there are {len(leaves)} leaves, the head says {head.leaf_count}"
        )
    try:
        root = root_of(leaves)
    except Malformed as error:
        broken("leaves", f"the leaves add up to the impossible: {error}")
    if root.hash != head.root:
        broken("leaves", "the published leaves do not lead to the root on the chain")
    if root.sum != head.liabilities.utok:
        broken(
            "leaves",
            f"the leaves add up to {Amount(root.sum)} tok, the liabilities are {head.liabilities}",
        )
    own = Leaf(
        head.chain_id, head.vault, proof.account, proof.payout, proof.withdrawable, proof.balance,
        proof.salt,
    )  # fmt: skip
    if leaves[proof.position] != own.node():
        broken("leaves", "your leaf is not where your proof says")
    return Amount(root.sum)
