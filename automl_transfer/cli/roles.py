"""`automl-transfer roles`: who may do what in a PostgreSQL store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automl_transfer.cli import options
from automl_transfer.cli.options import open_store
from automl_transfer.machine import DEFAULT_DATABASE


def run(
    apply: Annotated[
        bool, typer.Option("--apply", help="Run it, as the owner that the storage URL names.")
    ] = False,
    worker_login: Annotated[
        list[Path] | None,
        typer.Option("--worker-login", metavar="FILE", help="Holds the storage URL of a worker's login."),
    ] = None,
    reader_login: Annotated[
        list[Path] | None,
        typer.Option("--reader-login", metavar="FILE", help="Holds the storage URL of a reader's login."),
    ] = None,
    storage: options.Storage = None,
    storage_file: options.StorageFile = None,
    wait: options.Wait = None,
) -> None:
    """Print the SQL that makes two roles in a PostgreSQL store, or run it. Safe to repeat.

    automl_transfer_worker runs trials, and can neither create, rename nor delete a study;
    automl_transfer_reader only reads: enough for dashboard, status and report. A login of either
    kind is a member; --apply makes it with the password in its URL. After an update of this
    program, run it again.

    \b
    $ automl-transfer roles --apply --storage-file owner.url --worker-login worker.url
    roles automl_transfer_worker and automl_transfer_reader are ready, with 1 login
    """
    from automl_transfer.store.roles import (
        READER,
        WORKER,
        RoleLogin,
        apply_roles,
        login_sql,
        require_postgresql,
        roles_sql,
    )
    from automl_transfer.store.url import PUBLIC, read_storage_file, resolve_storage

    kinds = ((WORKER, worker_login, "--worker-login"), (READER, reader_login, "--reader-login"))
    logins = [
        RoleLogin(group, read_storage_file(file, option))
        for group, files, option in kinds
        for file in files or []
    ]
    url = resolve_storage(storage, storage_file, DEFAULT_DATABASE)
    require_postgresql(url)
    if apply:
        with open_store(storage, storage_file, wait=wait) as store:
            apply_roles(store, logins)
        many = f", with {len(logins)} login{'s' * (len(logins) != 1)}" if logins else ""
        typer.echo(f"roles {WORKER} and {READER} are ready{many}")
        return
    database, schema = str(url.sqlalchemy.database), url.schema or PUBLIC
    statements = roles_sql(database, schema)
    for login in logins:
        statements += login_sql(login, None, database, schema)
    typer.echo("-- Run it as the owner of the database, whose tables exist already.")
    typer.echo("".join(f"{statement};\n" for statement in statements), nl=False)
    for login in logins:
        typer.echo(f"\\password {login.user}")
