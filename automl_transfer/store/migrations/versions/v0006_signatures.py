"""Signatures of tasks, by which later studies find those that are alike."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "v0006"
down_revision = "v0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "at_signatures",
        sa.Column("task", sa.String(64), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("task", name="pk_at_signatures"),
    )


def downgrade() -> None:
    """Drop it, and take out of profiles what programs of that schema do not know, and would not read."""
    op.drop_table("at_signatures")
    profiles = sa.table("at_profiles", *map(sa.column, ("study_id", "source", "result")))
    connection = op.get_bind()
    for study_id, source, text in connection.execute(sa.select(profiles)).all():
        try:
            result = json.loads(text)
            for name in ("frechet", "unscored"):
                result.pop(name, None)
            for cut in result["cuts"]:
                cut.pop("scores", None)
        except (ValueError, TypeError, KeyError, AttributeError):  # no program can read it
            continue
        where = (profiles.c.study_id == study_id, profiles.c.source == source)
        connection.execute(sa.update(profiles).where(*where).values(result=json.dumps(result)))
