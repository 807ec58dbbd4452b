"""Migrations: from an empty, an Optuna-only and a current database, up and down, and without drift."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from optuna.storages._rdb.storage import _VersionManager
from store_helpers import DONE, draft, open_study

from automl_transfer.domain.records import TrialState
from automl_transfer.store import schema
from automl_transfer.store import tables as t
from automl_transfer.store.engine import make_engine
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL

optuna.logging.set_verbosity(optuna.logging.WARNING)
# SQLAlchemy does not read what an index over an expression is; `described` compares its SQL.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index"),
    pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index"),
]


def names(store: Store) -> set[str]:
    return set(sa.inspect(store.engine).get_table_names())


def triggers(store: Store) -> int:
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger'"
    if not store.url.is_sqlite:
        return 0
    with store.engine.connect() as connection:
        return int(connection.execute(sa.text(query)).scalar_one())


def test_from_empty_and_again_from_current(database_url: str) -> None:
    url = StoreURL.parse(database_url)
    for _ in range(2):
        store = Store.open(url)
        with store.engine.connect() as connection:
            found = schema.read_versions(connection)
            assert (found.current, found.missing) == (True, [])
        assert set(t.Base.metadata.tables) | {"trials", "studies", schema.VERSION_TABLE} <= names(store)
        store.close()


def test_from_an_optuna_only_database_and_back(database_url: str) -> None:
    """Plain Optuna's studies stay as they are through up, use and down."""
    storage = optuna.storages.RDBStorage(database_url.replace("postgresql://", "postgresql+psycopg://"))
    plain = optuna.create_study(study_name="plain", storage=storage)
    plain.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    before = plain.trials
    store, study = open_study(database_url)
    optuna_tables = names(store) - set(t.Base.metadata.tables) - {schema.VERSION_TABLE}
    trials = Trials(store)
    claim = trials.create(study, draft(), "w", limit=None)
    assert claim is not None
    trials.finish(claim, TrialState.COMPLETE, 0.5, DONE)
    (first, *_), (_, ours) = trials.records(1), store.studies()
    assert (first.root, first.strategy, first.value) == (0, None, before[0].value)
    assert ours.ours
    with store.engine.begin() as connection:
        schema.migrate(connection, "base")
    assert names(store) - {schema.VERSION_TABLE} == optuna_tables
    assert triggers(store) == 0
    assert plain.trials == before
    assert optuna.load_study(study_name="s", storage=storage).best_value == 0.5
    again = Store.open(store.url)
    assert [s.ours for s in again.studies()] == [False, False]
    again.close()
    store.close()
    storage.remove_session()
    storage.engine.dispose()


def test_killed_between_the_two_schemas_the_next_one_completes(database_url: str) -> None:
    url = StoreURL.parse(database_url)
    schema._create_optuna(url)
    store = Store.open(url)
    assert set(t.Base.metadata.tables) <= names(store)
    store.close()


def described(url: StoreURL) -> dict[str, object]:
    """Everything that a database says about its tables, in no particular order."""

    def plain(rows: list[Any]) -> list[str]:
        def one(row: dict[str, Any]) -> dict[str, Any]:
            options = {name: str(value) for name, value in row.get("dialect_options", {}).items()}
            return {**row, "type": repr(row.get("type")), "dialect_options": options}

        return sorted(repr(sorted(one(row).items())) for row in rows)

    engine = make_engine(url)
    inspector = sa.inspect(engine)
    found: dict[str, object] = {
        table: [
            plain(inspector.get_columns(table)),
            plain([inspector.get_pk_constraint(table)]),
            plain(inspector.get_foreign_keys(table)),
            plain(inspector.get_unique_constraints(table)),
            plain(inspector.get_indexes(table)),
            plain(inspector.get_check_constraints(table)),
        ]
        for table in inspector.get_table_names()
    }
    if url.is_sqlite:
        with engine.connect() as connection:
            made = "SELECT name, tbl_name, replace(sql, '\n', '') FROM sqlite_master WHERE type <> 'table' ORDER BY 1"
            found["triggers and indexes"] = [tuple(row) for row in connection.execute(sa.text(made))]
    with engine.connect() as connection:
        for table in ("version_info", "alembic_version", schema.VERSION_TABLE):
            rows = connection.execute(sa.text(f"SELECT * FROM {table}"))
            found[f"rows of {table}"] = [tuple(row) for row in rows]
    engine.dispose()
    return found


def test_a_new_database_is_what_migrations_make_of_one(database_url: str) -> None:
    """An empty database gets both schemas at once: the same tables, keys, triggers and versions."""
    url = StoreURL.parse(database_url)
    schema._create_optuna(url)
    Store.open(url).close()
    migrated = described(url)
    engine = make_engine(url)
    with engine.begin() as connection:
        t.Base.metadata.drop_all(connection)
        optuna.storages._rdb.models.BaseModel.metadata.drop_all(connection)
        for table in ("alembic_version", schema.VERSION_TABLE):
            connection.execute(sa.text(f"DROP TABLE {table}"))
    engine.dispose()
    Store.open(url).close()
    created = described(url)
    assert set(created) == set(migrated)
    for name, facts in migrated.items():
        assert created[name] == facts, name


def test_failed_migration_leaves_nothing_behind(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = StoreURL.parse(database_url)
    schema._create_optuna(url)
    engine = make_engine(url)
    with engine.begin() as connection:  # our last table is in the way
        connection.execute(sa.text("CREATE TABLE at_sightings (x INTEGER)"))
    with pytest.raises(sa.exc.DBAPIError), engine.begin() as connection:
        schema.migrate(connection, "head")
    found = {n for n in sa.inspect(engine).get_table_names() if n.startswith("at_")}
    assert found == {"at_sightings"}
    engine.dispose()


def test_models_and_migrations_agree(database_url: str) -> None:
    store, _ = open_study(database_url)

    def ours(_object: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
        return kind != "table" or bool(name and name.startswith("at_") and name != schema.VERSION_TABLE)

    with store.engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_object": ours, "compare_type": True, "version_table": schema.VERSION_TABLE},
        )
        assert compare_metadata(context, t.Base.metadata) == []
    store.close()


def test_the_heads_in_the_code_are_the_real_ones() -> None:
    """A new Optuna schema or a new migration must be met by someone who reads schema.py."""
    ours = ScriptDirectory(str(schema.Path(schema.__file__).parent / "migrations"))
    assert ours.get_current_head() == schema.OUR_HEAD
    manager = _VersionManager.__new__(_VersionManager)
    manager.url = ""
    assert manager.get_head_version() == schema.OPTUNA_HEAD
    assert optuna.storages._rdb.models.SCHEMA_VERSION == 12
