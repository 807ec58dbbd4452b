"""Work that several searches of one study share, confirmation runs that failed, looks at the test split."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0004"
down_revision = "v0003"
branch_labels = None
depends_on = None

_TRIGGERS = {
    "at_claims": ("studies", "study_id"),
    "at_failed_runs": ("trials", "trial_id"),
    "at_test_looks": ("studies", "study_id"),
}


def upgrade() -> None:
    """Create the three tables; on SQLite also the triggers that keep them in step with Optuna's."""
    op.create_table(
        "at_claims",
        sa.Column("study_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("work", sa.String(300), nullable=False),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("worker", sa.String(200), nullable=False),
        sa.Column("beat", sa.Float(53), nullable=False),
        sa.Column("ends", sa.Float(53), nullable=True),
        sa.PrimaryKeyConstraint("study_id", "work", name="pk_at_claims"),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.study_id"], name="fk_at_claims_study_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "at_failed_runs",
        sa.Column("trial_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("run", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("trial_id", "kind", "run", name="pk_at_failed_runs"),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["trials.trial_id"], name="fk_at_failed_runs_trial_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.study_id"], name="fk_at_failed_runs_study_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_at_failed_runs_study_id", "at_failed_runs", ["study_id"])
    op.create_table(
        "at_test_looks",
        sa.Column("study_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("look", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("study_id", "look", name="pk_at_test_looks"),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.study_id"], name="fk_at_test_looks_study_id", ondelete="CASCADE"
        ),
    )
    if op.get_bind().dialect.name == "sqlite":
        for table, (owner, key) in _TRIGGERS.items():
            delete = f"DELETE FROM {table} WHERE {key} = OLD.{key};"  # noqa: S608
            op.execute(f"CREATE TRIGGER {table}_deleted AFTER DELETE ON {owner} BEGIN {delete} END")


def downgrade() -> None:
    """Drop what `upgrade` made, and nothing else."""
    if op.get_bind().dialect.name == "sqlite":
        for table in _TRIGGERS:
            op.execute(f"DROP TRIGGER IF EXISTS {table}_deleted")
    for table in _TRIGGERS:
        op.drop_table(table)
