"""Alembic's entry: migrates our tables only, on the connection and in the transaction it is given."""

from __future__ import annotations

from typing import Any

from alembic import context

from automl_transfer.store.tables import PREFIX, Base

VERSION_TABLE = "at_alembic_version"


def include_object(_object: Any, name: str | None, type_: str, _reflected: bool, _compare_to: Any) -> bool:
    """Whether a table is ours; Optuna's are never compared, changed or dropped."""
    return type_ != "table" or bool(name and name.startswith(PREFIX) and name != VERSION_TABLE)


def run() -> None:
    """Run the migrations that were asked for."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=Base.metadata,
        version_table=VERSION_TABLE,
        include_object=include_object,
        render_as_batch=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
