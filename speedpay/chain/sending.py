"""Giving a signed transaction to the network, and what the network's answers mean."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from speedpay.chain import answers
from speedpay.chain.transaction import Signed
from speedpay.errors import ChainRefused, ChainUnreachable

if TYPE_CHECKING:
    from speedpay.chain.node import Node
    from speedpay.chain.nodes import Nodes

#: ``Return.response_code`` of java-tron: the node cannot now, and another or later may.
_BUSY = frozenset({
    "SERVER_BUSY", "NO_CONNECTION", "NOT_ENOUGH_EFFECTIVE_CONNECTION", "BLOCK_UNSOLIDIFIED",
    "OTHER_ERROR",
})  # fmt: skip
_KNOWN_ALREADY = "DUP_TRANSACTION_ERROR"
_ATTEMPTS = 5
_FIRST_WAIT_S = 0.3


def broadcast(nodes: Nodes, signed: Signed) -> None:
    """Hands the same bytes to every node: one that takes them and keeps them back must not matter.

    Returns when one has it, now or already. Raises ChainRefused, whose field is the network's code,
    when all refuse it and none knows it; else ChainUnreachable. An answer that got lost may have been
    a yes, and then the next asking is refused as too late.
    """
    body = signed.body

    def asked(node: Node) -> None:
        for attempt in range(_ATTEMPTS):
            code, message = _outcome(node.ask("wallet/broadcasttransaction", body))
            if code in ("", _KNOWN_ALREADY):
                return
            if code not in _BUSY:
                raise ChainRefused(message or code, field=code)
            if attempt + 1 < _ATTEMPTS:
                nodes.sleep(_FIRST_WAIT_S * 2**attempt * random.uniform(0.5, 1.5))
        raise ChainUnreachable(f"{node.url} is busy: {message or code}")

    outcomes = nodes.each(asked)
    if None in outcomes or known(nodes, signed.txid):
        return
    unclear = [error for error in outcomes if error and not isinstance(error, ChainRefused)]
    if unclear:
        raise ChainUnreachable("; ".join(str(error) for error in unclear))
    assert outcomes[0] is not None
    raise outcomes[0]


def known(nodes: Nodes, txid: bytes) -> bool:
    """Has any node this transaction, in a block or waiting for one?

    False only when two nodes (or all there are) say that they have not; ChainUnreachable otherwise.
    """
    return nodes.known_to_any(lambda node: _has(node, txid))


def _has(node: Node, txid: bytes) -> bool:
    answer = answers.mapping(
        node.ask("wallet/gettransactionbyid", {"value": txid.hex()}), "transaction"
    )
    return bool(answer) and answers.hex_bytes(answer.get("txID"), "txID", 32) == txid


def _outcome(answer: Any) -> tuple[str, str]:
    """The code, empty for yes, and the message."""
    fields = answers.mapping(answer, "answer")
    if fields.get("result") is True and fields.get("code", "SUCCESS") == "SUCCESS":
        return "", ""
    return answers.text(fields.get("code"), "answer.code"), answers.message(fields)
