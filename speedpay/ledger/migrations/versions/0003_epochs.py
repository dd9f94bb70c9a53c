"""Epochs: payout addresses, leaves, the sum tree, the journal tree, heads.

Whoever holds tokens, or has locked any, is marked: the first close makes a leaf for each.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


_ROW = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "chain_binding",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("chain_id", sa.LargeBinary(), nullable=False),
        sa.Column("vault", sa.LargeBinary(), nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_chain_binding_one_row")),
        sa.CheckConstraint("length(chain_id) = 32", name=op.f("ck_chain_binding_chain_id")),
        sa.CheckConstraint("length(vault) = 20", name=op.f("ck_chain_binding_vault")),
        sa.CheckConstraint("length(token) = 20", name=op.f("ck_chain_binding_token")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chain_binding")),
    )
    op.create_table(
        "dirty",
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("length(account) = 16", name=op.f("ck_dirty_account")),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_dirty")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "epochs",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("liabilities", sa.BigInteger(), nullable=False),
        sa.Column("credit", sa.BigInteger(), nullable=False),
        sa.Column("leaf_count", sa.BigInteger(), nullable=False),
        sa.Column("journal_size", sa.BigInteger(), nullable=False),
        sa.Column("journal_root", sa.LargeBinary(), nullable=False),
        sa.Column("deposit_seq", sa.BigInteger(), nullable=False),
        sa.Column("prev", sa.LargeBinary(), nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("response_key", sa.LargeBinary(), nullable=False),
        sa.Column("node", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("txid", sa.LargeBinary(), nullable=True),
        sa.Column("block", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('closed', 'published', 'signed', 'sent', 'seen', 'solid')",
            name=op.f("ck_epochs_state"),
        ),
        sa.CheckConstraint("number > 0", name=op.f("ck_epochs_number")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_epochs")),
        sa.UniqueConstraint("head", name=op.f("uq_epochs_head")),
        sa.UniqueConstraint("prev", name=op.f("uq_epochs_prev")),
    )
    op.create_table(
        "former_leaves",
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("payout", sa.LargeBinary(), nullable=False),
        sa.Column("withdrawable", sa.BigInteger(), nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("epoch", "position", name=op.f("pk_former_leaves")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "former_nodes",
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("node", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("epoch", "node", name=op.f("pk_former_nodes")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "journal_nodes",
        sa.Column("level", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "position", name=op.f("pk_journal_nodes")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "leaves",
        sa.Column("position", _ROW, autoincrement=False, nullable=False),
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("payout", sa.LargeBinary(), nullable=False),
        sa.Column("withdrawable", sa.BigInteger(), nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("withdrawable >= 0 AND balance >= 0", name=op.f("ck_leaves_amounts")),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_leaves")),
        sa.UniqueConstraint("account", name=op.f("uq_leaves_account")),
    )
    op.create_table(
        "payouts",
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("payout", sa.LargeBinary(), nullable=False),
        sa.Column("salt_key", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("named_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("length(payout) = 20", name=op.f("ck_payouts_payout")),
        sa.CheckConstraint("length(salt_key) = 32", name=op.f("ck_payouts_salt_key")),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_payouts_account")),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_payouts")),
    )
    op.create_table(
        "tree_nodes",
        sa.Column("id", _ROW, autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tree_nodes")),
    )
    _mark_holders()


def _mark_holders() -> None:
    connection = op.get_bind()
    holders = connection.exec_driver_sql(
        "SELECT substr(account, 6) FROM balances"
        " WHERE class = 'token' AND balance > 0 AND account LIKE 'user:%'"
        " UNION SELECT lower(hex(payer)) FROM channels WHERE class = 'token' AND state <> 'closed'"
    )
    rows = [{"account": bytes.fromhex(one)} for one in holders.scalars()]
    if rows:
        op.bulk_insert(sa.table("dirty", sa.column("account", sa.LargeBinary())), rows)
