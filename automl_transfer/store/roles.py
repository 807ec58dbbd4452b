"""Roles on PostgreSQL: the owner changes schemas and studies, workers run trials, readers look.

Two group roles get the rights; people and services log in with roles of their own that are members. A
worker can neither create, rename nor delete a study, nor change a schema; a reader can write nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from automl_transfer.errors import StoreURLError
from automl_transfer.store import tables as t
from automl_transfer.store.store import Store
from automl_transfer.store.url import StoreURL

WORKER, READER = "automl_transfer_worker", "automl_transfer_reader"

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


def roles_sql(database: str) -> list[str]:
    """The statements that make both group roles in a database, to be run by its owner. Safe to repeat."""
    both = f"{WORKER}, {READER}"
    statements = [
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN "
        f"CREATE ROLE {name} NOLOGIN; END IF; END $$"
        for name in (WORKER, READER)
    ]
    statements += [
        f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {both}",
        f"GRANT CONNECT ON DATABASE {quoted(database)} TO {both}",
        f"GRANT USAGE ON SCHEMA public TO {both}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {both}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {both}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {WORKER}",
    ]
    others = {table: _KEPT_UP for table in t.Base.metadata.tables.values() if table.name.startswith(t.PREFIX)}
    for table, rights in {**others, **_WORKER_RIGHTS}.items():
        statements.append(f"GRANT {rights} ON {quoted(table.name)} TO {WORKER}")
    return statements


def login_sql(login: RoleLogin, verifier: str | None) -> list[str]:
    """The statements that make a login and a member of its group; without a verifier, no password is set."""
    user = quoted(login.user)
    literal = login.user.replace("'", "''")
    create = f"CREATE ROLE {user} LOGIN".replace("'", "''")
    statements = [
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{literal}') THEN "
        f"EXECUTE '{create}'; END IF; END $$",
        f"GRANT {login.group} TO {user}",
    ]
    if verifier is not None:
        statements.append(f"ALTER ROLE {user} LOGIN PASSWORD '{verifier}'")
    if login.group == READER:
        statements.append(f"ALTER ROLE {user} SET default_transaction_read_only = on")
    return statements


def apply_roles(store: Store, logins: list[RoleLogin]) -> None:
    """Make the roles and the logins in a store's database, whole or not at all. Safe to repeat.

    Raises:
        StoreURLError: The store is SQLite, a login's URL has no user or password or is the store's own user,
            or the store's user does not own the tables or may not make roles.
    """
    require_postgresql(store.url)
    for login in logins:
        if login.url.sqlalchemy.password is None:
            raise StoreURLError(f"the URL of a login must have its password, got {login.url}")
        if login.user == store.url.sqlalchemy.username:
            raise StoreURLError(
                f"a login must be another user than the store's owner, got {login.user!r} for both"
            )

    def step(connection: sa.Connection) -> None:
        # A GRANT by someone else only warns.
        owns = "SELECT pg_has_role(tableowner, 'USAGE') FROM pg_tables WHERE tablename = 'trials'"
        if not connection.execute(sa.text(owns)).scalar():
            raise StoreURLError(f"roles are made by the owner of the tables, got {store.url}, which is not")
        for statement in roles_sql(str(store.url.sqlalchemy.database)):
            connection.exec_driver_sql(statement)
        for login in logins:
            for statement in login_sql(login, _verifier(connection, login)):
                connection.exec_driver_sql(statement)

    try:
        store.write(step, "make roles")
    except sa.exc.ProgrammingError as error:
        raise StoreURLError(
            f"the owner of the database must be allowed to make roles, {store.url} is not "
            f"({str(error.orig).splitlines()[0]}). Let an administrator run what this command prints "
            "without --apply"
        ) from None


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
