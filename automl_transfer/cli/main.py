"""The `automl-transfer` command: finds the subcommand, and turns errors into messages and exit codes.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import warnings
from typing import Annotated

import typer

from automl_transfer import __version__
from automl_transfer.cli import (
    apply,
    dashboard,
    evaluate,
    explore,
    export,
    init,
    knowledge,
    launch,
    package,
    predict,
    report,
    roles,
    search,
    sources,
    space,
    status,
    study,
    suite,
    train,
    verify,
    worker,
)
from automl_transfer.cli.options import paths_at_home
from automl_transfer.cli.screen import safe_streams
from automl_transfer.errors import AutomlTransferError, UserError
from automl_transfer.machine import end_at_once, ensure_home
from automl_transfer.redaction import redacted

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130
GARBAGE = (100_000, 20, 20)
"""When garbage is looked for: with Python's own thresholds that takes up to a third of an import."""

app = typer.Typer(
    name="automl-transfer",
    help="Find the best way to transfer a pretrained network to your images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    init, explore, sources, space, search, suite, train, worker, launch, status, report, export, apply,
    verify, predict, evaluate, package, dashboard, roles,
):  # fmt: skip
    kind = getattr(command, "Command", None)
    app.command(name=command.__name__.rpartition(".")[2], cls=kind)(command.run)
app.add_typer(study.app, name="study")
app.add_typer(knowledge.app, name="knowledge")
for registered in (
    *app.registered_commands, *study.app.registered_commands, *knowledge.app.registered_commands,
):  # fmt: skip
    if registered.callback is not None:
        registered.callback = paths_at_home(registered.callback)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"automl-transfer {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens to stderr.")] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    if not verbose:
        warnings.simplefilter("ignore")


def run_process() -> None:
    """The command as a process of its own."""
    try:
        main()
    except SystemExit as left:
        if "automl_transfer.training.team" in sys.modules:
            # Exchanges of torch.distributed leave threads behind, even where all is closed, that now and then
            # abort the process while the interpreter is taken down.
            end_at_once(int(left.code or 0))
        raise


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with the documented exit code."""
    # Threads of torch that spin while they wait slow busy cores down; those that sleep at once make many
    # small steps slow. Some microseconds of spinning are enough. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    gc.set_threshold(*GARBAGE)
    ensure_home()
    with safe_streams():
        try:
            app(args=arguments, standalone_mode=True)
        except UserError as error:
            typer.echo(f"error: {redacted(str(error))}", err=True)
            sys.exit(WRONG_USAGE)
        except AutomlTransferError as error:
            typer.echo(f"failed: {redacted(str(error))}", err=True)
            sys.exit(FAILED)
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            sys.exit(INTERRUPTED)
