"""All leaves of an epoch, added up by one owner: what does not lead to the anchored root is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from speedpay.errors import ProofBroken
from speedpay.proof.sum_tree import EMPTY, Node
from speedpay.units import MAX_UTOK, Amount
from speedpay.wallet.whole import check_whole
from tests.unit.proof.anchored import Epoch

EPOCH = Epoch()
NODES, HEAD, PROOF = EPOCH.nodes, EPOCH.head, EPOCH.proof(2)


def test_the_leaves_of_an_honest_epoch_add_up_to_what_it_owes() -> None:
    assert check_whole(NODES, HEAD, PROOF) == HEAD.liabilities


LIES: dict[str, Callable[[], list[Node]]] = {
    "one leaf less": lambda: NODES[:-1],
    "one leaf more": lambda: [*NODES, EMPTY],
    "two leaves swapped": lambda: [NODES[1], NODES[0], *NODES[2:]],
    "a leaf that owes less": lambda: [Node(NODES[0].hash, 0), *NODES[1:]],
    "another leaf in my place": lambda: [*NODES[:2], NODES[3], *NODES[3:]],
    "more than there can be": lambda: [Node(one.hash, MAX_UTOK) for one in NODES],
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_leaves_that_are_not_those_of_the_head_are_refused(lie: Callable[[], list[Node]]) -> None:
    with pytest.raises(ProofBroken):
        check_whole(lie(), HEAD, PROOF)


def test_a_head_that_owes_something_else_than_its_leaves_is_refused() -> None:
    with pytest.raises(ProofBroken, match="add up to"):
        check_whole(NODES, replace(HEAD, liabilities=Amount(1)), PROOF)


def test_a_proof_of_a_leaf_that_is_not_there_is_refused() -> None:
    with pytest.raises(ProofBroken, match="your leaf is not where"):
        check_whole(NODES, HEAD, replace(PROOF, balance=Amount(1)))
    with pytest.raises(ProofBroken, match="your leaf is not where"):
        check_whole(NODES, HEAD, replace(PROOF, position=3))
