"""Runs beside the search (confirmations, audits), and the profiles of a study's sources."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0002"
down_revision = "v0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the two tables; on SQLite also the triggers that keep them in step with Optuna's."""
    op.create_table(
        "at_confirmations",
        sa.Column("trial_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("run", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("trial_id", "kind", "run", name="pk_at_confirmations"),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["trials.trial_id"], name="fk_at_confirmations_trial_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.study_id"], name="fk_at_confirmations_study_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_at_confirmations_study_id", "at_confirmations", ["study_id"])
    op.create_table(
        "at_profiles",
        sa.Column("study_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("source", sa.String(300), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("study_id", "source", name="pk_at_profiles"),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.study_id"], name="fk_at_profiles_study_id", ondelete="CASCADE"
        ),
    )
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE TRIGGER at_confirmations_deleted AFTER DELETE ON trials BEGIN "
            "DELETE FROM at_confirmations WHERE trial_id = OLD.trial_id; END"
        )
        op.execute(
            "CREATE TRIGGER at_profiles_deleted AFTER DELETE ON studies BEGIN "
            "DELETE FROM at_profiles WHERE study_id = OLD.study_id; END"
        )


def downgrade() -> None:
    """Drop what `upgrade` made, and nothing else."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER IF EXISTS at_confirmations_deleted")
        op.execute("DROP TRIGGER IF EXISTS at_profiles_deleted")
    op.drop_table("at_profiles")
    op.drop_table("at_confirmations")
