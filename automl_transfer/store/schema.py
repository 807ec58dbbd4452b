"""Creates and migrates both schemas, Optuna's first and ours after, once, under a lock.

An empty database gets both as they are today; any other one is migrated.

Every writer of this package writes Optuna's tables directly. So a database whose Optuna schema is
not the one that this code was written for is refused, older and newer alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from automl_transfer.errors import OlderStoreError, StoreURLError
from automl_transfer.files import Timeout, locked
from automl_transfer.store import optuna_names
from automl_transfer.store import tables as t
from automl_transfer.store.engine import READ_ONLY, make_engine
from automl_transfer.store.url import StoreURL

OPTUNA_HEAD = "v3.2.0.a"
OUR_HEAD = "v0007"
VERSION_TABLE = "at_alembic_version"

_ADVISORY_LOCK = 0x61746C5F73746F72  # one number per purpose; any constant of ours will do
_LOCK_SECONDS = 120.0
_COLUMNS = {
    "sqlite": "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c "
    "WHERE m.type = 'table'",
    "postgresql": "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 "
    "AND NOT a.attisdropped AND pg_table_is_visible(c.oid) AND n.nspname !~ '^(pg_|information_schema)'",
}
_DAMAGED = (
    "it was copied in part, or changed by hand. Restore it from a backup, or start another one with "
    "--storage; nothing was changed"
)


@dataclass(frozen=True)
class Versions:
    """Schema versions found in a database; None where there is none yet.

    Attributes:
        columns: The tables that are there, each with its columns.
    """

    optuna: str | None
    ours: str | None
    columns: Mapping[str, frozenset[str]]

    @property
    def current(self) -> bool:
        """Whether nothing has to be done."""
        return self.optuna == OPTUNA_HEAD and self.ours == OUR_HEAD

    @property
    def our_tables(self) -> list[str]:
        """Tables of ours that are there, but for the one that states their version."""
        return [name for name in t.Base.metadata.tables if name in self.columns]

    @property
    def missing(self) -> list[str]:
        """Tables and columns that this program reads and writes, and that are not there."""
        found = []
        for metadata in (t.studies.metadata, t.Base.metadata):
            for table in metadata.sorted_tables:
                there = self.columns.get(table.name)
                if there is None:
                    found.append(table.name)
                else:
                    found += [f"{table.name}.{c.name}" for c in table.columns if c.name not in there]
        return found


def read_versions(connection: sa.Connection) -> Versions:
    """The versions of both schemas and what there is of them, by three small queries."""
    columns: dict[str, set[str]] = {}
    for table, column in connection.execute(sa.text(_COLUMNS[connection.dialect.name])):
        columns.setdefault(table, set()).add(column)

    def version(table: str) -> str | None:
        if table not in columns:
            return None
        name = sa.table(table, sa.column("version_num"))
        return connection.execute(sa.select(name.c.version_num)).scalar()

    optuna, ours = version("alembic_version"), version(VERSION_TABLE)
    return Versions(optuna, ours, {name: frozenset(found) for name, found in columns.items()})


def ensure_schema(url: StoreURL, engine: sa.Engine) -> None:
    """Bring a database to the current schemas. Safe from many processes at once, and repeatable.

    Raises:
        StoreURLError: A schema newer than this program, or an Optuna schema that must be upgraded first.
    """
    versions = _checked(url, engine)
    if versions.current:
        return
    with _lock(url):
        if _is_empty(url):
            _create(engine)
            return
        versions = _checked(url, engine)
        if versions.optuna is None:
            _create_optuna(url)
            _checked(url, engine)
        with engine.begin() as connection:
            migrate(connection, "head")


def check_schema(url: StoreURL, engine: sa.Engine) -> None:
    """Check that both schemas are there and current, and change nothing.

    Raises:
        StoreURLError: A schema is missing or newer than this program.
        OlderStoreError: One is older.
    """
    versions = _checked(url, engine)
    if not versions.current:
        raise (StoreURLError if versions.ours is None else OlderStoreError)(
            f"a store that is only read must exist already, got {url} with Optuna's schema "
            f"{versions.optuna or 'missing'} (must be {OPTUNA_HEAD}) and ours {versions.ours or 'missing'} "
            f"(must be {OUR_HEAD}). Start a search on it, or run 'automl-transfer study list' as its owner"
        )


def _create(engine: sa.Engine) -> None:
    """Both schemas in an empty database, in one transaction: what migrations make, without loading them."""
    import optuna

    info = sa.table("version_info", *map(sa.column, ("version_info_id", "schema_version", "library_version")))
    with engine.begin() as connection:
        optuna_names.METADATA.create_all(connection, checkfirst=False)
        t.Base.metadata.create_all(connection, checkfirst=False)
        facts = {
            "version_info_id": 1,
            "schema_version": optuna_names.SCHEMA_VERSION,
            "library_version": optuna.__version__,
        }
        connection.execute(sa.insert(info).values(facts))
        for name, head in (("alembic_version", OPTUNA_HEAD), (VERSION_TABLE, OUR_HEAD)):
            number = sa.Column("version_num", sa.String(32), primary_key=True)
            table = sa.Table(name, sa.MetaData(), number)
            table.primary_key.name = f"{name}_pkc"  # as Alembic calls it
            table.create(connection, checkfirst=False)
            connection.execute(sa.insert(table).values(version_num=head))


def migrate(connection: sa.Connection, target: str) -> None:
    """Run our migrations, up or down, inside the caller's transaction.

    Args:
        connection: In a transaction.
        target: "head" for the newest, an earlier revision to go back to, or "base" to remove our tables.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    if target == "head":
        command.upgrade(config, target)
    else:
        command.downgrade(config, target)


def _checked(url: StoreURL, engine: sa.Engine) -> Versions:
    """The versions found, where this program can go on from them.

    Raises:
        StoreURLError: It cannot.
    """
    with engine.connect().execution_options(**{READ_ONLY: True}) as connection:
        if connection.dialect.name == "postgresql":
            _refuse_no_schema(url, connection)
        versions = read_versions(connection)
    _refuse_foreign(url, versions)
    _refuse_damaged(url, versions)
    return versions


def _refuse_no_schema(url: StoreURL, connection: sa.Connection) -> None:
    state = "SELECT current_schema(), current_setting('search_path')"
    schema, path = connection.execute(sa.text(state)).one()
    if schema is None:
        raise StoreURLError(
            f"a schema of the search_path must exist and be open to the user, got {path!r} in {url}, "
            "of which none is. The owner of the database runs: CREATE SCHEMA NAME"
        )


def _refuse_damaged(url: StoreURL, versions: Versions) -> None:
    unstated = None
    if versions.ours is None and versions.our_tables:
        unstated = VERSION_TABLE
    elif versions.ours is not None and versions.optuna is None:
        unstated = "alembic_version"
    if unstated is not None:
        what = "an empty table" if unstated in versions.columns else "no such table"
        raise StoreURLError(
            f"the version of the schema in {url} must be stated in {unstated}, got {what}: {_DAMAGED}"
        )
    if versions.current and (missing := versions.missing):
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise StoreURLError(
            f"the tables in {url} must have all that their version {versions.ours} states, got none of "
            f"{shown}: {_DAMAGED}"
        )


def _is_empty(url: StoreURL) -> bool:
    """Whether there is no table at all; an SQLite file is in WAL mode afterwards."""
    engine = make_engine(url, bootstrap=True)
    try:
        return not sa.inspect(engine).get_table_names()
    finally:
        engine.dispose()


def _refuse_foreign(url: StoreURL, versions: Versions) -> None:
    if versions.ours is not None and versions.ours not in _our_revisions(versions.ours):
        raise StoreURLError(
            f"the tables of automl-transfer in {url} must have a version that this program knows (up to "
            f"{OUR_HEAD}), got {versions.ours}: the schema is newer than the program. Update automl-transfer"
        )
    if versions.optuna in (None, OPTUNA_HEAD):
        return
    known = versions.optuna in _optuna_revisions()
    raise StoreURLError(
        f"the Optuna schema in {url} must be {OPTUNA_HEAD}, got {versions.optuna}"
        + (
            ": it is older than the program. Run: optuna storage upgrade --storage URL"
            if known
            else ": the schema is newer than the program. Update automl-transfer and optuna"
        )
    )


def _our_revisions(found: str) -> set[str]:
    if found == OUR_HEAD:
        return {OUR_HEAD}
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(Path(__file__).parent / "migrations"))
    return {revision.revision for revision in script.walk_revisions()}


def _optuna_revisions() -> set[str]:
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(optuna_names.MIGRATIONS))
    return {revision.revision for revision in script.walk_revisions()}


def _create_optuna(url: StoreURL) -> None:
    """Optuna's own way of creating and stamping its tables; killed half-way, the next run completes it."""
    engine = make_engine(url, bootstrap=True)
    try:
        optuna_names.METADATA.create_all(engine)
        optuna_names.stamp_version(engine)
    finally:
        engine.dispose()


@contextmanager
def _lock(url: StoreURL) -> Iterator[None]:
    """One process at a time, wherever it runs; the lock goes with the process that holds it."""
    if url.path is not None:
        try:
            with locked(Path(f"{url.path}.lock"), timeout=_LOCK_SECONDS):
                yield
        except Timeout:
            raise StoreURLError(
                f"another process has held {url.path}.lock for {_LOCK_SECONDS:g} s while creating the store. "
                "End it, or wait for it, then start again"
            ) from None
        return
    engine = make_engine(url, bootstrap=True)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text(f"SET statement_timeout = {int(_LOCK_SECONDS * 1000)}"))
            connection.execute(sa.text("SET lock_timeout = 0"))
            connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY_LOCK})
            yield
    finally:
        engine.dispose()


def schema_of_tables(connection: sa.Connection) -> str:
    """The schema on PostgreSQL in which a connection finds the tables."""
    found = sa.text(
        "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.oid = to_regclass('trials')"
    )
    return str(connection.execute(found).scalar_one())
