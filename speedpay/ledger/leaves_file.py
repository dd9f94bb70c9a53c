"""The epoch's file of leaves and its torrent (BEP 3, version 1): names, bytes, the infohash.

(leaf hash 32 ‖ sum u64) of every leaf in order of position, nothing else: enough for anybody to
compute root and liabilities and to make the proof of his own leaf, and no account, address or salt.
The anchored root authenticates the content, so no trust rests on SHA-1. The info dictionary has
nothing in it that differs between two makers of one epoch's torrent.
"""

from __future__ import annotations

from hashlib import sha1

from speedpay.proof.sum_tree import NODE_BYTES

PIECE_BYTES = 2**18
_BEFORE, _AFTER = b"d4:info", b"e"


def name_of(ledger_id: bytes, epoch: int) -> str:
    return f"speedpay-{ledger_id.hex()[:16]}-epoch-{epoch}.leaves"


def patched(content: bytearray, changes: dict[int, bytes], leaf_count: int) -> None:
    """Make the file of the next epoch of the one before it."""
    content.extend(bytes(NODE_BYTES * leaf_count - len(content)))
    for position, node in changes.items():
        content[NODE_BYTES * position : NODE_BYTES * (position + 1)] = node


def torrent(name: str, content: bytes | bytearray) -> bytes:
    """The metainfo file. It names no tracker: the answer about an epoch says who seeds it."""
    return _BEFORE + _info(name, content) + _AFTER


def infohash(name: str, content: bytes | bytearray) -> bytes:
    """20 bytes, as in the head."""
    return infohash_of(torrent(name, content))


def infohash_of(metainfo: bytes) -> bytes:
    """That of what ``torrent`` has made."""
    return sha1(metainfo[len(_BEFORE) : -len(_AFTER)], usedforsecurity=False).digest()


def _info(name: str, content: bytes | bytearray) -> bytes:
    """Bencoded; the keys in the order of their bytes."""
    view = memoryview(content)
    pieces = b"".join(
        sha1(view[at : at + PIECE_BYTES], usedforsecurity=False).digest()
        for at in range(0, len(view), PIECE_BYTES)
    )
    view.release()
    return b"d6:lengthi%de4:name%d:%s12:piece lengthi%de6:pieces%d:%se" % (
        len(content), len(name), name.encode(), PIECE_BYTES, len(pieces), pieces
    )  # fmt: skip
