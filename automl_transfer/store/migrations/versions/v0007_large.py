"""Indexes by which no step of a worker takes longer in a study of many trials."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0007"
down_revision = "v0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create them; two are on Optuna's table of trials, under names of ours."""
    dialect = op.get_bind().dialect.name
    find = "strpos" if dialect == "postgresql" else "instr"
    op.execute("CREATE INDEX ix_at_trials_state ON trials (study_id, state)")
    op.execute("CREATE INDEX ix_at_trials_number ON trials (study_id, number)")
    op.execute(
        f"CREATE INDEX ix_at_trials_said ON at_trials "
        f"(study_id, substr(strategy, {find}(strategy, ',') + 1, 2000))"
    )
    op.create_index("ix_at_rungs_study_id_changed", "at_rungs", ["study_id", "changed"])
    untaken = sa.text("taken IS NULL")
    op.create_index(
        "ix_at_rungs_paused", "at_rungs", ["study_id"], postgresql_where=untaken, sqlite_where=untaken
    )


def downgrade() -> None:
    """Drop them."""
    for name in (
        "ix_at_rungs_paused", "ix_at_rungs_study_id_changed", "ix_at_trials_said", "ix_at_trials_number",
        "ix_at_trials_state",
    ):  # fmt: skip
        op.execute(f"DROP INDEX {name}")
