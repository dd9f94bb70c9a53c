"""Refusals are kept under their idempotency key for as long as a request could be replayed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "refusals",
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("length(key) = 16", name=op.f("ck_refusals_key")),
        sa.CheckConstraint("length(request_hash) = 32", name=op.f("ck_refusals_request_hash")),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_refusals_account")),
        sa.PrimaryKeyConstraint("account", "key", name=op.f("pk_refusals")),
    )
    op.create_index(op.f("ix_refusals_time"), "refusals", ["time"], unique=False)
