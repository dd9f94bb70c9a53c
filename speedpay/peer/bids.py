"""Which bid was in force when a block was requested. Buyer and seller must find the same answer.

Both keep the same list: (number of the bid's message on the connection, price), oldest first.
"""

from __future__ import annotations

from speedpay.units import NO_PRICE, Price

Bids = list[tuple[int, Price]]
#: More than can be in flight at six rebids a minute; both sides forget the same ones.
_MAX_BIDS = 64


def keep_bids(bids: Bids, number: int, price: Price) -> Bids:
    return [*bids, (number, price)][-_MAX_BIDS:]


def price_in_force(bids: Bids, asked_after: int) -> Price:
    """The price of a block requested after that many of the buyer's messages: the newest bid before
    it; for a request older than every bid, the oldest one. Zero without any bid.

    It changes nothing: disks answer requests out of order, and one side may not look at blocks that
    the other one does.
    """
    for number, price in reversed(bids):
        if number <= asked_after:
            return price
    return bids[0][1] if bids else NO_PRICE
