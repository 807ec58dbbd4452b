"""`automl-transfer status`: how far a study is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from automl_transfer.cli import options
from automl_transfer.cli.options import open_store
from automl_transfer.cli.screen import console, print_json, watched

if TYPE_CHECKING:
    from rich.console import Group

    from automl_transfer.store.store import Store

EVERY = 2.0
EVERY_UNWATCHED = 60.0


def run(
    study: options.StudyOfStore,
    watch: Annotated[
        bool,
        typer.Option("--watch", "-w", help="Show it again every 2 s (60 s in a file), until Ctrl-C."),
    ] = False,
    storage: options.Storage = None,
    storage_file: options.StorageFile = None,
    as_json: options.Json = False,
) -> None:
    """Show trials by fate, the incumbent, live workers and failures.

    \b
    $ automl-transfer status quick
    quick: 16 of 16 strategies begun; 4 complete, 12 pruned, 0 failed, 0 running, 0 waiting, 0 paused
    """
    from rich.live import Live

    with open_store(storage, storage_file, create=False, read_only=True) as store:
        if as_json:
            print_json(_facts(store, study))
            return
        screen = console()
        study = store.study(study).identity  # it may be renamed while it is watched
        if not watch:
            screen.print(_shown(store, study))
            return
        try:
            if not watched(screen):
                while True:
                    screen.print(_shown(store, study))
                    time.sleep(EVERY_UNWATCHED)
            with Live(console=screen) as live:
                while True:
                    live.update(_shown(store, study))
                    time.sleep(EVERY)
        except KeyboardInterrupt:  # the ordinary way to stop watching
            return


def _facts(store: Store, study: str) -> dict[str, Any]:
    from dataclasses import asdict

    from automl_transfer.reporting.ranking import rank
    from automl_transfer.reporting.summary import summarise
    from automl_transfer.reporting.warm import beginning, outcome
    from automl_transfer.search.noise import search_is_over
    from automl_transfer.store.evidence import Evidence
    from automl_transfer.store.trials import Trials
    from automl_transfer.store.warm import first_answers, read_warm_start

    trials, evidence, handle = Trials(store), Evidence(store), store.study(study)
    read, search = trials.read(handle), handle.spec.search
    begun, first = read_warm_start(store, handle), first_answers(store, handle)
    ranking = rank(
        read.records,
        handle.task,
        handle.name,
        evidence.runs(handle, "confirm"),
        confirm_runs=handle.spec.search.confirm_runs,
        failed={failure.root for failure in evidence.failures(handle, "confirm")},
    )
    summary = summarise(read.records, ranking, [*read.unreadable, *evidence.unreadable(handle)])
    best, counts = ranking.best, trials.counts(handle)
    stays = counts.open_roots == 0 and counts.roots < handle.spec.search.trials
    return {
        "study": handle.name,
        "budget": handle.spec.search.trials,
        "ended": search_is_over(trials, handle) if stays else None,
        "counts": asdict(counts),
        "incumbent": best.model_dump(mode="json") if best else None,
        "workers": [asdict(worker) for worker in trials.workers(handle)],
        "restarted": list(summary.restarted),
        "failures": [failure.model_dump(mode="json") for failure in summary.failures],
        "start": None if begun is None else begun.model_dump(mode="json"),
        "story": [
            *(list(beginning(begun, search.start))[:1] if begun is not None else ()),
            *outcome(
                begun,
                read.records,
                first,
                handle.task.metric,
                search.first_rung,
                handle.task.splits.validation,
                search.start,
            ),
        ],
        "unreadable": [row.model_dump(mode="json") for row in summary.unreadable],
    }


def _shown(store: Store, study: str) -> Group:
    from rich.console import Group
    from rich.text import Text

    from automl_transfer.domain.records import UnreadableRow
    from automl_transfer.reporting.summary import left_out

    facts = _facts(store, study)
    counts = facts["counts"]
    fates = ", ".join(
        f"{counts[fate]} {fate}" for fate in ("complete", "pruned", "failed", "running", "waiting", "paused")
    )
    lines = [f"{facts['study']}: {counts['roots']} of {facts['budget']} strategies begun; {fates}"]
    if facts["ended"] is not None:
        lines.append(f"no more are drawn: {facts['ended']}")
    best = facts["incumbent"]
    if best is not None:
        lines.append(
            f"best: trial {best['root_trial']}, validation accuracy {best['validation']['accuracy']:.4f}, "
            f"{best['description']}"
        )
    lines += facts["story"]
    lines += [
        f"worker {worker['worker']}: trial {worker['number']}, attempt {worker['attempt']}, "
        f"epoch {worker['epoch'] if worker['epoch'] is not None else '-'}, "
        f"last beat {worker['beat_age']:.0f} s ago"
        for worker in facts["workers"]
    ]
    lines += [
        f"failed: trials {', '.join(map(str, failure['trials']))}: {failure['reason'].splitlines()[0]}"
        for failure in facts["failures"]
    ]
    if facts["restarted"]:
        numbers = ", ".join(map(str, facts["restarted"]))
        lines.append(f"started over, because their checkpoint was gone: trials {numbers}")
    lines += left_out([UnreadableRow.model_validate(row) for row in facts["unreadable"]])
    return Group(*(Text(line) for line in lines))
