"""speedpay: a BitTorrent client whose users can pay for speed and be paid for upload.

Packages import only downwards; ``docs/architecture.md`` draws the layers. Start reading at
``market/bidder.py`` (what a download offers), ``channel/payee.py`` (what a seller accepts) or
``ledger/book.py`` (how money moves).
"""

__version__ = "0.1.0"
