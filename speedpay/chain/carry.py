"""One transaction from the wish to the block, whatever is interrupted on the way.

The signed bytes are stored before they are sent; after a crash the same bytes are sent again, and
another transaction is made only when the first can never be in a block any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from speedpay.chain.answers import Receipt
from speedpay.chain.keys import ChainKey
from speedpay.chain.transaction import Signed, Unsigned
from speedpay.chain.tron import Tron, succeeded
from speedpay.errors import ChainUnreachable

#: A node may have lost it out of its memory; sent again, it counts once.
RESEND_S = 10.0


def carry(
    tron: Tron, key: ChainKey, prepare: Callable[[], Unsigned], stored: str | None,
    store: Callable[[str], None], *, solid: bool = True, timeout_s: float = 600.0,
) -> tuple[Signed, Receipt]:  # fmt: skip
    """``stored``: what ``store`` was given by an earlier run, if any; ``store`` must be durable, and
    is given "" when the transaction failed for good and is to be forgotten.

    Returns what was signed and its receipt, from a final block when ``solid``. Raises ChainRefused when
    it was refused, or failed in its block; ChainUnreachable after ``timeout_s``, when a later run may
    go on.
    """
    signed = Signed.from_stored(stored) if stored else None
    until = time.monotonic() + timeout_s
    send_at = 0.0
    while True:
        if signed is None:
            signed = prepare().sign(key)
            store(signed.text)
            send_at = 0.0
        receipt = tron.receipt(signed.txid, solid=solid)
        if receipt is not None:
            if solid and not receipt.ok:
                store("")
            return signed, succeeded(receipt)
        if tron.head().time_s > signed.expires_at:
            # Final first, known second: a block in between can make it known, never possible again.
            if tron.expired(signed) and not tron.known(signed.txid):
                signed = None
                continue
        elif time.monotonic() >= send_at:
            tron.broadcast(signed)
            send_at = time.monotonic() + RESEND_S
        if time.monotonic() > until:
            raise ChainUnreachable(f"{signed.txid.hex()} is in no block after {timeout_s:g} s")
        tron.pause()
