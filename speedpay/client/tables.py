"""The tables of a client's store. Each file of this package that reads or writes some of them names them;
``store.py`` opens the file and brings an older one up to date."""

from __future__ import annotations

import sqlalchemy as sa

#: Files of an earlier version gain the tables they lack; what they have keeps its columns.
VERSION = 2
UPGRADED_FROM = (0, 1)
METADATA = sa.MetaData()
_blob, _whole, _text = sa.LargeBinary, sa.BigInteger, sa.Text

#: One purchase of a torrent. ``done``: the download is complete; the next one makes a new plan.
plans = sa.Table(
    "plans", METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("infohash", _blob, nullable=False),
    sa.Column("body", _text, nullable=False),
    sa.Column("money_class", _text, nullable=False),
    sa.Column("done", sa.Boolean, nullable=False, default=False),
)  # fmt: skip
#: Requests to the ledger that may have happened: repeated with the same key until it answers.
orders = sa.Table(
    "orders", METADATA,
    sa.Column("key", _blob, primary_key=True),
    sa.Column("plan", sa.ForeignKey("plans.id"), nullable=False),
    sa.Column("payee_key", _blob, nullable=False),
    sa.Column("nonce", _blob, nullable=False),
    sa.Column("channel", _blob),
    sa.Column("amount", _whole, nullable=False),
    sa.Column("lifetime_s", _whole, nullable=False),
)  # fmt: skip
paying = sa.Table(
    "paying", METADATA,
    sa.Column("channel", _blob, primary_key=True),
    sa.Column("plan", sa.ForeignKey("plans.id"), nullable=False),
    sa.Column("statement", _blob, nullable=False),
    sa.Column("signature", _blob, nullable=False),
    sa.Column("signed", _whole, nullable=False),
    sa.Column("acknowledged", _whole, nullable=False),
    sa.Column("paid", _whole),
)  # fmt: skip
paid = sa.Table(
    "paid", METADATA,
    sa.Column("channel", _blob, primary_key=True),
    sa.Column("infohash", _blob, nullable=False),
    sa.Column("statement", _blob, nullable=False),
    sa.Column("signature", _blob, nullable=False),
    sa.Column("cumulative", _whole, nullable=False),
    sa.Column("voucher", _blob),
    sa.Column("redeemed", _whole, nullable=False),
    sa.Column("closed", sa.Boolean, nullable=False),
    sa.Column("at", _whole, nullable=False),
)  # fmt: skip
resumes = sa.Table(
    "resumes", METADATA,
    sa.Column("infohash", _blob, primary_key=True),
    sa.Column("save_dir", _text, nullable=False),
    sa.Column("data", _blob, nullable=False),
)  # fmt: skip
