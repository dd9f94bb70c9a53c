"""Events of one contract, block by block, from the receipts that nodes keep.

tronpy has no call for events, and the event servers of public nodes are a third party to be believed.
The receipts of a block (``gettransactioninfobyblocknum``) are what every full node has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from speedpay.chain import answers
from speedpay.chain.answers import Event
from speedpay.errors import ChainUnreachable, Malformed

if TYPE_CHECKING:
    from speedpay.chain.node import Node

#: Blocks in one call: about an hour of TRON, a minute or two of asking.
MAX_BLOCKS = 1200
#: What one block caused, as JSON: a few hundred KB, unless somebody burns TRX to make it more.
MAX_BLOCK_BYTES = 64 * 1024 * 1024
#: Transactions in one block; TRON has had about 1,500 at most (blocks have 2 MB).
MAX_RECEIPTS = 20_000


def events(node: Node, contract: bytes, from_block: int, to_block: int) -> list[Event]:
    """Those of both blocks and all between, in their order on chain.

    Raises ChainUnreachable when the node does not hold ``to_block`` to be final: for a block that it
    does not have a node answers as for an empty one, and a deposit in it would be passed over.
    """
    if not 0 <= from_block <= to_block or to_block - from_block >= MAX_BLOCKS:
        raise Malformed(f"must be 1 to {MAX_BLOCKS} blocks", field="from_block")
    solid = answers.block(node.call(lambda tron: tron.get_latest_solid_block())).number
    if solid < to_block:
        raise ChainUnreachable(f"{node.url} has final blocks up to {solid} only, not {to_block}")
    found: list[Event] = []
    for number in range(from_block, to_block + 1):
        found += block_events(node, contract, number)
    return found


def block_events(node: Node, contract: bytes, number: int) -> list[Event]:
    """What others did in the same block is passed over unread: no log of theirs, however long or odd,
    may keep us from ours."""
    answer = node.ask("wallet/gettransactioninfobyblocknum", {"num": number}, MAX_BLOCK_BYTES)
    found: list[Event] = []
    # A block without transactions: [] or {}, by version of the node.
    for entry in answers.listed(answer or [], "receipts", MAX_RECEIPTS):
        fields = answers.mapping(entry, "receipt")
        if answers.whole(fields.get("blockNumber", 0), "receipt.blockNumber") != number:
            raise Malformed(f"is not of block {number}", field="receipt.blockNumber")
        found += answers.events(fields, contract)
    return found
