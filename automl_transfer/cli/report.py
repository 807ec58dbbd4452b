"""`automl-transfer report`: what a study found, how sure that is, and what it cost."""

from __future__ import annotations

import shlex
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from automl_transfer.cli import options
from automl_transfer.cli.options import open_store
from automl_transfer.cli.screen import console, print_data

if TYPE_CHECKING:
    from automl_transfer.store.store import Store

OWN = ""
"""Value of `--confirm` without a number: as many strategies as the study confirms."""


def run(
    studies: Annotated[list[str], typer.Argument(metavar="STUDY...", help="Names; several are compared.")],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page: one file, works offline.")
    ] = None,
    as_json: options.Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print the ranking as CSV.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Strategies to show.")] = 10,
    confirm: Annotated[
        str,
        typer.Option(
            "--confirm",
            metavar="[K]",
            help="First train the best K again, by default as many as the study does, or go on with it.",
        ),
    ] = "0",
    audit: Annotated[
        int, typer.Option("--audit", min=0, help="First run N random pruned trials to their end.")
    ] = 0,
    storage: options.Storage = None,
    storage_file: options.StorageFile = None,
    data_root: options.DataRoot = None,
    cache: options.Cache = None,
    device: options.Device = "auto",
) -> None:
    """Report on a study at any time, or compare several. Only complete trials are ranked.

    \b
    $ automl-transfer report quick --html quick.html
    Study quick on digits: best is trial 1, confirmed accuracy 99.17% over 4 fresh trainings ...
    wrote quick.html
    """
    from automl_transfer.api.report import read_report
    from automl_transfer.errors import ConfigurationError
    from automl_transfer.recipes.output import check_files

    if as_json and csv:
        raise ConfigurationError("either --json or --csv must be given, got both: choose one")
    check_files(html)
    names = list(dict.fromkeys(studies))
    wanted = _strategies(confirm)
    read_only = wanted == 0 and not audit
    with open_store(storage, storage_file, create=False, read_only=read_only) as store:
        for name in () if read_only else names:
            _train(store, name, wanted, audit, device, data_root, cache)
        reports = [read_report(store, name) for name in names]
    from automl_transfer.reporting import output

    if as_json:
        print_data(output.as_json(reports))
    elif csv:
        print_data(output.as_csv(reports))
    else:
        output.show(console(), reports, limit)
    if html is not None:
        from automl_transfer.recipes.output import write_text

        write_text(html, output.as_page(reports))
        if not (as_json or csv):
            console().print(f"wrote {html}", markup=False, soft_wrap=True)


class Command(TyperCommand):
    """Takes `--confirm` without a number, too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give such an option a value, which the parser wants in any case."""
        filled = [
            text
            for argument, after in zip_longest(args, args[1:], fillvalue="-")
            for text in ([argument, OWN] if argument == "--confirm" and not _is_value(after) else [argument])
        ]
        return super().parse_args(ctx, filled)


def _is_value(text: str) -> bool:
    return text.lstrip("-+").replace(".", "").isdigit()


def _strategies(confirm: str) -> int | None:
    """How many strategies to confirm; None for as many as the study says."""
    from automl_transfer.errors import ConfigurationError

    if confirm == OWN:
        return None
    if not confirm.isdecimal():
        raise ConfigurationError(f"--confirm must be a number of strategies, got {confirm!r}")
    return int(confirm)


def _train(
    store: Store,
    name: str,
    confirm: int | None,
    audit: int,
    device: str,
    data_root: Path | None,
    cache: Path | None,
) -> None:
    """Confirm the best and audit pruned trials; Ctrl-C keeps what is done, and the same call goes on."""
    from automl_transfer.aborting import Aborted, abortable
    from automl_transfer.api.evidence import audit_pruned, confirm_best
    from automl_transfer.api.refresh import refresh_run
    from automl_transfer.domain.evidence import ExtraRun, FailedRun
    from automl_transfer.domain.spec import SearchSpec
    from automl_transfer.reporting.plain import plain
    from automl_transfer.search.workbench import Workbench
    from automl_transfer.workers.signals import StopRequest, stop_on_signals

    screen, stop = console(stderr=True), StopRequest()

    def say(text: str) -> None:
        screen.print(f"{name}: {text}", markup=False, soft_wrap=True)

    def told(run: ExtraRun) -> None:
        say(f"{run.kind} trial {run.root}: {run.accuracy:.3f}")

    def failed(run: FailedRun) -> None:
        say(f"{run.kind} trial {run.root} failed: {plain(run.reason.splitlines()[0])}")

    handle = store.study(name)
    search = handle.spec.search
    confirm = (search.confirm or SearchSpec().confirm) if confirm is None else confirm
    with stop_on_signals(stop), abortable(lambda: stop.asked is not None):
        try:
            bench = Workbench.open(handle, device=device, data_root=data_root, cache_root=cache)
            if confirm:
                runs = confirm_best(
                    store,
                    bench,
                    strategies=confirm,
                    max_runs=search.confirm_runs,
                    on_run=told,
                    on_failure=failed,
                    on_wait=lambda: say("another process trains what is left"),
                )
                refreshed = refresh_run(store, bench)
                if refreshed is None and runs:
                    say(
                        "no shipped model of it is found here, so none was brought up to date: "
                        f"'automl-transfer export {shlex.quote(plain(name))} --output DIR' ships the winner"
                    )
                best = refreshed.shipped.ranking.best if refreshed is not None else None
                if refreshed is not None and best is not None:
                    same = best.root_trial == refreshed.before
                    won = "" if same else f", trial {refreshed.before} before: its model is shipped now"
                    say(f"the winner is trial {best.root_trial}{won}; {refreshed.folder}/ is up to date")
                    recipe = refreshed.shipped.recipe
                    if recipe is not None and recipe.shipped_as is not None:
                        say(f"ships as {recipe.shipped_as.name}, {recipe.shipped_as.comparison()}")
            if audit:
                audit_pruned(store, bench, trials=audit, on_run=told, on_failure=failed)
        except Aborted:
            screen.print("stopped. The same command goes on; nothing is lost.")
            raise typer.Exit(130) from None
