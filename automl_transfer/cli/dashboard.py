"""`automl-transfer dashboard`: look at studies in a browser."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from automl_transfer.cli import options
from automl_transfer.cli.options import open_store


def run(
    study: Annotated[
        str | None, typer.Argument(metavar="STUDY", help="Opens on this study.", show_default=False)
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for all of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 finds a free one.")] = 8080,
    artifact_dir: Annotated[
        Path | None,
        typer.Option("--artifact-dir", metavar="DIR", help="Where the studies' files are on this machine."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="Ask for the token in this file. Also AUTOML_TRANSFER_DASHBOARD_TOKEN.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Another name or address that opens it."),
    ] = None,
    allow_writes: Annotated[
        bool,
        typer.Option(
            "--allow-writes",
            help="Let anyone who opens the page end trials, edit notes, upload and delete files, and "
            "delete whole studies.",
        ),
    ] = False,
    storage: options.Storage = None,
    storage_file: options.StorageFile = None,
    wait: options.Wait = None,
) -> None:
    """Serve optuna-dashboard for a store: on this machine only, and read-only, unless you say otherwise.

    Other machines reach it with --host 0.0.0.0, which requires a token, and --allow-host NAME: the name or
    address of this machine that they open. Ctrl-C ends it.

    \b
    $ automl-transfer dashboard quick
    quick: http://127.0.0.1:8080/dashboard/studies/1 (read-only; Ctrl-C ends it)
    """
    from automl_transfer.dashboard.app import AppOptions, make_dashboard
    from automl_transfer.dashboard.guards import WILDCARDS, WRITES, is_host, page_address
    from automl_transfer.dashboard.login import read_token
    from automl_transfer.dashboard.server import Server, is_loopback
    from automl_transfer.errors import ConfigurationError
    from automl_transfer.files import kind_at
    from automl_transfer.store.trials import Trials

    token = read_token(token_file)
    if token is None and not is_loopback(host):
        raise ConfigurationError(
            f"a dashboard that other machines reach must ask for a token, got --host {host} without one. "
            "Add --token-file FILE, or keep to --host 127.0.0.1"
        )
    if artifact_dir is not None:
        there = kind_at(artifact_dir, "--artifact-dir", ConfigurationError)
        if there != "folder":
            raise ConfigurationError(
                f"--artifact-dir must be a folder, got {artifact_dir}, which is "
                f"{'not one' if there else 'not there'}. Leave it out to use the studies' own"
            )
    names = allow_host or []
    for name in names:
        if not is_host(name):
            raise ConfigurationError(
                "--allow-host must be the name or the address of a host, as in board, board:8080 or fd00::5, "
                f"got {name!r}. Leave out http:// and what follows the name"
            )
    with open_store(
        storage, storage_file, create=False, read_only=not allow_writes, wait=wait, study=study
    ) as store:
        page = "/dashboard"
        if study is not None:
            handle = store.study(study)
            page = f"/dashboard/studies/{handle.study_id}"
            counts = Trials(store).counts(handle)
            if artifact_dir is None and counts.complete + counts.pruned:
                _look_for_artifacts(handle.artifact_url)
        options = AppOptions([host, *names], token, allow_writes, artifact_dir)
        app = make_dashboard(store, options)
        server = Server(app.wsgi, host, port, writable=allow_writes)
        shown = page_address(host, server.port, names)
        how = "anyone who opens it can change it" if allow_writes else "read-only"
        typer.echo(f"{study or store.url}: {shown}{page} ({how}; Ctrl-C ends it)")
        if host in WILDCARDS and not names:
            typer.echo(
                "other machines are refused so far: say with --allow-host NAME how they call this one",
                err=True,
            )
        if allow_writes:
            typer.echo(f"writes are allowed: {WRITES}", err=True)
        if app.login is not None:
            # Only to a person: what is printed elsewhere ends in a log.
            link = f", or open {shown}{app.login.one_time_path()} once" if sys.stdout.isatty() else ""
            typer.echo(f"log in with the token{link}")
        sys.stdout.flush()
        signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
        server.run()


def _look_for_artifacts(url: str) -> None:
    from automl_transfer.errors import UserError
    from automl_transfer.store.artifacts import ArtifactStore

    try:
        folder = ArtifactStore(url).local_folder
    except UserError as error:
        why = str(error)
    else:
        if folder is None or os.path.isdir(folder):  # noqa: PTH112 never raises
            return
        why = f"the artifacts of this study must be in {folder}, which is not a folder here"
    typer.echo(
        f"{why}: pictures of trials will be missing. Say where they are with --artifact-dir DIR", err=True
    )
