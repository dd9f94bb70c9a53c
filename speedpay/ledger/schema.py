"""The tables, and what the database itself refuses.

No table has a column for an address, a content identifier, a file name or an e-mail address:
what is not stored cannot leak. Opening is rated per block of addresses by a keyed hash that is
forgotten after two days. The constraints repeat the invariants I2 and I4 below our own code.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from speedpay.ledger.anchor_life import Attempt
from speedpay.ledger.chart import Kind
from speedpay.ledger_api.epochs import EpochState
from speedpay.ledger_api.shapes import ChannelState
from speedpay.units import MoneyClass

metadata = MetaData(
    naming_convention={
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)


def _one_of(column: str, names: list[str]) -> CheckConstraint:
    listed = ", ".join(f"'{name}'" for name in names)
    return CheckConstraint(f"{column} IN ({listed})", column)


#: SQLite keeps a table in the order of an INTEGER key; for a BIGINT it adds an index beside it.
_ROW = BigInteger().with_variant(Integer(), "sqlite")
_CLASSES = [money_class.value for money_class in MoneyClass]

#: One row. ``uptime_s`` counts the seconds in which some process served; see channels.py.
ledger = Table(
    "ledger",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("network", Text, nullable=False),
    Column("ledger_id", LargeBinary, nullable=False),
    Column("uptime_s", BigInteger, nullable=False),
    Column("beat_at", BigInteger, nullable=False),
    CheckConstraint("id = 1", "one_row"),
    CheckConstraint("uptime_s >= 0", "uptime"),
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("opened_at", BigInteger, nullable=False),
    CheckConstraint("length(id) = 16", "id"),
)

#: The one key of each account that somebody has opened. A row of its own, so that a key can be replaced
#: without moving the money. Written by accounts.py and owners.py.
account_keys = Table(
    "account_keys",
    metadata,
    Column("public_key", LargeBinary, primary_key=True),
    Column("account", LargeBinary, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("added_at", BigInteger, nullable=False),
    CheckConstraint("length(public_key) = 33", "public_key"),
)

#: Every change of an account's key, for ever: ``given`` is the old key's signature, ``consent`` the new
#: one's, see owners.py. ``payout``: the address that the new key accepts; ``left_payout``: one given up.
handovers = Table(
    "handovers",
    metadata,
    Column("old_key", LargeBinary, primary_key=True),
    Column("new_key", LargeBinary, nullable=False, unique=True),
    Column("account", LargeBinary, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("payout", LargeBinary, nullable=False),
    Column("left_payout", LargeBinary),
    Column("given", LargeBinary, nullable=False),
    Column("consent", LargeBinary, nullable=False),
    Column("time", BigInteger, nullable=False),
    CheckConstraint("old_key <> new_key", "two_keys"),
    CheckConstraint("length(old_key) = 33 AND length(new_key) = 33", "keys"),
    CheckConstraint("length(payout) = 20", "payout"),
)

#: Accounts whose history everybody may read, by their owners' wish.
published = Table(
    "published",
    metadata,
    Column("account", LargeBinary, ForeignKey("accounts.id"), primary_key=True),
    Column("since", BigInteger, nullable=False),
)

#: ``block``: keyed hash of an address block and the day (unix days).
openings = Table(
    "openings",
    metadata,
    Column("block", LargeBinary, primary_key=True),
    Column("day", BigInteger, nullable=False, index=True),
    Column("count", BigInteger, nullable=False),
    CheckConstraint("count > 0", "count"),
)

balances = Table(
    "balances",
    metadata,
    Column("account", Text, primary_key=True),
    Column("class", Text, primary_key=True),
    Column("balance", BigInteger, nullable=False),
    CheckConstraint("balance >= 0", "balance"),
    _one_of("class", _CLASSES),
)

#: The journal. Rows are only ever added; ``hash`` covers the row and ``prev``.
transfers = Table(
    "transfers",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("debit", Text, nullable=False),
    Column("credit", Text, nullable=False),
    Column("class", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("reference", LargeBinary, nullable=False),
    Column("prev", LargeBinary, nullable=False, unique=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    CheckConstraint("amount > 0", "amount"),
    CheckConstraint("debit <> credit", "two_accounts"),
    _one_of("kind", [kind.value for kind in Kind]),
    _one_of("class", _CLASSES),
    Index(None, "debit", "sequence"),
    Index(None, "credit", "sequence"),
)

#: ``signed``: highest total for which the ledger has seen the payer's signature (``voucher``).
#: ``paid_before``: ``paid`` before the last payment, so that one guarded statement can tell what
#: it has moved. ``claim_from``: uptime at which the claim window began. Written by channels.py.
channels = Table(
    "channels",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("payer", LargeBinary, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("payer_key", LargeBinary, nullable=False),
    Column("payee_key", LargeBinary, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("class", Text, nullable=False),
    Column("escrow", BigInteger, nullable=False),
    Column("paid", BigInteger, nullable=False),
    Column("paid_before", BigInteger, nullable=False),
    Column("signed", BigInteger, nullable=False),
    Column("refunded", BigInteger, nullable=False),
    Column("voucher", LargeBinary),
    Column("payee", LargeBinary, ForeignKey("accounts.id"), index=True),
    Column("assignment", LargeBinary),
    Column("state", Text, nullable=False),
    Column("expiry", BigInteger, nullable=False),
    Column("claim_s", BigInteger, nullable=False),
    Column("claim_from", BigInteger),
    Column("fee_ppm", BigInteger, nullable=False),
    CheckConstraint("0 <= paid AND paid <= signed AND signed <= escrow", "paid_signed_escrow"),
    CheckConstraint("0 <= refunded AND paid + refunded <= escrow", "refunded"),
    CheckConstraint("0 <= fee_ppm AND fee_ppm <= 1000000", "fee_ppm"),
    CheckConstraint("state <> 'closed' OR paid + refunded = escrow", "closed_is_empty"),
    CheckConstraint("(signed = 0) = (voucher IS NULL)", "voucher"),
    CheckConstraint("(payee IS NULL) = (assignment IS NULL)", "assignment"),
    CheckConstraint("paid = 0 OR payee IS NOT NULL", "paid_to_somebody"),
    _one_of("class", _CLASSES),
    _one_of("state", [state.value for state in ChannelState]),
    Index(None, "state", "expiry"),
)

#: One key of one account, one request, one outcome, for ever (I4).
idempotency = Table(
    "idempotency",
    metadata,
    Column("account", LargeBinary, ForeignKey("accounts.id"), primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("request_hash", LargeBinary, nullable=False),
    Column("status", BigInteger, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("time", BigInteger, nullable=False),
    CheckConstraint("length(key) = 16", "key"),
    CheckConstraint("length(request_hash) = 32", "request_hash"),
)

#: The same for what was refused, for an hour: see idempotency.py.
refusals = Table(
    "refusals",
    metadata,
    Column("account", LargeBinary, ForeignKey("accounts.id"), primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("request_hash", LargeBinary, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("time", BigInteger, nullable=False, index=True),
    CheckConstraint("length(key) = 16", "key"),
    CheckConstraint("length(request_hash) = 32", "request_hash"),
)

#: Where an account's money goes on chain, named once for ever: a row is never changed, and goes only with
#: an account that is handed over without tokens (owners.py). ``salt_key`` is shared with the owner;
#: ``public_key`` and ``signature`` are the payout key's own consent.
payouts = Table(
    "payouts",
    metadata,
    Column("account", LargeBinary, ForeignKey("accounts.id"), primary_key=True),
    Column("payout", LargeBinary, nullable=False),
    Column("salt_key", LargeBinary, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("named_at", BigInteger, nullable=False),
    CheckConstraint("length(payout) = 20", "payout"),
    CheckConstraint("length(salt_key) = 32", "salt_key"),
)

#: Accounts whose leaf may have changed since the last close. Written by book.py in the transaction
#: of the money; the ledger's own fees are under the treasury's id, so this is no foreign key.
dirty = Table(
    "dirty",
    metadata,
    Column("account", LargeBinary, primary_key=True),
    CheckConstraint("length(account) = 16", "account"),
    sqlite_with_rowid=False,
)

#: The leaves as of the last closed epoch; ``position`` counts from 0 and never changes.
leaves = Table(
    "leaves",
    metadata,
    Column("position", _ROW, primary_key=True, autoincrement=False),
    Column("account", LargeBinary, nullable=False, unique=True),
    Column("payout", LargeBinary, nullable=False),
    Column("withdrawable", BigInteger, nullable=False),
    Column("balance", BigInteger, nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("version", BigInteger, nullable=False),
    CheckConstraint("withdrawable >= 0 AND balance >= 0", "amounts"),
)

#: Leaves as they were before ``epoch`` changed them, for proofs of older epochs.
former_leaves = Table(
    "former_leaves",
    metadata,
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("payout", LargeBinary, nullable=False),
    Column("withdrawable", BigInteger, nullable=False),
    Column("balance", BigInteger, nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("version", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

#: Rows are only ever added, many nodes in each: see tree.py, which alone reads ``body``.
tree_nodes = Table(
    "tree_nodes",
    metadata,
    Column("id", _ROW, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
)

#: Which of them ``epoch`` replaced: no tree from that epoch on needs them.
former_nodes = Table(
    "former_nodes",
    metadata,
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("node", BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

#: The complete subtrees of the RFC 9162 tree over ``transfers``. Rows are only ever added.
journal_nodes = Table(
    "journal_nodes",
    metadata,
    Column("level", BigInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

#: ``body`` is the head that is signed, and says all that the columns before it say. Only ``state``,
#: ``txid`` and ``block`` (of the anchor) ever change. ``node``: the root's row in ``tree_nodes``.
epochs = Table(
    "epochs",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("closed_at", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("liabilities", BigInteger, nullable=False),
    Column("credit", BigInteger, nullable=False),
    Column("leaf_count", BigInteger, nullable=False),
    Column("journal_size", BigInteger, nullable=False),
    Column("journal_root", LargeBinary, nullable=False),
    Column("deposit_seq", BigInteger, nullable=False),
    Column("prev", LargeBinary, nullable=False, unique=True),
    Column("head", LargeBinary, nullable=False, unique=True),
    Column("body", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("response_key", LargeBinary, nullable=False),
    Column("node", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("txid", LargeBinary),
    Column("block", BigInteger),
    CheckConstraint("number > 0", "number"),
    _one_of("state", [state.value for state in EpochState]),
)
#: Of the response keys that signed heads, with the time in which each was in force.
certificates = Table(
    "certificates",
    metadata,
    Column("response_key", LargeBinary, primary_key=True),
    Column("not_after", BigInteger, primary_key=True, autoincrement=False),
    Column("not_before", BigInteger, nullable=False),
    Column("root_key", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

#: One row, never changed: the vault for which heads are signed. Addresses without TRON's 0x41.
chain_binding = Table(
    "chain_binding",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("chain_id", LargeBinary, nullable=False),
    Column("vault", LargeBinary, nullable=False),
    Column("token", LargeBinary, nullable=False),
    CheckConstraint("id = 1", "one_row"),
    CheckConstraint("length(chain_id) = 32", "chain_id"),
    CheckConstraint("length(vault) = 20", "vault"),
    CheckConstraint("length(token) = 20", "token"),
)

#: What the vault on chain has received, credited once each. ``seq`` is the vault's own count, so that
#: none can be missing; ``sender`` 20 bytes; ``transfer``: the row of the journal that credited it.
deposits = Table(
    "deposits",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("txid", LargeBinary, nullable=False),
    Column("log_index", BigInteger, nullable=False),
    Column("account", LargeBinary, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("sender", LargeBinary, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("block", BigInteger, nullable=False),
    Column("transfer", BigInteger, nullable=False, unique=True),
    UniqueConstraint("txid", "log_index", name="uq_deposits_event"),
    CheckConstraint("seq > 0", "seq"),
    CheckConstraint("length(txid) = 32", "txid"),
    CheckConstraint("length(sender) = 20", "sender"),
    CheckConstraint("0 < amount AND amount <= total", "amount"),
)

#: The queue of withdrawals, in the order of asking. ``released`` µtok of ``amount`` are in the leaf since
#: ``epoch``; ``key`` is the idempotency key of the order.
withdrawals = Table(
    "withdrawals",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("account", LargeBinary, ForeignKey("accounts.id"), nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("released", BigInteger, nullable=False),
    Column("asked_at", BigInteger, nullable=False),
    Column("epoch", BigInteger),
    Column("state", Text, nullable=False),
    CheckConstraint("amount > 0", "amount"),
    CheckConstraint("0 <= released AND released <= amount", "released"),
    CheckConstraint("(released = 0) = (epoch IS NULL)", "epoch"),
    CheckConstraint("(state = 'released') = (released = amount)", "done"),
    _one_of("state", ["queued", "released"]),
    Index(None, "account", "number"),
    Index(None, "state", "number"),
)

#: What the vault has paid: ``paid`` is its count for the account in all, this payment included.
claims = Table(
    "claims",
    metadata,
    Column("txid", LargeBinary, primary_key=True),
    Column("log_index", BigInteger, primary_key=True),
    Column("account", LargeBinary, nullable=False, index=True),
    Column("payout", LargeBinary, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("paid", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("block", BigInteger, nullable=False),
    CheckConstraint("length(txid) = 32", "txid"),
    CheckConstraint("0 < amount AND amount <= paid", "amount"),
)

#: Transactions that were signed to anchor an epoch. ``raw`` is stored before anything is sent, and
#: sent again as it is; of one epoch at most one transaction is alive. See anchoring.py.
anchor_attempts = Table(
    "anchor_attempts",
    metadata,
    Column("epoch", BigInteger, ForeignKey("epochs.number"), primary_key=True),
    Column("attempt", BigInteger, primary_key=True),
    Column("txid", LargeBinary, nullable=False, unique=True),
    Column("raw", Text, nullable=False),
    Column("signed_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("ended_at", BigInteger),
    Column("reason", Text),
    _one_of("state", [outcome.value for outcome in Attempt]),
    CheckConstraint("attempt > 0", "attempt"),
    CheckConstraint("length(txid) = 32", "txid"),
    Index(
        "uq_anchor_attempts_alive", "epoch", unique=True,
        sqlite_where=text("state = 'alive'"), postgresql_where=text("state = 'alive'"),
    ),
)  # fmt: skip

#: When the chain took an epoch: the time of the block that ``epochs`` names, unix seconds.
anchors = Table(
    "anchors",
    metadata,
    Column("epoch", BigInteger, ForeignKey("epochs.number"), primary_key=True),
    Column("time", BigInteger, nullable=False),
)

#: One row: how far the chain has been read (null before the vault was first reached), and what the
#: worker last saw of it, for every process of this ledger to tell. ``alarms``: sentences, one a line.
chain_watch = Table(
    "chain_watch",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("next_block", BigInteger),
    Column("solid_time", BigInteger, nullable=False),
    Column("delay_s", BigInteger, nullable=False),
    Column("low_trx", Boolean, nullable=False),
    Column("frozen_epoch", BigInteger),
    Column("alarms", Text, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    CheckConstraint("id = 1", "one_row"),
)
