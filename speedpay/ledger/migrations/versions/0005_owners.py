"""Accounts change their keys, and show their history to everybody."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "handovers",
        sa.Column("old_key", sa.LargeBinary(), nullable=False),
        sa.Column("new_key", sa.LargeBinary(), nullable=False),
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("payout", sa.LargeBinary(), nullable=False),
        sa.Column("left_payout", sa.LargeBinary(), nullable=True),
        sa.Column("given", sa.LargeBinary(), nullable=False),
        sa.Column("consent", sa.LargeBinary(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("old_key <> new_key", name=op.f("ck_handovers_two_keys")),
        sa.CheckConstraint(
            "length(old_key) = 33 AND length(new_key) = 33", name=op.f("ck_handovers_keys")
        ),
        sa.CheckConstraint("length(payout) = 20", name=op.f("ck_handovers_payout")),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_handovers_account")),
        sa.PrimaryKeyConstraint("old_key", name=op.f("pk_handovers")),
        sa.UniqueConstraint("new_key", name=op.f("uq_handovers_new_key")),
    )
    op.create_index(op.f("ix_handovers_account"), "handovers", ["account"], unique=False)
    op.create_table(
        "published",
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_published_account")),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_published")),
    )
