"""The first tables.

Written out rather than taken from schema.py: a migration says what was true when it was made.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("length(id) = 16", name=op.f("ck_accounts_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
    )
    op.create_table(
        "balances",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("class", sa.Text(), nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("class IN ('token', 'credit')", name=op.f("ck_balances_class")),
        sa.CheckConstraint("balance >= 0", name=op.f("ck_balances_balance")),
        sa.PrimaryKeyConstraint("account", "class", name=op.f("pk_balances")),
    )
    op.create_table(
        "ledger",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("ledger_id", sa.LargeBinary(), nullable=False),
        sa.Column("uptime_s", sa.BigInteger(), nullable=False),
        sa.Column("beat_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_ledger_one_row")),
        sa.CheckConstraint("uptime_s >= 0", name=op.f("ck_ledger_uptime")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger")),
    )
    op.create_table(
        "openings",
        sa.Column("block", sa.LargeBinary(), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("count > 0", name=op.f("ck_openings_count")),
        sa.PrimaryKeyConstraint("block", name=op.f("pk_openings")),
    )
    op.create_index(op.f("ix_openings_day"), "openings", ["day"], unique=False)
    op.create_table(
        "transfers",
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
            "kind IN ('issue', 'grant', 'send', 'lock', 'pay', 'fee', 'refund')",
            name=op.f("ck_transfers_kind"),
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_transfers_amount")),
        sa.CheckConstraint("debit <> credit", name=op.f("ck_transfers_two_accounts")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_transfers")),
        sa.UniqueConstraint("hash", name=op.f("uq_transfers_hash")),
        sa.UniqueConstraint("prev", name=op.f("uq_transfers_prev")),
    )
    op.create_index(
        op.f("ix_transfers_credit_sequence"), "transfers", ["credit", "sequence"], unique=False
    )
    op.create_index(
        op.f("ix_transfers_debit_sequence"), "transfers", ["debit", "sequence"], unique=False
    )
    op.create_table(
        "account_keys",
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("length(public_key) = 33", name=op.f("ck_account_keys_public_key")),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_account_keys_account")),
        sa.PrimaryKeyConstraint("public_key", name=op.f("pk_account_keys")),
    )
    op.create_index(op.f("ix_account_keys_account"), "account_keys", ["account"], unique=False)
    op.create_table(
        "channels",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("payer", sa.LargeBinary(), nullable=False),
        sa.Column("payer_key", sa.LargeBinary(), nullable=False),
        sa.Column("payee_key", sa.LargeBinary(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("class", sa.Text(), nullable=False),
        sa.Column("escrow", sa.BigInteger(), nullable=False),
        sa.Column("paid", sa.BigInteger(), nullable=False),
        sa.Column("paid_before", sa.BigInteger(), nullable=False),
        sa.Column("signed", sa.BigInteger(), nullable=False),
        sa.Column("refunded", sa.BigInteger(), nullable=False),
        sa.Column("voucher", sa.LargeBinary(), nullable=True),
        sa.Column("payee", sa.LargeBinary(), nullable=True),
        sa.Column("assignment", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("expiry", sa.BigInteger(), nullable=False),
        sa.Column("claim_s", sa.BigInteger(), nullable=False),
        sa.Column("claim_from", sa.BigInteger(), nullable=True),
        sa.Column("fee_ppm", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("class IN ('token', 'credit')", name=op.f("ck_channels_class")),
        sa.CheckConstraint(
            "state <> 'closed' OR paid + refunded = escrow",
            name=op.f("ck_channels_closed_is_empty"),
        ),
        sa.CheckConstraint(
            "state IN ('open', 'expired', 'unclaimed', 'closed')", name=op.f("ck_channels_state")
        ),
        sa.CheckConstraint(
            "(payee IS NULL) = (assignment IS NULL)", name=op.f("ck_channels_assignment")
        ),
        sa.CheckConstraint("(signed = 0) = (voucher IS NULL)", name=op.f("ck_channels_voucher")),
        sa.CheckConstraint("0 <= fee_ppm AND fee_ppm <= 1000000", name=op.f("ck_channels_fee_ppm")),
        sa.CheckConstraint(
            "0 <= paid AND paid <= signed AND signed <= escrow",
            name=op.f("ck_channels_paid_signed_escrow"),
        ),
        sa.CheckConstraint(
            "0 <= refunded AND paid + refunded <= escrow", name=op.f("ck_channels_refunded")
        ),
        sa.CheckConstraint(
            "paid = 0 OR payee IS NOT NULL", name=op.f("ck_channels_paid_to_somebody")
        ),
        sa.ForeignKeyConstraint(["payee"], ["accounts.id"], name=op.f("fk_channels_payee")),
        sa.ForeignKeyConstraint(["payer"], ["accounts.id"], name=op.f("fk_channels_payer")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channels")),
    )
    op.create_index(op.f("ix_channels_payee"), "channels", ["payee"], unique=False)
    op.create_index(op.f("ix_channels_payer"), "channels", ["payer"], unique=False)
    op.create_index(op.f("ix_channels_state_expiry"), "channels", ["state", "expiry"], unique=False)
    op.create_table(
        "idempotency",
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("length(key) = 16", name=op.f("ck_idempotency_key")),
        sa.CheckConstraint("length(request_hash) = 32", name=op.f("ck_idempotency_request_hash")),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_idempotency_account")),
        sa.PrimaryKeyConstraint("account", "key", name=op.f("pk_idempotency")),
    )
