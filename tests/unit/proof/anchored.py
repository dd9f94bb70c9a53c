"""A small ledger's epoch as values: leaves, head, anchor, and what a user brings to the check."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

from speedpay.proof.balance import Anchored, BalanceProof, verify
from speedpay.proof.head import NO_HEAD, EpochHead, SignedHead
from speedpay.proof.leaf import Leaf, salt_of
from speedpay.proof.sum_tree import path_of, root_of
from speedpay.signing import Domain, SigningKey
from speedpay.units import Amount
from tests.vectors.generate import DOMAIN, RESPONSE

CHAIN_ID = 0x5350DE00
VAULT = hashlib.sha256(b"vault").digest()[:20]


def leaf(number: int, chain_id: int = CHAIN_ID, vault: bytes = VAULT) -> Leaf:
    named = hashlib.sha256(b"%d" % number).digest()
    return Leaf(
        chain_id, vault, named[:16], named[:20], Amount(number * 1_000), Amount(number * 2_500_000),
        salt_of(named, number),
    )  # fmt: skip


@dataclass
class Epoch:
    """Five leaves unless told otherwise. ``head`` is signed, ``anchor`` is what an honest one is."""

    leaves: list[Leaf] = field(default_factory=lambda: [leaf(n) for n in range(1, 6)])
    domain: Domain = DOMAIN
    key: SigningKey = RESPONSE

    def __post_init__(self) -> None:
        self.nodes = [each.node() for each in self.leaves]
        root = root_of(self.nodes)
        self.head = EpochHead(
            1, 1_800_000_000, CHAIN_ID, VAULT, root.hash, Amount(root.sum), Amount(10_000_000),
            len(self.nodes), 77, hashlib.sha256(b"journal").digest(), 3,
            hashlib.sha256(b"file").digest()[:20], NO_HEAD,
        )  # fmt: skip

    @property
    def signed(self) -> SignedHead:
        return SignedHead.sign(self.key, self.domain, self.head)

    @property
    def anchor(self) -> Anchored:
        head = self.head
        return Anchored(
            head.epoch, head.root, head.hash(self.domain), head.liabilities, head.journal_size,
            head.deposit_seq, head.file,
        )  # fmt: skip

    def proof(self, position: int = 2) -> BalanceProof:
        at = self.leaves[position]
        return BalanceProof(
            self.head.epoch, position, at.account, at.payout, at.withdrawable, at.balance, at.salt,
            path_of(self.nodes, position),
        )  # fmt: skip

    def with_head(self, **changes: Any) -> Epoch:
        """The same leaves under a head that says something else, signed all the same."""
        made = Epoch(self.leaves, self.domain, self.key)
        made.head = replace(self.head, **changes)
        return made

    def verify(
        self,
        proof: BalanceProof | None = None,
        signed: SignedHead | None = None,
        anchor: Anchored | None = None,
        **known: Any,
    ) -> Amount:
        """The check as the owner of leaf 2 makes it; every argument can be replaced."""
        mine = self.leaves[min(2, len(self.leaves) - 1)]
        return verify(
            proof or self.proof(),
            signed or self.signed,
            anchor or self.anchor,
            **{
                "domain": self.domain,
                "response_key": self.key.public,
                "chain_id": CHAIN_ID,
                "vault": VAULT,
                "account": mine.account,
                "payout": mine.payout,
                "at_least": mine.withdrawable + mine.balance,
                **known,
            },
        )
