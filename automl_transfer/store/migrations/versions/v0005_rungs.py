"""Rungs at which trials pause, and from which the best of them go on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0005"
down_revision = "v0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; on SQLite also the trigger that keeps it in step with Optuna's."""
    op.create_table(
        "at_rungs",
        sa.Column("study_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("root", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rung", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("bracket", sa.String(32), nullable=False),
        sa.Column("value", sa.Float(53), nullable=False),
        sa.Column("loss", sa.Float(53), nullable=False),
        sa.Column("seconds", sa.Float(53), nullable=False),
        sa.Column("taken", sa.String(32), nullable=True),
        sa.Column("changed", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("study_id", "root", "rung", name="pk_at_rungs"),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.study_id"], name="fk_at_rungs_study_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["trials.trial_id"], name="fk_at_rungs_trial_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_at_rungs_trial_id", "at_rungs", ["trial_id"])
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE TRIGGER at_rungs_deleted AFTER DELETE ON trials BEGIN "
            "DELETE FROM at_rungs WHERE trial_id = OLD.trial_id; END"
        )


def downgrade() -> None:
    """Drop what `upgrade` made: paused trials wait for a worker, as released ones do, and are called so.

    Programs of that schema know no other name for it, and would leave out a trial that has one.
    """
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER IF EXISTS at_rungs_deleted")
    op.drop_table("at_rungs")
    op.execute(
        """UPDATE at_trials SET stop = REPLACE(stop, '{"kind":"paused"', '{"kind":"released"') """
        """WHERE substr(stop, 1, 16) = '{"kind":"paused"'"""
    )
