"""Deposits, withdrawals and what the vault has paid; signed anchors; how far the chain was read.

The journal learns the kind *withdraw*. SQLite cannot change a constraint: its rows move to a new
table, byte for byte, in this transaction.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_JOURNAL = "sequence, time, kind, debit, credit, class, amount, reference, prev, hash"


def upgrade() -> None:
    _let_the_journal_know_withdrawals()
    op.create_table(
        "anchor_attempts",
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("txid", sa.LargeBinary(), nullable=False),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.Column("signed_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('alive', 'expired', 'reverted', 'settled', 'overtaken')",
            name=op.f("ck_anchor_attempts_state"),
        ),
        sa.CheckConstraint("attempt > 0", name=op.f("ck_anchor_attempts_attempt")),
        sa.CheckConstraint("length(txid) = 32", name=op.f("ck_anchor_attempts_txid")),
        sa.ForeignKeyConstraint(
            ["epoch"], ["epochs.number"], name=op.f("fk_anchor_attempts_epoch")
        ),
        sa.PrimaryKeyConstraint("epoch", "attempt", name=op.f("pk_anchor_attempts")),
        sa.UniqueConstraint("txid", name=op.f("uq_anchor_attempts_txid")),
    )
    op.create_index(
        "uq_anchor_attempts_alive", "anchor_attempts", ["epoch"], unique=True,
        sqlite_where=sa.text("state = 'alive'"), postgresql_where=sa.text("state = 'alive'"),
    )  # fmt: skip
    op.create_table(
        "anchors",
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["epoch"], ["epochs.number"], name=op.f("fk_anchors_epoch")),
        sa.PrimaryKeyConstraint("epoch", name=op.f("pk_anchors")),
    )
    op.create_table(
        "chain_watch",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("next_block", sa.BigInteger(), nullable=True),
        sa.Column("solid_time", sa.BigInteger(), nullable=False),
        sa.Column("delay_s", sa.BigInteger(), nullable=False),
        sa.Column("low_trx", sa.Boolean(), nullable=False),
        sa.Column("frozen_epoch", sa.BigInteger(), nullable=True),
        sa.Column("alarms", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_chain_watch_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chain_watch")),
    )
    op.create_table(
        "claims",
        sa.Column("txid", sa.LargeBinary(), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=False),
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("payout", sa.LargeBinary(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("paid", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("length(txid) = 32", name=op.f("ck_claims_txid")),
        sa.CheckConstraint("0 < amount AND amount <= paid", name=op.f("ck_claims_amount")),
        sa.PrimaryKeyConstraint("txid", "log_index", name=op.f("pk_claims")),
    )
    op.create_index(op.f("ix_claims_account"), "claims", ["account"], unique=False)
    op.create_table(
        "deposits",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("txid", sa.LargeBinary(), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=False),
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("sender", sa.LargeBinary(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("transfer", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("seq > 0", name=op.f("ck_deposits_seq")),
        sa.CheckConstraint("length(txid) = 32", name=op.f("ck_deposits_txid")),
        sa.CheckConstraint("length(sender) = 20", name=op.f("ck_deposits_sender")),
        sa.CheckConstraint("0 < amount AND amount <= total", name=op.f("ck_deposits_amount")),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_deposits_account")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_deposits")),
        sa.UniqueConstraint("transfer", name=op.f("uq_deposits_transfer")),
        sa.UniqueConstraint("txid", "log_index", name="uq_deposits_event"),
    )
    op.create_index(op.f("ix_deposits_account"), "deposits", ["account"], unique=False)
    op.create_table(
        "withdrawals",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("released", sa.BigInteger(), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.CheckConstraint("amount > 0", name=op.f("ck_withdrawals_amount")),
        sa.CheckConstraint(
            "0 <= released AND released <= amount", name=op.f("ck_withdrawals_released")
        ),
        sa.CheckConstraint("(released = 0) = (epoch IS NULL)", name=op.f("ck_withdrawals_epoch")),
        sa.CheckConstraint(
            "(state = 'released') = (released = amount)", name=op.f("ck_withdrawals_done")
        ),
        sa.CheckConstraint("state IN ('queued', 'released')", name=op.f("ck_withdrawals_state")),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_withdrawals_account")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_withdrawals")),
    )
    op.create_index(
        op.f("ix_withdrawals_account_number"), "withdrawals", ["account", "number"], unique=False
    )
    op.create_index(
        op.f("ix_withdrawals_state_number"), "withdrawals", ["state", "number"], unique=False
    )


def _let_the_journal_know_withdrawals() -> None:
    op.create_table(
        "transfers_new",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("debit", sa.Text(), nullable=False),
        sa.Column("credit", sa.Text(), nullable=False),
        sa.Column("class", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("reference", sa.LargeBinary(), nullable=False),
        sa.Column("prev", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("class IN ('token', 'credit')", name=op.f("ck_transfers_class")),
        sa.CheckConstraint(
            "kind IN ('issue', 'grant', 'send', 'lock', 'pay', 'fee', 'refund', 'withdraw')",
            name=op.f("ck_transfers_kind"),
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_transfers_amount")),
        sa.CheckConstraint("debit <> credit", name=op.f("ck_transfers_two_accounts")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_transfers")),
        sa.UniqueConstraint("hash", name=op.f("uq_transfers_hash")),
        sa.UniqueConstraint("prev", name=op.f("uq_transfers_prev")),
    )
    op.execute(f"INSERT INTO transfers_new ({_JOURNAL}) SELECT {_JOURNAL} FROM transfers")
    op.drop_table("transfers")
    op.rename_table("transfers_new", "transfers")
    op.create_index(
        op.f("ix_transfers_credit_sequence"), "transfers", ["credit", "sequence"], unique=False
    )
    op.create_index(
        op.f("ix_transfers_debit_sequence"), "transfers", ["debit", "sequence"], unique=False
    )
