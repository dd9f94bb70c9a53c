"""The tables of a client's store. Each file of this package that reads or writes some of them names them;
``store.py`` opens the file and brings an older one up to date."""

from __future__ import annotations

import sqlalchemy as sa

#: Files of an earlier version gain the tables they lack; what they have keeps its columns.
VERSION = 4
UPGRADED_FROM = (0, 1, 2, 3)
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
#: What a purchase was when it ended, or was interrupted last: one row a plan. Money is explained by the
#: channels of the plan and not by this row. ``gain_ppm``: paid speed ÷ free speed, in millionths.
receipts = sa.Table(
    "receipts", METADATA,
    sa.Column("plan", sa.ForeignKey("plans.id"), primary_key=True),
    sa.Column("name", _text, nullable=False),
    sa.Column("byte_count", _whole, nullable=False),
    sa.Column("began", _whole, nullable=False),
    sa.Column("ended", _whole, nullable=False),
    sa.Column("milliseconds", _whole, nullable=False),
    sa.Column("paid", _whole, nullable=False),
    sa.Column("predicted_ms", _whole),
    sa.Column("predicted_utok", _whole),
    sa.Column("gain_ppm", _whole),
)  # fmt: skip
#: What the payee of a channel signed when the sale ended (``channel/receipt.py``): the newest. ``salt``: with
#: it and the infohash of the channel's plan its commitment is made again.
payee_receipts = sa.Table(
    "payee_receipts", METADATA,
    sa.Column("channel", _blob, primary_key=True),
    sa.Column("cumulative", _whole, nullable=False),
    sa.Column("byte_count", _whole, nullable=False),
    sa.Column("salt", _blob, nullable=False),
    sa.Column("time", _whole, nullable=False),
    sa.Column("signature", _blob, nullable=False),
)  # fmt: skip
#: Answers of the ledger with its signature, whole; one may be about several channels.
answers = sa.Table(
    "answers", METADATA,
    sa.Column("id", _blob, primary_key=True),
    sa.Column("body", _blob, nullable=False),
)  # fmt: skip
#: Of each channel, of either side, the newest answer that says what was paid of it.
closings = sa.Table(
    "closings", METADATA,
    sa.Column("channel", _blob, primary_key=True),
    sa.Column("answer", sa.ForeignKey("answers.id"), nullable=False, index=True),
    sa.Column("at", _whole, nullable=False),
)  # fmt: skip
#: The ledger's certificates that were met: with them statements are checked while it is away.
certificates = sa.Table(
    "certificates", METADATA,
    sa.Column("response_key", _blob, primary_key=True),
    sa.Column("body", _blob, nullable=False),
)  # fmt: skip
#: Heads that the ledger signed, whoever showed them: the newest of each ledger (``proof/heads.py``), in the
#: form in which peers show them to each other.
heads = sa.Table(
    "heads", METADATA,
    sa.Column("ledger", _blob, primary_key=True),
    sa.Column("epoch", _whole, primary_key=True),
    sa.Column("body", _blob, nullable=False),
)  # fmt: skip
#: Two heads each that convict a ledger, as peers show evidence. Until ``accepted`` nothing is traded there.
#: ``at``: when they were found, then when that was accepted.
contradictions = sa.Table(
    "contradictions", METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("ledger", _blob, nullable=False),
    sa.Column("says", _text, nullable=False),
    sa.Column("body", _blob, nullable=False),
    sa.Column("at", _whole, nullable=False),
    sa.Column("accepted", sa.Boolean, nullable=False),
)  # fmt: skip
#: What the ledger's root key took back: never forgotten, whatever the ledger answers later.
revocations = sa.Table(
    "revocations", METADATA,
    sa.Column("response_key", _blob, primary_key=True),
    sa.Column("body", _blob, nullable=False),
)  # fmt: skip
#: Response keys on whose channels the ledger has paid us.
proven = sa.Table(
    "proven", METADATA,
    sa.Column("response_key", _blob, primary_key=True),
)  # fmt: skip
#: What left for others, by torrent and hour (unix hours), from ``began`` on (unix seconds). Statistics: a
#: crash loses up to a minute of them.
traffic = sa.Table(
    "traffic", METADATA,
    sa.Column("infohash", _blob, primary_key=True),
    sa.Column("hour", _whole, primary_key=True),
    sa.Column("began", _whole, nullable=False),
    sa.Column("paid_bytes", _whole, nullable=False),
    sa.Column("free_bytes", _whole, nullable=False),
    sa.Column("seconds", _whole, nullable=False),
)  # fmt: skip
#: What a torrent is called, for lists that name it when it is not running.
names = sa.Table(
    "names", METADATA,
    sa.Column("infohash", _blob, primary_key=True),
    sa.Column("name", _text, nullable=False),
)  # fmt: skip
#: What the user may spend in a span ("day", "month"), over all downloads; no row: no cap.
caps = sa.Table(
    "caps", METADATA,
    sa.Column("span", _text, primary_key=True),
    sa.Column("utok", _whole, nullable=False),
)  # fmt: skip
#: Signed in vouchers, by UTC day (days since 1970).
spent = sa.Table(
    "spent", METADATA,
    sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("utok", _whole, nullable=False),
)  # fmt: skip
#: What each running client has set aside of the caps, until when (unix seconds).
leases = sa.Table(
    "leases", METADATA,
    sa.Column("holder", _blob, primary_key=True),
    sa.Column("utok", _whole, nullable=False),
    sa.Column("until", _whole, nullable=False),
)  # fmt: skip
