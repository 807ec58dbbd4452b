"""Roles on PostgreSQL: the owner changes schemas and studies, workers run trials, readers look.

Two group roles get the rights; people and services log in with roles of their own that are members. A
worker can neither create, rename nor delete a study, nor change a schema; a reader can write nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from automl_transfer.errors import StoreUnavailableError, StoreURLError
from automl_transfer.store import tables as t
from automl_transfer.store.schema import schema_of_tables
from automl_transfer.store.store import Store
from automl_transfer.store.url import PUBLIC, StoreURL

WORKER, READER = "automl_transfer_worker", "automl_transfer_reader"
_OWNS = "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('trials')"

_APPENDED = "INSERT, UPDATE"
_KEPT_UP = "INSERT, UPDATE, DELETE"

# What running trials takes, besides reading everything. UPDATE of a key column that foreign keys hold fast is
# the right to lock the row (FOR NO KEY UPDATE), as every step that numbers trials does.
_WORKER_RIGHTS = {
    t.studies: "UPDATE (study_id)",
    t.study_system_attributes: _APPENDED,
    t.trials: _APPENDED,
    t.params: "INSERT",
    t.values: _APPENDED,
    t.intermediate: _KEPT_UP,
    t.user_attributes: _APPENDED,
    t.system_attributes: _APPENDED,
    t.at_studies: "UPDATE (created)",
    t.at_trials: _APPENDED,
}

# Asked on a connection that is read-only by its own will: `reset_val` is what the login begins with.
_MAY = (
    "SELECT bool_and(has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT') = :writes)"
    " AND (NOT :writes OR 'off' = "
    "(SELECT reset_val FROM pg_settings WHERE name = 'default_transaction_read_only')) "
    "FROM pg_class c WHERE c.oid = ANY "
    "(ARRAY[to_regclass('trials'), to_regclass('at_trials'), to_regclass('at_leases')])"
)


@dataclass(frozen=True)
class RoleLogin:
    """Who logs in: `group` is `WORKER` or `READER`, and the URL has the user and the password."""

    group: str
    url: StoreURL

    @property
    def user(self) -> str:
        """The role's name."""
        name = self.url.sqlalchemy.username
        if not name:
            raise StoreURLError(f"the URL of a login must name its user, got {self.url}")
        return name


def roles_sql(database: str, schema: str = PUBLIC) -> list[str]:
    """The statements that make both group roles in a database, to be run by its owner. Safe to repeat."""
    both, where = f"{WORKER}, {READER}", f"SCHEMA {quoted(schema)}"
    statements = [
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN "
        f"CREATE ROLE {name} NOLOGIN; END IF; END $$"
        for name in (WORKER, READER)
    ]
    statements += [
        f"REVOKE ALL ON ALL TABLES IN {where} FROM {both}",
        f"GRANT CONNECT ON DATABASE {quoted(database)} TO {both}",
        f"GRANT USAGE ON {where} TO {both}",
        f"GRANT SELECT ON ALL TABLES IN {where} TO {both}",
        f"ALTER DEFAULT PRIVILEGES IN {where} GRANT SELECT ON TABLES TO {both}",
        f"GRANT USAGE ON ALL SEQUENCES IN {where} TO {WORKER}",
    ]
    others = {table: _KEPT_UP for table in t.Base.metadata.tables.values() if table.name.startswith(t.PREFIX)}
    for table, rights in {**others, **_WORKER_RIGHTS}.items():
        statements.append(f"GRANT {rights} ON {quoted(schema)}.{quoted(table.name)} TO {WORKER}")
    return statements


def login_sql(login: RoleLogin, verifier: str | None, database: str, schema: str = PUBLIC) -> list[str]:
    """The statements that make a login and a member of its group; without a verifier, no password is set.

    A login finds the tables in their schema, whatever its own URL says about a search path. One that was of
    the other kind is so no more.
    """
    user = quoted(login.user)
    literal = login.user.replace("'", "''")
    create = f"CREATE ROLE {user} LOGIN".replace("'", "''")
    statements = [
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{literal}') THEN "
        f"EXECUTE '{create}'; END IF; END $$",
        f"REVOKE {READER if login.group == WORKER else WORKER} FROM {user}",
        f"GRANT {login.group} TO {user}",
    ]
    if verifier is not None:
        statements.append(f"ALTER ROLE {user} LOGIN PASSWORD '{verifier}'")
    setting = "SET {} = on" if login.group == READER else "RESET {}"
    statements.append(f"ALTER ROLE {user} {setting.format('default_transaction_read_only')}")
    path = quoted(schema) if schema != PUBLIC else "DEFAULT"
    statements.append(f"ALTER ROLE {user} IN DATABASE {quoted(database)} SET search_path TO {path}")
    return statements


def apply_roles(store: Store, logins: list[RoleLogin]) -> None:
    """Make the roles and the logins in a store's database, whole or not at all. Safe to repeat.

    Raises:
        StoreURLError: The store is SQLite, a login's URL has no user or password or is the store's own user,
            the store's user does not own the tables or may not make roles, or a login that was made does not
            reach them, or may do less or more there than its group.
    """
    require_postgresql(store.url)
    for login in logins:
        if login.url.sqlalchemy.password is None:
            raise StoreURLError(f"the URL of a login must have its password, got {login.url}")
        if login.user == store.url.sqlalchemy.username:
            raise StoreURLError(
                f"a login must be another user than the store's owner, got {login.user!r} for both"
            )

    database = str(store.url.sqlalchemy.database)

    def step(connection: sa.Connection) -> str:
        schema = schema_of_tables(connection)
        if not connection.execute(sa.text(_OWNS)).scalar_one():  # a GRANT by someone else only warns
            raise StoreURLError(f"roles are made by the owner of the tables, got {store.url}, which is not")
        for statement in roles_sql(database, schema):
            connection.exec_driver_sql(statement)
        for login in logins:
            for statement in login_sql(login, _verifier(connection, login), database, schema):
                connection.exec_driver_sql(statement)
        return schema

    try:
        schema = store.write(step, "make roles")
    except sa.exc.ProgrammingError as error:
        raise StoreURLError(
            f"the owner of the database must be allowed to make roles, {store.url} is not "
            f"({str(error.orig).splitlines()[0]}). Let an administrator run what this command prints "
            "without --apply"
        ) from None
    for login in logins:
        _log_in(login, schema)


def _log_in(login: RoleLogin, schema: str) -> None:
    """Look whether a login reaches the tables and may do there what its group does, and no more.

    Raises:
        StoreURLError: It does not.
    """
    writes = login.group == WORKER

    def look(connection: sa.Connection) -> tuple[str, bool]:
        found = schema_of_tables(connection)
        return found, bool(connection.execute(sa.text(_MAY), {"writes": writes}).scalar())

    try:
        with Store.open(login.url, wait_seconds=5, patience=0, read_only=True) as store:
            found, allowed = store.read(look, "look for the tables")
    except (StoreURLError, StoreUnavailableError) as error:
        raise StoreURLError(
            f"a login must reach the store: the roles are made, and {login.user!r} does not ({error})"
        ) from None
    if found != schema:
        raise StoreURLError(
            f"a login must use the tables in schema {schema!r}: the roles are made, and {login.user!r} uses "
            f"those in {found!r}. Leave search_path out of its URL"
        )
    if not allowed:
        rule = "write" if writes else "read, and no more,"
        raise StoreURLError(
            f"a login must be able to {rule} in schema {schema!r}: the roles are made, and {login.user!r} is "
            "otherwise. Run this as the owner of its tables; look what else was granted to it or set for it"
        )


def require_postgresql(url: StoreURL) -> None:
    """Raise StoreURLError for a store that knows no roles."""
    if url.is_sqlite:
        raise StoreURLError(
            f"roles exist on PostgreSQL only, got {url}: file permissions protect a SQLite store"
        )


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _verifier(connection: sa.Connection, login: RoleLogin) -> str:
    """What the server keeps of a password. Made here, so that its log never sees the password."""
    raw = connection.connection.driver_connection
    assert raw is not None
    password = str(login.url.sqlalchemy.password)
    made: bytes = raw.pgconn.encrypt_password(password.encode(), login.user.encode(), b"scram-sha-256")
    return made.decode()
