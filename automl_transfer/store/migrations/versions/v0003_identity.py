"""A study has an identity of its own, which its name, its number and its database may change around."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

revision = "v0003"
down_revision = "v0002"
branch_labels = None
depends_on = None

_TRIGGER = (
    "CREATE TRIGGER at_study_deleted AFTER DELETE ON studies BEGIN "
    "DELETE FROM at_studies WHERE study_id = OLD.study_id; END"
)


def upgrade() -> None:
    """Add the identity; studies that are there get one."""
    op.add_column("at_studies", sa.Column("identity", sa.String(32), nullable=True))
    connection = op.get_bind()
    studies = sa.table("at_studies", sa.column("study_id"), sa.column("identity"))
    for study_id in connection.execute(sa.select(studies.c.study_id)).scalars().all():
        connection.execute(
            sa.update(studies).where(studies.c.study_id == study_id).values(identity=uuid.uuid4().hex)
        )
    _without_trigger(_require)


def downgrade() -> None:
    """Drop the identity."""
    _without_trigger(_forget)


def _require() -> None:
    with op.batch_alter_table("at_studies") as batch:
        batch.alter_column("identity", existing_type=sa.String(32), nullable=False)
        batch.create_unique_constraint("uq_at_studies_identity", ["identity"])


def _forget() -> None:
    with op.batch_alter_table("at_studies") as batch:
        batch.drop_constraint("uq_at_studies_identity", type_="unique")
        batch.drop_column("identity")


def _without_trigger(change: Callable[[], None]) -> None:
    """SQLite makes a changed table anew and renames it, which a trigger that names it does not allow."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    if sqlite:
        op.execute("DROP TRIGGER IF EXISTS at_study_deleted")
    change()
    if sqlite:
        op.execute(_TRIGGER)
