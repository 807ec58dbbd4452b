"""The first version of our tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0001"
down_revision = None
branch_labels = None
depends_on = None

_PER_TRIAL = ("at_trials", "at_epochs", "at_leases", "at_checkpoints", "at_sightings")


def _study_key(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["study_id"], ["studies.study_id"], name=f"fk_{table}_study_id", ondelete="CASCADE"
    )


def _trial_key(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["trial_id"], ["trials.trial_id"], name=f"fk_{table}_trial_id", ondelete="CASCADE"
    )


def upgrade() -> None:
    """Create our tables; on SQLite also the triggers that keep them in step with Optuna's."""
    op.create_table(
        "at_studies",
        sa.Column("study_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("artifact_url", sa.Text(), nullable=False),
        sa.Column("sources", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("study_id", name="pk_at_studies"),
        _study_key("at_studies"),
    )
    op.create_table(
        "at_trials",
        sa.Column("trial_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("root", sa.Integer(), nullable=False),
        sa.Column("parent", sa.Integer(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("label", sa.String(64), nullable=False),
        sa.Column("once", sa.String(200), nullable=True),
        sa.Column("created_by", sa.String(32), nullable=False),
        sa.Column("closed_by", sa.String(32), nullable=True),
        sa.Column("worker", sa.String(200), nullable=True),
        sa.Column("stop", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("restarts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("trial_id", name="pk_at_trials"),
        sa.UniqueConstraint("parent", name="uq_at_trials_parent"),
        sa.UniqueConstraint("created_by", name="uq_at_trials_created_by"),
        sa.UniqueConstraint("study_id", "once", name="uq_at_trials_study_id_once"),
        _study_key("at_trials"),
        _trial_key("at_trials"),
    )
    op.create_index("ix_at_trials_study_id", "at_trials", ["study_id"])
    op.create_table(
        "at_epochs",
        sa.Column("trial_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("trial_id", "epoch", name="pk_at_epochs"),
        _trial_key("at_epochs"),
    )
    op.create_table(
        "at_leases",
        sa.Column("trial_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(200), nullable=False),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("claimed", sa.Float(53), nullable=False),
        sa.Column("beat", sa.Float(53), nullable=False),
        sa.Column("suspected", sa.Float(53), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=True),
        sa.Column("restarted", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("trial_id", name="pk_at_leases"),
        sa.UniqueConstraint("token", name="uq_at_leases_token"),
        _study_key("at_leases"),
        _trial_key("at_leases"),
    )
    op.create_index("ix_at_leases_study_id", "at_leases", ["study_id"])
    op.create_table(
        "at_checkpoints",
        sa.Column("trial_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("conditions", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("trial_id", "epoch", name="pk_at_checkpoints"),
        _trial_key("at_checkpoints"),
    )
    op.create_table(
        "at_sightings",
        sa.Column("trial_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("first_seen", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("trial_id", name="pk_at_sightings"),
        _trial_key("at_sightings"),
    )
    if op.get_bind().dialect.name == "sqlite":
        rows = " ".join(f"DELETE FROM {table} WHERE trial_id = OLD.trial_id;" for table in _PER_TRIAL)  # noqa: S608
        op.execute(f"CREATE TRIGGER at_trial_deleted AFTER DELETE ON trials BEGIN {rows} END")
        op.execute(
            "CREATE TRIGGER at_study_deleted AFTER DELETE ON studies BEGIN "
            "DELETE FROM at_studies WHERE study_id = OLD.study_id; END"
        )


def downgrade() -> None:
    """Drop what `upgrade` made, and nothing else."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER IF EXISTS at_trial_deleted")
        op.execute("DROP TRIGGER IF EXISTS at_study_deleted")
    for table in (*reversed(_PER_TRIAL), "at_studies"):
        op.drop_table(table)
